"""Picture files to upright arrays, with the metadata that goes back into the output."""

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
from PIL import Image, ImageCms, ImageSequence, PngImagePlugin, UnidentifiedImageError
from PIL import TiffImagePlugin as tiff

from superres.images.damage import decode_without_end, describe_tiff, drop_bad_chunks, reason
from superres.images.formats import FORMATS, MAX_PIXELS
from superres.images.metadata import ORIENTATION, exif_of_tiff, set_number, upright_exif
from superres.images.pixels import to_8bit
from superres.runtime.errors import UnreadablePicture

# `read_picture` says what matters; the libraries' own words confuse.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").setLevel(logging.CRITICAL)
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
# Bytes a pixel while decoding: the decoder's copy, ours, and one in between.
DECODING_BYTES, DEEP_DECODING_BYTES = 12, 24
SUBFILE, SUBDIRECTORIES = 254, 330  # TIFF's tags NewSubfileType and SubIFDs
NO_PICTURE = (1, 3, 4, 5)  # values of NewSubfileType for thumbnails and masks
PNG_COLOURS = ("srgb", "gamma", "chromaticity")  # Pillow's names for chunks of a PNG
# A PNG's text chunks. Not kept as text: XMP; ImageMagick's exif, xmp, APP1, icc and icm.
TEXTS = (b"tEXt", b"zTXt", b"iTXt")
OTHER_TEXTS = (b"XML:com.adobe.xmp", *(b"Raw profile type " + k for k in (b"e", b"x", b"A", b"ic")))
# A JPEG's segments with XMP beyond 64 kB, and IPTC: first bytes and markers.
SEGMENTS = {b"http://ns.adobe.com/xmp/extension/\0": b"\xff\xe1", b"Photoshop 3.0\0": b"\xff\xed"}
# In XMP: a gain map or video after the picture; faces, by their places before rotation.
TRAILERS = rb'\s(hdrgm:|GCamera:M[io])\w+="[^"]*"|<(hdrgm:\w+|GCamera:M[io]\w+)>[^<]*</\2>'
TRAILERS += rb"|<(Container:Directory)>(?s:.*?)</\3>"
REGIONS = rb"<(mwg-rs:Regions)\b(?s:.*?)</\1>"
# By EXIF's orientation: whether to swap rows and columns, then the steps along both.
TURNS = {2: (0, 1, -1), 3: (0, -1, -1), 4: (0, -1, 1), 5: (1, 1, 1)}
TURNS |= {6: (1, 1, -1), 7: (1, -1, -1), 8: (1, -1, 1)}


def read_picture(path, max_pixels=MAX_PIXELS, max_bytes=math.inf):
    """Reads a picture file, upright; the first picture of an animation or of several pages.

    Args:
        path: file in one of `FORMATS`.
        max_pixels, max_bytes: limits of its size, and of the memory that decoding takes.

    Returns:
        The pixels: uint8 (or uint16 from a 16-bit PNG or TIFF), (H, W) grey, (H, W, 2)
        grey and alpha, (H, W, 3) RGB or (H, W, 4) RGB and alpha.
        The metadata, a dict for `write_picture`: `icc_profile`, `exif` and `xmp` (bytes),
        `segments` (bytes of a JPEG, with IPTC), `dpi` (two numbers), of a PNG `srgb`, `gamma`,
        `chromaticity` (as Pillow decodes them), `cicp` (bytes) and `texts` (pairs of bytes),
        `lossless` (of a WebP), and `lost` (names of what is left out).

    Raises:
        UnreadablePicture: with the reason.
    """
    with open_picture(path) as file:
        return _read_open(file, path, max_pixels, max_bytes)


def picture_size(path, max_pixels=MAX_PIXELS):
    """Height and width in the header of a file; raises UnreadablePicture."""
    with open_picture(path) as file:
        _check_pixel_count(file, max_pixels)
        return file.height, file.width


def read_rgb(path):
    """The picture in a file as uint8 RGB (H, W, 3), without alpha; raises UnreadablePicture."""
    pixels = to_8bit(read_picture(path)[0])
    return pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)


