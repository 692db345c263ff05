"""Pixels of files to the network's numbers, and back: clipped, rounded, then cast."""

import numpy as np


def to_8bit(pixels):
    """What `read_picture` returns as uint8, (H, W) or (H, W, 3): rounded, without alpha."""
    if pixels.dtype == np.uint16:
        pixels = to_pixels(to_network(pixels))
    if pixels.ndim == 3 and pixels.shape[2] == 2:
        return pixels[..., 0]
    return pixels[..., :3] if pixels.ndim == 3 else pixels


def to_network(picture):
    """Pixels to the network's numbers: uint8 or uint16 of any shape to float32 in [0, 1]."""
    return picture.astype(np.float32) / np.float32(np.iinfo(picture.dtype).max)


def to_pixels(values, dtype=np.uint8):
    """The network's numbers to pixels: clips to [0, 1], rounds, then casts to `dtype`."""
    values = np.clip(values, 0, 1)  # a new array: what follows is done in it
    values *= np.iinfo(dtype).max
    values += 0.5
    return values.astype(dtype)  # which leaves out the fraction


def assembled(bands, shape, dtype):
    """The picture of this shape and dtype that bands, from top to bottom, make up."""
    picture = np.empty(shape, dtype)
    done = 0
    for band in bands:
        picture[done : done + len(band)] = band
        done += len(band)
    return picture
