"""Trains the network on a folder of photographs: photographs -> crops -> fit -> weights/.

`python train.py` trains on every picture below data/ and writes weights/<NAME>.keras, the
averaged weights of the epoch that scored best on validation pictures, with its settings
(.json), a row for every epoch (.csv), a plot of them (.png) and a picture of how it improves
(.progress.png). Started again, it goes on where it was saved last.

Exit code 0: the training is finished. 1: it failed; what was saved is kept. 2: nothing could
start. 130: stopped by Ctrl-C or SIGTERM, and saved.
"""

import contextlib
import importlib.util
import math
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

import backend
import checkpoint
import network
import output
import photographs
import settings
import utils
import weight_files
from backend import keras
from crops import Stream, cut_batch
from journal import Journal, digest
from losses import LOSSES, SSIM_WINDOW

# ------------------------------------------------------------------- settings ----
DATA = "data"  # folder of HR photographs, searched recursively
VALIDATION_DATA = ""  # folder of validation pictures; empty: hold out a few of DATA
CACHE = "data/.cache"  # folder for decoded photographs, 3.8 bytes a pixel; empty: none
NAME = ""  # the weights are written to weights/<NAME>.keras; empty: my_edsr_x<SCALE>
START_FROM = ""  # .keras file of another training to start from, also of another scale
CROP_SIZE = 64  # height and width of a training crop, in HR pixels
BATCH_SIZE = 8  # crops a step, on all devices together
EPOCHS = 1000  # times STEPS_PER_EPOCH; the learning rate reaches 0 at the end
STEPS_PER_EPOCH = 1000  # steps between validations
LOSS = "l1"  # or ssim_l1: 0.84 (1 - SSIM) + 0.16 L1, that of the original work
LEARNING_RATE = 1e-4  # of Adam, at its peak; grow it with BATCH_SIZE
WARMUP_STEPS = 500  # steps in which the learning rate rises from 0 to its peak
CLIP_NORM = 1.0  # largest norm of the whole gradient; a bad batch cannot derail the run
AVERAGING = 0.999  # decay of the averaged weights, which are validated and saved
VALIDATION_CROP = 512  # side of the centre of a validation picture that is scored, HR pixels
PRECISION = "float32"  # or "mixed_bfloat16": faster where the hardware has bfloat16
SEED = 1  # of the first weights and of all crops
SAVE_MINUTES = 10  # between savings of the state from which an interrupted run goes on
TENSORBOARD = False  # also write events for TensorBoard, to weights/<NAME>.tensorboard
RESTART = False  # begin anew and overwrite an earlier run of the same NAME
# ---------------------------------------------------------------------------------

WEIGHTS_FOLDER = output.WEIGHTS_FOLDER
PRECISIONS = ("float32", "mixed_bfloat16")
# With these changed a run goes on: where things are, and when it is saved ...
FREE_TO_CHANGE = {"data", "validation_data", "cache", "start_from", "restart"}
FREE_TO_CHANGE |= {"save_minutes", "tensorboard"}
# ... and these are what one may want to change in the middle; it is said.
CHANGED_ALOUD = {"learning_rate", "epochs"}


def training_model(model, *, loss, learning_rate, clip_norm, averaging):
    """`model` with uint8 pixels in, compiled for `fit`: loss, Adam, averaged weights.

    Args:
        model: network from float32 in [0, 1], as `network.edsr` builds it.
        loss: one of `LOSSES`.
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
        loss=LOSSES[loss],
        jit_compile=backend.wants_xla(),
    )
    training.optimizer.build(training.trainable_variables)
    return training


def averaged_weights(training):
    """The optimizer's moving averages of the weights, in the order of `get_weights()`."""
    current = training.get_weights()
    training.optimizer.finalize_variable_values(training.trainable_variables)
    averaged = training.get_weights()
    training.set_weights(current)
    return averaged


