"""Trains the network on a folder of photographs: photographs -> crops -> fit -> weights/.

`python train.py` trains on every picture below data/ and writes weights/<NAME>.keras, the
averaged weights of the epoch that scored best on validation pictures, with its settings
(.json), a row for every epoch (.csv) and a plot of them (.png). Started again, it goes on
after the last whole epoch.
"""

import contextlib
import csv
import itertools
import json
import math
import os
import signal
import sys
import tempfile
import time
import zipfile
import zlib
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

import backend
import evaluate
import network
import output
import settings
import utils
from backend import keras
from upscaler import Upscaler

# ------------------------------------------------------------------- settings ----
DATA = "data"  # folder of HR photographs, searched recursively
VALIDATION_DATA = ""  # folder of validation pictures; empty: hold out a few of DATA
NAME = ""  # the weights are written to weights/<NAME>.keras; empty: my_edsr_x<SCALE>
CROP_SIZE = 64  # height and width of a training crop, in HR pixels
BATCH_SIZE = 8  # crops a step
EPOCHS = 1000  # times STEPS_PER_EPOCH; the learning rate reaches 0 at the end
STEPS_PER_EPOCH = 1000  # steps between validations
LEARNING_RATE = 1e-4  # of Adam, at its peak; grow it with BATCH_SIZE
WARMUP_STEPS = 500  # steps in which the learning rate rises from 0 to its peak
CLIP_NORM = 1.0  # largest norm of the whole gradient; a bad batch cannot derail the run
AVERAGING = 0.999  # decay of the averaged weights, which are validated and saved
VALIDATION_CROP = 512  # side of the centre of a validation picture that is scored, HR pixels
PRECISION = "float32"  # or "mixed_bfloat16": faster where the hardware has bfloat16
SEED = 1  # of the first weights and of all crops
RESTART = False  # begin anew and overwrite an earlier run of the same NAME
# ---------------------------------------------------------------------------------

WEIGHTS_FOLDER = output.WEIGHTS_FOLDER
HALO_PICTURES = 6  # validation pictures on which the halo of new weights is measured
PRECISIONS = ("float32", "mixed_bfloat16")
# A run may go on with these changed: the pictures may have moved since.
FREE_TO_CHANGE = {"data", "validation_data", "restart"}


class Photograph(NamedTuple):
    """One training picture: uint8 (H, W, 3) `lr` and (scale * H, scale * W, 3) `hr`."""

    lr: np.ndarray
    hr: np.ndarray


def load_photographs(paths, *, scale, crop_size):
    """Decodes photographs and makes their low-resolution pictures, on all processors.

    Args:
        paths: the files.
        scale: reduction of the low-resolution pictures.
        crop_size: smallest height and width that is of use, HR pixels.

    Returns:
        List of `Photograph` in the order of `paths`, and a dict from each path that was
        left out to the reason.
    """

    def load(path):
        try:
            hr = utils.read_rgb(path)
        except utils.UnreadablePicture as error:
            return error
        height, width = hr.shape[:2]
        if min(height, width) < crop_size:
            return f"{width}x{height} is smaller than a crop of {crop_size}x{crop_size}"
        hr = utils.crop_to_multiple(hr, scale)
        return Photograph(utils.downscale(hr, scale), hr)

    photographs, skipped = [], {}
    with ThreadPoolExecutor() as workers:
        loaded = tqdm(workers.map(load, paths), "loading", len(paths), unit="picture")
        for path, result in zip(paths, loaded, strict=True):
            if isinstance(result, Photograph):
                photographs.append(result)
            else:
                skipped[path] = str(result)
    return photographs, skipped


