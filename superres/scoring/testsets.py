"""Test sets: how they lie on disk, and their pictures."""

import itertools
import re
from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path

from superres.images.formats import SUFFIXES, find_pictures
from superres.runtime.errors import InputError

# The folder of originals, and where beside it the LR picture of each may be, without its ending;
# all in upper or lower case. {s} is the scale.
LAYOUTS = {
    "hr": ["LR/x{s}/{name}", "LR_bicubic/X{s}/{name}x{s}", "LR/{name}"],  # ours; EDSR's
    "gtmod12": ["LRbicx{s}/{name}"],  # BasicSR's
    "div2k_valid_hr": ["DIV2K_valid_LR_bicubic/X{s}/{name}x{s}"],
}
PARTS = re.compile(r"hr|lr|lr_bicubic|gtmod12|lrbicx\d|div2k_valid_(hr|lr_bicubic)", re.IGNORECASE)
# The field's names of test sets, by the names of folders in lower case.
NAMES = {
    "set5": "Set5",
    "set14": "Set14",
    **dict.fromkeys(("b100", "bsd100", "bsds100"), "B100"),
    "urban100": "Urban100",
    "manga109": "Manga109",
    "div2k_valid_hr": "DIV2K",
}


@dataclass(frozen=True)
class Pair:
    """A picture to be restored."""

    hr: Path  # the original
    lr: Path | None  # its low-resolution picture; None where that is made
    name: Path  # relative path under which it is known and its results are written


@dataclass(frozen=True)
class TestSet:
    """Pictures that are scored together."""

    name: str  # the field's, where the folder's name is known; else the folder's
    folder: Path
    layout: str  # where in it the HR and the LR pictures are, in words
    pairs: list = field(repr=False)  # of `Pair`
    known: str = ""  # the field's name; empty where the folder has another

    __test__ = False  # its name is not one of pytest's


def known_name(name):
    """The field's name of a test set in a folder of this name, or an empty text."""
    return NAMES.get(name.lower(), "")


def find(folder, scale, skip=()):
    """The test sets in a folder: list of `TestSet`, each with at least one picture.

    They are those in one of `LAYOUTS`, and folders of originals with the name of a test set; or
    else all pictures in the folder. It may itself be the folder of originals of a layout.
    Pictures in one of the folders `skip` are left out, unless `folder` is in it.

    Raises:
        InputError: no such folder, or no pictures in it.
    """
    path = Path(folder)
    if path.name in ("", ".."):
        path = path.resolve()
    skip = [Path(one).resolve() for one in skip]
    skip = [one for one in skip if not path.resolve().is_relative_to(one)]
    pictures = find_pictures(path)
    if skip:
        pictures = [p for p in pictures if not any(map(p.resolve().is_relative_to, skip))]
    if not pictures:
        raise InputError(f"{folder}: no pictures found in it ({' '.join(sorted(SUFFIXES))})")

    def by_folder(paths, is_wanted):
        """Pictures by the folder above each that is wanted, the innermost one; `None`: by none."""
        groups = defaultdict(list)
        for one in paths:
            above = (p for p in one.parents if p.is_relative_to(path) and is_wanted(p.name))
            groups[next(above, None)].append(one)
        return groups

    homes = by_folder(pictures, lambda name: name.lower() in LAYOUTS)
    rest = homes.pop(None, [])
    sets = [_in_layout(home, originals, scale) for home, originals in homes.items()]
    rest = [p for p in rest if not any(p.is_relative_to(one.folder) for one in sets)]
    plain = by_folder(rest, known_name)
    others = plain.pop(None, [])
    sets += [_plain(place, originals) for place, originals in plain.items()]
    if not sets:
        one, places = _plain(path, others), (path.absolute(), path.absolute().parent)
        is_part = any(PARTS.fullmatch(place.name) for place in places)
        note = ", though by its name it is a part of a test set" * is_part
        return [replace(one, layout=one.layout + note)]
    if others:
        left_out = f"; {len(others)} other pictures in {path} left out"
        sets[0] = replace(sets[0], layout=sets[0].layout + left_out)
    order = list(NAMES.values())
    return sorted(sets, key=lambda one: order.index(one.known) if one.known else len(order))


def _plain(folder, paths):
    """Originals in a folder as a test set, whose LR pictures are made."""
    pairs = [Pair(path, None, path.relative_to(folder)) for path in paths]
    name = folder.absolute().name
    known = known_name(name)
    return TestSet(known or name, folder, "HR pictures, LR made here", pairs, known)


def _in_layout(home, originals, scale):
    """The test set whose folder of originals is `home`."""
    names = [path.relative_to(home) for path in originals]
    lrs, where = [None] * len(names), "LR made here"
    for place in LAYOUTS[home.name.lower()]:
        folder, stem = place.format(s=scale, name="{name}").rsplit("/", 1)
        found = _find_lr(home.parent, folder, stem, names)
        if any(path.is_file() for path in found):
            lrs, where = found, f"LR in {folder}"
            break
    pairs = list(map(Pair, originals, lrs, names))
    top = home.parent.absolute().name
    known = known_name(home.name) or known_name(top)
    return TestSet(known or top, home.parent, f"HR in {home.name}, {where}", pairs, known)


def _find_lr(top, place, stem, names):
    """The LR pictures of originals of these names, or where they were expected: list of paths."""
    folders = [top]
    for part in place.split("/"):
        inner = (one for folder in folders for one in folder.iterdir() if one.is_dir())
        folders = [one for one in inner if one.name.lower() == part.lower()]
    by_stem = defaultdict(list)
    for folder in folders:
        for path in find_pictures(folder):
            by_stem[path.relative_to(folder).with_suffix("").as_posix().casefold()].append(path)
    found = []
    for name in names:
        lr = stem.format(name=name.with_suffix("").as_posix())
        paths = by_stem.get(lr.casefold(), [top / place / f"{lr}{name.suffix}"])
        found.append(min(paths, key=lambda path: path.suffix.lower() != name.suffix.lower()))
    return found


def find_all(places, scale, skip=()):
    """The test sets in several folders, and single pictures, each under a name of its own.

    Args:
        places: list of folders and of files of pictures.
        scale: how far the pictures are reduced.
        skip: folders whose pictures are left out.

    Raises:
        InputError: as `find` and `of_pictures`.
    """
    singles = [place for place in places if Path(place).is_file()]
    found = [one for place in places if place not in singles for one in find(place, scale, skip)]
    found += [of_pictures(singles)] if singles else []
    named = []
    for one in found:
        name = free_name(one.name, {other.name for other in named})
        named.append(replace(one, name=name))
    return named


def free_name(name, taken):
    """The name, or with the first number behind it, from 2, that is not among `taken`."""
    numbered = (f"{name}-{number}" for number in itertools.count(2))
    return next(one for one in itertools.chain([name], numbered) if one not in taken)


def of_pictures(paths):
    """Single pictures as a test set.

    Raises:
        InputError: two of them have the same name in folders of the same name.
    """
    paths = [Path(path) for path in paths]
    names = [Path(path.name) for path in paths]
    if len(set(names)) < len(names):
        names = [Path(path.absolute().parent.name, path.name) for path in paths]
    if len(set(names)) < len(names):
        raise InputError(f"{', '.join(map(str, paths))}: expected different names")
    pairs = [Pair(path, None, name) for path, name in zip(paths, names, strict=True)]
    return TestSet("pictures", paths[0].parent, "single pictures, LR made here", pairs)
