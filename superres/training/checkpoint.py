"""The state of a training on disk, from which it goes on as if it had not been interrupted.

A state is a file of its own, `<name>.state-<step>.npz`: NumPy arrays, a JSON text, and the
SHA-256 of all that at its end. It is written beside its name and moved there when it is whole;
the last two are kept.
"""

import contextlib
import hashlib
import io
import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from superres.runtime.errors import InputError
from superres.runtime.files import locked, replacing

KEPT = 2
DIGEST = hashlib.sha256


@dataclass(frozen=True)
class State:
    """A training as it was saved.

    Attributes:
        step: steps that are done.
        settings: dict of all settings, by name in lower case.
        arrays: what `Trainer.arrays` returns.
        rows, epoch, shown: of the `TrainingLog`.
        held_out: paths of the validation pictures that were held out of the training folder.
        validation: digest of the validation pictures.
        in_turn: whether photographs come in turn, see `photographs.open_photographs`.
    """

    step: int
    settings: dict
    arrays: dict
    rows: list
    epoch: dict
    shown: dict
    held_out: list
    validation: str
    in_turn: bool


def find(folder, name):
    """The states of the training `name` in `folder`: list of paths, the newest first."""
    form = re.compile(re.escape(name) + r"\.state-(\d+)\.npz")
    found = {}
    if Path(folder).is_dir():
        for path in Path(folder).iterdir():
            if match := form.fullmatch(path.name):
                found[int(match[1])] = path
    return [found[step] for step in sorted(found, reverse=True)]


def save(folder, name, state, is_new=False):
    """Writes a state; deletes all but the last two.

    Args:
        folder: where to.
        name: of the training.
        state: `State`.
        is_new: whether the training has begun anew: the states of the one before are deleted.

    Raises:
        OSError: it cannot be written; the states before are still there.
    """
    about = {key: v for key, v in vars(state).items() if key not in ("arrays", "shown")}
    about["shown"] = sorted(state.shown)
    arrays = state.arrays | {f"shown_{n}": crop for n, crop in state.shown.items()}
    path = Path(folder, f"{name}.state-{state.step:08d}.npz")
    with replacing(path) as part, open(part, "w+b") as file:
        np.savez(file, about=json.dumps(about), **arrays)
        file.seek(0)
        digest = hashlib.file_digest(file, DIGEST).digest()
        file.write(digest)
    # Those of later steps are damaged, or of a way that was left.
    paths = find(folder, name)
    kept = [path] if is_new else paths[paths.index(path) :][:KEPT]
    for other in paths:
        if other not in kept:
            other.unlink(missing_ok=True)


def load(path):
    """Reads a state.

    Raises:
        InputError: it is damaged, or none.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise InputError(error) from error
    size = DIGEST().digest_size
    if DIGEST(content[:-size]).digest() != content[-size:]:
        raise InputError(f"{path}: damaged: its content does not have the checksum at its end")
    try:
        with np.load(io.BytesIO(content[:-size]), allow_pickle=False) as file:
            # `save` packs nothing, so that nothing is larger than the file.
            sizes = [item.file_size for item in file.zip.infolist() if not item.compress_type]
            if len(sizes) < len(file.files) or sum(sizes) > len(content):
                raise InputError("its arrays are packed")
            arrays = {name: file[name] for name in file.files}
        about = json.loads(str(arrays.pop("about")))
        shown = {n: arrays.pop(f"shown_{n}") for n in about.pop("shown")}
        return State(arrays=arrays, shown=shown, **about)
    except Exception as error:  # NumPy raises many kinds
        raise InputError(f"{path}: no state of a training: {error}") from error


def load_newest(folder, name):
    """Reads the newest state that is whole; says so where it is not the newest.

    Returns:
        Path and `State`; `None` for both where there is none at all.

    Raises:
        InputError: there are states, but all are damaged.
    """
    paths = find(folder, name)
    for path in paths:
        try:
            state = load(path)
        except InputError as error:
            print(error)
            continue
        if path != paths[0]:
            print(f"using the one before: {path}")
        return path, state
    if paths:
        raise InputError(
            f"{', '.join(map(str, paths))}: damaged; put a copy there, or begin anew with "
            "--restart (and START_FROM, which takes weights alone)"
        )
    return None, None


def how_to_go_on(folder, name):
    """What to do after a training was stopped, in words."""
    if states := find(folder, name):
        return f"the same command, without --restart, goes on from {states[0]}"
    return "nothing was saved to go on from"


def check_not_lost(folder, name):
    """Raises InputError where a training would replace weights that it does not go on from."""
    weights = Path(folder, f"{name}.keras")
    if weights.exists() and not find(folder, name):
        raise InputError(
            f"{weights}: is there, but no {name}.state-*.npz to go on from; take another NAME (and "
            "START_FROM, to go on from the weights alone), or replace them with --restart"
        )


@contextlib.contextmanager
def claimed(folder, name):
    """Keeps other processes from training the same name at the same time.

    Raises:
        InputError: one does.
    """
    path = Path(folder, f".{name}.lock")
    with locked(path, wait=False) as is_ours:
        if not is_ours:
            raise InputError(f"NAME = {name!r}: is being trained by another process ({path})")
        yield