def state_arrays(training):
    """Weights and optimizer of a training, as a dict of NumPy arrays."""
    arrays = {f"model_{n}": array for n, array in enumerate(training.get_weights())}
    for n, variable in enumerate(training.optimizer.variables):
        arrays[f"optimizer_{n}"] = keras.ops.convert_to_numpy(variable)
    return arrays


def restore(training, arrays):
    """Puts what `state_arrays` returned into a training of the same settings.

    Raises:
        ValueError: it does not fit.
    """
    count = len(training.weights), len(training.optimizer.variables)
    names = [f"model_{n}" for n in range(count[0])] + [f"optimizer_{n}" for n in range(count[1])]
    if missing := [name for name in names if name not in arrays]:
        raise ValueError(f"{missing[0]} is missing in it; expected {len(names)} arrays")
    training.set_weights([arrays[name] for name in names[: count[0]]])
    for variable, name in zip(training.optimizer.variables, names[count[0] :], strict=True):
        variable.assign(arrays[name])


def check_settings(path, before, chosen):
    """Compares the settings of an interrupted run at `path` with those chosen now.

    Returns:
        Lines that tell of changes with which it goes on.

    Raises:
        ValueError: they differ in what a run cannot change; all such are named.
    """
    changed = {}
    for name, value in vars(chosen).items():
        # A setting that was not there yet has the value that was built in.
        if name not in FREE_TO_CHANGE and value != before.get(name, value):
            changed[name] = f"{name.upper()} = {value!r}: expected {before[name]!r}"
    refused = [words for name, words in changed.items() if name not in CHANGED_ALOUD]
    if refused:
        raise ValueError(
            f"{'; '.join(refused)}, as in the interrupted run at {path}; set it so, take another "
            "NAME, or begin anew with --restart"
        )
    return [
        f"{name.upper()} was {before[name]!r} and is {vars(chosen)[name]!r} from here on"
        for name in changed
    ]


def start_from(model, path):
    """Copies the weights of layers that `model` has too, in the same shape.

    Args:
        model: network that is about to be trained.
        path: `.keras` file of another one, of any scale.

    Raises:
        ValueError: it cannot be loaded, or no layer of it fits.
    """
    ours = {layer.name: layer for layer in model.layers if layer.weights}
    copied = []
    for layer in weight_files.read(path).layers:
        mine = ours.get(layer.name)
        if mine and [w.shape for w in mine.weights] == [w.shape for w in layer.weights]:
            mine.set_weights(layer.get_weights())
            copied.append(layer.name)
    if not set(copied) - {"head", "tail", "bilinear"}:
        raise ValueError(
            f"START_FROM = {str(path)!r}: none of its residual blocks fits a network of "
            f"{len(ours)} layers; expected the same NUM_FILTERS"
        )
    print(f"starting from {len(copied)} of {len(ours)} layers of {path}")


class Skips:
    """Names each picture that is not used, once, and counts them."""

    def __init__(self):
        self.reasons = {}

    def __call__(self, path, reason):
        if path not in self.reasons:
            self.reasons[path] = reason
            tqdm.write(f"skipped {output.shown(Path(path))}: {reason}")

    def __str__(self):
        return f"{len(self.reasons)} skipped"


def report_others(folder):
    """Says which files of a folder are no pictures by their names; hidden ones are not told of."""
    files = utils.find_files(folder, lambda error: None)
    others = [f for f in files if not utils.is_picture(f) and not f.name.startswith(".")]
    if others:
        names = ", ".join(output.shown(path) for path in others[:5])
        more = f" and {len(others) - 5} more" if len(others) > 5 else ""
        print(f"left out, as no pictures by their names: {len(others)} files, {names}{more}")


def is_scorable(photograph):
    """Whether a picture has a score: a flat one is restored exactly, its PSNR is infinite."""
    return bool(np.ptp(photograph.hr, axis=(0, 1)).any())


