"""Enlarges pictures with trained weights.

`python output.py` enlarges every picture in inference/original and below into
inference/output, under the same name and in the same format. `python output.py SOURCE
TARGET` takes another file or folder. Pictures that are there already are skipped.

Exit code 0: every picture is there. 1: some were refused, each named with its reason.
2: nothing could start. 130: stopped by Ctrl-C or SIGTERM.
"""

import errno
import math
import os
import signal
import stat
import sys
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

import backend
import network
import settings
import utils
import weight_files
from upscaler import PRECISIONS, Upscaler

# ------------------------------------------------------------------- settings ----
SOURCE = "inference/original"  # picture, or folder of pictures, searched recursively
TARGET = "inference/output"  # folder for the enlarged pictures
SCALE = 0  # enlargement of height and width: 2, 3 or 4; 0: that of the weights
NETWORK = "auto"  # large, small, or auto: large on a GPU, small on a CPU; where WEIGHTS is empty
WEIGHTS = ""  # .keras file, which also says the scale; empty: the one in weights/ for NETWORK
OVERWRITE = False  # make pictures again that are in TARGET already
SELF_ENSEMBLE = False  # average over eight flips and turns: a little better, 8 times slower
PRECISION = "auto"  # float32, bfloat16, or auto: bfloat16 where the hardware has it
TILE_SIZE = 0  # LR pixels a side computed at once; 0: by the memory that is free
MAX_MEGAPIXELS = 270  # larger pictures are refused: they may be decompression bombs
VERBOSE = False  # print size, tiles and extra work of each picture
# ---------------------------------------------------------------------------------

WEIGHTS_FOLDER = Path(__file__).parent / "weights"
SIZES = {"large": "", "small": "_small"}  # in names of the weights that the project ships
# Pixels up to which the next picture is decoded, and the last one encoded, while one is
# computed. Larger ones have the memory for themselves, and are encoded tile by tile.
OVERLAPPED_PIXELS = 25_000_000
# What ends a batch, because it would meet every picture that follows.
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


