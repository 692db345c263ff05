"""MATLAB's bicubic resizing, bit for bit, and nearest neighbour."""

import math

import numpy as np


def crop_to_multiple(picture, scale):
    """Cuts the right and lower border of (H, W, ...) so that `scale` divides H and W."""
    height, width = picture.shape[:2]
    return picture[: height - height % scale, : width - width % scale]


def _cubic(x):
    """The cubic convolution kernel of Keys (1981) with a = -0.5."""
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))


def _contributions(length, new_length):
    """For each new pixel of a line, which old pixels it is the sum of.

    Returns:
        (taps, new_length) whole numbers, the old pixels' indices, mirrored at the ends;
        (taps, new_length) float64, their weights, whose sum over the taps is 1.
    """
    ratio = new_length / length
    # When it reduces, the kernel is widened so that it also filters out what would alias.
    widening = min(ratio, 1.0)
    centres = (np.arange(new_length) + 0.5) / ratio - 0.5
    leftmost = np.floor(centres - 2 / widening).astype(np.int64)
    taps = math.ceil(4 / widening) + 2
    indices = leftmost + np.arange(taps)[:, None]
    weights = widening * _cubic(widening * (centres - indices))
    weights /= weights.sum(axis=0)
    indices = np.mod(indices, 2 * length)
    indices = np.minimum(indices, 2 * length - 1 - indices)
    used = weights.any(axis=1)
    return indices[used], weights[used]


def _resize_rows(picture, new_height):
    """Resizes the first axis of (H, ...) and rounds half up to the dtype of the picture."""
    top = np.iinfo(picture.dtype).max
    indices, weights = _contributions(len(picture), new_height)
    resized = np.empty((new_height, *picture.shape[1:]), picture.dtype)
    # A few rows at a time, so that the float64 sums stay in the processor's cache.
    step = max(1, 2**17 // max(1, picture[0].size))
    for first in range(0, new_height, step):
        rows = slice(first, first + step)
        total = 0.0
        for index, weight in zip(indices[:, rows], weights[:, rows], strict=True):
            weight = weight.reshape(-1, *(1,) * (picture.ndim - 1))
            total = total + weight * picture[index]
        resized[rows] = np.floor(np.clip(total, 0, top) + 0.5)
    return resized


def imresize(picture, height, width):
    """Bicubic resizing, bit for bit that of MATLAB's `imresize`.

    Bicubic kernel with a = -0.5, widened when it reduces (antialiasing), mirrored
    borders, rows before columns and rounded to whole pixels after each: the low-resolution
    pictures of the field's benchmarks were made so. Pillow's and OpenCV's bicubic differ.

    Args:
        picture: uint8 or uint16 (H, W) or (H, W, C).
        height, width: new size, at least 1.

    Returns:
        Array of the new size, with the dtype of `picture`.
    """
    rows_done = _resize_rows(picture, height)
    return np.ascontiguousarray(_resize_rows(rows_done.swapaxes(0, 1), width).swapaxes(0, 1))


def downscale(picture, scale):
    """MATLAB's bicubic reduction of (H, W[, C]) by `scale`, which must divide H and W.

    Raises:
        ValueError: `scale` does not divide the size.
    """
    height, width = picture.shape[:2]
    if height % scale or width % scale:
        raise ValueError(f"size {width}x{height}: expected multiples of the scale {scale}")
    return imresize(picture, height // scale, width // scale)


def upscale_nearest(picture, scale):
    """Nearest neighbour: (H, W, ...) to (scale * H, scale * W, ...), of the same dtype."""
    return picture.repeat(scale, axis=0).repeat(scale, axis=1)


def upscale_bicubic(picture, scale):
    """MATLAB's bicubic enlargement of (H, W[, C]) by a whole `scale`."""
    return imresize(picture, picture.shape[0] * scale, picture.shape[1] * scale)