def cut_batch(photographs, step, *, crop_size, batch_size, seed):
    """Random aligned crops, each flipped and turned at random; a function of (seed, step).

    Every crop position of all photographs is equally likely, so a large photograph gives
    more crops than a small one.

    Args:
        photographs: list of `Photograph`, each at least as large as a crop.
        step: number of the training step.
        crop_size: side of a crop in HR pixels, a multiple of the scale.

    Returns:
        uint8 (batch_size, crop_size / scale, crop_size / scale, 3) LR crops and
        uint8 (batch_size, crop_size, crop_size, 3) HR crops.
    """
    scale = photographs[0].hr.shape[0] // photographs[0].lr.shape[0]
    lr_size = crop_size // scale
    positions = np.cumsum(
        [(p.lr.shape[0] - lr_size + 1) * (p.lr.shape[1] - lr_size + 1) for p in photographs]
    )
    random = np.random.default_rng((seed, step))
    lr = np.empty((batch_size, lr_size, lr_size, 3), np.uint8)
    hr = np.empty((batch_size, crop_size, crop_size, 3), np.uint8)
    for n in range(batch_size):
        position = random.integers(positions[-1])
        index = np.searchsorted(positions, position, side="right")
        photograph = photographs[index]
        columns = photograph.lr.shape[1] - lr_size + 1
        top, left = divmod(int(positions[index] - 1 - position), columns)
        turns, flip = random.integers(4), random.integers(2)
        for crops, picture, factor in (lr, photograph.lr, 1), (hr, photograph.hr, scale):
            size = lr_size * factor
            crop = picture[top * factor :, left * factor :][:size, :size]
            crop = np.rot90(crop, turns)
            crops[n] = crop[:, ::-1] if flip else crop
    return lr, hr


def stream(make_batch, first_step, ahead=8):
    """Yields make_batch(first_step), make_batch(first_step + 1), ... for ever.

    A thread of its own makes the next `ahead` batches meanwhile.
    """
    with ThreadPoolExecutor(1) as worker:
        later = first_step + ahead
        waiting = deque(worker.submit(make_batch, step) for step in range(first_step, later))
        for step in itertools.count(later):
            yield waiting.popleft().result()
            waiting.append(worker.submit(make_batch, step))


def mean_absolute_error(hr, sr):
    """L1 loss of uint8 `hr` against float `sr` in [0, 1], both (N, H, W, 3); (N,)."""
    hr = keras.ops.cast(hr, "float32") / 255
    return keras.ops.mean(keras.ops.abs(hr - sr), axis=(1, 2, 3))


def training_model(model, *, learning_rate, clip_norm, averaging):
    """`model` with uint8 pixels in, compiled for `fit`: L1, Adam, averaged weights.

    Args:
        model: network from float32 in [0, 1], as `network.edsr` builds it.
        learning_rate: number or Keras schedule.
        clip_norm: largest norm of the whole gradient.
        averaging: decay of the averaged weights, which the optimizer keeps.
    """
    # The crops travel to the device as uint8, a quarter of the bytes of float32.
    pixels = keras.Input((None, None, 3), dtype="uint8")
    scaled = keras.layers.Rescaling(1 / 255, dtype="float32")(pixels)
    training = keras.Model(pixels, model(scaled))
    training.compile(
        keras.optimizers.Adam(
            learning_rate,
            beta_2=0.99,
            global_clipnorm=clip_norm,
            use_ema=True,
            ema_momentum=averaging,
        ),
        loss=mean_absolute_error,
        jit_compile=backend.wants_xla(),
    )
    return training


def round_to_half(array):
    """Rounds a float32 array to the 11 significant bits of half precision, keeping float32."""
    mantissa, exponent = np.frexp(array)
    return np.ldexp(np.round(mantissa * 2**11) / 2**11, exponent).astype(np.float32)


def export(model, path, halo):
    """Saves `model` as a `.keras` file, packed tighter than Keras does.

    Of weights that `round_to_half` rounded, the low bits are zeros and pack away: the file
    has half the size of the float32 weights and is still an ordinary `.keras` file. A file
    at `path` is replaced only when the new one is complete. `halo`, which `output.py` cuts
    pictures into tiles with, is stored in it beside Keras's own metadata.
    """
    with tempfile.TemporaryDirectory() as folder, utils.replacing(path) as part:
        saved = Path(folder, "saved.keras")
        model.save(saved)
        with zipfile.ZipFile(saved) as old, zipfile.ZipFile(part, "w") as new:
            for name in old.namelist():
                content = old.read(name)
                if name == "metadata.json":
                    content = json.dumps(json.loads(content) | {"halo": halo})
                new.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_LZMA)


