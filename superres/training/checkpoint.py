"""The state of a training on disk, from which it goes on as if it had not been interrupted.

A state is a file of its own, `<name>.state-<step>.npz`: NumPy arrays, a JSON text, and the
SHA-256 of all that at its end. It is written beside its name and moved there when it is whole;
the last two are kept.
"""

import contextlib
import glob
import hashlib
import io
import json
import re
from pathlib import Path

import numpy as np

from superres.runtime.files import locked, replacing

KEPT = 2
DIGEST = hashlib.sha256


def find(folder, name):
    """The states of the training `name` in `folder`: list of paths, the newest first."""
    form = re.compile(re.escape(name) + r"\.state-(\d+)\.npz")
    found = {}
    if Path(folder).is_dir():
        for path in Path(folder).iterdir():
            if match := form.fullmatch(path.name):
                found[int(match[1])] = path
    return [found[step] for step in sorted(found, reverse=True)]


def save(folder, name, step, arrays, about, is_new=False):
    """Writes a state; deletes all but the last two.

    Args:
        folder: where to.
        name: of the training.
        step: how many steps are done.
        arrays: dict of name -> NumPy array.
        about: what JSON can hold.
        is_new: whether the training has begun anew: the states of the one before are deleted.

    Raises:
        OSError: it cannot be written; the states before are still there.
    """
    path = Path(folder, f"{name}.state-{step:08d}.npz")
    with replacing(path) as part, open(part, "w+b") as file:
        np.savez(file, about=json.dumps(about), **arrays)
        file.seek(0)
        digest = hashlib.file_digest(file, DIGEST).digest()
        file.write(digest)
    old = [path_before for path_before in find(folder, name) if path_before != path]
    for path_before in old if is_new else old[KEPT - 1 :]:
        path_before.unlink(missing_ok=True)
    if len(old) >= KEPT - 1:
        for damaged in Path(folder).glob(f"{glob.escape(name)}.state-*.npz.damaged"):
            damaged.unlink(missing_ok=True)


def load(path):
    """Reads a state; returns its arrays and `about`.

    Raises:
        ValueError: it is damaged, or none.
    """
    content = Path(path).read_bytes()
    size = DIGEST().digest_size
    if DIGEST(content[:-size]).digest() != content[-size:]:
        raise ValueError(f"{path}: damaged: its content does not have the checksum at its end")
    try:
        with np.load(io.BytesIO(content[:-size]), allow_pickle=False) as state:
            arrays = {name: state[name] for name in state.files}
        return arrays, json.loads(str(arrays.pop("about")))
    except Exception as error:  # NumPy raises many kinds
        raise ValueError(f"{path}: no state of a training: {error}") from error


def load_newest(folder, name):
    """Reads the newest state that is whole; says so where it is not the newest.

    Damaged ones are set aside under another name, `<file>.damaged`, until there are two good ones.

    Returns:
        Path, arrays and `about`; `None` where there is no state at all.

    Raises:
        ValueError: there are states, but all are damaged.
    """
    paths = find(folder, name)
    for path in paths:
        try:
            arrays, about = load(path)
        except (ValueError, OSError) as error:
            print(error)
            continue
        for damaged in paths[: paths.index(path)]:
            with contextlib.suppress(OSError):
                damaged.rename(damaged.with_name(damaged.name + ".damaged"))
            print(f"using the one before: {path}")
        return path, arrays, about
    if paths:
        raise ValueError(
            f"{', '.join(map(str, paths))}: damaged; put a copy there, go on from the weights "
            "alone with --from-best, or begin anew with --restart"
        )
    return None


@contextlib.contextmanager
def claimed(folder, name):
    """Keeps other processes from training the same name at the same time.

    Raises:
        ValueError: one does.
    """
    path = Path(folder, f".{name}.lock")
    with locked(path, wait=False) as is_ours:
        if not is_ours:
            raise ValueError(f"NAME = {name!r}: is being trained by another process ({path})")
        yield
