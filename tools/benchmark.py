"""Measures how fast this machine enlarges and trains, with random weights.

`python -m tools.benchmark` prints a table: a matrix product in each precision; both networks with
each engine, and in training, with GFLOP/s and their share of the matrix product's; output.py from
file to file, without its start; and crops to train on. Each row is the best of some rounds.
"""

import contextlib
import functools
import io
import itertools
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

import network
import output
import utils
from superres.dataset.crops import CropSampler, Photograph, cut_batch
from superres.images.read import read_rgb
from superres.images.write import write_picture
from superres.runtime import backend, command, engines, settings
from superres.runtime.backend import keras
from superres.runtime.errors import Failed, InputError
from superres.training.optimizers import OPTIMIZERS
from superres.training.trainer import Trainer
from superres.upscaling.graph import Graph
from superres.upscaling.networks import FileNetwork, KerasNetwork
from superres.upscaling.upscaler import Upscaler

# ------------------------------------------------------------------- settings ----
SCALE = 2  # enlargement of height and width: 2, 3 or 4
SIDE = 256  # side of the enlarged picture, LR pixels
MATRIX = 2048  # rows and columns of the matrices; 8192 on a GPU
BATCH_SIZE = 16  # crops a training step; 64 on a large GPU
CROP_SIZE = 0  # side of a crop, HR pixels; 96 on a large GPU; 0: 32 LR pixels
STEPS = 5  # training steps a round
ROUNDS = 5  # after a first one, which compiles
BFLOAT16 = False  # also measure bfloat16 on hardware without it, very slowly
# ---------------------------------------------------------------------------------

NETWORKS = {"24 blocks of 128 filters": (128, 24), "9 blocks of 64 filters": (64, 9)}
SAMPLE = Path(output.__file__).parent / "inference" / "original" / "astronaut.png"
FILES, COPIES = 4, 4  # pictures for output.py, each of 4x4 copies of the sample
CROP_BATCHES = 500
PHOTOGRAPHS = (8, 1356, 2040, 3)  # shape of noise; most of DIV2K are as large
HEAD = """\
| | precision | | GFLOP/s | of the matrix product |
|---|---|---|---|---|"""


class Table:
    """Measures and prints rows; the first of each precision, the matrix product, is 100%."""

    def __init__(self, rounds):
        self.rounds = rounds
        self.peaks = {}  # precision -> operations a second

    def add(self, what, precision, run, amount=0, unit="", operations=0):
        """Adds the row of `run`, which does `amount` of `unit`, and may return (seconds, note)."""
        results = []
        for _ in range(self.rounds + 1):
            began = time.perf_counter()
            result = run()
            is_timed = isinstance(result, tuple)
            results.append(result if is_timed else (time.perf_counter() - began, ""))
        seconds, note = min(results[1:])  # the first one compiles
        speed, rate = amount / seconds, operations / seconds
        speed = f"{speed:#.3g}" if speed < 99.95 else f"{speed:,.0f}"
        peak = self.peaks.setdefault(precision, rate)
        flop = f"{rate / 1e9:.0f} | {rate / peak:.0%}" if rate else " | "
        print(f"| {what} | {precision} | {f'{speed} {unit}{note}' if unit else ''} | {flop} |")


def multiply_matrices(table, precision, size):
    values = np.random.default_rng(0).random((size, size), np.float32)
    matrix = keras.ops.cast(keras.ops.convert_to_tensor(values), precision)

    def run():
        product = keras.ops.matmul(matrix, matrix)
        keras.ops.convert_to_numpy(product[:1, :1])  # waits until it is computed

    table.add("matrix product", precision, run, operations=2 * size**3)


def enlarge_noise(table, name, precision, scale, side):
    picture = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    model = network.edsr(scale, *NETWORKS[name], global_skip=True)
    operations = side**2 * Graph.of_model(model).flop_per_pixel
    networks = {backend.describe(): KerasNetwork(model, folds=True)}
    with tempfile.TemporaryDirectory() as folder:
        if engines.is_installed():
            model.save(Path(folder, "w.keras"))
            networks[engines.describe()] = FileNetwork(Path(folder, "w.keras"))
        for engine, one in networks.items():
            upscaler = Upscaler(one, precision=precision, tile_size=side)
            what, run = f"enlarging, {name}, {engine}", functools.partial(upscaler.enlarge, picture)
            table.add(what, precision, run, side**2 / 1e6, "LR Mpx/s", operations)


