"""Scores of test sets: their means, and tables of them in Markdown, HTML, JSON and CSV."""

import csv
import html
import io
import json
import math

import numpy as np

import testsets

KEYS = ("psnr", "ssim", "rgb_psnr")
BICUBIC, PREDICTION = "bicubic", "prediction"  # methods; others bear their folders' names


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
    others = [method for method in methods if method != BICUBIC]
    return PREDICTION if PREDICTION in others else (others or [BICUBIC])[0]


def mean(rows, method):
    """Mean of each score of a method over pictures.

    Args:
        rows: list of dicts with a dict `scores` of method -> scores.
        method: whose.

    Returns:
        dict of psnr, ssim and rgb_psnr: the mean of the pictures' own scores. A picture that
        was restored exactly has no finite PSNR and is left out of that mean; when all were,
        it is infinity. None when the method lacks one of the pictures: a mean of others would
        not be comparable.
    """
    if not rows or any(method not in row["scores"] for row in rows):
        return None
    result = {}
    for key in KEYS:
        values = [row["scores"][method][key] for row in rows]
        finite = [value for value in values if math.isfinite(value)]
        result[key] = float(np.mean(finite)) if finite else math.inf
    return result


def summarise(test_set, rows, methods, scale, given_lr):
    """What there is to say about a test set as a whole.

    Args:
        test_set: `testsets.TestSet`.
        rows: list of its pictures' dicts; those that were refused are not among them.
        methods: names of all methods.
        scale: of the enlargement.
        given_lr: how many given LR pictures there were, and how many of them are what
            MATLAB's bicubic makes of the original.

    Returns:
        dict; `mean` holds what `mean` returns, by method, and `published` what
        `testsets.published` returns.
    """
    # Else it would be compared with scores of other pictures.
    is_whole = len(rows) == len(test_set.pairs) and given_lr[0] == given_lr[1]
    return {
        "name": test_set.name,
        "folder": str(test_set.folder),
        "layout": test_set.layout,
        "pictures": len(rows),
        "refused": len(test_set.pairs) - len(rows),
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
        "mean": {method: mean(rows, method) for method in methods},
        "published": testsets.published(test_set.name, scale, len(rows)) if is_whole else {},
    }


def _is_exact(row, method):
    return method in row["scores"] and math.isinf(row["scores"][method]["rgb_psnr"])


def _cell(score):
    """PSNR and SSIM on Y, and PSNR over RGB, as far as they are there."""
    if not score:
        return "–"
    y = f"{number(score['psnr'], 2)} / {score['ssim']:.4f}" if "psnr" in score else "–"
    return y + (f" / {number(score['rgb_psnr'], 2)}" if "rgb_psnr" in score else "")


def summary_table(summaries, methods):
    """A row for each test set, with the published scores under it.

    Returns:
        List of rows, each a list of texts; the first is the head.
    """
    table = [["PSNR / SSIM on Y / PSNR over RGB", "pictures", *methods]]
    ours = methods.index(main_method(methods))
    for one in summaries:
        count = f"{one['pictures']}" + (
            f" of {one['pictures'] + one['refused']}" * (one["refused"] > 0)
        )
        table.append([one["name"], count, *(_cell(one["mean"][method]) for method in methods)])
        for method, score in one["published"].items():
            cells = [""] * len(methods)
            cells[ours] = _cell(score)
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
    means = {"name": f"mean of {len(rows)}", "scores": {}}
    for method in methods:
        if (score := mean(rows, method)) is not None:
            means["scores"][method] = score
    for row in [*rows, means]:
        found = row["scores"]
        cells = [row["name"].replace("\n", " "), _pair(found.get(BICUBIC))]
        for method in others:
            score = found.get(method)
            cells += [
                _pair(score),
                # Means that leave out different pictures have no difference.
                number(gain(score["psnr"], found[BICUBIC]["psnr"]), 3, "+")
                if score and (row is not means or _leaves_out_the_same(rows, method))
                else "–",
            ]
        table.append(cells)
    return table


def _leaves_out_the_same(rows, method):
    """Whether a method's mean PSNR is over the same pictures as bicubic's."""
    return all(_is_exact(row, method) == _is_exact(row, BICUBIC) for row in rows)


def _pair(score):
    return f"{number(score['psnr'], 3)} {score['ssim']:.4f}" if score else "–"


def as_markdown(table):
    """Rows of texts as a Markdown table whose columns are aligned, to be read as it is."""
    table = [[cell.replace("|", "\\|") for cell in row] for row in table]
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
        lines += [f"<td{kind}>{html.escape(cell)}</td>" for cell in cells]
        lines += ["</tr>"]
    return "\n".join([*lines, "</tbody></table>"])


def as_csv(rows, methods):
    """A line for each method of each picture, as CSV with a head; infinite PSNR is `inf`."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["test_set", "picture", "method", *KEYS])
    for row in rows:
        for method in methods:
            if score := row["scores"].get(method):
                values = [f"{score[key]:.6f}" for key in KEYS]
                writer.writerow([row["test_set"], row["name"], method, *values])
    return file.getvalue()


def _flat(found):
    """Scores by method as results.json has them: the network's, bicubic's, and others'."""
    flat = dict(found.get(PREDICTION) or {})
    flat |= {f"bicubic_{key}": value for key, value in (found.get(BICUBIC) or {}).items()}
    others = {name: score for name, score in found.items() if name not in (PREDICTION, BICUBIC)}
    return flat | ({"compared": others} if others else {})


def as_json(made_by, rows, summaries, methods):
    """All results as JSON text; an infinite PSNR, for which JSON has no word, becomes null.

    Args:
        made_by: dict of what made the pictures and the scores; it comes first.
        rows: list of dicts with test_set, name, scores and notes.
        summaries: as `summarise` makes them.
        methods: names of all methods.
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
        "mean": _flat({method: mean(rows, method) for method in methods}),
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
        "originals are scored as they are, full range. What else a picture needed is in its "
        "notes in results.json.",
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
        if one["refused"]:
            texts.append(
                f"{one['name']}: {one['refused']} of {one['pictures'] + one['refused']} pictures "
                "were refused and are not in the mean, which is not comparable with published ones."
            )
        for method, count in one["restored_exactly"].items():
            texts.append(
                f"{one['name']}, {method}: {count} restored exactly, left out of the mean PSNR "
                "(it would be infinite), not of SSIM's."
            )
        for method, count in one["missing"].items():
            texts.append(f"{one['name']}: {method} lacks {count} pictures, so it has no mean.")
        if "rgb_psnr" in next(iter(one["published"].values()), {}):
            texts.append(
                f"{one['name']}: the published PSNR leaves out {scale + 2} pixels at each border."
            )
    return texts


def warnings(one):
    """What must be known of a test set before its scores are compared: list of texts."""
    texts = [
        f"{one['name']}: {method} lacks {count} of {one['pictures']} pictures, so it has no mean"
        for method, count in one["missing"].items()
    ]
    if one["given_lr"] != one["given_lr_equal_to_bicubic"]:
        texts.append(_lr_text(one))
    return texts


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
