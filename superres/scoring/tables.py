"""Results in tables, and in words: how they were made, and what is to be known of them."""

import html
import re

from superres.runtime.terminal import escaped
from superres.scoring.published import SOURCES
from superres.scoring.results import BICUBIC, PREDICTION, gain

PUBLISHED = "published"  # a column of the tables
MARKS = re.compile(r"[|<&`\[]")  # of Markdown


def markdown(text):
    """Text as it stands in Markdown: its marks, which names of files may have, escaped."""
    return MARKS.sub(r"\\\g<0>", escaped(text))


def _whole(one):
    """How many pictures a test set has, scored or not."""
    return one["pictures"] + one["refused"] + one["untried"]


def _cell(score):
    """PSNR and SSIM on Y, and PSNR over RGB, as far as they are there."""
    if not score:
        return "–"
    y = f"{score['psnr']:.2f} / {score['ssim']:.4f}" if "psnr" in score else "– / –"
    return y + (f" / {score['rgb_psnr']:.2f}" if "rgb_psnr" in score else "")


def summary_table(results):
    """A row for each test set of `Results`, with the published scores under it.

    Those stand under the network's, or in a column of their own where there is none. A table is a
    list of rows, each a list of texts; the first is the head.
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
    """The scores of each row of `Results`, with the gain of each method over bicubic."""
    others = [method for method in methods if method != BICUBIC]
    columns = (text for method in others for text in (method, "gain"))
    table = [["PSNR and SSIM on Y", BICUBIC, *columns]]
    for row in rows:
        bicubic = row["scores"].get(BICUBIC)
        cells = [row["name"], _pair(bicubic)]
        for score in map(row["scores"].get, others):
            more = f"{gain(score['psnr'], bicubic['psnr']):+.3f}" if score else "–"
            cells += [_pair(score), more]
        table.append(cells)
    return table


def _pair(score):
    return f"{score['psnr']:.3f} {score['ssim']:.4f}" if score else "–"


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
    lines = [f'<th scope="col">{html.escape(cell)}</th>' for cell in head]
    lines += ["</tr></thead><tbody>"]
    for first, *cells in body:
        kind = ' class="published"' if first.endswith(", published") else ""
        lines += [f'<tr><th scope="row">{html.escape(first)}</th>']
        cells = (html.escape(cell).replace(" / ", "\u00a0/ ") for cell in cells)  # ends a line
        lines += [f"<td{kind}>{cell}</td>" for cell in cells]
        lines += ["</tr>"]
    return "\n".join(["<table><thead><tr>", *lines, "</tbody></table>"])


def details(results):
    """The tables of the pictures of each test set, as Markdown."""
    texts = []
    for test_set, one in zip(results.test_sets, results.summaries(), strict=True):
        if rows := results.of(test_set):
            mean = {"name": f"mean of {len(rows)}", "scores": one["mean"]}
            table = picture_table([*rows, mean], results.methods)
            texts.append(f"{markdown(one['name'])}\n\n{as_markdown(table)}")
    return "\n\n".join(texts)


def document(results, made_by):
    """All that there is to read, as Markdown: tables, how they were made, notes."""
    how = "\n".join(f"- {markdown(text)}" for text in provenance(results, made_by))
    notes = "".join(f"- {markdown(text)}\n" for text in [*refusals(results), *results.notes()])
    notes = notes and f"\nNotes\n\n{notes}"
    return f"{as_markdown(summary_table(results))}\n\n{how}\n\n{details(results)}\n{notes}"


def shortened(texts, most=40):
    """The first texts of a list, and how many more there are."""
    more = len(texts) - most
    return [*texts[:most], *([f"{more} more in results.md"] if more > 0 else [])]


def refusals(results):
    """What was refused, and why: list of texts."""
    return [f"refused {path}: {reason}" for path, reason in results.refused.items()]


def provenance(results, made_by):
    """How the numbers of `Results` were made, as `how_made` says it: list of texts."""
    scale, summaries = made_by["scale"], results.summaries()
    texts = [
        f"Originals cropped to a multiple of {scale}; predictions rounded to 8 bits; {scale} "
        "pixels left out at each border; the mean of the pictures' own scores.",
        "PSNR in dB, with a peak of 255, and SSIM (Gaussian window of 11x11, sigma 1.5) on Y of "
        "YCbCr (BT.601, limited range, not rounded), and PSNR over RGB beside them. Grey "
        "originals are scored as they are, full range.",
    ]
    for one in made_by["networks"]:
        ensemble = "with" if one["self_ensemble"] else "without"
        texts.append(
            f"prediction of {one['pictures']}: {one['weights']} (SHA-256 "
            f"{one['weights_sha256'][:16]}...), {one['parameters']:,} parameters, "
            f"{one['precision']}, {ensemble} self-ensemble, {one['engine']}."
        )
    texts.append("bicubic: MATLAB's imresize of the LR picture.")
    texts += [f"{name}: pictures in {folder}." for name, folder in made_by["compared"].items()]
    for one in summaries:
        gaps = [(one["refused"], "were refused"), (one["untried"], "were left when it was stopped")]
        unlike = "are not in the mean, which is not comparable with published ones"
        gaps = [f"{n} of {_whole(one)} pictures {why} and {unlike}" for n, why in gaps if n]
        texts += [f"{one['name']}: {text}." for text in [_lr_text(one), *gaps, *_lacks(one)]]
    there = {method for one in summaries for method in one["published"]}
    return texts + [f"{name}, published: {SOURCES[name]}." for name in sorted(there)]


def warnings(one):
    """What must be known of a test set before its scores are compared: list of texts."""
    is_bicubic = one["given_lr"] == one["given_lr_equal_to_bicubic"]
    texts = _lacks(one) + ([] if is_bicubic else [_lr_text(one)])
    return [f"{one['name']}: {text}" for text in texts]


def _lacks(one):
    """Which methods have no mean, and why nothing published stands beside it."""
    texts = [
        f"{method} lacks {count} of {one['pictures']} pictures, so it has no mean"
        for method, count in one["missing"].items()
    ]
    if one["other_than"]:
        words = "as bicubic's PSNR shows, so nothing published stands beside it"
        texts.append(f"not the pictures of {one['other_than']}, {words}")
    return texts


def _lr_text(one):
    """Where the LR pictures of a test set come from."""
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