def hold_out(paths, scale, crop, skips, before=()):
    """Chooses validation pictures: of every 50, or more, the first one that is usable.

    Args:
        paths: the pictures.
        scale, crop: as in the settings.
        skips: called with the path and the reason of each that cannot be decoded.
        before: the choice of a training that goes on: what is there of it is chosen again,
            because nothing that was trained on may be scored.

    Returns:
        dict of path -> centre, at most 12 and if possible one, and the paths that are left.
    """
    every = max(50, math.ceil(len(paths) / 12))
    groups = [paths[first : first + every] for first in range(0, len(paths), every)]
    if known := [path for path in paths if str(path) in before]:
        groups = [[path] for path in known]
    held_out = {}
    for group in groups:
        for path in group:
            try:
                photograph = photographs.decode_centre(path, scale, crop)
            except utils.UnreadablePicture as error:
                skips(path, str(error))
                continue
            if is_scorable(photograph):
                held_out[path] = photograph
                break
    unusable = held_out.keys() | skips.reasons.keys()
    return held_out, [path for path in paths if path not in unusable]


def load_data(chosen, skips, beginning):
    """Finds the pictures to train on and the pictures to validate on.

    Pictures below VALIDATION_DATA are never trained on, also where it lies in DATA. Without
    it, every 50th usable picture of DATA is held out, 12 at most and 1 at least.

    Args:
        chosen: the settings.
        skips: called with the path and the reason of each picture that is not used.
        beginning: `Beginning`.

    Returns:
        `photographs.AllAtOnce` or `InTurn`, and a dict of path -> `Photograph`: of the
        validation pictures what is scored, the centres.

    Raises:
        ValueError: a folder is missing, or holds too few usable pictures.
    """
    scale, crop = chosen.scale, chosen.validation_crop
    paths, validation_paths, validation = utils.find_pictures(chosen.data), [], {}
    if chosen.validation_data:
        validation_paths = utils.find_pictures(chosen.validation_data)
        held_out = {os.path.realpath(path) for path in validation_paths}
        paths = [path for path in paths if os.path.realpath(path) not in held_out]
    report_others(chosen.data)
    sizes, unusable = photographs.survey(paths, chosen.crop_size)
    for path, reason in unusable.items():
        skips(path, reason)
    if chosen.validation_data:
        # Something must be left of a picture inside the border that is not scored.
        usable, unusable = photographs.survey(validation_paths, 4 * scale)
        centres = photographs.in_order(
            lambda path: photographs.decode_centre(path, scale, crop), usable
        )
        for path, centre in tqdm(centres, "validation", len(usable), unit="picture", leave=False):
            if isinstance(centre, utils.UnreadablePicture):
                unusable[path] = str(centre)
            elif not is_scorable(centre):
                unusable[path] = "flat: it has no score"
            else:
                validation[path] = centre
        for path, reason in unusable.items():
            skips(path, reason)
    else:
        validation, left = hold_out(list(sizes), scale, crop, skips, beginning.held_out)
        sizes = {path: sizes[path] for path in left}
    if not sizes or not validation:
        found = [f"{len(paths)} pictures in {Path(chosen.data).resolve()}"]
        if chosen.validation_data:
            there = Path(chosen.validation_data).resolve()
            found.append(f"{len(validation_paths)} in {there}")
        raise ValueError(
            f"DATA = {chosen.data!r}, VALIDATION_DATA = {chosen.validation_data!r}: "
            f"{len(sizes)} usable pictures to train on and {len(validation)} to validate among "
            f"{' and '.join(found)} ({' '.join(sorted(utils.SUFFIXES))}), {skips}; expected at "
            "least 1 of each"
        )
    source = photographs.open_photographs(
        sizes,
        source=chosen.data,
        scale=scale,
        crop_size=chosen.crop_size,
        seed=chosen.seed,
        cache=chosen.cache,
        free_memory=backend.free_memory(),
        on_skip=skips,
        in_turn=beginning.in_turn,
    )
    source.at(beginning.step)  # which fails where not one can be decoded
    print(f"{source.count} photographs, {source.where}; {len(validation)} to validate; {skips}")
    return source, validation


