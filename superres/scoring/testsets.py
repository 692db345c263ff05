"""Test sets: their layouts on disk, and their pictures."""

import itertools
import re
from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path

from superres.images.formats import SUFFIXES, find_pictures
from superres.runtime.errors import InputError

# Folder of originals -> where LR pictures may be beside it, at scale {s}; case-insensitive.
LAYOUTS = {
    "hr": ["LR/x{s}/{name}", "LR_bicubic/X{s}/{name}x{s}", "LR/{name}"],  # ours; EDSR's
    "gtmod12": ["LRbicx{s}/{name}"],  # BasicSR's
    "div2k_valid_hr": ["DIV2K_valid_LR_bicubic/X{s}/{name}x{s}"],
}
PARTS = re.compile(r"hr|lr|lr_bicubic|gtmod12|lrbicx\d|div2k_valid_(hr|lr_bicubic)", re.IGNORECASE)
BENCHMARKS = {  # name of a folder, in lower case -> name in papers
    "set5": "Set5",
    "set14": "Set14",
    **dict.fromkeys(("b100", "bsd100", "bsds100"), "B100"),
    "urban100": "Urban100",
    "manga109": "Manga109",
    "div2k_valid_hr": "DIV2K",
}


@dataclass(frozen=True)
class Pair:
    """An original and its LR picture."""

    hr: Path
    lr: Path | None  # None: made from the original
    name: Path  # relative path, which names its results too


@dataclass(frozen=True)
class TestSet:
    """Pictures with one mean score."""

    name: str  # of the benchmark, or of the folder
    folder: Path
    layout: str  # where HR and LR are in the folder, in words
    pairs: list = field(repr=False)  # of `Pair`
    benchmark: str = ""  # its name in papers; empty: none

    __test__ = False  # for pytest: not a class of tests

    def files(self):
        """Paths of all HR pictures and of those LR pictures that are files."""
        return [path for pair in self.pairs for path in (pair.hr, pair.lr) if path]


def benchmark_of(name):
    """The benchmark in a folder of this name, or an empty text."""
    return BENCHMARKS.get(name.lower(), "")


def find(folder, scale, skip=()):
    """The test sets in a folder, none of them empty: those in one of `LAYOUTS`, and benchmarks.

    Without any, all pictures are one test set. `folder` may also be a layout's folder of originals.
    Ignores pictures in the folders `skip`, unless `folder` is in one of them.
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

    def by_folder(paths, fits):
        """Paths by the innermost folder above each whose name fits; by `None` without one."""
        groups = defaultdict(list)
        for one in paths:
            above = (p for p in one.parents if p.is_relative_to(path) and fits(p.name))
            groups[next(above, None)].append(one)
        return groups

    homes = by_folder(pictures, lambda name: name.lower() in LAYOUTS)
    rest = homes.pop(None, [])
    sets = [_in_layout(home, originals, scale) for home, originals in homes.items()]
    rest = [p for p in rest if not any(p.is_relative_to(one.folder) for one in sets)]
    plain = by_folder(rest, benchmark_of)
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
    order = [*BENCHMARKS.values(), ""]
    return sorted(sets, key=lambda one: order.index(one.benchmark))


def _plain(folder, paths):
    """The test set of originals in a folder, without LR pictures."""
    pairs = [Pair(path, None, path.relative_to(folder)) for path in paths]
    name = folder.absolute().name
    benchmark = benchmark_of(name)
    return TestSet(benchmark or name, folder, "HR pictures, LR made here", pairs, benchmark)


def _in_layout(home, originals, scale):
    """The test set whose folder of originals is `home`."""
    names = [path.relative_to(home) for path in originals]
    lrs, where = [None] * len(names), "LR made here"
    for place in LAYOUTS[home.name.lower()]:
        folder, stem = place.format(s=scale, name="{name}").rsplit("/", 1)
        paths = _find_lr(home.parent, folder, stem, names)
        if any(path.is_file() for path in paths):
            lrs, where = paths, f"LR in {folder}"
            break
    pairs = list(map(Pair, originals, lrs, names))
    top = home.parent.absolute().name
    benchmark = benchmark_of(home.name) or benchmark_of(top)
    return TestSet(benchmark or top, home.parent, f"HR in {home.name}, {where}", pairs, benchmark)


def _find_lr(top, place, stem, names):
    """Paths of the LR pictures of these originals; expected paths of those that are missing."""
    folders = [top]
    for part in place.split("/"):
        inner = (one for folder in folders for one in folder.iterdir() if one.is_dir())
        folders = [one for one in inner if one.name.lower() == part.lower()]
    by_stem = defaultdict(list)
    for folder in folders:
        for path in find_pictures(folder):
            by_stem[path.relative_to(folder).with_suffix("").as_posix().casefold()].append(path)
    paths = []
    for name in names:
        lr = stem.format(name=name.with_suffix("").as_posix())
        fits = by_stem.get(lr.casefold(), [top / place / f"{lr}{name.suffix}"])
        paths.append(min(fits, key=lambda path: path.suffix.lower() != name.suffix.lower()))
    return paths


def find_all(places, scale, skip=()):
    """The test sets in several folders, and one of single pictures, all with different names.

    Args:
        places: list of folders and of files.
        scale: of LR pictures.
        skip: folders to ignore.

    Raises:
        InputError: no such folder, no pictures in it, or single pictures with the same name.
    """
    singles = [place for place in places if Path(place).is_file()]
    sets = [one for place in places if place not in singles for one in find(place, scale, skip)]
    sets += [of_pictures(singles)] if singles else []
    names = []
    for one in sets:
        names.append(free_name(one.name, names))
    return [replace(one, name=name) for one, name in zip(sets, names, strict=True)]


def free_name(name, taken):
    """The name, or the first of name-2, name-3 and so on that is not among `taken`."""
    numbered = (f"{name}-{number}" for number in itertools.count(2))
    return next(one for one in itertools.chain([name], numbered) if one not in taken)


def of_pictures(paths):
    """Single pictures as a test set, named by their folders too if they share names."""
    paths = [Path(path) for path in paths]
    names = [Path(path.name) for path in paths]
    if len(set(names)) < len(names):
        names = [Path(path.absolute().parent.name, path.name) for path in paths]
    if len(set(names)) < len(names):
        raise InputError(f"{', '.join(map(str, paths))}: expected different names")
    pairs = [Pair(path, None, name) for path, name in zip(paths, names, strict=True)]
    return TestSet("pictures", paths[0].parent, "single pictures, LR made here", pairs)
