"""Files into files: which, and one after the other, whatever becomes of each."""

import errno
import math
import os
import stat
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from superres.images.formats import (
    MAX_PIXELS,
    STREAMED,
    SUFFIXES,
    check_storable,
    is_picture,
    output_name,
)
from superres.images.read import read_picture
from superres.images.write import write_bands, write_picture
from superres.runtime import memory
from superres.runtime.files import find_files
from superres.runtime.terminal import progress, shown

# Pixels up to which the next picture is decoded, and the last one encoded, while one is
# computed. Larger ones have the memory for themselves, and are encoded tile by tile.
OVERLAPPED_PIXELS = 25_000_000
# What ends a batch, because it would meet every picture that follows.
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


def plan(source, target):
    """Which pictures are made into which files.

    Returns:
        List of (input, output) paths, how many other files there are, and a dict of refused
        path -> reason: folders that cannot be read, and pictures whose output a link in
        `target` would put among the inputs. A folder's pictures keep their places below
        `target`; where `target` lies in `source`, what is in it is no input.

    Raises:
        ValueError: nothing to enlarge, or `target` is where the inputs are.
    """
    source, target = Path(source), Path(target)
    # Unlike resolve(), realpath() does not fail on a link to itself.
    inputs = Path(os.path.realpath(source if source.is_dir() else source.parent))
    outputs = Path(os.path.realpath(target))
    if not source.exists():
        raise ValueError(f"SOURCE = {str(source)!r}: no such file or folder")
    if inputs == outputs:
        expected = "SOURCE" if source.is_dir() else "the input's"
        raise ValueError(f"TARGET = {str(target)!r}: expected another folder than {expected}")
    refused = {}

    def refuse(error):
        refused[Path(error.filename)] = error.strerror

    files = find_files(source, refuse) if source.is_dir() else [source]
    if source.is_dir() and outputs.is_relative_to(inputs):
        files = [f for f in files if not Path(os.path.realpath(f)).is_relative_to(outputs)]
    pictures = list(filter(is_picture, files)) if source.is_dir() else files
    pairs = []
    for path in pictures:
        place = path.relative_to(source) if source.is_dir() else Path(path.name)
        output = target / place.with_name(output_name(place.name))
        folder = Path(os.path.realpath(output.parent))
        if folder.is_relative_to(inputs) and not folder.is_relative_to(outputs):
            refused[path] = f"its output would be among the inputs, in {shown(folder)}"
        else:
            pairs.append((path, output))
    if not pairs and not refused:
        endings = " ".join(sorted(SUFFIXES))
        raise ValueError(f"SOURCE = {str(source)!r}: no pictures found in it ({endings})")
    return pairs, len(files) - len(pictures), refused


