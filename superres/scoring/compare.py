"""Pictures of other programs: which belong to which originals."""

import itertools
import re
from pathlib import Path

from superres.images.formats import find_pictures
from superres.scoring import tables, testsets

HR_MARK = re.compile(r"(_SRF_\d+)?_(HR|GT)(_x\d)?$")  # what some layouts append to a picture's name
SCALE_FOLDER = re.compile(r"[xX](\d+)")
SCALE_MARK = re.compile(r"(?:^|[_\-. ])[xX](\d)(?=$|[_\-. ])")  # in names of results: _x2


def read_result(path, hr, notes):
    """A picture that another program restored, in the size and the colours of the original.

    Args:
        path: its file.
        hr: the original as `read_pair` returns it.
        notes: list to which is added what had to be changed.

    Returns:
        uint8, of the shape of `hr`.

    Raises:
        ValueError: unreadable, or of another size.
    """
    own_notes = []
    picture = testsets.read_noted(path, own_notes, path.name)
    if picture.shape[:2] != hr.shape[:2]:
        raise ValueError(
            f"{picture.shape[1]}x{picture.shape[0]} pixels, expected {hr.shape[1]}x{hr.shape[0]}"
        )
    picture = testsets.in_colours_of(picture, hr, own_notes, path.name)
    notes += own_notes
    return picture


def label(folder):
    """The name of a program whose pictures are in `folder`: the folder's, or that above.

    Above, where it is x2 or named as a test set is.
    """
    named = folder = Path(folder).resolve()
    while SCALE_FOLDER.fullmatch(named.name) or testsets.known_name(named):
        named = named.parent
    return named.name or folder.name


def find_results(folder, test_set, scale):
    """Pictures that another program made of those of a test set, by their names.

    They may lie in the folder itself, in x2, in one named as the test set, or in x2 in that.
    A name fits when it is the original's, with another ending, or with more behind it:
    `baby.png`, `baby_x2.png`, `babyx2_SR.png`; `Baby.PNG` where no other does.

    Args:
        folder: where to look.
        test_set: `TestSet`.
        scale: of the pictures.

    Returns:
        dict of `Pair.name` -> path, with those that were found.

    Raises:
        ValueError: no such folder, one of another scale, or several pictures whose names fit
            one original.
    """
    folder = Path(folder)
    if not folder.is_dir():
        what = "expected a folder" if folder.exists() else "no such folder"
        raise ValueError(f"COMPARE = {str(folder)!r}: {what}")
    of_scale = SCALE_FOLDER.fullmatch(folder.resolve().name)
    if of_scale and int(of_scale[1]) != scale:
        raise ValueError(f"COMPARE = {str(folder)!r}: expected pictures of x{scale}")
    names = {test_set.name, test_set.known} - {""}
    named = [
        place
        for place in sorted(folder.iterdir())
        if place.is_dir() and (testsets.known_name(place) or place.name) in names
    ]
    for place in [*named, folder]:
        for inner in (place / f"x{scale}", place / f"X{scale}", place):
            if inner.is_dir() and (found := _match(inner, test_set.pairs, scale)):
                return found
    return {}


def _match(folder, pairs, scale):
    """Pictures in a folder that belong to pairs: dict of name -> path."""
    # Results may lie beside the pictures that they were made of.
    own = {path.resolve() for pair in pairs for path in (pair.hr, pair.lr) if path}
    found = [path for path in find_pictures(folder) if path.resolve() not in own]
    files = {path.relative_to(folder): path for path in found}
    bases = {pair.name: pair.name.with_name(HR_MARK.sub("", pair.name.stem)) for pair in pairs}

    def is_same(path, name, base, all_bases):
        return path == name

    def is_same_but_its_ending(path, name, base, all_bases):
        return path.with_suffix("") in (name.with_suffix(""), base)

    def begins(path, base):
        more = re.fullmatch(re.escape(base.name) + r"(([_\-. ]|[xX]\d).*)", path.stem, re.DOTALL)
        if more is None or path.parent != base.parent:
            return False
        return all(int(mark) == scale for mark in SCALE_MARK.findall(more[1]))

    def begins_the_same(path, name, base, all_bases):
        # Of cat and cat_2, cat_2_x2 belongs to cat_2: the longest that it begins with.
        fitting = [other for other in all_bases if begins(path, other)]
        return base in fitting and base == max(fitting, key=lambda b: len(b.name))

    def in_lower_case(path):
        return Path(str(path).casefold())

    found = {}
    # What fits one original best is not there for another any more. Last where only the case of
    # letters differs, which some programs and systems change.
    rules = (is_same, is_same_but_its_ending, begins_the_same)
    for cased, fits in itertools.product((Path, in_lower_case), rules):
        names = {name: (cased(name), cased(base)) for name, base in bases.items()}
        all_bases = [base for _, base in names.values()]
        for pair in pairs:
            wanted = (*names[pair.name], all_bases)
            near = [] if pair.name in found else [p for p in files if fits(cased(p), *wanted)]
            if len(near) > 1:
                several = ", ".join(sorted(str(files[path]) for path in near))
                raise ValueError(f"COMPARE: {several} all fit {pair.name}: expected one of them")
            if near:
                found[pair.name] = files.pop(near[0])
    return found


def find_compared(folders, test_sets, scale):
    """Other programs' pictures.

    Returns:
        dict of a program's name -> dict of a test set's name -> what `testsets.find_results`
        returns.

    Raises:
        ValueError: no such folder, or none of the names are in it.
    """
    compared = {}
    for folder in folders:
        found = {one.name: find_results(folder, one, scale) for one in test_sets}
        if not any(found.values()):
            there, name = find_pictures(folder), test_sets[0].name
            found = "it has none"
            if there:
                found = f"it has {there[0].relative_to(folder)}" + ", ..." * (len(there) > 1)
            raise ValueError(
                f"COMPARE = {folder!r}: expected pictures of x{scale}, named as the originals are, "
                f"such as {test_sets[0].pairs[0].name}, but other files, in it or in {name}, "
                f"x{scale} or {name}/x{scale} in it; {found}"
            )
        name = base = label(folder)
        number = 1
        while name in (
            *compared,
            tables.NEAREST,
            tables.ORIGINAL,
            tables.BICUBIC,
            tables.PREDICTION,
            tables.PUBLISHED,
        ):
            number += 1
            name = f"{base}-{number}"
        compared[name] = found
    return compared
