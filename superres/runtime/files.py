"""Files that appear whole or not at all, locks, and what killed processes leave."""

import contextlib
import os
import re
import secrets
import stat
import tempfile
import time
from pathlib import Path

from superres.runtime.errors import InputError, is_machine_error

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
PART = ".unfinished-"  # how the names of half-written files begin
PART_NAME = re.compile(re.escape(PART) + r"[0-9a-f]{8}\.\w+")
OLD_PART_SECONDS = 24 * 60 * 60  # what was not written to for so long is nobody's any more


def find_files(folder, on_error):
    """All files in `folder` and below, sorted; folders whose name begins with a dot left out.

    Links to folders are followed, each folder once. `on_error` is called with the `OSError`
    of each folder that cannot be read.
    """
    found, seen = [], set()
    for place, folders, names in os.walk(folder, onerror=on_error, followlinks=True):
        if os.path.realpath(place) in seen:  # a link to a folder above itself
            folders.clear()
            continue
        seen.add(os.path.realpath(place))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(place, name) for name in names]
    return sorted(found)


@contextlib.contextmanager
def replacing(path):
    """Gives a path beside `path` to write to, and moves it to `path` when all went well.

    So a file under its final name is always whole, also after a power cut. After an error
    nothing is left, and an older file at `path` is as it was. Only a process that is killed
    leaves its part behind: `remove_leftovers`.

    Raises:
        OSError: it cannot be written; the error names `path`, not the part.
        InputError: as `make_folder`, or there is a folder at `path`.
    """
    path = Path(path)
    part = path.with_name(f"{PART}{secrets.token_hex(4)}{path.suffix}")
    try:
        with open(part, "xb") as held:
            yield part
            os.fsync(held.fileno())
            if os.name != "nt":
                os.replace(part, path)
        if os.name == "nt":  # where an open file cannot be moved
            os.replace(part, path)
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(part), part):
            raise
        named = OSError(error.errno, error.strerror, str(path))
        is_place = error.filename and not is_machine_error(error)
        raise (InputError(named) if is_place else named) from error
    finally:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            part.unlink()


@contextlib.contextmanager
def locked(path):
    """Holds the lock file `path`, which is made for it and stays; yields whether it is ours.

    It always is where the system or the file system has no locks.
    """
    with open(path, "ab") as file:
        is_ours = True
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                is_ours = False
            except OSError:  # a file system without locks
                pass
        yield is_ours


def remove_leftovers(folder):
    """Removes the parts that killed processes left in `folder`, once they are a day old."""
    for part in Path(folder).glob(f"{PART}*"):
        with contextlib.suppress(OSError):
            status = part.lstat()
            is_old = time.time() - status.st_mtime > OLD_PART_SECONDS
            if is_old and PART_NAME.fullmatch(part.name) and stat.S_ISREG(status.st_mode):
                part.unlink()


def make_folder(folder):
    """Makes a folder, and those above it; raises InputError where it cannot be one."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:  # a file or a link to nowhere is there, or it is not permitted
        raise InputError(error) from error


def check_writable(folder):
    """Raises OSError unless files can be made in `folder`."""
    part = Path(folder, f"{PART}{secrets.token_hex(4)}.txt")
    try:
        part.touch(exist_ok=False)
        part.unlink()
    except OSError as error:
        raise OSError(
            error.errno, f"cannot be written to: {error.strerror}", str(folder)
        ) from error


def ignores_case(folder):
    """Whether names that differ only in case are one file in `folder`, or where it will be."""
    place = next(place for place in (folder, *folder.parents) if place.is_dir())
    with contextlib.suppress(OSError), tempfile.NamedTemporaryFile(prefix=PART, dir=place) as file:
        return Path(place, Path(file.name).name.upper()).exists()
    return False
