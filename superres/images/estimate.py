"""Estimates noise, blur and sharpening of a picture from statistics of its pixels.

In a sharp photograph without noise, neighbours differ little in flat places and much in others. How
much, from the flattest to the richest places, tells noise from detail. 34 such statistics go into a
network of one hidden layer, fitted by `tools/fit_estimate.py`.
"""

from pathlib import Path

import cv2
import numpy as np

from superres.images.pixels import to_8bit

FILE = Path(__file__).with_name("estimate.npz")
MAX_NOISE, MAX_BLUR, MAX_SHARPENING = 11.0, 1.2, 1.3  # in the pictures that it was fitted to
# What seems more blurred may be out of focus on purpose: sharpened by all of the estimate, one such
# photograph lost 4.4 dB at x4; with this limit, 2.7.
SURE_BLUR = 0.8
MAX_SIDE, MIN_SIDE = 1024, 16  # pixels: only the centre of larger pictures; no smaller ones
MIXED = np.float32([[1, -1], [-1, 1]])  # sees noise and corners, no horizontal or vertical edges
BLOCK_PERCENTILES, COLOUR_PERCENTILES = (5, 10, 25, 50, 75, 90), (10, 50, 90)
QUANTILES = 0.25, 0.5, 0.75, 0.9, 0.98
FLOOR = 0.3  # levels, added before logarithms
with np.load(FILE) as arrays:
    LAYERS = [arrays[name] for name in ("kernel1", "bias1", "kernel2", "bias2")]


def _mixed(plane, *sides):
    """Yields the RMS of the mixed difference in blocks of these sides; last, the difference."""
    mixed = cv2.filter2D(plane, cv2.CV_32F, MIXED)[1:, 1:]
    square = mixed * mixed
    for side in sides:
        height, width = (length // side for length in square.shape)
        whole = square[: side * height, : side * width]
        yield np.sqrt(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA))
    yield mixed


def _quantiles(differences):
    counts = cv2.calcHist([differences], [0], None, [256], [0, 256]).ravel()
    return np.interp(QUANTILES, np.cumsum(counts) / counts.sum(), np.arange(256) + 0.5)


def statistics(picture, quality):
    """The statistics, float32 (34,), of uint8 RGB (H, W, 3) and its `Condition.quality`."""
    luma = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    red, green = (cv2.extractChannel(picture, channel) for channel in (0, 1))
    *blocks, mixed = _mixed(luma, 4, 8)
    colour, _ = _mixed(cv2.subtract(red, green, dtype=cv2.CV_32F), 8)
    levels = [np.percentile(deviations, BLOCK_PERCENTILES) for deviations in blocks]
    levels.append(np.percentile(colour, COLOUR_PERCENTILES))
    for n in (1, 2, 4):
        rows, columns = cv2.absdiff(luma[n:], luma[:-n]), cv2.absdiff(luma[:, n:], luma[:, :-n])
        levels.append((_quantiles(rows) + _quantiles(columns)) / 2)
    energy = np.square(mixed).mean() + FLOOR**2
    correlations = (mixed[1:] * mixed[:-1]).mean(), (mixed[:, 1:] * mixed[:, :-1]).mean()
    logarithms = np.log(np.concatenate(levels) + FLOOR)
    return np.float32([*logarithms, *(correlations / energy), quality, quality == 1])


def estimate(picture, quality):
    """Noise, blur and sharpening as `Condition` has them; and a fourth number: about 0 for clean
    photographs and drawings, about 1 for all other pictures.
    """
    if min(picture.shape[:2]) < MIN_SIDE:
        return 0.0, 0.0, 0.0, 0.0
    start = [(length - min(length, MAX_SIDE)) // 2 for length in picture.shape[:2]]
    pixels = to_8bit(picture[*(slice(first, first + MAX_SIDE) for first in start)])
    pixels = np.stack([pixels] * 3, 2) if pixels.ndim == 2 else np.ascontiguousarray(pixels)
    kernel1, bias1, kernel2, bias2 = LAYERS
    hidden = np.maximum(statistics(pixels, quality) @ kernel1 + bias1, 0)
    *found, wild = (hidden @ kernel2 + bias2).tolist()
    return *np.clip(found, 0, (MAX_NOISE, SURE_BLUR, MAX_SHARPENING)).tolist(), wild
