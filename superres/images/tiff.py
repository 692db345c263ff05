"""TIFF files of any depth, written strip by strip."""

import struct
import zlib

from PIL import TiffImagePlugin as tiff

from superres.images.metadata import LAYOUT_TAGS, ORDERS, entries, number_at, packed
from superres.runtime.errors import CannotStore

BYTE, SHORT, LONG, UNDEFINED = 1, 3, 4, 7  # types of tags


def encode_tiff(file, strips, rows, shape, dtype, kept):
    """Writes a TIFF file of any depth from its strips of `rows` rows.

    Pillow cannot write 16 bits in colour, nor OpenCV metadata, and libtiff, through Pillow,
    fails at EXIF. The file begins with the EXIF block, so that all in it keeps its place. Behind
    it come the strips, deflated differences between neighbours (compression 8, predictor 2), and
    a directory with the block's tags and those of the picture.
    """
    height, width, channels = (*shape, 1)[:3]
    block = kept.get("exif", b"Exif\0\0II*\0\0\0\0\0").removeprefix(b"Exif\0\0")
    order = ORDERS[block[:4]]
    file.write(block + bytes(len(block) % 2))
    offsets, sizes = [], []
    for strip in strips:
        differences = strip.astype(dtype.newbyteorder(order))
        differences[:, 1:] -= strip[:, :-1]
        offsets.append(file.tell())
        sizes.append(file.write(zlib.compress(differences)))
        if file.tell() >= 2**32 - 2**26:  # with room for what follows
            raise CannotStore("more than 4 GB: a TIFF file holds less")
    file.write(bytes(file.tell() % 2))
    tags = {
        (tiff.IMAGEWIDTH, LONG): [width],
        (tiff.IMAGELENGTH, LONG): [height],
        (tiff.BITSPERSAMPLE, SHORT): [8 * dtype.itemsize] * channels,
        (tiff.COMPRESSION, SHORT): [8],
        (tiff.PHOTOMETRIC_INTERPRETATION, SHORT): [1 if channels < 3 else 2],
        (tiff.STRIPOFFSETS, LONG): offsets,
        (tiff.SAMPLESPERPIXEL, SHORT): [channels],
        (tiff.ROWSPERSTRIP, LONG): [rows],
        (tiff.STRIPBYTECOUNTS, LONG): sizes,
        (tiff.PLANAR_CONFIGURATION, SHORT): [1],
        (tiff.PREDICTOR, SHORT): [2],
        # 2: alpha, not multiplied into the colours
        (tiff.EXTRASAMPLES, SHORT): [2] if channels in (2, 4) else [],
        (tiff.XMP, BYTE): kept.get("xmp"),
        (tiff.ICCPROFILE, UNDEFINED): kept.get("icc_profile"),
    }
    directory = {
        tag: block[place : place + 12]
        for tag, _, place, _ in entries(block, number_at(block, 4))
        if tag not in LAYOUT_TAGS
    }
    for (tag, kind), value in tags.items():
        if value:
            if kind in (SHORT, LONG):
                value = struct.pack(f"{order}{len(value)}{'H' if kind == SHORT else 'L'}", *value)
            directory[tag], rest = packed(order, tag, kind, value, file.tell())
            file.write(rest)
    place = file.tell()
    file.write(struct.pack(order + "H", len(directory)))
    file.write(b"".join(entry for _, entry in sorted(directory.items())) + bytes(4))
    file.seek(4)
    file.write(struct.pack(order + "L", place))
