"""Picture formats: their file names, how they are written, what they can hold."""

import math
from collections import Counter
from pathlib import Path

import numpy as np

from superres.runtime.errors import CannotStore, InputError
from superres.runtime.files import find_files
from superres.runtime.terminal import quoted

# Endings of the files that are taken for pictures.
JPEG_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif")
SUFFIXES = {".png", *JPEG_SUFFIXES, ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif"}
# Pillow's options for each; others are written as PNG. Saving as JPEG 95 costs 0.11 dB if the input
# was a JPEG 95, 0.05 dB if it was a 75; saving as JPEG 97 costs 0.07 and 0.03 dB.
WRITE_OPTIONS = {
    **{ending: {} for ending in (".png", ".tif", ".tiff", ".bmp")},
    **{ending: {"quality": 97, "subsampling": "4:4:4"} for ending in JPEG_SUFFIXES},
    ".webp": {"quality": 95, "method": 6},
    ".avif": {"quality": 90, "subsampling": "4:4:4"},
}
STREAMED = {".png", ".tif", ".tiff"}  # written by png.py and tiff.py, in bands, 8 or 16 bits
# Limits of the formats' libraries in pixels.
MAX_SIDE = {**dict.fromkeys(JPEG_SUFFIXES, 65_500), ".webp": 16_383, ".avif": 32_768}
MAX_AVIF_PIXELS = 2**28
# By Pillow's names: nothing else is opened, whatever a file is called.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "AVIF")
OTHER_PICTURES = {".heic", ".heif", ".jxl", ".jp2", ".psd", ".svg", ".tga", ".exr", ".ppm", ".ico"}
# Camera raws.
OTHER_PICTURES |= {".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".raf", ".rw2"}
# What the first 16 bytes of other formats contain, often under the name .jpg.
OTHER_KINDS = {b"ftyphe": "HEIC", b"jP  ": "JPEG 2000", b"\xff\x0a": "JPEG XL", b"JXL ": "JPEG XL"}
OTHER_KINDS |= {b"8BPS": "PSD", b"%PDF": "PDF", b"<svg": "SVG"}
MAX_PIXELS = 270_000_000  # more is taken for a decompression bomb


def is_picture(path):
    """Whether a file is taken for a picture, by its name: hidden files are not."""
    return Path(path).suffix.lower() in SUFFIXES and not Path(path).name.startswith(".")


def describe_others(files):
    """How many files are ignored because of their names, by ending."""
    endings = Counter(
        "hidden" if path.name.startswith(".") else path.suffix.lower() or "without ending"
        for path in files
    )
    counts = ", ".join(f"{count} {quoted(ending)}" for ending, count in endings.most_common())
    pictures = ", ".join(ending for ending in endings if ending in OTHER_PICTURES)
    advice = f"; convert {pictures} to PNG or JPEG first" * bool(pictures)
    return f"{len(files)} file{'s' * (len(files) != 1)} left out: {counts}{advice}"


def find_pictures(folder):
    """Pictures in `folder` and below, sorted; raises InputError where a folder cannot be read."""
    if not Path(folder).is_dir():
        raise InputError(f"{folder}: no such folder")

    def fail(error):
        raise InputError(error) from error

    return [path for path in find_files(folder, fail) if is_picture(path)]


def output_name(name):
    """Name under which the enlarged `name` is written: the same, or with .png appended."""
    return name if Path(name).suffix.lower() in WRITE_OPTIONS else name + ".png"


def check_storable(path, shape, dtype):
    """Raises CannotStore if a file of this ending cannot hold such a picture."""
    suffix, size = Path(path).suffix.lower(), f"{shape[1]}x{shape[0]} pixels"
    longest = MAX_SIDE.get(suffix, math.inf)
    if max(shape[:2]) > longest:
        raise CannotStore(f"{size}: a {suffix} file holds at most {longest:,} a side")
    if suffix == ".avif" and shape[0] * shape[1] > MAX_AVIF_PIXELS:
        raise CannotStore(f"{size}: an .avif file holds at most {MAX_AVIF_PIXELS:,}")
    if suffix in JPEG_SUFFIXES and shape[2:] in ((2,), (4,)):
        raise CannotStore(f"transparency: a {suffix} file holds none")
    if dtype == np.uint16 and suffix not in STREAMED:
        raise CannotStore(f"16 bits a channel: a {suffix} file holds 8")
