"""Pictures: files to arrays and back, and MATLAB's bicubic resizing."""

import contextlib
import io
import math
import os
import re
import secrets
import stat
import struct
import time
import warnings
import zlib
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageCms, PngImagePlugin, TiffImagePlugin, TiffTags, UnidentifiedImageError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

# The libraries' own words about files, of which `read` says itself what matters.
warnings.filterwarnings("ignore", module=r"PIL\.")
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

# Endings of the files that are taken for pictures.
JPEG = (".jpg", ".jpeg", ".jpe", ".jfif")
SUFFIXES = {".png", *JPEG, ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif"}
# How Pillow writes each of them; a format that is missing here is written as PNG.
WRITE_OPTIONS = {
    ".png": {},  # and TIFF: written here, see `write_bands`
    **{ending: {"format": "JPEG", "quality": 95, "subsampling": "4:4:4"} for ending in JPEG},
    ".webp": {"quality": 95, "method": 6},
    ".bmp": {},
    ".tif": {},
    ".tiff": {},
    ".avif": {"quality": 90, "subsampling": "4:4:4"},
}
STREAMED = {".png", ".tif", ".tiff"}  # written band by band, with 8 or 16 bits a channel
PNG_COLOURS = ("srgb", "gamma", "chromaticity")  # Pillow's names for chunks of a PNG
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}  # Pillow's, by the number of channels
# Pixels a side that the formats' libraries write, or read again; and of AVIF in all.
LONGEST_SIDE = {**dict.fromkeys(JPEG, 65_500), ".webp": 16_383, ".avif": 32_768}
LARGEST_AVIF = 2**28
# The formats themselves, by Pillow's names: nothing else is opened, whatever a file is called.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "AVIF")
MAX_PIXELS = 270_000_000  # more is taken for a decompression bomb
PART = ".unfinished-"  # how the names of half-written files begin
PART_NAME = re.compile(re.escape(PART) + r"[0-9a-f]{8}\.\w+")
# Bytes a pixel while a picture is decoded: the decoder's copy, ours, and one in between.
DECODING_BYTES, DEEP_DECODING_BYTES = 12, 24
NEW_PART_SECONDS = 60

ORIENTATION = 0x0112  # the EXIF tag
# EXIF tags that describe how the file's own pixels lie in it, so not in another file's.
LAYOUT_TAGS = {254, 256, 257, 258, 259, 262, 266, 273, ORIENTATION, 277, 278, 279, 284, 317}
LAYOUT_TAGS |= {320, 322, 323, 324, 325, 330, 338, 339, 347, 513, 514, 529, 530, 531, 532, 34675}
EXIF_IFD, EXIF_SIZE_TAGS = 0x8769, (0xA002, 0xA003)  # where EXIF repeats width and height
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


class UnreadablePicture(ValueError):
    """A file that is no picture, a damaged one or one of an unsupported kind."""


def find_files(folder, on_error):
    """All files in `folder` and below, sorted; folders whose name begins with a dot left out.

    Links to folders are followed, each folder once. `on_error` is called with the `OSError`
    of each folder that cannot be read.
    """
    found, seen = [], set()
    for place, folders, names in os.walk(folder, onerror=on_error, followlinks=True):
        if os.path.realpath(place) in seen:  # a link to a folder above itself
            folders.clear()
            continue
        seen.add(os.path.realpath(place))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(place, name) for name in names]
    return sorted(found)


def is_picture(path):
    """Whether a file is taken for a picture, by its name: hidden files are not."""
    return Path(path).suffix.lower() in SUFFIXES and not Path(path).name.startswith(".")


def find_pictures(folder):
    """Pictures in `folder` and below, as `is_picture` says, sorted.

    Raises:
        ValueError: there is no such folder.
        OSError: it, or a folder in it, cannot be read.
    """
    if not Path(folder).is_dir():
        raise ValueError(f"{folder}: no such folder")

    def fail(error):
        raise error

    return [path for path in find_files(folder, fail) if is_picture(path)]