def enlarge_files(table, precision, scale):
    picture = np.tile(read_rgb(SAMPLE), (COPIES, COPIES, 1))
    weights = utils.WEIGHTS_FOLDER / f"edsr_small_x{scale}.keras"
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "in").mkdir()
        for n in range(FILES):
            write_picture(Path(folder, "in", f"{n}.jpg"), picture, {})
        words = [f"{folder}/in", f"{folder}/out", "--weights", str(weights)]

        def enlarge(*more):
            began = time.perf_counter()
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                if output.main([*words, "--precision", precision, *more]):
                    raise Failed(f"output.py failed: {printed.getvalue()}")
            return time.perf_counter() - began

        def run():
            return enlarge("--overwrite") - enlarge(), ""  # the second call only starts and ends

        amount = FILES * picture[..., 0].size / 1e6
        table.add(f"output.py, {weights.name}, JPEG", precision, run, amount, "LR Mpx/s")


def noise_crops(scale, batch_size, crop_size, degradation):
    """A function from step to a batch of crops of noise."""
    hr = np.random.default_rng(0).integers(0, 256, PHOTOGRAPHS, np.uint8)
    pool = CropSampler(list(map(Photograph, hr[:, ::scale, ::scale].copy(), hr)), crop_size)
    options = {"batch_size": batch_size, "seed": 0, "degradation": degradation}
    return functools.partial(cut_batch, pool, **options)


def cut_crops(table, make_batch, degradation):
    count, side, *_ = make_batch(0)[1].shape

    def run():
        for step in range(CROP_BATCHES):
            make_batch(step)

    table.add(f"crops of {side}x{side}, {degradation}", "", run, CROP_BATCHES * count, "crops/s")


def train(table, name, optimizer, precision, make_batch, steps):
    (lr, _), hr = make_batch(0)
    keras.config.set_dtype_policy("mixed_bfloat16" if precision == "bfloat16" else precision)
    model = network.edsr(hr.shape[1] // lr.shape[1], *NETWORKS[name])
    keras.config.set_dtype_policy("float32")
    trainer = Trainer(
        model, loss="l1", optimizer=optimizer, learning_rate=1e-4, clip_norm=1.0, ema_decay=0.999
    )
    # The backward pass takes twice as many as the forward pass.
    operations = 3 * steps * lr[..., 0].size * Graph.of_model(model).flop_per_pixel

    def run():
        began = time.perf_counter()
        fitted = trainer.fit(make_batch, steps, threading.Event())
        seconds = time.perf_counter() - began
        return seconds, f", waiting for crops {fitted.waited / seconds:.1%}"

    table.add(f"training, {name}, {optimizer}", precision, run, steps, "steps/s", operations)


def work(config, stop):
    """Measures as the settings say, and prints the table; returns the exit code."""
    for name, value in vars(config).items():
        if name != "bfloat16":
            settings.check_whole(name, value, 0 if name == "crop_size" else 1)
    settings.check_choice("scale", config.scale, network.SHUFFLES)
    scale, crop_size = config.scale, config.crop_size or 32 * config.scale
    if crop_size % scale:
        raise InputError(f"CROP_SIZE = {crop_size}: expected a multiple of SCALE = {scale}")
    has_fast = backend.has_fast_bfloat16, lambda: engines.openvino().has_fast_bfloat16()
    is_fast = any(ask() for ask in has_fast[: 1 + engines.is_installed()])
    precisions = ["float32"] + ["bfloat16"] * (is_fast or config.bfloat16)
    note = "" if len(precisions) > 1 else "; no bfloat16, which this hardware lacks"
    print(f"Training by {backend.describe()}{note}\n\n{HEAD}", flush=True)
    table = Table(config.rounds)
    for precision in precisions:
        multiply_matrices(table, precision, config.matrix)
    for name, precision in itertools.product(NETWORKS, precisions):
        enlarge_noise(table, name, precision, scale, config.side)
    enlarge_files(table, precisions[-1], scale)
    make_batch = noise_crops(scale, config.batch_size, crop_size, "bicubic")
    for kind in itertools.product(NETWORKS, OPTIMIZERS, precisions):
        train(table, *kind, make_batch, config.steps)
    cut_crops(table, make_batch, "bicubic")
    cut_crops(table, noise_crops(scale, config.batch_size, crop_size, "wild"), "wild")
    return 0


def main(arguments=None):
    """Runs the command; returns its exit code."""
    return command.run(work, [__name__], arguments)


if __name__ == "__main__":
    sys.exit(main())