# Of what ends a training: Ctrl-C, a request to end, and a terminal that is gone.
SIGNALS = [signal.SIGINT, signal.SIGTERM]
SIGNALS += [signal.SIGHUP] if hasattr(signal, "SIGHUP") else []  # not on Windows


@contextlib.contextmanager
def on_signals(handler):
    """Handles `SIGNALS`; but a terminal that is gone only where that is not ignored (nohup)."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    handled = [n for n in SIGNALS if n == signal.SIGINT or before[n] != signal.SIG_IGN]
    for number in handled:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, before[number])


@contextlib.contextmanager
def stopping_between_steps(run):
    """Lets signals end the training after a step; a second time, at once.

    An interrupt that strikes inside of Keras or of its backend could be swallowed there.
    """

    def stop(number, frame):
        run.interrupted = True
        signal.signal(number, signal.default_int_handler)

    with on_signals(stop):
        yield


class Unbreakable:
    """A text stream that takes no error: a full disk under a log must not end a training."""

    def __init__(self, stream):
        self._stream = stream

    def __getattr__(self, name):
        return getattr(self._stream, name)

    def write(self, text):
        """Writes, if it can."""
        with contextlib.suppress(OSError, ValueError):  # ValueError: it is closed
            self._stream.write(text)
        return len(text)

    def flush(self):
        """Flushes, if it can."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


