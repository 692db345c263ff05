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
from superres.images.formats import check_storable
from superres.images.quality import LOSSLESS, TRAINED, in_words, told, told_of_file
from superres.runtime import command, settings
from superres.runtime.files import check_writable, remove_leftovers
from superres.runtime.terminal import progress, shown
from superres.upscaling import batch
from superres.upscaling.batch import Tally, WriteBehind, output_memory, read_ahead, tiles_in_memory

# ------------------------------------------------------------------- settings ----
# files
SOURCE = "inference/original"  # picture, or folder of pictures, searched recursively
TARGET = "inference/output"  # folder for the enlarged pictures
OVERWRITE = False  # make pictures again that are in TARGET already
MAX_MEGAPIXELS = 270  # larger pictures are refused: they may be decompression bombs
VERBOSE = False  # print size, tiles and extra work of each picture
# network
SCALE = 0  # enlargement of height and width: 2, 3 or 4; 0: that of the weights
NETWORK = "auto"  # large, small, or auto: large on a GPU, small on a CPU; where WEIGHTS is empty
WEIGHTS = ""  # .keras file, which also says the scale; empty: the one in weights/ for NETWORK
SELF_ENSEMBLE = False  # average over eight flips and turns: a little better, 8 times slower
CONTENT = "auto"  # clean, photo (JPEGs and the like), or auto: by what each file lost
QUALITY = 0  # of all pictures as JPEGs, 25 to 98: less cleans up more; 0: what each file says
ENGINE = "auto"  # openvino, keras, or auto: OpenVINO, but Keras where there is an NVIDIA GPU
PRECISION = "auto"  # float32, bfloat16, or auto: bfloat16 where the hardware has it
TILE_SIZE = 0  # LR pixels a side computed at once; 0: by the memory that is free
# ---------------------------------------------------------------------------------


def check_settings(chosen):
    """Raises ValueError where a setting is not valid."""
    for name in ("source", "target"):
        settings.check_text(name, getattr(chosen, name))
    utils.check_network(chosen)
    if chosen.quality:
        settings.check_whole("quality", chosen.quality, *TRAINED)
    if chosen.quality and chosen.content == "clean":
        raise ValueError(f"QUALITY = {chosen.quality}: expected 0, since CONTENT = 'clean'")
    settings.check_number("max_megapixels", chosen.max_megapixels, above=0)
    for name in ("overwrite", "verbose"):
        settings.check_flag(name, getattr(chosen, name))


def prepare(plan, target):
    """Makes the target's folder, and removes what killed runs have left there."""
    Path(target).mkdir(parents=True, exist_ok=True)
    check_writable(target)
    for folder in {job.target.parent for job in plan.jobs} | {Path(target)}:
        remove_leftovers(folder)


def enlarge_picture(chosen, networks, job, picture, metadata, tally, writer):
    """Computes a picture tile by tile, and has it written."""
    quality = LOSSLESS
    if chosen.quality:
        quality = told(chosen.quality)
    elif networks.heed_quality:
        quality = told_of_file(job.source, picture)
    network, quality = networks.of(quality)
    upscaler = network.upscaler
    height, width, *channels = picture.shape
    shape = (upscaler.scale * height, upscaler.scale * width, *channels)
    check_storable(job.target, shape, picture.dtype)
    needed = output_memory(job.target, shape, picture.dtype)
    tiles = tiles_in_memory(upscaler, picture, needed, writer.wait)
    name = shown(job.source)
    if chosen.verbose:
        (top, bottom), (left, right) = tiles.rows()[0], tiles.columns()[0]
        tally.bar.write(
            f"{name}: {width}x{height}, {len(tiles)} tiles of {right - left}x{bottom - top}, halo "
            f"{tiles.halo}, extra work {tiles.extra_work:.1%}, {network.path.name}"
            + (f" told {in_words(quality)}" if upscaler.is_told_quality else ""),
            file=sys.stdout,
        )
    for loss in metadata.get("lost", []):
        tally.bar.write(f"note {name}: {loss} left out", file=sys.stderr)
    with progress(total=len(tiles), desc=name, unit="tile", leave=False, delay=1) as bar:

        def on_tile():
            bar.update()
            tally.stop.check()

        bands = upscaler.bands(picture, tiles, on_tile, quality)
        writer.write(job, bands, shape, picture.dtype, metadata)


def enlarge(chosen, stop):
    """Enlarges what the settings say; returns the exit code."""
    check_settings(chosen)
    max_pixels = int(1e6 * chosen.max_megapixels)
    plan = batch.plan(chosen.source, chosen.target)
    networks = utils.load_chosen(chosen, "photo" if chosen.quality else chosen.content)
    if chosen.quality and not networks.photo.upscaler.is_told_quality:
        raise ValueError(
            f"QUALITY = {chosen.quality}: {networks.photo.path.name} cannot be told one; it was "
            "trained without TOLD_QUALITY"
        )
    prepare(plan, chosen.target)
    of_all = f", all pictures are told quality {chosen.quality}" if chosen.quality else ""
    print(f"{networks}{of_all}", flush=True)
    with progress(total=len(plan.jobs), desc="pictures", unit="picture") as bar:
        tally = Tally(plan, stop, bar)
        try:
            with stop.gently(), WriteBehind(tally) as writer:
                for job, read in read_ahead(tally.to_do(chosen.overwrite), max_pixels):
                    stop.check()
                    with tally.refusing(job):
                        enlarge_picture(chosen, networks, job, *read(), tally, writer)
                    if tally.ended:
                        break
        finally:
            bar.close()  # or its last line would stand behind the report
            tally.report(chosen.target)
    return 1 if tally.refused else 0


def main(arguments=None):
    """Runs the command; returns its exit code."""
    hint = "the same command goes on with what is left"
    return command.run(enlarge, [__file__], arguments, hint, positional=("SOURCE", "TARGET"))


if __name__ == "__main__":
    sys.exit(main())
