"""The state of a run on disk, from which it resumes as if it had not been interrupted.

`<name>.state-<step>.npz` holds NumPy arrays and JSON, and ends with the SHA-256 of both. It is
written to a temporary file and renamed. The last two are kept.
"""

import contextlib
import hashlib
import io
import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from superres.runtime import devices
from superres.runtime.errors import InputError
from superres.runtime.files import (
    check_writable,
    make_folder,
    remove_stale_files,
    replacing,
    try_lock,
)

DIGEST = hashlib.sha256


@dataclass(frozen=True)
class State:
    step: int  # steps done
    settings: dict  # all, by name in lower case
    arrays: dict  # of `Trainer`
    log: dict  # `rows` of `TrainingLog`, and its `epoch_sums` as "epoch"
    details: dict  # `details` of `TrainingLog`: predicted crops, by epoch
    dataset: dict  # `record` of `Dataset`

    def check_settings(self, now, may_change, with_note):
        """A note for each setting `with_note` that has changed.

        InputError: settings in neither list have changed; it names them.
        """
        before, names = self.settings, now.keys() - set(may_change)
        changed = [n for n in now if n in names and (n not in before or before[n] != now[n])]
        refused = [name for name in changed if name not in with_note]
        if unknown := [name.upper() for name in refused if name not in before]:
            raise InputError(
                f"{', '.join(unknown)}: unknown when the state was saved; take another NAME, or "
                "start over with --restart"
            )
        if refused:
            raise InputError(
                "; ".join(f"{n.upper()} = {now[n]!r}: expected {before[n]!r}" for n in refused)
                + ", as in the earlier run; set it so, take another NAME, or start over with "
                "--restart"
            )
        return [
            f"{name.upper()} was {before[name]!r} and is {now[name]!r} from here on"
            for name in changed
        ]


class States:
    """The states of one NAME; `last` is the path of the one read or written last, or `None`."""

    def __init__(self, folder, name):
        self.folder, self.name, self.last = Path(folder), name, None

    def paths(self):
        """The newest first."""
        form = re.compile(re.escape(self.name) + r"\.state-(\d+)\.npz")
        files = self.folder.iterdir() if self.folder.is_dir() else []
        found = {int(match[1]): path for path in files if (match := form.fullmatch(path.name))}
        return [found[step] for step in sorted(found, reverse=True)]

    def newest(self):
        """The newest sound `State`; `None` without files.

        InputError: all are damaged, or several processes found different ones.
        """
        state = self._newest()
        # All processes have to assign it to their models together.
        steps = devices.all_gather(state.step if state else 0)
        if len(set(steps)) > 1:
            raise InputError(
                f"the processes would resume from steps {steps}: expected the same; all need the "
                f"same files in {self.folder}"
            )
        return state

    def _newest(self):
        paths = self.paths()
        for path in paths:
            try:
                state = read(path)
            except InputError as error:
                print(error)
                continue
            if path != paths[0]:
                print(f"using the one before: {path}")
            self.last = path
            return state
        if paths:
            raise InputError(
                f"{', '.join(map(str, paths))}: damaged; restore one from a backup, or start "
                "over with --restart (and START_FROM, which takes weights alone)"
            )
        return None

    def save(self, state):
        """Writes a `State`; then deletes all but it and the one before."""
        about = {key: v for key, v in vars(state).items() if key not in ("arrays", "details")}
        about["details"] = sorted(state.details)
        arrays = state.arrays | {f"detail_{n}": crop for n, crop in state.details.items()}
        path = self.folder / f"{self.name}.state-{state.step:08d}.npz"
        with replacing(path) as part, open(part, "w+b") as file:
            np.savez(file, about=json.dumps(about), **arrays)
            file.seek(0)
            digest = hashlib.file_digest(file, DIGEST).digest()
            file.write(digest)
        # Older states go, and damaged ones and those of an earlier run.
        for other in set(self.paths()) - {path, self.last}:
            other.unlink(missing_ok=True)
        self.last = path

    def hint(self):
        """How to resume after a stop."""
        if paths := self.paths():
            return f"the same command, without --restart, resumes from {paths[0]}"
        return "nothing was saved to resume from"

    def prepare_folder(self, may_overwrite):
        """Makes the folder; raises InputError where it would replace weights without a state."""
        make_folder(self.folder)
        remove_stale_files(self.folder)
        check_writable(self.folder)
        weights = self.folder / f"{self.name}.keras"
        if weights.exists() and not self.paths() and not may_overwrite:
            raise InputError(
                f"{weights} exists without a {self.name}.state-*.npz to resume from; take another "
                "NAME (and START_FROM, to continue from the weights alone), or replace them with "
                "--restart"
            )

    @contextlib.contextmanager
    def lock(self):
        """Holds the lock of the name; raises InputError if another run has it."""
        path = self.folder / f".{self.name}.lock"
        if not devices.is_first():  # the first has it for all
            yield
            return
        with try_lock(path) as is_ours:
            if not is_ours:
                raise InputError(f"NAME = {self.name!r}: another process is training it ({path})")
            yield


def read(path):
    """The `State` in a file; InputError: it is damaged, or something else."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise InputError(error) from error
    size = DIGEST().digest_size
    if DIGEST(content[:-size]).digest() != content[-size:]:
        raise InputError(f"{path}: damaged: the checksum at its end is wrong")
    try:
        with np.load(io.BytesIO(content[:-size]), allow_pickle=False) as file:
            # `save` compresses nothing, so nothing is larger than the file.
            sizes = [item.file_size for item in file.zip.infolist() if not item.compress_type]
            if len(sizes) < len(file.files) or sum(sizes) > len(content):
                raise InputError("its arrays are compressed")
            arrays = {name: file[name] for name in file.files}
        about = json.loads(str(arrays.pop("about")))
        details = {n: arrays.pop(f"detail_{n}") for n in about.pop("details")}
        return State(arrays=arrays, details=details, **about)
    except Exception as error:  # NumPy raises many kinds
        raise InputError(f"{path}: not a saved state: {error}") from error
