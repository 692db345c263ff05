"""Files that Pillow does not read as they are: mended where pixels allow, or why."""

import contextlib
import io
import struct
import zlib
from pathlib import Path

from PIL import Image, ImageChops, TiffImagePlugin, UnidentifiedImageError

from superres.images.formats import FORMATS

FRAMES = {0xF7, *range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # markers of a JPEG's kind
# First bytes of others, often under the name .jpg.
OTHER_KINDS = {b"ftyphe": "HEIC", b"jP  ": "JPEG 2000", b"\xff\x0a": "JPEG XL", b"JXL ": "JPEG XL"}
OTHER_KINDS |= {b"8BPS": "PSD", b"%PDF": "PDF", b"<svg": "SVG"}
# What a TIFF's tags say: its colours, its numbers, its channels besides the colours.
COLOURS = {0: "grey with white as zero", 1: "grey", 2: "RGB", 3: "palette", 5: "CMYK", 8: "Lab"}
SAMPLES = {2: ", signed", 3: ", floating point", 5: ", complex", 6: ", complex"}
EXTRA = {1: " multiplied by transparency", 2: " with transparency"}


def without_bad_chunks(path):
    """A PNG, in memory, without unneeded chunks of a wrong checksum; and their names."""
    kept, lost, place = [], [], 8
    with open(path, "rb") as file:
        content = file.read(8)
        content += file.read() if content.startswith(b"\x89PNG") else b""
    while place + 12 <= len(content):
        size, kind = struct.unpack_from(">L4s", content, place)
        chunk = content[place : place + size + 12]
        place += len(chunk)
        is_right = zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:], "big")
        if is_right or not kind[0] & 32:  # a small letter: the pixels can do without it
            kept.append(chunk)
        else:
            lost.append(ascii(kind)[2:-1])
    return io.BytesIO(content[:8] + b"".join(kept)), lost


def without_end(path):
    """A JPEG that lacks only its end marker, decoded; `None` where pixels are missing."""
    content = Path(path).read_bytes().rstrip(b"\xff")
    # What is missing would be made of whatever stands in its place.
    ends = b"\xff\xd9", 8 * b"\xaa" + b"\xff\xd9"
    ended = [Image.open(io.BytesIO(content + end), formats=["JPEG"]) for end in ends]
    return None if ImageChops.difference(*ended).getbbox() else ended[0]


def reason(path, error):
    """Why a library fails at a file; its own words are about codes, buffers and modes."""
    if getattr(error, "errno", None):  # of the system
        return error.strerror
    with open(path, "rb") as file:
        head = file.read(16)
        kind = next((name for name in FORMATS if Image.OPEN[name][1](head) is True), None)
        for start, other in OTHER_KINDS.items():
            if start in head:
                return f"{other}: not supported; convert it to PNG or JPEG first"
        if kind is None:
            known = " ".join(FORMATS)
            return f"not a picture of a kind that is known ({known}), or damaged in its first bytes"
        if "truncated" in str(error).lower():
            return f"cut off: the end of its {kind} data is missing"
        if kind in ("JPEG", "TIFF"):
            kind = (_jpeg_kind if kind == "JPEG" else _tiff_kind)(file)
    # Its header could be described, and yet Pillow does not know what to make of it.
    is_sound = isinstance(error, UnidentifiedImageError) and " " in kind
    return f"{kind}: " + ("not supported" if is_sound else "damaged, or not supported")


def _jpeg_kind(file):
    file.seek(2)
    while len(head := file.read(10)) == 10:
        marker, size, bits, channels = struct.unpack(">xBHB4xB", head)
        if marker in FRAMES:
            kind = "JPEG-LS" if marker == 0xF7 else "JPEG"
            return f"{kind} of {bits} bits a channel, {channels} channels (marker {marker:X})"
        file.seek(max(size - 8, 0), 1)
    return "JPEG"


def _tiff_kind(file):
    file.seek(0)
    with contextlib.suppress(OSError, SyntaxError, struct.error):
        tags = TiffImagePlugin.ImageFileDirectory_v2(file.read(8))
        file.seek(tags.next)
        tags.load(file)
        if TiffImagePlugin.IMAGEWIDTH in tags:
            return describe_tiff(tags)
    return "TIFF"


def describe_tiff(tags):
    """What the tags of a TIFF say of its pixels; in a damaged file that may be anything."""
    channels, planes, colours, samples, extra, compression = (
        value[0] if isinstance(value := tags.get(tag, default), tuple) else value
        for tag, default in ((277, 1), (284, 1), (262, 0), (339, 1), (338, 0), (259, 1))
    )
    bits = "/".join(sorted(set(map(str, tags.get(TiffImagePlugin.BITSPERSAMPLE, (1,))))))
    return (
        f"TIFF of {bits} bits a channel{SAMPLES.get(samples, '')}, {channels} channels"
        f"{' in separate planes' if planes == 2 else ''}, {COLOURS.get(colours, 'other colours')}"
        f"{EXTRA.get(extra, '')}" + f", compression {compression}" * (compression != 1)
    )