def open_picture(path):
    """A picture file, open in Pillow, as a context manager; raises UnreadablePicture."""
    with decoding(path), contextlib.suppress(UnidentifiedImageError):
        if not Path(path).is_file():
            raise UnreadablePicture("not a regular file")
        if not Path(path).stat().st_size:
            raise UnreadablePicture("empty file")
        Image.init()  # or Pillow would not know all of FORMATS
        Image.MAX_IMAGE_PIXELS = None  # there is a limit of our own
        PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY  # profiles of 3 MB exist
        file = Image.open(path, formats=FORMATS)
        if file.format == "TIFF" and file.tag_v2.get(SUBFILE) in NO_PICTURE:
            if SUBDIRECTORIES in file.tag_v2:
                raise UnreadablePicture("a thumbnail, the picture is in a SubIFD: not supported")
            kinds = [page.tag_v2.get(SUBFILE) for page in ImageSequence.Iterator(file)]
            file.seek(next((n for n, kind in enumerate(kinds) if kind not in NO_PICTURE), 0))
        return file
    # Pillow could not identify it: try without a PNG's optional chunks of a wrong checksum.
    content, bad = drop_bad_chunks(_png_chunks(path))
    with decoding(path):
        file = Image.open(content if bad else path, formats=FORMATS)  # `path` fails: the reason
    file.bad_chunks = bad
    return file


@contextlib.contextmanager
def decoding(path):
    """Turns errors of the libraries within into `UnreadablePicture`."""
    try:
        yield
    except (UnreadablePicture, MemoryError):
        raise
    except Exception as error:  # on damaged files the decoders raise errors of any kind
        raise UnreadablePicture(reason(path, error)) from None


def _check_pixel_count(file, max_pixels):
    if file.width * file.height > max_pixels:
        size = f"{file.width}x{file.height} pixels"
        raise UnreadablePicture(f"{size}: expected at most {max_pixels:,} in all")


def _read_open(file, path, max_pixels, max_bytes):
    _check_pixel_count(file, max_pixels)
    raw_modes = " ".join(str(tile.args) for tile in file.tile)  # decoding removes them
    is_deep = _has_16_bits(file, raw_modes)
    needed = file.width * file.height * (DEEP_DECODING_BYTES if is_deep else DECODING_BYTES)
    if needed > max_bytes:
        raise UnreadablePicture(
            f"{file.width}x{file.height} pixels: decoding takes up to {needed / 2**30:.1f} GB of "
            f"memory, {max_bytes / 2**30:.1f} are free"
        )
    metadata = {"icc_profile": file.info.get("icc_profile"), "lost": []}
    # The EXIF block has the resolution of a TIFF, and of a JPEG without JFIF.
    if file.format in ("PNG", "BMP") or file.info.get("jfif_unit"):
        metadata["dpi"] = file.info.get("dpi")
    _seek_first_picture(file, path, metadata, is_deep)
    if file.format == "PNG":
        _add_png_chunks(file, path, metadata)
    if file.format == "WEBP":
        metadata["lossless"] = webp_coding(path)[0] == "VP8L"
    if file.format == "AVIF":
        _refuse_wide_colours(path)
    if file.format == "TIFF" and "X" in raw_modes:
        metadata["lost"].append("channels beyond colour and alpha, such as near-infrared")
    if file.mode == "CMYK" and ";16" in raw_modes:
        metadata["lost"].append("8 of 16 bits a channel (CMYK is converted)")
    clear = file.info.get("transparency")  # perhaps the one grey level that is transparent
    has_clear = file.format == "PNG" and file.mode in ("L", "I", "I;16") and isinstance(clear, int)
    if has_clear:
        del file.info["transparency"]
    pixels = _read_deep(file, path, raw_modes) if is_deep else _read_shallow(file, path, metadata)
    if has_clear:  # Pillow scales levels of 2 and 4 bits to 8, but not this one; OpenCV ignores it
        clear *= 85 if "L;2" in raw_modes else 17 if "L;4" in raw_modes else 1
        alpha = np.where(pixels == clear, 0, np.iinfo(pixels.dtype).max)
        pixels = np.dstack([pixels, alpha.astype(pixels.dtype)])
    # Hide XMP: Pillow would take the orientation from it, which does not apply to AVIF.
    xmp = file.info.pop("xmp", None) if file.format == "AVIF" else file.info.get("xmp")
    orientation = _add_exif(file, path, metadata)
    _add_xmp(file, path, metadata, xmp, orientation)
    swap, down, right = TURNS.get(orientation, (0, 1, 1))  # a TIFF is upright already
    pixels = np.ascontiguousarray((pixels.swapaxes(0, 1) if swap else pixels)[::down, ::right])
    # sRGB's rendering intent may be 0.
    return pixels, {key: v for key, v in metadata.items() if v or key == "srgb"}