def validate(chosen):
    """Raises ValueError at the first setting of training whose value makes no sense.

    Those of the network are `network.edsr`'s to check.
    """
    for name in ("crop_size", "batch_size", "epochs", "steps_per_epoch", "validation_crop"):
        settings.check_whole(name, getattr(chosen, name), 1)
    for name in ("warmup_steps", "seed"):
        settings.check_whole(name, getattr(chosen, name), 0)
    for name in ("learning_rate", "clip_norm", "save_minutes"):
        settings.check_number(name, getattr(chosen, name), above=0)
    settings.check_number("averaging", chosen.averaging, above=0, at_most=0.999999)
    settings.check_choice("precision", chosen.precision, PRECISIONS)
    settings.check_choice("scale", chosen.scale, network.SHUFFLES)
    settings.check_choice("loss", chosen.loss, LOSSES)
    for name in ("restart", "tensorboard"):
        settings.check_flag(name, getattr(chosen, name))
    if chosen.tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise ValueError("TENSORBOARD = True: expected the package; pip install tensorboard")
    settings.check_text("data", chosen.data)
    for name in ("validation_data", "cache", "name", "start_from"):
        settings.check_text(name, getattr(chosen, name), may_be_empty=True)
    if chosen.name.startswith(".") or Path(chosen.name).name != chosen.name:
        raise ValueError(f"NAME = {chosen.name!r}: expected a file name without folder")
    if chosen.name.endswith(".progress"):
        raise ValueError(f"NAME = {chosen.name!r}: is what pictures of another NAME are called")
    if chosen.crop_size % chosen.scale:
        raise ValueError(
            f"CROP_SIZE = {chosen.crop_size}: expected a multiple of SCALE = {chosen.scale}"
        )
    if chosen.loss == "ssim_l1" and chosen.crop_size < SSIM_WINDOW:
        raise ValueError(
            f"CROP_SIZE = {chosen.crop_size}: expected at least {SSIM_WINDOW}, SSIM's window"
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


# Sums over the part of an epoch that is done.
EPOCH_SUMS = ("loss", "seconds", "waited")
READ_SECONDS = 1.0  # between readings of the loss, for each of which a GPU has to wait
AGREEMENT_STEPS = 20  # after so many, several processes ask each other whether to stop


class Failed(Exception):
    """A training that had begun cannot go on, or its end could not be saved."""


class Run(keras.callbacks.CallbackList):
    """What happens between the steps of `fit`: the progress is shown, scored and saved.

    A `CallbackList` and no `Callback`: those get the loss as a number, for which a GPU would
    have to be waited for after every step.

    Args:
        chosen: the settings.
        training: compiled model.
        schedule: the learning rate's schedule.
        journal: `Journal` of the epochs that are done.
        stream: `Stream` that `fit` takes its batches from.
        beginning: `Beginning`.
        process, process_count: its number, and how many there are; number 0 scores and saves.

    Attributes:
        step: steps that are done.
        interrupted: set by a signal; `fit` ends after the step.
        unsaved: the error because of which the last state is not on disk, or `None`.
    """

    def __init__(
        self, chosen, training, schedule, journal, stream, beginning, process=0, process_count=1
    ):
        super().__init__(model=training, add_history=True)
        self.chosen = chosen
        self.schedule = schedule
        self.journal = journal
        self.stream = stream
        self.step = beginning.step
        self.sums = beginning.sums
        self.beginning = beginning
        self._is_new = beginning.step == 0
        self.is_first, self.processes = process == 0, process_count
        self.interrupted = False
        self.unsaved = None
        self._unread = []  # (step, mean loss since `_began`), which wait on the device
        self._loss = math.nan
        self._words = {}
        self.bar = tqdm(
            desc="training",
            total=chosen.epochs * chosen.steps_per_epoch * chosen.batch_size,
            initial=self.step * chosen.batch_size,
            unit="crop",
            unit_scale=True,
            smoothing=0.05,
            # A log file does not need a line every second.
            mininterval=0.5 if sys.stderr is not None and sys.stderr.isatty() else 60,
        )

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        self._begin()

    def _begin(self):
        """Begins to count anew: at the start, and after each epoch."""
        self._began = self._read_at = self._saved_at = time.monotonic()
        self._began_step, self._waited_before = self.step, self.stream.waited

    def on_train_batch_end(self, batch, logs=None):
        self.step += 1
        self._unread.append((self.step, logs["loss"]))
        now = time.monotonic()
        if now - self._read_at > READ_SECONDS:
            self._read()
            self._read_at = now
        is_last = self._is_to_stop()
        if self.step % self.chosen.steps_per_epoch == 0:
            self._end_epoch()
        elif is_last or now - self._saved_at > 60 * self.chosen.save_minutes:
            self._save()
        if is_last:
            self.model.stop_training = True

    def _is_to_stop(self):
        """Whether a signal has come; of several processes, to any: all stop after the same step."""
        if self.processes == 1:
            return self.interrupted
        if self.step % AGREEMENT_STEPS:
            return False
        return any(backend.of_all_processes(int(self.interrupted)))

    def _read(self):
        """Looks at the losses that were not looked at yet; returns the mean since `_began`.

        Raises:
            FloatingPointError: one is not finite.
        """
        unread, self._unread = self._unread, []
        for step, loss in unread:
            self._loss = float(keras.ops.convert_to_numpy(loss))
            if not math.isfinite(self._loss):
                raise self._not_finite(f"the loss is {self._loss}", step)
        self.bar.set_postfix(self._words | {"loss": f"{self._loss:.4f}"}, refresh=False)
        self.bar.update(len(unread) * self.chosen.batch_size)
        return self._loss

    def _sums(self):
        """`EPOCH_SUMS` of what is done of the epoch."""
        return {
            "loss": self.sums["loss"] + self._read() * (self.step - self._began_step),
            "seconds": self.sums["seconds"] + time.monotonic() - self._began,
            "waited": self.sums["waited"] + self.stream.waited - self._waited_before,
        }

    def _end_epoch(self):
        """Scores the averaged weights, tells of it, saves, and begins the next epoch."""
        sums, rows = self._sums(), self.journal.rows
        backend.bring_up_to_date(self.model)
        weights = averaged_weights(self.model)
        self._check_finite(weights)
        if self.is_first:
            line = self.journal.end_epoch(
                self.step,
                weights,
                loss=round(sums["loss"] / self.chosen.steps_per_epoch, 7),
                learning_rate=float(self.schedule(self.step)),
                waited=min(1.0, sums["waited"] / sums["seconds"]),
                seconds=sums["seconds"] + (rows[-1]["seconds"] if rows else 0.0),
            )
            self.bar.write(line)
            self._words["psnr"] = f"{rows[-1]['psnr']:.2f}"
            self.bar.set_postfix(self._words | {"loss": f"{self._loss:.4f}"}, refresh=False)
        self.sums = dict.fromkeys(EPOCH_SUMS, 0.0)
        self.model.reset_metrics()
        self._begin()
        self._save()

    def _check_finite(self, arrays):
        if not all(np.isfinite(array).all() for array in arrays):
            raise self._not_finite("a weight is not finite", self.step)

    def _not_finite(self, what, step):
        return FloatingPointError(
            f"{what} at step {step:,}, at a learning rate of {float(self.schedule(step - 1)):.3g}; "
            "what was saved before is kept. Lower LEARNING_RATE, or look for the cause in the "
            "pictures, and run the same command again: it goes on from there"
        )

    def _save(self):
        """Saves what is new. Where the disk is full, the training goes on until the next time.

        Of several processes only the first saves. It must not assign to the model meanwhile:
        JAX would wait for the others to do the same.
        """
        self._saved_at = time.monotonic()
        if not self.is_first:
            return
        sums = self._sums() if self.step > self._began_step else self.sums
        backend.bring_up_to_date(self.model)
        arrays = state_arrays(self.model)
        self._check_finite(arrays.values())
        shown = self.journal.shown
        about = {
            "settings": vars(self.chosen),
            "step": self.step,
            "rows": self.journal.rows,
            "epoch": sums,
            "shown": sorted(shown),
            "in_turn": self.beginning.in_turn,
            "held_out": self.beginning.held_out,
            "validation": self.beginning.validation,
            "first_row": self.journal.first_row,
        }
        arrays |= {f"shown_{n}": crop for n, crop in shown.items()}
        try:
            # In this order: a run that goes on from a state does not write weights again that
            # were the best before it.
            self.journal.write_weights()
            checkpoint.save(
                WEIGHTS_FOLDER, self.chosen.name, self.step, arrays, about, self._is_new
            )
            self._is_new = False
            self.journal.write()
            self.unsaved = None
        except OSError as error:
            self.unsaved = error
            self.bar.write(
                f"could not save at step {self.step:,}: {error}; what was saved before is still "
                "there, and it is tried again at the next saving"
            )


def what_to_go_on_from(chosen):
    """The hint for a training that was stopped."""
    if chosen and (states := checkpoint.find(WEIGHTS_FOLDER, chosen.name)):
        return f"the same command, without --restart, goes on from {states[0]}"
    return "nothing was saved to go on from"


class Beginning(NamedTuple):
    """Where a training begins: at step 0, or where an interrupted one was saved.

    Attributes:
        step: steps that are done.
        sums: dict of `EPOCH_SUMS`.
        rows, shown, first_row: what `Journal` takes.
        in_turn: whether photographs come in turn, see `photographs.open_photographs`; `None`
            at step 0.
        held_out: names of the validation pictures that were held out of DATA.
        validation: digest of the validation pictures.
    """

    step: int
    sums: dict
    rows: list
    shown: dict
    first_row: int = 0
    in_turn: bool | None = None
    held_out: list | None = None
    validation: str = ""


def begin(chosen, model, training):
    """Puts the newest state of an interrupted training into `training`.

    Where there is none, the weights of START_FROM are put into `model`, if it is set.

    Returns:
        `Beginning`.

    Raises:
        ValueError: the state is of other settings, or all are damaged; START_FROM is of no
            use; of several processes some would go on from another step.
    """
    found = None if chosen.restart else checkpoint.load_newest(WEIGHTS_FOLDER, chosen.name)
    # Before anything is assigned to the model, which all have to do together.
    steps = backend.of_all_processes(found[2]["step"] if found else 0)
    if len(set(steps)) > 1:
        raise ValueError(
            f"the processes would go on from steps {steps}: expected the same; all need the "
            "same files in weights/"
        )
    if not found:
        if chosen.start_from:
            start_from(model, chosen.start_from)
        return Beginning(0, dict.fromkeys(EPOCH_SUMS, 0.0), [], {}, held_out=[])
    path, arrays, about = found
    changes = check_settings(path, about["settings"], chosen)
    if about["step"] >= chosen.epochs * chosen.steps_per_epoch:
        return Beginning(about["step"], about["epoch"], about["rows"], {})
    print("\n".join([f"going on after step {about['step']:,}, from {path}", *changes]))
    try:
        restore(training, arrays)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return Beginning(
        about["step"],
        about["epoch"],
        about["rows"],
        {int(n): arrays[f"shown_{n}"] for n in about["shown"]},
        *(about[name] for name in ("first_row", "in_turn", "held_out", "validation")),
    )


def check_places(chosen):
    """Checks folders and files before anything takes long.

    Raises:
        ValueError: a folder of pictures is missing, START_FROM is refused, or weights would be
            lost.
        OSError: weights cannot be written.
    """
    for name, folder in ("DATA", chosen.data), ("VALIDATION_DATA", chosen.validation_data):
        if folder and not Path(folder).is_dir():
            raise ValueError(f"{name} = {folder!r}: no such folder")
    if chosen.start_from:
        weight_files.check(Path(chosen.start_from))
    weights = WEIGHTS_FOLDER / f"{chosen.name}.keras"
    states = checkpoint.find(WEIGHTS_FOLDER, chosen.name)
    if weights.exists() and not states and not chosen.restart:
        raise ValueError(
            f"{weights}: is there, but no {chosen.name}.state-*.npz to go on from; take another "
            "NAME, or replace it with --restart"
        )
    WEIGHTS_FOLDER.mkdir(exist_ok=True)
    utils.remove_leftovers(WEIGHTS_FOLDER)
    utils.check_writable(WEIGHTS_FOLDER)


def train(chosen):
    """Trains as the settings say; writes weights/<NAME>.keras, .json, .csv, .png and states.

    Args:
        chosen: namespace of all settings of `network.py` and `train.py`, in lower case.

    Raises:
        ValueError: a setting is wrong, or the data has nothing to train on.
        FloatingPointError: the loss is not finite; what was saved before is kept.
        Failed: the end could not be saved.
        KeyboardInterrupt: Ctrl-C or SIGTERM; the state is saved.
    """
    validate(chosen)
    chosen.name = chosen.name or f"my_edsr_x{chosen.scale}"
    check_places(chosen)
    backend.join_processes()
    process, process_count = backend.processes()
    keras.utils.set_random_seed(chosen.seed)
    shape = {
        name: getattr(chosen, name)
        for name in ("scale", "num_filters", "residual_blocks", "residual_scaling", "global_skip")
    }
    averaged = network.edsr(**shape)
    total_steps = chosen.epochs * chosen.steps_per_epoch
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0,
        decay_steps=total_steps - chosen.warmup_steps,
        warmup_target=chosen.learning_rate,
        warmup_steps=chosen.warmup_steps,
    )
    with contextlib.ExitStack() as held:
        if process == 0:
            held.enter_context(checkpoint.claimed(WEIGHTS_FOLDER, chosen.name))
        held.enter_context(backend.over_all_devices(chosen.batch_size))
        keras.config.set_dtype_policy(chosen.precision)
        model = network.edsr(**shape)
        keras.config.set_dtype_policy("float32")
        training = training_model(
            model,
            loss=chosen.loss,
            learning_rate=schedule,
            clip_norm=chosen.clip_norm,
            averaging=chosen.averaging,
        )
        beginning = begin(chosen, model, training)
        weights = WEIGHTS_FOLDER / f"{chosen.name}.keras"
        if beginning.step >= total_steps:
            if not weights.exists():
                raise ValueError(
                    f"{weights}: is gone, but its training is finished; begin anew with --restart"
                )
            print(f"{weights} is finished, after {beginning.step:,} steps")
            return
        print(f"{model.count_params():,} parameters, {backend.describe()}, {chosen.precision}")
        skips = Skips()
        source, validation = load_data(chosen, skips, beginning)
        validation_digest = digest(validation.values())
        if beginning.rows and validation_digest != beginning.validation:
            print("the validation pictures have changed: the scores before do not count any more")
            beginning = beginning._replace(shown={}, first_row=len(beginning.rows))
        beginning = beginning._replace(
            in_turn=source.is_in_turn,
            held_out=[] if chosen.validation_data else [str(path) for path in validation],
            validation=validation_digest,
        )
        if chosen.restart and process == 0:
            shutil.rmtree(weights.with_suffix(".tensorboard"), ignore_errors=True)
        journal = Journal(
            chosen,
            WEIGHTS_FOLDER,
            averaged,
            list(validation.values()),
            beginning.rows,
            beginning.shown,
            beginning.first_row,
        )
        share = chosen.batch_size // process_count  # of each step, that this process cuts
        part = slice(process * share, (process + 1) * share)
        stream = Stream(
            lambda step: cut_batch(
                source.at(step), step, batch_size=chosen.batch_size, seed=chosen.seed, part=part
            )
        )
        run = Run(chosen, training, schedule, journal, stream, beginning, process, process_count)
        try:
            with stopping_between_steps(run):
                training.fit(
                    stream.batches(range(run.step, total_steps)),
                    steps_per_epoch=total_steps - run.step,
                    callbacks=run,
                    shuffle=False,
                    verbose=0,
                )
        except (ValueError, OSError) as error:
            raise Failed(f"{type(error).__name__} at step {run.step:,}: {error}") from error
        finally:
            run.bar.close()
            stream.close()
            source.close()
    if run.unsaved:
        raise Failed(f"not saved: {run.unsaved}") from run.unsaved
    if run.step < total_steps:
        raise KeyboardInterrupt
    if run.is_first:
        best = journal.best()
        print(
            f"done: {weights} is of epoch {best['epoch']}, PSNR {best['psnr']:.3f} dB "
            f"(bicubic {best['bicubic_psnr']:.3f}); {skips}; enlarge with python output.py "
            f"--weights {weights}"
        )


