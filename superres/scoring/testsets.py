"""Test sets: how they lie on disk, and their pictures."""

import itertools
import re
from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path

from superres.images.formats import SUFFIXES, find_pictures
from superres.runtime.errors import InputError

# Where the originals of a test set lie, and where the LR pictures of each may be, below the
# folder of the test set, without endings, in upper or lower case. {s} is the scale.
LAYOUTS = {
    "HR/{set}/x{s}/{name}_HR_x{s}": ["LR/LRBI/{set}/x{s}/{name}_LRBI_x{s}"],  # RCAN
    "image_SRF_{s}/{name}_SRF_{s}_HR": ["image_SRF_{s}/{name}_SRF_{s}_LR"],  # SelfExSR
    "DIV2K_valid_HR/{name}": ["DIV2K_valid_LR_bicubic/X{s}/{name}x{s}"],
    "GTmod12/{name}": ["LRbicx{s}/{name}"],  # BasicSR
    "HR/{name}": ["LR/x{s}/{name}", "LR_bicubic/X{s}/{name}x{s}", "LR/{name}"],  # ours; EDSR
}
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
    """A picture to be restored.

    Attributes:
        hr: path of the original.
        lr: path of its low-resolution picture; None where that is made.
        name: relative path under which it is known and its results are written.
    """

    hr: Path
    lr: Path | None
    name: Path


@dataclass(frozen=True)
class TestSet:
    """Pictures that are scored together.

    Attributes:
        name: the field's, where the folder's name is known; else the folder's.
        folder: where it is.
        layout: where in it the HR and the LR pictures are, in words.
        pairs: list of `Pair`.
        known: the field's name; empty where the folder has another.
    """

    name: str
    folder: Path
    layout: str
    pairs: list = field(repr=False)
    known: str = ""

    __test__ = False  # its name is not one of pytest's


def known_name(name):
    """The field's name of a test set in a folder of this name, or an empty text."""
    return NAMES.get(name.lower(), "")


def _pattern(layout, root=r"(?:(?P<root>.*)/)?"):
    """The regular expression of a place in a layout; each field is a group of its name."""
    pattern = re.escape(layout).replace(r"\{set\}", "(?P<set>[^/]+)")
    pattern = pattern.replace(r"\{name\}", "(?P<name>.+)").replace(r"\{s\}", r"(?P<s>\d+)", 1)
    return re.compile(root + pattern.replace(r"\{s\}", "(?P=s)"), re.IGNORECASE)


PATTERNS = {hr: _pattern(hr) for hr in LAYOUTS}
# Folders that hold a part of a test set: its originals, or its LR pictures.
PART_FOLDERS = [
    _pattern(place.split("/")[0], root="") for hr, lrs in LAYOUTS.items() for place in (hr, *lrs)
]


def _is_part(folder):
    return any(pattern.fullmatch(folder.name) for pattern in PART_FOLDERS)


def _listed(base, folders, skip):
    """The pictures in some folders: list of (place, path).

    A place begins with the name of the folder `base`, and has no ending.
    """
    paths = [path for folder in folders for path in find_pictures(folder)]
    if skip:
        paths = [p for p in paths if not any(p.resolve().is_relative_to(one) for one in skip)]
    name = base.absolute().name
    return [(Path(name, path.relative_to(base).with_suffix("")).as_posix(), path) for path in paths]


def _by_layout(pictures):
    """The originals in known layouts: (layout, root, set) -> scale -> list of (name, path)."""
    found = defaultdict(lambda: defaultdict(list))
    for place, path in pictures:
        for layout, pattern in PATTERNS.items():
            if match := pattern.fullmatch(place):
                fields = {"set": "", "s": 0} | match.groupdict()
                key = layout, fields["root"], fields["set"]
                found[key][int(fields["s"])].append((fields["name"], path))
                break
    return found


