"""TIFF files of any depth, written strip by strip."""

import math
import struct
import zlib

from PIL import Image, TiffImagePlugin, TiffTags

from superres.runtime.errors import CannotStore


def encode_tiff(file, strips, rows, shape, dtype, kept):
    """Writes a TIFF file of any depth from its strips of `rows` rows.

    Pillow cannot write 16 bits in colour, nor OpenCV metadata, and libtiff, through Pillow,
    fails at EXIF. So the directory alone is Pillow's; the strips behind it are deflated
    differences between neighbours (compression 8, predictor 2).
    """
    height, width, channels = (*shape, 1)[:3]
    exif = Image.Exif()
    exif.load(kept.get("exif"))
    tags = TiffImagePlugin.ImageFileDirectory_v2(prefix=b"II")
    for tag in exif:
        tags[tag] = exif.get_ifd(tag) if tag in TiffTags.TAGS_V2_GROUPS else exif[tag]
    tags[TiffImagePlugin.IMAGEWIDTH], tags[TiffImagePlugin.IMAGELENGTH] = width, height
    tags[TiffImagePlugin.BITSPERSAMPLE] = (8 * dtype.itemsize,) * channels
    tags[TiffImagePlugin.SAMPLESPERPIXEL] = channels
    tags[TiffImagePlugin.PHOTOMETRIC_INTERPRETATION] = 1 if channels < 3 else 2
    tags[TiffImagePlugin.COMPRESSION], tags[TiffImagePlugin.PREDICTOR] = 8, 2
    tags[TiffImagePlugin.PLANAR_CONFIGURATION] = 1
    tags[TiffImagePlugin.ROWSPERSTRIP] = rows
    if channels in (2, 4):
        tags[TiffImagePlugin.EXTRASAMPLES] = 2  # alpha, not multiplied into the colours
    if "icc_profile" in kept:
        tags[TiffImagePlugin.ICCPROFILE] = kept["icc_profile"]

    def directory(offsets, sizes):
        # As numbers of 32 bits, so that its length is known before they are.
        for tag, numbers in (
            (TiffImagePlugin.STRIPOFFSETS, offsets),
            (TiffImagePlugin.STRIPBYTECOUNTS, sizes),
        ):
            tags.tagtype[tag] = TiffTags.LONG
            tags[tag] = tuple(numbers)
        return tags.tobytes(8)

    count = math.ceil(height / rows)
    file.write(struct.pack("<2sHL", b"II", 42, 8))
    start = file.seek(8 + len(directory([0] * count, [0] * count)))
    offsets, sizes = [], []
    for strip in strips:
        differences = strip.astype(dtype.newbyteorder("<"))
        differences[:, 1:] -= strip[:, :-1]
        offsets.append(file.tell() - start)  # Pillow adds the length of the directory
        sizes.append(file.write(zlib.compress(differences)))
        if file.tell() >= 2**32:
            raise CannotStore("more than 4 GB: a TIFF file holds less")
    file.seek(8)
    file.write(directory(offsets, sizes))
