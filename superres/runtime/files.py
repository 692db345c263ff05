"""Files that appear whole or not at all, locks, and files that killed processes left."""

import contextlib
import os
import re
import secrets
import stat
import time
from pathlib import Path
from tempfile import NamedTemporaryFile

from superres.runtime.errors import InputError, is_machine_error

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
TEMPORARY = ".unfinished-"  # prefix of half-written files
TEMPORARY_NAME = re.compile(re.escape(TEMPORARY) + r"[0-9a-f]{8}\.\w+")
STALE_SECONDS = 24 * 60 * 60  # without a write


def find_files(folder, on_error):
    """All files below `folder`, sorted; not those in folders whose name begins with a dot.

    Links to folders are followed, once. `on_error` takes the `OSError` of each unreadable folder.
    """
    files, seen = [], set()
    for place, folders, names in os.walk(folder, onerror=on_error, followlinks=True):
        if os.path.realpath(place) in seen:  # a link to a folder above itself
            folders.clear()
            continue
        seen.add(os.path.realpath(place))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files += [Path(place, name) for name in names]
    return sorted(files)


@contextlib.contextmanager
def replacing(path):
    """Write to a temporary file, then rename it to `path`: whole, even after a power cut.

    Errors leave an older file as it was, and name `path`: an InputError where it cannot be a file,
    else an OSError. A killed process leaves its temporary file to `remove_stale_files`.
    """
    path = Path(path)
    temporary = path.with_name(f"{TEMPORARY}{secrets.token_hex(4)}{path.suffix}")
    try:
        with open(temporary, "xb") as file:
            yield temporary
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(temporary), temporary):
            raise
        named = OSError(error.errno, error.strerror, str(path))
        is_place = error.filename and not is_machine_error(error)
        raise (InputError(named) if is_place else named) from error
    finally:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            temporary.unlink()


@contextlib.contextmanager
def try_lock(path):
    """Yields whether the lock file `path` is ours, as it is where the system has no locks."""
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


def remove_stale_files(folder):
    """Removes day-old temporary files that killed processes left in `folder`."""
    for path in Path(folder).glob(f"{TEMPORARY}*"):
        with contextlib.suppress(OSError):
            status = path.lstat()
            is_old = time.time() - status.st_mtime > STALE_SECONDS
            if is_old and TEMPORARY_NAME.fullmatch(path.name) and stat.S_ISREG(status.st_mode):
                path.unlink()


def make_folder(folder):
    """Makes a folder and its parents; raises InputError where it cannot be one."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:  # a file or a link to nowhere is there, or it is not permitted
        raise InputError(error) from error


def check_writable(folder):
    """Raises OSError unless files can be made in `folder`."""
    path = Path(folder, f"{TEMPORARY}{secrets.token_hex(4)}.txt")
    try:
        path.touch(exist_ok=False)
        path.unlink()
    except OSError as e:
        raise OSError(e.errno, f"cannot be written to: {e.strerror}", str(folder)) from e


def ignores_case(folder):
    """Whether names that differ only in case are one file in `folder`, which need not exist."""
    parent = next(parent for parent in (folder, *folder.parents) if parent.is_dir())
    with contextlib.suppress(OSError), NamedTemporaryFile(prefix=TEMPORARY, dir=parent) as file:
        return Path(parent, Path(file.name).name.upper()).exists()
    return False
