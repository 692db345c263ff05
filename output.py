"""Enlarges pictures with trained weights.

`python output.py` enlarges every picture in inference/original and below into
inference/output, under the same name and in the same format. `python output.py SOURCE
TARGET` takes another file or folder. Pictures that are there already are skipped.

Exit code 0: every picture is there. 1: some were refused, each named with its reason.
2: nothing could start. 130: stopped by Ctrl-C or SIGTERM.
"""

import sys
from pathlib import Path

import utils
from superres.runtime import command, settings
from superres.runtime.files import check_writable, remove_leftovers
from superres.upscaling.batch import Batch, plan, report

# ------------------------------------------------------------------- settings ----
SOURCE = "inference/original"  # picture, or folder of pictures, searched recursively
TARGET = "inference/output"  # folder for the enlarged pictures
SCALE = 0  # enlargement of height and width: 2, 3 or 4; 0: that of the weights
NETWORK = "auto"  # large, small, or auto: large on a GPU, small on a CPU; where WEIGHTS is empty
WEIGHTS = ""  # .keras file, which also says the scale; empty: the one in weights/ for NETWORK
OVERWRITE = False  # make pictures again that are in TARGET already
SELF_ENSEMBLE = False  # average over eight flips and turns: a little better, 8 times slower
PRECISION = "auto"  # float32, bfloat16, or auto: bfloat16 where the hardware has it
TILE_SIZE = 0  # LR pixels a side computed at once; 0: by the memory that is free
MAX_MEGAPIXELS = 270  # larger pictures are refused: they may be decompression bombs
VERBOSE = False  # print size, tiles and extra work of each picture
# ---------------------------------------------------------------------------------


def enlarge(chosen, stop):
    """Enlarges what the settings say; returns the exit code."""
    for name in ("source", "target"):
        settings.check_text(name, getattr(chosen, name))
    utils.check_network(chosen)
    settings.check_number("max_megapixels", chosen.max_megapixels, above=0)
    for name in ("overwrite", "verbose"):
        settings.check_flag(name, getattr(chosen, name))
    pairs, others, refused = plan(chosen.source, chosen.target)
    _, upscaler, first_line = utils.load_chosen(chosen)
    Path(chosen.target).mkdir(parents=True, exist_ok=True)
    check_writable(chosen.target)
    for folder in {target.parent for _, target in pairs} | {Path(chosen.target)}:
        remove_leftovers(folder)
    print(first_line, flush=True)
    batch = Batch(
        upscaler,
        stop,
        chosen.overwrite,
        max_pixels=int(1e6 * chosen.max_megapixels),
        verbose=chosen.verbose,
    )
    try:
        with stop.gently():
            tally = batch.run(pairs)
    except KeyboardInterrupt:
        report(batch.tally, chosen.target, others)
        raise
    tally.refused |= refused
    report(tally, chosen.target, others)
    return 1 if tally.refused else 0


def main(arguments=None):
    """Runs the command; returns its exit code."""
    hint = "the same command goes on with what is left"
    return command.run(enlarge, [__file__], arguments, hint, positional=("SOURCE", "TARGET"))


if __name__ == "__main__":
    sys.exit(main())
