"""Scores trained weights by the protocol of the super-resolution literature.

`python evaluate.py` reduces every picture in evaluation/original, restores it, prints PSNR
and SSIM beside those of bicubic enlargement, and writes
  evaluation/report.html    a page with sliders, zoom and maps of the error: look at it first
  evaluation/results.md     the tables; also results.json, with all there is, and results.csv
  evaluation/output         the restored pictures
  evaluation/Combined       original, nearest neighbour and prediction side by side
  evaluation/figures        for each picture the detail where the prediction gains most

`python evaluate.py FOLDER ...` takes others: folders of originals, single originals, or test
sets as they are distributed (HR and LR/x2; GTmod12 and LRbicx2; image_SRF_2; DIV2K), or a folder
of such ones. `--compare FOLDER` adds the pictures of another program.

The protocol: HR cropped to a multiple of the scale; LR by MATLAB's bicubic `imresize`; the
prediction rounded to uint8; scores on Y of YCbCr, not rounded; `scale` pixels shaved from
each border; the mean of the pictures' scores.

Exit code 0: every picture is scored. 1: some were refused, each named with its reason, of the
originals or of those to compare. 2: it could not start, or not write its results. 130: stopped by
Ctrl-C or SIGTERM; what was scored until then is written.
"""

import hashlib
import sys
import threading
from dataclasses import replace
from pathlib import Path

import utils
from superres.runtime import backend, command, settings
from superres.runtime.files import check_writable, replacing
from superres.runtime.terminal import printable, progress, shown
from superres.scoring import tables, testsets
from superres.scoring.compare import find_compared
from superres.scoring.page import Report
from superres.scoring.restore import places_of, restore, write_pictures

# ------------------------------------------------------------------- settings ----
FOLDER = "evaluation/original"  # HR pictures or test sets: a folder or picture, or a list
WEIGHTS = ""  # .keras file, which also says the scale; empty: that of output.py; none: none
NETWORK = "auto"  # large, small, or auto: large on a GPU, small on a CPU; where WEIGHTS is empty
SCALE = 0  # 2, 3 or 4; 0: that of the weights
COMPARE = ""  # folder of another program's pictures, by the same names, or a list of folders
PICTURES = True  # write the page and the pictures, and not only the tables
SELF_ENSEMBLE = False  # average over eight flips and turns: a little better, 8 times slower
PRECISION = "float32"  # or bfloat16, or auto: bfloat16 where the hardware has it
TILE_SIZE = 0  # LR pixels a side computed at once; 0: by the memory that is free
# ---------------------------------------------------------------------------------

RESULTS = Path("evaluation")
PICTURE_FOLDERS = ("output", "Combined", "figures")  # in it
NO_WEIGHTS = "none"
MOST_LINES = 40  # pictures, or notes, up to which each is printed


def find_test_sets(places, scale):
    """The test sets in several folders, and single pictures, each under a name of its own.

    What earlier runs have written into a folder is none of its pictures.

    Raises:
        ValueError, OSError: as `testsets.find`.
    """
    singles = [place for place in places if Path(place).is_file()]
    searched = []
    for place in (place for place in places if not Path(place).is_file()):
        sets = testsets.find(place, scale)
        own = [] if _is_written(Path(place)) else [_without_results(one) for one in sets]
        searched += [one for one in own if one.pairs] or sets
    searched += [testsets.of_pictures(singles)] if singles else []
    found = []
    for one in searched:
        names = {other.name for other in found}
        name, number = one.name, 1
        while name in names:
            number += 1
            name = f"{one.name}-{number}"
        found.append(replace(one, name=name))
    return found


def _is_written(path):
    """Whether a path is in one of the folders that this program fills."""
    path = path.resolve()
    return any(path.is_relative_to((RESULTS / kind).resolve()) for kind in PICTURE_FOLDERS)


def _without_results(one):
    """A test set without the pictures that this program wrote."""
    pairs = [pair for pair in one.pairs if not _is_written(pair.hr)]
    if len(pairs) == len(one.pairs):
        return one
    layout = f"{one.layout}; what earlier runs wrote into {RESULTS}, left out"
    return replace(one, pairs=pairs, layout=layout)


def check_sources(test_sets, compared):
    """Raises ValueError where pictures would be replaced that are to be scored or compared."""
    paths = [path for one in test_sets for pair in one.pairs for path in (pair.hr, pair.lr) if path]
    paths += [
        path for sets in compared.values() for found in sets.values() for path in found.values()
    ]
    for path in paths:
        if _is_written(path):
            raise ValueError(
                f"{path}: lies where the pictures are written; move it elsewhere, or write only "
                "the tables with --no-pictures"
            )


def methods_of(upscaler, compared):
    """Names of what is scored: bicubic, the network's prediction and other programs."""
    return [tables.BICUBIC, *([tables.PREDICTION] if upscaler else []), *(compared or ())]