def best_weights(folder, scale=0, size="auto"):
    """The weights to use when none are named.

    Those that the project ships come first, by their names: for x2 before x3 before x4, the
    large or the small network. Without them, one's own, the newest first.

    Args:
        folder: where to look.
        scale: 2, 3 or 4: only files whose name ends in `_x` and the scale; 0: any.
        size: large or small: only that one of those that the project ships; auto: the
            large one where there is a GPU, else the small one; or the other where it is not there.

    Returns:
        Path, and why it was chosen.

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
            f"train them with python train.py --recipe small_x{scale}"
        )
    has_gpu = backend.has_gpu()
    wanted = ("large" if has_gpu else "small") if size == "auto" else size
    reason = f"NETWORK = {size!r}"
    if size == "auto":
        reason = "there is a GPU" if has_gpu else "there is no GPU"
    other = "small" if wanted == "large" else "large"
    for one in [scale] if scale else network.SHUFFLES:
        names = {kind: f"edsr{mark}_x{one}.keras" for kind, mark in SIZES.items()}
        if names[wanted] in fitting:
            return fitting[names[wanted]], f"the {wanted} network, because {reason}"
        if size == "auto" and names[other] in fitting:
            return fitting[names[other]], f"the {other} network, because there is no {wanted} one"
    if size != "auto":
        ends = f"_x{scale}" if scale else "_x2, _x3 or _x4"
        raise ValueError(f"{reason}: no edsr{SIZES[size]}{ends}.keras in {folder}")
    return max(fitting.values(), key=lambda path: path.stat().st_mtime), "the newest"


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
    model = weight_files.read(path)
    try:
        return Upscaler(model, weight_files.stored_halo(path), **options)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def check_network(chosen):
    """Raises ValueError where a setting that says which network, and how, is not valid.

    Args:
        chosen: settings of the names in this file, as `settings.parse` returns them.
    """
    settings.check_text("weights", chosen.weights, may_be_empty=True)
    settings.check_choice("scale", chosen.scale, (0, *network.SHUFFLES))
    settings.check_choice("network", chosen.network, ("auto", *SIZES))
    settings.check_choice("precision", chosen.precision, PRECISIONS)
    settings.check_whole("tile_size", chosen.tile_size, 0)
    settings.check_flag("self_ensemble", chosen.self_ensemble)


def load_chosen(chosen):
    """Loads the network that the settings say.

    Args:
        chosen: as `check_network` takes it.

    Returns:
        Path of its file, `Upscaler`, and both in words, for the first line of what is printed.

    Raises:
        ValueError: there is none, or it is of another scale.
    """
    path, why = Path(chosen.weights), ""
    if not chosen.weights:
        path, why = best_weights(WEIGHTS_FOLDER, chosen.scale, chosen.network)
    upscaler = load(
        path,
        precision=chosen.precision,
        tile_size=chosen.tile_size,
        self_ensemble=chosen.self_ensemble,
    )
    if chosen.scale not in (0, upscaler.scale):
        raise ValueError(f"SCALE = {chosen.scale}: {path} enlarges by {upscaler.scale}")
    return path, upscaler, f"{path.name}{why and f' ({why})'}: {describe(upscaler)}"


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

    files = utils.find_files(source, refuse) if source.is_dir() else [source]
    if source.is_dir() and outputs.is_relative_to(inputs):
        files = [f for f in files if not Path(os.path.realpath(f)).is_relative_to(outputs)]
    pictures = list(filter(utils.is_picture, files)) if source.is_dir() else files
    pairs = []
    for path in pictures:
        place = path.relative_to(source) if source.is_dir() else Path(path.name)
        output = target / place.with_name(utils.output_name(place.name))
        folder = Path(os.path.realpath(output.parent))
        if folder.is_relative_to(inputs) and not folder.is_relative_to(outputs):
            refused[path] = f"its output would be among the inputs, in {shown(folder)}"
        else:
            pairs.append((path, output))
    if not pairs and not refused:
        endings = " ".join(sorted(utils.SUFFIXES))
        raise ValueError(f"SOURCE = {str(source)!r}: no pictures found in it ({endings})")
    return pairs, len(files) - len(pictures), refused


def shown(path):
    """A path as it is printed: as it is, or quoted where it would tear the line."""
    return str(path) if str(path).isprintable() else ascii(str(path))


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
    if target.suffix.lower() not in utils.STREAMED:
        needed += 4 * shape[0] * shape[1]  # Pillow stores RGB so
    return needed


def progress(**options):
    """A progress bar on a terminal, and none in a file or a pipe."""
    is_terminal = sys.stderr is not None and sys.stderr.isatty()
    return tqdm(**options, disable=not is_terminal)


class Batch:
    """Enlarges files into files: reads ahead, computes, and writes behind.

    A picture that cannot be done is left out and the rest go on.

    Args:
        upscaler: as `load` returns it.
        overwrite: whether outputs that are there already are made again.
        max_pixels: larger pictures are refused.
        verbose: whether to print size, tiles and extra work of each picture.
        is_stopping: `threading.Event` that a signal sets, see `stopping_at_signals`.
    """

    def __init__(
        self,
        upscaler,
        overwrite=False,
        max_pixels=utils.MAX_PIXELS,
        verbose=False,
        is_stopping=None,
    ):
        self.upscaler = upscaler
        self.overwrite = overwrite
        self.max_pixels = max_pixels
        self.verbose = verbose
        self.is_stopping = is_stopping or threading.Event()
        self.tally = Tally()
        self._outputs = {}
        self._writing = None  # (input, Future) of the picture that is being written

    def _say(self, text, stream):
        if stream is not None:  # closed by who started us
            self._bar.write(text, file=stream)

    def _refuse(self, source, error):
        # TensorFlow makes an exception of its own of the one that a signal raised in it.
        if self.is_stopping.is_set():
            raise KeyboardInterrupt from error
        if isinstance(error, BrokenPipeError):
            raise error
        if not isinstance(error, ValueError | OSError | MemoryError):
            traceback.print_exception(error)  # a fault of ours, which need not end the batch
        self._bar.update()
        reason = " ".join(str(error).split())
        if not reason:
            reason = "out of memory" if isinstance(error, MemoryError) else type(error).__name__
        self.tally.refused[source] = reason
        self._say(f"refused {shown(source)}: {reason}", sys.stderr)
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
        return utils.read(source, self.max_pixels, backend.free_memory())

    def _save(self, target, enlarged, metadata):
        target.parent.mkdir(parents=True, exist_ok=True)
        utils.write(target, enlarged, metadata)
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
        if needed + self.upscaler.memory_for(height, width) > backend.free_memory():
            self._finish_writing()
        free = backend.free_memory()
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
        utils.check_storable(target, shape, picture.dtype)
        self._make_room(height, width, output_memory(target, shape, picture.dtype, is_large))
        rows, columns = self.upscaler.grid(height, width)
        count = len(rows) * len(columns)
        if self.verbose:
            self._say(
                f"{shown(source)}: {width}x{height}, {count} tiles of "
                f"{columns[0][1]}x{rows[0][1]}, halo {self.upscaler.halo}, extra work "
                f"{self.upscaler.extra_work(height, width):.1%}",
                sys.stdout,
            )
        for loss in metadata.get("lost", []):
            self._say(f"note {shown(source)}: {loss} left out", sys.stderr)
        with progress(
            total=count, desc=shown(source.name), unit="tile", leave=False, delay=1
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
                self._writing = source, self._writer.submit(self._save, target, enlarged, metadata)

    def _run(self, remaining):
        """Computes what `_next` finds in `remaining`, an iterator of (input, output) paths."""
        upcoming = self._next(remaining)
        while upcoming and not self.tally.stopped:
            if self.is_stopping.is_set():  # its exception got lost in a library
                raise KeyboardInterrupt
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


def stopping_at_signals():
    """Makes Ctrl-C and SIGTERM raise KeyboardInterrupt, and remembers that they came.

    Returns:
        `threading.Event` that is set from then on: libraries may turn the exception into
        another or lose it.
    """
    is_stopping = threading.Event()

    def stop(number, frame):
        is_stopping.set()
        raise KeyboardInterrupt

    for number in signal.SIGINT, signal.SIGTERM:
        if signal.getsignal(number) != signal.SIG_IGN:  # as background jobs have it
            signal.signal(number, stop)
    return is_stopping


def report(tally, target, others):
    """Prints what became of a batch, and names what was refused with the reasons."""
    left_out = f"; {others} other files left out" if others else ""
    print(f"{tally}, in {shown(target)}{left_out}")
    for path, reason in tally.refused.items():
        print(f"  {shown(path)}: {reason}")


def main(arguments=None):
    """Runs the command; returns its exit code."""
    is_stopping = stopping_at_signals()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.reconfigure(errors="backslashreplace")  # file names need not be valid text
    batch = None
    try:
        chosen = settings.parse([sys.modules[__name__]], arguments, ("SOURCE", "TARGET"))
        for name in ("source", "target"):
            settings.check_text(name, getattr(chosen, name))
        check_network(chosen)
        settings.check_number("max_megapixels", chosen.max_megapixels, above=0)
        for name in ("overwrite", "verbose"):
            settings.check_flag(name, getattr(chosen, name))
        pairs, others, refused = plan(chosen.source, chosen.target)
        _, upscaler, first_line = load_chosen(chosen)
        Path(chosen.target).mkdir(parents=True, exist_ok=True)
        utils.check_writable(chosen.target)
        for folder in {target.parent for _, target in pairs} | {Path(chosen.target)}:
            utils.remove_leftovers(folder)
        print(first_line, flush=True)
        batch = Batch(
            upscaler,
            chosen.overwrite,
            max_pixels=int(1e6 * chosen.max_megapixels),
            verbose=chosen.verbose,
            is_stopping=is_stopping,
        )
        tally = batch.run(pairs)
        tally.refused |= refused
        report(tally, chosen.target, others)
        return 1 if tally.refused else 0
    except BrokenPipeError:  # who read our output has gone, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, OSError, KeyboardInterrupt) as error:
        if not is_stopping.is_set() and not isinstance(error, KeyboardInterrupt):
            print(f"output.py: {error}", file=sys.stderr)
            return 2
    if batch:
        report(batch.tally, chosen.target, others)
    print("\noutput.py: stopped; the same command goes on with what is left", file=sys.stderr)
    return 130


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