def read(path, max_pixels=MAX_PIXELS, max_bytes=math.inf):
    """Reads a picture file, upright.

    Args:
        path: file in one of the formats of `SUFFIXES`; of an animation or of several
            pages the first is read.
        max_pixels: refuse larger pictures, before they are decoded.
        max_bytes: refuse pictures that take more memory while they are decoded.

    Returns:
        The pixels: uint8 (or uint16 from a 16-bit PNG or TIFF), (H, W) grey, (H, W, 2)
        grey and alpha, (H, W, 3) RGB or (H, W, 4) RGB and alpha.
        What must go back into the output: a dict that `write` takes, with what there is of
        `icc_profile` and `exif` (bytes), `dpi` (pair of numbers), of a PNG `srgb`, `gamma`,
        `chromaticity` (what Pillow makes of its chunks) and `cicp` (bytes), `lossless` (True
        for such a WebP), and `lost` (list of texts: what of the file is neither in the
        pixels nor here).

    Raises:
        UnreadablePicture: with the reason.
    """
    with _opened(path) as file:
        return _read_open(file, path, max_pixels, max_bytes)


def picture_size(path):
    """Height and width of a picture file as its header has them; nothing is decoded.

    Raises:
        UnreadablePicture: with the reason; also when it is larger than `MAX_PIXELS`.
    """
    with _opened(path) as file:
        _check_pixel_count(file, MAX_PIXELS)
        return file.height, file.width


@contextlib.contextmanager
def _opened(path):
    """A picture file opened by Pillow; errors inside become `UnreadablePicture`."""
    try:
        if not Path(path).is_file():
            raise UnreadablePicture("not a regular file")
        if not Path(path).stat().st_size:
            raise UnreadablePicture("empty file")
        Image.init()  # or Pillow would not know all of FORMATS
        Image.MAX_IMAGE_PIXELS = None  # our own limit stands in its place
        PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY  # profiles of 3 MB exist
        with Image.open(path, formats=FORMATS) as file:
            yield file
    except UnreadablePicture:
        raise
    except UnidentifiedImageError:
        raise UnreadablePicture(
            f"not a picture of a kind that is known ({' '.join(FORMATS)}), or damaged in its "
            "first bytes"
        ) from None
    except Exception as error:  # on damaged files the decoders raise errors of any kind
        raise UnreadablePicture(str(error) or type(error).__name__) from None


def _check_pixel_count(file, max_pixels):
    if file.width * file.height > max_pixels:
        raise UnreadablePicture(
            f"{file.width}x{file.height} pixels: expected at most {max_pixels:,} in all"
        )


def _read_open(file, path, max_pixels, max_bytes):
    """`read` for a file that Pillow has opened but not decoded."""
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
    if getattr(file, "is_animated", False) and file.format != "MPO":
        metadata["lost"].append("all pictures but the first")
    if file.format == "PNG":  # what its colours are, where there is no profile
        metadata |= {key: file.info[key] for key in PNG_COLOURS if key in file.info}
        metadata["cicp"] = _png_chunk(path, b"cICP")
    if file.format == "WEBP":
        metadata["lossless"] = _is_lossless_webp(path)
    if file.format == "AVIF":
        _refuse_wide_colours(path)
    if is_deep and file.mode == "CMYK":
        metadata["lost"].append("8 of its 16 bits a channel, in the conversion from CMYK")
        is_deep = False
    if is_deep:
        pixels = _read_deep(file, path, raw_modes)
    else:
        pixels = _read_shallow(file, metadata, raw_modes)
    orientation, metadata["exif"] = _take_exif(file, metadata)
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
    kinds = file.tag_v2.get(TiffImagePlugin.SAMPLEFORMAT, (1,))
    if set(kinds) != {1} or not bits <= {1, 2, 4, 8, 16}:
        raise UnreadablePicture(
            f"{'/'.join(map(str, sorted(bits)))} bits a channel (mode {file.mode}, TIFF sample "
            f"format {kinds[0]}): expected whole numbers of 8 or 16 bits from 0 up"
        )
    if bits != {16}:
        return False
    if file.tag_v2.get(TiffImagePlugin.PLANAR_CONFIGURATION, 1) != 1:
        raise UnreadablePicture("16 bits a channel in separate planes: not supported")
    if file.tag_v2.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0:
        raise UnreadablePicture("16 bits a channel with white as zero: not supported")
    return True


def _png_chunk(path, wanted):
    """Content of a PNG's first chunk of a kind, as bytes; `None` where it has none."""
    with open(path, "rb") as file:
        file.seek(8)
        while len(head := file.read(8)) == 8 and head[4:] != b"IDAT":
            size = struct.unpack(">L", head[:4])[0]
            if head[4:] == wanted:
                return file.read(size)
            file.seek(size + 4, os.SEEK_CUR)
    return None


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


