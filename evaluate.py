"""metrics"""
import numpy as np


def luma(picture):
    """Y of ITU-R BT.601 as MATLAB's `rgb2ycbcr` gives it, but not rounded.

    Args:
        picture: uint8 (H, W, 3) RGB, or (H, W) grey, which is taken as it is.

    Returns:
        float64 (H, W); in [16, 235] from RGB, in [0, 255] from grey.
    """
    if picture.ndim == 2:
        return picture.astype(np.float64)
    return 16 + picture @ (np.array([65.481, 128.553, 24.966]) / 255)


def shaved(reference, picture, border):
    if reference.shape != picture.shape:
        raise ValueError(f"shape {picture.shape}: expected that of the reference, {reference.shape}")
    inner = (slice(border, reference.shape[0] - border), slice(border, reference.shape[1] - border))
    return luma(reference)[inner], luma(picture)[inner]


def psnr(reference, picture, border):
    a, b = shaved(reference, picture, border)
    error = np.mean((a - b) ** 2)
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))