def save_state(path, training, chosen, history):
    """Writes all that a run needs to go on, in place of an older state at `path`."""
    arrays = {f"model_{n}": array for n, array in enumerate(training.get_weights())}
    for n, variable in enumerate(training.optimizer.variables):
        arrays[f"optimizer_{n}"] = keras.ops.convert_to_numpy(variable)
    about = json.dumps({"settings": vars(chosen), "history": history})
    with utils.replacing(path) as part:
        np.savez(part, about=about, **arrays)


def load_state(path, training, chosen):
    """Puts the state at `path` into `training` and returns the history of its epochs.

    Raises:
        ValueError: the state is damaged or was made with other settings.
    """
    try:
        with np.load(path, allow_pickle=False) as state:
            arrays = {name: state[name] for name in state.files}
        about = json.loads(str(arrays["about"]))
    except (ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"{path}: damaged ({error}); begin anew with --restart, or put a copy of it there"
        ) from error
    for name, value in vars(chosen).items():
        before = about["settings"].get(name)
        if name not in FREE_TO_CHANGE and value != before:
            raise ValueError(
                f"{name.upper()} = {value!r}: expected {before!r}, as in the interrupted "
                f"run at {path}; set it so, take another NAME, or begin anew with --restart"
            )
    training.set_weights([arrays[f"model_{n}"] for n in range(len(training.weights))])
    training.optimizer.build(training.trainable_variables)
    for n, variable in enumerate(training.optimizer.variables):
        variable.assign(arrays[f"optimizer_{n}"])
    return about["history"]


def averaged_weights(training):
    """The optimizer's moving averages of the weights, in the order of `get_weights()`."""
    current = training.get_weights()
    training.optimizer.finalize_variable_values(training.trainable_variables)
    averaged = training.get_weights()
    training.set_weights(current)
    return averaged


def plot(history, path):
    """Draws loss, PSNR and learning rate over the steps of a run as a picture at `path`."""
    steps = [row["step"] for row in history]
    figure = Figure(figsize=(8, 8), layout="constrained")
    loss, psnr, rate = figure.subplots(3, sharex=True)
    loss.plot(steps, [row["loss"] for row in history], marker=".")
    loss.set(ylabel="training loss (L1)")
    psnr.plot(steps, [row["psnr"] for row in history], marker=".", label="network")
    psnr.axhline(history[0]["bicubic_psnr"], color="grey", linestyle="--", label="bicubic")
    psnr.set(ylabel="validation PSNR-Y (dB)")
    psnr.legend()
    rate.plot(steps, [row["learning_rate"] for row in history], marker=".")
    rate.set(ylabel="learning rate", xlabel="step")
    for axes in (loss, psnr, rate):
        axes.grid(alpha=0.3)
    with utils.replacing(path) as part:
        figure.savefig(part, dpi=100)