def _is_lossless_webp(path):
    """Whether a WebP file is a still picture that is stored without loss."""
    with open(path, "rb") as file:
        file.seek(12)  # behind RIFF, the size and WEBP
        while len(head := file.read(8)) == 8:
            kind, size = struct.unpack("<4sL", head)
            if kind in (b"VP8 ", b"VP8L"):
                return kind == b"VP8L"
            file.seek(size + size % 2, os.SEEK_CUR)
    return False


def _take_exif(file, metadata):
    """The orientation, and what of EXIF goes back into the output; `None` for damaged EXIF."""
    orientation = 1
    try:
        exif = file.getexif()
        if not exif and file.info.get("exif"):
            raise ValueError
        orientation = int(exif.get(ORIENTATION, 1))
        for tag in LAYOUT_TAGS & set(exif):
            del exif[tag]
        if EXIF_IFD in exif:
            for tag in EXIF_SIZE_TAGS:
                exif.get_ifd(EXIF_IFD).pop(tag, None)
        if not exif:
            return orientation, None
        content = exif.tobytes()
        Image.Exif().load(content)  # of a BigTIFF it cannot be read again
        return orientation, content
    except Exception:  # Pillow raises errors of any kind; the picture itself is sound
        metadata["lost"].append("its EXIF, which is damaged or cannot be stored,")
        return orientation, None


def _read_shallow(file, metadata, raw_modes):
    """Pixels of an open 8-bit file as `read` returns them; may change its colour profile."""
    if file.mode in ("F", "I"):
        raise UnreadablePicture(f"32 bits a channel (mode {file.mode}): expected 8 or 16")
    if file.mode == "CMYK" and metadata["icc_profile"]:
        # A profile that is damaged or not of CMYK leaves the conversion without one, below.
        with contextlib.suppress(ImageCms.PyCMSError, OSError):
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
        return np.array(file.convert("LA" if has_alpha else "L"))
    if file.mode not in ("P", "PA", "RGB", "RGBA", "RGBa", "RGBX"):
        metadata.pop("icc_profile")  # it describes channels that are converted here
    mode = "RGBA" if has_alpha else "RGB"
    return np.array(file if file.mode == mode else file.convert(mode))


def _read_deep(file, path, raw_modes):
    """Pixels of a 16-bit PNG or TIFF file as `read` returns them, turned only if a TIFF.

    Pillow would silently cut them to 8 bits, so OpenCV reads them. But OpenCV takes a
    damaged file for a whole one, so Pillow decodes it first, and raises what there is.
    """
    file.load()
    pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        raise UnreadablePicture("16 bits a channel, in a way that OpenCV cannot decode")
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
    return to_8bit(read(path)[0])


def to_8bit(pixels):
    """Pixels as `read` returns them as uint8, (H, W) or (H, W, 3): rounded, without alpha."""
    if pixels.dtype == np.uint16:
        pixels = to_pixels(to_network(pixels))
    if pixels.ndim == 3 and pixels.shape[2] == 2:
        return pixels[..., 0]
    return pixels[..., :3] if pixels.ndim == 3 else pixels


def read_rgb(path):
    """As `read_8bit`, but grey becomes RGB too: always (H, W, 3)."""
    pixels = read_8bit(path)
    return pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)


def output_name(name):
    """Name under which the enlarged `name` is written: the same, or with .png appended."""
    return name if Path(name).suffix.lower() in WRITE_OPTIONS else name + ".png"


def check_storable(path, shape, dtype):
    """Checks that the format that a file's name says can hold a picture.

    Args:
        path: file with one of the endings of `WRITE_OPTIONS`.
        shape, dtype: of the picture, as `read` returns it.

    Raises:
        ValueError: it cannot, with the reason.
    """
    suffix = Path(path).suffix.lower()
    longest = LONGEST_SIDE.get(suffix)
    if longest and max(shape[:2]) > longest:
        raise ValueError(
            f"{shape[1]}x{shape[0]} pixels: a {suffix} file holds at most {longest:,} a side"
        )
    if suffix == ".avif" and shape[0] * shape[1] > LARGEST_AVIF:
        raise ValueError(
            f"{shape[1]}x{shape[0]} pixels: an .avif file holds at most {LARGEST_AVIF:,}"
        )
    if suffix in JPEG and shape[2:] in ((2,), (4,)):
        raise ValueError(f"transparency: a {suffix} file holds none")
    if dtype == np.uint16 and suffix not in STREAMED:
        raise ValueError(f"16 bits a channel: a {suffix} file holds 8")


