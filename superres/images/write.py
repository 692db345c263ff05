"""Arrays to picture files."""

import math
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from superres.images.formats import (
    JPEG,
    MODES,
    PNG_COLOURS,
    STREAMED,
    WRITE_OPTIONS,
    check_storable,
)
from superres.images.metadata import resized
from superres.images.png import encode_png
from superres.images.tiff import encode_tiff
from superres.runtime.errors import CannotStore
from superres.runtime.files import replacing


def write_picture(path, picture, metadata):
    """Writes a picture, in the format that the name's ending says.

    The file appears under its name when it is whole, and replaces an older one then.

    Args:
        path: file with one of the endings of `WRITE_OPTIONS`, in an existing folder.
        picture: array as `read_picture` returns it.
        metadata: as `read_picture` returns it.

    Raises:
        CannotStore: the format cannot hold such a picture.
        OSError, InputError: the file cannot be written, as `replacing`.
    """
    write_bands(path, [picture], picture.shape, picture.dtype, metadata)


def write_bands(path, bands, shape, dtype, metadata):
    """As `write_picture`, but takes the picture in bands from top to bottom.

    PNG and TIFF are written band by band, so that the picture is never in memory as a
    whole; for the other formats Pillow holds it once.

    Args:
        bands: iterable of arrays (rows, W) or (rows, W, C).
        shape, dtype: of the picture that they make up.
    """
    check_storable(path, shape, dtype)
    suffix = Path(path).suffix.lower()
    metadata = resized(metadata, shape[1], shape[0])
    kept = {key: value for key, value in metadata.items() if key in ("icc_profile", "exif", "xmp")}
    of_png = {
        key: v for key, v in metadata.items() if key in (*PNG_COLOURS, "cicp", "dpi", "texts")
    }
    with replacing(path) as part:
        if suffix in STREAMED:
            rows = max(1, 2**20 // (np.dtype(dtype).itemsize * math.prod(shape[1:])))
            strips = _strips(bands, rows)
            with open(part, "r+b") as file:
                if suffix == ".png":
                    encode_png(file, strips, shape, np.dtype(dtype), kept | of_png)
                else:
                    encode_tiff(file, strips, rows, shape, np.dtype(dtype), metadata)
            return
        image = Image.new(MODES[shape[2] if len(shape) == 3 else 1], (shape[1], shape[0]))
        done = 0
        for band in bands:
            image.paste(Image.fromarray(band), (0, done))
            done += len(band)
        options = WRITE_OPTIONS[suffix]
        if metadata.get("dpi") and suffix in (*JPEG, ".bmp"):
            options = options | {"dpi": metadata["dpi"]}
        if suffix == ".webp" and metadata.get("lossless"):
            options = {"lossless": True, "exact": True}  # exact: also what alpha hides
        if suffix in JPEG:  # a segment holds 64 kB
            kept = {k: v for k, v in kept.items() if k == "icc_profile" or len(v) < 65_500}
            kept["extra"] = metadata.get("segments", b"")
        try:
            if suffix == ".bmp" and image.mode in ("LA", "RGBA"):  # Pillow would drop the alpha
                pixels = np.asarray(image.convert("RGBA"))[..., [2, 1, 0, 3]]
                part.write_bytes(cv2.imencode(suffix, pixels)[1].tobytes())
            else:
                image.save(part, **options, **kept)
        except Exception as error:  # encoders raise errors of any kind
            if getattr(error, "errno", None):  # of the system
                raise
            raise CannotStore(f"cannot be stored as {suffix}: {error}") from error


def _strips(bands, rows):
    """The bands of a picture, cut anew: all of `rows` rows but the last."""
    rest = None
    for band in bands:
        band = band if rest is None else np.concatenate([rest, band])
        whole = len(band) - len(band) % rows
        yield from (band[first : first + rows] for first in range(0, whole, rows))
        rest = band[whole:]
    if len(rest):
        yield rest
