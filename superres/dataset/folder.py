"""The pictures of a training: what is trained on, what is held out, and what is of no use."""

import contextlib
import hashlib
import math
import os
from pathlib import Path

from tqdm import tqdm

from superres.dataset.crops import Photograph, cut_batch
from superres.dataset.photographs import open_photographs
from superres.images.degradation import degradation_of, degrade
from superres.images.formats import SUFFIXES, describe_others, find_pictures, is_picture
from superres.images.quality import condition_of
from superres.images.read import picture_size, read_rgb
from superres.images.resize import crop_to_multiple, downscale
from superres.runtime import devices, memory
from superres.runtime.errors import InputError, UnreadablePicture
from superres.runtime.files import find_files
from superres.runtime.prefetch import in_order
from superres.runtime.terminal import quoted

MARGIN = 16  # LR pixels that are reduced with the centre of a picture and thrown away


def decode_centre(path, scale, size):
    """As `decode`, but of the central `size` x `size` HR pixels, or all where it is smaller."""
    hr = crop_to_multiple(read_rgb(path), scale)
    wide, inner = [], []  # in LR pixels: the centre with a margin, and the centre in that
    for length in (length // scale for length in hr.shape[:2]):
        kept = min(length, size // scale)
        start = (length - kept) // 2
        first, last = max(0, start - MARGIN), min(length, start + kept + MARGIN)
        wide.append(slice(first * scale, last * scale))
        inner.append(slice(start - first, start - first + kept))
    hr = hr[*wide]
    lr = downscale(hr, scale)[*inner]
    hr = hr[*(slice(scale * part.start, scale * part.stop) for part in inner)]
    return Photograph(lr.copy(), hr.copy())  # without the rest of the picture


def survey(paths, smallest, skips):
    """Sizes of the usable pictures by path, from their headers; skips those below `smallest`."""
    sizes, headers = {}, in_order(picture_size, paths, UnreadablePicture)
    bar = tqdm(headers, "looking", len(paths), unit="picture", delay=1, leave=False)
    for path, size in list(bar):  # to its end, before what is printed shows the bar
        if isinstance(size, UnreadablePicture):
            skips(path, str(size))
        elif min(size) < smallest:
            skips(path, f"{size[1]}x{size[0]} is smaller than {smallest}x{smallest}")
        else:
            sizes[path] = size
    return sizes


class Skips(dict):
    """path -> reason of each picture that is not used, which is printed once."""

    def __call__(self, path, reason):
        if path not in self:
            self[path] = reason
            tqdm.write(f"skipped {quoted(Path(path))}: {reason}")

    def __str__(self):
        return f"{len(self)} skipped"


def report_others(folder):
    """Counts the files of a folder that are no pictures by their names."""
    files = [f for f in find_files(folder, lambda error: None) if not f.name.startswith(".")]
    # A script may fetch the pictures.
    if others := [f for f in files if not is_picture(f) and f.suffix != ".py"]:
        print(describe_others(others))


def is_scorable(photograph):
    """Whether a picture has a score: a flat one is restored exactly, its PSNR is infinite."""
    return bool((photograph.hr != photograph.hr[0, 0]).any())


def hold_out(paths, scale, crop, skips, before=()):
    """Holds out the first usable one of every 50 pictures, or more: 12 at most, if possible one.

    Those held out `before` again, for nothing that was trained on may be scored. Returns a dict
    of path -> centre, and the paths that are left.
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
            if is_scorable(centre):
                held_out[path] = centre
                break
    return held_out, [path for path in paths if path not in held_out and path not in skips]


class Dataset:
    """Photographs to train on, and some to validate on.

    Attributes:
        validation: dict of path -> `Photograph`, the centre that is scored.
        record: dict of what a training needs to resume with the same pictures, and to name them.
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
    """Finds the pictures to train on and the pictures to validate on, and makes them ready.

    Pictures below VALIDATION_DATA are never trained on, also where it lies in DATA.

    Args:
        options: `DataOptions`.
        before: `Dataset.record` of a training that is resumed.
        step: the first one that batches are asked for.

    Yields:
        `Dataset`.

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
            "the validation pictures have changed, so that scores could not be compared; put them "
            "back, take another NAME, or start over with --restart"
        )
    source = open_photographs(sizes, options, memory.free_memory(), skips, before.get("rotates"))
    record["rotates"] = source.rotates
    with contextlib.closing(source):
        source.at(step)  # which fails where not one can be decoded
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
        paths = [path for path in paths if os.path.realpath(path) not in others]
    report_others(options.data)
    sizes = survey(paths, options.crop_size, skips)
    if options.validation_data:
        validation = _centres(validation_paths, scale, crop, skips)
    else:
        validation, left = hold_out(list(sizes), scale, crop, skips, held_out)
        sizes = {path: sizes[path] for path in left}
    if options.degradation != "bicubic":
        validation = _degraded(validation, options)
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
            "least two sound ones, one of them to validate on, or VALIDATION_DATA"
        )
    return sizes, validation


def _degraded(validation, options):
    """Validation pictures that have been through what the crops have, the same in every run."""
    degraded = {}
    for number, (path, photograph) in enumerate(validation.items()):
        degradation, random = degradation_of(options.degradation, number)
        lr = degrade(degradation, photograph.lr, photograph.hr, options.scale, random)
        condition = condition_of(lr, degradation.quality)
        degraded[path] = photograph._replace(lr=lr, condition=condition)
    return degraded


def _centres(paths, scale, crop, skips):
    """The centres of validation pictures, by path; those without a score are skipped."""
    # Something must be left of a picture inside the border that is not scored.
    usable, centres = survey(paths, 4 * scale, skips), {}
    results = in_order(lambda path: decode_centre(path, scale, crop), usable, UnreadablePicture)
    for path, centre in tqdm(results, "validation", len(usable), unit="picture", leave=False):
        if isinstance(centre, UnreadablePicture):
            skips(path, str(centre))
        elif not is_scorable(centre):
            skips(path, "flat: it has no score")
        else:
            centres[path] = centre
    return centres
