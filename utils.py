"""Pictures: files to arrays and back, and MATLAB's bicubic resizing."""

import contextlib
import io
import math
import os
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError

# Endings of the files that are taken for pictures.
SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif"}
# How Pillow writes each of them; a format that is missing here is written as PNG.
WRITE_OPTIONS = {
    ".png": {},
    ".jpg": {"quality": 95, "subsampling": "4:4:4"},
    ".jpeg": {"quality": 95, "subsampling": "4:4:4"},
    ".webp": {"quality": 95, "method": 6},
    ".bmp": {},
    ".tif": {"compression": "tiff_adobe_deflate"},
    ".tiff": {"compression": "tiff_adobe_deflate"},
    ".avif": {"quality": 90, "subsampling": "4:4:4"},
}
DEEP_SUFFIXES = {".png", ".tif", ".tiff"}  # formats that hold 16 bits a channel
MAX_PIXELS = 2**28  # 268 megapixels: more is taken for a decompression bomb

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


def find_pictures(folder):
    """Pictures in `folder` and below, by their names' endings, sorted.

    Links to folders are followed; hidden files and folders are left out.

    Raises:
        ValueError: there is no such folder.
    """
    if not Path(folder).is_dir():
        raise ValueError(f"{folder}: no such folder")
    found, seen = [], set()
    for place, folders, names in os.walk(folder, followlinks=True):
        if os.path.realpath(place) in seen:  # a link to a folder above itself
            folders.clear()
            continue
        seen.add(os.path.realpath(place))
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(place, name) for name in names if not name.startswith(".")]
    return sorted(path for path in found if path.suffix.lower() in SUFFIXES)


def read(path):
    """Reads a picture file, upright.

    Args:
        path: file in one of the formats of `SUFFIXES`; of an animation or of several
            pages the first is read.

    Returns:
        The pixels: uint8 (or uint16 from a 16-bit PNG or TIFF), (H, W) grey, (H, W, 2)
        grey and alpha, (H, W, 3) RGB or (H, W, 4) RGB and alpha.
        What must go back into the output: a dict that `write` takes, with the colour
        profile (`icc_profile`) and EXIF (`exif`), each as bytes, where there are any; damaged
        EXIF is left out.

    Raises:
        UnreadablePicture: with the reason.
    """
    try:
        if not Path(path).is_file():
            raise UnreadablePicture("not a regular file")
        Image.MAX_IMAGE_PIXELS = None  # our own limit stands in its place
        with Image.open(path) as file:
            if file.width * file.height > MAX_PIXELS:
                raise UnreadablePicture(
                    f"{file.width}x{file.height} pixels: expected at most {MAX_PIXELS:,} in all"
                )
            # Pillow would silently cut 16-bit RGB to 8 bits, so OpenCV reads it.
            is_deep = any(";16" in str(tile.args) for tile in file.tile)
            exif = file.getexif()
            metadata = {"icc_profile": file.info.get("icc_profile")}
            pixels = _read_deep(path) if is_deep else _read_shallow(file, metadata)
    except UnreadablePicture:
        raise
    except UnidentifiedImageError:
        raise UnreadablePicture("not a picture, or damaged in its first bytes") from None
    except Exception as error:  # on damaged files the decoders raise errors of any kind
        raise UnreadablePicture(str(error) or type(error).__name__) from None
    orientation, metadata["exif"] = _take_exif(exif)
    swap, flip_rows, flip_columns = UPRIGHT.get(orientation, UPRIGHT[1])
    pixels = pixels.swapaxes(0, 1) if swap else pixels
    pixels = pixels[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]
    metadata = {name: value for name, value in metadata.items() if value}
    return np.ascontiguousarray(pixels), metadata


