"""Enlarges pictures with trained weights.

`python output.py` enlarges every picture in inference/original and its subfolders, and writes
them to inference/output, under the same names and in the same formats. `python output.py SOURCE
TARGET` takes another file or folder, `python output.py SOURCE ... --target TARGET` several.
Existing outputs are kept.

Exit code 0: every picture is done. 1: some were refused or failed, each named with its reason.
2: nothing could start. 130: stopped by Ctrl-C or SIGTERM.
"""

import functools
import math
import os
import re
import sys
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

import utils
from superres.images.formats import check_storable
from superres.images.pixels import join_bands
from superres.images.quality import CLEAN, condition_of_file, describe
from superres.images.resize import resize_bands
from superres.preview import forecast
from superres.preview.versions import Versions
from superres.runtime import command, settings
from superres.runtime.errors import InputError
from superres.runtime.files import check_writable, make_folder, remove_stale_files
from superres.runtime.parts import WHOLE, parse_part
from superres.runtime.terminal import print_line, progress, quoted
from superres.upscaling import batch
from superres.upscaling.batch import output_memory, pixels_of, read_ahead, route_of, tiles_in_memory
from superres.upscaling.sizes import Size, enlarged_shape, passes

# ------------------------------------------------------------------- settings ----
# files
SOURCE = "inference/original"  # picture or folder, searched recursively; or a list of them
TARGET = "inference/output"  # folder for the enlarged pictures
SIZE = ""  # "2560x1440": as large as fits; "2560x", "x1440": one side; "1.5": times as large
PART = ""  # "3/16": the third of 16 parts of the folder; "auto": by the variables of a job array
OVERWRITE = False  # redo pictures that are already in TARGET
MAX_MEGAPIXELS = 270  # larger pictures are refused: they may be decompression bombs
VERBOSE = False  # print size, tiles and overlap of each picture
# before a long run
DRY_RUN = False  # print what would be made, and about how long it takes, without making it
TRY = False  # instead make a page of one detail by each network and option, to compare by eye
AT = ""  # "X,Y": middle of that detail, in pixels of the input; empty: where there is most detail
# network
SCALE = 0  # of the network: 2, 3 or 4; 0: by WEIGHTS or SIZE
NETWORK = "auto"  # large, small, or auto: large on a GPU; used if WEIGHTS is empty
WEIGHTS = ""  # .keras file; empty: the best in weights/
SELF_ENSEMBLE = False  # average over eight flips and rotations: a little better, 8 times slower
CONTENT = "auto"  # clean, photo (JPEGs), wild (noisy, sharpened), or auto: by each file's condition
SHARPNESS = 0.0  # 0: faithful; to 1: invents texture that looks sharp, but may be wrong
QUALITY = 0  # JPEG quality of all pictures, 25 to 98: lower values clean up more; 0: by each file
NOISE = -1.0  # of all pictures, in levels, 0 to 11: higher values smooth more; -1: estimated
BLUR = -1.0  # of all pictures, in pixels, 0 to 1.2: higher values sharpen more; -1: estimated
ENGINE = "auto"  # openvino, keras, or auto: keras with an NVIDIA GPU
PRECISION = "auto"  # float32, bfloat16, int8, or auto: the fastest here
TILE_SIZE = 0  # side of a tile in LR pixels; 0: by the free memory
# ---------------------------------------------------------------------------------

TRY_PAGE = Path("inference/try/index.html")
UNSET = {"quality": 0, "noise": -1, "blur": -1}  # values that mean: estimate


def split_target(given):
    """Without --target the last of several SOURCEs is it, if new, or the second and a folder."""
    places = given.get("source", ())
    if len(places) > 1 and "target" not in given:
        last = Path(places[-1])
        if not last.exists() or (len(places) == 2 and last.is_dir()):
            given["target"] = places.pop()
    return {}  # no presets


