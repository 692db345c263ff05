"""The pictures of a run: those to train on, those to validate on, and those to skip."""

import contextlib
import hashlib
import math
import os
from pathlib import Path

from tqdm import tqdm

from superres.dataset.cache import decode
from superres.dataset.crops import Photograph, cut_batch
from superres.dataset.photographs import open_photographs
from superres.images.degradation import degradation_of, degrade
from superres.images.formats import SUFFIXES, describe_others, find_pictures, is_picture
from superres.images.quality import condition_of
from superres.images.read import picture_size
from superres.runtime import devices, memory
from superres.runtime.errors import InputError, UnreadablePicture
from superres.runtime.files import find_files
from superres.runtime.prefetch import in_order
from superres.runtime.terminal import quoted


def decode_centre(path, scale, size):
    """The centre of a photograph, at most `size` x `size` HR pixels; `None` if it is flat."""
    lr, hr, _ = decode(path, scale)
    sides = [(length, min(length, size // scale)) for length in lr.shape[:2]]
    in_lr = [slice((length - kept) // 2, (length + kept) // 2) for length, kept in sides]
    in_hr = (slice(scale * part.start, scale * part.stop) for part in in_lr)
    lr, hr = lr[*in_lr].copy(), hr[*in_hr].copy()  # copies, to free the whole picture
    # The PSNR of a single colour may be infinite.
    return Photograph(lr, hr) if (hr != hr[0, 0]).any() else None


def survey(paths, smallest, skips):
    """Sizes of the usable pictures by path, from their headers; skips those below `smallest`."""
    sizes, headers = {}, in_order(picture_size, paths, UnreadablePicture)
    bar = tqdm(headers, "scanning", len(paths), unit="picture", delay=1, leave=False)
    for path, size in list(bar):  # all headers, then `skips` prints
        if isinstance(size, UnreadablePicture):
            skips(path, str(size))
        elif min(size) < smallest:
            skips(path, f"{size[1]}x{size[0]} is smaller than {smallest}x{smallest}")
        else:
            sizes[path] = size
    return sizes


class Skips(dict):
    """path -> reason of each skipped picture; prints each once."""

    def __call__(self, path, reason):
        if path not in self:
            self[path] = reason
            tqdm.write(f"skipped {quoted(Path(path))}: {reason}")

    def __str__(self):
        return f"{len(self)} skipped"


def report_others(folder):
    """Prints which files of a folder are ignored, except scripts such as download_div2k.py."""
    files = [f for f in find_files(folder, lambda error: None) if not f.name.startswith(".")]
    if others := [f for f in files if not is_picture(f) and f.suffix != ".py"]:
        print(describe_others(others))


def hold_out(paths, scale, crop, skips, before=()):
    """Splits paths into a dict of path -> centre of pictures to validate on, and the others.

    Holds out the first usable picture of every 50, 12 in all at most; or those held out `before`
    by the same run, which has trained on all others.
    """
    every = max(50, math.ceil(len(paths) / 12))
    groups = [[path] for path in paths if str(path) in before]
    groups = groups or [paths[first : first + every] for first in range(0, len(paths), every)]
    held_out = {}
    for group in groups:
        for path in group:
            try:
                centre = decode_centre(path, scale, crop)
            except UnreadablePicture as error:
                skips(path, str(error))
                continue
            if centre:
                held_out[path] = centre
                break
    return held_out, [path for path in paths if path not in held_out and path not in skips]


class Dataset:
    """Photographs to train on, and some to validate on.

    Attributes:
        validation: dict of path -> `Photograph`, the scored centre.
        record: dict that lets a run resume with the same pictures.
    """

    def __init__(self, source, validation, skips, record, options):
        self.validation, self.skips, self.record = validation, skips, record
        self._source, self._options = source, options

    def batch(self, step):
        """What `cut_batch` returns for a step."""
        options = self._options
        return cut_batch(
            self._source.at(step),
            step,
            batch_size=options.batch_size,
            seed=options.seed,
            part=devices.own_part(options.batch_size),
            degradation=options.degradation,
            drawings=options.drawings,
        )


@contextlib.contextmanager
def open_dataset(options, before=None, step=0):
    """Opens the photographs to train on and to validate on; yields a `Dataset`.

    Args:
        options: `DataOptions`.
        before: `Dataset.record` of a run that resumes.
        step: of the first batch.

    Raises:
        InputError: too few pictures are usable; validation pictures are not those of `before`.
    """
    skips, before = Skips(), before or {}
    sizes, validation = _split(options, skips, before.get("held_out", ()))
    names = sorted((Path(path).name, os.path.getsize(path)) for path in sizes)
    record = {
        "held_out": [] if options.validation_data else [str(path) for path in validation],
        "validation": _digest(validation.values()),
        "photographs": hashlib.sha256(repr(names).encode()).hexdigest(),
    }
    if record["validation"] != before.get("validation", record["validation"]):
        raise InputError(
            "the validation pictures have changed, so scores would not be comparable; put the old "
            "ones back, take another NAME, or start over with --restart"
        )
    source = open_photographs(sizes, options, memory.free_memory(), skips, before.get("rotates"))
    record["rotates"] = source.rotates
    with contextlib.closing(source):
        source.at(step)  # fails here if no photograph can be decoded
        print(f"{source.count} photographs, {source.where}; {len(validation)} to validate; {skips}")
        yield Dataset(source, validation, skips, record, options)


def _digest(photographs):
    digest = hashlib.sha256()
    for photograph in photographs:
        for pixels in photograph.hr, photograph.lr:
            digest.update(repr(pixels.shape).encode() + pixels.tobytes())
    return digest.hexdigest()


def _split(options, skips, held_out):
    """Sizes of the pictures to train on, and the centres of those to validate on, by path."""
    scale, crop = options.scale, options.validation_crop
    paths, validation_paths = find_pictures(options.data), []
    if options.validation_data:
        validation_paths = find_pictures(options.validation_data)
        others = {os.path.realpath(path) for path in validation_paths}
        paths = [path for path in paths if os.path.realpath(path) not in others]  # may lie in DATA
    report_others(options.data)
    sizes = survey(paths, options.crop_size, skips)
    if options.validation_data:
        validation = _centres(validation_paths, scale, crop, skips)
    else:
        validation, left = hold_out(list(sizes), scale, crop, skips, held_out)
        sizes = {path: sizes[path] for path in left}
    if options.degradation != "bicubic":
        validation = _degrade(validation, options)
    if not paths and not options.validation_data:
        raise InputError(
            f"DATA = {options.data!r}: no photographs in {Path(options.data).resolve()}; put at "
            "least two there, or a link to a folder of them, or run python data/download_div2k.py"
        )
    if not sizes or not validation:
        places = f"{len(paths)} pictures in {Path(options.data).resolve()}"
        if options.validation_data:
            places += f" and {len(validation_paths)} in {Path(options.validation_data).resolve()}"
        raise InputError(
            f"DATA = {options.data!r}, VALIDATION_DATA = {options.validation_data!r}: "
            f"{len(sizes)} usable pictures to train on and {len(validation)} to validate among "
            f"{places} ({' '.join(sorted(SUFFIXES))}), {skips}; expected at "
            "least two readable pictures in DATA, one of them to validate on, or one in each"
        )
    return sizes, validation


def _degrade(validation, options):
    """Degrades validation pictures as crops are, each the same way in every run."""
    degraded = {}
    for number, (path, photograph) in enumerate(validation.items()):
        degradation, random = degradation_of(options.degradation, number)
        lr = degrade(degradation, photograph.lr, photograph.hr, options.scale, random)
        condition = condition_of(lr, degradation.quality)
        degraded[path] = photograph._replace(lr=lr, condition=condition)
    return degraded


def _centres(paths, scale, crop, skips):
    """The centres of validation pictures, by path; skips those without a score."""
    usable, centres = survey(paths, 4 * scale, skips), {}  # borders are not scored
    results = in_order(lambda path: decode_centre(path, scale, crop), usable, UnreadablePicture)
    for path, centre in tqdm(results, "validation", len(usable), unit="picture", leave=False):
        if isinstance(centre, UnreadablePicture):
            skips(path, str(centre))
        elif centre is None:
            skips(path, "all its pixels have one colour, so it has no score")
        else:
            centres[path] = centre
    return centres