def is_there(path):
    """Whether there is such a file; unlike `Path.exists`, raises OSError where it cannot be."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    if not stat.S_ISREG(mode):
        raise FileExistsError(f"{shown(path)} is there, but is no file")
    return True


@dataclass
class Tally:
    """What became of a batch's pictures.

    Attributes:
        done, there: how many were made, and how many were there already.
        refused: dict of input -> reason.
        stopped: why the batch ended early; empty when it did not.
        untried: how many pictures were not reached then.
    """

    done: int = 0
    there: int = 0
    refused: dict = field(default_factory=dict)
    stopped: str = ""
    untried: int = 0

    def __str__(self):
        words = f"{self.done} done, {self.there} already there, {len(self.refused)} refused"
        return words + (f", {self.stopped}, {self.untried} not tried" if self.stopped else "")


def output_memory(target, shape, dtype, is_large):
    """Bytes that an enlarged picture takes until it is written.

    Args:
        target: its file.
        shape, dtype: of the enlarged picture.
        is_large: whether it is written while it is computed, and not after.
    """
    needed = 0 if is_large else math.prod(shape) * dtype.itemsize
    if target.suffix.lower() not in STREAMED:
        needed += 4 * shape[0] * shape[1]  # Pillow stores RGB so
    return needed


class Batch:
    """Enlarges files into files: reads ahead, computes, and writes behind.

    A picture that cannot be done is left out and the rest go on.

    Args:
        upscaler: `Upscaler`.
        stop: `threading.Event`: where it is set, the batch ends before the next tile.
        overwrite: whether outputs that are there already are made again.
        max_pixels: larger pictures are refused.
        verbose: whether to print size, tiles and extra work of each picture.
    """

    def __init__(
        self,
        upscaler,
        stop,
        overwrite=False,
        max_pixels=MAX_PIXELS,
        verbose=False,
    ):
        self.upscaler = upscaler
        self.overwrite = overwrite
        self.max_pixels = max_pixels
        self.verbose = verbose
        self.stop = stop
        self.tally = Tally()
        self._outputs = {}
        self._writing = None  # (input, Future) of the picture that is being written

    def _refuse(self, source, error):
        if self.stop.is_set():  # a library may make an error of its own of an interrupt
            raise KeyboardInterrupt from error
        if not isinstance(error, ValueError | OSError | MemoryError):
            traceback.print_exception(error)  # a fault of ours, which need not end the batch
        self._bar.update()
        reason = " ".join(str(error).split())
        if not reason:
            reason = "out of memory" if isinstance(error, MemoryError) else type(error).__name__
        self.tally.refused[source] = reason
        self._bar.write(f"refused {shown(source)}: {reason}", file=sys.stderr)
        if getattr(error, "errno", None) in NO_ROOM:
            self.tally.stopped = f"stopped ({error.strerror})"

    def _next(self, pairs):
        """The next picture that is to be made, whose decoding begins."""
        for source, target in pairs:
            if target in self._outputs:  # a.gif, which becomes a.gif.png, beside an a.gif.png
                before = shown(self._outputs[target])
                self._refuse(source, ValueError(f"{shown(target)} is the output of {before}"))
                continue
            self._outputs[target] = source
            try:
                if self.overwrite or not is_there(target):
                    return source, target, self._reader.submit(self._read, source)
                self.tally.there += 1
                self._bar.update()
            except OSError as error:  # a name that is too long to ask for
                self._refuse(source, error)
        return None

    def _read(self, source):
        return read_picture(source, self.max_pixels, memory.free_memory())

    def _save(self, target, enlarged, metadata):
        target.parent.mkdir(parents=True, exist_ok=True)
        write_picture(target, enlarged, metadata)
        self.tally.done += 1  # here, so that it counts also when nobody waits for it any more

    def _finish_writing(self):
        """Waits until the last picture is written."""
        if self._writing:
            (source, future), self._writing = self._writing, None
            try:
                future.result()
                self._bar.update()
            except Exception as error:
                self._refuse(source, error)

    def _make_room(self, height, width, needed):
        """Makes the tiles small enough for free memory, of which the output takes `needed`.

        Raises:
            MemoryError: not even the output and a small tile fit; the system might kill us.
        """
        if needed + self.upscaler.memory_for(height, width) > memory.free_memory():
            self._finish_writing()
        free = memory.free_memory()
        if not self.upscaler.fit(height, width, free - needed):
            needed += self.upscaler.memory_for(height, width)
            raise MemoryError(
                f"needs {needed / 2**30:.1f} GB of memory: {free / 2**30:.1f} are free"
            )

    def _enlarge(self, source, target, picture, metadata):
        """Computes a picture and writes it, or has it written."""
        height, width, *channels = picture.shape
        scale = self.upscaler.scale
        shape = (scale * height, scale * width, *channels)
        is_large = height * width > OVERLAPPED_PIXELS
        check_storable(target, shape, picture.dtype)
        self._make_room(height, width, output_memory(target, shape, picture.dtype, is_large))
        rows, columns = self.upscaler.grid(height, width)
        count = len(rows) * len(columns)
        if self.verbose:
            self._bar.write(
                f"{shown(source)}: {width}x{height}, {count} tiles of "
                f"{columns[0][1]}x{rows[0][1]}, halo {self.upscaler.halo}, extra work "
                f"{self.upscaler.extra_work(height, width):.1%}",
                file=sys.stdout,
            )
        for loss in metadata.get("lost", []):
            self._bar.write(f"note {shown(source)}: {loss} left out", file=sys.stderr)
        with progress(
            total=count, desc=shown(source.name), unit="tile", leave=False, delay=1
        ) as bar:

            def on_tile():
                bar.update()
                self._check_stop()

            if is_large:
                self._finish_writing()
                target.parent.mkdir(parents=True, exist_ok=True)
                bands = self.upscaler.bands(picture, on_tile)
                write_bands(target, bands, shape, picture.dtype, metadata)
                self.tally.done += 1
                self._bar.update()
            else:
                enlarged = self.upscaler.enlarge(picture, on_tile)
                self._finish_writing()
                self._writing = source, self._writer.submit(self._save, target, enlarged, metadata)

    def _check_stop(self):
        if self.stop.is_set():
            raise KeyboardInterrupt

    def _run(self, remaining):
        """Computes what `_next` finds in `remaining`, an iterator of (input, output) paths."""
        upcoming = self._next(remaining)
        while upcoming and not self.tally.stopped:
            self._check_stop()
            (source, target, reading), upcoming = upcoming, None
            try:
                picture, metadata = reading.result()
                if picture.shape[0] * picture.shape[1] <= OVERLAPPED_PIXELS:
                    upcoming = self._next(remaining)
                self._enlarge(source, target, picture, metadata)
            except Exception as error:
                self._refuse(source, error)
            picture = reading = None  # before the next one is decoded
            upcoming = upcoming or self._next(remaining)

    def run(self, pairs):
        """Makes all pictures.

        Args:
            pairs: list of (input, output) paths.

        Returns:
            `Tally`.

        Raises:
            KeyboardInterrupt: it was stopped; the last picture that was computed is written.
        """
        with (
            ThreadPoolExecutor(1) as self._reader,
            ThreadPoolExecutor(1) as self._writer,
            progress(total=len(pairs), desc="pictures", unit="picture") as self._bar,
        ):
            try:
                self._run(iter(pairs))
            finally:  # also when stopped: the last picture is computed
                self._finish_writing()
            tally = self.tally
            tally.untried = len(pairs) - tally.done - tally.there - len(tally.refused)
        return tally


def report(tally, target, others):
    """Prints what became of a batch, and names what was refused with the reasons."""
    left_out = f"; {others} other files left out" if others else ""
    print(f"{tally}, in {shown(target)}{left_out}")
    for path, reason in tally.refused.items():
        print(f"  {shown(path)}: {reason}")