class Journal(keras.callbacks.Callback):
    """Shows the progress; after each epoch validates, writes what is new, saves the state.

    Args:
        chosen: the settings.
        averaged: float32 network to which the averaged weights are copied.
        validation: list of `Photograph`.
        schedule: the learning rate's schedule.
        history: rows of the epochs that are done; grows.
    """

    def __init__(self, chosen, averaged, validation, schedule, history):
        super().__init__()
        self.chosen = chosen
        self.averaged = averaged
        self.upscaler = Upscaler(averaged, precision="float32", tile_size=chosen.validation_crop)
        self.validation = validation
        self.schedule = schedule
        self.history = history
        self.interrupted = False
        self.bicubic_psnr = validation_psnr(
            validation, lambda lr: utils.upscale_bicubic(lr, chosen.scale), chosen.scale
        )
        self.seconds_before = history[-1]["seconds"] if history else 0.0
        self.started = time.monotonic()
        self.bar = tqdm(
            desc="training",
            total=chosen.epochs * chosen.steps_per_epoch * chosen.batch_size,
            initial=len(history) * chosen.steps_per_epoch * chosen.batch_size,
            unit="crop",
            unit_scale=True,
            smoothing=0.05,
        )

    def on_train_batch_end(self, batch, logs=None):
        shown = {"loss": f"{logs['loss']:.4f}"}
        if self.history:
            shown["psnr"] = f"{self.history[-1]['psnr']:.2f}"
        self.bar.set_postfix(shown, refresh=False)
        self.bar.update(self.chosen.batch_size)
        if self.interrupted:
            raise KeyboardInterrupt

    def on_epoch_end(self, epoch, logs=None):
        chosen, history = self.chosen, self.history
        steps = range(epoch * chosen.steps_per_epoch, (epoch + 1) * chosen.steps_per_epoch)
        step = steps.stop
        # Rounded before they are scored, so that the score is the saved file's own.
        weights = [round_to_half(array) for array in averaged_weights(self.model)]
        if not all(np.isfinite(value).all() for value in (logs["loss"], *weights)):
            raise FloatingPointError(
                f"the loss, {logs['loss']}, or a weight is not finite in epoch {epoch + 1}, at a "
                f"learning rate of up to {max(float(self.schedule(s)) for s in steps):.2g}; what "
                "was saved before is kept. Lower LEARNING_RATE and begin anew with --restart"
            )
        self.averaged.set_weights(weights)
        psnr = validation_psnr(self.validation, self.upscaler.enlarge, chosen.scale)
        is_best = all(psnr > row["psnr"] for row in history)
        history.append(
            {
                "epoch": epoch + 1,
                "step": step,
                "learning_rate": float(self.schedule(step)),
                "loss": logs["loss"],
                "psnr": psnr,
                "bicubic_psnr": self.bicubic_psnr,
                "seconds": self.seconds_before + time.monotonic() - self.started,
            }
        )
        path = WEIGHTS_FOLDER / f"{chosen.name}.keras"
        if is_best:
            pictures = [utils.to_network(p.lr) for p in self.validation[:HALO_PICTURES]]
            export(self.averaged, path, self.upscaler.measured_halo(pictures))
        with utils.replacing(path.with_suffix(".json")) as part:
            best = max(history, key=lambda row: row["psnr"])
            about = {"settings": vars(chosen), "best": best, "backend": keras.backend.backend()}
            part.write_text(json.dumps(about, indent=2) + "\n")
        with utils.replacing(path.with_suffix(".csv")) as part, part.open("w", newline="") as file:
            writer = csv.DictWriter(file, history[0])
            writer.writeheader()
            writer.writerows(history)
        plot(history, path.with_suffix(".png"))
        save_state(state_path(chosen.name), self.model, chosen, history)
        tqdm.write(
            f"epoch {epoch + 1}/{chosen.epochs}: loss {logs['loss']:.5f}, "
            f"PSNR {psnr:.3f} dB (bicubic {self.bicubic_psnr:.3f})"
            + (f", best so far: {path}" if is_best else "")
        )


def validation_psnr(photographs, enlarge, scale):
    """Mean PSNR on Y of `enlarge(lr)` against `hr`, in dB."""
    return float(np.mean([evaluate.psnr(p.hr, enlarge(p.lr), scale) for p in photographs]))


def state_path(name):
    """File from which a run called `name` goes on."""
    return WEIGHTS_FOLDER / f"{name}.state.npz"


def report_skipped(skipped):
    """Names each picture that is not used, once."""
    for path, reason in skipped.items():
        print(f"skipped {path}: {reason}")


