"""Repairs files that Pillow cannot read but that have all pixels; explains the others."""

import contextlib
import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, TiffImagePlugin, TiffTags, UnidentifiedImageError

from superres.images.formats import FORMATS, OTHER_KINDS

FRAME_MARKERS = {0xF7, *range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # of JPEG-LS and JPEG
# BitsPerSample, Compression, PhotometricInterpretation, SamplesPerPixel, PlanarConfiguration,
# ExtraSamples, SampleFormat.
TIFF_KIND = 258, 259, 262, 277, 284, 338, 339


def drop_bad_chunks(chunks):
    """A PNG in memory, without optional chunks whose checksum is wrong; and their names."""
    content, bad = [b"\x89PNG\r\n\x1a\n"], []
    for kind, chunk in chunks:
        is_optional = kind[0] & 32  # a small first letter
        if is_optional and zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:], "big"):
            bad.append(ascii(kind)[2:-1])
        else:
            content.append(chunk)
    return io.BytesIO(b"".join(content)), bad


def decode_without_end(path):
    """Decodes a JPEG that lacks only its end marker; `None` if pixels are missing."""
    content = Path(path).read_bytes().rstrip(b"\xff")
    # Decoded with each ending, pixels that the file lacks come out different.
    ends = b"\xff\xd9", 8 * b"\xaa" + b"\xff\xd9"
    picture, other = (Image.open(io.BytesIO(content + end), formats=["JPEG"]) for end in ends)
    return None if ImageChops.difference(picture, other).getbbox() else picture


def reason(path, error):
    """Why a library cannot read a file, in words that say more to a user than its own."""
    if getattr(error, "errno", None):  # of the operating system
        return error.strerror
    with open(path, "rb") as file:
        head = file.read(16)
        kind = next((name for name in FORMATS if Image.OPEN[name][1](head) is True), None)
        for start, other in OTHER_KINDS.items():
            if start in head:
                return f"{other}: not supported; convert it to PNG or JPEG first"
        if kind is None:
            return f"not a picture of a known kind ({' '.join(FORMATS)}), or damaged at its start"
        if "truncated" in str(error).lower():
            return f"cut off: the end of its {kind} data is missing"
        if kind in ("JPEG", "TIFF"):
            details = (_describe_jpeg if kind == "JPEG" else _describe_tiff_file)(file)
            if details and isinstance(error, UnidentifiedImageError):  # we could parse its header
                return f"{details}: not supported"
            kind = details or kind
    return f"{kind}: damaged, or not supported"


def _describe_jpeg(file):
    file.seek(2)
    while len(head := file.read(10)) == 10:
        marker, size, bits, channels = struct.unpack(">xBHB4xB", head)
        if marker in FRAME_MARKERS:
            kind = "JPEG-LS" if marker == 0xF7 else "JPEG"
            return f"{kind} of {bits} bits a channel, {channels} channels (marker {marker:X})"
        file.seek(max(size - 8, 0), 1)


def _describe_tiff_file(file):
    file.seek(0)
    with contextlib.suppress(OSError, SyntaxError, struct.error):
        tags = TiffImagePlugin.ImageFileDirectory_v2(file.read(8))
        file.seek(tags.next)
        tags.load(file)
        if TiffImagePlugin.IMAGEWIDTH in tags:
            return describe_tiff(tags)


def describe_tiff(tags):
    """The kind of a TIFF as names and values of tags, without the usual values of 1."""
    values = (np.atleast_1d(tags.get(tag, 1)).tolist() for tag in TIFF_KIND)
    kinds = ("/".join(map(str, dict.fromkeys(value))) for value in values)
    names = (TiffTags.lookup(tag).name for tag in TIFF_KIND)
    pairs = zip(names, kinds, strict=True)
    return f"TIFF with {', '.join(f'{name} {kind}' for name, kind in pairs if kind != '1')}"
