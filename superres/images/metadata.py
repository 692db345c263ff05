"""EXIF, XMP and IPTC: kept byte for byte, except orientation, sizes and thumbnails.

Writing EXIF anew would break text that is not ASCII, and the offsets in maker notes.
"""

import io
import mmap
import re
import struct

import numpy as np

ORIENTATION, EXIF_IFD, GPS_IFD, INTEROP_IFD = 0x0112, 0x8769, 0x8825, 0xA005
LINKS = {EXIF_IFD, GPS_IFD, INTEROP_IFD}  # to other directories
WIDTHS, HEIGHTS = (256, 0xA002, 0x1001), (257, 0xA003, 0x1002)  # of a picture, in any directory
# TIFF tags of the layout of pixels in the file, and of XMP and colour profile, which Pillow reads.
LAYOUT_TAGS = {254, 255, 258, 259, 262, 266, 273, *range(277, 282), 284, *range(290, 294), 297, 317}
LAYOUT_TAGS |= {320, *range(322, 326), 330, *range(332, 342), 347, 400, *range(512, 533), 700}
LAYOUT_TAGS |= {34675, 50838}
# TIFF tags left out with a note; a description only if STACK matches: it states a number of pages.
UNFIT_TAGS = {37724: "layers", 34412: "LSM tags", 50839: "ImageJ tags", 50844: "RPC model"}
UNFIT_TAGS |= {0x927C: "maker note", 270: "description by ImageJ, OME or tifffile"}
STACK = re.compile(rb'ImageJ=|\{"shape":|.*<OME\b', re.DOTALL)
TYPE_BYTES = (0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4)  # of a number, by TIFF's types
ORDERS = {b"II*\0": "<", b"MM\0*": ">"}  # struct's, by the first bytes of an EXIF block


def number_at(block, start, size=4):
    """An unsigned number in an EXIF block; 0 beyond its end."""
    return int.from_bytes(block[start : start + size], "little" if block[:1] == b"I" else "big")


def entries(block, directory):
    """Yields tag, type, offset of the entry, and slice of its value, if that lies in the block."""
    end = directory + 2 + 12 * number_at(block, directory, 2)
    budget = len(block)  # of all values together; those of a damaged file may overlap
    for place in range(directory + 2, min(end, len(block) - 11), 12):
        tag, kind = number_at(block, place, 2), number_at(block, place + 2, 2)
        size = number_at(block, place + 4) * (TYPE_BYTES[kind] if kind < len(TYPE_BYTES) else 0)
        start = place + 8 if size <= 4 else number_at(block, place + 8)
        if 0 < size <= min(len(block) - start, budget):
            budget -= size
            yield tag, kind, place, slice(start, start + size)


def write_directory(file, order, values, directory):
    """Adds values (tag, type, bytes) to `directory`, {tag: entry}, and writes both."""
    for tag, kind, value in values:
        count, place = len(value) // TYPE_BYTES[kind], file.tell()
        if len(value) > 4:
            file.write(value + bytes(len(value) % 2))
            value = struct.pack(order + "L", place)
        directory[tag] = struct.pack(order + "HHL4s", tag, kind, count, value)
    place = file.tell()
    file.write(struct.pack(order + "H", len(directory)))
    file.write(b"".join(entry for _, entry in sorted(directory.items())) + bytes(4))
    return place


def upright_exif(block):
    """EXIF without orientation and thumbnail; empty if it had nothing else, `None` if damaged."""
    order, first, block = ORDERS.get(block[:4]), number_at(block, 4), bytearray(block)
    if not order or first >= len(block):
        return None
    count = number_at(block, first, 2)
    end = first + 2 + 12 * count
    block[end : end + 4] = bytes(4)
    places = {tag: place for tag, _, place, _ in entries(block, first)}
    if place := places.pop(ORIENTATION, None):
        block[place : end + 4] = block[place + 12 : end + 4] + bytes(12)
        struct.pack_into(order + "H", block, first, count - 1)
    return bytes(block) if places.keys() - {WIDTHS[0], HEIGHTS[0]} else b""


def exif_of_tiff(path, directory, lost):
    """An EXIF block of the tags of a TIFF that still fit; adds the names of others to `lost`."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as tiff:
        if not (order := ORDERS.get(tiff[:4])):
            lost.append("tags such as EXIF (in a BigTIFF's form)")
            return b""

        def values(directory, links):
            for tag, kind, _, value in entries(tiff, directory):
                if tag in UNFIT_TAGS and (tag != 270 or STACK.match(tiff[value])):
                    lost.append(UNFIT_TAGS[tag])
                elif tag in links:
                    linked = values(number_at(tiff, value.start), links - {tag})
                    place = write_directory(block, order, linked, {})
                    yield tag, 4, struct.pack(order + "L", place)
                elif tag not in LAYOUT_TAGS | LINKS:
                    yield tag, kind, tiff[value]

        block = io.BytesIO()
        block.write(tiff[:8])
        first = write_directory(block, order, values(directory, LINKS), {})
        return tiff[:4] + struct.pack(order + "L", first) + block.getvalue()[8:]


def resize_exif(block, width, height):
    """An EXIF block with the picture's new width and height; GeoTIFF's tags are scaled."""
    block = bytearray(block.removeprefix(b"Exif\0\0"))
    order, directories = ORDERS[bytes(block[:4])], [number_at(block, 4)]
    old, new = {}, dict.fromkeys(WIDTHS, width) | dict.fromkeys(HEIGHTS, height)
    for directory in directories:
        for tag, _, place, value in entries(block, directory):
            if tag in (EXIF_IFD, INTEROP_IFD) and len(directories) < 3:
                directories.append(number_at(block, value.start))
            elif tag in new:
                old[tag] = number_at(block, value.start, min(value.stop - value.start, 4))
                struct.pack_into(order + "HHLL", block, place, tag, 4, 1, new[tag])
    x, y = width / (old.get(WIDTHS[0]) or width), height / (old.get(HEIGHTS[0]) or height)
    # Pixel scale, tie points (three coordinates in pixels and three of the model), and matrix.
    geo = {33550: (1 / x, 1 / y, 1), 33922: (x, y, 1, 1, 1, 1), 34264: (1 / x, 1 / y, 1, 1)}
    for tag, kind, _, value in entries(block, directories[0]):
        if tag in geo and kind == 12:
            numbers = np.frombuffer(memoryview(block)[value], order + "f8")
            numbers *= np.resize(geo[tag], len(numbers))
    return b"Exif\0\0" + block


def set_number(xmp, names, number):
    """XMP with another number in the properties `names`, with | between them."""
    return re.sub(rf"""(\b({names})\s*(=\s*["']|>)\s*)\d+""".encode(), rb"\g<1>%d" % number, xmp)


def resize_metadata(metadata, width, height):
    """Metadata for a picture of another size."""
    metadata = dict(metadata)
    if "exif" in metadata:
        metadata["exif"] = resize_exif(metadata["exif"], width, height)
    if "xmp" in metadata:
        xmp = set_number(metadata["xmp"], "exif:PixelXDimension|tiff:ImageWidth", width)
        metadata["xmp"] = set_number(xmp, "exif:PixelYDimension|tiff:ImageLength", height)
    return metadata
