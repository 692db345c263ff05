"""A batch of files: its plan, its report, and threads that read and write meanwhile."""

import contextlib
import errno
import itertools
import math
import os
import queue
import stat
from collections import Counter
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from superres.images.formats import STREAMED, SUFFIXES, describe_others, is_picture, output_name
from superres.images.read import picture_size, read_picture
from superres.images.write import write_bands
from superres.runtime import memory
from superres.runtime.errors import InputError, is_fault, is_machine_error
from superres.runtime.files import find_files, ignores_case, make_folder
from superres.runtime.parts import WHOLE
from superres.runtime.terminal import quoted, reason_of

# Larger pictures are read or written alone, since they need the memory.
READ_AHEAD_PIXELS, WRITE_BEHIND_PIXELS = 25_000_000, 100_000_000
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}  # errors that end a batch


class Job(NamedTuple):
    source: Path  # a picture
    target: Path  # the enlarged one


class Plan(NamedTuple):
    jobs: list  # of `Job`, no two of one target
    refused: dict  # path -> reason: unreadable folders, and pictures whose output is another's
    others: list  # files that are no pictures


def plan(sources, target, part=WHOLE):
    """The `Plan` of pictures and folders, or of a `Part`; InputError: there are no pictures.

    A picture's output lies in `target` as the picture lies in its source, if that is a folder.
    If `target` is in a source, it holds no inputs.
    """
    target, jobs, refused, roots, others = Path(target), [], {}, {}, set()
    for source in map(Path, sources):
        _check_places(source, target)
        root = source if source.is_dir() else source.parent
        files = _inputs(source, target, refused)
        pictures = [path for path in files if path == source or is_picture(path)]
        pictures = [path for path in pictures if path not in roots]  # of overlapping sources
        outputs = [target / p.relative_to(root).with_name(output_name(p.name)) for p in pictures]
        jobs += map(Job, pictures, outputs)
        others |= {path for path in files if path != source and not is_picture(path)}
        roots |= dict.fromkeys([*pictures, *refused.keys() - roots.keys()], root)
    jobs = _without_twins(jobs, target, refused)
    real_roots = set(map(_real, roots.values()))
    for job in jobs:  # a link in the target may lead back to the originals
        folder = _real(job.target.parent)
        is_among = any(map(folder.is_relative_to, real_roots))
        if is_among and not folder.is_relative_to(_real(target)):
            refused[job.source] = f"its output would be among the inputs, in {quoted(folder)}"
    jobs, others = [job for job in jobs if job.source not in refused], sorted(others)
    if not jobs and not refused:
        endings = " ".join(sorted(SUFFIXES))
        found = f"; {describe_others(others)}" if others else ""
        place = ", ".join(repr(str(source)) for source in sources)
        raise InputError(f"SOURCE = {place}: no pictures found in it ({endings}){found}")
    # Twins are refused before parts are taken, so that every machine agrees on them.
    has = {path for path, root in roots.items() if part.has(path.relative_to(root))}
    refused = {path: why for path, why in refused.items() if path in has}
    return Plan([job for job in jobs if job.source in has], refused, others)


def route_of(job, size, scales, max_pixels=math.inf):
    """The `Route` of a job by its header, and pixels that networks take in, by scale.

    InputError: the picture will be refused.
    """
    shape = picture_size(job.source, max_pixels)
    route, pixels, factor = size.route(*shape, scales), Counter(), 1
    for scale in route.scales:
        pixels[scale] += math.prod(shape) * factor
        factor *= scale**2
    return route, pixels


def pixels_of(jobs, size, scales):
    """Pixels that networks take in, by job; without those that will be refused."""
    pixels = {}
    for job in jobs:
        with contextlib.suppress(Exception):  # it comes again, in the batch
            pixels[job] = route_of(job, size, scales)[1].total()
    return pixels


def _check_places(source, target):
    """Raises InputError unless SOURCE exists and TARGET is, or can be, another folder."""
    if not source.exists():
        raise InputError(f"SOURCE = {str(source)!r}: no such file or folder")
    name = f"TARGET = {str(target)!r}"
    if target.exists() and not target.is_dir():
        raise InputError(f"{name}: is a file, expected a folder")
    if target.suffix.lower() in SUFFIXES and not target.exists():
        raise InputError(f"{name}: expected a folder; names stay as they are")
    if _real(target) == _real(source if source.is_dir() else source.parent):
        expected = "SOURCE" if source.is_dir() else "the input's"
        raise InputError(f"{name}: expected another folder than {expected}")


def _real(path):
    return Path(os.path.realpath(path))  # `Path.resolve` fails on a link to itself


def _inputs(source, target, refused):
    """The file `source`, or the files below it that are not below `target`."""
    if not source.is_dir():
        return [source]
    files = find_files(source, lambda e: refused.update({Path(e.filename): e.strerror}))
    outputs = _real(target)
    if outputs.is_relative_to(_real(source)):
        files = [path for path in files if not _real(path).is_relative_to(outputs)]
    return files


def _without_twins(jobs, target, refused):
    """Keeps the first of all jobs with one target, as "a.gif" and "a.gif.png" have."""
    names = [str(job.target) for job in jobs]
    folded = [name.casefold() for name in names]
    is_caseless = len(set(folded)) < len(folded) and ignores_case(target)
    first = {}
    for job, name in zip(jobs, folded if is_caseless else names, strict=True):
        earlier = first.setdefault(name, job)
        if earlier is not job:
            case = ", as TARGET ignores case" if is_caseless else ""
            twin = f"{quoted(job.target)} is the output of {quoted(earlier.source)}"
            refused[job.source] = twin + case
    return list(first.values())