def write(path, picture, metadata):
    """Writes a picture, in the format that the name's ending says.

    The file appears under its name when it is whole, and replaces an older one then.

    Args:
        path: file with one of the endings of `WRITE_OPTIONS`, in an existing folder.
        picture: array as `read` returns it.
        metadata: as `read` returns it.

    Raises:
        ValueError: the format cannot hold such a picture.
        OSError: the file cannot be written.
    """
    write_bands(path, [picture], picture.shape, picture.dtype, metadata)


def write_bands(path, bands, shape, dtype, metadata):
    """As `write`, but takes the picture in bands from top to bottom.

    PNG and TIFF are written band by band, so that the picture is never in memory as a
    whole; for the other formats Pillow holds it once.

    Args:
        bands: iterable of arrays (rows, W) or (rows, W, C).
        shape, dtype: of the picture that they make up.
    """
    check_storable(path, shape, dtype)
    suffix = Path(path).suffix.lower()
    kept = {key: value for key, value in metadata.items() if key in ("icc_profile", "exif")}
    of_png = {key: v for key, v in metadata.items() if key in (*PNG_COLOURS, "cicp", "dpi")}
    with replacing(path) as part:
        if suffix in STREAMED:
            rows = max(1, 2**20 // (np.dtype(dtype).itemsize * math.prod(shape[1:])))
            strips = _strips(bands, rows)
            with open(part, "r+b") as file:
                if suffix == ".png":
                    _encode_png(file, strips, shape, np.dtype(dtype), kept | of_png)
                else:
                    _encode_tiff(file, strips, rows, shape, np.dtype(dtype), kept)
            return
        image = Image.new(MODES[shape[2] if len(shape) == 3 else 1], (shape[1], shape[0]))
        done = 0
        for band in bands:
            image.paste(Image.fromarray(band), (0, done))
            done += len(band)
        options = WRITE_OPTIONS[suffix]
        if metadata.get("dpi") and suffix in (*JPEG, ".bmp"):
            options = options | {"dpi": metadata["dpi"]}
        if suffix == ".webp" and metadata.get("lossless"):
            options = {"lossless": True, "exact": True}  # exact: also what alpha hides
        try:
            if suffix == ".bmp" and image.mode in ("LA", "RGBA"):  # Pillow would drop the alpha
                pixels = np.asarray(image.convert("RGBA"))[..., [2, 1, 0, 3]]
                part.write_bytes(cv2.imencode(suffix, pixels)[1].tobytes())
            else:
                image.save(part, **options, **kept)
        except (ValueError, OSError):
            raise
        except Exception as error:  # encoders raise errors of any kind
            raise ValueError(f"cannot be stored as {suffix}: {error}") from error


def _strips(bands, rows):
    """The bands of a picture, cut anew: all of `rows` rows but the last."""
    rest = None
    for band in bands:
        band = band if rest is None else np.concatenate([rest, band])
        whole = len(band) - len(band) % rows
        yield from (band[first : first + rows] for first in range(0, whole, rows))
        rest = band[whole:]
    if len(rest):
        yield rest


def _encode_png(file, strips, shape, dtype, kept):
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


def _encode_tiff(file, strips, rows, shape, dtype, kept):
    """Writes a TIFF file of any depth from its strips of `rows` rows.

    Pillow cannot write 16 bits in colour, nor OpenCV metadata, and libtiff, through Pillow,
    fails at EXIF. So the directory alone is Pillow's; the strips behind it are deflated
    differences between neighbours (compression 8, predictor 2).
    """
    height, width, channels = (*shape, 1)[:3]
    exif = Image.Exif()
    exif.load(kept.get("exif"))
    tags = TiffImagePlugin.ImageFileDirectory_v2(prefix=b"II")
    for tag in exif:
        tags[tag] = exif.get_ifd(tag) if tag in TiffTags.TAGS_V2_GROUPS else exif[tag]
    tags[TiffImagePlugin.IMAGEWIDTH], tags[TiffImagePlugin.IMAGELENGTH] = width, height
    tags[TiffImagePlugin.BITSPERSAMPLE] = (8 * dtype.itemsize,) * channels
    tags[TiffImagePlugin.SAMPLESPERPIXEL] = channels
    tags[TiffImagePlugin.PHOTOMETRIC_INTERPRETATION] = 1 if channels < 3 else 2
    tags[TiffImagePlugin.COMPRESSION], tags[TiffImagePlugin.PREDICTOR] = 8, 2
    tags[TiffImagePlugin.PLANAR_CONFIGURATION] = 1
    tags[TiffImagePlugin.ROWSPERSTRIP] = rows
    if channels in (2, 4):
        tags[TiffImagePlugin.EXTRASAMPLES] = 2  # alpha, not multiplied into the colours
    if "icc_profile" in kept:
        tags[TiffImagePlugin.ICCPROFILE] = kept["icc_profile"]

    def directory(offsets, sizes):
        # As numbers of 32 bits, so that its length is known before they are.
        for tag, numbers in (
            (TiffImagePlugin.STRIPOFFSETS, offsets),
            (TiffImagePlugin.STRIPBYTECOUNTS, sizes),
        ):
            tags.tagtype[tag] = TiffTags.LONG
            tags[tag] = tuple(numbers)
        return tags.tobytes(8)

    count = math.ceil(height / rows)
    file.write(struct.pack("<2sHL", b"II", 42, 8))
    start = file.seek(8 + len(directory([0] * count, [0] * count)))
    offsets, sizes = [], []
    for strip in strips:
        differences = strip.astype(dtype.newbyteorder("<"))
        differences[:, 1:] -= strip[:, :-1]
        offsets.append(file.tell() - start)  # Pillow adds the length of the directory
        sizes.append(file.write(zlib.compress(differences)))
        if file.tell() >= 2**32:
            raise ValueError("more than 4 GB: a TIFF file holds less")
    file.seek(8)
    file.write(directory(offsets, sizes))


@contextlib.contextmanager
def replacing(path):
    """Gives a path beside `path` to write to, and moves it to `path` when all went well.

    So a file under its final name is always whole, also after a power cut. After an error
    nothing is left, and an older file at `path` is as it was. Only a process that is killed
    leaves its part behind: `remove_leftovers`.

    Raises:
        OSError: it cannot be written there; the error names `path`, not the part.
    """
    path = Path(path)
    part = path.with_name(f"{PART}{secrets.token_hex(4)}{path.suffix}")
    try:
        with open(part, "xb") as held:
            _lock(held)
            yield part
            os.fsync(held.fileno())
            if os.name != "nt":
                os.replace(part, path)
        if os.name == "nt":  # where an open file cannot be moved
            os.replace(part, path)
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(part), part):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        part.unlink(missing_ok=True)