def _take_exif(exif):
    """The orientation, and what of EXIF goes back into the output; `None` for damaged EXIF."""
    orientation = 1
    try:
        orientation = int(exif.get(ORIENTATION, 1))
        for tag in LAYOUT_TAGS & set(exif):
            del exif[tag]
        if EXIF_IFD in exif:
            for tag in EXIF_SIZE_TAGS:
                exif.get_ifd(EXIF_IFD).pop(tag, None)
        return orientation, exif.tobytes() if exif else None
    except Exception:  # Pillow raises errors of any kind; the picture itself is sound
        return orientation, None


def _read_shallow(file, metadata):
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
    has_alpha = file.has_transparency_data
    if file.mode in ("1", "L", "LA", "La"):
        return np.array(file.convert("LA" if has_alpha else "L"))
    if file.mode not in ("P", "PA", "RGB", "RGBA", "RGBa", "RGBX"):
        metadata.pop("icc_profile")  # it describes channels that are converted here
    return np.array(file.convert("RGBA" if has_alpha else "RGB"))


def _read_deep(path):
    """Pixels of a 16-bit PNG or TIFF file as `read` returns them, not yet upright."""
    pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        raise UnreadablePicture("damaged, or a kind of 16-bit picture that is not supported")
    if pixels.ndim == 3 and pixels.shape[2] >= 3:
        pixels[..., :3] = pixels[..., 2::-1].copy()  # OpenCV's BGR
    return pixels


def read_8bit(path):
    """Reads a picture as uint8, (H, W) grey or (H, W, 3) RGB, upright, without transparency.

    Raises:
        UnreadablePicture: with the reason.
    """
    pixels, _ = read(path)
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


def write(path, pixels, metadata):
    """Writes a picture, in the format that the name's ending says.

    The file appears under its name when it is whole, and replaces an older one then.

    Args:
        path: file with one of the endings of `WRITE_OPTIONS`, in an existing folder.
        pixels: as `read` returns them.
        metadata: as `read` returns it.

    Raises:
        ValueError: the format cannot hold such pixels.
        OSError: the file cannot be written.
    """
    suffix = Path(path).suffix.lower()
    with replacing(path) as part:
        if pixels.dtype == np.uint8:
            options = WRITE_OPTIONS[suffix] | metadata
            Image.fromarray(pixels).save(part, **options)
        elif suffix in DEEP_SUFFIXES:
            part.write_bytes(_encode_deep(suffix, pixels, metadata))
        else:
            raise ValueError(f"{suffix} holds 8 bits a channel, not 16")


def _encode_deep(suffix, pixels, metadata):
    """Bytes of a 16-bit PNG or TIFF file."""
    if pixels.ndim == 3 and pixels.shape[2] == 2:  # OpenCV knows no grey with alpha
        pixels = pixels[..., [0, 0, 0, 1]]
    if pixels.ndim == 3:
        pixels = pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]  # OpenCV's BGR
    kinds = {"icc_profile": cv2.IMAGE_METADATA_ICCP, "exif": cv2.IMAGE_METADATA_EXIF}
    # OpenCV takes metadata into PNG only.
    kept = metadata if suffix == ".png" else {}
    written, encoded = cv2.imencodeWithMetadata(
        suffix,
        np.ascontiguousarray(pixels),
        [kinds[name] for name in kept],
        [np.frombuffer(value.removeprefix(b"Exif\0\0"), np.uint8) for value in kept.values()],
    )
    if not written:
        raise ValueError(f"a 16-bit picture of shape {pixels.shape} cannot be stored as {suffix}")
    return encoded.tobytes()


@contextlib.contextmanager
def replacing(path):
    """Gives a path beside `path` to write to, and moves it to `path` when all went well.

    So a file under its final name is always whole. After an error, or if nothing was
    written, nothing is left and an older file at `path` is as it was.
    """
    path = Path(path)
    part = path.with_name(f".{os.getpid()}-{path.stem[:40]}.part{path.suffix}")
    try:
        yield part
        os.replace(part, path)
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


def upscale_bicubic(picture, scale):
    """MATLAB's bicubic enlargement of (H, W[, C]) by a whole `scale`."""
    return imresize(picture, picture.shape[0] * scale, picture.shape[1] * scale)
