"""Files into files: which, and how one is read and another written while one is computed."""

import contextlib
import errno
import itertools
import math
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from superres.images.formats import STREAMED, SUFFIXES, describe_others, is_picture, output_name
from superres.images.pixels import assembled
from superres.images.read import picture_size, read_picture
from superres.images.write import write_bands, write_picture
from superres.runtime import memory
from superres.runtime.errors import InputError, is_fault, is_machine_error
from superres.runtime.files import find_files, ignores_case, make_folder
from superres.runtime.parts import WHOLE
from superres.runtime.terminal import quoted, reason_of

# Pixels up to which a picture is decoded while another is computed, and an enlarged one encoded.
# Larger ones have the memory for themselves: they are encoded while they are computed.
READ_AHEAD_PIXELS, WRITE_BEHIND_PIXELS = 25_000_000, 100_000_000
# What ends a batch, because it would meet every picture that follows.
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


class Job(NamedTuple):
    """A picture's file, and that which is to be made of it."""

    source: Path
    target: Path


class Plan(NamedTuple):
    """What is to be done.

    Attributes:
        jobs: list of `Job`, no two of one target.
        refused: dict of path -> reason: folders that cannot be read, and pictures whose output
            would be another's, or among the inputs by a link in the target's folder.
        others: list of the other files.
    """

    jobs: list
    refused: dict
    others: list


def plan(source, target, part=WHOLE):
    """Which pictures are made into which files.

    A folder's pictures keep their places below `target`; where `target` lies in `source`, what
    is in it is no input.

    Args:
        source: picture or folder.
        target: folder.
        part: `Part` of the folder.

    Returns:
        `Plan`.

    Raises:
        InputError: nothing to enlarge, or `target` is where the inputs are.
    """
    source, target = Path(source), Path(target)
    # Unlike resolve(), realpath() does not fail on a link to itself.
    inputs = Path(os.path.realpath(source if source.is_dir() else source.parent))
    outputs = Path(os.path.realpath(target))
    if not source.exists():
        raise InputError(f"SOURCE = {str(source)!r}: no such file or folder")
    if target.exists() and not target.is_dir():
        raise InputError(f"TARGET = {str(target)!r}: is a file, expected a folder")
    if target.suffix.lower() in SUFFIXES and not target.exists():
        raise InputError(f"TARGET = {str(target)!r}: expected a folder; names stay as they are")
    if inputs == outputs:
        expected = "SOURCE" if source.is_dir() else "the input's"
        raise InputError(f"TARGET = {str(target)!r}: expected another folder than {expected}")
    refused = {}

    def refuse(error):
        refused[Path(error.filename)] = error.strerror

    def place(path):
        return path.relative_to(source) if source.is_dir() else Path(path.name)

    files = find_files(source, refuse) if source.is_dir() else [source]
    if source.is_dir() and outputs.is_relative_to(inputs):
        files = [f for f in files if not Path(os.path.realpath(f)).is_relative_to(outputs)]
    pictures = list(filter(is_picture, files)) if source.is_dir() else files
    made = {path: target / place(path).with_name(output_name(path.name)) for path in pictures}
    has_twins = len({str(output).casefold() for output in made.values()}) < len(made)
    name_of = str.casefold if has_twins and ignores_case(target) else str
    jobs, outputs_of = [], {}
    for path, output in made.items():
        name = name_of(str(output))
        folder = Path(os.path.realpath(output.parent))
        if folder.is_relative_to(inputs) and not folder.is_relative_to(outputs):
            refused[path] = f"its output would be among the inputs, in {quoted(folder)}"
        elif name in outputs_of:  # a.gif, which becomes a.gif.png, beside an a.gif.png
            case = ", as TARGET ignores case" if name_of is str.casefold else ""
            refused[path] = f"{quoted(output)} is the output of {quoted(outputs_of[name])}{case}"
        else:
            outputs_of[name] = path
            jobs.append(Job(path, output))
    others = sorted(set(files) - set(pictures))
    if not jobs and not refused:
        endings = " ".join(sorted(SUFFIXES))
        found = f"; {describe_others(others)}" if others else ""
        raise InputError(f"SOURCE = {str(source)!r}: no pictures found in it ({endings}){found}")
    # What is refused because of another picture is so in every part.
    return Plan(
        [job for job in jobs if part.has(place(job.source))],
        {path: reason for path, reason in refused.items() if part.has(place(path))},
        others,
    )


