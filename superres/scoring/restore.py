"""One picture of a test set in all its versions, scored, and the pictures that show it."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from superres.images.degradation import degrade
from superres.images.panels import side_by_side
from superres.images.quality import CLEAN, condition_of, condition_of_file
from superres.images.resize import downscale, upscale_bicubic, upscale_nearest
from superres.images.write import write_picture
from superres.runtime.errors import InputError
from superres.runtime.files import make_folder
from superres.scoring import compare, figures, metrics, reading, results, testsets
from superres.scoring.results import BICUBIC, NEAREST, ORIGINAL, PREDICTION


@dataclass(frozen=True)
class Restored:
    """One picture in all its versions."""

    views: dict  # `VIEWS` and other programs -> uint8 (H, W, 3), or (H, W) of a grey original
    scores: dict  # each view but the original -> what `metrics.score` returns
    notes: list  # texts: what had to be changed
    left_out: dict  # path of another program's picture -> why it was refused
    box: tuple  # left, top, width, height of where the prediction, or the first other, gains most
    is_bicubic: bool | None  # whether the LR picture is MATLAB's bicubic; None: it was made so here
    degradation: str = ""  # of the LR picture, in words


def restore(pair, scale, enlarge=None, others=None, degradation=None, random=None):
    """Makes, reads and scores all versions of one picture: `Restored`.

    Args:
        pair: `testsets.Pair`.
        scale: 2, 3 or 4.
        enlarge: function of the LR picture, uint8 (H, W[, 3]), and of its `Condition`, that
            predicts the HR picture; or `None`.
        others: dict of another program's name -> path of what it made of the picture.
        degradation, random: what the LR picture goes through, as `degrade` takes it; or `None`.

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
    """Where each picture is written, and its title, by the names of its test set and its own.

    No two are the same: dict of (name, name) -> relative path of a PNG file, title.
    """
    names = [(one.name, pair.name) for one in test_sets for pair in one.pairs]
    taken, places = set(), {}
    # PNG files keep their names: of a.jpg and a.jpg.png the first is written as a.jpg-2.png.
    for test_set, name in sorted(names, key=lambda key: key[1].suffix.lower() != ".png"):
        title = Path(test_set, name) if len(test_sets) > 1 else name
        ending = name.suffix if name.suffix.lower() == ".png" else ".png"
        stem = title.with_suffix("") if ending == name.suffix else title
        stem = testsets.free_name(stem.as_posix(), taken)
        taken.add(stem)
        places[test_set, name] = Path(stem + ending), title.as_posix()
    return places


def write_pictures(folder, place, title, restored):
    """Writes a `Restored` as `place` into folder/output, Combined and figures, under a title."""
    views, scores = restored.views, restored.scores
    others = [view for view in scores if view not in (NEAREST, BICUBIC)]
    main = [PREDICTION] if PREDICTION in views else others or [BICUBIC]
    panels = [(ORIGINAL, views[ORIGINAL])]
    for view in (NEAREST, *main):
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
