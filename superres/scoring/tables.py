"""Results as tables, with notes on how they were made and how far they compare."""

import html
import re

from superres.runtime.terminal import escaped
from superres.scoring.published import SOURCES
from superres.scoring.results import BICUBIC, PREDICTION, gain

PUBLISHED = "published"  # name of a column
MARKS = re.compile(r"[|<&`\[]")  # of Markdown
MAX_LINES = 40  # in a list of texts


def markdown(text):
    """Escapes the marks of Markdown, which file names may contain."""
    return MARKS.sub(r"\\\g<0>", escaped(text))


def _whole(one):
    """Number of pictures of a test set, scored or not."""
    return one["pictures"] + one["refused"] + one["untried"]


def _cell(score):
    if not score:
        return "–"
    y = f"{score['psnr']:.2f} / {score['ssim']:.4f}" if "psnr" in score else "– / –"
    return y + (f" / {score['rgb_psnr']:.2f}" if "rgb_psnr" in score else "")


def summary_table(results):
    """Means of each test set, and published scores below them: list of rows, the head first.

    Published scores are in the network's column, or, without one, in a column of their own.
    """
    methods, summaries = results.methods, results.summaries()
    if PREDICTION not in methods and any(one["published"] for one in summaries):
        methods = [*methods, PUBLISHED]
    table = [["PSNR / SSIM on Y / PSNR over RGB", "pictures", *methods]]
    under = methods.index(PREDICTION if PREDICTION in methods else methods[-1])
    for one in summaries:
        count, whole = one["pictures"], _whole(one)
        cells = ["" if name == PUBLISHED else _cell(one["mean"][name]) for name in methods]
        name = one["name"] + (f", LR {one['degradation']}" if one["degradation"] else "")
        table.append([name, f"{count} of {whole}" if whole > count else str(count), *cells])
        for method, score in one["published"].items():
            cells = [_cell(score) if n == under else "" for n in range(len(methods))]
            table.append([f"{one['name']}, {method}, published", "", *cells])
    return table


def picture_table(rows, methods):
    """The scores of each picture, and the gain of each method over bicubic."""
    others = [method for method in methods if method != BICUBIC]
    columns = (text for method in others for text in (method, "gain"))
    table = [["PSNR and SSIM on Y", BICUBIC, *columns]]
    for row in rows:
        bicubic = row["scores"].get(BICUBIC)
        cells = [row["name"], _pair(bicubic)]
        for score in map(row["scores"].get, others):
            cells += [_pair(score)]
            cells += [f"{gain(score['psnr'], bicubic['psnr']):+.3f}" if score else "–"]
        table.append(cells)
    return table


def _pair(score):
    return f"{score['psnr']:.3f} {score['ssim']:.4f}" if score else "–"


