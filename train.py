"""Trains the network on a folder of photographs: photographs -> crops -> fit -> weights/.

`python train.py` trains on every picture below data/ and writes weights/<NAME>.keras, the
averaged weights of the epoch that scored best on validation pictures, with its settings
(.json), a row for every epoch (.csv), a plot of them (.png) and a picture of how it improves
(.progress.png). Started again, it goes on where it was saved last.

Exit code 0: the training is finished. 1: it failed; what was saved is kept. 2: nothing could
start. 130: stopped by Ctrl-C or SIGTERM, and saved.
"""

import argparse
import contextlib
import dataclasses
import json
import sys
from pathlib import Path

from tqdm import tqdm

import network
import utils
from superres.dataset.folder import open_dataset
from superres.dataset.options import DataOptions
from superres.runtime import backend, command, memory, processes, settings
from superres.runtime.backend import keras
from superres.runtime.errors import Failed, InputError, Stopped, is_fault
from superres.runtime.files import check_writable, make_folder, remove_leftovers
from superres.training import checkpoint, growing, resume
from superres.training.log import TrainingLog, digest
from superres.training.losses import LOSSES, SSIM_WINDOW
from superres.training.schedule import learning_rates, warmup_within
from superres.upscaling import weight_files
from superres.upscaling.networks import KerasNetwork

# ------------------------------------------------------------------- settings ----
RECIPE = ""  # of settings: speedrun; small_x2, photo_x2, or _x3, _x4; h100, h100_x3, h100_x4
# data
DATA = "data"  # folder of HR photographs, searched recursively
VALIDATION_DATA = ""  # folder of validation pictures; empty: hold out a few of DATA
VALIDATION_CROP = 512  # side of the centre of a validation picture that is scored, HR pixels
CACHE = "data/.cache"  # folder for decoded photographs, 3.8 bytes a pixel; empty: none
CROP_SIZE = 64  # height and width of a training crop, in HR pixels
BATCH_SIZE = 8  # crops a step, on all devices together
DEGRADATION = "bicubic"  # of LR crops: bicubic: clean; wild: also JPEG, noise, blur and more
DRAWINGS = 0.0  # share of crops that are random drawings: text, lines, dithering
# how long
EPOCHS = 1000  # times STEPS_PER_EPOCH; the learning rate reaches 0 at the end
STEPS_PER_EPOCH = 1000  # steps between validations
# optimizer
LOSS = "l1"  # l1, or l1_ycbcr, for JPEGs, or ssim_l1, that of the original work
OPTIMIZER = "muon"  # muon, or adam, that of the original work
LEARNING_RATE = 0  # at its peak; 0: 2e-3 with muon, 1e-4 with adam; grow it with BATCH_SIZE
WARMUP_STEPS = 500  # in which the learning rate rises from 0; at most a tenth of all steps
DECAY_EPOCHS = 0  # the last ones, in which it falls from its peak; 0: a cosine over all EPOCHS
CLIP_NORM = 1.0  # largest norm of the whole gradient; a bad batch cannot derail the run
EMA_DECAY = 0.999  # of the averaged weights, which are validated and saved; less at first
PRECISION = "float32"  # float32, or mixed_bfloat16, or auto: the latter where that is faster
# run
NAME = ""  # weights are written to weights/<NAME>.keras; empty: my_<RECIPE or edsr>_x<SCALE>
START_FROM = ""  # .keras file to start from: of another scale, or of a smaller network
SEED = 1  # of the first weights and of all crops
SAVE_MINUTES = 10  # between savings of the state from which an interrupted run goes on
RESTART = False  # begin anew and overwrite an earlier run of the same NAME
# ---------------------------------------------------------------------------------

# Settings beside those above; docs/weights.md tells which made the weights in weights/.
_SMALL = {
    "num_filters": 64,
    "residual_blocks": 9,
    "global_skip": True,
    "batch_size": 16,
    "optimizer": "muon",
    "learning_rate": 2e-3,
    "precision": "auto",
}
_FROM_X2 = _SMALL | {
    "start_from": str(utils.WEIGHTS_FOLDER / "edsr_small_x2.keras"),
    "crop_size": 96,
    "learning_rate": 1e-3,
    "decay_epochs": 6,
}
_PHOTO = _SMALL | {
    "conditions": 3,
    "degradation": "wild",
    "drawings": 0.03,
    "learning_rate": 1e-3,
    "warmup_steps": 100,
    "crop_size": 96,
}


def _photo_of(scale, epochs, decay_epochs):
    clean = utils.WEIGHTS_FOLDER / f"edsr_small_x{scale}.keras"
    how_long = {"epochs": epochs, "decay_epochs": decay_epochs}
    return _PHOTO | {"scale": scale, "start_from": str(clean)} | how_long