def _has_16_bits(file, raw_modes):
    """Whether a file has 16 bits a channel; refuses TIFFs that no decoder here gets right."""
    if file.format != "TIFF":
        return file.format == "PNG" and ";16" in raw_modes
    tags = file.tag_v2
    bits, samples = (set(tags.get(tag, (1,))) for tag in (tiff.BITSPERSAMPLE, tiff.SAMPLEFORMAT))
    in_planes = tags.get(tiff.PLANAR_CONFIGURATION, 1) != 1
    is_inverted = tags.get(tiff.PHOTOMETRIC_INTERPRETATION) == 0
    is_wrong = bits == {16} and (in_planes or is_inverted)
    if is_wrong or samples != {1} or not bits <= {1, 2, 4, 8, 16}:
        raise UnreadablePicture(f"{describe_tiff(tags)}: not supported")
    return bits == {16} and file.mode != "CMYK"


def _seek_first_picture(file, path, metadata, is_deep):
    """Seeks the first picture of an animation."""
    with decoding(path):
        is_animated = getattr(file, "is_animated", False)
        if is_animated and getattr(file, "default_image", False) and not is_deep:
            # A PNG's picture for programs that do not know animations would shine through.
            file.load()
            file.paste(0, (0, 0, *file.size))
            file.seek(1)
    if is_animated and file.format != "MPO":
        which = f"number {file.tell() + 1}" if file.tell() else "the first"
        metadata["lost"].append(f"all pictures but {which}")


def _add_png_chunks(file, path, metadata):
    """Adds the colour space of a PNG without a profile, and its text."""
    metadata |= {key: file.info[key] for key in PNG_COLOURS if key in file.info}
    bad = getattr(file, "bad_chunks", ())
    metadata["lost"] += [f"chunk {name} (wrong checksum)" for name in bad]
    for kind, chunk in _png_chunks(path):
        content = chunk[8:-4]
        if kind == b"cICP" and "cICP" not in bad:
            metadata.setdefault("cicp", content)
        elif kind in TEXTS and kind.decode() not in bad and not content.startswith(OTHER_TEXTS):
            metadata.setdefault("texts", []).append((kind, content))


def _png_chunks(path):
    """Yields kind and bytes of a PNG's chunks; nothing of other files."""
    with open(path, "rb") as file:
        is_png = file.read(8).startswith(b"\x89PNG")
        while is_png and len(head := file.read(8)) == 8:
            size, kind = struct.unpack(">L4s", head)
            yield kind, head + file.read(size + 4)


def _refuse_wide_colours(path):
    """Refuses an AVIF of other colours than sRGB, since Pillow does not say which."""
    with open(path, "rb") as file:
        match = re.search(b"(?s)colrnclx(.{4})", file.read(2**16))
    # 2: unspecified; the others are sRGB or SDR curves close to it.
    primaries, transfer = struct.unpack(">2H", match[1]) if match else (2, 2)
    if primaries not in (1, 2, 5, 6) or transfer not in (1, 2, 4, 5, 6, 13, 14, 15):
        raise UnreadablePicture(
            f"wide or HDR colours (primaries {primaries}, transfer {transfer}): not supported"
        )


def webp_coding(path):
    """The coding of a WebP's first picture, VP8L (lossless) or VP8, and the bytes it takes."""
    with open(path, "rb") as file:
        file.seek(12)  # past RIFF, the size and WEBP
        while len(head := file.read(8)) == 8:
            kind, size = struct.unpack("<4sL", head)
            if kind in (b"VP8 ", b"VP8L"):
                return kind.decode().strip(), size
            # A picture of an animation: 16 bytes about it, then chunks again.
            file.seek(16 if kind == b"ANMF" else size + size % 2, os.SEEK_CUR)
    return "VP8", 0


def _add_exif(file, path, metadata):
    """Adds EXIF to the metadata; returns the orientation."""
    orientation, block = 1, None
    # Pillow raises errors of any kind if it is damaged; the picture itself is sound.
    with contextlib.suppress(Exception):
        orientation = int(file.getexif().get(ORIENTATION, 1))
        block = file.info.get("exif", b"")
        if "Raw profile type exif" in file.info:  # of a PNG, by ImageMagick
            block = bytes.fromhex("".join(file.info["Raw profile type exif"].split("\n")[3:]))
        if file.format == "AVIF":  # if it has an orientation, Pillow rewrites it
            block = file._decoder.get_info()[4] or b""
    if file.format == "TIFF":
        block = exif_of_tiff(path, file.tag_v2.offset, metadata["lost"])
    block = block and block.removeprefix(b"Exif\0\0")
    metadata["exif"] = block and upright_exif(block)
    if metadata["exif"] is None:
        metadata["lost"].append("EXIF (damaged, or impossible to store)")
    return orientation