def evaluate(test_sets, scale, upscaler=None, compared=None, folder=None, page=None, stop=None):
    """Scores a network, bicubic enlargement and other programs' pictures by the same code.

    Args:
        test_sets: list of `testsets.TestSet`.
        scale: 2, 3 or 4.
        upscaler: as `utils.load` returns it; None for none.
        compared: as `find_compared` returns it; None for none.
        folder: where pictures are written; None for none.
        page: `Report` to which the pictures are added; None for none.
        stop: `threading.Event`: where it is set, the pictures that are left are not tried.

    Returns:
        List of dicts with test_set, name, scores (nearest and methods -> what `metrics.score`
        returns) and notes, one for each picture; list of what `scores.summarise` returns, one
        for each test set; dict of refused path -> reason.
    """
    compared = compared or {}
    methods = methods_of(upscaler, compared)
    stop = stop or threading.Event()
    all_rows, summaries, refused = [], [], {}
    places = places_of(test_sets)

    def score(test_set, pair, given_lr):
        """The row of one picture, whose pictures are written; None when it is refused."""
        results = {
            name: found[test_set.name][pair.name]
            for name, found in compared.items()
            if pair.name in found[test_set.name]
        }
        try:
            restored = restore(pair, scale, upscaler, results)
        except ValueError as error:
            refused[pair.hr] = str(error)
            return None
        refused.update(restored.left_out)
        place, shown = places[test_set.name, pair.name]
        try:
            if folder:
                write_pictures(folder, place, pair.name.name, restored, scale)
            if page:
                page.add(shown, restored, scale)
        except (ValueError, OSError) as error:  # its name, or its shape
            refused[pair.hr] = f"scored, but not all of its pictures were written: {error}"
        if pair.lr:
            given_lr.append(restored.is_bicubic)
        return {
            "test_set": test_set.name,
            "name": pair.name.as_posix(),
            "scores": restored.scores,
            "notes": restored.notes,
        }

    count = sum(len(one.pairs) for one in test_sets)
    with progress(total=count, desc="scoring", unit="picture", leave=False) as bar:
        for test_set in test_sets:
            rows, given_lr, tried = [], [], 0
            for pair in test_set.pairs:
                if stop.is_set():
                    break
                row = score(test_set, pair, given_lr)
                rows += [row] if row else []
                tried += 1
                bar.update()
            counts, untried = (len(given_lr), sum(given_lr)), len(test_set.pairs) - tried
            summaries.append(tables.summarise(test_set, rows, methods, scale, counts, untried))
            all_rows += rows
    return all_rows, summaries, refused


def how_it_was_made(scale, weights, upscaler, compared):
    """What made the pictures and the scores: dict, as results.json begins with it.

    Args:
        scale: 2, 3 or 4.
        weights: path of the network's file, or None.
        upscaler: as `utils.load` returns it, or None.
        compared: dict of another program's name -> folder of its pictures.
    """
    made_by = {"scale": scale, "weights": None}
    if upscaler:
        made_by = {
            "scale": scale,
            "weights": weights.name,
            "weights_sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
            "parameters": upscaler.parameters,
            "precision": upscaler.precision,
            "self_ensemble": upscaler.self_ensemble,
            "backend": backend.describe(),
        }
    return made_by | {
        "channel": "Y of YCbCr (BT.601), not rounded; grey originals as they are",
        "border": scale,
        "compared": compared,
    }


def pictures_in_words(count):
    """How many pictures there are."""
    return f"{count} picture" + "s" * (count != 1)


def notes_of(rows):
    """What had to be changed in which picture: list of texts."""
    return [f"{row['test_set']}, {row['name']}: {note}" for row in rows for note in row["notes"]]


def tables_of(rows, summaries, methods):
    """The table of the test sets, and those of their pictures, as Markdown.

    Args:
        rows, summaries: as `evaluate` returns them.
        methods: names of all methods.
    """
    pictures = {
        one["name"]: tables.picture_table(
            [row for row in rows if row["test_set"] == one["name"]], methods
        )
        for one in summaries
        if one["pictures"]
    }
    details = "\n\n".join(
        f"{tables.markdown(name)}\n\n{tables.as_markdown(t)}" for name, t in pictures.items()
    )
    return tables.as_markdown(tables.summary_table(summaries, methods)), details