class Report:
    """The outcome of a `Plan`; `stop` is a `Stop`, `bar` counts `pixels`, a dict by `Job`."""

    def __init__(self, plan, stop, bar, pixels):
        self.plan, self.stop, self.bar, self._pixels = plan, stop, bar, pixels
        self._done = self.kept = 0  # `kept`: outputs that were there already
        self.refused, self.failed = dict(plan.refused), {}  # path -> reason; failed: our faults
        self.ended_early, self._seen = "", set()  # why the batch ended early; places of faults

    def add(self, job):
        """Counts a finished picture."""
        self._done += 1
        self._count(job, self._pixels.get(job, 0))

    def _count(self, job, pixels=0):
        self.bar.total -= self._pixels.get(job, 0) - pixels  # what is not computed takes no time
        words = f"{self._tried} of {len(self.plan.jobs)} pictures"
        self.bar.set_description(words, refresh=False)
        self.bar.update(pixels)

    @property
    def _tried(self):
        return self._done + self.kept + len(self.refused | self.failed) - len(self.plan.refused)

    @contextlib.contextmanager
    def recording_errors(self, job):
        """Turns an error within into the reason why this picture is refused."""
        try:
            yield
        except BrokenPipeError:  # nobody reads the output
            raise
        except Exception as error:
            if self.stop.is_set():  # a library may make an error of its own of an interrupt
                raise KeyboardInterrupt from error
            group = self.failed if is_fault(error) else self.refused
            group[job.source] = reason_of(error, self._seen)
            self._count(job)
            if getattr(error, "errno", None) in NO_ROOM:
                self.ended_early = f"stopped ({error.strerror})"

    def to_do(self, overwrite):
        """Yields the jobs; unless `overwrite`, only those without an output."""
        for job in self.plan.jobs:
            with self.recording_errors(job):  # its name may be too long to ask for
                if overwrite or not _output_exists(job.target):
                    yield job
                else:
                    self.kept += 1
                    self._count(job)

    def print_reasons(self):
        """Prints the reasons of refusals and faults."""
        for what, reasons in ("refused", self.refused), ("failed", self.failed):
            for path, reason in reasons.items():
                print(f"{what} {quoted(path)}: {reason}")

    def print_summary(self, target):
        """Prints the reasons of refusals and faults, and the counts."""
        self.print_reasons()
        words = f"{self._done} done, {self.kept} already there, {len(self.refused)} refused"
        words += f", {len(self.failed)} failed" if self.failed else ""
        if self.ended_early:
            words += f", {self.ended_early}, {len(self.plan.jobs) - self._tried} not tried"
        others = f"; {describe_others(self.plan.others)}" if self.plan.others else ""
        print(f"{words}, in {quoted(target)}{others}")
        if self.kept:
            print("Existing outputs were kept; use --overwrite to redo them.")


def _output_exists(path):
    """Whether an output is a file already; raises an error where none can be."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if is_machine_error(error):
            raise
        return False  # also a broken link, which is replaced
    if not stat.S_ISREG(mode):
        raise InputError(f"{quoted(path)} is there, but is no file")
    return True


def read_ahead(jobs, max_pixels):
    """Yields each job and a function that reads its picture; a thread decodes the next one."""

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


class BackgroundWriter(contextlib.AbstractContextManager):
    """Writes each picture while it, or the next, is computed, and counts it in a `Report`."""

    def __init__(self, report):
        self._report, self._last = report, None
        self._worker = ThreadPoolExecutor(1)

    def __exit__(self, *error):
        self._worker.shutdown()  # when stopped, too: the last picture is finished
        self.wait()

    def wait(self):
        """Waits until the last picture is written."""
        if self._last:
            self._last.result()

    def write(self, job, bands, shape, dtype, metadata):
        """Computes a picture while it is written; arguments of `write_bands`."""
        make_folder(job.target.parent)
        if math.prod(shape[:2]) > WRITE_BEHIND_PIXELS:
            self.wait()
            write_bands(job.target, bands, shape, dtype, metadata)
            self._report.add(job)
            return
        computed = queue.SimpleQueue()
        written = self._worker.submit(self._write, job, computed, shape, dtype, metadata)
        try:
            for band in bands:
                computed.put(band)
        except BaseException:
            computed.put(CancelledError())
            raise
        computed.put(None)
        self.wait()
        self._last = written

    def _write(self, job, computed, *of_picture):
        def bands():
            while (band := computed.get()) is not None:
                if isinstance(band, CancelledError):  # there is no more: computing failed
                    raise band
                yield band

        with self._report.recording_errors(job), contextlib.suppress(CancelledError):
            write_bands(job.target, bands(), *of_picture)
            self._report.add(job)


def output_memory(target, shape, dtype):
    """Bytes that an enlarged picture takes until it is written."""
    pixels = math.prod(shape[:2])
    needed = math.prod(shape) * dtype.itemsize if pixels <= WRITE_BEHIND_PIXELS else 0
    return needed + (4 * pixels if target.suffix.lower() not in STREAMED else 0)  # Pillow's copy


def tiles_in_memory(upscaler, picture, needed, wait):
    """The `TilePlan` for the free memory, less `needed` bytes for the output.

    If memory is short, it calls `wait`, which frees some. MemoryError: even small tiles do not fit.
    """
    tiles = upscaler.plan(picture.shape, picture.dtype)
    if needed + tiles.memory > memory.free_memory():
        wait()
        free = memory.free_memory()
        tiles = upscaler.plan(picture.shape, picture.dtype, free - needed)
        if (total := needed + tiles.memory) > free:
            gigabytes = f"{total / 2**30:.1f} GB of memory: {free / 2**30:.1f} are free"
            raise MemoryError(f"needs {gigabytes}")
    return tiles
