"""EXIF, XMP and IPTC: kept byte for byte, but for orientation, sizes and thumbnails.

Nothing is encoded anew: texts are not always ASCII, as EXIF wants them, and maker notes hold
offsets from the start of the EXIF block, so nothing in it may move.
"""

import mmap
import re
import struct

import numpy as np

ORIENTATION, EXIF_IFD, GPS_IFD, INTEROP_IFD = 0x0112, 0x8769, 0x8825, 0xA005
LINKS = {EXIF_IFD, GPS_IFD, INTEROP_IFD}  # to other directories
WIDTHS, HEIGHTS = (256, 0xA002, 0x1001), (257, 0xA003, 0x1002)  # of a picture, in any directory
# TIFF tags of how the file's own pixels lie in it; XMP and colour profile, which are kept apart.
LAYOUT_TAGS = {254, 255, 258, 259, 262, 266, 273, 277, 278, 279, 280, 281, 284, *range(290, 294)}
LAYOUT_TAGS |= {297, 317, 320, 322, 323, 324, 325, 330, *range(332, 342), 347, 400}
LAYOUT_TAGS |= {*range(512, 533), 700, 34675, 50838}
# TIFF tags that are left out with a note; a description only where it counts pages and pixels.
UNFIT_TAGS = {37724: "layers", 34412: "LSM tags", 50839: "ImageJ tags", 50844: "RPC model"}
UNFIT_TAGS |= {0x927C: "maker note", 270: "description by ImageJ, OME or tifffile"}
STACK = re.compile(rb'ImageJ=|\{"shape":|.*<OME\b', re.DOTALL)
# What XMP says of a gain map or video behind the picture.
TRAILERS = rb'\s(hdrgm:|GCamera:M[io])\w+="[^"]*"|<(hdrgm:\w+|GCamera:M[io]\w+)>[^<]*</\2>'
TRAILERS += rb"|<(Container:Directory)>(?s:.*?)</\3>"
# Faces, by their places in the picture before it is turned.
REGIONS = rb"<(mwg-rs:Regions)\b(?s:.*?)</\1>"
TYPE_BYTES = (0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4)  # of a number, by TIFF's types
ORDERS = {b"II*\0": "<", b"MM\0*": ">"}  # struct's, by the first bytes of an EXIF block


def number_at(block, start, size=4):
    """An unsigned number in an EXIF block; 0 behind its end."""
    return int.from_bytes(block[start : start + size], "little" if block[:1] == b"I" else "big")


def entries(block, directory):
    """Yields tag, type, place and slice of the value of a directory's entries.

    Those that are damaged, because their values are not in the block or overlap, are left out.
    """
    end = directory + 2 + 12 * number_at(block, directory, 2)
    left = len(block)
    for place in range(directory + 2, min(end, len(block) - 11), 12):
        tag, kind = number_at(block, place, 2), number_at(block, place + 2, 2)
        size = number_at(block, place + 4) * (TYPE_BYTES[kind] if kind < len(TYPE_BYTES) else 0)
        start = place + 8 if size <= 4 else number_at(block, place + 8)
        if 0 < size <= min(len(block) - start, left):
            left -= size
            yield tag, kind, place, slice(start, start + size)


def upright_exif(block):
    """An EXIF block without orientation and link to its thumbnail; empty where it held no more."""
    block, first = bytearray(block), number_at(block, 4)
    count = number_at(block, first, 2)
    end = first + 2 + 12 * count
    block[end : end + 4] = bytes(4)
    places = {tag: place for tag, _, place, _ in entries(block, first)}
    if place := places.pop(ORIENTATION, None):
        block[place : end + 4] = block[place + 12 : end + 4] + bytes(12)
        struct.pack_into(ORDERS[bytes(block[:4])] + "H", block, first, count - 1)
    return bytes(block) if places.keys() - {WIDTHS[0], HEIGHTS[0]} else b""


def packed(order, tag, kind, value, place):
    """An entry of a directory, and its value where it does not fit in, which must be at `place`."""
    count = len(value) // TYPE_BYTES[kind]
    if len(value) <= 4:
        return struct.pack(order + "HHL4s", tag, kind, count, value), b""
    return struct.pack(order + "HHLL", tag, kind, count, place), value + bytes(len(value) % 2)


