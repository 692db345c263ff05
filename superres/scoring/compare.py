"""Pictures of other programs: which belong to which originals."""

import re
from pathlib import Path

from superres.images.formats import find_pictures
from superres.runtime.errors import InputError
from superres.scoring import reading, results, tables, testsets

SCALE_FOLDER = re.compile(r"[xX](\d+)")


def read_result(path, hr, notes):
    """A picture that another program restored, in the size and the colours of the original.

    Args:
        path: its file.
        hr: the original as `read_pair` returns it.
        notes: list to which is added what had to be changed.

    Returns:
        uint8, of the shape of `hr`.

    Raises:
        InputError: unreadable, or of another size.
    """
    own_notes = []
    picture = reading.read_noted(path, own_notes, path.name)
    if picture.shape[:2] != hr.shape[:2]:
        raise InputError(
            f"{picture.shape[1]}x{picture.shape[0]} pixels, expected {hr.shape[1]}x{hr.shape[0]}"
        )
    picture = reading.in_colours_of(picture, hr, own_notes, path.name)
    notes += own_notes
    return picture


def label(folder):
    """The name of a program whose pictures are in `folder`: the folder's, or that above.

    Above, where it is x2 or named as a test set is.
    """
    named = folder = Path(folder).resolve()
    while SCALE_FOLDER.fullmatch(named.name) or testsets.known_name(named.name):
        named = named.parent
    return named.name or folder.name


def find_results(folder, test_set, scale):
    """Pictures that another program made of those of a test set, by their names.

    They may lie in the folder itself, in x2, in one named as the test set, or in x2 in that.
    A result has its original's name, with any ending and in any case of letters, or that name,
    `_` and more: `baby.png`, `baby_x2.png`, `Baby_RCAN_x2.jpg`.

    Args:
        folder: where to look.
        test_set: `TestSet`.
        scale: of the pictures.

    Returns:
        dict of `Pair.name` -> path, with those that were found.

    Raises:
        InputError: no such folder, one of another scale, or several pictures whose names fit
            one original.
    """
    folder = Path(folder)
    if not folder.is_dir():
        what = "expected a folder" if folder.exists() else "no such folder"
        raise InputError(f"COMPARE = {str(folder)!r}: {what}")
    of_scale = SCALE_FOLDER.fullmatch(folder.resolve().name)
    if of_scale and int(of_scale[1]) != scale:
        raise InputError(f"COMPARE = {str(folder)!r}: expected pictures of x{scale}")
    names = {test_set.name, test_set.known} - {""}
    named = [
        place
        for place in sorted(folder.iterdir())
        if place.is_dir() and (place.name in names or testsets.known_name(place.name) in names)
    ]
    for place in [*named, folder]:
        for inner in (place / f"x{scale}", place / f"X{scale}", place):
            if inner.is_dir() and (found := _match(inner, test_set.pairs)):
                return found
    return {}


def _match(folder, pairs):
    """Pictures in a folder that belong to pairs: dict of name -> path."""
    whole_names = {pair.name.as_posix().casefold(): pair.name for pair in pairs}
    originals = {pair.name.with_suffix("").as_posix().casefold(): pair.name for pair in pairs}
    # Results may lie beside the pictures that they were made of.
    own = {path.resolve() for pair in pairs for path in (pair.hr, pair.lr) if path}
    fitting = {}
    for path in find_pictures(folder):
        place = path.relative_to(folder)
        stem = place.with_suffix("").as_posix().casefold()
        begun = [one for one in originals if stem == one or stem.startswith(f"{one}_")]
        if begun and path.resolve() not in own:
            # Of cat and cat_2, cat_2_x2 belongs to cat_2: the longest that it begins with.
            name = originals[max(begun, key=len)]
            name = whole_names.get(place.as_posix().casefold(), name)
            fitting.setdefault(name, []).append(path)
    found = {}
    for name, paths in fitting.items():
        same = [path for path in paths if path.stem.casefold() == name.stem.casefold()]
        if len(same or paths) > 1:
            several = ", ".join(str(path.relative_to(folder)) for path in same or paths)
            raise InputError(f"COMPARE: {several} all fit {name}: expected one of them")
        found[name] = (same or paths)[0]
    return found


def find_compared(folders, test_sets, scale):
    """Other programs' pictures.

    Returns:
        dict of a program's name -> dict of a test set's name -> what `find_results`
        returns.

    Raises:
        InputError: no such folder, or none of the names are in it.
    """
    compared = {}
    for folder in folders:
        found = {one.name: find_results(folder, one, scale) for one in test_sets}
        if not any(found.values()):
            there, name = find_pictures(folder), test_sets[0].name
            found = "it has none"
            if there:
                found = f"it has {there[0].relative_to(folder)}" + ", ..." * (len(there) > 1)
            own = {pair.hr.resolve() for one in test_sets for pair in one.pairs}
            if any(path.resolve() in own for path in there):
                raise InputError(f"COMPARE = {folder!r}: these are the originals themselves")
            raise InputError(
                f"COMPARE = {folder!r}: expected pictures of x{scale}, named as the originals are, "
                f"such as {test_sets[0].pairs[0].name}, but other files, in it or in {name}, "
                f"x{scale} or {name}/x{scale} in it; {found}"
            )
        own = {*results.VIEWS, tables.PUBLISHED}
        compared[testsets.free_name(label(folder), own | compared.keys())] = found
    return compared
