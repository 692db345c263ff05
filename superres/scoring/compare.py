"""Pictures of other programs, matched with the originals by name."""

import re
from collections import defaultdict
from pathlib import Path

from superres.images.formats import find_pictures
from superres.runtime.errors import InputError
from superres.scoring import reading, results, tables, testsets

SCALE_FOLDER = re.compile(r"[xX](\d+)")


def read_result(path, hr, notes):
    """A picture of another program, in the colours of the original; adds changes to `notes`."""
    own_notes = []  # of no use if the picture is refused
    picture = reading.read_noted(path, own_notes, path.name)
    if picture.shape[:2] != hr.shape[:2]:
        raise InputError(
            f"{picture.shape[1]}x{picture.shape[0]} pixels, expected {hr.shape[1]}x{hr.shape[0]}"
        )
    picture = reading.in_colours_of(picture, hr, own_notes, path.name)
    notes += own_notes
    return picture


def label(folder):
    """The name of a program: its folder's, without x2 and the name of a benchmark at the end."""
    program = folder = Path(folder).resolve()
    while SCALE_FOLDER.fullmatch(program.name) or testsets.benchmark_of(program.name):
        program = program.parent
    return program.name or folder.name


def find_results(folder, test_set, scale):
    """A program's pictures of a test set: dict of `Pair.name` -> path.

    They may lie in the folder, in x2, in a folder with the test set's name, or in x2 in that.
    """
    names = {test_set.name, test_set.benchmark} - {""}
    inner = sorted(place for place in folder.iterdir() if place.is_dir())
    inner = [p for p in inner if p.name in names or testsets.benchmark_of(p.name) in names]
    for place in [*inner, folder]:
        for scaled in (place / f"x{scale}", place / f"X{scale}", place):
            if scaled.is_dir() and (matches := _match(scaled, test_set)):
                return matches
    return {}


def _match(folder, test_set):
    own = {path.resolve() for path in test_set.files()}
    originals = [(*_stem_and_ending(pair.name), pair.name) for pair in test_set.pairs]
    candidates = defaultdict(lambda: defaultdict(list))  # original -> rank -> paths
    for path in find_pictures(folder):
        stem, ending = _stem_and_ending(path.relative_to(folder))
        # An equal name fits best, then the longest: cat_2_x2 belongs to cat_2, not to cat.
        fits = [
            ((stem == begin) + ((stem, ending) == (begin, end)), len(begin), name)
            for begin, end, name in originals
            if stem == begin or stem.startswith(f"{begin}_")
        ]
        if fits and path.resolve() not in own:  # results may lie beside the originals
            rank, _, name = max(fits)
            candidates[name][rank].append(path)
    matches = {name: by_rank[max(by_rank)] for name, by_rank in candidates.items()}
    for name, paths in matches.items():
        if len(paths) > 1:
            several = ", ".join(str(path.relative_to(folder)) for path in paths)
            raise InputError(f"{folder}: {several} all fit {name}: expected one of them")
    return {name: path for name, (path,) in matches.items()}


def _stem_and_ending(path):
    return path.with_suffix("").as_posix().casefold(), path.suffix.casefold()


def find_programs(folders, test_sets, scale):
    """Other programs' pictures: program -> name of a test set -> what `find_results` returns.

    Raises InputError if a folder is missing, of another scale, or without such pictures.
    """
    programs, first = {}, test_sets[0]
    for folder in map(Path, folders):
        pictures = find_pictures(folder)
        match = SCALE_FOLDER.fullmatch(folder.resolve().name)
        if match and int(match[1]) != scale:
            raise InputError(f"{folder}: expected pictures of x{scale}")
        by_set = {one.name: find_results(folder, one, scale) for one in test_sets}
        if not any(by_set.values()):
            own = {pair.hr.resolve() for one in test_sets for pair in one.pairs}
            if any(path.resolve() in own for path in pictures):
                raise InputError(f"{folder}: these are the originals themselves")
            there = f"{pictures[0].relative_to(folder)}, ..." if pictures else "none"
            raise InputError(
                f"{folder}: expected pictures of x{scale}, named as {first.pairs[0].name}, in it "
                f"or in {first.name}, x{scale} or {first.name}/x{scale} in it; it has {there}"
            )
        name = testsets.free_name(label(folder), {*results.VIEWS, tables.PUBLISHED, *programs})
        programs[name] = by_set
    return programs
