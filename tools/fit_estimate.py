"""Fits superres/images/estimate.npz: `python -m tools.fit_estimate DATA`, a folder of photographs.

It degrades photographs at random, fits to four fifths of them, and prints errors on the others.
"""

import sys
from dataclasses import replace

import cv2
import numpy as np
from tqdm import tqdm

from superres.images import degradation as wild
from superres.images.degradation import Degradation, degrade, random_degradation
from superres.images.estimate import FILE, statistics
from superres.images.formats import find_pictures
from superres.images.random_drawings import random_drawing
from superres.images.read import read_rgb
from superres.images.resize import downscale
from superres.runtime.backend import keras

DRAWS, SCALES, SIDES, GREY_SHARE, PATTERN_SHARE = 24, (2, 3, 4), (64, 320), 0.08, 0.2
MORE_SHARPENED = 0.3  # share of the degraded ones; in the mix alone they are too few to be found
UNITS = np.float32([3, 0.35, 0.25, 0.35])  # of the four estimates, for about equal errors
EPOCHS, BATCH = 60, 64


def example(hr, random):
    """Statistics of a degraded part of a photograph, and what `estimate` is to find."""
    scale = int(random.choice(SCALES))
    size = np.minimum(scale * int(random.integers(*SIDES)), hr.shape[:2]) // scale * scale
    top, left = random.integers(hr.shape[:2] - size, endpoint=True)
    part = np.ascontiguousarray(hr[top : top + size[0], left : left + size[1]])
    if random.random() < GREY_SHARE:
        part = cv2.cvtColor(cv2.cvtColor(part, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    degradation, lr = random_degradation(random), downscale(part, scale)
    if str(degradation) != "clean" and random.random() < MORE_SHARPENED:
        ranges = wild.SHARPENED_AMOUNT, wild.SHARPENED_RADIUS
        amount, radius = (random.uniform(*limits) for limits in ranges)
        degradation = replace(degradation, amount=amount, radius=radius)
    if random.random() < PATTERN_SHARE:
        lr, part = random_drawing(random, *lr.shape[:2]), None
        degradation = degradation if random.random() < 0.5 else Degradation()
    lr = degrade(degradation, lr, part, scale, random)
    truth = degradation.noise, degradation.blur, degradation.sharpening
    return statistics(lr, degradation.quality), (*truth, str(degradation) != "clean")


sets = [[], []]  # to fit, to test
for number, path in enumerate(tqdm(find_pictures(sys.argv[1]), unit="photograph")):
    hr = read_rgb(path)
    seeds = [(number, n) for n in range(DRAWS)]
    sets[number % 5 == 0] += [example(hr, np.random.default_rng(seed)) for seed in seeds]
(x, y), (x_test, y_test) = (map(np.float32, zip(*draws, strict=True)) for draws in sets)
mean, deviation = x.mean(0), x.std(0)
keras.utils.set_random_seed(1)
hidden = keras.layers.Dense(32, "relu", kernel_regularizer=keras.regularizers.L2(1e-4))
model = keras.Sequential([hidden, keras.layers.Dense(len(UNITS))])
rate = keras.optimizers.schedules.CosineDecay(3e-3, EPOCHS * len(x) // BATCH)
model.compile(keras.optimizers.Adam(rate), "mse")
model.fit((x - mean) / deviation, y / UNITS, BATCH, EPOCHS, verbose=0)
estimates = UNITS * model.predict((x_test - mean) / deviation, verbose=0)
error, spread = np.sqrt(np.square(estimates - y_test).mean(0)), y_test.std(0)
print(f"noise, blur, sharpening, wild: RMS error {error}, standard deviation {spread}")
clean, others = (estimates[(x_test[:, -1] == 1) & (y_test[:, -1] == n), -1] for n in (0, 1))
limit = np.quantile(clean, 0.98)
print(f"98% of clean, {(others < limit).mean():.0%} of other lossless pictures: below {limit:.2f}")
kernel1, bias1, kernel2, bias2 = model.get_weights()
kernel1 /= deviation[:, None]
bias1 -= mean @ kernel1
np.savez(FILE, kernel1=kernel1, bias1=bias1, kernel2=kernel2 * UNITS, bias2=bias2 * UNITS)
