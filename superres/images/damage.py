"""Files that Pillow does not read: repaired where no pixel is missing, or the reason."""

import contextlib
import io
import struct
import zlib
from pathlib import Path

from PIL import Image, ImageChops, TiffImagePlugin, UnidentifiedImageError

from superres.images.formats import FORMATS, OTHER_KINDS

FRAMES = {0xF7, *range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # markers of a JPEG's kind
# What a TIFF's tags say: its colours, its numbers, its channels besides the colours.
COLOURS = {0: "grey with white as zero", 1: "grey", 2: "RGB", 3: "palette", 5: "CMYK", 8: "Lab"}
SAMPLES = {2: ", signed", 3: ", floating point", 5: ", complex", 6: ", complex"}
EXTRA = {1: " multiplied by transparency", 2: " with transparency"}


def drop_bad_chunks(chunks):
    """A PNG, in memory, without unneeded chunks of a wrong checksum; and their names."""
    content, bad = [b"\x89PNG\r\n\x1a\n"], []
    for kind, chunk in chunks:
        if kind[0] & 32 and zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:], "big"):
            bad.append(ascii(kind)[2:-1])  # a small letter: the pixels can do without it
        else:
            content.append(chunk)
    return io.BytesIO(b"".join(content)), bad


def decode_without_end(path):
    """A JPEG that lacks only its end marker, decoded; `None` where pixels are missing."""
    content = Path(path).read_bytes().rstrip(b"\xff")
    ends = b"\xff\xd9", 8 * b"\xaa" + b"\xff\xd9"  # of which missing pixels would be made
    picture, other = (Image.open(io.BytesIO(content + end), formats=["JPEG"]) for end in ends)
    return None if ImageChops.difference(picture, other).getbbox() else picture


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
            return f"not a picture of a known kind ({' '.join(FORMATS)}), or damaged at its start"
        if "truncated" in str(error).lower():
            return f"cut off: the end of its {kind} data is missing"
        if kind in ("JPEG", "TIFF"):
            kind = (_describe_jpeg if kind == "JPEG" else _describe_tiff_file)(file) or kind
    is_sound = isinstance(error, UnidentifiedImageError) and " " in kind  # its header is
    return f"{kind}: " + ("not supported" if is_sound else "damaged, or not supported")


def _describe_jpeg(file):
    file.seek(2)
    while len(head := file.read(10)) == 10:
        marker, size, bits, channels = struct.unpack(">xBHB4xB", head)
        if marker in FRAMES:
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
    """What the tags of a TIFF say of its pixels; in a damaged file that may be anything."""
    bits = "/".join(sorted(set(map(str, tags.get(TiffImagePlugin.BITSPERSAMPLE, (1,))))))
    channels, planes, colours, samples, extra, compression = (
        value[0] if isinstance(value := tags.get(tag, default), tuple) else value
        for tag, default in ((277, 1), (284, 1), (262, 0), (339, 1), (338, 0), (259, 1))
    )
    words = f"TIFF of {bits} bits a channel{SAMPLES.get(samples, '')}, {channels} channels"
    words += " in separate planes" * (planes == 2) + f", {COLOURS.get(colours, 'other colours')}"
    return words + EXTRA.get(extra, "") + f", compression {compression}" * (compression != 1)
