"""Scores trained weights by the protocol of super-resolution papers.

`python evaluate.py` reduces each picture in evaluation/original, enlarges it again, prints PSNR
and SSIM beside those of bicubic enlargement, and writes into evaluation/
  report.html         a page with slider, zoom and error maps; its pictures are in views/
  results.md          the tables; results.json and results.csv have all numbers
  output/             the enlarged pictures
  Combined/           original, nearest neighbour and prediction side by side
  figures/            the detail where the prediction gains most

`python evaluate.py FOLDER ...` scores other originals: folders, single pictures, or test sets as
they are distributed (see docs/evaluation.md). `--compare FOLDER` adds another program's pictures.

The protocol: HR cropped to a multiple of the scale; LR by MATLAB's bicubic `imresize`; the
prediction rounded to uint8; scores on Y of YCbCr, not rounded, without `scale` pixels at each
border; the mean of the pictures' scores.

Exit code 0: every picture is scored. 1: some were refused or failed, each named with its reason.
2: nothing could start, or the results could not be written. 130: stopped by Ctrl-C or SIGTERM, with
the scores so far written.
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
from superres.scoring.compare import find_programs
from superres.scoring.page import Page
from superres.scoring.restore import places_of, restore, write_pictures
from superres.scoring.results import BICUBIC, PREDICTION, Results, main_method, setup_of

# ------------------------------------------------------------------- settings ----
# files
FOLDER = "evaluation/original"  # originals or test sets: a folder, a picture, or a list
COMPARE = ""  # folder of another program's pictures, with the same names; or a list
DEGRADATION = ""  # of LR pictures: jpeg75 or another quality; wild: a random mix; empty: none
PICTURES = True  # write pictures and the page, not only tables
# network
WEIGHTS = ""  # .keras file; empty: the best in weights/; none: bicubic only
NETWORK = "auto"  # large, small, or auto: large on a GPU; for empty WEIGHTS
SCALE = 0  # 2, 3 or 4; 0: by WEIGHTS
SELF_ENSEMBLE = False  # average over eight flips and rotations: a little better, 8 times slower
CONTENT = "auto"  # clean, photo, wild (see output.py), or auto: by each LR picture's condition
SHARPNESS = 0.0  # 0: faithful; to 1: invents texture that looks sharp, but may be wrong
ENGINE = "auto"  # openvino, keras, or auto: keras with an NVIDIA GPU
PRECISION = "float32"  # float32, bfloat16, int8, or auto: the fastest here
TILE_SIZE = 0  # side of a tile in LR pixels; 0: by the free memory
# ---------------------------------------------------------------------------------

RESULTS = Path("evaluation")
PICTURE_FOLDERS = [RESULTS / name for name in ("output", "Combined", "figures", "views")]
NO_WEIGHTS = "none"


def check(config):
    """Checks the settings; returns FOLDER and COMPARE as lists, and `utils.NetworkOptions`."""
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


def check_sources(test_sets, programs):
    """Raises InputError if this run would replace pictures that it reads."""
    paths = [path for one in test_sets for path in one.files()]
    paths += [path for sets in programs.values() for one in sets.values() for path in one.values()]
    folders = [folder.resolve() for folder in PICTURE_FOLDERS]
    for path in paths:
        if any(map(path.resolve().is_relative_to, folders)):
            raise InputError(
                f"{path}: lies where the pictures are written; move it, or use --no-pictures"
            )


def score(test_sets, scale, enlarge=None, programs=None, degradation="", show=None, stop=None):
    """Scores a network, bicubic enlargement and other programs' pictures: `Results`.

    `enlarge` is for `restore`, `degradation` for `degradation_of`, `programs` from `find_programs`;
    `show` is called with each test set, pair and `Restoration`.
    """
    programs = programs or {}
    methods = [BICUBIC, *([PREDICTION] if enlarge else []), *programs]
    results = Results(test_sets, methods, scale, degradation)
    pairs = [(test_set, pair) for test_set in test_sets for pair in test_set.pairs]
    bar = progress(iterable=pairs, desc="scoring", unit="picture", leave=False)
    for number, (test_set, pair) in enumerate(bar):
        if stop and stop.is_set():
            break
        others = {name: by_set[test_set.name].get(pair.name) for name, by_set in programs.items()}
        others = {name: path for name, path in others.items() if path}
        chain, random = degradation_of(degradation, number) if degradation else (None, None)
        try:
            restoration = restore(pair, scale, enlarge, others, chain, random)
        except KeyboardInterrupt:
            break
        except Exception as error:
            if not (stop and stop.is_set()):  # libraries turn an interrupt into other errors
                results.refuse(test_set, pair, reason_of(error, results.faults))
            continue
        if degradation == WILD:
            restoration.notes.append(f"LR: {restoration.degradation}")
        results.add(test_set, pair, restoration)
        try:
            if show:
                show(test_set, pair, restoration)
        except Exception as error:  # such as a name, or sides, too long for a file
            reason = reason_of(error, results.faults)
            results.refused[pair.hr] = f"scored, but not all of its pictures were written: {reason}"
    return results


def write(results, setup, page):
    """Writes the tables, and the page if there is one."""
    texts = {
        "results.json": results.as_json(setup),
        "results.csv": results.as_csv(),
        "results.md": tables.document(results, setup),
    }
    for name, text in texts.items():
        with replacing(RESULTS / name) as part:
            part.write_text(text, encoding="utf-8", errors="backslashreplace")
    print(f"Tables, and how they were made: {RESULTS / 'results.md'}")
    if page:
        page.write(results, setup)
        print(f"Report: {page.path}")
    elif (RESULTS / "report.html").exists():
        print(f"{RESULTS / 'report.html'} and the pictures in {RESULTS} are of an earlier run")


def print_plan(networks, test_sets, degradation):
    """Prints networks, test sets and degradation."""
    print(networks or "no network")
    for one in test_sets:
        count, place = len(one.pairs), quoted(one.folder)
        print(f"{escaped(one.name)}: {count} pictures in {place} ({one.layout})", flush=True)
    if degradation:
        chain = "a random mix" if degradation == WILD else degradation_of(degradation, 0)[0]
        print(f"LR pictures degraded by {degradation}: {chain}")


def print_scores(results):
    """Prints refusals, notes and tables."""
    for path, reason in results.refused.items():
        print(f"refused {quoted(path)}: {reason}", file=sys.stderr)
    notes = [text for one in results.summaries() for text in tables.warnings(one)]
    for text in [*notes, *tables.shortened(results.notes())]:
        print(f"note: {escaped(text)}", file=sys.stderr)
    if results.rows:
        is_short = len(results.rows) <= tables.MAX_LINES
        print("\n" + (tables.details(results) if is_short else "Each picture: results.md"))
        print(f"\n{tables.as_markdown(tables.summary_table(results))}\n", flush=True)


def evaluate(config, stop):
    """Scores as the settings say; returns the exit code."""
    folders, compare, options = check(config)
    networks = None if config.weights == NO_WEIGHTS else options.load()
    scale = networks.scale if networks else config.scale
    test_sets = testsets.find_all(folders, scale, skip=PICTURE_FOLDERS)
    programs = find_programs(compare, test_sets, scale)
    if config.pictures:
        check_sources(test_sets, programs)
    make_folder(RESULTS)
    check_writable(RESULTS)
    print_plan(networks, test_sets, config.degradation)
    places, by_kind = places_of(test_sets), {}  # kind of pictures -> network in use
    page = Page(RESULTS, PREDICTION if networks else main_method(programs))

    def show(test_set, pair, restoration):
        place, title = places[test_set.name, pair.name]
        write_pictures(RESULTS, place, pair.name.name, restoration)
        page.add(place, title, restoration)

    def enlarge(lr, condition):
        network, condition = networks.select(condition)
        by_kind[networks.kind_of(condition)] = network
        return network.upscaler.enlarge(lr, on_tile=stop.check, condition=condition)

    with stop.deferring():
        show, enlarge = config.pictures and show, networks and enlarge
        results = score(test_sets, scale, enlarge, programs, config.degradation, show, stop)
    print_scores(results)  # first, so that they are not lost if a file cannot be written
    if results.rows:
        setup = setup_of(scale, by_kind, dict(zip(programs, compare, strict=True)))
        write(results, setup, config.pictures and page)
    if stop.is_set():
        raise Stopped(f"{len(results.rows)} of {len(places)} were scored")
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
