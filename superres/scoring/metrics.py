"""PSNR and SSIM, as super-resolution papers compute them."""

import math

import numpy as np

SSIM_RADIUS = 5  # of the 11x11 Gaussian window


def luma(picture):
    """float64 Y of YCbCr (BT.601) in [16, 235], as MATLAB's but not rounded; grey is kept."""
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
    """PSNR of two arrays with a peak of 255; infinity if they are equal."""
    error = np.mean((reference.astype(np.float64) - picture) ** 2)
    return math.inf if error == 0 else float(10 * np.log10(255**2 / error))


def psnr(reference, picture, border):
    """Peak signal-to-noise ratio on Y.

    Args:
        reference, picture: uint8 RGB (H, W, 3) or grey (H, W), of the same shape.
        border: pixels left out on each side; papers take the scale.

    Returns:
        Decibels, with a peak of 255; infinity for equal pictures.

    Raises:
        ValueError: the pictures differ in shape, are not uint8, or are all border.
    """
    return _decibels(*map(luma, _inside(reference, picture, border)))


def psnr_rgb(reference, picture, border):
    """As `psnr`, but over all three channels together, as in papers on DIV2K."""
    return _decibels(*_inside(reference, picture, border))


def _blur(picture):
    """Mean in a Gaussian window of 11x11 pixels, sigma 1.5: (H, W) -> (H - 10, W - 10)."""
    window = np.exp(-(np.arange(-SSIM_RADIUS, SSIM_RADIUS + 1) ** 2) / (2 * 1.5**2))
    window /= window.sum()
    for _ in range(2):  # the columns, then, transposed, the rows
        inside = len(picture) - 2 * SSIM_RADIUS
        picture = sum(w * picture[n : n + inside] for n, w in enumerate(window)).T
    return picture


def ssim(reference, picture, border):
    """Structural similarity on Y, in [-1, 1]; also refuses pictures smaller than its window.

    Wang et al., "Image quality assessment: from error visibility to structural similarity", 2004.
    """
    x, y = map(luma, _inside(reference, picture, border))
    if min(x.shape) <= 2 * SSIM_RADIUS:
        raise ValueError(f"shape {reference.shape}: too small for SSIM's window of 11x11")
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2  # K1 and K2 of the paper, for a peak of 255
    mean_x, mean_y = _blur(x), _blur(y)
    var_x = _blur(x * x) - mean_x**2
    var_y = _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    similarity = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / (
        (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
    )
    return float(similarity.mean())


def score(reference, picture, border):
    """All scores of a picture: dict of psnr and ssim (on Y) and rgb_psnr."""
    return {
        "psnr": psnr(reference, picture, border),
        "ssim": ssim(reference, picture, border),
        "rgb_psnr": psnr_rgb(reference, picture, border),
    }
