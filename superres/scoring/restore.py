"""One picture of a test set in all its versions, scored; what of it is written."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from superres.images.degradation import degrade
from superres.images.drawing import side_by_side
from superres.images.quality import CLEAN, condition_of, condition_of_file
from superres.images.resize import downscale, upscale_bicubic, upscale_nearest
from superres.images.write import write_picture
from superres.runtime.errors import InputError
from superres.runtime.files import make_folder
from superres.scoring import compare, figures, metrics, reading, results, testsets
from superres.scoring.results import BICUBIC, NEAREST, ORIGINAL, PREDICTION


@dataclass(frozen=True)
class Restored:
    """One picture in all its versions.

    Attributes:
        views: dict of name -> uint8 (H, W, 3), or (H, W) of a grey original: nearest, bicubic,
            prediction, the other programs', original.
        scores: dict of name -> what `metrics.score` returns; all but the original have them.
        notes: list of texts, what had to be changed.
        left_out: dict of path -> why another program's picture was left out.
        box: left, top, width and height of where the prediction, or the first of the others,
            gains most.
        is_bicubic: whether a given or degraded LR picture is what MATLAB's bicubic makes of the
            original; `None` where it was made so here.
        degradation: what the LR picture went through here, in words; perhaps nothing.
    """

    views: dict
    scores: dict
    notes: list
    left_out: dict
    box: tuple
    is_bicubic: bool | None
    degradation: str = ""


def restore(pair, scale, enlarge=None, others=None, degradation=None, random=None):
    """Makes, reads and scores all versions of one picture.

    Args:
        pair: `testsets.Pair`.
        scale: 2, 3 or 4.
        enlarge: function of the LR picture, uint8 (H, W[, 3]), and of its `Condition`, that
            predicts the HR picture; or `None`.
        others: dict of another program's name -> path of what it made of the picture.
        degradation, random: what the LR picture goes through, as `degrade` takes it; or `None`.

    Returns:
        `Restored`.

    Raises:
        InputError: the pair cannot be scored, as `reading.read_pair` says, or is blank.
    """
    hr, lr, notes = reading.read_pair(pair, scale)
    is_bicubic = np.array_equal(lr, downscale(hr, scale)) if pair.lr else None
    condition = CLEAN
    if degradation:
        lr, is_bicubic = degrade(degradation, lr, hr, scale, random), False
        condition = condition_of(lr, degradation.quality)
    elif pair.lr and enlarge:
        condition = condition_of_file(pair.lr, lr)
    views = {NEAREST: upscale_nearest(lr, scale), BICUBIC: upscale_bicubic(lr, scale)}
    if enlarge:
        views[PREDICTION] = enlarge(lr, condition)
    left_out = {}
    for name, path in (others or {}).items():
        try:
            views[name] = compare.read_result(path, hr, notes)
        except InputError as error:
            left_out[path] = str(error)
    scores = {name: metrics.score(hr, view, scale) for name, view in views.items()}
    if math.isinf(scores[BICUBIC]["psnr"]):
        raise InputError("blank: bicubic enlargement restores it exactly, which has no finite PSNR")
    best = results.main_method(scores)
    before = BICUBIC if best != BICUBIC else NEAREST
    return Restored(
        views=views | {ORIGINAL: hr},
        scores=scores,
        notes=notes,
        left_out=left_out,
        box=figures.find_box(hr, views[before], views[best], scale),
        is_bicubic=is_bicubic,
        degradation=str(degradation or ""),
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
        is_png = name.suffix.lower() == ".png"
        stem = testsets.free_name((shown.with_suffix("") if is_png else shown).as_posix(), taken)
        taken.add(stem)
        places[test_set, name] = (
            Path(f"{stem}{name.suffix if is_png else '.png'}"),
            shown.as_posix(),
        )
    return places


def write_pictures(folder, place, title, restored):
    """Writes the restored picture, the comparison and the figure of one picture.

    Args:
        folder: where `output`, `Combined` and `figures` are.
        place: relative path of each in them.
        title: text that names it.
        restored: `Restored`.
    """
    views, scores = restored.views, restored.scores
    others = [view for view in scores if view not in (NEAREST, BICUBIC)]
    shown = [PREDICTION] if PREDICTION in views else others or [BICUBIC]
    panels = [(ORIGINAL, views[ORIGINAL])]
    for view in (NEAREST, *shown):
        label = "nearest neighbour" if view == NEAREST else view
        panels.append((f"{label}  {scores[view]['psnr']:.2f} dB", views[view]))
    details = []
    for view, picture in views.items():
        text = "PSNR / SSIM"
        if view in scores:
            text = f"{scores[view]['psnr']:.2f} dB / {scores[view]['ssim']:.4f}"
        details.append((view, text, picture))
    if restored.degradation:
        title += f", LR: {restored.degradation}"
    pictures = {
        "Combined": side_by_side(panels),
        "figures": figures.paper_figure(title, views[ORIGINAL], details, restored.box),
    }
    if PREDICTION in views:
        pictures["output"] = views[PREDICTION]
    for kind, picture in pictures.items():
        path = folder / kind / place
        make_folder(path.parent)
        write_picture(path, picture, {})
