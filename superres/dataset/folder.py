"""The pictures of a training: what is trained on, what is held out, and what is of no use."""

import hashlib
import math
import os
from pathlib import Path

import numpy as np
from tqdm import tqdm

from superres.dataset.crops import Photograph, cut_batch
from superres.dataset.photographs import open_photographs
from superres.images.degradation import degrade, of_picture
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
    for length in hr.shape[:2]:
        length //= scale
        kept = min(length, size // scale)
        start = (length - kept) // 2
        first, last = max(0, start - MARGIN), min(length, start + kept + MARGIN)
        wide.append(slice(first * scale, last * scale))
        inner.append(slice(start - first, start - first + kept))
    hr = hr[*wide]
    lr = downscale(hr, scale)[*inner]
    hr = hr[*(slice(scale * part.start, scale * part.stop) for part in inner)]
    return Photograph(lr.copy(), hr.copy())  # without the rest of the picture


def survey(paths, smallest):
    """Looks at the headers of pictures.

    Args:
        paths: the files.
        smallest: height and width that a picture must have at least.

    Returns:
        dict of path -> (height, width) of what seems usable, and a dict of path -> reason
        of the rest.
    """
    sizes, skipped = {}, {}
    headers = in_order(picture_size, paths, UnreadablePicture)
    for path, size in tqdm(headers, "looking", len(paths), unit="picture", delay=1, leave=False):
        if isinstance(size, UnreadablePicture):
            skipped[path] = str(size)
        elif min(size) < smallest:
            skipped[path] = f"{size[1]}x{size[0]} is smaller than {smallest}x{smallest}"
        else:
            sizes[path] = size
    return sizes, skipped


class Skips:
    """Names each picture that is not used, once, and counts them."""

    def __init__(self):
        self.reasons = {}

    def __call__(self, path, reason):
        if path not in self.reasons:
            self.reasons[path] = reason
            tqdm.write(f"skipped {quoted(Path(path))}: {reason}")

    def __str__(self):
        return f"{len(self.reasons)} skipped"


def report_others(folder):
    """Counts the files of a folder that are no pictures by their names, but for hidden ones."""
    files = find_files(folder, lambda error: None)
    others = [f for f in files if not is_picture(f) and not f.name.startswith(".")]
    others = [f for f in others if f.suffix != ".py"]  # such as that which fetches DIV2K
    if others:
        print(describe_others(others))


def is_scorable(photograph):
    """Whether a picture has a score: a flat one is restored exactly, its PSNR is infinite."""
    return bool((photograph.hr != photograph.hr[0, 0]).any())


def hold_out(paths, scale, crop, skips, before=()):
    """Chooses validation pictures: of every 50, or more, the first one that is usable.

    Args:
        paths: the pictures.
        scale, crop: as in the settings.
        skips: called with the path and the reason of each that cannot be decoded.
        before: the choice of a training that goes on: what is there of it is chosen again,
            because nothing that was trained on may be scored.

    Returns:
        dict of path -> centre, at most 12 and if possible one, and the paths that are left.
    """
    every = max(50, math.ceil(len(paths) / 12))
    groups = [paths[first : first + every] for first in range(0, len(paths), every)]
    if known := [path for path in paths if str(path) in before]:
        groups = [[path] for path in known]
    held_out = {}
    for group in groups:
        for path in group:
            try:
                photograph = decode_centre(path, scale, crop)
            except UnreadablePicture as error:
                skips(path, str(error))
                continue
            if is_scorable(photograph):
                held_out[path] = photograph
                break
    unusable = held_out.keys() | skips.reasons.keys()
    return held_out, [path for path in paths if path not in unusable]


class Dataset:
    """Photographs to train on, and some to validate on.

    Attributes:
        validation: dict of path -> `Photograph`, the centre that is scored.
        skips: `Skips`.
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

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._source.close()


def open_dataset(options, before=None, step=0):
    """Finds the pictures to train on and the pictures to validate on, and makes them ready.

    Pictures below VALIDATION_DATA are never trained on, also where it lies in DATA. Without
    it, every 50th usable picture of DATA is held out, 12 at most and 1 at least.

    Args:
        options: `DataOptions`.
        before: `Dataset.record` of a training that is resumed.
        step: the first one that batches are asked for.

    Returns:
        `Dataset`, a context that ends its threads.

    Raises:
        InputError: a folder is missing, or holds too few usable pictures; the validation pictures
            are not those of `before`.
    """
    skips, before = Skips(), before or {}
    sizes, validation = _choose(options, skips, before.get("held_out", ()))
    record = {
        "held_out": [] if options.validation_data else [str(path) for path in validation],
        "validation": digest(validation.values(), with_lr=options.degradation != "bicubic"),
        "photographs": hashlib.sha256(repr(sorted(map(_identity, sizes))).encode()).hexdigest(),
    }
    if record["validation"] != before.get("validation", record["validation"]):
        raise InputError(
            "the validation pictures have changed, so that scores could not be compared; put them "
            "back, take another NAME, or begin anew with --restart"
        )
    source = open_photographs(
        *(sizes, options),
        free_memory=memory.free_memory(),
        on_skip=skips,
        rotates=before.get("rotates"),
    )
    record["rotates"] = source.rotates
    source.at(step)  # which fails where not one can be decoded
    print(f"{source.count} photographs, {source.where}; {len(validation)} to validate; {skips}")

    return Dataset(source, validation, skips, record, options)


def digest(photographs, with_lr=False):
    """Hash of validation pictures; `with_lr`: the LR pictures do not follow from the HR ones."""
    found = hashlib.sha256()
    for photograph in photographs:
        found.update(repr(photograph.hr.shape).encode())
        found.update(photograph.hr)
        if with_lr:
            found.update(np.ascontiguousarray(photograph.lr))
    return found.hexdigest()


def _identity(path):
    """Name and bytes of a file, which tell a photograph from others well enough."""
    return Path(path).name, os.path.getsize(path)


def _choose(options, skips, held_out):
    """Sizes of the pictures to train on, and the centres of those to validate on, by path."""
    scale, crop = options.scale, options.validation_crop
    paths, validation_paths = find_pictures(options.data), []
    if options.validation_data:
        validation_paths = find_pictures(options.validation_data)
        others = {os.path.realpath(path) for path in validation_paths}
        paths = [path for path in paths if os.path.realpath(path) not in others]
    report_others(options.data)
    sizes, unusable = survey(paths, options.crop_size)
    for path, reason in unusable.items():
        skips(path, reason)
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
        found = [f"{len(paths)} pictures in {Path(options.data).resolve()}"]
        if options.validation_data:
            there = Path(options.validation_data).resolve()
            found.append(f"{len(validation_paths)} in {there}")
        raise InputError(
            f"DATA = {options.data!r}, VALIDATION_DATA = {options.validation_data!r}: "
            f"{len(sizes)} usable pictures to train on and {len(validation)} to validate among "
            f"{' and '.join(found)} ({' '.join(sorted(SUFFIXES))}), {skips}; expected at "
            "least two sound ones, one of them to validate on, or VALIDATION_DATA"
        )
    return sizes, validation


def _degraded(validation, options):
    """Validation pictures that have been through what the crops have, the same in every run."""
    found = {}
    for number, (path, photograph) in enumerate(validation.items()):
        degradation, random = of_picture(options.degradation, number)
        lr = degrade(degradation, photograph.lr, photograph.hr, options.scale, random)
        found[path] = Photograph(lr, photograph.hr, condition_of(lr, degradation.quality))
    return found


def _centres(paths, scale, crop, skips):
    """The centres of validation pictures, by path; those without a score are skipped."""
    # Something must be left of a picture inside the border that is not scored.
    usable, unusable = survey(paths, 4 * scale)
    found = {}
    centres = in_order(lambda path: decode_centre(path, scale, crop), usable, UnreadablePicture)
    for path, centre in tqdm(centres, "validation", len(usable), unit="picture", leave=False):
        if isinstance(centre, UnreadablePicture):
            unusable[path] = str(centre)
        elif not is_scorable(centre):
            unusable[path] = "flat: it has no score"
        else:
            found[path] = centre
    for path, reason in unusable.items():
        skips(path, reason)
    return found
