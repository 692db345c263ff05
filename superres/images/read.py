"""Picture files to arrays, upright, with what must go back into the output."""

import contextlib
import io
import logging
import math
import os
import re
import struct
import warnings
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageCms, PngImagePlugin, TiffImagePlugin, UnidentifiedImageError

from superres.images.damage import describe_tiff, reason, without_bad_chunks, without_end
from superres.images.formats import FORMATS, MAX_PIXELS, PNG_COLOURS
from superres.images.metadata import (
    ORDERS,
    ORIENTATION,
    REGIONS,
    TRAILERS,
    exif_of_tiff,
    jpeg_segments,
    number_at,
    upright_exif,
    with_number,
)
from superres.images.pixels import to_8bit
from superres.runtime.errors import UnreadablePicture

# The libraries' own words about files, of which `read_picture` says itself what matters.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").setLevel(logging.CRITICAL)
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
# Bytes a pixel while a picture is decoded: the decoder's copy, ours, and one in between.
DECODING_BYTES, DEEP_DECODING_BYTES = 12, 24
SUBFILE, NO_PICTURE, SUBDIRECTORIES = 254, (1, 3, 4, 5), 330  # in TIFF: thumbnails and masks
# A PNG's texts, but for XMP and what ImageMagick writes, EXIF among it.
TEXTS = (b"tEXt", b"zTXt", b"iTXt")
KEPT_APART = (b"XML:com.adobe.xmp", *(b"Raw profile type " + k for k in (b"e", b"x", b"A", b"ic")))
# For each EXIF orientation: whether to swap rows and columns, then flip rows, columns.
UPRIGHT = {
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


def read_picture(path, max_pixels=MAX_PIXELS, max_bytes=math.inf):
    """Reads a picture file, upright.

    Args:
        path: file in one of the formats of `SUFFIXES`; of an animation or of several
            pages the first is read.
        max_pixels: refuse larger pictures, before they are decoded.
        max_bytes: refuse pictures that take more memory while they are decoded.

    Returns:
        The pixels: uint8 (or uint16 from a 16-bit PNG or TIFF), (H, W) grey, (H, W, 2)
        grey and alpha, (H, W, 3) RGB or (H, W, 4) RGB and alpha.
        What must go back into the output: a dict that `write_picture` takes, with what there is of
        `icc_profile`, `exif` and `xmp` (bytes), `segments` (bytes of a JPEG, with IPTC), `dpi`
        (pair of numbers), of a PNG `srgb`, `gamma`, `chromaticity` (what Pillow makes of its
        chunks), `cicp` (bytes) and `texts` (pairs of bytes), `lossless` (True for such a WebP),
        and `lost` (list of texts: what of the file is neither in the pixels nor here).

    Raises:
        UnreadablePicture: with the reason.
    """
    with opened(path) as file:
        return _read_open(file, path, max_pixels, max_bytes)


def picture_size(path, max_pixels=MAX_PIXELS):
    """Height and width of a picture file as its header has them; nothing is decoded.

    Raises:
        UnreadablePicture: with the reason; also when it has more pixels than `max_pixels`.
    """
    with opened(path) as file:
        _check_pixel_count(file, max_pixels)
        return file.height, file.width


def opened(path):
    """A picture file opened by Pillow, which closes it as a context."""
    with decoding(path), contextlib.suppress(UnidentifiedImageError):
        if not Path(path).is_file():
            raise UnreadablePicture("not a regular file")
        if not Path(path).stat().st_size:
            raise UnreadablePicture("empty file")
        Image.init()  # or Pillow would not know all of FORMATS
        Image.MAX_IMAGE_PIXELS = None  # our own limit stands in its place
        PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY  # profiles of 3 MB exist
        file = Image.open(path, formats=FORMATS)
        if file.format == "TIFF" and file.tag_v2.get(SUBFILE) in NO_PICTURE:
            if SUBDIRECTORIES in file.tag_v2:
                raise UnreadablePicture("a thumbnail, the picture is in a SubIFD: not supported")
            is_picture = [_is_picture(file, page) for page in range(file.n_frames)]
            file.seek(is_picture.index(True) if True in is_picture else 0)
        return file
    content, bad = without_bad_chunks(path)
    with decoding(path):
        file = Image.open(content if bad else path, formats=FORMATS)
    file.bad_chunks = bad
    return file


def _is_picture(file, page):
    file.seek(page)
    return file.tag_v2.get(SUBFILE) not in NO_PICTURE


@contextlib.contextmanager
def decoding(path):
    """Around calls of the libraries alone: their errors become `UnreadablePicture`."""
    try:
        yield
    except (UnreadablePicture, MemoryError):
        raise
    except Exception as error:  # on damaged files the decoders raise errors of any kind
        raise UnreadablePicture(reason(path, error)) from None


def _check_pixel_count(file, max_pixels):
    if file.width * file.height > max_pixels:
        raise UnreadablePicture(
            f"{file.width}x{file.height} pixels: expected at most {max_pixels:,} in all"
        )


def _read_open(file, path, max_pixels, max_bytes):
    """`read_picture` for a file that Pillow has opened but not decoded."""
    _check_pixel_count(file, max_pixels)
    raw_modes = " ".join(str(tile.args) for tile in file.tile)  # gone once it is decoded
    is_deep = _is_deep(file, raw_modes)
    needed = file.width * file.height * (DEEP_DECODING_BYTES if is_deep else DECODING_BYTES)
    if needed > max_bytes:
        raise UnreadablePicture(
            f"{file.width}x{file.height} pixels: decoding takes up to {needed / 2**30:.1f} GB of "
            f"memory, {max_bytes / 2**30:.1f} are free"
        )
    metadata = {"icc_profile": file.info.get("icc_profile"), "lost": []}
    # TIFF has it among its tags, and so has a JPEG without its own.
    if file.format in ("PNG", "BMP") or file.info.get("jfif_unit"):
        metadata["dpi"] = file.info.get("dpi")
    _take_first_picture(file, path, metadata, is_deep)
    if file.format == "PNG":
        _take_png_chunks(file, path, metadata)
    if file.format == "WEBP":
        metadata["lossless"] = webp_coding(path)[0] == "VP8L"
    if file.format == "AVIF":
        _refuse_wide_colours(path)
    if file.format == "TIFF" and "X" in raw_modes:
        metadata["lost"].append("its channels beyond colour and alpha, such as near-infrared,")
    if is_deep and file.mode == "CMYK":
        metadata["lost"].append("8 of its 16 bits a channel, in the conversion from CMYK")
        is_deep = False
    if is_deep:
        pixels = _read_deep(file, path, raw_modes)
    else:
        pixels = _read_shallow(file, path, metadata, raw_modes)
    orientation = _take_exif(file, path, metadata)
    _take_xmp(file, path, metadata, orientation)
    # Pillow has turned an 8-bit TIFF's pixels itself and changed the tag. So has OpenCV.
    orientation = 1 if is_deep and file.format == "TIFF" else orientation
    swap, flip_rows, flip_columns = UPRIGHT.get(orientation, UPRIGHT[1])
    pixels = pixels.swapaxes(0, 1) if swap else pixels
    pixels = pixels[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]
    return np.ascontiguousarray(pixels), {k: v for k, v in metadata.items() if v or k == "srgb"}


def _is_deep(file, raw_modes):
    """Whether a file has 16 bits a channel; refuses what no decoder here gets right."""
    if file.format == "PNG":
        return ";16" in raw_modes
    if file.format != "TIFF":
        return False
    bits = set(file.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (1,)))
    is_deep = bits == {16}
    if (
        not bits <= {1, 2, 4, 8, 16}
        or set(file.tag_v2.get(TiffImagePlugin.SAMPLEFORMAT, (1,))) != {1}
        or (is_deep and file.tag_v2.get(TiffImagePlugin.PLANAR_CONFIGURATION, 1) != 1)
        or (is_deep and file.tag_v2.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0)
    ):
        raise UnreadablePicture(f"{describe_tiff(file.tag_v2)}: not supported")
    return is_deep


