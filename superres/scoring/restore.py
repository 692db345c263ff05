"""Views of one picture: restored, scored, and drawn."""

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
class Restoration:
    """One picture in all its views."""

    views: dict  # `VIEWS` and other programs -> uint8 (H, W, 3), or (H, W) of a grey original
    scores: dict  # each view but the original -> dict of scores
    notes: list  # texts: what was changed
    refused: dict  # path of another program's picture -> reason
    box: tuple  # left, top, width, height of the largest gain of the main method
    is_bicubic: bool | None  # whether LR is MATLAB's bicubic; None: it was made so here
    degradation: str = ""  # of LR, in words


def restore(pair, scale, enlarge=None, others=None, degradation=None, random=None):
    """Makes, reads and scores all views of one picture: `Restoration`.

    Args:
        pair: `testsets.Pair`.
        scale: 2, 3 or 4.
        enlarge: function of LR, uint8 (H, W[, 3]), and its `Condition` that predicts HR; or `None`.
        others: dict of another program's name -> path of its picture.
        degradation, random: of LR, as `degrade` takes them; or `None`.

    Raises:
        InputError: the pair does not fit together, is too small, or is blank.
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
    refused = {}
    for name, path in (others or {}).items():
        try:
            views[name] = compare.read_result(path, hr, notes)
        except InputError as error:
            refused[path] = str(error)
    scores = {name: metrics.score(hr, view, scale) for name, view in views.items()}
    if math.isinf(scores[BICUBIC]["psnr"]):
        raise InputError("blank: bicubic enlargement restores it exactly, which has no finite PSNR")
    best = results.main_method(scores)
    before = BICUBIC if best != BICUBIC else NEAREST
    box = figures.find_box(hr, views[before], views[best], scale)
    views[ORIGINAL] = hr
    return Restoration(views, scores, notes, refused, box, is_bicubic, str(degradation or ""))


def places_of(test_sets):
    """(name of a test set, `Pair.name`) -> unique relative path of a PNG file, and title."""
    names = [(one.name, pair.name) for one in test_sets for pair in one.pairs]
    taken, places = set(), {}
    # PNG files first, to keep their names: beside a.jpg.png, a.jpg becomes a.jpg-2.png.
    for test_set, name in sorted(names, key=lambda key: key[1].suffix.lower() != ".png"):
        title = Path(test_set, name) if len(test_sets) > 1 else name
        ending = name.suffix if name.suffix.lower() == ".png" else ".png"
        stem = title.with_suffix("") if ending == name.suffix else title
        stem = testsets.free_name(stem.as_posix(), taken)
        taken.add(stem)
        places[test_set, name] = Path(stem + ending), title.as_posix()
    return places


def write_pictures(folder, place, title, restoration):
    """Writes a `Restoration` as `place` into folder/output, Combined and figures."""
    views, scores = restoration.views, restoration.scores
    others = [view for view in scores if view not in (NEAREST, BICUBIC)]
    methods = [PREDICTION] if PREDICTION in views else others or [BICUBIC]
    labels = [("nearest neighbour", NEAREST), *((method, method) for method in methods)]
    panels = [(f"{label}  {scores[v]['psnr']:.2f} dB", views[v]) for label, v in labels]
    texts = {v: f"{one['psnr']:.2f} dB / {one['ssim']:.4f}" for v, one in scores.items()}
    details = [(view, texts.get(view, "PSNR / SSIM"), one) for view, one in views.items()]
    if restoration.degradation:
        title += f", LR: {restoration.degradation}"
    pictures = {
        "Combined": side_by_side([(ORIGINAL, views[ORIGINAL]), *panels]),
        "figures": figures.paper_figure(title, views[ORIGINAL], details, restoration.box),
    }
    if PREDICTION in views:
        pictures["output"] = views[PREDICTION]
    for kind, picture in pictures.items():
        path = folder / kind / place
        make_folder(path.parent)
        write_picture(path, picture, {})
