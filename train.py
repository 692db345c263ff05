"""Trains the network on a folder of photographs: photographs -> crops -> fit -> weights/.

`python train.py` trains on every picture below data/ and writes weights/<NAME>.keras, the
averaged weights of the epoch that scored best on validation pictures (of the last one with LOSS =
"perceptual"), with its settings (.json), a row for each epoch (.csv), a plot (.png) and a picture
of its progress (.progress.png). The same command resumes after a stop.

Exit code 0: finished. 1: failed; what was saved is kept. 2: could not start. 130: stopped by
Ctrl-C or SIGTERM, and saved.
"""

import contextlib
import json
import sys
from pathlib import Path

import network
import utils
from superres.dataset.folder import open_dataset
from superres.dataset.options import DataOptions
from superres.runtime import backend, command, devices, memory, settings
from superres.runtime.backend import keras
from superres.runtime.errors import Failed, InputError, Stopped
from superres.training import checkpoint, growing, losses
from superres.training.log import TrainingLog
from superres.training.schedule import learning_rates
from superres.upscaling import weight_files
from superres.upscaling.networks import KerasNetwork

# ------------------------------------------------------------------- settings ----
RECIPE = ""  # a set of settings, see RECIPES: speedrun, small, photo, sharp or large; empty: none
# data
DATA = "data"  # folder of HR photographs, searched recursively
VALIDATION_DATA = ""  # folder of validation pictures; empty: hold out a few of DATA
VALIDATION_CROP = 512  # of validation pictures only the centre is scored; its side, HR pixels
CACHE = "data/.cache"  # folder of decoded photographs, HR and LR, 3.8 bytes a pixel; empty: none
CROP_SIZE = 64  # height and width of a training crop, in HR pixels
BATCH_SIZE = 8  # crops per step, on all devices together
DEGRADATION = "bicubic"  # of LR crops; bicubic: reduction alone; wild: JPEG, noise, blur and more
DRAWINGS = 0.0  # share of crops that are random drawings: text, lines, dithering
# how long
EPOCHS = 1000  # of STEPS_PER_EPOCH steps; the learning rate reaches 0 at the end
STEPS_PER_EPOCH = 1000  # steps between validations
# optimizer
LOSS = "l1"  # l1; l1_ycbcr: luma counts four times; ssim_l1: SSIM and L1; perceptual: looks sharp
FEATURES = ""  # for perceptual: VGG-16 as .npz; empty: Keras downloads it
OPTIMIZER = "muon"  # muon; adam: as in the EDSR paper
LEARNING_RATE = 0  # peak; 0: 2e-3 with muon, 1e-4 with adam; raise it with BATCH_SIZE
WARMUP_STEPS = 500  # linear warm-up; at most a tenth of the run
DECAY_EPOCHS = 0  # last epochs with a linear decay from the peak; 0: cosine over all EPOCHS
CLIP_NORM = 1.0  # clip the global gradient norm
EMA_DECAY = 0.999  # decay of the averaged weights, which are scored and saved; smaller at first
PRECISION = "float32"  # float32, mixed_bfloat16, or auto: the faster one
# run
NAME = ""  # files are weights/<NAME>.*; empty: my_edsr_x2, my_small_x2, my_edsr_x2_photo, ...
START_FROM = ""  # .keras file to start from; its architecture wins over network.py, not over RECIPE
SEED = 1  # of the initial weights and the crops
SAVE_MINUTES = 10  # between saves of the state that resuming needs
RESTART = False  # start over; replaces an earlier run of the same NAME
# ---------------------------------------------------------------------------------

_SMALL = {
    "num_filters": 64,
    "residual_blocks": 9,
    "global_skip": True,
    "batch_size": 16,
    "optimizer": "muon",
    "learning_rate": 2e-3,
    "precision": "auto",
}
_SMALL_FROM_X2 = _SMALL | {
    "start_from": str(utils.WEIGHTS_FOLDER / "edsr_small_x2.keras"),
    "crop_size": 96,
    "learning_rate": 1e-3,
    "decay_epochs": 6,
}


