"""Fits superres/images/estimate.npz: how noisy and how blurred a picture is, by its statistics.

`python -m tools.fit_estimate DATA` draws pictures of a folder of photographs, and prints how far
off the estimates are on every fifth photograph.
"""

import sys

import cv2
import numpy as np
from tqdm import tqdm

from superres.images.degradation import degrade, draw_wild
from superres.images.estimate import FILE, statistics
from superres.images.formats import find_pictures
from superres.images.read import read_rgb
from superres.images.resize import downscale
from superres.runtime import command

# ------------------------------------------------------------------- settings ----
DATA = "data"  # folder of photographs, searched recursively
DRAWS = 12  # of each photograph
# ---------------------------------------------------------------------------------

SCALES, SIDES, GREY_SHARE = (2, 3, 4), (64, 320), 0.08
UNITS = np.float32([3, 0.35, 0.35])  # of noise, blur and wild: about their deviations


def draw(hr, random):
    """Statistics of a part of a photograph as it may come, and its noise, blur, and wild or not."""
    scale = int(random.choice(SCALES))
    side = scale * int(random.integers(*SIDES))
    height, width = (min(side, length) // scale * scale for length in hr.shape[:2])
    top, left = (
        int(random.integers(n - m + 1)) for n, m in zip(hr.shape[:2], (height, width), strict=True)
    )
    part = np.ascontiguousarray(hr[top : top + height, left : left + width])
    if random.random() < GREY_SHARE:
        part = cv2.cvtColor(cv2.cvtColor(part, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    drawn = draw_wild(random)
    lr = degrade(drawn, downscale(part, scale), part, scale, random)
    is_wild = str(drawn) != "clean"
    return statistics(lr, drawn.quality), (drawn.noise, drawn.blur, is_wild)


def fit(chosen, stop):
    """Draws, fits, writes; returns the exit code."""
    from superres.runtime.backend import keras  # here, since it takes seconds to load

    drawn = []
    for number, path in enumerate(tqdm(find_pictures(chosen.data), unit="photograph")):
        hr = read_rgb(path)
        randoms = [np.random.default_rng((number, n)) for n in range(chosen.draws)]
        drawn.append([draw(hr, random) for random in randoms])
    inputs, truth = (np.float32([[one[n] for one in of] for of in drawn]) for n in (0, 1))
    is_held_out = np.arange(len(drawn)) % 5 == 0
    (x, y), (x_test, y_test) = (
        [values[which].reshape(-1, values.shape[-1]) for values in (inputs, truth)]
        for which in (~is_held_out, is_held_out)
    )
    mean, deviation = x.mean(0), x.std(0)
    keras.utils.set_random_seed(1)
    regularizer = keras.regularizers.L2(1e-4)
    hidden = keras.layers.Dense(32, activation="relu", kernel_regularizer=regularizer)
    model = keras.Sequential([hidden, keras.layers.Dense(3)])
    epochs, batch = 60, 64
    rate = keras.optimizers.schedules.CosineDecay(3e-3, epochs * len(x) // batch)
    model.compile(keras.optimizers.Adam(rate), "mse")
    model.fit((x - mean) / deviation, y / UNITS, batch, epochs, verbose=0)
    off = UNITS * model.predict((x_test - mean) / deviation, verbose=0) - y_test
    print(f"off by {np.sqrt(np.square(off).mean(0))}, of deviations of {y_test.std(0)}")
    kernel1, bias1, kernel2, bias2 = model.get_weights()
    kernel1 /= deviation[:, None]
    np.savez(
        FILE,
        kernel1=kernel1,
        bias1=bias1 - mean @ kernel1,
        kernel2=kernel2 * UNITS,
        bias2=bias2 * UNITS,
    )
    return 0


def main(arguments=None):
    """Runs the command; returns its exit code."""
    return command.run(fit, [__file__], arguments, positional=("DATA",))


if __name__ == "__main__":
    sys.exit(main())
