"""Picture files of every kind that people have, and files that only look like pictures."""

import io
import os
import struct
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageCms, TiffImagePlugin

from superres.images.metadata import EXIF_IFD, ORIENTATION
from superres.images.write import write_picture
from support import smooth_picture

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
# For each EXIF orientation, how an upright picture must be stored so that it is shown upright.
STORED = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: np.rot90(p, 1),
    7: lambda p: p[::-1, ::-1].swapaxes(0, 1),
    8: lambda p: np.rot90(p, -1),
}


@dataclass
class Case:
    """One file and what must become of it."""

    content: object  # bytes, or a function that makes something else at a path
    truth: object = None  # pixels, as `read_picture` returns them; None: to be refused
    tolerance: float = 0  # largest mean difference of the enlarged pixels, in levels of 255
    reason: str = ""  # of the refusal, in part
    metadata: object = None  # in the output: `icc_profile`, and EXIF as tag -> value
    note: str = ""  # in part, what the program must say that it leaves out


def encoded(pixels, form, mode=None, **options):
    """Bytes of a file, by Pillow, of an array or of Pillow's own picture."""
    file = io.BytesIO()
    image = pixels
    if isinstance(pixels, np.ndarray):
        image = Image.fromarray(np.ascontiguousarray(pixels))
    (image.convert(mode) if mode else image).save(file, form, **options)
    return file.getvalue()