def _take_first_picture(file, path, metadata, is_deep):
    """Goes to the first picture of an animation, and notes that there are others."""
    with decoding(path):
        is_animated = getattr(file, "is_animated", False)
        if is_animated and getattr(file, "default_image", False) and not is_deep:
            file.load()  # the picture that stands in for a PNG's animation
            file.paste(0, (0, 0, *file.size))  # or it would shine through the first of that
            file.seek(1)
    if is_animated and file.format != "MPO":
        which = f"number {file.tell() + 1}" if file.tell() else "the first"
        metadata["lost"].append(f"all pictures but {which}")


def _take_png_chunks(file, path, metadata):
    """Adds what a PNG's colours are, where it has no profile, and its texts."""
    metadata |= {key: file.info[key] for key in PNG_COLOURS if key in file.info}
    bad = getattr(file, "bad_chunks", ())
    metadata["lost"] += [f"its chunk {name}, whose checksum is wrong," for name in bad]
    chunks = [one for one in _png_chunks(path) if one[0].decode() not in bad]
    metadata["cicp"] = next((content for kind, content in chunks if kind == b"cICP"), None)
    metadata["texts"] = [
        one for one in chunks if one[0] in TEXTS and not one[1].startswith(KEPT_APART)
    ]


def _png_chunks(path):
    """Kinds and contents of a PNG's chunks `TEXTS` and cICP, as bytes."""
    with open(path, "rb") as file:
        file.seek(8)
        while len(head := file.read(8)) == 8:
            size, kind = struct.unpack(">L4s", head)
            if kind in (b"cICP", *TEXTS):
                yield kind, file.read(size)
                size = 0
            file.seek(size + 4, os.SEEK_CUR)