def exif_of_tiff(path, directory, lost):
    """An EXIF block with the tags of a TIFF's directory that fit other pictures; none of a BigTIFF.

    What is left out and may be missed is added to the list `lost`.
    """
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as tiff:
        block = bytearray(tiff[:8])
        if not (order := ORDERS.get(tiff[:4])):
            lost.append("its tags, such as EXIF, which are in a BigTIFF's form,")
            return b""

        def copy(directory, links):
            """Adds a directory to the block; returns its place."""
            copied = []
            for tag, kind, _, value in entries(tiff, directory):
                content = tiff[value]
                if tag in UNFIT_TAGS and (tag != 270 or STACK.match(content)):
                    lost.append(f"its {UNFIT_TAGS[tag]}")
                elif tag not in LAYOUT_TAGS | LINKS - links:
                    if tag in LINKS:
                        place = copy(number_at(tiff, value.start), links - {tag})
                        kind, content = 4, struct.pack(order + "L", place)
                    entry, rest = packed(order, tag, kind, content, len(block))
                    copied.append(entry)
                    block.extend(rest)
            place = len(block)
            block.extend(struct.pack(order + "H", len(copied)) + b"".join(copied) + bytes(4))
            return place

        struct.pack_into(order + "L", block, 4, copy(directory, LINKS))
        return bytes(block)


def exif_of_size(block, width, height):
    """An EXIF block for a picture of another size; GeoTIFF's tags are scaled with it."""
    block = bytearray(block.removeprefix(b"Exif\0\0"))
    order, old, directories = ORDERS[bytes(block[:4])], {}, [number_at(block, 4)]
    for directory in directories:
        for tag, _, place, value in entries(block, directory):
            if tag in (EXIF_IFD, INTEROP_IFD) and len(directories) < 3:
                directories.append(number_at(block, value.start))
            elif tag in WIDTHS + HEIGHTS:
                old[tag] = number_at(block, value.start, min(value.stop - value.start, 4))
                number = width if tag in WIDTHS else height
                struct.pack_into(order + "HHLL", block, place, tag, 4, 1, number)
    x, y = width / (old.get(WIDTHS[0]) or width), height / (old.get(HEIGHTS[0]) or height)
    # Pixel scale, tie points (three coordinates in pixels and three of the model), and matrix.
    geo = {33550: (1 / x, 1 / y, 1), 33922: (x, y, 1, 1, 1, 1), 34264: (1 / x, 1 / y, 1, 1)}
    for tag, kind, _, value in entries(block, directories[0]):
        if tag in geo and kind == 12:
            numbers = np.frombuffer(block[value], order + "f8")
            numbers = numbers * np.resize(geo[tag], len(numbers))
            block[value] = numbers.astype(order + "f8").tobytes()
    return b"Exif\0\0" + block


def with_number(xmp, names, number):
    """XMP in which properties, by their names with | between them, have another number."""
    return re.sub(rf"""(\b({names})\s*(=\s*["']|>)\s*)\d+""".encode(), rb"\g<1>%d" % number, xmp)


def jpeg_segments(segments):
    """Those of a JPEG's segments, one after the other, that hold IPTC, and XMP beyond 64 kB."""
    kept = {b"http://ns.adobe.com/xmp/extension/\0": 0xE1, b"Photoshop 3.0\0": 0xED}
    return b"".join(
        struct.pack(">BBH", 255, mark, len(segment) + 2) + segment
        for start, mark in kept.items()
        for segment in segments
        if segment.startswith(start)
    )


def resized(metadata, width, height):
    """Metadata for a picture of another size."""
    changed = {}
    if "exif" in metadata:
        changed["exif"] = exif_of_size(metadata["exif"], width, height)
    if "xmp" in metadata:
        xmp = with_number(metadata["xmp"], "exif:PixelXDimension|tiff:ImageWidth", width)
        changed["xmp"] = with_number(xmp, "exif:PixelYDimension|tiff:ImageLength", height)
    return metadata | changed
