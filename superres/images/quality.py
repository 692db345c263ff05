"""A picture's condition: how much it lost in its file; its noise, blur and sharpening."""

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from superres.images.estimate import MAX_BLUR, MAX_NOISE, estimate
from superres.images.jpeg_tables import quality_of, tables_in
from superres.images.jpeg_traces import former_quality
from superres.images.pixels import to_8bit
from superres.images.read import open_picture, webp_coding

LOSSLESS = 1.0
QUALITY_RANGE = (25, 98)  # that networks get; others are clipped
RANGES = {"quality": QUALITY_RANGE, "noise": (0, MAX_NOISE), "blur": (0, MAX_BLUR)}
# For the last result of `estimate`: 2% of clean ones exceed it, and 55% of the others.
MIN_WILD = 0.55
# Above any of these a picture counts as altered. A sixth of plain JPEGs does (x4: a third), and
# loses 0.3 dB by it (0.6); so do 5 of 6 with grain or sharpened (4 of 5), and gain 1.2 dB (0.6).
LEAST_ALTERED = {"noise": 2, "blur": 0.5, "sharpening": 0.24}
UNKNOWN_LOSSY = 0.9  # of an animated AVIF, whose first picture has an unknown size
AVIF_HEADER = 300  # bytes of the smallest file
# The quality of WebP and AVIF, by their size relative to a JPEG of quality 75. Over 20 pictures and
# 9 encoder settings this loses at most 0.05 dB to the best quality for each, a constant up to 0.33.
SIZE_RATIOS = (0.25, 0.35, 0.45, 0.6, 0.8, 1.1, 1.4)
QUALITIES = (0.6, 0.72, 0.8, 0.86, 0.91, 0.95, 0.98)


class Condition(NamedTuple):
    """What a network may get to know about a picture."""

    quality: float = LOSSLESS  # 0 to 1: that of the JPEG / 100
    noise: float = 0.0  # standard deviation in levels of 255
    blur: float = 0.0  # standard deviation in pixels
    sharpening: float = 0.0  # by which a site strengthened details of 4 pixels; 0.5: by half

    @property
    def is_altered(self):
        """Whether it has noise, blur or sharpening that is worth a network of its own."""
        return any(getattr(self, name) > least for name, least in LEAST_ALTERED.items())

    def values(self, count=None):
        """The first `count` fields, or all, in similar ranges, as networks take them: float32."""
        return np.array(self._replace(noise=self.noise / 10)[:count], np.float32)


CLEAN = Condition()


def network_quality(quality):
    """The `Condition.quality` of a JPEG of a quality from 1 to 100; never `LOSSLESS`."""
    return min(max(quality, QUALITY_RANGE[0]), QUALITY_RANGE[1]) / 100


def describe(condition):
    """A `Condition` in words."""
    quality, *others = condition
    words = "lossless" if quality == LOSSLESS else f"quality {100 * quality:.0f}"
    estimates = ", noise {:.1f}, blur {:.2f}, sharpening {:.2f}".format(*others)
    return words + estimates * any(others)


def condition_of_file(path, picture):
    """The `Condition` of a file and the picture in it, as `read_picture` returns it."""
    return condition_of(picture, _quality_of_file(path, picture))


def condition_of(picture, quality):
    """The `Condition` of a picture of known quality; `CLEAN` if it seems so."""
    *estimates, wild = estimate(picture, quality)
    return Condition(quality, *estimates) if quality < LOSSLESS or wild > MIN_WILD else CLEAN


def _quality_of_file(path, picture):
    with open_picture(path) as file:
        # A lossless JPEG has no tables.
        if file.format in ("JPEG", "MPO") and (tables := tables_in(file)):
            return network_quality(quality_of(tables)[0])
        if file.format == "AVIF":
            if file.n_frames > 1:  # how many bytes are the first one's is unknown
                return UNKNOWN_LOSSY
            beside = sum(len(file.info.get(kind) or b"") for kind in ("exif", "icc_profile", "xmp"))
            return _quality_of_size(Path(path).stat().st_size - beside - AVIF_HEADER, picture)
        if file.format == "WEBP":
            coding, size = webp_coding(path)
            if coding == "VP8":
                return _quality_of_size(size, picture)
    quality = former_quality(picture)
    return network_quality(quality) if quality else LOSSLESS


def _quality_of_size(size, picture):
    """`Condition.quality` by the size of a WebP or AVIF in bytes."""

    def as_jpeg(pixels):
        coded = io.BytesIO()
        Image.fromarray(pixels).save(coded, "JPEG", quality=75)
        return len(coded.getvalue())

    pixels = to_8bit(picture)
    in_jpeg = as_jpeg(pixels) - as_jpeg(np.zeros_like(pixels[:1, :1]))  # without the header
    return float(np.interp(size / max(in_jpeg, 1), SIZE_RATIOS, QUALITIES))