def load_data(chosen):
    """Reads the pictures to train on and the pictures to validate on.

    Pictures below VALIDATION_DATA are never trained on, also where it lies in DATA. Without
    it, every 50th usable picture of DATA is held out, 12 at most and 1 at least.

    Returns:
        Two lists of `Photograph`; of the second only what is scored, the centres.

    Raises:
        ValueError: a folder is missing, or holds too few usable pictures.
    """
    paths, validation_paths = utils.find_pictures(chosen.data), []
    if chosen.validation_data:
        validation_paths = utils.find_pictures(chosen.validation_data)
        held_out = {os.path.realpath(path) for path in validation_paths}
        paths = [path for path in paths if os.path.realpath(path) not in held_out]
    photographs, skipped = load_photographs(paths, scale=chosen.scale, crop_size=chosen.crop_size)
    report_skipped(skipped)
    if chosen.validation_data:
        # Something must be left of a picture inside the border that is not scored.
        validation, skipped = load_photographs(
            validation_paths, scale=chosen.scale, crop_size=4 * chosen.scale
        )
        report_skipped(skipped)
    else:
        every = max(50, math.ceil(len(photographs) / 12))
        validation = photographs[::every]
        photographs = [p for n, p in enumerate(photographs) if n % every]
    # A flat picture is restored exactly by anything: its PSNR is infinite.
    centres = [centre(photograph, chosen.validation_crop) for photograph in validation]
    validation = [p for p in centres if np.ptp(p.hr, axis=(0, 1)).any()]
    if not photographs or not validation:
        raise ValueError(
            f"DATA = {chosen.data!r}, VALIDATION_DATA = {chosen.validation_data!r}: "
            f"{len(photographs)} usable pictures to train on and {len(validation)} to validate "
            f"among {len(paths) + len(validation_paths)} found; expected at least 1 of each"
        )
    return photographs, validation


@contextlib.contextmanager
def stopping_between_steps(journal):
    """Lets Ctrl-C and SIGTERM end the training after a step; a second time, at once.

    An interrupt that strikes inside of Keras or of its backend could be swallowed there.
    """

    def stop(number, frame):
        journal.interrupted = True
        signal.signal(number, signal.default_int_handler)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        journal.bar.close()
        for number, handler in before.items():
            signal.signal(number, handler)


def validate(chosen):
    """Raises ValueError at the first setting of training whose value makes no sense.

    Those of the network are `network.edsr`'s to check.
    """
    for name in ("crop_size", "batch_size", "epochs", "steps_per_epoch", "validation_crop"):
        settings.check_whole(name, getattr(chosen, name), 1)
    for name in ("warmup_steps", "seed"):
        settings.check_whole(name, getattr(chosen, name), 0)
    for name in ("learning_rate", "clip_norm"):
        settings.check_number(name, getattr(chosen, name), above=0)
    settings.check_number("averaging", chosen.averaging, above=0, at_most=0.999999)
    settings.check_choice("precision", chosen.precision, PRECISIONS)
    settings.check_choice("scale", chosen.scale, network.SHUFFLES)
    settings.check_flag("restart", chosen.restart)
    settings.check_text("data", chosen.data)
    for name in ("validation_data", "name"):
        settings.check_text(name, getattr(chosen, name), may_be_empty=True)
    if chosen.name.startswith(".") or Path(chosen.name).name != chosen.name:
        raise ValueError(f"NAME = {chosen.name!r}: expected a file name without folder")
    if chosen.crop_size % chosen.scale:
        raise ValueError(
            f"CROP_SIZE = {chosen.crop_size}: expected a multiple of SCALE = {chosen.scale}"
        )
    total_steps = chosen.epochs * chosen.steps_per_epoch
    if chosen.warmup_steps >= total_steps:
        raise ValueError(
            f"WARMUP_STEPS = {chosen.warmup_steps}: expected fewer than all {total_steps} steps"
        )
    if chosen.seed >= 2**32:
        raise ValueError(f"SEED = {chosen.seed}: expected less than 2**32")
    if chosen.validation_crop < 4 * chosen.scale:
        raise ValueError(
            f"VALIDATION_CROP = {chosen.validation_crop}: expected at least {4 * chosen.scale}"
        )


