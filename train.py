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
import shutil
import sys
from pathlib import Path

import network
import utils
from superres.dataset.crops import cut_batch
from superres.dataset.folder import Skips, load_data
from superres.runtime import backend, command, memory, processes, settings
from superres.runtime.backend import keras
from superres.runtime.files import check_writable, remove_leftovers
from superres.runtime.prefetch import Stream
from superres.training import checkpoint, resume
from superres.training.log import Journal, digest
from superres.training.losses import LOSSES, SSIM_WINDOW
from superres.training.optimizers import OPTIMIZERS, HoldAndDecay
from superres.training.trainer import (
    Run,
    Timing,
    epochs_for,
    restore,
    training_model,
)
from superres.upscaling import weight_files

# ------------------------------------------------------------------- settings ----
RECIPE = ""  # small_x2, small_x3, small_x4 or h100: settings that replace these; empty: none
DATA = "data"  # folder of HR photographs, searched recursively
VALIDATION_DATA = ""  # folder of validation pictures; empty: hold out a few of DATA
CACHE = "data/.cache"  # folder for decoded photographs, 3.8 bytes a pixel; empty: none
NAME = ""  # the weights are written to weights/<NAME>.keras; empty: my_edsr_x<SCALE>
START_FROM = ""  # .keras file to start from: of another scale, or of a smaller network
CROP_SIZE = 64  # height and width of a training crop, in HR pixels
BATCH_SIZE = 8  # crops a step, on all devices together
EPOCHS = 1000  # times STEPS_PER_EPOCH; the learning rate reaches 0 at the end
DECAY_EPOCHS = 0  # the last ones, in which it falls from its peak; 0: a cosine over all EPOCHS
MINUTES = 0  # of training: replaces EPOCHS by what the speed of the first steps allows; 0: EPOCHS
STEPS_PER_EPOCH = 1000  # steps between validations
LOSS = "l1"  # or ssim_l1: 0.84 (1 - SSIM) + 0.16 L1, that of the original work
OPTIMIZER = "adam"  # or "muon", for which LEARNING_RATE is 2e-3
LEARNING_RATE = 1e-4  # at its peak; grow it with BATCH_SIZE
WARMUP_STEPS = 500  # in which the learning rate rises from 0; at most a tenth of all steps
CLIP_NORM = 1.0  # largest norm of the whole gradient; a bad batch cannot derail the run
AVERAGING = 0.999  # decay of the averaged weights, which are validated and saved; less at first
VALIDATION_CROP = 512  # side of the centre of a validation picture that is scored, HR pixels
PRECISION = "float32"  # or "mixed_bfloat16": faster where the hardware has bfloat16
SEED = 1  # of the first weights and of all crops
SAVE_MINUTES = 10  # between savings of the state from which an interrupted run goes on
TENSORBOARD = False  # also write events for TensorBoard, to weights/<NAME>.tensorboard
FROM_BEST = False  # where states are lost: go on from weights/<NAME>.keras, .json and .csv
RESTART = False  # begin anew and overwrite an earlier run of the same NAME
# ---------------------------------------------------------------------------------

# Settings that made the weights in weights/, beside those above.
_SMALL = {
    "num_filters": 64,
    "residual_blocks": 9,
    "global_skip": True,
    "batch_size": 16,
    "precision": "mixed_bfloat16",
}
_FROM_X2 = _SMALL | {
    "start_from": str(utils.WEIGHTS_FOLDER / "edsr_small_x2.keras"),
    "crop_size": 96,
    "learning_rate": 8e-4,
}
RECIPES = {
    # Two cores of an AMD EPYC with AVX512-BF16, 114 minutes: Set5 37.67, Set14 33.05 dB; the
    # shipped file had 5,000 steps more, see README.
    "small_x2": _SMALL | {"scale": 2, "epochs": 20, "learning_rate": 1e-3},
    # The same machine, 95 minutes: Set5 33.90, Set14 29.84 dB.
    "small_x3": _FROM_X2 | {"scale": 3, "epochs": 10},
    # The same machine, 94 minutes: Set5 31.62, Set14 28.16 dB.
    "small_x4": _FROM_X2 | {"scale": 4, "epochs": 15},
    # For one H100 and 25 minutes, not run yet: 64 crops of 96x96 are 6.9 TFLOP a step.
    "h100": {
        "scale": 2,
        "num_filters": 128,
        "residual_blocks": 24,
        "crop_size": 96,
        "batch_size": 64,
        "minutes": 25,
        "steps_per_epoch": 2500,
        "learning_rate": 4e-4,
        "precision": "mixed_bfloat16",
    },
}

WEIGHTS_FOLDER = utils.WEIGHTS_FOLDER
PRECISIONS = ("float32", "mixed_bfloat16")