def _test_set(base, key, by_scale, by_place, scale):
    """A test set in a known layout.

    Args:
        base: the folder with whose name the places begin.
        key, by_scale: as in what `_by_layout` returns.
        by_place: dict of place in lower case -> paths of all pictures.
        scale: how far they are reduced.
    """
    layout, root, set_name = key
    # As SelfExSR's Urban100, which has nothing for x3: the originals of another scale.
    of = next(s for s in (scale, 0, *sorted(by_scale)) if s in by_scale)
    top = base.joinpath(*root.split("/")[1:])

    def folder(place, s):
        return place.format(set=set_name, s=s, name="").rpartition("/")[0]

    def lr_of(lr, name, path):
        place = lr.format(set=set_name, s=scale, name=name)
        there = by_place.get(f"{root}/{place}".casefold(), [top / f"{place}{path.suffix}"])
        return min(there, key=lambda one: one.suffix.lower() != path.suffix.lower())

    lrs, where = {}, "LR made here"
    for lr in LAYOUTS[layout]:
        found = {path: lr_of(lr, name, path) for name, path in by_scale[of]}
        if any(path.is_file() for path in found.values()):
            lrs, where = found, f"LR in {folder(lr, scale)}"
            break
    pairs = [Pair(path, lrs.get(path), Path(name + path.suffix)) for name, path in by_scale[of]]
    names = [set_name, layout.split("/")[0], top.absolute().name]
    known = next(filter(None, map(known_name, names)), "")
    name = known or set_name or names[-1]
    return TestSet(name, top, f"HR in {folder(layout, of)}, {where}", pairs, known)


def _plain(folder, paths):
    """Originals in a folder as a test set, whose LR pictures are made."""
    pairs = [Pair(path, None, path.relative_to(folder)) for path in paths]
    name = folder.absolute().name
    return TestSet(
        known_name(name) or name, folder, "HR pictures, LR made here", pairs, known_name(name)
    )


def find(folder, scale, skip=()):
    """The test sets in a folder.

    Args:
        folder: one in which there are test sets in one of `LAYOUTS`, or folders of originals
            that are named as test sets are; or the folder of originals of such a one. Any other
            folder of pictures, searched recursively, is a test set too.
        scale: how far the pictures are reduced.
        skip: folders whose pictures are left out, unless `folder` is in one.

    Returns:
        List of `TestSet`, at least one, each with at least one picture.

    Raises:
        InputError: no such folder, or no pictures in it.
        OSError: it cannot be read.
    """
    path = Path(folder)
    if not path.is_dir():
        raise InputError(f"FOLDER = {str(folder)!r}: no such folder")
    if path.name in ("", ".."):
        path = path.resolve()
    skip = [Path(one).resolve() for one in skip]
    skip = [one for one in skip if not path.resolve().is_relative_to(one)]
    base, folders = path, [path]
    if _is_part(path):
        base = path.parent
        folders += [p for p in base.iterdir() if p.is_dir() and _is_part(p) and p != path]
    by_place, inside = defaultdict(list), []
    for place, picture in _listed(base, folders, skip):
        by_place[place.casefold()].append(picture)
        inside += [(place, picture)] if picture.is_relative_to(path) else []
    sets = [
        _test_set(base, key, by_scale, by_place, scale)
        for key, by_scale in _by_layout(inside).items()
    ]
    plain, others = defaultdict(list), []
    for _, picture in inside:
        if not any(picture.is_relative_to(one.folder) for one in sets):
            above = [p for p in picture.parents if p.is_relative_to(path) and known_name(p.name)]
            (plain[above[0]] if above else others).append(picture)
    sets += [_plain(place, pictures) for place, pictures in plain.items()]
    if not sets and not others:
        endings = " ".join(sorted(SUFFIXES))
        raise InputError(f"FOLDER = {str(folder)!r}: no pictures found in it ({endings})")
    if not sets:
        one = _plain(path, others)
        if any(_is_part(above) for above in (path.absolute(), path.absolute().parent)):
            one = replace(
                one, layout=f"{one.layout}, though by its name it is a part of a test set"
            )
        return [one]
    if others:
        left_out = f"; {len(others)} other pictures in {path} left out"
        sets[0] = replace(sets[0], layout=sets[0].layout + left_out)
    order = list(NAMES.values())
    return sorted(sets, key=lambda one: order.index(one.known) if one.known else len(order))


def find_all(places, scale, skip=()):
    """The test sets in several folders, and single pictures, each under a name of its own.

    Args:
        places: list of folders and of files of pictures.
        scale, skip: as for `find`.

    Raises:
        InputError, OSError: as `find` and `of_pictures`.
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

    Args:
        paths: list of their files.

    Raises:
        InputError: two of them cannot be told apart by their names and those of their folders.
    """
    paths = [Path(path) for path in paths]
    names = [Path(path.name) for path in paths]
    if len(set(names)) < len(names):
        names = [Path(path.absolute().parent.name, path.name) for path in paths]
    pairs = [Pair(path, None, name) for path, name in zip(paths, names, strict=True)]
    if len(set(names)) < len(names):
        raise InputError(f"FOLDER = {', '.join(map(str, paths))!r}: expected different names")
    return TestSet("pictures", paths[0].parent, "single pictures, LR made here", pairs)
