"""Picture files of every kind that people have, and files that only look like pictures."""

import io
import os
import struct
import zlib
from dataclasses import dataclass

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
    """One file and what must become of it.

    Attributes:
        content: bytes of the file, or a function that makes something else at a path.
        truth: the pixels that it shows, as `utils.read` returns them; `None`: to be refused.
        tolerance: largest mean difference of the enlarged pixels, in grey levels of 8 bits.
        reason: of the refusal, in part.
        metadata: what the output must hold of `icc_profile`, and of EXIF as tag -> value.
        note: in part, what the program must say that it leaves out.
    """

    content: object
    truth: object = None
    tolerance: float = 0
    reason: str = ""
    metadata: object = None
    note: str = ""


def encoded(pixels, form, mode=None, **options):
    """Bytes of a file, by Pillow."""
    file = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(pixels))
    (image.convert(mode) if mode else image).save(file, form, **options)
    return file.getvalue()


def written(pixels, suffix, metadata=None, folder="/tmp"):
    """Bytes of a file, by our own code, for what Pillow cannot write."""
    path = os.path.join(folder, f"corpus-{os.getpid()}{suffix}")
    try:
        write_picture(path, pixels, metadata or {})
        with open(path, "rb") as file:
            return file.read()
    finally:
        os.unlink(path)


def picture(channels=3, height=14, width=19, seed=0, dtype=np.uint8):
    pixels = smooth_picture(height, width, channels, seed, dtype)
    return pixels[..., 0] if channels == 1 else pixels


def png_chunk(kind, data):
    checksum = zlib.crc32(kind + data)
    return struct.pack(">L", len(data)) + kind + data + struct.pack(">L", checksum)


def grey_alpha_png(pixels):
    """PNG of 16-bit grey with alpha, (H, W, 2), which no library here writes."""
    height, width = pixels.shape[:2]
    rows = [b"\0" + row.astype(">u2").tobytes() for row in pixels]
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", struct.pack(">2L5B", width, height, 16, 4, 0, 0, 0))
        + png_chunk(b"IDAT", zlib.compress(b"".join(rows)))
        + png_chunk(b"IEND", b"")
    )


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
    table = (
        b"mft1\0\0\0\0"
        + bytes([4, 3, 2, 0])
        + matrix
        + 4 * straight
        + bytes(int(np.clip(round(float(v)), 0, 255)) for v in corners)
        + 3 * straight
    )
    text = b"text\0\0\0\0made for a test\0"
    description = b"desc" + struct.pack(">2L", 0, 5) + b"test\0" + bytes(79)
    white = b"XYZ \0\0\0\0" + struct.pack(">3l", 0xF6D6, 0x10000, 0xD32D)
    tags = {b"A2B0": table, b"cprt": text, b"desc": description, b"wtpt": white}
    directory, body, place = b"", b"", 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        data += bytes(-len(data) % 4)
        directory += name + struct.pack(">2L", place + len(body), len(data))
        body += data
    header = (
        struct.pack(">L", place + len(body))
        + b"\0\0\0\0\x02\x40\0\0prtrCMYKLab "
        + struct.pack(">6H", 2026, 1, 1, 0, 0, 0)
        + b"acsp"
        + bytes(28)
        + struct.pack(">3l", 0xF6D6, 0x10000, 0xD32D)
    )
    header += bytes(128 - len(header))
    return header + struct.pack(">L", len(tags)) + directory + body


