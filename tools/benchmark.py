"""Measures how fast this machine enlarges and trains, beside its matrix products.

`python -m tools.benchmark` prints, for the large and the small network in both precisions, how fast
they enlarge and train, the arithmetic that this is, and its share of what the machine's own
matrix product of that precision reaches in the same run; and how many crops are cut for a
training, and which part of its time it waits for them. Weights and pictures are random, which
makes no difference to the time.
"""

import itertools
import math
import sys
import threading
import time
from typing import NamedTuple

import numpy as np

import network
from superres.dataset.crops import CropSampler, Photograph, cut_batch
from superres.runtime import backend, command, settings
from superres.runtime.backend import keras
from superres.runtime.prefetch import Prefetcher
from superres.training.optimizers import OPTIMIZERS
from superres.training.trainer import Trainer
from superres.upscaling import graph
from superres.upscaling.upscaler import Upscaler

# ------------------------------------------------------------------- settings ----
SCALE = 2  # enlargement of height and width: 2, 3 or 4
SIDE = 256  # LR pixels a side of the picture that is enlarged
MATRIX = 2048  # rows and columns of the matrices; 8192 on a GPU
BATCH_SIZE = 16  # crops a training step; 64 on a large GPU
CROP_SIZE = 0  # their height and width, in HR pixels; 96 on a large GPU; 0: 32 LR pixels
STEPS = 5  # training steps in a row
ROUNDS = 5  # each is measured so often, in turn; the best counts
# ---------------------------------------------------------------------------------

NETWORKS = {  # num_filters, residual_blocks
    "24 blocks of 128 filters": (128, 24),
    "9 blocks of 64 filters": (64, 9),
}
PRECISIONS = ("float32", "bfloat16")
CROP_BATCHES = 500  # of the loader alone
PHOTOGRAPH = (1356, 2040)  # as most of DIV2K


class Measured(NamedTuple):
    """One row: what, in which precision, best seconds, operations, and what was done then.

    Attributes:
        amount: of `unit`, in `seconds`.
        note: what is to be said of it.
    """

    what: str
    precision: str
    seconds: float
    operations: float = 0
    amount: float = 0
    unit: str = ""
    note: str = ""


def matrix_product(size, dtype):
    """Function that multiplies two square matrices."""
    values = np.random.default_rng(0).random((size, size), np.float32)
    matrix = keras.ops.cast(keras.ops.convert_to_tensor(values), dtype)

    def run():
        product = keras.ops.matmul(matrix, matrix)
        keras.ops.convert_to_numpy(product[:1, :1])  # waits until it is computed
        return {"operations": 2 * size**3}

    return run


def enlargement(scale, num_filters, residual_blocks, precision, side):
    """Function that enlarges a picture of noise."""
    upscaler = Upscaler(
        network.edsr(scale, num_filters, residual_blocks), precision=precision, tile_size=side
    )
    picture = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    operations = side**2 * graph.flop_per_pixel(upscaler.model)

    def run():
        upscaler.enlarge(picture)
        return {"operations": operations, "amount": side**2 / 1e6, "unit": "LR Mpx/s"}

    return run


