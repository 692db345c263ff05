"""Enlarges pictures with trained weights.

`python output.py` enlarges every picture in inference/original and below into
inference/output, under the same name and in the same format. `python output.py SOURCE
TARGET` takes another file or folder. Pictures that are there already are skipped.

Exit code 0: every picture is there. 1: some were refused, each named with its reason.
2: nothing could start. 130: stopped by Ctrl-C or SIGTERM.
"""

import errno
import json
import math
import os
import signal
import sys
import traceback
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

import backend
import network
import settings
import utils
from backend import keras
from upscaler import PRECISIONS, Upscaler

# ------------------------------------------------------------------- settings ----
SOURCE = "inference/original"  # picture, or folder of pictures, searched recursively
TARGET = "inference/output"  # folder for the enlarged pictures
SCALE = 0  # enlargement of height and width: 2, 3 or 4; 0: that of the weights
WEIGHTS = ""  # .keras file, which also says the scale; empty: the best one in weights/
OVERWRITE = False  # make pictures again that are in TARGET already
SELF_ENSEMBLE = False  # average over eight flips and turns: a little better, 8 times slower
PRECISION = "auto"  # float32, bfloat16, or auto: bfloat16 where the hardware has it
TILE_SIZE = 0  # LR pixels a side computed at once; 0: by the memory that is free
MAX_MEGAPIXELS = 268  # larger pictures are refused: they may be decompression bombs
VERBOSE = False  # print size, tiles and extra work of each picture
# ---------------------------------------------------------------------------------

WEIGHTS_FOLDER = Path(__file__).parent / "weights"
BEST_FIRST = [f"edsr{size}_x{scale}.keras" for scale in network.SHUFFLES for size in ("", "_small")]
# Pixels up to which the next picture is decoded, and the last one encoded, while one is
# computed. Larger ones have the memory for themselves, and are encoded tile by tile.
OVERLAPPED_PIXELS = 25_000_000
# What ends a batch, because it would meet every picture that follows.
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


def best_weights(folder=WEIGHTS_FOLDER, scale=0):
    """The weights to use when none are named: the best that are in `folder`.

    The names that the project ships come first, large before small networks, then one's
    own, the newest first.

    Args:
        folder: where to look.
        scale: 2, 3 or 4: only files whose name ends in `_x` and the scale; 0: any.

    Raises:
        ValueError: there are none.
    """
    there = {path.name: path for path in sorted(Path(folder).glob("*.keras"))}
    fitting = {name: p for name, p in there.items() if not scale or p.stem.endswith(f"_x{scale}")}
    if not there:
        raise ValueError(f"{folder}: no .keras file in it; train one with python train.py")
    if not fitting:
        raise ValueError(
            f"{folder}: no weights for x{scale} in it (*_x{scale}.keras), only {', '.join(there)}; "
            f"train them with python train.py --scale {scale}"
        )
    for name in BEST_FIRST:
        if name in fitting:
            return fitting[name]
    return max(fitting.values(), key=lambda path: path.stat().st_mtime)


def stored_halo(path):
    """The halo that was measured for a weights file and stored in it; `None` without one."""
    try:
        with zipfile.ZipFile(path) as archive:
            halo = json.loads(archive.read("metadata.json")).get("halo")
    except (KeyError, ValueError, AttributeError):
        return None
    return halo if isinstance(halo, int) and halo >= 1 else None