def train(chosen):
    """Trains as the settings say; writes weights/<NAME>.keras, .json, .csv, .png and state.

    Args:
        chosen: namespace of all settings of `network.py` and `train.py`, in lower case.

    Raises:
        ValueError: a setting is wrong, or the data has nothing to train on.
        FloatingPointError: the loss is not finite; the state of the epoch before is kept.
    """
    validate(chosen)
    chosen.name = chosen.name or f"my_edsr_x{chosen.scale}"
    # Before anything that takes long.
    for name, folder in ("DATA", chosen.data), ("VALIDATION_DATA", chosen.validation_data):
        if folder and not Path(folder).is_dir():
            raise ValueError(f"{name} = {folder!r}: no such folder")
    state, weights = state_path(chosen.name), WEIGHTS_FOLDER / f"{chosen.name}.keras"
    if weights.exists() and not state.exists() and not chosen.restart:
        raise ValueError(
            f"{weights}: is there, but no {state.name} to go on from; take another NAME, or "
            "replace it with --restart"
        )

    keras.utils.set_random_seed(chosen.seed)
    shape = {
        name: getattr(chosen, name)
        for name in ("scale", "num_filters", "residual_blocks", "residual_scaling", "global_skip")
    }
    averaged = network.edsr(**shape)
    keras.config.set_dtype_policy(chosen.precision)
    model = network.edsr(**shape)
    keras.config.set_dtype_policy("float32")

    total_steps = chosen.epochs * chosen.steps_per_epoch
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0,
        decay_steps=total_steps - chosen.warmup_steps,
        warmup_target=chosen.learning_rate,
        warmup_steps=chosen.warmup_steps,
    )
    training = training_model(
        model,
        learning_rate=schedule,
        clip_norm=chosen.clip_norm,
        averaging=chosen.averaging,
    )
    WEIGHTS_FOLDER.mkdir(exist_ok=True)
    utils.remove_leftovers(WEIGHTS_FOLDER)
    history = []
    if state.exists() and not chosen.restart:
        history = load_state(state, training, chosen)
        print(f"going on after epoch {len(history)} of {chosen.epochs}, from {state}")
    if len(history) >= chosen.epochs:
        print(f"{weights} is finished")
        return

    photographs, validation = load_data(chosen)
    megapixels = sum(p.hr.shape[0] * p.hr.shape[1] for p in photographs) / 1e6
    print(
        f"{len(photographs)} photographs of {megapixels:.1f} megapixels in all, "
        f"{len(validation)} to validate, {model.count_params():,} parameters, "
        f"{backend.describe()}, {chosen.precision}"
    )
    if chosen.restart:
        state.unlink(missing_ok=True)
    first_step = len(history) * chosen.steps_per_epoch
    journal = Journal(chosen, averaged, validation, schedule, history)
    batches = stream(
        lambda step: cut_batch(
            photographs,
            step,
            crop_size=chosen.crop_size,
            batch_size=chosen.batch_size,
            seed=chosen.seed,
        ),
        first_step,
    )
    with stopping_between_steps(journal):
        training.fit(
            batches,
            initial_epoch=len(history),
            epochs=chosen.epochs,
            steps_per_epoch=chosen.steps_per_epoch,
            callbacks=[journal],
            shuffle=False,
            verbose=0,
        )
    best = max(history, key=lambda row: row["psnr"])
    print(
        f"done: {weights} is of epoch {best['epoch']}, PSNR {best['psnr']:.3f} dB "
        f"(bicubic {best['bicubic_psnr']:.3f}); enlarge with python output.py --weights {weights}"
    )


def centre(photograph, size):
    """The central `size` x `size` HR pixels of a photograph, or all where it is smaller."""
    scale = photograph.hr.shape[0] // photograph.lr.shape[0]
    height, width = (min(length, size // scale) for length in photograph.lr.shape[:2])
    top, left = (photograph.lr.shape[0] - height) // 2, (photograph.lr.shape[1] - width) // 2
    hr = photograph.hr[top * scale :, left * scale :][: height * scale, : width * scale]
    lr = photograph.lr[top:, left:][:height, :width]
    return Photograph(lr.copy(), hr.copy())  # without the rest of the picture


def main(arguments=None):
    """Runs the command; returns its exit code."""
    try:
        chosen = settings.parse([network, sys.modules[__name__]], arguments)
        train(chosen)
    except (ValueError, OSError) as error:
        print(f"train.py: {error}", file=sys.stderr)
        return 2
    except FloatingPointError as error:
        print(f"\ntrain.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            "\ntrain.py: stopped; the same command, without --restart, goes on after the last "
            "whole epoch"
            if state_path(chosen.name).exists()
            else "\ntrain.py: stopped before the first epoch was whole; nothing to go on from",
            file=sys.stderr,
        )
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
