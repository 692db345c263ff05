"""Scores of test sets: their means, and tables of them in Markdown, HTML, JSON and CSV."""

import csv
import html
import io
import json
import math
import re

import numpy as np

from superres.runtime.terminal import printable
from superres.scoring import testsets

KEYS = ("psnr", "ssim", "rgb_psnr")
# Views of a picture; those of other programs bear the names of their folders.
NEAREST, BICUBIC, PREDICTION, ORIGINAL = "nearest", "bicubic", "prediction", "original"
PUBLISHED = "published"  # a column of the tables
MARKS = re.compile(r"[|<&`\[]")  # of Markdown


def markdown(text):
    """Text as it stands in Markdown: its marks, which names of files may have, escaped."""
    return MARKS.sub(r"\\\g<0>", printable(text))


def number(value, digits, sign=""):
    """A score as text; infinity, of a picture restored exactly, as ∞."""
    if math.isinf(value):
        return "−∞" if value < 0 else f"{sign}∞"
    return f"{value:{sign}.{digits}f}"


def gain(score, reference):
    """How much higher one PSNR is than another, in dB; 0 where both are infinite."""
    return 0.0 if score == reference else score - reference


def main_method(methods):
    """Whose gain over bicubic counts: the network's, else another program's, else bicubic."""
    others = [method for method in methods if method not in (NEAREST, BICUBIC)]
    return PREDICTION if PREDICTION in others else (others or [BICUBIC])[0]


def means(rows, methods):
    """Mean scores of methods over pictures.

    Args:
        rows: list of dicts with a dict `scores` of method -> scores.
        methods: their names.

    Returns:
        dict of method -> dict of psnr, ssim and rgb_psnr, the means of the pictures' own
        scores; or None for a method that lacks one of the pictures, for a mean of others would
        not be comparable. A picture that the method restored exactly has no finite PSNR and is
        left out of that mean; when all were, it is infinity.
    """
    result = {}
    for method in methods:
        if not rows or any(method not in row["scores"] for row in rows):
            result[method] = None
            continue
        result[method] = {}
        for key in KEYS:
            values = [row["scores"][method][key] for row in rows]
            finite = [value for value in values if math.isfinite(value)]
            result[method][key] = float(np.mean(finite)) if finite else math.inf
    return result


def summarise(test_set, rows, methods, scale, given_lr, untried=0):
    """What there is to say about a test set as a whole.

    Args:
        test_set: `testsets.TestSet`.
        rows: list of its pictures' dicts; those that were refused are not among them.
        methods: names of all methods.
        scale: of the enlargement.
        given_lr: how many given LR pictures there were, and how many of them are what
            MATLAB's bicubic makes of the original.
        untried: how many pictures were left when it was stopped.

    Returns:
        dict; `mean` holds what `means` returns, and `published` what `testsets.published`
        returns.
    """
    # Else it would be compared with scores of other pictures.
    is_whole = len(rows) == len(test_set.pairs) and given_lr[0] == given_lr[1]
    mean = means(rows, [NEAREST, *methods])
    known = test_set.known if is_whole and testsets.COUNTS.get(test_set.known) == len(rows) else ""
    published = testsets.published(known, scale, mean[BICUBIC]) if known else {}
    return {
        "name": test_set.name,
        "folder": str(test_set.folder),
        "layout": test_set.layout,
        "pictures": len(rows),
        "refused": len(test_set.pairs) - len(rows) - untried,
        "untried": untried,
        "given_lr": given_lr[0],
        "given_lr_equal_to_bicubic": given_lr[1],
        "restored_exactly": {
            method: count
            for method in methods
            if (count := sum(_is_exact(row, method) for row in rows))
        },
        "missing": {
            method: count
            for method in methods
            if (count := sum(method not in row["scores"] for row in rows))
        },
        "mean": mean,
        "published": published,
        "other_than": "" if published else known,
    }


def _whole(one):
    """How many pictures a test set has, scored or not."""
    return one["pictures"] + one["refused"] + one["untried"]


def _is_exact(row, method):
    return method in row["scores"] and math.isinf(row["scores"][method]["rgb_psnr"])


def _cell(score, mark=""):
    """PSNR and SSIM on Y, and PSNR over RGB, as far as they are there; a mark at the PSNRs."""
    if not score:
        return "–"
    y = "– / –"
    if "psnr" in score:
        y = f"{number(score['psnr'], 2)}{mark} / {score['ssim']:.4f}"
    return y + (f" / {number(score['rgb_psnr'], 2)}{mark}" if "rgb_psnr" in score else "")


def _mark(count, pictures):
    """A star where a mean PSNR leaves out what was restored exactly: `count` of the pictures."""
    return "*" if 0 < count < pictures else ""