def load(path, **options):
    """Loads a trained network.

    Args:
        path: `.keras` file; code hidden in it is not run (`safe_mode`).
        options: `precision`, `tile_size` and `self_ensemble` of `Upscaler`.

    Returns:
        `Upscaler`, with the halo that is stored in the file.

    Raises:
        ValueError: no such file, not a Keras file, or not a network that enlarges RGB.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such weights file")
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path}: expected a .keras file; this is none, or a damaged one")
    try:
        model = keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises many kinds; each means the file is of no use
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path}: Keras cannot load it: {reason}") from error
    try:
        return Upscaler(model, stored_halo(path), **options)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def plan(source, target):
    """Which pictures are made into which files.

    Returns:
        List of (input, output) paths, how many other files there are, and a dict of folder
        that cannot be read -> reason. A folder's pictures keep their places below `target`;
        what lies in `target` itself is no input.

    Raises:
        ValueError: nothing to enlarge, or outputs would replace their inputs.
    """
    source, target = Path(source), Path(target)
    if source.is_file():
        if source.parent.resolve() == target.resolve():
            raise ValueError(f"TARGET = {str(target)!r}: expected another folder than the input's")
        return [(source, target / utils.output_name(source.name))], 0, {}
    if not source.is_dir():
        raise ValueError(f"SOURCE = {str(source)!r}: no such file or folder")
    if source.resolve() == target.resolve():
        raise ValueError(f"TARGET = {str(target)!r}: expected another folder than SOURCE")
    unreadable = {}
    files = utils.find_files(
        source, lambda error: unreadable.update({Path(error.filename): error.strerror})
    )
    inside = os.path.realpath(target)  # unlike resolve(), it does not fail on a link to itself
    files = [path for path in files if not Path(os.path.realpath(path)).is_relative_to(inside)]
    pairs = []
    for path in filter(utils.is_picture, files):
        place = path.relative_to(source)
        pairs.append((path, target / place.with_name(utils.output_name(place.name))))
    if not pairs and not unreadable:
        endings = " ".join(sorted(utils.SUFFIXES))
        raise ValueError(f"SOURCE = {str(source)!r}: no pictures found in it ({endings})")
    return pairs, len(files) - len(pairs), unreadable


def shown(path):
    """A path as it is printed: as it is, or quoted where it would tear the line."""
    return str(path) if str(path).isprintable() else ascii(str(path))


def is_there(path):
    """Whether there is such a file; unlike `Path.exists`, raises OSError where it cannot be."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
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


