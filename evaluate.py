"""Scores trained weights by the protocol of the super-resolution literature.

`python evaluate.py` reduces every picture in evaluation/original, restores it, prints PSNR
and SSIM beside those of bicubic enlargement, and writes into evaluation
  report.html         a page with sliders, zoom and error maps, of the pictures in views/
  results.md          the tables; also results.json, with all there is, and results.csv
  output/             the restored pictures
  Combined/           original, nearest neighbour and prediction side by side
  figures/            for each picture the detail where the prediction gains most

`python evaluate.py FOLDER ...` takes others: folders of originals, single originals, or test
sets as they are distributed (docs/evaluation.md says which), or a folder of such ones.
`--compare FOLDER` adds the pictures of another program.

The protocol: HR cropped to a multiple of the scale; LR by MATLAB's bicubic `imresize`; the
prediction rounded to uint8; scores on Y of YCbCr, not rounded; `scale` pixels shaved from
each border; the mean of the pictures' scores.

Exit code 0: every picture is scored. 1: some were refused or failed, each named with its reason.
2: nothing could start, or the results could not be written. 130: stopped by Ctrl-C or SIGTERM; the
scores until then are written.
"""

import sys
from pathlib import Path

import utils
from superres.images.degradation import WILD, degradation_of
from superres.runtime import command, settings
from superres.runtime.errors import Failed, InputError, Stopped
from superres.runtime.files import check_writable, make_folder, replacing
from superres.runtime.terminal import escaped, progress, quoted, reason_of
from superres.scoring import tables, testsets
from superres.scoring.compare import find_compared
from superres.scoring.page import Page
from superres.scoring.restore import places_of, restore, write_pictures
from superres.scoring.results import BICUBIC, PREDICTION, Results, how_made

# ------------------------------------------------------------------- settings ----
# files
FOLDER = "evaluation/original"  # HR pictures or test sets: a folder or picture, or a list
COMPARE = ""  # folder of another program's pictures, with the same names, or a list of folders
DEGRADATION = ""  # of the LR pictures: jpeg75, or another quality; wild: a mix; empty: none
PICTURES = True  # write the page and the pictures too, not only the tables
# network
WEIGHTS = ""  # .keras file; empty: the best in weights/; none: bicubic only
NETWORK = "auto"  # large, small, or auto: large on a GPU; for empty WEIGHTS
SCALE = 0  # 2, 3 or 4; 0: by WEIGHTS
SELF_ENSEMBLE = False  # average over eight flips and rotations: a little better, 8 times slower
CONTENT = "auto"  # clean, photo (JPEGs and the like), or auto: by each LR picture's condition
SHARPNESS = 0.0  # 0: faithful; to 1: invents texture that looks sharp, but may be wrong
ENGINE = "auto"  # openvino, keras, or auto: keras with an NVIDIA GPU
PRECISION = "float32"  # float32, bfloat16, or auto: bfloat16 if the hardware has it
TILE_SIZE = 0  # side of a tile in LR pixels; 0: by the free memory
# ---------------------------------------------------------------------------------

RESULTS = Path("evaluation")
WRITTEN = [RESULTS / name for name in ("output", "Combined", "figures", "views")]  # of pictures
NO_WEIGHTS = "none"
MAX_LINES = 40  # pictures, or notes, up to which each is printed


def check(config):
    """Raises InputError for a wrong setting; returns FOLDER and COMPARE as lists, and options."""
    folders = settings.check_texts("folder", config.folder)
    compare = settings.check_texts("compare", config.compare, may_be_empty=True)
    settings.check_flag("pictures", config.pictures)
    if config.pictures:
        settings.check_installed("matplotlib", "PICTURES = True", "; or only score: --no-pictures")
    settings.check_text("degradation", config.degradation, may_be_empty=True)
    if config.degradation:
        degradation_of(config.degradation, 0)
    options = utils.NetworkOptions(*(getattr(config, n) for n in utils.NetworkOptions._fields))
    options.check()
    if config.weights == NO_WEIGHTS and not config.scale:
        raise InputError(f"SCALE = 0: expected 2, 3 or 4, since WEIGHTS = {NO_WEIGHTS!r}")
    if config.weights == NO_WEIGHTS and config.self_ensemble:
        raise InputError(f"SELF_ENSEMBLE = True: no network has WEIGHTS = {NO_WEIGHTS!r}")
    return folders, compare, options


def check_sources(test_sets, compared):
    """Raises InputError where pictures would be replaced that are to be scored or compared."""
    paths = [path for one in test_sets for pair in one.pairs for path in (pair.hr, pair.lr) if path]
    paths += [path for sets in compared.values() for one in sets.values() for path in one.values()]
    folders = [folder.resolve() for folder in WRITTEN]
    for path in paths:
        if any(map(path.resolve().is_relative_to, folders)):
            raise InputError(
                f"{path}: lies where the pictures are written; move it, or use --no-pictures"
            )


