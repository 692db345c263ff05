"""Arrays to picture files."""

import math
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from superres.images.formats import JPEG_SUFFIXES, STREAMED, WRITE_OPTIONS, check_storable
from superres.images.metadata import resize_metadata
from superres.images.png import encode_png
from superres.images.tiff import encode_tiff
from superres.runtime.errors import CannotStore
from superres.runtime.files import replacing

MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}  # Pillow's, by the number of channels


def write_picture(path, picture, metadata):
    """Writes a picture in the format of the name's ending, one of `WRITE_OPTIONS`.

    `picture` and `metadata` are as `read_picture` returns them. The file appears under its name
    when it is whole. Raises CannotStore if the format cannot hold it; errors of `replacing`.
    """
    write_bands(path, [picture], picture.shape, picture.dtype, metadata)


def write_bands(path, bands, shape, dtype, metadata):
    """As `write_picture`, for a picture of this shape and dtype in bands from top to bottom.

    PNG and TIFF are written band by band; for the other formats Pillow holds the whole picture.
    """
    check_storable(path, shape, dtype)
    suffix = Path(path).suffix.lower()
    metadata = resize_metadata(metadata, shape[1], shape[0])
    with replacing(path) as part:
        if suffix not in STREAMED:
            _save(part, bands, shape, metadata)
            return
        dtype = np.dtype(dtype)
        rows = max(1, 2**20 // (dtype.itemsize * math.prod(shape[1:])))
        with open(part, "r+b") as file:
            if suffix == ".png":
                encode_png(file, _strips(bands, rows), shape, dtype, metadata)
            else:
                encode_tiff(file, _strips(bands, rows), rows, shape, dtype, metadata)


def _save(part, bands, shape, metadata):
    """Writes the formats that are not streamed, by Pillow."""
    suffix = part.suffix.lower()
    image, done = Image.new(MODES[(*shape, 1)[2]], (shape[1], shape[0])), 0
    for band in bands:
        image.paste(Image.fromarray(band), (0, done))
        done += len(band)
    options = WRITE_OPTIONS[suffix]
    if suffix == ".webp" and metadata.get("lossless"):
        options = {"lossless": True, "exact": True}  # exact: also what alpha hides
    info = {key: metadata[key] for key in ("icc_profile", "exif", "xmp", "dpi") if key in metadata}
    # A JPEG segment holds 64 kB: larger EXIF and XMP are dropped; a profile is split over several.
    if suffix in JPEG_SUFFIXES:
        info = {key: v for key, v in info.items() if key == "icc_profile" or len(v) < 65_500}
    try:
        if suffix == ".bmp" and image.mode in ("LA", "RGBA"):  # Pillow would drop the alpha
            pixels = np.asarray(image.convert("RGBA"))[..., [2, 1, 0, 3]]
            part.write_bytes(cv2.imencode(suffix, pixels)[1].tobytes())
        else:
            image.save(part, **options, **info, extra=metadata.get("segments", b""))
    except Exception as error:  # encoders raise errors of any kind
        if getattr(error, "errno", None):  # of the operating system
            raise
        raise CannotStore(f"cannot be stored as {suffix}: {error}") from error


def _strips(bands, rows):
    """Bands cut into strips of `rows` rows; only the last may have fewer."""
    rest = None
    for band in bands:
        band = band if rest is None else np.concatenate([rest, band])
        *strips, rest = np.split(band, range(rows, len(band) + 1, rows))
        yield from strips
    if len(rest):
        yield rest
