"""Measures how fast this machine enlarges and trains, by each engine that is installed.

`python -m tools.benchmark` prints for the large and the small network how fast they enlarge, by
Keras and by OpenVINO, and train; the arithmetic that this is, and its share of what the machine's
own matrix product of that precision reaches; how fast output.py is from files to files; and how
many crops are cut for a training, and which part of its time it waits for them. Rows appear as soon
as all that they are to be compared with is measured, in turn, round after round. Weights are
random, but for output.py, which makes no difference to the time.
"""

import contextlib
import functools
import io
import itertools
import math
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

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
from superres.runtime.prefetch import Prefetcher
from superres.runtime.terminal import progress
from superres.training.optimizers import OPTIMIZERS
from superres.training.trainer import Trainer
from superres.upscaling.graph import Graph
from superres.upscaling.networks import FileNetwork, KerasNetwork
from superres.upscaling.upscaler import Upscaler

# ------------------------------------------------------------------- settings ----
SCALE = 2  # enlargement of height and width: 2, 3 or 4
SIDE = 256  # LR pixels a side of the picture that is enlarged
MATRIX = 2048  # rows and columns of the matrices; 8192 on a GPU
BATCH_SIZE = 16  # crops a training step; 64 on a large GPU
CROP_SIZE = 0  # their height and width, in HR pixels; 96 on a large GPU; 0: 32 LR pixels
STEPS = 5  # training steps in a row
ROUNDS = 5  # each is measured so often, in turn; the best counts
BFLOAT16 = False  # measure bfloat16 also where the hardware has none, and is very slow in it
# ---------------------------------------------------------------------------------

NETWORKS = {  # num_filters, residual_blocks
    "24 blocks of 128 filters": (128, 24),
    "9 blocks of 64 filters": (64, 9),
}
LOOP = "its own loop"
SAMPLE = Path(output.__file__).parent / "inference" / "original" / "astronaut.png"
FILES, FILE_SIZE = 4, (1024, 1024)  # pictures that are enlarged from file to file
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


def enlargements(model, precision, side, folder):
    """Functions that enlarge a picture of noise with a model, by each engine that is installed.

    Args:
        model: network as `network.edsr` builds it.
        precision: float32 or bfloat16.
        side: of the picture, in LR pixels.
        folder: where it is written for engines that read files.

    Returns:
        dict of the engine, in words -> function.
    """
    picture = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    operations = side**2 * Graph.of_model(model).flop_per_pixel
    networks = {backend.describe(): KerasNetwork(model)}
    runs = {}

    def enlarge(upscaler):
        upscaler.enlarge(picture)
        return {"operations": operations, "amount": side**2 / 1e6, "unit": "LR Mpx/s"}

    if engines.is_installed():
        path = folder / f"{model.count_params()}.keras"
        model.save(path)
        networks[engines.describe()] = FileNetwork(path, folder)
        runs[f"{engines.describe()}, {LOOP}"] = own_loop(path, precision, side, folder, operations)
    for name, one in networks.items():
        upscaler = Upscaler(one, precision=precision, tile_size=side)
        runs[name] = functools.partial(enlarge, upscaler)
    return runs


def own_loop(path, precision, side, folder, operations=0):
    """Function that runs the engine alone, on the graph as it is in a weights file."""
    run = FileNetwork(path, folder, folds=False).compiled(precision)
    lr = np.random.default_rng(0).random((1, side, side, 3), np.float32)

    def run_once():
        run(lr)
        return {"operations": operations, "amount": side**2 / 1e6, "unit": "LR Mpx/s"}

    return run_once


def sample_files(folder, suffix):
    """Writes a few photographs of `FILE_SIZE`, mirrored and shifted from a sample picture."""
    height, width = FILE_SIZE
    photograph = read_rgb(SAMPLE)
    photograph = np.concatenate([photograph, photograph[::-1]])
    photograph = np.concatenate([photograph, photograph[:, ::-1]], axis=1)
    repeats = [math.ceil(2 * n / m) for n, m in zip(FILE_SIZE, photograph.shape[:2], strict=True)]
    photograph = np.tile(photograph, (*repeats, 1))
    (folder / suffix).mkdir()
    for n in range(FILES):
        picture = photograph[64 * n :, 32 * n :][:height, :width]
        write_picture(folder / suffix / f"{n}.{suffix}", np.ascontiguousarray(picture), {})
    return folder / suffix


def file_to_file(source, weights, engine, precision):
    """Function that runs output.py on a folder; the time that it takes to start does not count."""
    target = source.with_name(f"{source.name} enlarged by {engine}")
    words = [source, target, "--weights", weights, "--engine", engine, "--precision", precision]

    def enlarge(*more):
        began = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            code = output.main([str(word) for word in (*words, *more)])
        if code:
            raise Failed(f"output.py failed: {printed.getvalue()}")
        return time.perf_counter() - began

    def run():
        whole = enlarge("--overwrite")
        seconds = whole - enlarge()  # which finds all of them there
        return {
            "seconds": seconds,
            "amount": FILES * math.prod(FILE_SIZE) / 1e6,
            "unit": "LR Mpx/s",
        }

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
    operations = 3 * steps * pixels * Graph.of_model(model).flop_per_pixel

    def run():
        waited, began = stream.waited, time.perf_counter()
        trainer.fit(stream.batches(range(steps)), steps, threading.Event())
        share = (stream.waited - waited) / (time.perf_counter() - began)
        note = f"waiting for crops {share:.1%}"
        return {"operations": operations, "amount": steps, "unit": "steps/s", "note": note}

    return run


