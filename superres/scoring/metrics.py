"""How close a picture is to its original: PSNR and SSIM as the papers of the field have them."""

import math

import numpy as np

SSIM_RADIUS = 5  # of the 11x11 Gaussian window


def luma(picture):
    """Y of YCbCr (ITU-R BT.601) as MATLAB's `rgb2ycbcr` gives it, but not rounded.

    Args:
        picture: uint8 RGB (H, W, 3), or grey (H, W), which is taken as it is.

    Returns:
        float64 (H, W): in [16, 235] for RGB, in [0, 255] for grey.
    """
    if picture.ndim == 2:
        return picture.astype(np.float64)
    return 16 + picture @ (np.array([65.481, 128.553, 24.966]) / 255)


def _inside(reference, picture, border):
    """Both pictures without `border` pixels on each side."""
    for image in (reference, picture):
        if image.dtype != np.uint8:
            raise ValueError(f"dtype {image.dtype}: expected uint8")
    if reference.shape != picture.shape:
        raise ValueError(f"shape {picture.shape}: expected the reference's, {reference.shape}")
    if min(reference.shape[:2]) <= 2 * border:
        raise ValueError(f"shape {reference.shape}: nothing left inside a border of {border}")
    inner = tuple(slice(border, length - border) for length in reference.shape[:2])
    return reference[inner], picture[inner]


def _decibels(reference, picture):
    """PSNR of two arrays of numbers with a peak of 255; infinity where they are equal."""
    error = np.mean((reference.astype(np.float64) - picture) ** 2)
    return math.inf if error == 0 else float(10 * np.log10(255**2 / error))


def psnr(reference, picture, border):
    """Peak signal-to-noise ratio on Y.

    Args:
        reference, picture: uint8 RGB (H, W, 3) or grey (H, W), of the same shape.
        border: pixels left out on each side; the scale, by the field's custom.

    Returns:
        Decibels, with a peak of 255; infinity for equal pictures.

    Raises:
        ValueError: the pictures do not fit each other, or are all border.
    """
    return _decibels(*map(luma, _inside(reference, picture, border)))


def psnr_rgb(reference, picture, border):
    """As `psnr`, but over all three channels together, as DIV2K's papers have it."""
    return _decibels(*_inside(reference, picture, border))


def _blur(picture):
    """Gaussian mean over 11x11 pixels with sigma 1.5, where the window fits (H-10, W-10)."""
    window = np.exp(-(np.arange(-SSIM_RADIUS, SSIM_RADIUS + 1) ** 2) / (2 * 1.5**2))
    window /= window.sum()
    for _ in range(2):  # along the rows' axis, then, transposed, along the other
        inside = len(picture) - 2 * SSIM_RADIUS
        picture = sum(w * picture[n : n + inside] for n, w in enumerate(window)).T
    return picture


def ssim(reference, picture, border):
    """Structural similarity on Y.

    Wang et al., "Image quality assessment: from error visibility to structural similarity",
    2004: Gaussian window of 11x11 with sigma 1.5, K1 = 0.01, K2 = 0.03, L = 255, averaged
    over the pixels around which the window fits.

    Args, Raises:
        As for `psnr`; also ValueError when no window fits.

    Returns:
        Number in [-1, 1]; 1 for equal pictures.
    """
    x, y = map(luma, _inside(reference, picture, border))
    if min(x.shape) <= 2 * SSIM_RADIUS:
        raise ValueError(f"shape {reference.shape}: too small for SSIM's window of 11x11")
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mean_x, mean_y = _blur(x), _blur(y)
    var_x = _blur(x * x) - mean_x**2
    var_y = _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    similarity = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / (
        (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
    )
    return float(similarity.mean())


def score(reference, picture, border):
    """The three scores of a picture: dict of psnr and ssim (on Y) and rgb_psnr."""
    return {
        "psnr": psnr(reference, picture, border),
        "ssim": ssim(reference, picture, border),
        "rgb_psnr": psnr_rgb(reference, picture, border),
    }