def summary_table(summaries, methods):
    """A row for each test set, with the published scores under it.

    Those stand under the network's, or in a column of their own where there is none.

    Returns:
        List of rows, each a list of texts; the first is the head.
    """
    if PREDICTION not in methods and any(one["published"] for one in summaries):
        methods = [*methods, PUBLISHED]
    table = [["PSNR / SSIM on Y / PSNR over RGB", "pictures", *methods]]
    under = methods.index(PREDICTION if PREDICTION in methods else methods[-1])
    for one in summaries:
        count = str(one["pictures"])
        if _whole(one) > one["pictures"]:
            count += f" of {_whole(one)}"
        cells = (
            _cell(
                one["mean"][name],
                _mark(one["restored_exactly"].get(name, 0), one["pictures"]),
            )
            if name in one["mean"]
            else ""
            for name in methods
        )
        table.append([one["name"], count, *cells])
        for method, score in one["published"].items():
            cells = [""] * len(methods)
            cells[under] = _cell(score)
            table.append([f"{one['name']}, {method}, published", "", *cells])
    return table


def picture_table(rows, methods):
    """A row for each picture, and their mean, with the gain of each method over bicubic.

    Returns:
        List of rows, each a list of texts; the first is the head.
    """
    others = [method for method in methods if method != BICUBIC]
    head = ["PSNR and SSIM on Y", BICUBIC]
    for method in others:
        head += [method, "gain"]
    table = [head]
    mean = {"name": f"mean of {len(rows)}", "scores": means(rows, methods)}
    exactly = {
        name: _mark(sum(_is_exact(row, name) for row in rows), len(rows)) for name in methods
    }
    for row in [*rows, mean]:
        found = row["scores"]
        marks = exactly if row is mean else dict.fromkeys(methods, "")
        cells = [row["name"], _pair(found.get(BICUBIC), marks[BICUBIC])]
        for method in others:
            score = found.get(method)
            has_gain = score and (row is not mean or _are_comparable(rows, method))
            difference = has_gain and gain(score["psnr"], found[BICUBIC]["psnr"])
            cells += [_pair(score, marks[method]), number(difference, 3, "+") if has_gain else "–"]
        table.append(cells)
    return table


def _are_comparable(rows, method):
    """Whether a method's mean PSNR and bicubic's are not over different pictures."""
    ours, theirs = ([_is_exact(row, name) for row in rows] for name in (method, BICUBIC))
    return ours == theirs or all(ours) or all(theirs)


def _pair(score, mark):
    return f"{number(score['psnr'], 3)}{mark} {score['ssim']:.4f}" if score else "–"


