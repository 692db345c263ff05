"""One picture of a test set in all its versions, scored; what of it is written."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from superres.images.drawing import side_by_side
from superres.images.resize import downscale, upscale_bicubic, upscale_nearest
from superres.images.write import write_picture
from superres.scoring import compare, figures, metrics, tables, testsets


@dataclass(frozen=True)
class Restored:
    """One picture in all its versions.

    Attributes:
        views: dict of name -> uint8 (H, W, 3), or (H, W) of a grey original: nearest (here the
            LR picture), bicubic, prediction, the other programs', original.
        scores: dict of name -> what `metrics.score` returns; all but the original have them.
        notes: list of texts, what had to be changed.
        left_out: dict of path -> why another program's picture was left out.
        box: left, top, width and height of where the prediction, or the first of the others,
            gains most.
        is_bicubic: whether the LR picture is what MATLAB's bicubic makes of the original.
    """

    views: dict
    scores: dict
    notes: list
    left_out: dict
    box: tuple
    is_bicubic: bool


def restore(pair, scale, upscaler=None, results=None):
    """Makes, reads and scores all versions of one picture.

    Args:
        pair: `testsets.Pair`.
        scale: 2, 3 or 4.
        upscaler: what enlarges, or None.
        results: dict of a program's name -> path of what it made of the picture.

    Returns:
        `Restored`.

    Raises:
        ValueError: the pair cannot be scored, as `testsets.read_pair` says.
    """
    hr, lr, notes = testsets.read_pair(pair, scale)
    views = {tables.BICUBIC: upscale_bicubic(lr, scale)}
    if upscaler:
        views[tables.PREDICTION] = upscaler.enlarge(lr)
    left_out = {}
    for name, path in (results or {}).items():
        try:
            views[name] = compare.read_result(path, hr, notes)
        except ValueError as error:
            left_out[path] = str(error)
    whole = {tables.NEAREST: upscale_nearest(lr, scale), **views}
    found = {name: metrics.score(hr, view, scale) for name, view in whole.items()}
    best = tables.main_method(found)
    before = tables.BICUBIC if best != tables.BICUBIC else tables.NEAREST
    return Restored(
        {tables.NEAREST: lr, **views, tables.ORIGINAL: hr},
        found,
        notes,
        left_out,
        figures.find_box(hr, whole[before], whole[best], scale),
        pair.lr is None or np.array_equal(lr, downscale(hr, scale)),
    )


def places_of(test_sets):
    """Where each picture is written, and the name by which it is shown.

    Returns:
        dict of (test set's name, picture's name) -> relative path of a PNG file, no two the
        same, and the name.
    """
    names = [(one.name, pair.name) for one in test_sets for pair in one.pairs]
    taken, places = set(), {}
    # PNG files keep their names: of a.jpg and a.jpg.png the first is written as a.jpg-2.png.
    for test_set, name in sorted(names, key=lambda key: key[1].suffix.lower() != ".png"):
        shown = Path(test_set, name) if len(test_sets) > 1 else name
        path = shown if name.suffix.lower() == ".png" else shown.with_name(f"{shown.name}.png")
        stem, number = path.stem, 1
        while path in taken:
            number += 1
            path = path.with_stem(f"{stem}-{number}")
        taken.add(path)
        places[test_set, name] = path, shown.as_posix()
    return places


def write_pictures(folder, place, title, restored, scale):
    """Writes the restored picture, the comparison and the figure of one picture.

    Args:
        folder: where `output`, `Combined` and `figures` are.
        place: relative path of each in them.
        title: text that names it.
        restored: `Restored`.
        scale: of the LR picture.
    """
    views, found = restored.views, restored.scores
    original = views[tables.ORIGINAL]
    whole = {**views, tables.NEAREST: upscale_nearest(views[tables.NEAREST], scale)}
    others = [view for view in found if view not in (tables.NEAREST, tables.BICUBIC)]
    shown = [tables.PREDICTION] if tables.PREDICTION in views else others or [tables.BICUBIC]
    panels = [(tables.ORIGINAL, original)]
    for view in (tables.NEAREST, *shown):
        label = "nearest neighbour" if view == tables.NEAREST else view
        panels.append((f"{label}  {tables.number(found[view]['psnr'], 2)} dB", whole[view]))
    details = []
    for view, picture in whole.items():
        text = "PSNR / SSIM"
        if view in found:
            text = f"{tables.number(found[view]['psnr'], 2)} dB / {found[view]['ssim']:.4f}"
        details.append((view, text, picture))
    pictures = {
        "Combined": side_by_side(panels),
        "figures": figures.paper_figure(title, original, details, restored.box),
    }
    if tables.PREDICTION in views:
        pictures["output"] = views[tables.PREDICTION]
    for kind, picture in pictures.items():
        path = folder / kind / place
        path.parent.mkdir(parents=True, exist_ok=True)
        write_picture(path, picture, {})