def main(arguments=None):
    """Runs the command; returns its exit code."""
    chosen = None
    streams = contextlib.ExitStack()
    if sys.stdout is not None:  # closed by who started us
        streams.enter_context(contextlib.redirect_stdout(Unbreakable(sys.stdout)))
    if sys.stderr is not None:
        streams.enter_context(contextlib.redirect_stderr(Unbreakable(sys.stderr)))
    with streams, on_signals(signal.default_int_handler):
        try:
            chosen = settings.parse([network, sys.modules[__name__]], arguments)
            train(chosen)
        except (ValueError, OSError) as error:
            print(f"train.py: {error}", file=sys.stderr)
            return 2
        except (FloatingPointError, Failed) as error:
            print(f"\ntrain.py: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print(f"\ntrain.py: stopped; {what_to_go_on_from(chosen)}", file=sys.stderr)
            return 130
        except Exception as error:  # each backend has its own kind for this
            if not backend.is_out_of_memory(error):
                raise
            reason = " ".join(str(error).split())[:200]
            print(
                f"\ntrain.py: out of memory ({reason}); lower BATCH_SIZE, CROP_SIZE, NUM_FILTERS "
                f"or VALIDATION_CROP; {what_to_go_on_from(chosen)}",
                file=sys.stderr,
            )
            return 1
    return 0


if __name__ == "__main__":
    code = main()
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:  # or Python would try again, and end with a code of its own
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)