def _large_of(scale, epochs, decay_epochs, start_from):
    return {
        "scale": scale,
        "num_filters": 128,
        "residual_blocks": 24,
        "global_skip": True,
        "crop_size": 48 * scale,
        "batch_size": 32,
        "epochs": epochs,
        "decay_epochs": decay_epochs,
        "steps_per_epoch": 2000,
        "optimizer": "muon",
        "learning_rate": 1e-3,
        "precision": "auto",
        "start_from": str(utils.WEIGHTS_FOLDER / f"{start_from}.keras"),
    }


RECIPES = {
    # From nothing to 37.5 dB on Set5, the score of VDSR: 7.0 minutes, with scoring and saving, on
    # two cores of an Intel Xeon with AMX; on an AMD EPYC with AVX512-BF16 about 16.
    # Three seeds: Set5 37.53, 37.56 and 37.59, Set14 32.93, 32.95 and 32.96 dB.
    "speedrun": _SMALL | {"scale": 2, "epochs": 4, "steps_per_epoch": 750, "decay_epochs": 1},
    # The Xeon. 1,000 steps (--epochs 1), in 2½ minutes: Set5 37.09, Set14 32.56 dB; 6,000 (--epochs
    # 6 --decay-epochs 3): 37.63, 33.02 dB; all of them, in 65 minutes of one core: 37.71, 33.14 dB.
    "small_x2": _SMALL | {"scale": 2, "epochs": 20, "decay_epochs": 10},
    # From earlier weights for x2, an hour of one core of the Xeon: Set5 34.01, Set14 29.91 dB.
    "small_x3": _FROM_X2 | {"scale": 3, "epochs": 12},
    # From what small_x2 makes, half an hour of one core of the Xeon: Set5 31.70, Set14 28.17 dB.
    "small_x4": _FROM_X2 | {"scale": 4, "crop_size": 128, "batch_size": 8, "epochs": 9},
    # For JPEGs; not run as they are now. With --conditions 1 and milder degradations, Set5 and
    # Set14 at quality 75: 12,000 steps of 32 crops, on a GPU: 33.80 and 30.58 dB.
    "photo_x2": _photo_of(2, epochs=10, decay_epochs=4),
    # So too, the EPYC, from earlier weights, 37 minutes, beside other work: 30.85 and 28.01 dB.
    "photo_x3": _photo_of(3, epochs=3, decay_epochs=2),
    # Likewise, 16 minutes: 28.99 and 26.47 dB.
    "photo_x4": _photo_of(4, epochs=3, decay_epochs=2),
    # From an earlier small network, one H100, with JAX: 300 TFLOP/s, about 5 minutes (7 beside
    # others): Set5 37.96, Set14 33.32.
    "h100": _large_of(2, epochs=11, decay_epochs=5, start_from="edsr_small_x2"),
    # From edsr_x2 as it was after 14,000 and 10,000 steps, beside it, 5 and 6 minutes: 34.30,
    # 30.07 and 32.03, 28.35 dB. From what it is now they are not run.
    "h100_x3": _large_of(3, epochs=5, decay_epochs=3, start_from="edsr_x2")
    | {"steps_per_epoch": 1600},
    "h100_x4": _large_of(4, epochs=5, decay_epochs=3, start_from="edsr_x2"),
}

WEIGHTS_FOLDER = utils.WEIGHTS_FOLDER
PRECISIONS = ("auto", "float32", "mixed_bfloat16")
USUAL_RATES = {"adam": 1e-4, "muon": 2e-3}  # by optimizer, of `training/optimizers.py`
# With these changed a training goes on: where things are, and when it is saved ...
FREE_TO_CHANGE = ("recipe", "data", "validation_data", "cache", "start_from", "restart")
FREE_TO_CHANGE += ("save_minutes",)
# ... and these are what one may want to change in the middle; it is said.
CHANGED_ALOUD = ("learning_rate", "epochs", "decay_epochs")