def blocks(chosen, precisions, folder, held):
    """What is to be measured: yields dicts of (what, precision) -> function, one for each block.

    Args:
        chosen: the settings.
        precisions: list.
        folder: an empty one.
        held: `contextlib.ExitStack` that closes what is opened here.
    """
    scale, batch_size, crop_size = chosen.scale, chosen.batch_size, chosen.crop_size
    yield {("matrix product", p): matrix_product(chosen.matrix, p) for p in precisions}
    for (name, size), precision in itertools.product(NETWORKS.items(), precisions):
        model = network.edsr(scale, *size, global_skip=True)
        runs = enlargements(model, precision, chosen.side, folder)
        yield {(f"enlarging, {name}, {engine}", precision): run for engine, run in runs.items()}
    if engines.is_installed():
        path, precision = utils.WEIGHTS_FOLDER / f"edsr_small_x{scale}.keras", precisions[-1]
        loop = own_loop(path, precision, chosen.side, folder)
        runs = {(f"enlarging, {path.name}, {engines.describe()}, {LOOP}", precision): loop}
        for suffix in "png", "jpg":
            run = file_to_file(sample_files(folder, suffix), path, "openvino", precision)
            runs[f"output.py, {path.name}, {suffix} to {suffix}", precision] = run
        yield runs
    stream, wild = (
        noise_stream(scale, batch_size, crop_size, kind) for kind in ("bicubic", "wild")
    )
    held.callback(stream.close)
    held.callback(wild.close)
    pixels = batch_size * (crop_size // scale) ** 2
    for name, size in NETWORKS.items():
        yield {
            (f"training, {name}, {optimizer}", precision): training(
                (scale, *size), precision, optimizer, stream, pixels, chosen.steps
            )
            for optimizer, precision in itertools.product(OPTIMIZERS, precisions)
        }
    what = f"crops of {crop_size}x{crop_size}"
    yield {
        (f"{what}, without training", ""): cutting(stream, batch_size),
        (f"{what}, degraded, without training", ""): cutting(wild, batch_size),
    }


def measure(runs, rounds, on_run=lambda: None):
    """Runs what is in a block in turn; a list of `Measured`, each the best of the rounds."""
    best = {}
    for n in range(rounds + 1):  # the first one compiles
        for key, run in runs.items():
            began = time.perf_counter()
            done = run()
            done.setdefault("seconds", time.perf_counter() - began)
            if n and (key not in best or done["seconds"] < best[key].seconds):
                best[key] = Measured(*key, **done)
            on_run()
    return list(best.values())


HEAD = """\
| | precision | | GFLOP/s | of the matrix product |
|---|---|---|---|---|"""


def as_line(row, rates):
    """A measurement as a line of Markdown.

    Args:
        row: `Measured`.
        rates: dict of precision -> operations a second of the matrix product.
    """
    words = [f"{three_digits(row.amount / row.seconds)} {row.unit}"] if row.unit else []
    words += [row.note] if row.note else []
    rate = row.operations / row.seconds
    flop = [f"{rate / 1e9:.0f}", f"{rate / rates[row.precision]:.0%}"] if rate else ["", ""]
    return f"| {row.what} | {row.precision} | {', '.join(words)} | {' | '.join(flop)} |"


def three_digits(value):
    """A positive number with three digits, or all before the point."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.{2 - math.floor(math.log10(value))}f}"


def work(chosen, stop):
    """Measures as the settings say, and prints the table; returns the exit code."""
    for name, value in vars(chosen).items():
        if name != "bfloat16":
            settings.check_whole(name, value, 0 if name == "crop_size" else 1)
    settings.check_flag("bfloat16", chosen.bfloat16)
    settings.check_choice("scale", chosen.scale, network.SHUFFLES)
    chosen.crop_size = chosen.crop_size or 32 * chosen.scale
    if chosen.crop_size % chosen.scale:
        raise InputError(
            f"CROP_SIZE = {chosen.crop_size}: expected a multiple of SCALE = {chosen.scale}"
        )
    is_fast = backend.has_fast_bfloat16() or (
        engines.is_installed() and engines.has_fast_bfloat16()
    )
    precisions = ["float32"] + ["bfloat16"] * (is_fast or chosen.bfloat16)
    left_out = "" if len(precisions) > 1 else "; bfloat16 is left out, which this hardware lacks"
    print(f"Training by {backend.describe()}{left_out}\n\n{HEAD}", flush=True)
    rates = {}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as held:
        for runs in blocks(chosen, precisions, Path(folder), held):
            steps = len(runs) * (chosen.rounds + 1)
            name = next(iter(runs))[0]
            with progress(total=steps, desc=name, unit="run", leave=False) as bar:

                def on_run(bar=bar):
                    bar.update()
                    stop.check()

                rows = measure(runs, chosen.rounds, on_run)
            rates = rates or {row.precision: row.operations / row.seconds for row in rows}
            print("\n".join(as_line(row, rates) for row in rows), flush=True)
    return 0


def main(arguments=None):
    """Runs the command; returns its exit code."""
    return command.run(work, [__name__], arguments)


if __name__ == "__main__":
    sys.exit(main())
