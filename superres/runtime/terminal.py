"""What is printed: names that may hold anything, and bars."""

import sys

from tqdm import tqdm


def shown(path):
    """A path as it is printed: as it is, or quoted where it would tear the line."""
    return str(path) if str(path).isprintable() else ascii(str(path))


def print_line(text, file=None):
    """Prints a line, above the bars where there are some, to standard output or another file."""
    file = file or sys.stdout
    tqdm.write(text, file=file)
    file.flush()


def progress(**options):
    """A progress bar on a terminal, and none in a file or a pipe."""
    is_terminal = sys.stderr is not None and sys.stderr.isatty()
    return tqdm(**options, disable=not is_terminal)


def printable(text):
    """Text with escapes for what would tear a line, or steer a terminal."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