def as_markdown(table):
    """Rows of texts as a Markdown table whose columns are aligned, to be read as it is."""
    table = [[markdown(cell) for cell in row] for row in table]
    widths = [max(len(row[n]) for row in table) for n in range(len(table[0]))]

    def line(row):
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        return f"| {' | '.join(cells)} |"

    rule = [":" + "-" * (widths[0] - 1), *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([line(table[0]), line(rule), *map(line, table[1:])])


def as_html(table):
    """Rows of texts as an HTML table."""
    head, *body = table
    lines = ["<table><thead><tr>"]
    lines += [f'<th scope="col">{html.escape(cell)}</th>' for cell in head]
    lines += ["</tr></thead><tbody>"]
    for first, *cells in body:
        kind = ' class="published"' if first.endswith(", published") else ""
        lines += [f'<tr><th scope="row">{html.escape(first)}</th>']
        cells = (html.escape(cell).replace(" / ", "\u00a0/ ") for cell in cells)  # ends a line
        lines += [f"<td{kind}>{cell}</td>" for cell in cells]
        lines += ["</tr>"]
    return "\n".join([*lines, "</tbody></table>"])


def as_csv(rows, methods):
    """A line for nearest and each method of each picture, as CSV; infinite PSNR is `inf`."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["test_set", "picture", "method", *KEYS])
    for row in rows:
        for method in (NEAREST, *methods):
            if score := row["scores"].get(method):
                values = [f"{score[key]:.6f}" for key in KEYS]
                writer.writerow([row["test_set"], row["name"], method, *values])
    return file.getvalue()


def _flat(found):
    """Scores by method as results.json has them: the network's, bicubic's, and others'."""
    flat = dict(found.get(PREDICTION) or {})
    for method in BICUBIC, NEAREST:
        flat |= {f"{method}_{key}": value for key, value in (found.get(method) or {}).items()}
    own = (PREDICTION, BICUBIC, NEAREST)
    others = {name: score for name, score in found.items() if name not in own}
    return flat | ({"compared": others} if others else {})


def as_json(made_by, rows, summaries, methods, refused):
    """All results as JSON text; an infinite PSNR, for which JSON has no word, becomes null.

    Args:
        made_by: dict of what made the pictures and the scores; it comes first.
        rows: list of dicts with test_set, name, scores and notes.
        summaries: as `summarise` makes them.
        methods: names of all methods.
        refused: dict of path -> reason.
    """

    def finite(value):
        if isinstance(value, dict):
            return {key: finite(item) for key, item in value.items()}
        if isinstance(value, list):
            return [finite(item) for item in value]
        return None if isinstance(value, float) and math.isinf(value) else value

    results = {
        **made_by,
        "images": [
            {"name": row["name"], "test_set": row["test_set"]}
            | _flat(row["scores"])
            | {"notes": row["notes"]}
            for row in rows
        ],
        "mean": _flat(means(rows, [NEAREST, *methods])),
        "refused": refused,
        "test_sets": [one | {"mean": _flat(one["mean"])} for one in summaries],
    }
    return json.dumps(finite(results), indent=2, allow_nan=False) + "\n"


def provenance(made_by, summaries):
    """How the numbers were made: list of texts."""
    scale = made_by["scale"]
    texts = [
        f"Originals cropped to a multiple of {scale}; predictions rounded to 8 bits; {scale} "
        "pixels left out at each border; the mean of the pictures' own scores.",
        "PSNR in dB, with a peak of 255, and SSIM (Gaussian window of 11x11, sigma 1.5) on Y of "
        "YCbCr (BT.601, limited range, not rounded), and PSNR over RGB beside them. Grey "
        "originals are scored as they are, full range.",
    ]
    if made_by["weights"]:
        ensemble = "with" if made_by["self_ensemble"] else "without"
        texts.append(
            f"prediction: {made_by['weights']} (SHA-256 {made_by['weights_sha256'][:16]}...), "
            f"{made_by['parameters']:,} parameters, {made_by['precision']}, {ensemble} "
            f"self-ensemble, {made_by['backend']}."
        )
    texts.append("bicubic: MATLAB's imresize of the LR picture.")
    texts += [f"{name}: pictures in {folder}." for name, folder in made_by["compared"].items()]
    for one in summaries:
        texts.append(_lr_text(one))
        for what in "refused", "untried":
            if one[what]:
                text = "were refused" if what == "refused" else "were left when it was stopped"
                texts.append(
                    f"{one['name']}: {one[what]} of {_whole(one)} pictures {text} and are not in "
                    "the mean, which is not comparable with published ones."
                )
        texts += [f"{text}." for text in _exact_texts(one)]
        for method, count in one["missing"].items():
            texts.append(f"{one['name']}: {method} lacks {count} pictures, so it has no mean.")
        texts += [f"{text}." for text in _other_texts(one)]
        if "rgb_psnr" in next(iter(one["published"].values()), {}):
            texts.append(
                f"{one['name']}: the published PSNR leaves out {scale + 2} pixels at each border."
            )
    there = {method for one in summaries for method in one["published"]}
    texts += [f"{name}, published: {testsets.SOURCES[name]}." for name in sorted(there)]
    return texts


def warnings(one):
    """What must be known of a test set before its scores are compared: list of texts."""
    texts = [
        f"{one['name']}: {method} lacks {count} of {one['pictures']} pictures, so it has no mean"
        for method, count in one["missing"].items()
    ]
    texts += [*_exact_texts(one), *_other_texts(one)]
    if one["given_lr"] != one["given_lr_equal_to_bicubic"]:
        texts.append(_lr_text(one))
    return texts


def _exact_texts(one):
    """Which methods restored pictures exactly, and what becomes of their means."""
    return [
        f"{one['name']}, {method}: all {count} restored exactly"
        if count == one["pictures"]
        else f"{one['name']}, {method}: {count} of {one['pictures']} restored exactly and left out "
        "of its mean PSNR (*), which would be infinite: not comparable with the others'"
        for method, count in one["restored_exactly"].items()
    ]


def _other_texts(one):
    """That pictures in a folder of a known name are not those that others have scored."""
    if not one["other_than"]:
        return []
    return [
        f"{one['name']}: not the pictures of {one['other_than']}, as bicubic's PSNR shows, so "
        "nothing published stands beside it"
    ]


def _lr_text(one):
    """Where the LR pictures of a test set come from."""
    text = f"{one['name']}: {one['folder']} ({one['layout']}). LR "
    given, equal = one["given_lr"], one["given_lr_equal_to_bicubic"]
    if not given:
        return text + "made here by MATLAB's bicubic imresize, bit for bit."
    if given == equal:
        return text + "as given, bit for bit what MATLAB's bicubic makes of the originals."
    return text + (
        f"as given; {given - equal} of {given} are not what MATLAB's bicubic makes of the "
        "originals, so scores are not comparable with those of bicubic LR pictures."
    )