def validate(chosen):
    """Raises ValueError at the first setting of training whose value makes no sense.

    Those of the network are `network.edsr`'s to check.
    """
    for name in ("crop_size", "batch_size", "epochs", "steps_per_epoch", "validation_crop"):
        settings.check_whole(name, getattr(chosen, name), 1)
    for name in ("decay_epochs", "warmup_steps", "seed"):
        settings.check_whole(name, getattr(chosen, name), 0)
    for name in ("learning_rate", "clip_norm", "save_minutes"):
        settings.check_number(name, getattr(chosen, name), above=0)
    settings.check_number("averaging", chosen.averaging, above=0, at_most=0.999999)
    if chosen.minutes:
        settings.check_number("minutes", chosen.minutes, above=0)
        # The steps that are timed are within the warm-up and the first epoch.
        if chosen.warmup_steps < 2 or chosen.steps_per_epoch < 3:
            raise ValueError(
                f"MINUTES = {chosen.minutes}: expected WARMUP_STEPS of at least 2 with it, and "
                "STEPS_PER_EPOCH of at least 3"
            )
    settings.check_choice("precision", chosen.precision, PRECISIONS)
    settings.check_choice("scale", chosen.scale, network.SHUFFLES)
    settings.check_choice("loss", chosen.loss, LOSSES)
    settings.check_choice("optimizer", chosen.optimizer, OPTIMIZERS)
    for name in ("restart", "tensorboard", "from_best"):
        settings.check_flag(name, getattr(chosen, name))
    if chosen.restart and chosen.from_best:
        raise ValueError("RESTART = True, FROM_BEST = True: expected one of them at most")
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
    if chosen.decay_epochs > chosen.epochs and not chosen.minutes:
        raise ValueError(
            f"DECAY_EPOCHS = {chosen.decay_epochs}: expected at most EPOCHS = {chosen.epochs}"
        )
    if chosen.seed >= 2**32:
        raise ValueError(f"SEED = {chosen.seed}: expected less than 2**32")
    if chosen.validation_crop < 4 * chosen.scale:
        raise ValueError(
            f"VALIDATION_CROP = {chosen.validation_crop}: expected at least {4 * chosen.scale}"
        )


def what_to_go_on_from(chosen):
    """The hint for a training that was stopped."""
    if chosen and (states := checkpoint.find(WEIGHTS_FOLDER, chosen.name)):
        return f"the same command, without --restart, goes on from {states[0]}"
    return "nothing was saved to go on from"


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
    if weights.exists() and not states and not (chosen.restart or chosen.from_best):
        raise ValueError(
            f"{weights}: is there, but no {chosen.name}.state-*.npz to go on from; take another "
            "NAME, go on from the weights alone with --from-best, or replace them with --restart"
        )
    WEIGHTS_FOLDER.mkdir(exist_ok=True)
    remove_leftovers(WEIGHTS_FOLDER)
    check_writable(WEIGHTS_FOLDER)