def _refuse_wide_colours(path):
    """Refuses an AVIF of other colours than sRGB's, whose meaning Pillow does not keep."""
    with open(path, "rb") as file:
        place = (head := file.read(2**16)).find(b"colrnclx")
    if place >= 0 and len(head) >= place + 12:
        primaries, transfer = struct.unpack(">2H", head[place + 8 : place + 12])
        # 2: not said; else those of BT.709 and BT.601, which differ little from sRGB.
        if primaries not in (1, 2, 5, 6) or transfer not in (1, 2, 4, 5, 6, 13, 14, 15):
            raise UnreadablePicture(
                f"wide or HDR colours (primaries {primaries}, transfer {transfer}): not supported"
            )


def webp_coding(path):
    """How a WebP's pixels, or those of its first picture, are stored.

    Returns:
        "VP8L" without loss, "VP8" with; and the bytes that they take, without transparency.
    """
    with open(path, "rb") as file:
        file.seek(12)  # behind RIFF, the size and WEBP
        while len(head := file.read(8)) == 8:
            kind, size = struct.unpack("<4sL", head)
            if kind in (b"VP8 ", b"VP8L"):
                return kind.decode().strip(), size
            # A picture of an animation: 16 bytes about it, then chunks again.
            file.seek(16 if kind == b"ANMF" else size + size % 2, os.SEEK_CUR)
    return "VP8", 0


def _take_exif(file, path, metadata):
    """The orientation; adds EXIF to the metadata, or notes that it is damaged."""
    orientation, block = 1, None
    # Pillow asks XMP, too, which turns no AVIF.
    xmp = file.info.pop("xmp", None) if file.format == "AVIF" else None
    # Pillow raises errors of any kind where it is damaged; the picture itself is sound.
    with contextlib.suppress(Exception):
        orientation = int(file.getexif().get(ORIENTATION, 1))
        block = file.info.get("exif", b"")
        if "Raw profile type exif" in file.info:  # of a PNG, by ImageMagick
            block = bytes.fromhex("".join(file.info["Raw profile type exif"].split("\n")[3:]))
        if file.format == "AVIF":  # where it is turned, Pillow has encoded EXIF anew
            block = file._decoder.get_info()[4] or b""
    if xmp:
        file.info["xmp"] = xmp
    if file.format == "TIFF":
        block = exif_of_tiff(path, file.tag_v2.offset, metadata["lost"])
    block = block and block.removeprefix(b"Exif\0\0")
    if block and block[:4] in ORDERS and number_at(block, 4) < len(block):
        metadata["exif"] = upright_exif(block)
    elif block != b"":
        metadata["lost"].append("its EXIF, which is damaged or cannot be stored,")
    return orientation


def _take_xmp(file, path, metadata, orientation):
    """Adds XMP and IPTC to the metadata; notes what a JPEG holds behind its picture."""
    xmp, segments = file.info.get("xmp"), getattr(file, "applist", [])
    metadata["segments"] = jpeg_segments([content for _, content in segments])
    if isinstance(xmp, bytes):
        if segments and re.search(rb'GCamera:M(otionPhoto|icroVideo)(="|>)1', xmp):
            metadata["lost"].append("its video")
        xmp = re.sub(TRAILERS, b"", xmp) if segments else xmp
        if orientation != 1 and re.search(REGIONS, xmp):
            metadata["lost"].append("its face regions, because it was turned,")
            xmp = re.sub(REGIONS, b"", xmp)
        metadata["xmp"] = with_number(xmp, "tiff:Orientation", 1)
    if "mp" in file.info:
        others = getattr(file, "mpinfo", {}).get(0xB002, [])[1:]
        # By Google and Adobe, Apple, and ISO.
        if re.search(rb"hdrgm:|HDRGainMap|21496:-1", Path(path).read_bytes()):
            metadata["lost"].append("its gain map")
        elif any("Thumbnail" not in other["Attribute"]["MPType"] for other in others):
            metadata["lost"].append("all pictures but the first")