def _photo(scale, epochs, decay_epochs):
    return _SMALL | {
        "conditions": 4,  # of network.py: quality, noise, blur, sharpening
        "degradation": "wild",
        "drawings": 0.03,
        "learning_rate": 1e-3,
        "warmup_steps": 100,
        "crop_size": 96,
        "start_from": str(utils.WEIGHTS_FOLDER / f"edsr_small_x{scale}.keras"),
        "epochs": epochs,
        "decay_epochs": decay_epochs,
    }


def _sharp(scale):
    photo = _photo(scale, 3, 1)
    return {n: photo[n] for n in photo if n != "conditions"} | {  # they are START_FROM's
        "loss": "perceptual",
        "optimizer": "adam",
        "learning_rate": 1e-4,
        "precision": "float32",  # in bfloat16 the agreement is 2 dB lower
        "batch_size": 4,
        "crop_size": max(96, 32 * scale),
        "drawings": 0.1,  # so that flat colours stay flat beside edges
        "start_from": str(utils.WEIGHTS_FOLDER / f"edsr_small_x{scale}_wild.keras"),
    }


def _large(scale, start_from, epochs, decay_epochs, steps_per_epoch):
    return _SMALL | {
        "num_filters": 128,
        "residual_blocks": 24,
        "crop_size": 48 * scale,
        "batch_size": 32,
        "learning_rate": 1e-3,
        "start_from": str(utils.WEIGHTS_FOLDER / f"{start_from}.keras"),
        "epochs": epochs,
        "decay_epochs": decay_epochs,
        "steps_per_epoch": steps_per_epoch,
    }


# In place of the settings above, by RECIPE and SCALE. Scores: Set5, Set14. See docs/weights.md.
RECIPES = {
    # Reaches VDSR's published score from random weights: in 7 minutes on two cores of a Xeon with
    # AMX, in 16 on an EPYC with AVX512-BF16. Three seeds: 37.53 to 37.59, 32.93 to 32.96 dB.
    "speedrun": {2: _SMALL | {"epochs": 4, "steps_per_epoch": 750, "decay_epochs": 1}},
    "small": {
        2: _SMALL | {"epochs": 20, "decay_epochs": 10},  # 65 min on a Xeon core: 37.71, 33.14
        3: _SMALL_FROM_X2 | {"epochs": 12},  # 60 min: 34.01, 29.91
        4: _SMALL_FROM_X2
        | {"crop_size": 128, "batch_size": 8, "epochs": 9},  # 30 min: 31.70, 28.17
    },
    "photo": {2: _photo(2, 10, 4), 3: _photo(3, 3, 2), 4: _photo(4, 3, 2)},
    "sharp": {2: _sharp(2), 3: _sharp(3), 4: _sharp(4)},
    "large": {  # on an H100 with JAX, at 300 TFLOP/s
        2: _large(2, "edsr_small_x2", 11, 5, 2000),  # 5 minutes: 37.96, 33.32
        3: _large(3, "edsr_x2", 5, 3, 1600),  # 5 minutes: 34.30, 30.07
        4: _large(4, "edsr_x2", 5, 3, 2000),  # 6 minutes: 32.03, 28.35
    },
}

WEIGHTS_FOLDER = utils.WEIGHTS_FOLDER
DEFAULT_RATES = {"adam": 1e-4, "muon": 2e-3}  # by optimizer
CHOICES = {
    "scale": network.SCALES,
    "degradation": ("bicubic", "wild"),
    "loss": (*losses.LOSSES, losses.PERCEPTUAL),
    "optimizer": tuple(DEFAULT_RATES),
    "precision": ("auto", "float32", "mixed_bfloat16"),
}
# Settings that may change on resuming, silently or with a note.
MAY_CHANGE = ("recipe", "data", "validation_data", "cache", "start_from", "restart", "save_minutes")
MAY_CHANGE_WITH_NOTE = ("learning_rate", "epochs", "decay_epochs")


