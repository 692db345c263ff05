"""Where a training begins: anew, from other weights, or where one was stopped."""

import json
from typing import NamedTuple

from superres.runtime import processes
from superres.training import checkpoint, growing
from superres.training.log import read_rows
from superres.training.trainer import EPOCH_SUMS, epochs_for, restore, use_weights
from superres.upscaling import weight_files

# With these changed a run goes on: where things are, and when it is saved ...
FREE_TO_CHANGE = {"recipe", "data", "validation_data", "cache", "start_from", "from_best"}
FREE_TO_CHANGE |= {"restart", "save_minutes", "tensorboard"}
# ... and these are what one may want to change in the middle; it is said.
CHANGED_ALOUD = {"learning_rate", "epochs", "decay_epochs", "minutes"}
# What runs were trained with before these were settings.
BUILT_IN = {"optimizer": "adam", "decay_epochs": 0}


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


def check_settings(path, before, chosen):
    """Compares the settings of an interrupted run at `path` with those chosen now.

    Returns:
        Lines that tell of changes with which it goes on.

    Raises:
        ValueError: they differ in what a run cannot change; all such are named.
    """
    changed = {}
    before = BUILT_IN | before
    for name, value in vars(chosen).items():
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


def find_best(path):
    """The best weights of a training, where there is nothing else to go on from.

    Args:
        path: of the weights; their settings and the log are beside them.

    Returns:
        `path`, a list of arrays, and what is told about the training.

    Raises:
        ValueError: one of the files is missing, damaged or of another training.
    """
    files = {kind: path.with_suffix(kind) for kind in (".keras", ".json", ".csv")}
    for file in files.values():
        if not file.is_file():
            raise ValueError(f"FROM_BEST = True: {file}: no such file")
    try:
        told = json.loads(files[".json"].read_text())
        about = {name: told[name] for name in ("settings", "held_out", "validation", "first_row")}
        step = told["best"]["step"]
        rows = [row for row in read_rows(files[".csv"]) if row["step"] <= step]
        if not rows or rows[-1]["step"] != step:
            raise ValueError(f"no row of step {step}, which was the best")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"FROM_BEST = True: {files['.json']} and .csv: {type(error).__name__}: {error}"
        ) from error
    about |= {"step": step, "rows": rows, "epoch": dict.fromkeys(EPOCH_SUMS, 0.0)}
    return path, weight_files.read(path).get_weights(), about | {"shown": [], "in_turn": None}


def find(chosen, folder):
    """What there is to go on from: the newest state, or with FROM_BEST the best weights.

    Args:
        chosen: the settings; EPOCHS is set to those that it had for the same MINUTES, or to what
            follows from others.
        folder: where states and weights are.

    Returns:
        Path, arrays (a list of weights, where those are all that is left) and what is told
        about it; or `None`: there is nothing, or it is to begin anew.

    Raises:
        ValueError: all states are damaged; as `find_best`, with FROM_BEST.
    """
    if chosen.restart:
        return None
    try:
        found = checkpoint.load_newest(folder, chosen.name)
    except ValueError:
        if not chosen.from_best:
            raise
        found = None
    if found is None and chosen.from_best:
        found = find_best(folder / f"{chosen.name}.keras")
    if found and chosen.minutes:
        _, _, about = found
        chosen.epochs = about["settings"]["epochs"]
        seconds = sum(row["seconds"] for row in about["rows"][-1:]) + about["epoch"]["seconds"]
        if chosen.minutes != about["settings"].get("minutes"):
            step = about["step"]
            chosen.epochs = epochs_for(chosen, step, seconds, seconds / step)
    return found


def begin(chosen, found, model, training):
    """Puts what `find` found into `training`.

    Where there is nothing, the weights of START_FROM are put into `model`, if it is set.

    Returns:
        `Beginning`.

    Raises:
        ValueError: it is of other settings; START_FROM is of no use; of several processes some
            would go on from another step.
    """
    # Before anything is assigned to the model, which all have to do together.
    steps = processes.all_gather(found[2]["step"] if found else 0)
    if len(set(steps)) > 1:
        raise ValueError(
            f"the processes would go on from steps {steps}: expected the same; all need the "
            "same files in weights/"
        )
    if not found:
        if chosen.start_from:
            growing.start_from(model, chosen.start_from)
        return Beginning(0, dict.fromkeys(EPOCH_SUMS, 0.0), [], {}, held_out=[])
    path, arrays, about = found
    changes = check_settings(path, about["settings"], chosen)
    if about["step"] >= chosen.epochs * chosen.steps_per_epoch:
        return Beginning(about["step"], about["epoch"], about["rows"], {})
    print("\n".join([f"going on after step {about['step']:,}, from {path}", *changes]))
    try:
        if isinstance(arrays, list):
            use_weights(training, arrays, about["step"])
        else:
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