def _read_shallow(file, path, metadata, raw_modes):
    """Pixels of an open 8-bit file, as those of `read_picture`; may change its colour profile."""
    with decoding(path):
        try:
            file.load()
        except OSError:
            if file.format != "JPEG" or not (file := without_end(path)):
                raise
    if file.mode == "CMYK" and metadata["icc_profile"]:
        # A profile that is damaged or not of CMYK leaves the conversion without one, below.
        with decoding(path), contextlib.suppress(ImageCms.PyCMSError, OSError):
            profile = ImageCms.ImageCmsProfile(io.BytesIO(metadata["icc_profile"]))
            srgb = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(file, profile, srgb, outputMode="RGB")
            metadata.pop("icc_profile")
            return np.array(converted)
    key = file.info.get("transparency")
    if file.format == "PNG" and file.mode == "L" and isinstance(key, int):
        # Pillow spreads 2 and 4 bits over 8, but not the key that is transparent.
        pixels = np.array(file)
        key *= 85 if "L;2" in raw_modes else 17 if "L;4" in raw_modes else 1
        return np.dstack([pixels, np.where(pixels == key, 0, 255).astype(np.uint8)])
    has_alpha = file.has_transparency_data
    colours = file.getpalette() if file.mode in ("P", "PA") else None
    has_grey_profile = (metadata["icc_profile"] or b"")[16:20] in (b"", b"GRAY")
    is_grey = has_grey_profile and colours and colours[::3] == colours[1::3] == colours[2::3]
    if is_grey or file.mode in ("1", "L", "LA", "La"):
        mode = "LA" if has_alpha else "L"
    else:
        mode = "RGBA" if has_alpha else "RGB"
        if file.mode not in ("P", "PA", "RGB", "RGBA", "RGBa", "RGBX"):
            metadata.pop("icc_profile")  # it describes channels that are converted here
    with decoding(path):
        return np.array(file if file.mode == mode else file.convert(mode))


def _read_deep(file, path, raw_modes):
    """Pixels of a 16-bit PNG or TIFF file as `read_picture` returns them, turned only if a TIFF.

    Pillow would silently cut them to 8 bits, so OpenCV reads them. But OpenCV takes a
    damaged file for a whole one, so Pillow decodes it first, and raises what there is.
    """
    with decoding(path):
        file.load()
        content, page = np.fromfile(path, np.uint8), file.tell()
        pages = cv2.imdecodemulti(content, cv2.IMREAD_UNCHANGED, range=(page, page + 1))[1]
    pixels = pages[0] if pages else None
    if pixels is None or pixels.dtype != np.uint16:
        raise UnreadablePicture("16 bits a channel, compressed in a way that is not supported")
    if pixels.ndim == 3 and pixels.shape[2] >= 3:
        pixels[..., :3] = pixels[..., 2::-1].copy()  # OpenCV's BGR
    key = file.info.get("transparency")
    if pixels.ndim == 2 and isinstance(key, int):  # in RGB OpenCV makes alpha of it itself
        alpha = np.where(pixels == key, 0, 65535).astype(np.uint16)
        return np.dstack([pixels, alpha])
    if "LA;16" in raw_modes:  # which OpenCV makes BGRA of
        return pixels[..., [0, 3]]
    if "RGBX" in raw_modes:  # a fourth channel that is no alpha
        return pixels[..., :3]
    if "RGBa" in raw_modes:  # a TIFF whose colours are multiplied by alpha
        alpha = np.maximum(pixels[..., 3:], 1).astype(np.uint32)
        pixels[..., :3] = np.minimum(pixels[..., :3] * np.uint32(65535) // alpha, 65535)
    if pixels.ndim == 3 and pixels.shape[2] not in (3, 4):
        raise UnreadablePicture(f"{pixels.shape[2]} channels of 16 bits: expected 1, 3 or 4")
    return pixels


def read_8bit(path):
    """Reads a picture as uint8, (H, W) grey or (H, W, 3) RGB, upright, without transparency.

    Raises:
        UnreadablePicture: with the reason.
    """
    return to_8bit(read_picture(path)[0])


def read_rgb(path):
    """As `read_8bit`, but grey becomes RGB too: always (H, W, 3)."""
    pixels = read_8bit(path)
    return pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)