def _lock(file):
    """Marks an open file as in use, as far as the file system can; tells whether it was free."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@contextlib.contextmanager
def locked(path, wait=True):
    """Holds the lock file `path`, which is made for it and stays.

    Args:
        path: the file.
        wait: whether to wait, and to say so, while another process holds it.

    Yields:
        Whether it is ours; always, where the system or the file system has no locks.
    """
    with open(path, "ab") as file:
        is_ours = True
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                is_ours = wait
                if wait:
                    print(f"waiting for another process, which holds {path}", flush=True)
                    fcntl.flock(file, fcntl.LOCK_EX)
            except OSError:  # a file system without locks
                pass
        yield is_ours


def remove_leftovers(folder):
    """Removes the parts that killed processes left in `folder`, and none that is in use."""
    for part in Path(folder).glob(f"{PART}*"):
        with contextlib.suppress(OSError):
            status = part.lstat()
            # Between its creation and its lock a part looks as if nobody used it.
            is_new = time.time() - status.st_mtime < NEW_PART_SECONDS
            if PART_NAME.fullmatch(part.name) and stat.S_ISREG(status.st_mode) and not is_new:
                with open(part, "rb") as file:
                    if _lock(file):
                        part.unlink()


def check_writable(folder):
    """Raises OSError unless files can be made in `folder`."""
    part = Path(folder, f"{PART}{secrets.token_hex(4)}.txt")
    try:
        part.touch(exist_ok=False)
    finally:
        part.unlink(missing_ok=True)


def to_network(picture):
    """Pixels to the network's numbers: uint8 or uint16 of any shape to float32 in [0, 1]."""
    return picture.astype(np.float32) / np.float32(np.iinfo(picture.dtype).max)