def _add_xmp(file, path, metadata, xmp, orientation):
    """Adds XMP and IPTC to the metadata, and to `lost` what a JPEG holds after its picture."""
    segments = [content for _, content in getattr(file, "applist", [])]
    own = [(m, s) for start, m in SEGMENTS.items() for s in segments if s.startswith(start)]
    metadata["segments"] = b"".join(m + struct.pack(">H", len(s) + 2) + s for m, s in own)
    if isinstance(xmp, bytes):
        if segments and re.search(rb'GCamera:M(otionPhoto|icroVideo)(="|>)1', xmp):
            metadata["lost"].append("video")
        xmp = re.sub(TRAILERS, b"", xmp) if segments else xmp
        if orientation != 1 and re.search(REGIONS, xmp):
            metadata["lost"].append("face regions (the picture is rotated)")
            xmp = re.sub(REGIONS, b"", xmp)
        metadata["xmp"] = set_number(xmp, "tiff:Orientation", 1)
    if "mp" in file.info:
        others = getattr(file, "mpinfo", {}).get(0xB002, [])[1:]
        # Signs of gain maps: Google's and Adobe's, Apple's, ISO 21496's.
        if re.search(rb"hdrgm:|HDRGainMap|21496:-1", Path(path).read_bytes()):
            metadata["lost"].append("gain map")
        elif any("Thumbnail" not in other["Attribute"]["MPType"] for other in others):
            metadata["lost"].append("all pictures but the first")


def _read_shallow(file, path, metadata):
    """Pixels of an open 8-bit file; drops a colour profile that no longer fits."""
    with decoding(path):
        try:
            file.load()
        except OSError:
            if file.format != "JPEG" or not (file := decode_without_end(path)):
                raise
    if file.mode == "CMYK" and metadata["icc_profile"]:
        # With a profile that is damaged or not of CMYK, it is converted below.
        with decoding(path), contextlib.suppress(ImageCms.PyCMSError, OSError):
            profile, srgb = io.BytesIO(metadata["icc_profile"]), ImageCms.createProfile("sRGB")
            file = ImageCms.profileToProfile(file, profile, srgb, outputMode="RGB")
            metadata["icc_profile"] = None
    is_grey = file.mode in ("1", "L", "LA", "La")
    if file.mode in ("P", "PA") and (metadata["icc_profile"] or b"")[16:20] in (b"", b"GRAY"):
        colours = file.getpalette()
        is_grey = colours and colours[::3] == colours[1::3] == colours[2::3]
    elif not is_grey and file.mode not in ("P", "PA", "RGB", "RGBA", "RGBa", "RGBX"):
        metadata["icc_profile"] = None  # of channels that are converted here
    mode = ("L" if is_grey else "RGB") + "A" * file.has_transparency_data
    with decoding(path):
        return np.array(file if file.mode == mode else file.convert(mode))


def _read_deep(file, path, raw_modes):
    """Pixels of an open 16-bit file; OpenCV rotates those of a TIFF."""
    with decoding(path):
        file.load()  # to find damage, which OpenCV ignores; Pillow would cut pixels to 8 bits
        content, page = np.fromfile(path, np.uint8), file.tell()
        pages = cv2.imdecodemulti(content, cv2.IMREAD_UNCHANGED, range=(page, page + 1))[1]
    if not pages or pages[0].dtype != np.uint16:
        raise UnreadablePicture("16 bits a channel, compressed in a way that is not supported")
    if (pixels := pages[0]).ndim == 2:
        return pixels
    if pixels.shape[2] >= 3:
        pixels[..., :3] = pixels[..., 2::-1].copy()  # OpenCV's BGR
    if "LA;16" in raw_modes:  # OpenCV decodes it to BGRA
        return pixels[..., [0, 3]]
    if "RGBX" in raw_modes:  # the fourth is no alpha
        return pixels[..., :3]
    if "RGBa" in raw_modes:  # a TIFF whose colours are multiplied by alpha
        alpha = np.maximum(pixels[..., 3:], 1).astype(np.uint32)
        pixels[..., :3] = np.minimum(pixels[..., :3] * np.uint32(65535) // alpha, 65535)
    if pixels.shape[2] not in (3, 4):
        raise UnreadablePicture(f"{pixels.shape[2]} channels of 16 bits: expected 1, 3 or 4")
    return pixels