def validate(chosen):
    """Raises InputError at the first setting of training whose value makes no sense.

    `network.build` checks those of the network.
    """
    for name in ("crop_size", "batch_size", "epochs", "steps_per_epoch", "validation_crop"):
        settings.check_whole(name, getattr(chosen, name), 1)
    for name in ("decay_epochs", "warmup_steps", "seed"):
        settings.check_whole(name, getattr(chosen, name), 0)
    for name in ("clip_norm", "save_minutes"):
        settings.check_number(name, getattr(chosen, name), above=0)
    settings.check_number("ema_decay", chosen.ema_decay, above=0, at_most=0.999999)
    settings.check_choice("precision", chosen.precision, PRECISIONS)
    settings.check_choice("scale", chosen.scale, network.SCALES)
    settings.check_choice("degradation", chosen.degradation, ("bicubic", "wild"))
    settings.check_within("drawings", chosen.drawings, 0, 1)
    if chosen.conditions and chosen.degradation == "bicubic":
        raise InputError(
            f"CONDITIONS = {chosen.conditions}: expected DEGRADATION = 'wild' with it, "
            "not 'bicubic', of which all pictures are lossless"
        )
    settings.check_choice("loss", chosen.loss, LOSSES)
    settings.check_choice("optimizer", chosen.optimizer, tuple(USUAL_RATES))
    if chosen.learning_rate:
        settings.check_number("learning_rate", chosen.learning_rate, above=0)
    settings.check_flag("restart", chosen.restart)
    settings.check_text("data", chosen.data)
    for name in ("validation_data", "cache", "name", "start_from"):
        settings.check_text(name, getattr(chosen, name), may_be_empty=True)
    if chosen.name.startswith(".") or Path(chosen.name).name != chosen.name:
        raise InputError(f"NAME = {chosen.name!r}: expected a file name without folder")
    if chosen.name.endswith(".progress"):
        raise InputError(f"NAME = {chosen.name!r}: is what pictures of another NAME are called")
    if chosen.crop_size % chosen.scale:
        raise InputError(
            f"CROP_SIZE = {chosen.crop_size}: expected a multiple of SCALE = {chosen.scale}"
        )
    if chosen.loss == "ssim_l1" and chosen.crop_size < SSIM_WINDOW:
        raise InputError(
            f"CROP_SIZE = {chosen.crop_size}: expected at least {SSIM_WINDOW}, SSIM's window"
        )
    if chosen.seed >= 2**32:
        raise InputError(f"SEED = {chosen.seed}: expected less than 2**32")
    if chosen.validation_crop < 4 * chosen.scale:
        raise InputError(
            f"VALIDATION_CROP = {chosen.validation_crop}: expected at least {4 * chosen.scale}"
        )


def check_places(chosen):
    """Checks folders and files before anything takes long."""
    for name, folder in ("DATA", chosen.data), ("VALIDATION_DATA", chosen.validation_data):
        if folder and not Path(folder).is_dir():
            raise InputError(f"{name} = {folder!r}: no such folder")
    if chosen.start_from:
        weight_files.check(Path(chosen.start_from))
    if not chosen.restart:
        checkpoint.check_not_lost(WEIGHTS_FOLDER, chosen.name)
    make_folder(WEIGHTS_FOLDER)
    remove_leftovers(WEIGHTS_FOLDER)
    check_writable(WEIGHTS_FOLDER)


def trainer_for(chosen, model):
    """A `Trainer` as the settings say."""
    from superres.training.trainer import Trainer  # here, since it loads Keras

    return Trainer(
        model,
        loss=chosen.loss,
        optimizer=chosen.optimizer,
        learning_rate=learning_rates(
            chosen.learning_rate,
            total_steps=chosen.epochs * chosen.steps_per_epoch,
            warmup_steps=chosen.warmup_steps,
            decay_steps=chosen.decay_epochs * chosen.steps_per_epoch,
        ),
        clip_norm=chosen.clip_norm,
        ema_decay=chosen.ema_decay,
    )


def changed(chosen, **changes):
    """The settings, with some of them changed."""
    return argparse.Namespace(**vars(chosen) | changes)


def check_resumable(path, state, chosen):
    """Says from where a training goes on, and what differs; raises InputError where it must not."""
    before, now = state.settings, vars(chosen)
    changes = resume.compare(path, before, now, silently=FREE_TO_CHANGE, aloud=CHANGED_ALOUD)
    if state.step < chosen.epochs * chosen.steps_per_epoch:
        print("\n".join([f"going on after step {state.step:,}, from {path}", *changes]))


def save(chosen, trainer, log, data, is_new):
    """Saves what is new; says so where it cannot.

    Returns:
        The error, where the disk is full or the like; the training goes on until the next time.
    """
    state = checkpoint.State(
        trainer.step,
        vars(chosen),
        trainer.arrays(),
        log.rows,
        log.epoch,
        log.shown,
        in_turn=data.in_turn,
        **log.about,
    )
    try:
        # In this order: a run that goes on from a state does not write weights again that were
        # the best before it.
        log.write_weights()
        checkpoint.save(WEIGHTS_FOLDER, chosen.name, state, is_new)
        log.write()
    except (InputError, OSError) as error:
        if is_fault(error):
            raise
        tqdm.write(
            f"could not save at step {trainer.step:,}: {error}; what was saved before is still "
            "there, and it is tried again at the next saving"
        )
        return error
    return None