def written(pixels, suffix, metadata=None):
    """Bytes of a file, by our own code, for what Pillow cannot write."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"x{suffix}")
        write_picture(path, pixels, metadata or {})
        return path.read_bytes()


def picture(channels=3, height=14, width=19, seed=0, dtype=np.uint8):
    pixels = smooth_picture(height, width, channels, seed, dtype)
    return pixels[..., 0] if channels == 1 else pixels


def png_chunk(kind, data):
    checksum = zlib.crc32(kind + data)
    return struct.pack(">L", len(data)) + kind + data + struct.pack(">L", checksum)


def png(width, height, bits, kind, rows, *chunks):
    """A PNG of packed bytes for each row, with other chunks before them."""
    header = struct.pack(">2L5B", width, height, bits, kind, 0, 0, 0)
    packed = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = [(b"IHDR", header), *chunks, (b"IDAT", packed), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*part) for part in parts)


def cmyk_profile():
    """A made-up printer's ICC profile, whose inks mix like light but whose cyan is green.

    Its one table (A2B0, type mft1) says the Lab of the 16 corners of CMYK.
    """
    corners = []
    for n in range(16):
        cyan, magenta, yellow, black = (n >> bit & 1 for bit in (3, 2, 1, 0))
        rgb = np.float32([[[1 - cyan, 1 - magenta, 1 - yellow]]]) * (1 - black)
        if (cyan, magenta, yellow, black) == (1, 0, 0, 0):
            rgb = np.float32([[[0, 0.5, 0]]])
        lightness, a, b = cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB)[0, 0]
        corners += [lightness * 2.55, a + 128, b + 128]
    straight = bytes(range(256))
    matrix = struct.pack(">9l", *(65536 * (n % 4 == 0) for n in range(9)))
    colours = bytes(int(np.clip(round(float(v)), 0, 255)) for v in corners)
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + matrix
    table += 4 * straight + colours + 3 * straight
    text = b"text\0\0\0\0made for a test\0"
    description = b"desc" + struct.pack(">2L", 0, 5) + b"test\0" + bytes(79)
    white = b"XYZ \0\0\0\0" + struct.pack(">3l", 0xF6D6, 0x10000, 0xD32D)
    tags = {b"A2B0": table, b"cprt": text, b"desc": description, b"wtpt": white}
    directory, body, place = b"", b"", 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        data += bytes(-len(data) % 4)
        directory += name + struct.pack(">2L", place + len(body), len(data))
        body += data
    header = struct.pack(">L", place + len(body)) + b"\0\0\0\0\x02\x40\0\0prtrCMYKLab "
    header += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + white[8:]
    return header.ljust(128, b"\0") + struct.pack(">L", len(tags)) + directory + body


def exif_of(orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    exif[0x010F] = "Maker"
    exif.get_ifd(EXIF_IFD)[0x9003] = "2026:01:02 03:04:05"
    return exif.tobytes()


def plain_cases():
    """8 bits a channel, in every format and mode."""
    grey, rgb, la, rgba = (picture(n) for n in (1, 3, 2, 4))
    bilevel = np.where(grey > 127, 255, 0).astype(np.uint8)
    palette = np.asarray(Image.fromarray(rgb).convert("P").convert("RGB"))
    holes = Image.fromarray(rgb).convert("P", palette=Image.Palette.ADAPTIVE, colors=16)
    alpha = np.where(np.asarray(holes) == 3, 0, 255).astype(np.uint8)
    see_through = np.dstack([np.asarray(holes.convert("RGB")), alpha])
    for suffix, form in ("png", "PNG"), ("tif", "TIFF"), ("bmp", "BMP"), ("gif", "GIF"):
        yield f"plain/palette.{suffix}", Case(encoded(rgb, form, "P"), palette)
        if form != "GIF":
            yield f"plain/bilevel.{suffix}", Case(encoded(bilevel, form, "1"), bilevel)
            for name, pixels in ("grey", grey), ("rgb", rgb):
                yield f"plain/{name}.{suffix}", Case(encoded(pixels, form), pixels)
        if form in ("PNG", "TIFF"):
            for name, pixels in ("grey-alpha", la), ("rgba", rgba):
                yield f"plain/{name}.{suffix}", Case(encoded(pixels, form), pixels)
        if form in ("PNG", "GIF"):
            content = encoded(holes, form, transparency=3)
            yield f"plain/palette-holes.{suffix}", Case(content, see_through)
    yield "plain/rgba.bmp", Case(written(rgba, ".bmp"), rgba)
    yield "plain/palette-grey.gif", Case(encoded(grey, "GIF"), grey)
    # A colour profile would not fit grey.
    content, in_colour = encoded(grey, "PNG", "P", icc_profile=SRGB), np.dstack([grey] * 3)
    case = Case(content, in_colour, metadata={"icc_profile": SRGB})
    yield "plain/palette-grey-profile.png", case
    for suffix in "jpg", "jpeg", "JPG":
        yield f"plain/rgb.{suffix}", Case(encoded(rgb, "JPEG", quality=95), rgb, 8)
    yield "plain/grey.jpg", Case(encoded(grey, "JPEG", quality=95), grey, 8)
    progressive = encoded(rgb, "JPEG", quality=95, progressive=True)
    yield "plain/progressive.jpg", Case(progressive, rgb, 8)
    yield "plain/rgb.webp", Case(encoded(rgb, "WEBP", quality=95), rgb, 12)
    for name, pixels in ("rgb", rgb), ("rgba", rgba):
        content = encoded(pixels, "WEBP", lossless=True, exact=True)
        yield f"plain/{name}-lossless.webp", Case(content, pixels)
    yield "plain/rgb.avif", Case(encoded(rgb, "AVIF", quality=95), rgb, 8)
    for compression in "tiff_lzw", "packbits", "tiff_adobe_deflate":
        content = encoded(rgb, "TIFF", compression=compression)
        yield f"plain/{compression}.tiff", Case(content, rgb)
    content = encoded(rgb, "TIFF", compression="jpeg", quality=95)
    yield "plain/jpeg.tiff", Case(content, rgb, 8)
    red, green, blue = 31 << 11, 63 << 5, 31
    head = struct.pack("<2sLLL", b"BM", 66 + 8, 0, 66)
    head += struct.pack("<LllHHLLllLL", 40, 3, -1, 1, 16, 3, 8, 0, 0, 0, 0)
    head += struct.pack("<3L", red, green, blue) + struct.pack("<4H", red, green, blue, 0)
    yield "plain/16-bits-a-pixel.bmp", Case(head, 255 * np.eye(3, dtype=np.uint8)[None])


def transparent_grey_cases():
    """PNGs of any depth in which the grey of 1 is transparent."""
    for bits, row, greys in (
        (1, b"\x40", [0, 255, 0, 0]),
        (2, b"\x1b", [0, 85, 170, 255]),
        (4, b"\x01\x2f", [0, 17, 34, 255]),
        (8, b"\x00\x01\x02\xff", [0, 1, 2, 255]),
        (16, b"\0\0\0\x01\x02\x03\xff\xff", [0, 1, 515, 65535]),
    ):
        content = png(4, 1, bits, 0, [row], (b"tRNS", struct.pack(">H", 1)))
        most = 65535 if bits == 16 else 255
        pixels = [[[grey, 0 if n == 1 else most] for n, grey in enumerate(greys)]]
        truth = np.array(pixels, np.uint16 if bits == 16 else np.uint8)
        yield f"plain/transparent-{bits}.png", Case(content, truth)


def cmyk_cases():
    rgb = picture()
    inks = np.dstack([255 - rgb, np.zeros(rgb.shape[:2], np.uint8)])
    cmyk = Image.fromarray(inks, "CMYK")
    green = Image.new("CMYK", (9, 7), (255, 0, 0, 0))
    dark = np.full((7, 9, 3), (0, 128, 0), np.uint8)
    for suffix, form, options in ("jpg", "JPEG", {"quality": 95}), ("tif", "TIFF", {}):
        for name, image, truth, profile in (
            ("plain", cmyk, rgb, None),
            ("damaged-profile", cmyk, rgb, b"junk"),
            ("other-profile", cmyk, rgb, SRGB),
            ("profile", green, dark, cmyk_profile()),
        ):
            content = encoded(image, form, icc_profile=profile, **options)
            # 188 of 255 is where sRGB has half the light: cv2's 0.5 is not linear, so 128.
            case = Case(content, truth, 8, metadata={"icc_profile": None})
            yield f"cmyk/{name}.{suffix}", case


def deep_cases():
    """16 bits a channel."""
    for name, channels in ("grey", 1), ("rgb", 3), ("rgba", 4):
        pixels = picture(channels, dtype=np.uint16)
        yield f"deep/{name}.png", Case(written(pixels, ".png"), pixels)
        yield f"deep/{name}.tif", Case(written(pixels, ".tif"), pixels)
        if channels < 4:
            content = tiff(pixels.reshape(*pixels.shape[:2], channels))
            yield f"deep/{name}-other.tif", Case(content, pixels)
        bgr = pixels if channels == 1 else pixels[..., [2, 1, 0, 3][:channels]]
        options = [cv2.IMWRITE_TIFF_COMPRESSION, 5]  # LZW
        content = cv2.imencode(".tif", np.ascontiguousarray(bgr), options)[1].tobytes()
        yield f"deep/{name}-lzw.tiff", Case(content, pixels)
    grey, la, rgba = (picture(n, dtype=np.uint16) for n in (1, 2, 4))
    yield "deep/big-endian.tif", Case(encoded(grey.astype(">u2"), "TIFF"), grey)
    rows = [row.astype(">u2").tobytes() for row in la]
    yield "deep/grey-alpha.png", Case(png(*la.shape[1::-1], 16, 4, rows), la)
    for name, pixels in ("deep", rgba), ("plain", picture(4)):
        content = tiff(pixels, EXTRASAMPLES=0)
        case = Case(content, pixels[..., :3], note="channels beyond colour and alpha")
        yield f"{name}/no-alpha.tif", case
    rgba = np.full((4, 6, 4), (40_000, 20_000, 10_000, 32_768), np.uint16)
    beside, within = (struct.pack("<HHLH", 338, 3, 1, kind) for kind in (2, 1))  # ExtraSamples
    content = written(rgba, ".tif").replace(beside, within)
    rgba = np.full((4, 6, 4), (65_535, 40_000, 20_000, 32_768), np.uint16)
    yield "deep/premultiplied.tif", Case(content, rgba, 0.02)


def metadata_cases():
    """Eight orientations and a colour profile in every format that has them."""
    kept = {"icc_profile": SRGB, 0x010F: "Maker", 0x9003: "2026:01:02 03:04:05"}
    for orientation, stored in STORED.items():
        pixels, exif = picture(seed=orientation), exif_of(orientation)
        for suffix, form, tolerance, options in (
            ("png", "PNG", 0, {}),
            ("jpg", "JPEG", 8, {"quality": 95, "subsampling": 0}),
            ("webp", "WEBP", 0, {"lossless": True}),
            ("tif", "TIFF", 0, {}),
            ("avif", "AVIF", 8, {"quality": 95, "subsampling": "4:4:4"}),
        ):
            content = encoded(stored(pixels), form, exif=exif, icc_profile=SRGB, **options)
            case = Case(content, pixels, tolerance, metadata=kept)
            yield f"turned/{orientation}.{suffix}", case
        pixels = picture(seed=orientation, dtype=np.uint16)
        for suffix in ".png", ".tif":
            metadata = {"exif": exif, "icc_profile": SRGB}
            content = written(np.ascontiguousarray(stored(pixels)), suffix, metadata)
            yield f"turned/deep{orientation}{suffix}", Case(content, pixels, metadata=kept)
    note, rgb = "EXIF (damaged, or impossible to store)", picture()
    content = encoded(rgb, "JPEG", quality=95, exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    yield "turned/damaged.jpg", Case(content, rgb, 8, note=note)
    rows, exif = [row.tobytes() for row in rgb], (b"eXIf", b"XXXXXXXXXXXX")
    yield "turned/damaged.png", Case(png(*rgb.shape[1::-1], 8, 2, rows, exif), rgb, note=note)


def size_cases():
    for height, width in (1, 1), (1, 40), (40, 1), (2, 3), (5, 300), (65, 64):
        pixels = picture(3, height + 1, width + 1)[1:, 1:]  # one pixel alone would have no range
        yield f"sizes/{width}x{height}.png", Case(encoded(pixels, "PNG"), pixels)
        yield f"sizes/{width}x{height}.tif", Case(written(pixels, ".tif"), pixels)


def animated_cases():
    frames = [picture(seed=seed) for seed in range(3)]
    images = list(map(Image.fromarray, frames))
    palette = [image.convert("P") for image in images]
    note = "all pictures but the first"
    for name, form, pages, tolerance, options in (
        ("a.webp", "WEBP", images, 12, {"lossless": True}),
        ("a.png", "PNG", images, 0, {}),
        ("pages.tif", "TIFF", images, 0, {}),
        ("two.jpg", "MPO", images, 8, {"quality": 95}),
        ("a.gif", "GIF", palette, 0, {}),
    ):
        content = encoded(pages[0], form, save_all=True, append_images=pages[1:], **options)
        truth = np.asarray(pages[0].convert("RGB"))
        yield f"animated/{name}", Case(content, truth, tolerance, note=note)
    for name, channels in ("rgb", 3), ("rgba", 4):
        first = picture(channels, seed=5)
        animation = [Image.fromarray(first), Image.fromarray(picture(channels, seed=6))]
        options = {"save_all": True, "default_image": True, "append_images": animation}
        case = Case(
            encoded(picture(channels), "PNG", **options), first, note="all pictures but number 2"
        )
        yield f"animated/hidden-{name}.png", case


def lossless_jpeg(grey):
    """JPEG of SOF3: each pixel as its difference to the left one (in the first column, above)."""
    left = np.pad(grey.astype(int), ((0, 0), (1, 0)))[:, :-1]
    left[:, 0] = [128, *grey[:-1, 0]]
    bits = ""
    for difference in (grey - left).ravel().tolist():
        size = abs(difference).bit_length()
        number = difference + (2**size - 1 if difference < 0 else 0)
        bits += f"{size:05b}" + (f"{number:0{size}b}" if size else "")
    bits += "1" * (-len(bits) % 8)
    packed = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    codes = bytes([0, 0, 0, 0, 0, 17, *[0] * 11, *range(17)])  # 17 sizes, in 5 bits each
    frame = struct.pack(">B2H4B", 8, *grey.shape, 1, 1, 17, 0)
    parts = (0xC3, frame), (0xC4, codes), (0xDA, bytes([1, 1, 0, 1, 0, 0]))
    head = b"".join(struct.pack(">2BH", 255, kind, 2 + len(d)) + d for kind, d in parts)
    return b"\xff\xd8" + head + packed + b"\xff\xd9"


def with_bad_chunk(content, kind, data=b"\0" * 9):
    """A PNG with one more chunk, behind its header, whose checksum is wrong."""
    chunk = bytearray(png_chunk(kind, data))
    chunk[-1] ^= 1
    return content[:33] + chunk + content[33:]


def behind_thumbnails(pixels, count=1):
    """A TIFF whose first pages are thumbnails, and the last is the picture."""
    small, big = (Image.fromarray(p) for p in (np.ascontiguousarray(pixels[::2, ::2]), pixels))
    subfile = struct.pack("<2HL", 254, 4, 1)
    others = [*[small] * (count - 1), big]
    content = encoded(small, "TIFF", save_all=True, append_images=others, tiffinfo={254: 1})
    thumbnails, picture = content.rsplit(subfile + b"\1\0\0\0", 1)
    return thumbnails + subfile + bytes(4) + picture


def tiff(pixels, **tags):
    """An uncompressed TIFF of (H, W, C), with other values for some tags by their names."""
    height, width, channels = pixels.shape
    data = pixels.tobytes()
    values = {256: width, 257: height, 258: (8 * pixels.itemsize,) * channels, 259: 1}
    values |= {262: 1 if channels == 1 else 2, 273: 1000, 277: channels, 278: height}
    values |= {279: len(data)}
    values |= {getattr(TiffImagePlugin, name): value for name, value in tags.items()}
    entries = extra = b""
    for tag, value in sorted(values.items()):
        numbers = value if isinstance(value, tuple) else (value,)
        place = 900 + len(extra) if len(numbers) > 1 else numbers[0]
        extra += struct.pack(f"<{len(numbers)}L", *numbers) if len(numbers) > 1 else b""
        entries += struct.pack("<HHLL", tag, 4, len(numbers), place)
    head = struct.pack("<2sHLH", b"II", 42, 8, len(values)) + entries + bytes(4)
    return (head.ljust(900, b"\0") + extra).ljust(1000, b"\0") + data


def mended_cases():
    """What others read, too, though something is wrong with it or uncommon."""
    grey, rgb, deep = picture(1), picture(), picture(dtype=np.uint16)
    for kind in b"iCCP", b"pHYs", b"tEXt", b"gAMA":
        note = f"chunk {kind.decode()} (wrong checksum)"
        content = with_bad_chunk(encoded(rgb, "PNG"), kind)
        yield f"mended/{kind.decode()}.png", Case(content, rgb, note=note)
    content = with_bad_chunk(written(deep, ".png"), b"iCCP")
    yield "mended/deep.png", Case(content, deep, note="chunk iCCP")
    yield "mended/lossless.jpg", Case(lossless_jpeg(grey), grey, 8)
    yield "mended/lossless-no-end.jpg", Case(lossless_jpeg(grey)[:-2], grey, 8)
    for progressive in False, True:
        content = encoded(rgb, "JPEG", quality=95, progressive=progressive)
        for cut in 1, 2:
            yield f"mended/no-end-{progressive}-{cut}.jpg", Case(content[:-cut], rgb, 8)
    deep = picture(1, dtype=np.uint16)
    for name, pixels, count in ("one", rgb, 1), ("two", rgb, 2), ("deep", deep, 1):
        note = f"all pictures but number {count + 1}"
        content = behind_thumbnails(pixels, count)
        yield f"mended/{name}-thumbnail.tif", Case(content, pixels, note=note)
    only = encoded(rgb, "TIFF", tiffinfo={254: 1})
    yield "mended/only-thumbnail.tif", Case(only, rgb)
    xmp = b'<x xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>'
    yield "mended/xmp.avif", Case(encoded(rgb, "AVIF", quality=95, xmp=xmp), rgb, 8)


def unsupported_cases():
    """Sound files of kinds that are refused, and what is said of them."""
    floats, deep = np.zeros((6, 8, 3), np.float32), picture(dtype=np.uint16)
    grey, deep_grey = (smooth_picture(6, 8, 1, dtype=dtype) for dtype in (np.uint8, np.uint16))
    alpha = {"EXTRASAMPLES": 1, "PLANAR_CONFIGURATION": 2}
    planes = tuple(range(1000, 1000 + 4 * 14 * 19, 14 * 19))
    subifd = encoded(picture(), "TIFF", tiffinfo={254: 1, 330: 8})
    yield "unsupported/subifd.tif", Case(subifd, reason="the picture is in a SubIFD")
    for name, content, reason in (
        ("float", tiff(floats, SAMPLEFORMAT=3), "SamplesPerPixel 3, SampleFormat 3: not s"),
        ("five", tiff(picture(5), EXTRASAMPLES=2), "SamplesPerPixel 5"),
        ("planes", tiff(picture(4), STRIPOFFSETS=planes, **alpha), "PlanarConfiguration 2"),
        ("packed", tiff(picture(), COMPRESSION=34712), "Compression 34712"),
        ("lab", tiff(deep, PHOTOMETRIC_INTERPRETATION=8), "PhotometricInterpretation 8"),
        ("deep-planes", tiff(deep, PLANAR_CONFIGURATION=2), "PlanarConfiguration 2"),
        (
            "white-zero",
            tiff(deep_grey, PHOTOMETRIC_INTERPRETATION=0),
            "PhotometricInterpretation 0",
        ),
        ("signed", tiff(grey, SAMPLEFORMAT=2), "SampleFormat 2"),
        ("deep-signed", tiff(deep_grey, SAMPLEFORMAT=2), "SampleFormat 2"),
        ("12-bits", tiff(deep_grey, BITSPERSAMPLE=12), "BitsPerSample 12"),
        ("mixed", tiff(picture(), BITSPERSAMPLE=(5, 6, 5)), "BitsPerSample 5/6"),
        ("big", b"MM\0\x2b\0\x08\0\0" + bytes(7) + b"\x10" + bytes(90), "TIFF: damaged, or"),
    ):
        yield f"unsupported/{name}.tif", Case(content, reason=reason)
    jpeg, frame = encoded(picture(), "JPEG"), b"\xff\xc0\0\x11\x08"
    for name, other, reason in (
        ("12-bit", b"\xff\xc1\0\x11\x0c", "JPEG of 12 bits a channel, 3 channels (marker C1)"),
        ("ls", b"\xff\xf7\0\x11\x08", "JPEG-LS"),
        ("hierarchical", b"\xff\xc5\0\x11\x08", "JPEG of 8 bits a channel, 3 channels (marker C5)"),
    ):
        yield f"unsupported/{name}.jpg", Case(jpeg.replace(frame, other), reason=reason)
    yield "unsupported/cut.jpg", Case(jpeg[:-3], reason="cut off: the end of its JPEG data")
    progressive = encoded(picture(), "JPEG", progressive=True)
    yield "unsupported/cut-progressive.jpg", Case(progressive[:-20], reason="cut off")
    header = bytearray(encoded(picture(), "PNG"))
    header[32] ^= 1
    yield "unsupported/header.png", Case(bytes(header), reason="PNG: damaged")
    avif = encoded(picture(), "AVIF")
    place = avif.index(b"colrnclx") + 8
    wide = avif[:place] + struct.pack(">2H", 9, 16) + avif[place + 4 :]
    yield "unsupported/wide.avif", Case(wide, reason="primaries 9, transfer 16")
    heic = b"\0\0\0\x18ftypheic" + bytes(99)
    yield "unsupported/heic.jpg", Case(heic, reason="HEIC: not supported; convert it to PNG")
    bitmap = encoded(picture(), "BMP")
    yield "unsupported/jpeg.bmp", Case(bitmap[:30] + b"\4" + bitmap[31:], reason="BMP: damaged, or")


def name_cases():
    pixels = picture()
    content = encoded(pixels, "PNG")
    names = ["same.png", "UPPER.PNG", "-dash.png", "with space.png", "two\nlines.png"]
    names += ["100%{x}$HOME`id`.png", "Zoë.png", "Zoe\u0308.png", "日本語 🙂.png", "dots../a..png"]
    names += ["n" * 251 + ".png", os.fsdecode(b"not\xff\xfeutf8.png"), "a.gif/b.png"]
    for name in names:
        yield f"names/{name}", Case(content, pixels)
    yield "names/same.bmp", Case(encoded(pixels, "BMP"), pixels)


def refused_cases():
    rgb, deep = picture(height=40, width=50), picture(dtype=np.uint16)
    forms = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP", "bmp": "BMP", "avif": "AVIF"}
    files = {suffix: encoded(rgb, form) for suffix, form in forms.items()}
    files["tif"] = encoded(rgb, "TIFF", compression="tiff_lzw")
    files["gif"] = encoded(rgb, "GIF", "P")
    for suffix, content in files.items():
        yield f"refused/empty.{suffix}", Case(b"", reason="empty file")
        yield f"refused/half.{suffix}", Case(content[: len(content) // 2])
        reason = "AVIF: damaged" if suffix == "avif" else "not a picture"
        yield f"refused/header.{suffix}", Case(b"\0\0\0\0" + content[4:], reason=reason)
    for suffix in "png", "tif":
        content = written(deep, f".{suffix}")
        yield f"refused/half-deep.{suffix}", Case(content[: len(content) // 2])
    broken = bytearray(files["png"])
    broken[-30] ^= 0xFF  # in the pixels, before the end chunk
    yield "refused/checksum.png", Case(bytes(broken))
    for name, content in {
        "text.png": b"hello, this is text\n" * 100,
        "page.jpg": b"<!doctype html><html><title>404</title></html>",
        "script.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
        "bitmap.bmp": b"P6 2 2 255\n" + bytes(12),
        "noise.jpg": np.random.default_rng(0).bytes(5000),
    }.items():
        yield f"refused/{name}", Case(content, reason="not a picture")
    huge = bytearray(files["png"])
    huge[16:24] = struct.pack(">2L", 60_000, 60_000)
    huge[29:33] = struct.pack(">L", zlib.crc32(huge[12:29]))
    yield "refused/bomb.png", Case(bytes(huge), reason="60000x60000 pixels: expected at most")
    for name, number in ("nan", np.float32("nan")), ("int32", np.int32(70_000)):
        content = encoded(np.full((9, 9), number), "TIFF")
        yield f"refused/{name}.tif", Case(content, reason="BitsPerSample 32")
    grey_alpha = picture(2, dtype=np.uint16)
    yield "refused/grey-alpha-deep.tif", Case(written(grey_alpha, ".tif"), reason="ExtraSamples 2")
    alpha = encoded(picture(4), "PNG")
    yield "refused/alpha.jpg", Case(alpha, reason="transparency: a .jpg file holds none")
    yield "refused/deep.jpg", Case(written(deep, ".png"), reason="16 bits a channel")
    yield "refused/dangling.png", Case(lambda path: os.symlink("nowhere", path), reason="regular")
    yield "refused/loop.png", Case(lambda path: os.symlink("loop.png", path))
    yield "refused/pipe.png", Case(os.mkfifo, reason="not a regular file")
    yield "refused/twin.gif", Case(encoded(rgb, "GIF", "P"), rgb, 40)
    yield "refused/twin.gif.png", Case(files["png"], reason="is the output of")
    too_long = "refused/" + "g" * 251 + ".gif"
    yield too_long, Case(files["gif"], reason="File name too long")
    for name, content in (
        ("SVG", b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'),
        ("PDF", b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>"),
        ("JPEG 2000", b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(90)),
        ("JPEG XL", b"\xff\x0a" + bytes(90)),
        ("PSD", b"8BPS\0\1" + bytes(90)),
    ):
        yield f"refused/{name}.png", Case(content, reason=f"{name}: not supported; convert it")


KINDS = plain_cases, transparent_grey_cases, cmyk_cases, deep_cases, metadata_cases, size_cases
KINDS += animated_cases, mended_cases, unsupported_cases, name_cases, refused_cases


def cases():
    """dict of name -> `Case`, the name being its place below a folder."""
    return {name: case for kind in KINDS for name, case in kind()}


OTHERS = ["notes.txt", ".DS_Store", "plain/._rgb.png", "Thumbs.db", "no-ending", "drawing.eps"]


def build(folder):
    """Writes all cases, and files that are no pictures, below `folder`; returns the cases."""
    found = cases()
    for name, case in found.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        case.content(path) if callable(case.content) else path.write_bytes(case.content)
    for name in OTHERS:
        (folder / name).write_bytes(b"something else")
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "x.png").write_bytes(found["plain/rgb.png"].content)
    return found