def to_pixels(values, dtype=np.uint8):
    """The network's numbers to pixels: clips to [0, 1], rounds, then casts to `dtype`."""
    values = np.clip(values, 0, 1) * np.iinfo(dtype).max
    return np.floor(values + 0.5).astype(dtype)


def crop_to_multiple(picture, scale):
    """Cuts the right and lower border of (H, W, ...) so that `scale` divides H and W."""
    height, width = picture.shape[:2]
    return picture[: height - height % scale, : width - width % scale]


def _cubic(x):
    """The cubic convolution kernel of Keys (1981) with a = -0.5."""
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))


def _contributions(length, new_length):
    """For each new pixel of a line, which old pixels it is the sum of.

    Returns:
        (taps, new_length) whole numbers, the old pixels' indices, mirrored at the ends;
        (taps, new_length) float64, their weights, whose sum over the taps is 1.
    """
    ratio = new_length / length
    # When it reduces, the kernel is widened so that it also filters out what would alias.
    widening = min(ratio, 1.0)
    centres = (np.arange(new_length) + 0.5) / ratio - 0.5
    leftmost = np.floor(centres - 2 / widening).astype(np.int64)
    taps = math.ceil(4 / widening) + 2
    indices = leftmost + np.arange(taps)[:, None]
    weights = widening * _cubic(widening * (centres - indices))
    weights /= weights.sum(axis=0)
    indices = np.mod(indices, 2 * length)
    indices = np.minimum(indices, 2 * length - 1 - indices)
    used = weights.any(axis=1)
    return indices[used], weights[used]


def _resize_rows(picture, new_height):
    """Resizes the first axis of (H, ...) and rounds half up to the dtype of the picture."""
    top = np.iinfo(picture.dtype).max
    indices, weights = _contributions(len(picture), new_height)
    resized = np.empty((new_height, *picture.shape[1:]), picture.dtype)
    # A few rows at a time, so that the float64 sums stay in the processor's cache.
    step = max(1, 2**17 // max(1, picture[0].size))
    for first in range(0, new_height, step):
        rows = slice(first, first + step)
        total = 0.0
        for index, weight in zip(indices[:, rows], weights[:, rows], strict=True):
            weight = weight.reshape(-1, *(1,) * (picture.ndim - 1))
            total = total + weight * picture[index]
        resized[rows] = np.floor(np.clip(total, 0, top) + 0.5)
    return resized


def imresize(picture, height, width):
    """Bicubic resizing, bit for bit that of MATLAB's `imresize`.

    Bicubic kernel with a = -0.5, widened when it reduces (antialiasing), mirrored
    borders, rows before columns and rounded to whole pixels after each: the low-resolution
    pictures of the field's benchmarks were made so. Pillow's and OpenCV's bicubic differ.

    Args:
        picture: uint8 or uint16 (H, W) or (H, W, C).
        height, width: new size, at least 1.

    Returns:
        Array of the new size, with the dtype of `picture`.
    """
    rows_done = _resize_rows(picture, height)
    return np.ascontiguousarray(_resize_rows(rows_done.swapaxes(0, 1), width).swapaxes(0, 1))


def downscale(picture, scale):
    """MATLAB's bicubic reduction of (H, W[, C]) by `scale`, which must divide H and W.

    Raises:
        ValueError: `scale` does not divide the size.
    """
    height, width = picture.shape[:2]
    if height % scale or width % scale:
        raise ValueError(f"size {width}x{height}: expected multiples of the scale {scale}")
    return imresize(picture, height // scale, width // scale)


def upscale_nearest(picture, scale):
    """Nearest neighbour: (H, W, ...) to (scale * H, scale * W, ...), of the same dtype."""
    return picture.repeat(scale, axis=0).repeat(scale, axis=1)


def upscale_bicubic(picture, scale):
    """MATLAB's bicubic enlargement of (H, W[, C]) by a whole `scale`."""
    return imresize(picture, picture.shape[0] * scale, picture.shape[1] * scale)