def as_markdown(table):
    """A table in Markdown, with aligned columns, to be read as it is."""
    table = [[markdown(cell) for cell in row] for row in table]
    widths = [max(len(row[n]) for row in table) for n in range(len(table[0]))]

    def line(row):
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        return f"| {' | '.join(cells)} |"

    rule = [":" + "-" * (widths[0] - 1), *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([line(table[0]), line(rule), *map(line, table[1:])])


def as_html(table):
    """A table in HTML."""
    head, *body = table
    lines = [f'<th scope="col">{html.escape(cell)}</th>' for cell in head]
    lines += ["</tr></thead><tbody>"]
    for first, *cells in body:
        kind = ' class="published"' if first.endswith(", published") else ""
        lines += [f'<tr><th scope="row">{html.escape(first)}</th>']
        cells = (html.escape(cell).replace(" / ", "\u00a0/ ") for cell in cells)  # breaks after /
        lines += [f"<td{kind}>{cell}</td>" for cell in cells]
        lines += ["</tr>"]
    return "\n".join(["<table><thead><tr>", *lines, "</tbody></table>"])


def details(results):
    """A table of pictures for each test set, as Markdown."""
    texts = []
    for test_set, one in zip(results.test_sets, results.summaries(), strict=True):
        if rows := results.rows_of(test_set):
            mean = {"name": f"mean of {len(rows)}", "scores": one["mean"]}
            table = picture_table([*rows, mean], results.methods)
            texts.append(f"{markdown(one['name'])}\n\n{as_markdown(table)}")
    return "\n\n".join(texts)


def document(results, setup):
    """Tables, how they were made, and notes, as Markdown."""
    how = "\n".join(f"- {markdown(text)}" for text in provenance(results, setup))
    notes = "".join(f"- {markdown(text)}\n" for text in [*refusals(results), *results.notes()])
    notes = notes and f"\nNotes\n\n{notes}"
    return f"{as_markdown(summary_table(results))}\n\n{how}\n\n{details(results)}\n{notes}"


def shortened(texts, count=MAX_LINES):
    """The first `count` texts, and the number of those left out."""
    more = len(texts) - count
    return [*texts[:count], *([f"{more} more in results.md"] if more > 0 else [])]


def refusals(results):
    """Refused pictures with reasons: list of texts."""
    return [f"refused {path}: {reason}" for path, reason in results.refused.items()]


def provenance(results, setup):
    """How the scores were made, by `setup_of`: list of texts."""
    scale, summaries = setup["scale"], results.summaries()
    texts = [
        f"Originals cropped to a multiple of {scale}; predictions rounded to 8 bits; {scale} "
        "pixels left out at each border; the mean of the pictures' own scores.",
        "PSNR in dB, with a peak of 255, and SSIM (Gaussian window of 11x11, sigma 1.5) on Y of "
        "YCbCr (BT.601, limited range, not rounded), and PSNR over RGB beside them. Grey "
        "originals are scored as they are, full range.",
    ]
    for one in setup["networks"]:
        ensemble = "with" if one["self_ensemble"] else "without"
        mix = f", sharpness {one['sharpness']:g}" if "sharpness" in one else ""
        texts.append(
            f"prediction of {one['pictures']}: {one['weights']} (SHA-256 "
            f"{one['weights_sha256'][:16]}...){mix}, {one['parameters']:,} parameters, "
            f"{one['precision']}, {ensemble} self-ensemble, {one['engine']}."
        )
    texts.append("bicubic: MATLAB's imresize of the LR picture.")
    texts += [f"{name}: pictures in {folder}." for name, folder in setup["compared"].items()]
    for one in summaries:
        gaps = [(one["refused"], "were refused"), (one["untried"], "were left when it was stopped")]
        unlike = "are not in the mean, which is not comparable with published ones"
        gaps = [f"{n} of {_whole(one)} pictures {why} and {unlike}" for n, why in gaps if n]
        texts += [f"{one['name']}: {text}." for text in [_lr_text(one), *gaps, *_lacks(one)]]
    methods = {method for one in summaries for method in one["published"]}
    return texts + [f"{name}, published: {SOURCES[name]}." for name in sorted(methods)]


def warnings(one):
    """Why the scores of a test set are not comparable with others: list of texts."""
    is_bicubic = one["given_lr"] == one["given_lr_equal_to_bicubic"]
    texts = _lacks(one) + ([] if is_bicubic else [_lr_text(one)])
    return [f"{one['name']}: {text}" for text in texts]


def _lacks(one):
    """Which methods have no mean, and why published scores are missing."""
    texts = [
        f"{method} lacks {count} of {one['pictures']} pictures, so it has no mean"
        for method, count in one["missing"].items()
    ]
    if one["other_than"]:
        words = "as bicubic's PSNR shows, so nothing published stands beside it"
        texts.append(f"not the pictures of {one['other_than']}, {words}")
    return texts


def _lr_text(one):
    """The origin of a test set's LR pictures."""
    given, equal = one["given_lr"], one["given_lr_equal_to_bicubic"]
    unlike = "so scores are not comparable with those of bicubic LR pictures"
    if one["degradation"]:
        text = f"degraded by {one['degradation']}, {unlike}"
    elif not given:
        text = "made here by MATLAB's bicubic imresize, bit for bit"
    elif given == equal:
        text = "as given, bit for bit what MATLAB's bicubic makes of the originals"
    else:
        others = f"{given - equal} of {given} are not what MATLAB's bicubic makes of the originals"
        text = f"as given; {others}, {unlike}"
    return f"{one['folder']} ({one['layout']}). LR {text}"