def score(
    test_sets, scale, enlarge=None, compared=None, degradation="", on_restored=None, stop=None
):
    """Scores a network, bicubic enlargement and other programs' pictures: `Results`.

    `enlarge` and the degradation's name are those of `restore` and `degradation_of`, `compared` as
    `find_compared` returns it; `on_restored` is called with each test set, pair and `Restored`.
    """
    compared = compared or {}
    methods = [BICUBIC, *([PREDICTION] if enlarge else []), *compared]
    results = Results(test_sets, methods, scale, degradation)
    pairs = [(test_set, pair) for test_set in test_sets for pair in test_set.pairs]
    bar = progress(iterable=pairs, desc="scoring", unit="picture", leave=False)
    for number, (test_set, pair) in enumerate(bar):
        if stop and stop.is_set():
            break
        others = {name: by_set[test_set.name].get(pair.name) for name, by_set in compared.items()}
        others = {name: path for name, path in others.items() if path}
        drawn, random = degradation_of(degradation, number) if degradation else (None, None)
        try:
            restored = restore(pair, scale, enlarge, others, drawn, random)
        except KeyboardInterrupt:
            break
        except Exception as error:
            if not (stop and stop.is_set()):  # else a library made it of the interrupt
                results.refuse(test_set, pair, reason_of(error, results.faults))
            continue
        if degradation == WILD:
            restored.notes.append(f"LR: {restored.degradation}")
        results.add(test_set, pair, restored)
        try:
            if on_restored:
                on_restored(test_set, pair, restored)
        except Exception as error:  # such as a name, or sides, too long for a file
            reason = reason_of(error, results.faults)
            results.refused[pair.hr] = f"scored, but not all of its pictures were written: {reason}"
    return results


def write(results, made_by, page):
    """Writes the tables, and the page where there is one."""
    texts = {
        "results.json": results.as_json(made_by),
        "results.csv": results.as_csv(),
        "results.md": tables.document(results, made_by),
    }
    for name, text in texts.items():
        with replacing(RESULTS / name) as part:
            part.write_text(text, encoding="utf-8", errors="backslashreplace")
    print(f"Tables, and how they were made: {RESULTS / 'results.md'}")
    if page:
        page.write(results, made_by)
        print(f"Report: {page.path}")
    elif (RESULTS / "report.html").exists():
        print(f"{RESULTS / 'report.html'} and the pictures in {RESULTS} are of an earlier run")


def print_plan(networks, test_sets, degradation):
    """Prints what is about to be scored."""
    print(networks or "no network")
    for one in test_sets:
        count, place = len(one.pairs), quoted(one.folder)
        print(f"{escaped(one.name)}: {count} pictures in {place} ({one.layout})", flush=True)
    if degradation:
        words = "a random mix" if degradation == WILD else degradation_of(degradation, 0)[0]
        print(f"LR pictures degraded by {degradation}: {words}")


def print_scores(results):
    """Prints refusals, notes and tables."""
    for path, reason in results.refused.items():
        print(f"refused {quoted(path)}: {reason}", file=sys.stderr)
    notes = [text for one in results.summaries() for text in tables.warnings(one)]
    for text in [*notes, *tables.shortened(results.notes(), MAX_LINES)]:
        print(f"note: {escaped(text)}", file=sys.stderr)
    if results.rows:
        is_short = len(results.rows) <= MAX_LINES
        print("\n" + (tables.details(results) if is_short else "Each picture: results.md"))
        print(f"\n{tables.as_markdown(tables.summary_table(results))}\n", flush=True)


def evaluate(config, stop):
    """Scores what the settings say; returns the exit code."""
    folders, compare, options = check(config)
    is_without = config.weights == NO_WEIGHTS
    networks = None if is_without else options.load()
    scale = networks.scale if networks else config.scale
    test_sets = testsets.find_all(folders, scale, skip=WRITTEN)
    compared = find_compared(compare, test_sets, scale)
    if config.pictures:
        check_sources(test_sets, compared)
    make_folder(RESULTS)
    check_writable(RESULTS)
    print_plan(networks, test_sets, config.degradation)
    count, places, used = sum(len(one.pairs) for one in test_sets), places_of(test_sets), {}
    page = Page(RESULTS, PREDICTION if networks else next(iter(compared), BICUBIC))

    def show(test_set, pair, restored):
        if config.pictures:
            place, title = places[test_set.name, pair.name]
            write_pictures(RESULTS, place, pair.name.name, restored)
            page.add(place, title, restored)

    def enlarge(lr, condition):
        network, condition = networks.of(condition)
        used[networks.kind_of(condition)] = network
        return network.upscaler.enlarge(lr, on_tile=stop.check, condition=condition)

    with stop.gently():
        results = score(
            test_sets, scale, networks and enlarge, compared, config.degradation, show, stop
        )
    print_scores(results)  # before what could fail, that they are not lost
    if results.rows:
        names = dict(zip(compared, compare, strict=True))
        write(results, how_made(scale, used, names), page if config.pictures else None)
    if stop.is_set():
        raise Stopped(f"{len(results.rows)} of {count} were scored")
    if not results.rows:
        kind = Failed if results.faults else InputError
        raise kind(f"FOLDER = {', '.join(folders)!r}: no picture in it could be scored")
    return 1 if results.refused else 0


def main(arguments=None):
    """Runs the command; returns its exit code."""
    names = ("FOLDER", "COMPARE")
    return command.run(evaluate, [__name__], arguments, positional=("FOLDER",), several=names)


if __name__ == "__main__":
    sys.exit(main())
