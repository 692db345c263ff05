"""Output on a terminal: names that may hold anything, and bars."""

import sys
import traceback

from tqdm import tqdm

from superres.runtime.errors import is_fault


def quoted(path):
    return str(path) if str(path).isprintable() else ascii(str(path))  # or it would break the line


def escaped(text):
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def print_line(text, file=None):
    with tqdm.external_write_mode(file):  # above the bars
        print(text, file=file, flush=True)


def reason_of(error, seen):
    words, kind = " ".join(str(error).split()), type(error).__name__
    if not is_fault(error):
        return words or ("out of memory" if isinstance(error, MemoryError) else kind)
    place = traceback.extract_tb(error.__traceback__)[-1][:2]
    if place not in seen:  # a traceback is printed once
        seen.add(place)
        print_line("".join(traceback.format_exception(error)).rstrip(), sys.stderr)
    return f"{kind}: {words} (traceback above)"


def duration(seconds):
    units = {120: (1, "seconds"), 7200: (60, "minutes"), 2 * 86400: (3600, "hours")}
    unit, name = next((units[n] for n in units if seconds < n), (86400, "days"))
    count = max(1, round(seconds / unit))
    return f"{count} {name if count > 1 else name[:-1]}"


def progress(**options):
    return tqdm(**options, disable=not (sys.stderr and sys.stderr.isatty()))
