"""What is printed: names that may hold anything, bars, streams that break."""

import contextlib
import sys

from tqdm import tqdm


def shown(path):
    """A path as it is printed: as it is, or quoted where it would tear the line."""
    return str(path) if str(path).isprintable() else ascii(str(path))


def progress(**options):
    """A progress bar on a terminal, and none in a file or a pipe."""
    is_terminal = sys.stderr is not None and sys.stderr.isatty()
    return tqdm(**options, disable=not is_terminal)


def printable(text):
    """Text with escapes for what would tear a line, or steer a terminal."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


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