def needed_memory(upscaler, target, shape, dtype, is_large):
    """Bytes that a picture's output and one tile take, the picture itself not counted.

    Args:
        shape, dtype: of the output.
        is_large: whether it is written while it is computed, and not after.
    """
    needed = upscaler.memory_for(*(length // upscaler.scale for length in shape[:2]))
    if not is_large:
        needed += math.prod(shape) * dtype.itemsize
    if target.suffix.lower() not in utils.STREAMED:
        needed += 4 * shape[0] * shape[1]  # Pillow stores RGB so
    return needed


class Batch:
    """Enlarges files into files: reads ahead, computes, and writes behind.

    A picture that cannot be done is left out and the rest go on.

    Args:
        upscaler: as `load` returns it.
        overwrite: whether outputs that are there already are made again.
        max_pixels: larger pictures are refused.
        verbose: whether to print size, tiles and extra work of each picture.
    """

    def __init__(self, upscaler, overwrite=False, max_pixels=utils.MAX_PIXELS, verbose=False):
        self.upscaler = upscaler
        self.overwrite = overwrite
        self.max_pixels = max_pixels
        self.verbose = verbose
        self.tally = Tally()
        self._outputs = {}
        self._writing = None  # (input, Future) of the picture that is being written

    def _refuse(self, source, error):
        if not isinstance(error, ValueError | OSError | MemoryError):
            traceback.print_exception(error)  # a fault of ours, which need not end the batch
        self._bar.update()
        reason = " ".join(str(error).split()) or type(error).__name__
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
                    return source, target, self._reader.submit(utils.read, source, self.max_pixels)
                self.tally.there += 1
                self._bar.update()
            except OSError as error:  # a name that is too long to ask for
                self._refuse(source, error)
        return None

    def _finish_writing(self):
        """Waits until the last picture is written."""
        if self._writing:
            (source, future), self._writing = self._writing, None
            try:
                future.result()
                self.tally.done += 1
                self._bar.update()
            except Exception as error:
                self._refuse(source, error)

    def _require_memory(self, needed):
        """Raises MemoryError if `needed` bytes are not free: the system might kill the run."""
        if needed > backend.free_memory():
            self._finish_writing()
        free = backend.free_memory()
        if needed > free:
            raise MemoryError(
                f"needs {needed / 2**30:.1f} GB of memory: {free / 2**30:.1f} are free"
            )

    def _enlarge(self, source, target, picture, metadata):
        """Computes a picture and writes it, or has it written."""
        height, width, *channels = picture.shape
        scale = self.upscaler.scale
        shape = (scale * height, scale * width, *channels)
        is_large = height * width > OVERLAPPED_PIXELS
        utils.check_storable(target, shape, picture.dtype)
        self._require_memory(needed_memory(self.upscaler, target, shape, picture.dtype, is_large))
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
        with tqdm(
            total=count, desc=shown(source.name), unit="tile", leave=False, delay=1, disable=None
        ) as bar:
            if is_large:
                self._finish_writing()
                target.parent.mkdir(parents=True, exist_ok=True)
                bands = self.upscaler.bands(picture, on_tile=bar.update)
                utils.write_bands(target, bands, shape, picture.dtype, metadata)
                self.tally.done += 1
                self._bar.update()
            else:
                enlarged = self.upscaler.enlarge(picture, on_tile=bar.update)
                self._finish_writing()
                self._writing = source, self._writer.submit(save, target, enlarged, metadata)

    def run(self, pairs):
        """Makes all pictures.

        Args:
            pairs: list of (input, output) paths.

        Returns:
            `Tally`.
        """
        with (
            ThreadPoolExecutor(1) as self._reader,
            ThreadPoolExecutor(1) as self._writer,
            tqdm(total=len(pairs), desc="pictures", unit="picture", disable=None) as self._bar,
        ):
            remaining = iter(pairs)
            upcoming = self._next(remaining)
            while upcoming and not self.tally.stopped:
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
            self._finish_writing()
            tally = self.tally
            tally.untried = len(pairs) - tally.done - tally.there - len(tally.refused)
        return tally


def save(target, enlarged, metadata):
    """Writes an enlarged picture, and the folders that it lies in."""
    target.parent.mkdir(parents=True, exist_ok=True)
    utils.write(target, enlarged, metadata)


def main(arguments=None):
    """Runs the command; returns its exit code."""
    batch = None
    # A batch that is told to stop leaves by the same door as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    for stream in (sys.stdout, sys.stderr):  # file names need not be valid text
        stream.reconfigure(errors="backslashreplace")
    try:
        chosen = settings.parse([sys.modules[__name__]], arguments, ("SOURCE", "TARGET"))
        for name in ("source", "target"):
            settings.check_text(name, getattr(chosen, name))
        settings.check_text("weights", chosen.weights, may_be_empty=True)
        settings.check_choice("scale", chosen.scale, (0, *network.SHUFFLES))
        settings.check_choice("precision", chosen.precision, PRECISIONS)
        settings.check_whole("tile_size", chosen.tile_size, 0)
        settings.check_number("max_megapixels", chosen.max_megapixels, above=0)
        for name in ("overwrite", "self_ensemble", "verbose"):
            settings.check_flag(name, getattr(chosen, name))
        pairs, others, unreadable = plan(chosen.source, chosen.target)
        weights = Path(chosen.weights) if chosen.weights else best_weights(scale=chosen.scale)
        upscaler = load(
            weights,
            precision=chosen.precision,
            tile_size=chosen.tile_size,
            self_ensemble=chosen.self_ensemble,
        )
        if chosen.scale not in (0, upscaler.scale):
            raise ValueError(f"SCALE = {chosen.scale}: {weights} enlarges by {upscaler.scale}")
        Path(chosen.target).mkdir(parents=True, exist_ok=True)
        for folder in {target.parent for _, target in pairs} | {Path(chosen.target)}:
            utils.remove_leftovers(folder)
        print(f"{weights.name}: {describe(upscaler)}", flush=True)
        batch = Batch(
            upscaler,
            chosen.overwrite,
            max_pixels=int(1e6 * chosen.max_megapixels),
            verbose=chosen.verbose,
        )
        tally = batch.run(pairs)
        tally.refused |= unreadable
    except (ValueError, OSError) as error:
        print(f"output.py: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        after = f" after {batch.tally.done} pictures" if batch else ""
        print(
            f"\noutput.py: stopped{after}; the same command goes on with what is left",
            file=sys.stderr,
        )
        return 130
    left_out = f"; {others} other files left out" if others else ""
    print(f"{tally}, in {shown(chosen.target)}{left_out}")
    for path, reason in tally.refused.items():
        print(f"  {shown(path)}: {reason}")
    return 1 if tally.refused else 0


def describe(upscaler):
    """The network and how it computes, in words, for the first line of a command's output."""
    return (
        f"x{upscaler.scale}, {upscaler.parameters:,} parameters, {backend.describe()}, "
        f"{upscaler.precision}"
        + (", self-ensemble" if upscaler.self_ensemble else "")
        + f", halo {upscaler.halo}"
    )


if __name__ == "__main__":
    sys.exit(main())
