"""PNG files of any depth, written strip by strip."""

import math
import struct
import zlib

import numpy as np


def encode_png(file, strips, shape, dtype, kept):
    """Writes a PNG file of any depth from its strips.

    Pillow writes 8 bits only, and both it and OpenCV need the whole picture in memory.
    Every byte is stored as its difference to Paeth's guess (filter 4): on enlarged
    photographs that is as small as choosing among PNG's five filters for each row.
    """

    def chunk(kind, data):
        file.write(struct.pack(">L", len(data)) + kind + data)
        file.write(struct.pack(">L", zlib.crc32(data, zlib.crc32(kind))))

    height, width, *channels = shape
    kind = {(): 0, (2,): 4, (3,): 2, (4,): 6}[tuple(channels)]
    file.write(b"\x89PNG\r\n\x1a\n")
    chunk(b"IHDR", struct.pack(">2L5B", width, height, 8 * dtype.itemsize, kind, 0, 0, 0))
    if "cicp" in kept:
        chunk(b"cICP", kept["cicp"])
    if "srgb" in kept:
        chunk(b"sRGB", bytes([kept["srgb"]]))
    if "gamma" in kept:
        chunk(b"gAMA", struct.pack(">L", round(1e5 * kept["gamma"])))
    if "chromaticity" in kept:
        chunk(b"cHRM", struct.pack(">8L", *(round(1e5 * v) for v in kept["chromaticity"])))
    if "icc_profile" in kept:
        chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(kept["icc_profile"]))
    if "dpi" in kept:
        chunk(b"pHYs", struct.pack(">2LB", *(round(v / 0.0254) for v in kept["dpi"]), 1))
    if "exif" in kept:
        chunk(b"eXIf", kept["exif"].removeprefix(b"Exif\0\0"))
    deflate = zlib.compressobj(strategy=zlib.Z_FILTERED)  # fewer matches, more Huffman
    step = dtype.itemsize * math.prod(channels)  # from a pixel's byte to its neighbour's
    above = np.zeros(width * step, np.uint8)
    for strip in strips:
        lines = strip.astype(dtype.newbyteorder(">")).reshape(len(strip), -1).view(np.uint8)
        # With the row above, and black pixels on the left.
        known = np.pad(np.concatenate([above[None], lines]), ((0, 0), (step, 0)))
        filtered = np.full((len(lines), 1 + lines.shape[1]), 4, np.uint8)
        filtered[:, 1:] = lines - _paeth(known[1:, :-step], known[:-1, step:], known[:-1, :-step])
        above = lines[-1]
        if packed := deflate.compress(filtered):
            chunk(b"IDAT", packed)
    chunk(b"IDAT", deflate.flush())
    chunk(b"IEND", b"")


def _paeth(left, up, corner):
    """PNG's guess of a byte from three neighbours: the one nearest to left + up - corner."""
    far_left = np.abs(np.subtract(up, corner, dtype=np.int16))
    far_up = np.abs(np.subtract(left, corner, dtype=np.int16))
    far_corner = np.abs(np.add(left, up, dtype=np.int16) - 2 * corner.astype(np.int16))
    is_left = (far_left <= far_up) & (far_left <= far_corner)
    return np.where(is_left, left, np.where(far_up <= far_corner, up, corner))