def is_there(path):
    """Whether there is such a file; unlike `Path.exists`, raises where there cannot be one."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if is_machine_error(error):
            raise
        return False  # a link to nowhere, or to itself, is replaced
    if not stat.S_ISREG(mode):
        raise InputError(f"{quoted(path)} is there, but is no file")
    return True


class Report:
    """What became of a batch's pictures.

    Args:
        plan: `Plan`.
        stop: `Stop`.
        bar: as `progress` returns it, of all pictures.

    Attributes:
        done, there: how many were made, and how many were there already.
        refused, failed: dicts of path -> reason; failed by faults of the program.
        ended: why the batch ended early; empty when it did not.
    """

    def __init__(self, plan, stop, bar):
        self.plan, self.stop, self.bar = plan, stop, bar
        self.done = self.there = 0
        self.refused, self.failed, self._seen = dict(plan.refused), {}, set()
        self.ended = ""

    def add(self):
        """Counts a picture that was made."""
        self.done += 1
        self.bar.update()

    @contextlib.contextmanager
    def refusing(self, job):
        """Within, an error is the reason why a picture is refused; the others go on."""
        try:
            yield
        except BrokenPipeError:  # nobody reads what is printed
            raise
        except Exception as error:
            if self.stop.is_set():  # a library may make an error of its own of an interrupt
                raise KeyboardInterrupt from error
            group = self.failed if is_fault(error) else self.refused
            group[job.source] = reason_of(error, self._seen)
            self.bar.update()
            if getattr(error, "errno", None) in NO_ROOM:
                self.ended = f"stopped ({error.strerror})"

    def to_do(self, overwrite):
        """The jobs of the plan, but, unless `overwrite`, those whose output is there."""
        for job in self.plan.jobs:
            with self.refusing(job):  # also where a name is too long to ask for
                if overwrite or not is_there(job.target):
                    yield job
                else:
                    self.there += 1
                    self.bar.update()

    def print_summary(self, target):
        """Prints what became of the pictures, and names what was refused with the reasons."""
        tried = self.done + self.there + len(self.refused | self.failed) - len(self.plan.refused)
        words = f"{self.done} done, {self.there} already there, {len(self.refused)} refused"
        words += f", {len(self.failed)} failed" if self.failed else ""
        if self.ended:
            words += f", {self.ended}, {len(self.plan.jobs) - tried} not tried"
        for what, reasons in ("refused", self.refused), ("failed", self.failed):
            for path, reason in reasons.items():
                print(f"{what} {quoted(path)}: {reason}")
        left_out = f"; {describe_others(self.plan.others)}" if self.plan.others else ""
        print(f"{words}, in {quoted(target)}{left_out}")
        if self.there:
            print("Pictures that were there are left as they are; --overwrite makes them again.")


def read_ahead(jobs, max_pixels):
    """Yields each job with a function that gives its picture; the next is decoded meanwhile.

    Large ones are decoded when that is called.
    """

    def read(job):
        return read_picture(job.source, max_pixels, memory.free_memory())

    def read_small(job):
        is_small = math.prod(picture_size(job.source, math.inf)) <= READ_AHEAD_PIXELS
        return read(job) if is_small else None

    def begin(job):
        ahead = reader.submit(read_small, job)
        return lambda: ahead.result() or read(job)

    with ThreadPoolExecutor(1) as reader:
        begun = ((job, begin(job)) for job in jobs)
        for current, _ in itertools.pairwise(itertools.chain(begun, [None])):
            yield current


class BackgroundWriter:
    """Writes enlarged pictures, each while the next is computed.

    Args:
        report: `Report`, to which they are added when they are written.
    """

    def __init__(self, report):
        self._report = report
        self._worker = ThreadPoolExecutor(1)
        self._last = None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        try:
            self.wait()  # also when stopped: the last picture is computed
        finally:
            self._worker.shutdown()

    def wait(self):
        """Waits until the last picture is written."""
        if self._last:
            last, self._last = self._last, None
            last.result()

    def write(self, job, bands, shape, dtype, metadata):
        """Computes a picture, and writes it or has it written.

        Args:
            job: `Job`.
            bands, shape, dtype, metadata: as `write_bands` takes them.
        """
        make_folder(job.target.parent)
        if _is_written_behind(shape):
            picture = assembled(bands, shape, dtype)
            self.wait()
            self._last = self._worker.submit(self._write, job, picture, metadata)
        else:
            self.wait()
            write_bands(job.target, bands, shape, dtype, metadata)
            self._report.add()

    def _write(self, job, picture, metadata):
        with self._report.refusing(job):
            write_picture(job.target, picture, metadata)
            self._report.add()


def _is_written_behind(shape):
    return shape[0] * shape[1] <= WRITE_BEHIND_PIXELS


def output_memory(target, shape, dtype):
    """Bytes that an enlarged picture takes until it is written to the file `target`."""
    needed = math.prod(shape) * dtype.itemsize if _is_written_behind(shape) else 0
    if target.suffix.lower() not in STREAMED:
        needed += 4 * shape[0] * shape[1]  # Pillow stores RGB so
    return needed


def tiles_in_memory(upscaler, picture, needed, wait):
    """The tiles of a picture, small enough for the memory that is free.

    Args:
        upscaler: `Upscaler`.
        picture: as `read_picture` returns it.
        needed: bytes that its output takes.
        wait: called where memory is short: waits for what will be free.

    Raises:
        MemoryError: not even the output and a small tile fit; the system might kill us.
    """
    tiles = upscaler.plan(picture.shape, picture.dtype)
    if needed + tiles.memory <= memory.free_memory():
        return tiles
    wait()
    free = memory.free_memory()
    tiles = upscaler.plan(picture.shape, picture.dtype, free - needed)
    if needed + tiles.memory > free:
        needed += tiles.memory
        raise MemoryError(f"needs {needed / 2**30:.1f} GB of memory: {free / 2**30:.1f} are free")
    return tiles
