"""Scores of an evaluation: of each picture, and a summary of each test set."""

import csv
import hashlib
import io
import json
from collections import Counter

import numpy as np

from superres.scoring.published import PICTURES, published

KEYS = ("psnr", "ssim", "rgb_psnr")
# Views of a picture; those of other programs bear the names of their folders.
VIEWS = NEAREST, BICUBIC, PREDICTION, ORIGINAL = "nearest", "bicubic", "prediction", "original"


def gain(score, reference):
    """How much higher one PSNR is than another, in dB; 0 where both are infinite."""
    return 0.0 if score == reference else score - reference


def main_method(methods):
    """Whose gain over bicubic counts: the network's, else another program's, else bicubic."""
    others = [method for method in methods if method not in (NEAREST, BICUBIC)]
    return PREDICTION if PREDICTION in others else (others or [BICUBIC])[0]


def means(rows, methods):
    """Mean scores over pictures: dict of method -> dict of `KEYS`.

    A method that lacks a picture has `None`: its mean would not be comparable.
    """
    result = dict.fromkeys(methods)
    for method in methods:
        scores = [row["scores"].get(method) for row in rows]
        if scores and all(scores):
            result[method] = {key: float(np.mean([one[key] for one in scores])) for key in KEYS}
    return result


class Results:
    """Scores of the pictures of test sets, as they come in.

    Attributes:
        rows: list of dicts, one for each picture, as `add` makes them.
        refused: dict of path -> reason.
        faults: places in the code of the program's faults among the reasons.
    """

    def __init__(self, test_sets, methods, scale, degradation=""):
        self.test_sets, self.scale = test_sets, scale
        self.methods = methods  # that are scored beside nearest
        self.degradation = degradation  # of the LR pictures, by name; empty: none
        self.rows, self.refused, self.faults = [], {}, set()
        self._failed = Counter()

    def add(self, test_set, pair, restored):
        """Adds what `restore` made of a picture."""
        self.refused |= restored.left_out
        self.rows.append(
            {
                "test_set": test_set.name,
                "name": pair.name.as_posix(),
                "scores": restored.scores,
                "notes": restored.notes,
                "is_bicubic": restored.is_bicubic,
            }
        )

    def refuse(self, test_set, pair, error):
        """Adds a picture that cannot be scored."""
        self.refused[pair.hr] = str(error)
        self._failed[test_set.name] += 1

    def of(self, test_set):
        """The rows of a test set."""
        return [row for row in self.rows if row["test_set"] == test_set.name]

    def notes(self):
        """What had to be changed in which picture: list of texts."""
        named = ((f"{row['test_set']}, {row['name']}", row["notes"]) for row in self.rows)
        return [f"{name}: {note}" for name, notes in named for note in notes]

    def summaries(self):
        """What tables, page and results.json say about each test set: list of dicts."""
        return [self._summary(one) for one in self.test_sets]

    def _summary(self, test_set):
        rows = self.of(test_set)
        given = [row["is_bicubic"] for row in rows if row["is_bicubic"] is not None]
        mean = means(rows, [NEAREST, *self.methods])
        # What is published of other pictures, or of other LR pictures, would be no comparison.
        is_whole = len(rows) == len(test_set.pairs) == PICTURES.get(test_set.known) and all(given)
        others = published(test_set.known, self.scale, mean[BICUBIC]) if is_whole else {}
        lacking = {m: sum(m not in row["scores"] for row in rows) for m in self.methods}
        refused = self._failed[test_set.name]
        return {
            "name": test_set.name,
            "folder": str(test_set.folder),
            "layout": test_set.layout,
            "pictures": len(rows),
            "refused": refused,
            "untried": len(test_set.pairs) - len(rows) - refused,
            "degradation": self.degradation,
            "given_lr": len(given),
            "given_lr_equal_to_bicubic": sum(given),
            "missing": {method: count for method, count in lacking.items() if count},
            "mean": mean,
            "published": others,
            "other_than": test_set.known if is_whole and not others else "",
        }

    def as_csv(self):
        """A line for nearest and each method of each picture, as CSV; infinite PSNR is `inf`."""
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["test_set", "picture", "method", *KEYS])
        for row in self.rows:
            for method in (NEAREST, *self.methods):
                if score := row["scores"].get(method):
                    values = [f"{score[key]:.6f}" for key in KEYS]
                    writer.writerow([row["test_set"], row["name"], method, *values])
        return file.getvalue()

    def as_json(self, made_by):
        """All results as JSON text, after `how_made`; infinity, which JSON lacks, is null."""
        results = {
            **made_by,
            "images": [
                {"name": row["name"], "test_set": row["test_set"]}
                | _flat(row["scores"])
                | {"notes": row["notes"]}
                for row in self.rows
            ],
            "mean": _flat(means(self.rows, [NEAREST, *self.methods])),
            "refused": {str(path): reason for path, reason in self.refused.items()},
            "test_sets": [one | {"mean": _flat(one["mean"])} for one in self.summaries()],
        }
        with_null = json.loads(json.dumps(results), parse_constant=lambda infinity: None)
        return json.dumps(with_null, indent=2) + "\n"


def how_made(scale, networks, compared):
    """What made the pictures and the scores: dict, as results.json begins with it.

    `networks`: pictures, in words -> `utils.Network`; `compared`: another program -> its folder.
    """
    return {
        "scale": scale,
        "networks": [
            {
                "pictures": pictures,
                "weights": path.name,
                "weights_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                "parameters": upscaler.network.traits.parameters,
                "engine": str(upscaler.network),
                "precision": upscaler.precision,
                "self_ensemble": upscaler.self_ensemble,
            }
            for pictures, (path, _, upscaler) in networks.items()
        ],
        "channel": "Y of YCbCr (BT.601), not rounded; grey originals as they are",
        "border": scale,
        "compared": compared,
    }


def _flat(scores):
    """Scores by method as results.json has them: the network's, bicubic's, and others'."""
    flat = dict(scores.get(PREDICTION) or {})
    for method in BICUBIC, NEAREST:
        flat |= {f"{method}_{key}": value for key, value in (scores.get(method) or {}).items()}
    others = {name: score for name, score in scores.items() if name not in VIEWS}
    return flat | ({"compared": others} if others else {})