def train(chosen, stop):
    """Trains as the settings say; writes weights/<NAME>.keras, files beside it, and states.

    Args:
        chosen: namespace of all settings of `network.py` and `train.py`, in lower case.
        stop: `command.Stop`: where it is set, the training ends after the step, and is saved.

    Raises:
        InputError: a setting is wrong, or the data has nothing to train on.
        FloatingPointError: the loss is not finite; what was saved before is kept.
        Failed: the end could not be saved.
        KeyboardInterrupt: it was stopped; the state is saved.
    """
    weights = WEIGHTS_FOLDER / f"{chosen.name}.keras"
    check_places(chosen)
    processes.join()
    is_first = processes.index_and_count()[0] == 0  # which scores and saves
    with contextlib.ExitStack() as held:
        if is_first:
            held.enter_context(checkpoint.claimed(WEIGHTS_FOLDER, chosen.name))
        path, state = (None, None) if chosen.restart else resume.load(WEIGHTS_FOLDER, chosen.name)
        if chosen.precision == "auto":
            chosen = changed(chosen, precision=best_precision(state))
        if state:
            check_resumable(path, state, chosen)
        if state and state.step >= chosen.epochs * chosen.steps_per_epoch:
            say_finished(weights, state)
            return
        keras.utils.set_random_seed(chosen.seed)
        scored, model = build_networks(chosen, held)
        print(
            f"{model.count_params():,} parameters, {backend.describe()}, {chosen.precision}, "
            f"{chosen.optimizer} with a learning rate of {chosen.learning_rate:g}"
        )
        if chosen.start_from and not state:
            growing.start_from(model, chosen.start_from)
        data = held.enter_context(open_data(chosen, state))
        log = open_log(chosen, weights, scored, data, state)
        trainer = trainer_for(chosen, model)
        if state:
            trainer.restore(state.arrays, state.step)
        fit(chosen, stop, trainer, data, log, is_new=state is None, is_first=is_first)
    if is_first:
        best = log.best()
        print(
            f"done: {weights} is of epoch {best['epoch']}, PSNR {best['psnr']:.3f} dB "
            f"(bicubic {best['bicubic_psnr']:.3f}); {data.skips}; enlarge with python output.py "
            f"--weights {weights}"
        )


def best_precision(state):
    """The faster PRECISION here; of a training that goes on, the one that it began with."""
    if state:
        return state.settings["precision"]
    return "mixed_bfloat16" if backend.has_fast_bfloat16() else "float32"


def open_data(chosen, state):
    """The `Dataset` of the settings, as it was where a training goes on."""
    process, process_count = processes.index_and_count()
    share = chosen.batch_size // process_count  # of each step, that this process cuts
    names = [field.name for field in dataclasses.fields(DataOptions)]
    return open_dataset(
        DataOptions(**{name: getattr(chosen, name) for name in names}),
        held_out=state.held_out if state else (),
        in_turn=state.in_turn if state else None,
        step=state.step if state else 0,
        part=slice(process * share, (process + 1) * share),
    )


def say_finished(weights, state):
    """Says that there is nothing left to train."""
    if not weights.exists():
        raise InputError(
            f"{weights}: is gone, but its training is finished; begin anew with --restart"
        )
    print(f"{weights} is finished, after {state.step:,} steps; to go on, raise EPOCHS")


def open_log(chosen, weights, scored, data, state):
    """The `TrainingLog` of the settings, with what is in it where a training goes on."""
    validation = data.validation
    about = {
        "held_out": [] if chosen.validation_data else [str(path) for path in validation],
        "validation": digest(validation.values(), with_lr=chosen.degradation != "bicubic"),
    }
    if state and state.rows and about["validation"] != state.validation:
        raise InputError(
            "the validation pictures have changed, so that scores could not be compared; put them "
            "back, take another NAME, or begin anew with --restart"
        )
    done = {key: getattr(state, key) for key in ("rows", "epoch", "shown")} if state else {}
    return TrainingLog(
        weights, vars(chosen), scored, list(validation.values()), **done, about=about
    )


