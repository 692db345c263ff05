"""Random crops of photographs.

Which crops a step is trained on follows from the seed and the number of the step alone, so
that a training that goes on after an interruption sees what it would have seen.
"""

from typing import NamedTuple

import cv2
import numpy as np


class Photograph(NamedTuple):
    """One training picture: uint8 (H, W, 3) `lr` and (scale * H, scale * W, 3) `hr`."""

    lr: np.ndarray
    hr: np.ndarray


# The eight ways to flip and turn a crop. OpenCV does it ten times as fast as NumPy.
WAYS = (
    lambda crop, out: np.copyto(out, crop),
    lambda crop, out: cv2.flip(crop, 0, out),
    lambda crop, out: cv2.flip(crop, 1, out),
    lambda crop, out: cv2.flip(crop, -1, out),
    lambda crop, out: cv2.transpose(crop, out),
    lambda crop, out: cv2.rotate(crop, cv2.ROTATE_90_CLOCKWISE, out),
    lambda crop, out: cv2.rotate(crop, cv2.ROTATE_90_COUNTERCLOCKWISE, out),
    lambda crop, out: cv2.flip(cv2.transpose(crop), -1, out),
)


class CropSampler:
    """Photographs to draw crops from.

    Every crop position of all of them is equally likely, so a large photograph gives more
    crops than a small one.

    Args:
        photographs: list of `Photograph`, each at least as large as a crop.
        crop_size: side of a crop in HR pixels, a multiple of the scale.
    """

    def __init__(self, photographs, crop_size):
        self.photographs = photographs
        self.crop_size = crop_size
        self.scale = photographs[0].hr.shape[0] // photographs[0].lr.shape[0]
        self.lr_size = crop_size // self.scale
        self.columns = [p.lr.shape[1] - self.lr_size + 1 for p in photographs]
        rows = [p.lr.shape[0] - self.lr_size + 1 for p in photographs]
        self.ends = np.cumsum([r * c for r, c in zip(rows, self.columns, strict=True)])

    def cut(self, place, way, lr, hr):
        """Cuts one crop.

        Args:
            place: its number among all positions, below `ends[-1]`.
            way: how it is flipped and turned, 0 to 7.
            lr, hr: where it is written to.
        """
        index = int(np.searchsorted(self.ends, place, side="right"))
        photograph = self.photographs[index]
        top, left = divmod(int(self.ends[index]) - 1 - place, self.columns[index])
        for out, picture, factor in (lr, photograph.lr, 1), (hr, photograph.hr, self.scale):
            size, y, x = self.lr_size * factor, top * factor, left * factor
            WAYS[way](picture[y : y + size, x : x + size], out)


def cut_batch(pool, step, *, batch_size, seed, part=slice(None)):
    """Random aligned crops, each flipped and turned at random; a function of (seed, step).

    Args:
        pool: `CropSampler` of photographs.
        step: number of the training step.
        batch_size: crops a step.
        part: which of them to cut: one process of several cuts its own.

    Returns:
        uint8 (N, crop_size / scale, crop_size / scale, 3) LR crops and uint8
        (N, crop_size, crop_size, 3) HR crops.
    """
    random = np.random.default_rng((seed, step))
    places = random.integers(pool.ends[-1], size=batch_size)[part].tolist()
    ways = random.integers(len(WAYS), size=batch_size)[part].tolist()
    lr = np.empty((len(places), pool.lr_size, pool.lr_size, 3), np.uint8)
    hr = np.empty((len(places), pool.crop_size, pool.crop_size, 3), np.uint8)
    for n, (place, way) in enumerate(zip(places, ways, strict=True)):
        pool.cut(place, way, lr[n], hr[n])
    return lr, hr