def exif_of(orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    exif[0x010F] = "Maker"
    exif.get_ifd(EXIF_IFD)[0x9003] = "2026:01:02 03:04:05"
    return exif.tobytes()


def first_half(content):
    return content[: len(content) // 2]


def plain_cases():
    """8 bits a channel, in every format and mode."""
    grey, rgb, la, rgba = (picture(n) for n in (1, 3, 2, 4))
    bilevel = np.where(grey > 127, 255, 0).astype(np.uint8)
    palette = np.asarray(Image.fromarray(rgb).convert("P").convert("RGB"))
    holes = Image.fromarray(rgb).convert("P", palette=Image.Palette.ADAPTIVE, colors=16)
    see_through = np.asarray(holes.convert("RGB"))
    alpha = np.where(np.asarray(holes) == 3, 0, 255).astype(np.uint8)
    see_through = np.dstack([see_through, alpha])
    holes_png, holes_gif = io.BytesIO(), io.BytesIO()
    holes.save(holes_png, "PNG", transparency=3)
    holes.save(holes_gif, "GIF", transparency=3)
    yield "plain/grey.png", Case(encoded(grey, "PNG"), grey)
    yield "plain/rgb.png", Case(encoded(rgb, "PNG"), rgb)
    yield "plain/grey-alpha.png", Case(encoded(la, "PNG"), la)
    yield "plain/rgba.png", Case(encoded(rgba, "PNG"), rgba)
    yield "plain/palette.png", Case(encoded(rgb, "PNG", "P"), palette)
    yield "plain/palette-holes.png", Case(holes_png.getvalue(), see_through)
    yield "plain/bilevel.png", Case(encoded(bilevel, "PNG", "1"), bilevel)
    yield "plain/palette.gif", Case(encoded(rgb, "GIF", "P"), palette)
    yield "plain/palette-grey.gif", Case(encoded(grey, "GIF"), grey)
    yield "plain/palette-holes.gif", Case(holes_gif.getvalue(), see_through)
    for suffix in "jpg", "jpeg", "JPG":
        yield f"plain/rgb.{suffix}", Case(encoded(rgb, "JPEG", quality=95), rgb, 8)
    yield "plain/grey.jpg", Case(encoded(grey, "JPEG", quality=95), grey, 8)
    progressive = encoded(rgb, "JPEG", quality=95, progressive=True)
    yield "plain/progressive.jpg", Case(progressive, rgb, 8)
    yield "plain/rgb.webp", Case(encoded(rgb, "WEBP", quality=95), rgb, 12)
    lossless = {"lossless": True, "exact": True}
    yield "plain/rgb-lossless.webp", Case(encoded(rgb, "WEBP", **lossless), rgb)
    yield "plain/rgba-lossless.webp", Case(encoded(rgba, "WEBP", **lossless), rgba)
    yield "plain/rgb.avif", Case(encoded(rgb, "AVIF", quality=95), rgb, 8)
    yield "plain/grey.bmp", Case(encoded(grey, "BMP"), grey)
    yield "plain/rgb.bmp", Case(encoded(rgb, "BMP"), rgb)
    yield "plain/palette.bmp", Case(encoded(rgb, "BMP", "P"), palette)
    yield "plain/bilevel.bmp", Case(encoded(bilevel, "BMP", "1"), bilevel)
    yield "plain/rgba.bmp", Case(written(rgba, ".bmp"), rgba)
    for name, pixels in ("grey", grey), ("grey-alpha", la), ("rgb", rgb), ("rgba", rgba):
        yield f"plain/{name}.tif", Case(encoded(pixels, "TIFF"), pixels)
    yield "plain/palette.tif", Case(encoded(rgb, "TIFF", "P"), palette)
    yield "plain/bilevel.tif", Case(encoded(bilevel, "TIFF", "1"), bilevel)
    for compression in "tiff_lzw", "packbits", "tiff_adobe_deflate":
        content = encoded(rgb, "TIFF", compression=compression)
        yield f"plain/{compression}.tiff", Case(content, rgb)
    content = encoded(rgb, "TIFF", compression="jpeg", quality=95)
    yield "plain/jpeg.tiff", Case(content, rgb, 8)


def cmyk_cases():
    rgb = picture()
    inks = np.dstack([255 - rgb, np.zeros(rgb.shape[:2], np.uint8)])
    cmyk = Image.fromarray(inks, "CMYK")
    green = Image.new("CMYK", (9, 7), (255, 0, 0, 0))
    shown = np.full((7, 9, 3), (0, 128, 0), np.uint8)
    for suffix, form, options in ("jpg", "JPEG", {"quality": 95}), ("tif", "TIFF", {}):
        for name, image, truth, profile in (
            ("plain", cmyk, rgb, None),
            ("profile", green, shown, cmyk_profile()),
        ):
            file = io.BytesIO()
            image.save(file, form, icc_profile=profile, **options)
            # 188 of 255 is where sRGB has half the light: cv2's 0.5 is not linear, so 128.
            case = Case(file.getvalue(), truth, 8, metadata={"icc_profile": None})
            yield f"cmyk/{name}.{suffix}", case


def deep_cases():
    """16 bits a channel."""
    for name, channels in ("grey", 1), ("rgb", 3), ("rgba", 4):
        pixels = picture(channels, dtype=np.uint16)
        yield f"deep/{name}.png", Case(written(pixels, ".png"), pixels)
        yield f"deep/{name}.tif", Case(written(pixels, ".tif"), pixels)
        bgr = pixels if channels == 1 else pixels[..., [2, 1, 0, 3][:channels]]
        options = [cv2.IMWRITE_TIFF_COMPRESSION, 5]  # LZW
        content = cv2.imencode(".tif", np.ascontiguousarray(bgr), options)[1].tobytes()
        yield f"deep/{name}-lzw.tiff", Case(content, pixels)
    big_endian = io.BytesIO()
    grey = picture(1, dtype=np.uint16)
    Image.fromarray(grey.astype(">u2")).save(big_endian, "TIFF")
    yield "deep/big-endian.tif", Case(big_endian.getvalue(), grey)
    la = picture(2, dtype=np.uint16)
    yield "deep/grey-alpha.png", Case(grey_alpha_png(la), la)


def metadata_cases():
    """Eight orientations and a colour profile in every format that has them."""
    for suffix, form, options, tolerance in (
        ("png", "PNG", {}, 0),
        ("jpg", "JPEG", {"quality": 95, "subsampling": 0}, 8),
        ("webp", "WEBP", {"lossless": True}, 0),
        ("tif", "TIFF", {}, 0),
        ("avif", "AVIF", {"quality": 95, "subsampling": "4:4:4"}, 8),
    ):
        for orientation, stored in STORED.items():
            pixels = picture(seed=orientation)
            content = encoded(
                stored(pixels), form, exif=exif_of(orientation), icc_profile=SRGB, **options
            )
            kept = {"icc_profile": SRGB, 0x010F: "Maker", 0x9003: "2026:01:02 03:04:05"}
            name = f"turned/{orientation}.{suffix}"
            yield name, Case(content, pixels, tolerance, metadata=kept)
    for suffix in ".png", ".tif":
        for orientation, stored in STORED.items():
            pixels = picture(seed=orientation, dtype=np.uint16)
            metadata = {"exif": exif_of(orientation), "icc_profile": SRGB}
            content = written(np.ascontiguousarray(stored(pixels)), suffix, metadata)
            kept = {"icc_profile": SRGB, 0x010F: "Maker", 0x9003: "2026:01:02 03:04:05"}
            yield f"turned/deep{orientation}{suffix}", Case(content, pixels, metadata=kept)


def text_cases():
    """EXIF in UTF-8, in both byte orders, and what a TIFF or JPEG says that would be wrong."""
    pixels, name = picture(), "Größe © 足球".encode()
    kept = {0x010F: name.decode("latin-1")}
    for order in "<>":
        exif = Image.Exif()
        exif.endian = order
        exif[0x010F] = "x" * len(name)
        exif = exif.tobytes().replace(b"x" * len(name), name)
        for suffix, form, tolerance in ("png", "PNG", 0), ("jpg", "JPEG", 8), ("avif", "AVIF", 8):
            content = encoded(pixels, form, exif=exif, quality=95)
            yield f"text/{ord(order)}.{suffix}", Case(content, pixels, tolerance, metadata=kept)
        content = encoded(pixels, "WEBP", lossless=True, exif=exif)
        yield f"text/{ord(order)}.webp", Case(content, pixels, metadata=kept)
        content = written(pixels, ".tif", {"exif": exif})
        yield f"text/{ord(order)}.tif", Case(content, pixels, metadata=kept)
    for number, text in enumerate(("ImageJ=1", '{"shape": [1]}', "<?xml?><OME xmlns='x'>")):
        content = encoded(pixels, "TIFF", description=text)
        yield f"text/stack{number}.tif", Case(content, pixels, note="its description by ImageJ")
    content = encoded(pixels, "TIFF", tiffinfo={37724: b"layers"})
    yield "text/layers.tif", Case(content, pixels, note="its layers left out")
    options = {"save_all": True, "append_images": [Image.fromarray(pixels[::2, ::2])]}
    content = encoded(pixels, "MPO", quality=95, xmp=b'<x hdrgm:Version="1.0"/>', **options)
    yield "text/gain-map.jpg", Case(content, pixels, 8, note="its gain map left out")


def size_cases():
    for height, width in (1, 1), (1, 40), (40, 1), (2, 3), (5, 300), (65, 64):
        pixels = picture(height=height, width=width) if height + width > 2 else None
        pixels = np.full((1, 1, 3), 99, np.uint8) if pixels is None else pixels
        yield f"sizes/{width}x{height}.png", Case(encoded(pixels, "PNG"), pixels)
        yield f"sizes/{width}x{height}.tif", Case(written(pixels, ".tif"), pixels)


def animated_cases():
    frames = [picture(seed=seed) for seed in range(3)]
    rest = [Image.fromarray(frame) for frame in frames[1:]]
    many = {"save_all": True, "append_images": rest}
    note = "all pictures but the first"
    palette = [Image.fromarray(frame).convert("P") for frame in frames]
    gif = io.BytesIO()
    palette[0].save(gif, "GIF", save_all=True, append_images=palette[1:])
    first = np.asarray(palette[0].convert("RGB"))
    yield "animated/a.gif", Case(gif.getvalue(), first, note=note)
    webp = encoded(frames[0], "WEBP", lossless=True, **many)
    yield "animated/a.webp", Case(webp, frames[0], 12, note=note)
    yield "animated/a.png", Case(encoded(frames[0], "PNG", **many), frames[0], note=note)
    yield "animated/pages.tif", Case(encoded(frames[0], "TIFF", **many), frames[0], note=note)
    hidden = {"save_all": True, "default_image": True}
    for name, channels in ("rgb", 3), ("rgba", 4):
        shown = picture(channels, seed=5)
        animation = [Image.fromarray(shown), Image.fromarray(picture(channels, seed=6))]
        content = encoded(picture(channels), "PNG", append_images=animation, **hidden)
        case = Case(content, shown, note="all pictures but number 2")
        yield f"animated/hidden-{name}.png", case
    yield (
        "animated/two.jpg",
        Case(encoded(frames[0], "MPO", quality=95, **many), frames[0], 8, note=note),
    )


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


def behind_thumbnails(pixels, count=1, **tags):
    """A TIFF whose first pages are thumbnails, and the last is the picture."""
    small, big = (Image.fromarray(p) for p in (np.ascontiguousarray(pixels[::2, ::2]), pixels))
    content, subfile = io.BytesIO(), struct.pack("<2HL", 254, 4, 1)
    options = {
        "save_all": True,
        "append_images": [*[small] * (count - 1), big],
        "tiffinfo": {254: 1, **tags},
    }
    small.save(content, "TIFF", **options)
    thumbnails, picture = content.getvalue().rsplit(subfile + b"\1\0\0\0", 1)
    return thumbnails + subfile + bytes(4) + picture


def tiff(pixels, **tags):
    """An uncompressed TIFF of (H, W, C), with other values for some tags by their names."""
    height, width, channels = pixels.shape
    data = pixels.tobytes()
    values = {
        256: width,
        257: height,
        258: (8 * pixels.itemsize,) * channels,
        259: 1,
        262: 1 if channels == 1 else 2,
        273: 1000,
        277: channels,
        278: height,
        279: len(data),
    }
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
        note = f"its chunk {kind.decode()}, whose checksum is wrong,"
        case = Case(with_bad_chunk(encoded(rgb, "PNG"), kind), rgb, note=note)
        yield f"mended/{kind.decode()}.png", case
    content = with_bad_chunk(written(deep, ".png"), b"iCCP")
    yield "mended/deep.png", Case(content, deep, note="its chunk iCCP")
    yield "mended/lossless.jpg", Case(lossless_jpeg(grey), grey, 8)
    yield "mended/lossless-no-end.jpg", Case(lossless_jpeg(grey)[:-2], grey, 8)
    for progressive in False, True:
        content = encoded(rgb, "JPEG", quality=95, progressive=progressive)
        for cut in 1, 2:
            yield f"mended/no-end-{progressive}-{cut}.jpg", Case(content[:-cut], rgb, 8)
    note = "all pictures but number 2"
    yield "mended/thumbnail.tif", Case(behind_thumbnails(rgb), rgb, note=note)
    case = Case(behind_thumbnails(rgb, 2), rgb, note="all pictures but number 3")
    yield "mended/two-thumbnails.tif", case
    deep = picture(1, dtype=np.uint16)
    yield "mended/deep-thumbnail.tif", Case(behind_thumbnails(deep), deep, note=note)
    only = encoded(rgb, "TIFF", tiffinfo={254: 1})
    yield "mended/only-thumbnail.tif", Case(only, rgb)
    xmp = b'<x xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>'
    yield "mended/xmp.avif", Case(encoded(rgb, "AVIF", quality=95, xmp=xmp), rgb, 8)


def unsupported_cases():
    """Sound files of kinds that are refused, and what is said of them."""
    floats, deep = np.zeros((6, 8, 3), np.float32), picture(dtype=np.uint16)
    alpha = {"EXTRASAMPLES": 1, "PLANAR_CONFIGURATION": 2}
    planes = tuple(range(1000, 1000 + 4 * 14 * 19, 14 * 19))
    subifd = encoded(picture(), "TIFF", tiffinfo={254: 1, 330: 8})
    yield "unsupported/subifd.tif", Case(subifd, reason="the picture is in a SubIFD")
    for name, content, reason in (
        ("float", tiff(floats, SAMPLEFORMAT=3), "32 bits a channel, floating point, 3 channels"),
        ("five", tiff(picture(5), EXTRASAMPLES=2), "5 channels, RGB with transparency"),
        ("planes", tiff(picture(4), STRIPOFFSETS=planes, **alpha), "in separate planes, RGB m"),
        ("packed", tiff(picture(), COMPRESSION=34712), "compression 34712"),
        ("lab", tiff(deep, PHOTOMETRIC_INTERPRETATION=8), "Lab"),
        ("mixed", tiff(picture(), BITSPERSAMPLE=(5, 6, 5)), "5/6 bits a channel"),
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
    heic = b"\0\0\0\x18ftypheic" + bytes(99)
    yield "unsupported/heic.jpg", Case(heic, reason="HEIC: not supported; convert it to PNG")
    bitmap = encoded(picture(), "BMP")
    yield "unsupported/jpeg.bmp", Case(bitmap[:30] + b"\4" + bitmap[31:], reason="BMP: damaged, or")


def name_cases():
    pixels = picture()
    content = encoded(pixels, "PNG")
    for name in (
        "names/same.png",
        "names/with space.png",
        "names/-dash.png",
        "names/100%{x}$HOME`id`.png",
        "names/two\nlines.png",
        "names/Zoë.png",
        "names/Zoe\u0308.png",
        "names/日本語 🙂.png",
        "names/dots../a..png",
        "names/" + "n" * 251 + ".png",
        "names/" + os.fsdecode(b"not\xff\xfeutf8.png"),
        "names/a.gif/b.png",
        "names/UPPER.PNG",
    ):
        yield name, Case(content, pixels)
    yield "names/same.bmp", Case(encoded(pixels, "BMP"), pixels)


def refused_cases():
    rgb, deep = picture(height=40, width=50), picture(dtype=np.uint16)
    files = {
        "png": encoded(rgb, "PNG"),
        "jpg": encoded(rgb, "JPEG"),
        "webp": encoded(rgb, "WEBP"),
        "bmp": encoded(rgb, "BMP"),
        "tif": encoded(rgb, "TIFF", compression="tiff_lzw"),
        "avif": encoded(rgb, "AVIF"),
        "gif": encoded(rgb, "GIF", "P"),
    }
    for suffix, content in files.items():
        yield f"refused/empty.{suffix}", Case(b"", reason="empty file")
        yield f"refused/half.{suffix}", Case(first_half(content))
        reason = "AVIF: damaged" if suffix == "avif" else "not a picture"
        yield f"refused/header.{suffix}", Case(b"\0\0\0\0" + content[4:], reason=reason)
    for suffix in "png", "tif":
        yield f"refused/half-deep.{suffix}", Case(first_half(written(deep, f".{suffix}")))
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
    floats = np.full((9, 9), np.nan, np.float32)
    yield "refused/nan.tif", Case(encoded(floats, "TIFF"), reason="32 bits a channel")
    whole = np.full((9, 9), 70_000, np.int32)
    yield "refused/int32.tif", Case(encoded(whole, "TIFF"), reason="32 bits a channel")
    grey_alpha = picture(2, dtype=np.uint16)
    yield "refused/grey-alpha-deep.tif", Case(written(grey_alpha, ".tif"), reason="grey with t")
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


def cases():
    """dict of name -> `Case`, the name being its place below a folder."""
    return {
        name: case
        for kind in (
            plain_cases,
            cmyk_cases,
            deep_cases,
            metadata_cases,
            text_cases,
            size_cases,
            animated_cases,
            mended_cases,
            unsupported_cases,
            name_cases,
            refused_cases,
        )
        for name, case in kind()
    }


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
