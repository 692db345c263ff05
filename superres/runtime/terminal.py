"""What is printed: names that may hold anything, and bars."""

import sys
import traceback

from tqdm import tqdm

from superres.runtime.errors import is_fault


def quoted(path):
    """A path as it is printed: as it is, or quoted where it would tear the line."""
    return str(path) if str(path).isprintable() else ascii(str(path))


def print_line(text, file=None):
    """Prints a line, above the bars where there are some, to standard output or another file."""
    file = file or sys.stdout
    tqdm.write(text, file=file)
    file.flush()


def reason_of(error, seen):
    """Why a picture has no result; prints the traceback of a fault, if its place is not `seen`."""
    words, kind = " ".join(str(error).split()), type(error).__name__
    if not is_fault(error):
        return words or ("out of memory" if isinstance(error, MemoryError) else kind)
    place = traceback.extract_tb(error.__traceback__)[-1][:2]
    if place not in seen:
        seen.add(place)
        print_line("".join(traceback.format_exception(error)).rstrip(), sys.stderr)
    return f"{kind}: {words} (traceback above)"


def progress(**options):
    """A progress bar on a terminal, and none in a file or a pipe."""
    is_terminal = sys.stderr is not None and sys.stderr.isatty()
    return tqdm(**options, disable=not is_terminal)


def escaped(text):
    """Text with escapes for what would tear a line, or steer a terminal."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
