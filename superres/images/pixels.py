"""Pixels to the network's numbers, and back."""

import numpy as np

GREY_SPREAD = 2  # levels of 255 by which lossy formats tint grey pictures
GREY_ROWS = 64


def to_8bit(pixels):
    """Pixels of `read_picture` as uint8, (H, W) or (H, W, 3): rounded, without alpha."""
    pixels = to_pixels(to_network(pixels)) if pixels.dtype == np.uint16 else pixels
    if pixels.ndim == 3 and pixels.shape[2] == 2:
        return pixels[..., 0]
    return pixels[..., :3] if pixels.ndim == 3 else pixels


def as_grey(picture):
    """The grey channel, (H, W[, 2]), of RGB[A] without colours; `None` for other pictures."""
    if picture.ndim == 2 or picture.shape[2] < 3:
        return None
    blocks = (picture[first : first + GREY_ROWS] for first in range(0, len(picture), GREY_ROWS))
    for pixels in picture[::GREY_ROWS], *blocks:  # a few rows first: they show most colours
        colours = pixels[..., :3].astype(np.int32)
        differences = np.abs(colours[..., ::2] - colours[..., 1:2]).max(axis=2)
        if picture.shape[2] == 4:
            differences = differences[pixels[..., 3] > 0]
        if np.any(differences > GREY_SPREAD * np.iinfo(picture.dtype).max / 255):
            return None
    return picture[..., 1] if picture.shape[2] == 3 else picture[..., [1, 3]]


def to_network(picture):
    """Pixels to the network's numbers: uint8 or uint16 of any shape to float32 in [0, 1]."""
    return picture.astype(np.float32) / np.float32(np.iinfo(picture.dtype).max)


def to_pixels(values, dtype=np.uint8):
    """The network's numbers to pixels: clips to [0, 1], rounds, then casts to `dtype`."""
    values = np.clip(values, 0, 1)  # a new array, which the rest changes
    values *= np.iinfo(dtype).max
    values += 0.5
    return values.astype(dtype)  # truncates


def join_bands(bands, shape, dtype):
    """Puts bands, from top to bottom, together: a picture of this shape and dtype."""
    picture = np.empty(shape, dtype)
    done = 0
    for band in bands:
        picture[done : done + len(band)] = band
        done += len(band)
    return picture