def presets(given):
    """Settings of RECIPE, and of the network in START_FROM; what is on the command line wins."""
    name = given.get("recipe", RECIPE)
    settings.check_choice("recipe", name, ("", *RECIPES))
    recipes = RECIPES.get(name, {})
    scale = given.get("scale", network.SCALE)
    if name and scale not in recipes:
        raise InputError(f"SCALE = {scale}: expected one of {list(recipes)} with RECIPE = {name!r}")
    found = {"scale": scale} | recipes[scale] if name else {}
    start = (found | given).get("start_from", START_FROM)
    return (growing.settings_of(start) if start else {}) | found


def check(config):
    """Raises InputError at the first setting out of range; `network.build` checks its own."""
    minimums = {"batch_size": 1, "epochs": 1, "steps_per_epoch": 1}
    minimums |= {"decay_epochs": 0, "warmup_steps": 0, "validation_crop": 4 * config.scale}
    minimums |= {"crop_size": losses.SSIM_WINDOW if config.loss == "ssim_l1" else 1}
    for name, choices in CHOICES.items():
        settings.check_choice(name, getattr(config, name), choices)
    for name, least in minimums.items():
        settings.check_whole(name, getattr(config, name), least)
    rates = ("learning_rate",) if config.learning_rate else ()
    for name in ("clip_norm", "save_minutes", *rates):
        settings.check_number(name, getattr(config, name), above=0)
    settings.check_whole("seed", config.seed, 0, at_most=2**32 - 1)
    settings.check_number("ema_decay", config.ema_decay, above=0, at_most=0.999999)
    settings.check_within("drawings", config.drawings, 0, 1)
    settings.check_flag("restart", config.restart)
    settings.check_text("data", config.data)
    for name in ("validation_data", "cache", "name", "start_from", "features"):
        settings.check_text(name, getattr(config, name), may_be_empty=True)
    for name in ("data", "validation_data"):
        if (folder := getattr(config, name)) and not Path(folder).is_dir():
            raise InputError(f"{name.upper()} = {folder!r}: no such folder")
    is_name = Path(config.name).name == config.name and not config.name.startswith(".")
    if not is_name or config.name.endswith((".progress", ".details")):
        expected = "expected no folder, and no .progress or .details, which our pictures end in"
        raise InputError(f"NAME = {config.name!r}: {expected}")
    if config.conditions and config.degradation == "bicubic":
        raise InputError(f"CONDITIONS = {config.conditions}: needs DEGRADATION = 'wild'")


def fill_in_defaults(config):
    """Sets NAME and LEARNING_RATE where they are empty or 0."""
    kind = config.recipe if config.recipe in ("speedrun", "small", "large") else "edsr"
    suffix = utils.SUFFIXES["clean" if config.degradation == "bicubic" else "photo"]
    name = f"my_{kind}_x{config.scale}{suffix}"
    if config.loss == losses.PERCEPTUAL:  # named so that SHARPNESS finds it beside START_FROM
        name = Path(config.start_from or name).stem + utils.SHARP
    config.name = config.name or name
    config.learning_rate = config.learning_rate or DEFAULT_RATES[config.optimizer]


def train(config, stop):
    """Trains as the settings of network.py and train.py say; returns the exit code."""
    check(config)
    fill_in_defaults(config)
    weights = WEIGHTS_FOLDER / f"{config.name}.keras"
    total_steps = config.epochs * config.steps_per_epoch
    states = checkpoint.States(WEIGHTS_FOLDER, config.name)
    states.prepare_folder(config.restart)
    devices.connect_processes()  # before anything is computed
    with resume_hints(states), states.lock():
        state = None if config.restart else states.newest()
        if config.precision == "auto":
            config.precision = state.settings["precision"] if state else backend.fastest_precision()
        if state:
            notes = state.check_settings(vars(config), MAY_CHANGE, MAY_CHANGE_WITH_NOTE)
            if report_if_finished(state.step, total_steps, weights):
                return 0
            print("\n".join([f"resuming after step {state.step:,}, from {states.last}", *notes]))
        scored, trainer = prepare(config, state)
        options = DataOptions(*(getattr(config, name) for name in DataOptions.__annotations__))
        with open_dataset(options, state and state.dataset, trainer.step) as data:
            log = TrainingLog(weights, vars(config), scored, data, state)
            with log.progress_bar(trainer.step), stop.deferring():
                # `fit` returns at the end of the epoch, after SAVE_MINUTES, or at a signal.
                while trainer.step < total_steps and not trainer.is_stopped:
                    steps_left = config.steps_per_epoch - trainer.step % config.steps_per_epoch
                    seconds = 60 * config.save_minutes
                    result = trainer.fit(data.batch, steps_left, stop, seconds, log.on_steps)
                    log.add(result)
                    if result.steps == steps_left:
                        log.end_epoch(trainer)
                    save_error = log.save(states, trainer)
        if save_error:
            raise Failed(f"not saved: {save_error}") from save_error
        if trainer.step < total_steps:
            raise Stopped(states.hint())
        log.conclude()
    return 0


