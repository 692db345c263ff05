"""Random crops of photographs: a function of seed and step, so that a resumed run sees the same."""

from typing import NamedTuple

import cv2
import numpy as np

from superres.images.degradation import BLOCK, WILD, degrade, random_degradation
from superres.images.quality import CLEAN, Condition, condition_of
from superres.images.random_drawings import random_pair


class Photograph(NamedTuple):
    """A picture to train or to validate on."""

    lr: np.ndarray  # uint8 (H, W, 3)
    hr: np.ndarray  # uint8 (scale * H, scale * W, 3)
    condition: Condition = CLEAN  # of `lr`


# All flips and turns of a crop, by OpenCV: ten times as fast as NumPy.
ORIENTATIONS = (
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
    """Photographs to cut crops from; every position in all of them has a number.

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

    def cut(self, place, orientation, lr, hr, degradation=None, random=None):
        """Writes crop number `place`, below `ends[-1]`, to `lr` and `hr`; returns its `Condition`.

        Within a photograph the numbers run backwards.
        """
        index = int(np.searchsorted(self.ends, place, side="right"))
        photograph = self.photographs[index]
        top, left = divmod(int(self.ends[index]) - 1 - place, self.columns[index])
        side, scale = self.lr_size, self.scale
        lr_crop = photograph.lr[top : top + side, left : left + side]
        hr_crop = photograph.hr[scale * top :, scale * left :][: scale * side, : scale * side]
        condition = CLEAN
        if degradation:
            lr_crop, condition = self._degrade(photograph, top, left, degradation, random)
        ORIENTATIONS[orientation](lr_crop, lr)
        ORIENTATIONS[orientation](hr_crop, hr)
        return condition

    def _degrade(self, photograph, top, left, degradation, random):
        """An LR crop, degraded together with its surroundings, and the `Condition` of both."""
        rows, columns = (
            slice(max(0, first - BLOCK), first + self.lr_size + BLOCK) for first in (top, left)
        )
        in_hr = (slice(self.scale * part.start, self.scale * part.stop) for part in (rows, columns))
        window = degrade(
            degradation, photograph.lr[rows, columns], photograph.hr[*in_hr], self.scale, random
        )
        crop = window[top - rows.start :, left - columns.start :][: self.lr_size, : self.lr_size]
        return crop, condition_of(window, degradation.quality)

    def draw(self, random):
        """A `CropSampler` of one random drawing, with room for a crop and its surroundings."""
        side = self.lr_size + 2 * BLOCK
        return CropSampler(
            [Photograph(*random_pair(random, side, side, self.scale))], self.crop_size
        )


def cut_batch(
    pool, step, *, batch_size, seed, part=slice(None), degradation="bicubic", drawings=0.0
):
    """Random crops of LR and HR, each flipped and turned at random; a function of (seed, step).

    Args:
        pool: `CropSampler` of photographs.
        step: number of the training step.
        batch_size: crops a step.
        part: slice of the batch to cut: one process of several cuts its own.
        degradation: bicubic; or `WILD`, as real pictures are.
        drawings: share of crops of random drawings.

    Returns:
        ((lr, condition), hr): uint8 LR crops (N, crop_size / scale, crop_size / scale, 3), their
        conditions, float32 (N, 1, 1, 4), and uint8 HR crops (N, crop_size, crop_size, 3).
    """
    random = np.random.default_rng((seed, step))
    places = random.integers(pool.ends[-1], size=batch_size)[part].tolist()
    orientations = random.integers(len(ORIENTATIONS), size=batch_size)[part].tolist()
    lr = np.empty((len(places), pool.lr_size, pool.lr_size, 3), np.uint8)
    hr = np.empty((len(places), pool.crop_size, pool.crop_size, 3), np.uint8)
    condition = np.empty((len(places), 1, 1, len(CLEAN)), np.float32)
    for n, number in enumerate(range(batch_size)[part]):
        random, source, place = np.random.default_rng((seed, step, number)), pool, places[n]
        if drawings and random.random() < drawings:
            source = pool.draw(random)
            place = int(source.ends[-1]) // 2
        chain = random_degradation(random) if degradation == WILD else None
        condition[n] = source.cut(place, orientations[n], lr[n], hr[n], chain, random).values()
    return (lr, condition), hr