def check(config):
    """Raises InputError at the first setting that is out of range."""
    settings.check_texts("source", config.source)
    settings.check_text("target", config.target)
    for name in ("size", "part"):
        settings.check_text(name, getattr(config, name), may_be_empty=True)
    settings.check_number("max_megapixels", config.max_megapixels, above=0)
    for name in ("overwrite", "verbose", "dry_run", "try"):
        settings.check_flag(name, getattr(config, name))
    settings.check_text("at", config.at, may_be_empty=True)
    if config.at and not getattr(config, "try"):
        raise InputError(f"AT = {config.at!r}: needs TRY")
    if config.at and not re.fullmatch(r"[0-9]{1,9},[0-9]{1,9}", config.at):
        raise InputError(f'AT = {config.at!r}: expected "X,Y", two whole numbers')
    if config.dry_run and getattr(config, "try"):
        raise InputError("DRY_RUN and TRY: expected one of them")


def prepare(plan, target):
    """Makes the target folder, and removes what killed runs left there."""
    make_folder(target)
    check_writable(target)
    for folder in {job.target.parent for job in plan.jobs} | {Path(target)}:
        remove_stale_files(folder)


class Run(NamedTuple):
    """What the pictures of a run share."""

    overrides: dict  # fields of `Condition` that QUALITY, NOISE and BLUR set for all pictures
    size: Size
    networks: utils.NetworksByScale
    report: batch.Report
    writer: batch.BackgroundWriter
    is_verbose: bool


def load(options, overrides, size):
    """Loads the networks that every picture needs; prints each when it is loaded."""
    options = options.for_known(overrides)
    units = {"quality": 100}
    pairs = (f"{name} {value * units.get(name, 1):g}" for name, value in overrides.items())
    for_all = f", {', '.join(pairs)} for all pictures" if overrides else ""

    def on_load(loaded):
        photo = loaded.photo
        utils.check_accepts(overrides, photo.path, photo.upscaler.conditions)
        print_line(f"{loaded}{for_all}")

    networks = utils.NetworksByScale(options, on_load, one_scale=size == Size())
    asked = f"SIZE = '{float(size.factor):g}'"
    try:
        needed = passes(size.factor, networks.scales) if size.factor else ()
    except InputError as error:
        raise InputError(f"{asked}: {error}") from None
    for scale in needed:
        networks[scale]  # loads it
    if len(needed) > 1:
        print_line(f"{asked}: in two passes, by {needed[0]} and by {needed[1]}")
    return networks


def enlarge_picture(run, job, picture, metadata):
    """Enlarges a picture, and hands it to the writer."""
    route = run.size.route(*picture.shape[:2], run.networks.scales)
    shape = (*route.shape, *picture.shape[2:])
    check_storable(job.target, shape, picture.dtype)
    print_notes(run, job, picture, metadata, route)
    condition = CLEAN
    if route.scales and len(run.overrides) < run.networks[route.scales[0]].conditions:
        condition = condition_of_file(job.source, picture)  # estimates what is not set
    condition = condition._replace(**run.overrides)
    output_bytes = output_memory(job.target, shape, picture.dtype)
    bands, bands_shape = [picture], picture.shape
    for number, scale in enumerate(route.scales, 1):
        if number > 1:  # the second network gets a clean picture
            picture, condition = join_bands(bands, bands_shape, picture.dtype), CLEAN
        bands_shape = enlarged_shape(picture.shape, scale)
        is_last = number == len(route.scales)
        more_bytes = 0 if is_last else math.prod(bands_shape) * picture.itemsize
        bands = enlarge_bands(run, job, picture, scale, condition, output_bytes + more_bytes)
    if bands_shape != shape:
        bands = resize_bands(bands, bands_shape, *route.shape)
    run.writer.write(job, bands, shape, picture.dtype, metadata)


def print_notes(run, job, picture, metadata, route):
    """Prints what is left out of a picture, and what was perhaps not meant."""
    lost = metadata.get("lost")
    notes = [f"left out: {', '.join(lost)}"] if lost else []
    (height, width), (new_height, new_width) = picture.shape[:2], route.shape
    if not route.scales and route.shape == picture.shape[:2]:
        notes.append(f"{width}x{height} pixels, unchanged")
    elif not route.scales:
        notes.append(f"{width}x{height} pixels reduced to {new_width}x{new_height}")
    if len(route.scales) > 1 and not run.size.factor:  # with a factor, `load` said so for all
        notes.append(f"enlarged in two passes, by {route.scales[0]} and by {route.scales[1]}")
    for note in notes:
        print_line(f"note {quoted(job.source)}: {note}", sys.stderr)