def build_networks(chosen, held):
    """A `KerasNetwork` in float32, to be scored, and the network to be trained, on all devices."""
    of_network = [setting.name.lower() for setting in settings.read_block(network.__file__)]
    shape = {name: getattr(chosen, name) for name in of_network}
    model = network.build(**shape)
    if not isinstance(model, keras.Model):
        raise InputError(f"network.py: build returns {model!r}: expected a keras.Model")
    scored = KerasNetwork(model)
    with weight_files.refusing("network.py"):
        weight_files.check_config(json.loads(model.to_json()))
    scale, multiple = scored.traits.scale, chosen.scale * scored.traits.multiple_of
    if scale != chosen.scale:
        raise InputError(f"SCALE = {chosen.scale}: the network enlarges by {scale}")
    if chosen.crop_size % multiple:
        raise InputError(
            f"CROP_SIZE = {chosen.crop_size}: expected a multiple of {multiple}, for this network"
        )
    held.enter_context(processes.over_all_devices(chosen.batch_size))
    keras.config.set_dtype_policy(chosen.precision)
    model = network.build(**shape)
    keras.config.set_dtype_policy("float32")
    return scored, model


def fit(chosen, stop, trainer, data, log, is_new, is_first):
    """The training loop: epoch after epoch is trained, scored and saved.

    Raises:
        Failed: the end could not be saved.
        KeyboardInterrupt: it was stopped; the state is saved.
    """
    total_steps = chosen.epochs * chosen.steps_per_epoch
    warmup_steps = warmup_within(chosen.warmup_steps, total_steps)
    if is_new and warmup_steps < chosen.warmup_steps:
        print(
            f"warm-up shortened from {chosen.warmup_steps} to {warmup_steps} steps, a tenth of all "
            f"{total_steps:,}"
        )
    if chosen.decay_epochs > chosen.epochs:
        print(f"decay shortened from {chosen.decay_epochs} to {chosen.epochs} epochs, all that are")
    bar = tqdm(
        desc="training",
        total=total_steps * chosen.batch_size,
        initial=trainer.step * chosen.batch_size,
        unit="crop",
        unit_scale=True,
        smoothing=0.05,
        mininterval=0.5 if sys.stderr.isatty() else 60,  # a log file needs no line every second
    )

    def on_steps(steps, loss):
        psnr = {"psnr": f"{log.rows[-1]['psnr']:.2f}"} if log.rows else {}
        bar.set_postfix(psnr | {"loss": f"{loss:.4f}"}, refresh=False)
        bar.update(steps * chosen.batch_size)

    unsaved, is_stopped = None, False
    with bar, stop.gently():
        while trainer.step < total_steps and not is_stopped:
            end = (trainer.step // chosen.steps_per_epoch + 1) * chosen.steps_per_epoch
            waited, steps = data.waited, end - trainer.step
            fitted = trainer.fit(
                data.batches(trainer.step, end), steps, stop, 60 * chosen.save_minutes, on_steps
            )
            is_stopped = fitted.is_stopped
            log.count(fitted, data.waited - waited)
            if is_first:
                if trainer.step == end:
                    rate = float(trainer.schedule(trainer.step))
                    bar.write(log.end_epoch(trainer.step, trainer.ema_weights(), rate))
                unsaved = save(chosen, trainer, log, data, is_new)
                is_new = is_new and unsaved is not None
    if unsaved:
        raise Failed(f"not saved: {unsaved}") from unsaved
    if trainer.step < total_steps:
        raise KeyboardInterrupt


def work(chosen, stop):
    """Trains, and says how to go on where it was stopped or memory ran out."""
    validate(chosen)
    mark = utils.CONTENTS["clean" if chosen.degradation == "bicubic" else "photo"]
    # Of small_x2 it is small; photo is in the mark.
    kind = chosen.recipe.split("_")[0].replace("photo", "") or "edsr"
    chosen = changed(
        chosen,
        name=chosen.name or f"my_{kind}_x{chosen.scale}{mark}",
        learning_rate=chosen.learning_rate or USUAL_RATES[chosen.optimizer],
    )
    try:
        train(chosen, stop)
    except FloatingPointError as error:
        raise Failed(error) from error
    except KeyboardInterrupt:
        raise Stopped(checkpoint.how_to_go_on(WEIGHTS_FOLDER, chosen.name)) from None
    except Exception as error:  # each backend has its own kind for this
        if not memory.is_out_of_memory(error):
            raise
        reason = " ".join(str(error).split())[:200]
        raise Failed(
            f"out of memory ({reason}); lower BATCH_SIZE, CROP_SIZE, NUM_FILTERS or "
            f"VALIDATION_CROP; {checkpoint.how_to_go_on(WEIGHTS_FOLDER, chosen.name)}"
        ) from error
    return 0


def main(arguments=None):
    """Runs the command; returns its exit code."""
    scripts = [network.__file__, __file__]
    return command.run(work, scripts, arguments, recipes=RECIPES)


if __name__ == "__main__":
    sys.exit(main())
