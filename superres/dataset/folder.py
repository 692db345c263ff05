"""The pictures of a training: what is trained on, what is held out, and what is of no use."""

import math
import os
from pathlib import Path

import numpy as np
from tqdm import tqdm

from superres.dataset.crops import Photograph
from superres.dataset.photographs import open_photographs
from superres.images.formats import SUFFIXES, UnreadablePicture, find_pictures, is_picture
from superres.images.read import picture_size, read_rgb
from superres.images.resize import crop_to_multiple, downscale
from superres.runtime import memory
from superres.runtime.files import find_files
from superres.runtime.prefetch import in_order
from superres.runtime.terminal import shown

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
            tqdm.write(f"skipped {shown(Path(path))}: {reason}")

    def __str__(self):
        return f"{len(self.reasons)} skipped"


def report_others(folder):
    """Says which files of a folder are no pictures by their names; hidden ones are not told of."""
    files = find_files(folder, lambda error: None)
    others = [f for f in files if not is_picture(f) and not f.name.startswith(".")]
    if others:
        names = ", ".join(shown(path) for path in others[:5])
        more = f" and {len(others) - 5} more" if len(others) > 5 else ""
        print(f"left out, as no pictures by their names: {len(others)} files, {names}{more}")


def is_scorable(photograph):
    """Whether a picture has a score: a flat one is restored exactly, its PSNR is infinite."""
    return bool(np.ptp(photograph.hr, axis=(0, 1)).any())


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


def load_data(chosen, skips, beginning):
    """Finds the pictures to train on and the pictures to validate on.

    Pictures below VALIDATION_DATA are never trained on, also where it lies in DATA. Without
    it, every 50th usable picture of DATA is held out, 12 at most and 1 at least.

    Args:
        chosen: the settings.
        skips: called with the path and the reason of each picture that is not used.
        beginning: `resume.Beginning`.

    Returns:
        `photographs.AllAtOnce` or `InTurn`, and a dict of path -> `Photograph`: of the
        validation pictures what is scored, the centres.

    Raises:
        ValueError: a folder is missing, or holds too few usable pictures.
    """
    scale, crop = chosen.scale, chosen.validation_crop
    paths, validation_paths, validation = find_pictures(chosen.data), [], {}
    if chosen.validation_data:
        validation_paths = find_pictures(chosen.validation_data)
        held_out = {os.path.realpath(path) for path in validation_paths}
        paths = [path for path in paths if os.path.realpath(path) not in held_out]
    report_others(chosen.data)
    sizes, unusable = survey(paths, chosen.crop_size)
    for path, reason in unusable.items():
        skips(path, reason)
    if chosen.validation_data:
        # Something must be left of a picture inside the border that is not scored.
        usable, unusable = survey(validation_paths, 4 * scale)
        centres = in_order(lambda path: decode_centre(path, scale, crop), usable, UnreadablePicture)
        for path, centre in tqdm(centres, "validation", len(usable), unit="picture", leave=False):
            if isinstance(centre, UnreadablePicture):
                unusable[path] = str(centre)
            elif not is_scorable(centre):
                unusable[path] = "flat: it has no score"
            else:
                validation[path] = centre
        for path, reason in unusable.items():
            skips(path, reason)
    else:
        validation, left = hold_out(list(sizes), scale, crop, skips, beginning.held_out)
        sizes = {path: sizes[path] for path in left}
    if not sizes or not validation:
        found = [f"{len(paths)} pictures in {Path(chosen.data).resolve()}"]
        if chosen.validation_data:
            there = Path(chosen.validation_data).resolve()
            found.append(f"{len(validation_paths)} in {there}")
        raise ValueError(
            f"DATA = {chosen.data!r}, VALIDATION_DATA = {chosen.validation_data!r}: "
            f"{len(sizes)} usable pictures to train on and {len(validation)} to validate among "
            f"{' and '.join(found)} ({' '.join(sorted(SUFFIXES))}), {skips}; expected at "
            "least 1 of each"
        )
    source = open_photographs(
        sizes,
        source=chosen.data,
        scale=scale,
        crop_size=chosen.crop_size,
        seed=chosen.seed,
        cache=chosen.cache,
        free_memory=memory.free_memory(),
        on_skip=skips,
        in_turn=beginning.in_turn,
    )
    source.at(beginning.step)  # which fails where not one can be decoded
    print(f"{source.count} photographs, {source.where}; {len(validation)} to validate; {skips}")
    return source, validation