def warmup_of(chosen):
    """WARMUP_STEPS, or where these are more than a tenth of all steps, that tenth."""
    return min(chosen.warmup_steps, chosen.epochs * chosen.steps_per_epoch // 10)


def schedule_of(chosen):
    """The learning rate over all steps: it rises, is held where there are DECAY_EPOCHS, falls."""
    total_steps = chosen.epochs * chosen.steps_per_epoch
    warmup_steps = warmup_of(chosen)
    if chosen.decay_epochs:
        return HoldAndDecay(
            chosen.learning_rate,
            warmup_steps=warmup_steps,
            decay_steps=min(chosen.decay_epochs * chosen.steps_per_epoch, total_steps),
            total_steps=total_steps,
        )
    return keras.optimizers.schedules.CosineDecay(
        0.0,
        decay_steps=total_steps - warmup_steps,
        warmup_target=chosen.learning_rate,
        warmup_steps=warmup_steps,
    )


def compiled(chosen, model):
    """The network compiled for training, and the schedule of its learning rate."""
    schedule = schedule_of(chosen)
    training = training_model(
        model,
        loss=chosen.loss,
        optimizer=chosen.optimizer,
        learning_rate=schedule,
        clip_norm=chosen.clip_norm,
        averaging=chosen.averaging,
    )
    return training, schedule


def with_epochs_for_minutes(chosen, model, training, stream, beginning):
    """Takes the first steps of a training, and sets EPOCHS by how long they took.

    They are a part of the warm-up, in which the learning rate does not depend on EPOCHS yet.

    Returns:
        As `compiled`, for these EPOCHS, and a `resume.Beginning` after these steps.
    """
    most = min(chosen.warmup_steps, chosen.steps_per_epoch - 1)
    # Several processes have to take the same number of steps.
    alone = processes.index_and_count()[1] == 1
    timing = Timing(training, stream, most, *([] if alone else [math.inf]))
    training.fit(
        stream.batches(range(most)),
        steps_per_epoch=most,
        callbacks=timing,
        shuffle=False,
        verbose=0,
    )
    # With the new schedule it is compiled once more.
    seconds = timing.sums["seconds"] + timing.compile_seconds
    epochs = epochs_for(chosen, timing.steps, seconds, timing.step_seconds)
    chosen.epochs = processes.all_gather(epochs)[0]
    training, schedule = compiled(chosen, model)
    restore(training, timing.arrays)
    print(
        f"{timing.step_seconds:.3g} seconds a step: EPOCHS = {chosen.epochs} of "
        f"{chosen.steps_per_epoch} steps in {chosen.minutes} minutes"
    )
    return training, schedule, beginning._replace(step=timing.steps, sums=timing.sums)


def train(chosen, stop):
    """Trains as the settings say; writes weights/<NAME>.keras, .json, .csv, .png and states.

    Args:
        chosen: namespace of all settings of `network.py` and `train.py`, in lower case.
        stop: `threading.Event`: where it is set, the training ends after the step, and is saved.

    Raises:
        ValueError: a setting is wrong, or the data has nothing to train on.
        FloatingPointError: the loss is not finite; what was saved before is kept.
        Failed: the end could not be saved.
        KeyboardInterrupt: it was stopped; the state is saved.
    """
    validate(chosen)
    chosen.name = chosen.name or f"my_edsr_x{chosen.scale}"
    check_places(chosen)
    processes.join()
    process, process_count = processes.index_and_count()
    keras.utils.set_random_seed(chosen.seed)
    shape = {
        name: getattr(chosen, name)
        for name in ("scale", "num_filters", "residual_blocks", "residual_scaling", "global_skip")
    }
    averaged = network.edsr(**shape)
    with contextlib.ExitStack() as held:
        if process == 0:
            held.enter_context(checkpoint.claimed(WEIGHTS_FOLDER, chosen.name))
        held.enter_context(processes.over_all_devices(chosen.batch_size))
        keras.config.set_dtype_policy(chosen.precision)
        model = network.edsr(**shape)
        keras.config.set_dtype_policy("float32")
        found = resume.find(chosen, WEIGHTS_FOLDER)
        if chosen.minutes and not found:  # until EPOCHS follow, the warm-up is not shortened
            chosen.epochs = math.ceil(10 * chosen.warmup_steps / chosen.steps_per_epoch)
        training, schedule = compiled(chosen, model)
        beginning = resume.begin(chosen, found, model, training)
        total_steps = chosen.epochs * chosen.steps_per_epoch
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
            {
                "held_out": beginning.held_out,
                "validation": validation_digest,
                "first_row": beginning.first_row,
            },
        )
        share = chosen.batch_size // process_count  # of each step, that this process cuts
        part = slice(process * share, (process + 1) * share)
        stream = Stream(
            lambda step: cut_batch(
                source.at(step), step, batch_size=chosen.batch_size, seed=chosen.seed, part=part
            )
        )
        run = None
        try:
            if chosen.minutes and not beginning.step:
                training, schedule, beginning = with_epochs_for_minutes(
                    chosen, model, training, stream, beginning
                )
                total_steps = chosen.epochs * chosen.steps_per_epoch
            if warmup_of(chosen) < chosen.warmup_steps:
                print(
                    f"WARMUP_STEPS = {chosen.warmup_steps}: {warmup_of(chosen)}, a tenth of all "
                    f"{total_steps:,} steps"
                )
            run = Run(
                chosen,
                training,
                schedule,
                stop,
                journal,
                stream,
                beginning,
                process,
                process_count,
            )
            with stop.gently():
                training.fit(
                    stream.batches(range(run.step, total_steps)),
                    steps_per_epoch=total_steps - run.step,
                    callbacks=run,
                    shuffle=False,
                    verbose=0,
                )
        except (ValueError, OSError) as error:
            step = run.step if run else beginning.step
            raise command.Failed(f"{type(error).__name__} at step {step:,}: {error}") from error
        finally:
            if run:
                run.bar.close()
            stream.close()
            source.close()
    if run.unsaved:
        raise command.Failed(f"not saved: {run.unsaved}") from run.unsaved
    if run.step < total_steps:
        raise KeyboardInterrupt
    if run.is_first:
        best = journal.best()
        print(
            f"done: {weights} is of epoch {best['epoch']}, PSNR {best['psnr']:.3f} dB "
            f"(bicubic {best['bicubic_psnr']:.3f}); {skips}; enlarge with python output.py "
            f"--weights {weights}"
        )


def work(chosen, stop):
    """Trains, and says how to go on where it was stopped or memory ran out."""
    try:
        train(chosen, stop)
    except FloatingPointError as error:
        raise command.Failed(error) from error
    except KeyboardInterrupt:
        raise command.Stopped(what_to_go_on_from(chosen)) from None
    except (command.Failed, ValueError, OSError):
        raise
    except Exception as error:  # each backend has its own kind for this
        if not memory.is_out_of_memory(error):
            raise
        reason = " ".join(str(error).split())[:200]
        raise command.Failed(
            f"out of memory ({reason}); lower BATCH_SIZE, CROP_SIZE, NUM_FILTERS or "
            f"VALIDATION_CROP; {what_to_go_on_from(chosen)}"
        ) from error
    return 0


def main(arguments=None):
    """Runs the command; returns its exit code."""
    return command.run(work, [network.__file__, __file__], arguments, recipes=RECIPES)


if __name__ == "__main__":
    sys.exit(main())