def prepare(config, state):
    """Builds the network twice: to be scored, in float32, and to be trained.

    Returns:
        `KerasNetwork`, and `Trainer`, which has the weights of `state` or START_FROM, if any.
    """
    from superres.training.trainer import Trainer  # here, since importing it loads Keras

    keras.utils.set_random_seed(config.seed)
    model_settings = {name: getattr(config, name) for name in settings.values_of(network)}
    scored = KerasNetwork(build_in("float32", model_settings))
    check_network(scored, config.scale, config.crop_size)
    devices.use_all(config.batch_size)  # for what is built from here on
    trainer = Trainer(
        build_in(config.precision, model_settings),
        loss=losses.for_trainer(config.loss, config.scale, config.features),
        optimizer=config.optimizer,
        learning_rate=learning_rates(
            config.learning_rate,
            total_steps=config.epochs * config.steps_per_epoch,
            warmup_steps=config.warmup_steps,
            decay_steps=config.decay_epochs * config.steps_per_epoch,
        ),
        clip_norm=config.clip_norm,
        ema_decay=config.ema_decay,
    )
    print(f"{trainer}, {config.precision}, {config.optimizer} at {config.learning_rate:g}")
    if state:
        trainer.restore(state.arrays, state.step)
    elif config.start_from:
        growing.start_from(trainer.network, config.start_from)
    return scored, trainer


def report_if_finished(step, total_steps, weights):
    """Whether nothing is left to train; says so."""
    if step < total_steps:
        return False
    if not weights.exists():
        why = "is missing although its run is finished; start over with --restart"
        raise InputError(f"{weights} {why}")
    print(f"{weights} is finished, after {step:,} steps; to go on, raise EPOCHS")
    return True


def check_network(built, scale, crop_size):
    """Raises InputError where a network does not fit the settings or cannot be saved."""
    with weight_files.errors_naming("network.py"):
        weight_files.check_config(json.loads(built.model.to_json()))
    multiple = scale * built.traits.multiple_of
    if built.traits.scale != scale:
        raise InputError(f"SCALE = {scale}: the network enlarges by {built.traits.scale}")
    if crop_size % multiple:
        raise InputError(f"CROP_SIZE = {crop_size}: expected a multiple of {multiple}")


def build_in(precision, model_settings):
    """The network of network.py with its feature maps in `precision`."""
    keras.config.set_dtype_policy(precision)
    try:
        model = network.build(**model_settings)
    finally:
        keras.config.set_dtype_policy("float32")
    if not isinstance(model, keras.Model):
        raise InputError(f"network.py: build returns {model!r}: expected a keras.Model")
    return model


@contextlib.contextmanager
def resume_hints(states):
    """Says how to resume after a stop, a loss that is not finite, or a lack of memory."""
    try:
        yield
    except FloatingPointError as error:
        raise Failed(error) from error
    except KeyboardInterrupt:
        raise Stopped(states.hint()) from None
    except Exception as error:  # each backend raises its own when out of memory
        if not memory.is_out_of_memory(error):
            raise
        reason = " ".join(str(error).split())[:200]
        advice = "lower BATCH_SIZE, CROP_SIZE, NUM_FILTERS or VALIDATION_CROP"
        raise Failed(f"out of memory ({reason}); {advice}; {states.hint()}") from error


def main(arguments=None):
    """Runs the command; returns its exit code."""
    return command.run(train, [network.__name__, __name__], arguments, presets=presets)


if __name__ == "__main__":
    sys.exit(main())