def noise_stream(scale, batch_size, crop_size, degradation="bicubic"):
    """Crops of pictures of noise, in memory."""
    random = np.random.default_rng(0)
    height, width = (side // scale for side in PHOTOGRAPH)
    photographs = [
        Photograph(
            random.integers(0, 256, (height, width, 3), np.uint8),
            random.integers(0, 256, (scale * height, scale * width, 3), np.uint8),
        )
        for _ in range(8)
    ]
    pool = CropSampler(photographs, crop_size)
    return Prefetcher(
        lambda step: cut_batch(pool, step, batch_size=batch_size, seed=0, degradation=degradation)
    )


def cutting(stream, batch_size):
    """Function that takes batches from a stream and does nothing with them."""

    def run():
        for _ in stream.batches(range(CROP_BATCHES)):
            pass
        return {"amount": CROP_BATCHES * batch_size, "unit": "crops/s"}

    return run


def training(shape, precision, optimizer, stream, pixels, steps):
    """Function that trains a network of (scale, filters, blocks), with so many LR pixels a step."""
    keras.config.set_dtype_policy("mixed_bfloat16" if precision == "bfloat16" else precision)
    model = network.edsr(*shape)
    keras.config.set_dtype_policy("float32")
    trainer = Trainer(
        model, loss="l1", optimizer=optimizer, learning_rate=1e-4, clip_norm=1.0, ema_decay=0.999
    )
    # Backwards it is twice as much as forwards.
    operations = 3 * steps * pixels * graph.flop_per_pixel(model)

    def run():
        waited, began = stream.waited, time.perf_counter()
        trainer.fit(stream.batches(range(steps)), steps, threading.Event())
        share = (stream.waited - waited) / (time.perf_counter() - began)
        note = f"waiting for crops {share:.1%}"
        return {"operations": operations, "amount": steps, "unit": "steps/s", "note": note}

    return run


def measure(scale, side, matrix, batch_size, crop_size, steps, rounds):
    """Runs everything in turn.

    Returns:
        List of `Measured`, each the best of the rounds.
    """
    stream = noise_stream(scale, batch_size, crop_size)
    pixels = batch_size * (crop_size // scale) ** 2
    runs = {}
    for precision in PRECISIONS:
        runs["matrix product", precision] = matrix_product(matrix, precision)
    for name, size in NETWORKS.items():
        for precision in PRECISIONS:
            runs[f"enlarging, {name}", precision] = enlargement(scale, *size, precision, side)
    for name, size in NETWORKS.items():
        for optimizer, precision in itertools.product(OPTIMIZERS, PRECISIONS):
            runs[f"training, {name}, {optimizer}", precision] = training(
                (scale, *size), precision, optimizer, stream, pixels, steps
            )
    photo = noise_stream(scale, batch_size, crop_size, "photo")
    for kind, crops in {"": stream, ", degraded as photo": photo}.items():
        what = f"crops of {crop_size}x{crop_size}{kind}, without training"
        runs[what, ""] = cutting(crops, batch_size)
    best = {}
    for n in range(rounds + 1):  # the first one compiles
        for key, run in runs.items():
            began = time.perf_counter()
            done = run()
            seconds = time.perf_counter() - began
            if n and (key not in best or seconds < best[key].seconds):
                best[key] = Measured(*key, seconds, **done)
    stream.close()
    photo.close()
    return list(best.values())


def table(measured):
    """The measurements as lines of Markdown."""
    lines = [
        "| | precision | | GFLOP/s | of the matrix product |",
        "|---|---|---|---|---|",
    ]
    rates = {row.precision: row.operations / row.seconds for row in measured[: len(PRECISIONS)]}
    for row in measured:
        words = [f"{three_digits(row.amount / row.seconds)} {row.unit}"] if row.unit else []
        words += [row.note] if row.note else []
        rate = row.operations / row.seconds
        flop = [f"{rate / 1e9:.0f}", f"{rate / rates[row.precision]:.0%}"] if rate else ["", ""]
        lines.append(f"| {row.what} | {row.precision} | {', '.join(words)} | {' | '.join(flop)} |")
    return "\n".join(lines)


def three_digits(value):
    """A positive number with three digits, or all before the point."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.{2 - math.floor(math.log10(value))}f}"


def work(chosen, stop):
    """Measures as the settings say, and prints the table; returns the exit code."""
    for name, value in vars(chosen).items():
        settings.check_whole(name, value, 0 if name == "crop_size" else 1)
    settings.check_choice("scale", chosen.scale, network.SHUFFLES)
    chosen.crop_size = chosen.crop_size or 32 * chosen.scale
    if chosen.crop_size % chosen.scale:
        raise ValueError(
            f"CROP_SIZE = {chosen.crop_size}: expected a multiple of SCALE = {chosen.scale}"
        )
    chosen_here = "bfloat16" if backend.has_fast_bfloat16() else "float32"
    print(f"{backend.describe()}; output.py computes in {chosen_here} here")
    print(table(measure(**vars(chosen))))
    return 0


def main(arguments=None):
    """Runs the command; returns its exit code."""
    return command.run(work, [__file__], arguments)


if __name__ == "__main__":
    sys.exit(main())
