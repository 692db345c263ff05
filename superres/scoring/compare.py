"""Pictures of other programs: which belong to which originals."""

import re
from collections import defaultdict
from pathlib import Path

from superres.images.formats import find_pictures
from superres.runtime.errors import InputError
from superres.scoring import reading, results, tables, testsets

SCALE_FOLDER = re.compile(r"[xX](\d+)")


def read_result(path, hr, notes):
    """A picture that another program restored, in the colours of the original; adds to `notes`."""
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
    """The name of a program: its folder's, or that above x2 and the name of a test set."""
    named = folder = Path(folder).resolve()
    while SCALE_FOLDER.fullmatch(named.name) or testsets.known_name(named.name):
        named = named.parent
    return named.name or folder.name


def find_results(folder, test_set, scale):
    """Pictures in a folder that belong to those of a test set: dict of `Pair.name` -> path.

    They may lie in the folder itself, in x2, in one named as the test set, or in x2 in that.
    """
    names = {test_set.name, test_set.known} - {""}
    inner = sorted(place for place in folder.iterdir() if place.is_dir())
    named = [p for p in inner if p.name in names or testsets.known_name(p.name) in names]
    for place in [*named, folder]:
        for scaled in (place / f"x{scale}", place / f"X{scale}", place):
            if scaled.is_dir() and (found := _match(scaled, test_set.pairs)):
                return found
    return {}


def _match(folder, pairs):
    own = {path.resolve() for pair in pairs for path in (pair.hr, pair.lr) if path}
    originals = [(*_stem_and_ending(pair.name), pair.name) for pair in pairs]
    fitting = defaultdict(lambda: defaultdict(list))  # by original, and by how well they fit
    for path in find_pictures(folder):
        stem, ending = _stem_and_ending(path.relative_to(folder))
        # The very name is best; and of cat and cat_2, cat_2_x2 belongs to the longer one.
        fits = [
            ((stem == begin) + ((stem, ending) == (begin, end)), len(begin), name)
            for begin, end, name in originals
            if stem == begin or stem.startswith(f"{begin}_")
        ]
        if fits and path.resolve() not in own:  # results may lie beside the originals
            rank, _, name = max(fits)
            fitting[name][rank].append(path)
    found = {name: by_rank[max(by_rank)] for name, by_rank in fitting.items()}
    for name, paths in found.items():
        if len(paths) > 1:
            several = ", ".join(str(path.relative_to(folder)) for path in paths)
            raise InputError(f"{folder}: {several} all fit {name}: expected one of them")
    return {name: path for name, (path,) in found.items()}


def _stem_and_ending(path):
    return path.with_suffix("").as_posix().casefold(), path.suffix.casefold()


def find_compared(folders, test_sets, scale):
    """Other programs' pictures: dict of a name -> dict of a test set's -> that of `find_results`.

    Raises InputError for no such folder, one of another scale, or one without such pictures.
    """
    compared, first = {}, test_sets[0]
    for folder in map(Path, folders):
        pictures = find_pictures(folder)
        of_scale = SCALE_FOLDER.fullmatch(folder.resolve().name)
        if of_scale and int(of_scale[1]) != scale:
            raise InputError(f"{folder}: expected pictures of x{scale}")
        found = {one.name: find_results(folder, one, scale) for one in test_sets}
        if not any(found.values()):
            own = {pair.hr.resolve() for one in test_sets for pair in one.pairs}
            if any(path.resolve() in own for path in pictures):
                raise InputError(f"{folder}: these are the originals themselves")
            there = f"{pictures[0].relative_to(folder)}, ..." if pictures else "none"
            raise InputError(
                f"{folder}: expected pictures of x{scale}, named as {first.pairs[0].name}, in it "
                f"or in {first.name}, x{scale} or {first.name}/x{scale} in it; it has {there}"
            )
        name = testsets.free_name(label(folder), {*results.VIEWS, tables.PUBLISHED, *compared})
        compared[name] = found
    return compared