def enlarge_bands(run, job, picture, scale, condition, reserved_bytes):
    """Yields the bands of a picture, enlarged by one network."""
    network, condition = run.networks[scale].select(condition)
    upscaler = network.upscaler
    tiles = tiles_in_memory(upscaler, picture, reserved_bytes, run.writer.wait)
    name = quoted(job.source)
    if upscaler.halo is None and len(tiles) > 1:
        print_line(
            f"note {name}: cut into {len(tiles)} tiles with a halo of {tiles.halo} pixels; the "
            "network's receptive field is larger, so seams are possible",
            sys.stderr,
        )
    if run.is_verbose:
        height, width = picture.shape[:2]
        (top, bottom), (left, right) = tiles.rows()[0], tiles.columns()[0]
        count = f"{len(tiles)} tile{'s' * (len(tiles) > 1)}"
        print_line(
            f"{name}: {width}x{height}, {count} of {right - left}x{bottom - top}, halo "
            f"{tiles.halo}, overlap {tiles.extra_work:.1%}, {network.path.name}"
            + (f" ({describe(condition)})" if upscaler.conditions else "")
        )
    with progress(total=len(tiles), desc=name, unit="tile", leave=False, delay=1) as bar:

        def on_tile():
            bar.update()
            run.report.stop.check()

        yield from upscaler.bands(picture, tiles, on_tile, condition)


def enlarge(config, stop):
    """Enlarges what the settings say; returns the exit code."""
    check(config)
    options = utils.NetworkOptions(*(getattr(config, n) for n in utils.NetworkOptions._fields))
    options.check()
    overrides = utils.condition_fields(vars(config), UNSET)
    size, part = Size.parse(config.size), parse_part(config.part, os.environ)
    plan = batch.plan(settings.check_texts("source", config.source), config.target, part)
    max_pixels = int(1e6 * config.max_megapixels)
    networks = load(options, overrides, size)
    find = functools.partial(route_of, size=size, scales=networks.scales, max_pixels=max_pixels)
    if getattr(config, "try"):
        from superres.preview import trial  # here, since it takes a while

        changed = settings.changed(sys.modules[__name__], vars(config))
        versions = Versions(options, overrides)
        trial.write_page(TRY_PAGE, plan.jobs, find, versions, config.at, changed)
        print(f"Page: {TRY_PAGE}")
        return 0
    if part != WHOLE:
        print_line(f"{part}: {len(plan.jobs)} picture{'s' if len(plan.jobs) != 1 else ''}")
    if config.dry_run:
        report = batch.Report(plan, stop, tqdm(total=0, disable=True), {})
        forecast.print_forecast(report, find, networks, config.overwrite)
        return 1 if report.refused or report.failed else 0
    prepare(plan, config.target)
    with progress(total=0, unit="pixel", unit_scale=True) as bar:
        pixels = {} if bar.disable else pixels_of(plan.jobs, size, networks.scales)
        bar.total = sum(pixels.values())
        report = batch.Report(plan, stop, bar, pixels)
        try:
            with stop.deferring(), batch.BackgroundWriter(report) as writer:
                run = Run(overrides, size, networks, report, writer, config.verbose)
                for job, get_picture in read_ahead(report.to_do(config.overwrite), max_pixels):
                    stop.check()
                    with report.recording_errors(job):
                        enlarge_picture(run, job, *get_picture())
                    if report.ended_early:
                        break
        finally:
            bar.close()  # before the report, or its last line would mix with it
            report.print_summary(config.target)
    return 1 if report.refused or report.failed else 0


def main(arguments=None):
    """Runs the command; returns its exit code."""
    hint = "run the same command to continue"
    options = {"positional": ("SOURCE",), "several": ("SOURCE",), "presets": split_target}
    return command.run(enlarge, [__name__], arguments, hint, **options)


if __name__ == "__main__":
    sys.exit(main())