def write_results(folder, made_by, rows, summaries, refused, methods, page):
    """Writes the tables and the page.

    Args:
        folder: where.
        made_by: as `how_it_was_made` returns it.
        rows, summaries, refused: as `evaluate` returns them.
        methods: names of all methods.
        page: `Report` of these rows, or None.

    Raises:
        OSError: one of them cannot be written; those before it are.
    """
    summary, details = tables_of(rows, summaries, methods)
    how = tables.provenance(made_by, summaries)
    lines = "\n".join(f"- {tables.markdown(text)}" for text in how)
    refused = {str(path): reason for path, reason in refused.items()}
    refusals = [f"refused {path}: {reason}" for path, reason in refused.items()]
    notes = "".join(f"- {tables.markdown(text)}\n" for text in [*refusals, *notes_of(rows)])
    notes = notes and f"\nNotes\n\n{notes}"
    texts = {
        "results.json": tables.as_json(made_by, rows, summaries, methods, refused),
        "results.csv": tables.as_csv(rows, methods),
        "results.md": f"{summary}\n\n{lines}\n\n{details}\n{notes}",
    }
    for name, text in texts.items():
        with replacing(folder / name) as part:
            part.write_text(text, encoding="utf-8", errors="backslashreplace")
    if page:
        names = ", ".join(one["name"] for one in summaries)
        who = [made_by["weights"] or "", *made_by["compared"]]
        page.write(
            folder / "report.html",
            f"{names} ×{made_by['scale']}: {', '.join(filter(None, who)) or tables.BICUBIC}",
            f"{pictures_in_words(len(rows))}, enlarged {made_by['scale']} times",
            tables.as_html(tables.summary_table(summaries, methods)),
            [*how, *not_too_many(refusals)],
            [tables.NEAREST, *methods, tables.ORIGINAL],
        )


def not_too_many(texts):
    """The first MOST_LINES texts, and how many more there are."""
    more = len(texts) - MOST_LINES
    return [*texts[:MOST_LINES], f"{more} more in results.md"] if more > 0 else texts


def _print_notes(rows, summaries, refused):
    """Prints what was refused, changed or is to be known of the scores, to the error stream."""
    for path, reason in refused.items():
        print(f"refused {shown(path)}: {reason}", file=sys.stderr)
    notes = not_too_many(notes_of(rows))
    for text in [*(text for one in summaries for text in tables.warnings(one)), *notes]:
        print(f"note: {printable(text)}", file=sys.stderr)


def _main(chosen, stop):
    folders = settings.check_texts("folder", chosen.folder)
    compare = settings.check_texts("compare", chosen.compare, may_be_empty=True)
    settings.check_flag("pictures", chosen.pictures)
    utils.check_network(chosen)
    weights, upscaler, scale, first_line = None, None, chosen.scale, ""
    if chosen.weights != NO_WEIGHTS:
        weights, upscaler, first_line = utils.load_chosen(chosen)
        scale = upscaler.scale
    elif not scale:
        raise ValueError(f"SCALE = 0: expected 2, 3 or 4, since WEIGHTS = {NO_WEIGHTS!r}")
    elif chosen.self_ensemble:
        raise ValueError(f"SELF_ENSEMBLE = True: no network has WEIGHTS = {NO_WEIGHTS!r}")
    test_sets = find_test_sets(folders, scale)
    count = sum(len(one.pairs) for one in test_sets)
    compared = find_compared(compare, test_sets, scale)
    methods = methods_of(upscaler, compared)
    page, folder = None, None
    if chosen.pictures:
        check_sources(test_sets, compared)
        page, folder = Report(count, tables.main_method(methods)), RESULTS
    RESULTS.mkdir(exist_ok=True)
    check_writable(RESULTS)
    if first_line:
        print(first_line)
    for one in test_sets:
        pictures = pictures_in_words(len(one.pairs))
        place = shown(one.folder)
        print(f"{printable(one.name)}: {pictures} in {place} ({one.layout})", flush=True)
    with stop.gently():
        rows, summaries, refused = evaluate(
            test_sets, scale, upscaler, compared, folder, page, stop
        )
    _print_notes(rows, summaries, refused)
    if not rows:
        if stop.is_set():
            raise command.Stopped
        raise ValueError(f"FOLDER = {', '.join(folders)!r}: no picture in it could be scored")
    made_by = how_it_was_made(scale, weights, upscaler, dict(zip(compared, compare, strict=True)))
    summary, details = tables_of(rows, summaries, methods)
    # Before what could fail, that they are not lost.
    print("\n" + (details if len(rows) <= MOST_LINES else "Each picture: results.md"))
    print(f"\n{summary}\n", flush=True)
    write_results(RESULTS, made_by, rows, summaries, refused, methods, page)
    print(f"Tables, and how they were made: {RESULTS / 'results.md'}")
    if page:
        print(f"To look at: {RESULTS / 'report.html'}, and pictures in {RESULTS}")
    elif (RESULTS / "report.html").exists():
        print(f"{RESULTS / 'report.html'} and the pictures in {RESULTS} are of an earlier run")
    if stop.is_set():
        raise command.Stopped(f"{len(rows)} of {count} were scored")
    return 1 if refused else 0


def main(arguments=None):
    """Runs the command; returns its exit code."""
    names = ("FOLDER", "COMPARE")
    return command.run(_main, [__file__], arguments, positional=("FOLDER",), several=names)


if __name__ == "__main__":
    sys.exit(main())
