"""Scores of pictures, and a summary of each test set."""

import csv
import hashlib
import io
import json
from collections import Counter

import numpy as np

from superres.scoring.published import PICTURES, published

KEYS = ("psnr", "ssim", "rgb_psnr")
# Views of a picture; other programs' are named by their folders.
VIEWS = NEAREST, BICUBIC, PREDICTION, ORIGINAL = "nearest", "bicubic", "prediction", "original"


def gain(score, reference):
    """By how many dB one PSNR is higher; 0 if both are infinite."""
    return 0.0 if score == reference else score - reference


def main_method(methods):
    """The first of the network, other programs and bicubic that is among the methods."""
    others = [method for method in methods if method not in (NEAREST, BICUBIC)]
    return PREDICTION if PREDICTION in others else (others or [BICUBIC])[0]


def means(rows, methods):
    """method -> dict of mean scores; `None` if it lacks a picture: it would not be comparable."""
    result = dict.fromkeys(methods)
    for method in methods:
        scores = [row["scores"].get(method) for row in rows]
        if scores and all(scores):
            result[method] = {key: float(np.mean([one[key] for one in scores])) for key in KEYS}
    return result


class Results:
    """Scores of the pictures of test sets; `methods` are all but nearest neighbour."""

    def __init__(self, test_sets, methods, scale, degradation=""):
        self.test_sets, self.methods, self.scale = test_sets, methods, scale
        self.degradation = degradation  # name; empty: none
        self.rows = []  # a dict for each picture
        self.refused = {}  # path -> reason
        self.faults = set()  # places in our code where faults were raised
        self._failed = Counter()  # pictures by test set

    def add(self, test_set, pair, restoration):
        """Adds the `Restoration` of a picture."""
        self.refused |= restoration.refused
        self.rows.append(
            {
                "test_set": test_set.name,
                "name": pair.name.as_posix(),
                "scores": restoration.scores,
                "notes": restoration.notes,
                "is_bicubic": restoration.is_bicubic,
            }
        )

    def refuse(self, test_set, pair, error):
        """Notes why a picture cannot be scored."""
        self.refused[pair.hr] = str(error)
        self._failed[test_set.name] += 1

    def rows_of(self, test_set):
        """The rows of a test set."""
        return [row for row in self.rows if row["test_set"] == test_set.name]

    def notes(self):
        """What was changed in which picture: list of texts."""
        rows = self.rows
        return [f"{r['test_set']}, {r['name']}: {note}" for r in rows for note in r["notes"]]

    def summaries(self):
        """A dict for each test set, as results.json has it."""
        return [self._summary(one) for one in self.test_sets]

    def _summary(self, test_set):
        rows, benchmark = self.rows_of(test_set), test_set.benchmark
        given = [row["is_bicubic"] for row in rows if row["is_bicubic"] is not None]
        mean = means(rows, [NEAREST, *self.methods])
        # Published scores are comparable only for all pictures, and bicubic LR pictures.
        is_whole = len(rows) == len(test_set.pairs) == PICTURES.get(benchmark) and all(given)
        others = published(benchmark, self.scale, mean[BICUBIC]) if is_whole else {}
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
            "other_than": benchmark if is_whole and not others else "",
        }

    def as_csv(self):
        """CSV with a line for each picture and method; infinite PSNR is `inf`."""
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["test_set", "picture", "method", *KEYS])
        for row in self.rows:
            for method in (NEAREST, *self.methods):
                if score := row["scores"].get(method):
                    values = [f"{score[key]:.6f}" for key in KEYS]
                    writer.writerow([row["test_set"], row["name"], method, *values])
        return file.getvalue()

    def as_json(self, setup):
        """All results as JSON text; infinity, which JSON lacks, is null."""
        results = {
            **setup,
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


def setup_of(scale, networks, programs):
    """What made the scores: `networks` by kind of pictures, and folders of `programs` by name."""

    def digest(path):
        return hashlib.sha256(path.read_bytes()).hexdigest()

    return {
        "scale": scale,
        "networks": [
            {
                "pictures": pictures,
                "weights": path.name,
                "weights_sha256": digest(path),
                "parameters": upscaler.network.traits.parameters,
                "engine": str(upscaler.network),
                "precision": upscaler.precision,
                "self_ensemble": upscaler.self_ensemble,
                **({"sharpness": mix[1], "sharp_sha256": digest(mix[0])} if mix else {}),
            }
            for pictures, (path, _, upscaler, mix) in networks.items()
        ],
        "channel": "Y of YCbCr (BT.601), not rounded; grey originals as they are",
        "border": scale,
        "compared": programs,
    }


def _flat(scores):
    """Scores by method as results.json has them: flat, but for those of other programs."""
    flat = dict(scores.get(PREDICTION) or {})
    for method in BICUBIC, NEAREST:
        flat |= {f"{method}_{key}": value for key, value in (scores.get(method) or {}).items()}
    others = {name: score for name, score in scores.items() if name not in VIEWS}
    return flat | ({"compared": others} if others else {})
