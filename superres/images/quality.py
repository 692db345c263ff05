"""How much a picture lost in its file.

What networks are told of it is a number from 0 to 1: a JPEG's quality / 100, or `LOSSLESS`.
"""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from superres.images.jpeg_tables import quality_of, tables_in
from superres.images.jpeg_traces import found_quality
from superres.images.pixels import to_8bit
from superres.images.read import opened, webp_coding

LOSSLESS = 1.0
# Networks are trained on qualities of this range; what is outside of it is told as its end.
TRAINED = (25, 98)
# WebP and AVIF: bytes of the file by those of the picture as JPEG of quality 75, and what networks
# are best told then. Over 20 pictures, 9 settings and both formats this costs at most 0.05 dB
# beside what would be best for each; the best number for all costs up to 0.33 dB.
TOLD_OF_ANY = 0.9
AVIF_HEADER = 300  # bytes of the smallest file
BYTES = (0.25, 0.35, 0.45, 0.6, 0.8, 1.1, 1.4)
TOLD = (0.6, 0.72, 0.8, 0.86, 0.91, 0.95, 0.98)


def told(quality):
    """What networks are told of a JPEG of a quality from 1 to 100; never `LOSSLESS`."""
    return min(max(quality, TRAINED[0]), TRAINED[1]) / 100


def in_words(quality):
    """What networks are told, for people."""
    return "lossless" if quality == LOSSLESS else f"quality {100 * quality:.0f}"


def told_of_file(path, picture):
    """What networks are told of a picture file.

    Args:
        path: the file.
        picture: what is in it, as `read_picture` returns it; perhaps made 8 bits.

    Raises:
        UnreadablePicture: with the reason.
    """
    with opened(path) as file:
        if file.format in ("JPEG", "MPO"):
            return told(quality_of(tables_in(file))[0])
        if file.format == "AVIF":
            if file.n_frames > 1:  # how many of the bytes are the first one's is not known
                return TOLD_OF_ANY
            beside = sum(len(file.info.get(kind) or b"") for kind in ("exif", "icc_profile", "xmp"))
            return _told_of_size(Path(path).stat().st_size - beside - AVIF_HEADER, picture)
        if file.format == "WEBP":
            coding, size = webp_coding(path)
            if coding == "VP8":
                return _told_of_size(size, picture)
    quality = found_quality(picture)
    return told(quality) if quality else LOSSLESS


def _told_of_size(size, picture):
    """What networks are told of a picture that takes so many bytes as WebP or AVIF."""

    def as_jpeg(pixels):
        coded = io.BytesIO()
        Image.fromarray(pixels).save(coded, "JPEG", quality=75)
        return len(coded.getvalue())

    pixels = to_8bit(picture)
    in_jpeg = as_jpeg(pixels) - as_jpeg(np.zeros_like(pixels[:1, :1]))  # without the header
    return float(np.interp(size / max(in_jpeg, 1), BYTES, TOLD))
