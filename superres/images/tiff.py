"""TIFF files of 8 or 16 bits a channel, written strip by strip."""

import struct
import zlib

from PIL import TiffImagePlugin as tiff

from superres.images.metadata import LAYOUT_TAGS, ORDERS, entries, number_at, write_directory
from superres.runtime.errors import CannotStore

BYTE, SHORT, LONG, UNDEFINED = 1, 3, 4, 7  # types of tags
LETTERS = {SHORT: "H", LONG: "L"}  # struct's


def encode_tiff(file, strips, rows, shape, dtype, metadata):
    """Writes a TIFF file of 8 or 16 bits from strips of `rows` rows.

    Pillow cannot write 16 bits in colour, OpenCV no metadata, and libtiff, in Pillow, no EXIF. The
    file begins with the EXIF block, in which nothing moves. Then come the strips, deflated
    differences between neighbours, and a directory of the block's and the picture's tags.
    """
    height, width, channels = (*shape, 1)[:3]
    block = metadata.get("exif", b"Exif\0\0II*\0\0\0\0\0").removeprefix(b"Exif\0\0")
    order = ORDERS[block[:4]]
    file.write(block + bytes(len(block) % 2))
    offsets, sizes = [], []
    for strip in strips:
        differences = strip.astype(dtype.newbyteorder(order))
        differences[:, 1:] -= strip[:, :-1]
        offsets.append(file.tell())
        sizes.append(file.write(zlib.compress(differences)))
        if file.tell() >= 2**32 - 2**26:  # with room for the directory
            raise CannotStore("more than 4 GB: a TIFF file holds less")
    file.write(bytes(file.tell() % 2))

    def numbers(kind, *values):
        return kind, struct.pack(f"{order}{len(values)}{LETTERS[kind]}", *values)

    tags = {
        tiff.IMAGEWIDTH: numbers(LONG, width),
        tiff.IMAGELENGTH: numbers(LONG, height),
        tiff.BITSPERSAMPLE: numbers(SHORT, *[8 * dtype.itemsize] * channels),
        tiff.COMPRESSION: numbers(SHORT, 8),
        tiff.PHOTOMETRIC_INTERPRETATION: numbers(SHORT, 1 if channels < 3 else 2),
        tiff.STRIPOFFSETS: numbers(LONG, *offsets),
        tiff.SAMPLESPERPIXEL: numbers(SHORT, channels),
        tiff.ROWSPERSTRIP: numbers(LONG, rows),
        tiff.STRIPBYTECOUNTS: numbers(LONG, *sizes),
        tiff.PLANAR_CONFIGURATION: numbers(SHORT, 1),
        tiff.PREDICTOR: numbers(SHORT, 2),
        tiff.EXTRASAMPLES: numbers(SHORT, *[2] * (channels in (2, 4))),  # alpha, not multiplied
        tiff.XMP: (BYTE, metadata.get("xmp")),
        tiff.ICCPROFILE: (UNDEFINED, metadata.get("icc_profile")),
    }
    values = ((tag, *value) for tag, value in tags.items() if value[1])
    old = entries(block, number_at(block, 4))
    directory = {tag: block[at : at + 12] for tag, _, at, _ in old if tag not in LAYOUT_TAGS}
    place = write_directory(file, order, values, directory)
    file.seek(4)
    file.write(struct.pack(order + "L", place))
