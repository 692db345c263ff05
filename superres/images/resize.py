"""MATLAB's bicubic resizing, bit for bit, and nearest neighbour."""

import math

import numpy as np

STRIP = 64  # rows that are resized at once, of a picture that comes in bands


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
    """Indices and weights, (taps, new_length), of the old pixels that each new one sums."""
    ratio = new_length / length
    # When reducing, the kernel is 1 / ratio times as wide, to filter out what would alias.
    kernel_scale = min(ratio, 1.0)
    centres = (np.arange(new_length) + 0.5) / ratio - 0.5
    leftmost = np.floor(centres - 2 / kernel_scale).astype(np.int64)
    taps = math.ceil(4 / kernel_scale) + 2
    indices = leftmost + np.arange(taps)[:, None]
    weights = kernel_scale * _cubic(kernel_scale * (centres - indices))
    weights /= weights.sum(axis=0)
    indices = np.mod(indices, 2 * length)
    indices = np.minimum(indices, 2 * length - 1 - indices)  # mirrored at the ends
    used = weights.any(axis=1)
    return indices[used], weights[used]


def _resize_rows(picture, indices, weights):
    """New rows of (H, ...) by `_contributions`; integers are rounded half up."""
    is_whole = np.issubdtype(picture.dtype, np.integer)
    lines = picture.reshape(len(picture), -1)
    resized = np.empty((indices.shape[1], lines.shape[1]), picture.dtype)
    # A few rows at a time, so that the float64 sums stay in the processor's cache.
    step = max(1, 2**16 // max(1, lines.shape[1]))
    for first in range(0, len(resized), step):
        rows = slice(first, first + step)
        total = np.zeros(resized[rows].shape)
        part = np.empty_like(total)
        for index, weight in zip(indices[:, rows], weights[:, rows], strict=True):
            total += np.multiply(lines[index], weight[:, None], out=part)
        if is_whole:
            np.clip(total, 0, np.iinfo(picture.dtype).max, out=total)
            total += 0.5  # and truncate
        resized[rows] = total
    return resized.reshape(-1, *picture.shape[1:])


def _resize_columns(picture, indices, weights):
    resized = _resize_rows(picture.swapaxes(0, 1), indices, weights)
    return np.ascontiguousarray(resized.swapaxes(0, 1))


def imresize(picture, height, width):
    """Bicubic resizing of uint8 or uint16 (H, W[, C]), bit for bit as MATLAB's `imresize`.

    Kernel with a = -0.5, widened when it reduces (antialiasing), mirrored borders, rows before
    columns, integers after each: the field's benchmarks were made so. Pillow and OpenCV differ.
    """
    rows = _resize_rows(picture, *_contributions(picture.shape[0], height))
    return _resize_columns(rows, *_contributions(picture.shape[1], width))


def resize_bands(bands, shape, height, width):
    """As `imresize`, but from bands of a picture of `shape` to bands of `height` x `width`.

    With alpha, colours are weighted by it, so that those of transparent pixels do not bleed out,
    and rounded once, at the end, not after each direction.
    """
    has_alpha = shape[2:] in ((2,), (4,))
    strips = (band[first : first + STRIP] for band in bands for first in range(0, len(band), STRIP))
    indices, weights = _contributions(shape[0], height)
    across = _contributions(shape[1], width)
    # For each new row, the last old row that it needs, and the first that later ones need.
    last = np.maximum.accumulate(indices.max(axis=0))
    first = np.minimum.accumulate(indices.min(axis=0)[::-1])[::-1]
    buffer, start, done = None, 0, 0
    for strip in strips:
        dtype = strip.dtype
        strip = _premultiply(strip) if has_alpha else strip
        buffer = strip if buffer is None else np.concatenate([buffer, strip])
        ready = int(np.searchsorted(last, start + len(buffer)))
        if ready == done:
            continue
        rows = _resize_rows(buffer, indices[:, done:ready] - start, weights[:, done:ready])
        rows = _resize_columns(rows, *across)
        yield _unpremultiply(rows, dtype) if has_alpha else rows
        done = ready
        if done < height:
            buffer, start = buffer[first[done] - start :], first[done]


def _premultiply(picture):
    """Colours, colours times alpha, and alpha, as float64."""
    colours, alpha = picture[..., :-1].astype(np.float64), picture[..., -1:].astype(np.float64)
    return np.concatenate([colours, colours * alpha, alpha], axis=2)


def _unpremultiply(values, dtype):
    """Colours and alpha of `_premultiply`; invisible pixels keep the plain colours."""
    count = values.shape[2] // 2
    colours, times_alpha, alpha = np.split(values, [count, 2 * count], axis=2)
    is_visible = alpha >= 0.5
    colours = np.where(is_visible, times_alpha / np.where(is_visible, alpha, 1), colours)
    values = np.concatenate([colours, alpha], axis=2)
    return (np.clip(values, 0, np.iinfo(dtype).max) + 0.5).astype(dtype)


def downscale(picture, scale):
    """MATLAB's bicubic reduction of (H, W[, C]); ValueError where `scale` does not divide both."""
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
