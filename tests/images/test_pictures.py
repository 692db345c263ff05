import io
import itertools
import os
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps, PngImagePlugin, TiffImagePlugin

import corpus
from superres.images import read
from superres.images.formats import (
    LONGEST_SIDE,
    UnreadablePicture,
    check_storable,
    find_pictures,
    output_name,
)
from superres.images.pixels import to_network, to_pixels
from superres.images.read import EXIF_IFD, ORIENTATION, read_picture, read_rgb
from superres.images.resize import crop_to_multiple, downscale, imresize, upscale_bicubic
from superres.images.write import _strips, write_bands, write_picture
from support import smooth_picture

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def test_to_pixels_clips_rounds_and_casts():
    values = np.array([-0.2, 0.0, 0.4 / 255, 0.5 / 255, 254.5 / 255, 1.0, 7.0])
    assert to_pixels(values).tolist() == [0, 0, 0, 1, 255, 255, 255]
    assert to_pixels(np.array([1.0, 0.5]), np.uint16).tolist() == [65535, 32768]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_pixel_value_survives_the_network_and_back(dtype):
    pixels = np.arange(np.iinfo(dtype).max + 1).astype(dtype)
    np.testing.assert_array_equal(to_pixels(to_network(pixels), dtype), pixels)


# ---- bicubic ----


def slow_imresize(line, new_length):
    """One line by MATLAB's imresize, written down tap by tap from its definition."""
    ratio = new_length / len(line)
    shrink = min(ratio, 1)

    def kernel(x):
        x = abs(x)
        if x <= 1:
            return 1.5 * x**3 - 2.5 * x**2 + 1
        return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x <= 2 else 0

    resized = []
    for n in range(new_length):
        centre = (n + 0.5) / ratio - 0.5
        total = weight_sum = 0
        for k in range(int(centre - 2 / shrink) - 3, int(centre + 2 / shrink) + 4):
            weight = kernel(shrink * (centre - k))
            mirrored = k % (2 * len(line))
            value = line[min(mirrored, 2 * len(line) - 1 - mirrored)]
            total += weight * value
            weight_sum += weight
        resized.append(int(min(255, max(0, total / weight_sum)) + 0.5))
    return resized


@pytest.mark.parametrize(("length", "new_length"), [(24, 12), (24, 8), (24, 6), (7, 14), (5, 20)])
def test_imresize_follows_the_definition_on_a_line(length, new_length):
    line = np.random.default_rng(length).integers(0, 256, length, dtype=np.uint8)
    expected = slow_imresize([int(v) for v in line], new_length)
    assert imresize(line[:, None], new_length, 1)[:, 0].tolist() == expected
    assert imresize(line[None, :, None], 1, new_length)[0, :, 0].tolist() == expected


def test_imresize_rounds_after_the_rows():
    picture = np.random.default_rng(0).integers(0, 256, (16, 16), dtype=np.uint8)
    rows = np.array([slow_imresize([int(v) for v in column], 8) for column in picture.T]).T
    both = [slow_imresize([int(v) for v in row], 8) for row in rows]
    assert imresize(picture, 8, 8).tolist() == both


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_downscale_is_the_published_set5_bit_for_bit(benchmarks, scale):
    folder = benchmarks / "Set5"
    names = sorted(path.name for path in (folder / "HR").iterdir())
    assert len(names) == 5
    for name in names:
        hr = crop_to_multiple(read_rgb(folder / "HR" / name), scale)
        lr = read_rgb(folder / "LR" / f"x{scale}" / name)
        np.testing.assert_array_equal(downscale(hr, scale), lr, err_msg=name)


def test_resizing_keeps_flat_pictures_and_dtype():
    flat = np.full((12, 18, 3), 40_000, np.uint16)
    assert (downscale(flat, 3) == 40_000).all()
    assert (upscale_bicubic(flat, 2) == 40_000).all()
    assert downscale(flat, 3).shape == (4, 6, 3)


def test_downscale_refuses_what_the_scale_does_not_divide():
    with pytest.raises(ValueError, match="size 5x4: expected multiples of the scale 2"):
        downscale(np.zeros((4, 5, 3), np.uint8), 2)


# ---- finding, reading and writing ----


def test_find_pictures_is_recursive_sorted_and_leaves_the_rest(tmp_path):
    for name in "b.PNG", "a.jpg", "deep/er/c.tiff", "notes.txt", ".hidden.png", ".git/d.png":
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "deep" / "link").symlink_to(tmp_path / "deep" / "er")
    (tmp_path / "deep" / "round").symlink_to(tmp_path)
    found = [path.relative_to(tmp_path).as_posix() for path in find_pictures(tmp_path)]
    assert found in (["a.jpg", "b.PNG", f"deep/{place}/c.tiff"] for place in ("er", "link"))


def test_find_pictures_names_a_missing_folder(tmp_path):
    with pytest.raises(ValueError, match="nowhere: no such folder"):
        find_pictures(tmp_path / "nowhere")


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff"])
def test_lossless_files_come_back_as_written(tmp_path, suffix, channels):
    pixels = smooth_picture(9, 12, channels)
    pixels = pixels[..., 0] if channels == 1 else pixels
    write_picture(tmp_path / f"x{suffix}", pixels, {"icc_profile": SRGB})
    read, metadata = read_picture(tmp_path / f"x{suffix}")
    np.testing.assert_array_equal(read, pixels)
    assert metadata == {"icc_profile": SRGB}


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_files_come_back_as_written(tmp_path, suffix, channels):
    pixels = smooth_picture(9, 12, channels, dtype=np.uint16)
    pixels = pixels[..., 0] if channels == 1 else pixels
    write_picture(tmp_path / f"x{suffix}", pixels, {})
    read, _ = read_picture(tmp_path / f"x{suffix}")
    assert read.dtype == np.uint16
    np.testing.assert_array_equal(read, pixels)


def test_16_bit_rgb_has_its_channels_in_order(tmp_path):
    red = np.zeros((4, 4, 3), np.uint16)
    red[..., 0] = 65535
    write_picture(tmp_path / "red.png", red, {})
    with Image.open(tmp_path / "red.png") as file:  # Pillow reads it, cut to 8 bits
        assert file.convert("RGB").getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".webp", ".avif"])
def test_lossy_files_stay_close(tmp_path, suffix):
    pixels = smooth_picture(64, 48)
    write_picture(tmp_path / f"x{suffix}", pixels, {"icc_profile": SRGB})
    read, metadata = read_picture(tmp_path / f"x{suffix}")
    assert np.abs(read.astype(int) - pixels).mean() < 3
    assert metadata == {"icc_profile": SRGB}


def test_jpeg_is_written_at_quality_95_without_chroma_subsampling(tmp_path):
    pixels = smooth_picture(64, 48)
    write_picture(tmp_path / "x.jpg", pixels, {})
    expected = io.BytesIO()
    Image.fromarray(pixels).save(expected, "JPEG", quality=95, subsampling=0)
    assert (tmp_path / "x.jpg").read_bytes() == expected.getvalue()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pictures_are_read_upright_and_written_without_a_turn(tmp_path, orientation, dtype):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    exif[0x010F] = "Maker"
    pixels = smooth_picture(5, 7, dtype=dtype)
    write_picture(tmp_path / "turned.png", pixels, {"exif": exif.tobytes()})
    read, metadata = read_picture(tmp_path / "turned.png")
    with Image.open(tmp_path / "turned.png") as file:
        upright = np.array(ImageOps.exif_transpose(file).convert("RGB"))
    if dtype == np.uint16:
        np.testing.assert_array_equal(read >> 8, upright)
    else:
        np.testing.assert_array_equal(read, upright)
    write_picture(tmp_path / "upright.png", read, metadata)
    with Image.open(tmp_path / "upright.png") as file:
        assert dict(file.getexif()) == {0x010F: "Maker"}
    np.testing.assert_array_equal(read_picture(tmp_path / "upright.png")[0], read)


def test_exif_forgets_the_size_of_the_original(tmp_path):
    exif = Image.Exif()
    exif.get_ifd(EXIF_IFD).update({0xA002: 6, 0xA003: 8, 0x829A: 0.5})
    path = save(tmp_path, "RGB", "x.jpg", exif=exif)
    kept = Image.Exif()
    kept.load(read_picture(path)[1]["exif"])
    assert dict(kept.get_ifd(EXIF_IFD)) == {0x829A: 0.5}


def save(tmp_path, mode, name="x.png", **options):
    """Saves a small picture in a Pillow mode and returns its path."""
    Image.fromarray(smooth_picture(8, 6)).convert(mode).save(tmp_path / name, **options)
    return tmp_path / name


@pytest.mark.parametrize(
    ("mode", "name", "shape"),
    [
        ("1", "x.png", (8, 6)),
        ("L", "x.jpg", (8, 6)),
        ("P", "x.gif", (8, 6, 3)),
        ("P", "x.png", (8, 6, 3)),
        ("LA", "x.png", (8, 6, 2)),
        ("RGBA", "x.png", (8, 6, 4)),
        ("CMYK", "x.jpg", (8, 6, 3)),
        ("RGB", "x.bmp", (8, 6, 3)),
    ],
)
def test_modes(tmp_path, mode, name, shape):
    pixels, _ = read_picture(save(tmp_path, mode, name))
    assert pixels.shape == shape
    assert pixels.dtype == np.uint8


def test_palette_transparency_becomes_alpha(tmp_path):
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([255, 0, 0, 0, 255, 0])
    palette.putpixel((1, 0), 1)
    palette.save(tmp_path / "p.png", transparency=0)
    pixels, _ = read_picture(tmp_path / "p.png")
    assert pixels[0, 0].tolist() == [255, 0, 0, 0]
    assert pixels[0, 1].tolist() == [0, 255, 0, 255]


@pytest.mark.parametrize("profile", [b"", b"junk", SRGB])  # the last is not of CMYK
def test_cmyk_drops_the_profile_that_no_longer_fits(tmp_path, profile):
    red = Image.new("CMYK", (4, 4), (0, 255, 255, 0))
    red.save(tmp_path / "x.jpg", icc_profile=profile)
    pixels, metadata = read_picture(tmp_path / "x.jpg")
    assert np.abs(pixels.astype(int) - (255, 0, 0)).max() < 5
    assert metadata == {}


def test_read_rgb_makes_three_channels_of_everything(tmp_path):
    for mode in "1", "L", "LA", "RGBA":
        assert read_rgb(save(tmp_path, mode)).shape == (8, 6, 3)
    cv2.imwrite(str(tmp_path / "deep.png"), np.full((3, 4), 32768, np.uint16))
    assert (read_rgb(tmp_path / "deep.png") == 128).all()


def whole_png():
    file = io.BytesIO()
    Image.fromarray(smooth_picture(40, 40)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"hello, this is text", "not a picture"),
        (whole_png()[:-500], "truncated"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "not a picture|broken PNG"),
    ],
)
def test_unreadable_files_are_refused_with_a_reason(tmp_path, content, reason):
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(UnreadablePicture, match=reason):
        read_picture(tmp_path / "x.png")


def test_what_is_no_regular_file_is_refused(tmp_path):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "link.png").symlink_to(tmp_path / "nowhere.png")
    os.mkfifo(tmp_path / "pipe.png")
    for name in "folder.png", "link.png", "pipe.png":
        with pytest.raises(UnreadablePicture, match="not a regular file"):
            read_picture(tmp_path / name)


def test_error_of_any_kind_in_a_decoder_is_a_refusal(tmp_path, monkeypatch):
    def fail(file, metadata, raw_modes):
        raise RuntimeError("Failed to decode frame 0")

    path = save(tmp_path, "RGB")
    monkeypatch.setattr(read, "_read_shallow", fail)
    with pytest.raises(UnreadablePicture, match="Failed to decode frame 0"):
        read_picture(path)


def test_damaged_avif_is_refused(tmp_path):
    write_picture(tmp_path / "x.avif", smooth_picture(64, 64), {})
    content = (tmp_path / "x.avif").read_bytes()
    (tmp_path / "x.avif").write_bytes(content[: len(content) // 2])
    with pytest.raises(UnreadablePicture):
        read_picture(tmp_path / "x.avif")


def test_damaged_exif_does_not_cost_the_picture(tmp_path, monkeypatch):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    path = save(tmp_path, "RGB", "x.jpg", exif=exif)

    def fail(self, offset=8):
        raise TypeError

    monkeypatch.setattr(Image.Exif, "tobytes", fail)
    pixels, metadata = read_picture(path)
    assert pixels.shape == (6, 8, 3)
    assert metadata == {}


def test_float_tiff_is_refused(tmp_path):
    with pytest.raises(UnreadablePicture, match="32 bits a channel"):
        read_picture(save(tmp_path, "F", "x.tif"))


def test_pixel_limit_is_checked_before_decoding(tmp_path):
    path = save(tmp_path, "RGB")
    with pytest.raises(UnreadablePicture, match="6x8 pixels: expected at most 47 in all"):
        read_picture(path, max_pixels=47)


@pytest.mark.parametrize(
    ("name", "shape", "dtype", "reason"),
    [
        ("x.jpg", (9, 9, 4), np.uint8, r"transparency: a \.jpg file holds none"),
        ("x.JPEG", (9, 9, 2), np.uint8, r"transparency: a \.jpeg file holds none"),
        ("x.webp", (9, 9, 3), np.uint16, r"16 bits a channel: a \.webp file holds 8"),
        ("x.webp", (9, 16_384, 3), np.uint8, "16384x9 pixels: .* at most 16,383 a side"),
        ("x.jpg", (65_501, 9), np.uint8, "9x65501 pixels: .* at most 65,500 a side"),
        ("x.avif", (32_769, 9), np.uint8, "9x32769 pixels: .* at most 32,768 a side"),
        ("x.avif", (20_000, 20_000), np.uint8, "20000x20000 pixels: .* at most 268,435,456"),
    ],
)
def test_what_a_format_cannot_hold_is_known_before_it_is_computed(name, shape, dtype, reason):
    with pytest.raises(ValueError, match=reason):
        check_storable(name, shape, dtype)
    check_storable("x.png", shape, dtype)


def test_colours_of_a_png_without_a_profile_are_kept(tmp_path):
    chunks = PngImagePlugin.PngInfo()
    chunks.add(b"gAMA", struct.pack(">L", 100_000))
    chunks.add(b"cHRM", struct.pack(">8L", *range(10_000, 90_000, 10_000)))
    chunks.add(b"sRGB", b"\0")
    Image.fromarray(smooth_picture(4, 4)).save(tmp_path / "x.png", pnginfo=chunks)
    pixels, metadata = read_picture(tmp_path / "x.png")
    write_picture(tmp_path / "y.png", pixels, metadata)
    with Image.open(tmp_path / "y.png") as file:
        assert file.info["gamma"] == 1
        assert file.info["chromaticity"] == tuple(n / 10 for n in range(1, 9))
        assert file.info["srgb"] == 0


def png(width, height, bits, kind, rows, *chunks):
    """A PNG made by hand: `rows` are the packed bytes of each row."""
    header = struct.pack(">2L5B", width, height, bits, kind, 0, 0, 0)
    packed = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = [(b"IHDR", header), *chunks, (b"IDAT", packed), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(corpus.png_chunk(*part) for part in parts)


@pytest.mark.parametrize(
    ("bits", "row", "greys"),
    [
        (1, b"\x40", [0, 255, 0, 0]),
        (2, b"\x1b", [0, 85, 170, 255]),
        (4, b"\x01\x2f", [0, 17, 34, 255]),
        (8, b"\x00\x01\x02\xff", [0, 1, 2, 255]),
        (16, b"\0\0\0\x01\x02\x03\xff\xff", [0, 1, 515, 65535]),
    ],
)
def test_transparent_grey_of_a_png_of_any_depth(tmp_path, bits, row, greys):
    content = png(4, 1, bits, 0, [row], (b"tRNS", struct.pack(">H", 1)))
    (tmp_path / "x.png").write_bytes(content)
    pixels, _ = read_picture(tmp_path / "x.png")
    most = 65535 if bits == 16 else 255
    assert pixels[0].tolist() == [[grey, 0 if n == 1 else most] for n, grey in enumerate(greys)]


def tiff(pixels, **tags):
    """An uncompressed TIFF of (H, W, C), with other values for some tags by their names."""
    height, width, channels = pixels.shape
    data = pixels.tobytes()
    values = {
        256: width,
        257: height,
        258: 8 * pixels.itemsize,
        259: 1,
        262: 1 if channels == 1 else 2,
        273: 1000,
        277: channels,
        278: height,
        279: len(data),
    }
    values |= {getattr(TiffImagePlugin, name): value for name, value in tags.items()}
    entries = b""
    bits = struct.pack("<H", 8 * pixels.itemsize) * channels
    for tag, value in sorted(values.items()):
        count = channels if tag == 258 and channels > 1 else 1
        place = 900 if count > 1 else value
        entries += struct.pack("<HHLL", tag, 3 if tag == 258 else 4, count, place)
    head = struct.pack("<2sHLH", b"II", 42, 8, len(values)) + entries + bytes(4)
    return (head.ljust(900, b"\0") + bits).ljust(1000, b"\0") + data


def test_tiff_made_by_hand_is_read(tmp_path):
    for channels in 1, 3:
        pixels = smooth_picture(5, 7, channels, dtype=np.uint16)
        (tmp_path / "x.tif").write_bytes(tiff(pixels))
        np.testing.assert_array_equal(read_picture(tmp_path / "x.tif")[0], pixels.squeeze())


@pytest.mark.parametrize(
    ("channels", "dtype", "tags", "reason"),
    [
        (3, np.uint16, {"PLANAR_CONFIGURATION": 2}, "in separate planes"),
        (1, np.uint16, {"PHOTOMETRIC_INTERPRETATION": 0}, "white as zero"),
        (1, np.uint8, {"SAMPLEFORMAT": 2}, "expected whole numbers"),
        (1, np.uint16, {"SAMPLEFORMAT": 2}, "expected whole numbers"),
        (1, np.uint16, {"BITSPERSAMPLE": 12}, "12 bits a channel"),
    ],
)
def test_kinds_of_tiff_that_decoders_get_wrong_are_refused(tmp_path, channels, dtype, tags, reason):
    pixels = smooth_picture(6, 8, channels, dtype=dtype)
    (tmp_path / "x.tif").write_bytes(tiff(pixels, **tags))
    with pytest.raises(UnreadablePicture, match=reason):
        read_picture(tmp_path / "x.tif")


def test_fourth_channel_that_is_no_alpha_is_none(tmp_path):
    pixels = smooth_picture(6, 8, 4, dtype=np.uint16)
    (tmp_path / "x.tif").write_bytes(tiff(pixels, EXTRASAMPLES=0))
    np.testing.assert_array_equal(read_picture(tmp_path / "x.tif")[0], pixels[..., :3])


def test_bmp_of_16_bits_a_pixel(tmp_path):
    red, green, blue = 31 << 11, 63 << 5, 31
    head = struct.pack("<2sLLL", b"BM", 66 + 8, 0, 66)
    head += struct.pack("<LllHHLLllLL", 40, 3, -1, 1, 16, 3, 8, 0, 0, 0, 0)
    head += struct.pack("<3L", red, green, blue)
    (tmp_path / "x.bmp").write_bytes(head + struct.pack("<4H", red, green, blue, 0))
    pixels, _ = read_picture(tmp_path / "x.bmp")
    assert pixels[0].tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]


def test_damaged_exif_of_a_png_is_noted(tmp_path):
    (tmp_path / "x.png").write_bytes(png(2, 1, 8, 2, [bytes(6)], (b"eXIf", b"XXXXXXXXXXXX")))
    pixels, metadata = read_picture(tmp_path / "x.png")
    assert pixels.shape == (1, 2, 3)
    assert metadata == {"lost": ["its EXIF, which is damaged or cannot be stored,"]}


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif"])
def test_resolution_is_kept(tmp_path, suffix):
    Image.fromarray(smooth_picture(8, 8)).save(tmp_path / f"x{suffix}", dpi=(300, 150))
    pixels, metadata = read_picture(tmp_path / f"x{suffix}")
    write_picture(tmp_path / f"y{suffix}", pixels, metadata)
    with Image.open(tmp_path / f"y{suffix}") as file:
        assert file.info["dpi"] == pytest.approx((300, 150), abs=0.1)


def test_colour_code_points_of_a_png_are_kept(tmp_path):
    chunk = (b"cICP", bytes([9, 16, 0, 1]))
    (tmp_path / "x.png").write_bytes(png(2, 1, 8, 2, [bytes(6)], chunk))
    write_picture(tmp_path / "y.png", *read_picture(tmp_path / "x.png"))
    assert corpus.png_chunk(*chunk) in (tmp_path / "y.png").read_bytes()


def test_avif_of_other_colours_is_refused(tmp_path):
    path = tmp_path / "x.avif"
    Image.fromarray(smooth_picture(16, 16)).save(path)
    content = path.read_bytes()
    place = content.index(b"colrnclx") + 8
    path.write_bytes(content[:place] + struct.pack(">2H", 9, 16) + content[place + 4 :])
    with pytest.raises(UnreadablePicture, match="primaries 9, transfer 16"):
        read_picture(path)


def test_grey_palette_with_a_colour_profile_stays_in_colour(tmp_path):
    grey = Image.fromarray(smooth_picture(8, 8, 1)[..., 0]).convert("P")
    grey.save(tmp_path / "x.png", icc_profile=SRGB)
    assert read_picture(tmp_path / "x.png")[0].shape == (8, 8, 3)
    grey.save(tmp_path / "y.png")
    assert read_picture(tmp_path / "y.png")[0].shape == (8, 8)


def test_memory_limit_is_checked_before_decoding(tmp_path):
    path = save(tmp_path, "RGB")
    with pytest.raises(UnreadablePicture, match="6x8 pixels: decoding takes up to"):
        read_picture(path, max_bytes=500)
    read_picture(path, max_bytes=1000)


@pytest.mark.parametrize("suffix", LONGEST_SIDE)
def test_the_longest_side_can_be_written_and_read(tmp_path, suffix):
    pixels = np.full((LONGEST_SIDE[suffix], 16, 3), 100, np.uint8)
    write_picture(tmp_path / f"x{suffix}", pixels, {})
    assert read_picture(tmp_path / f"x{suffix}")[0].shape == pixels.shape


@pytest.mark.parametrize("lossless", [False, True])
def test_lossless_webp_stays_lossless(tmp_path, lossless):
    pixels = smooth_picture(30, 40, 4)
    Image.fromarray(pixels).save(tmp_path / "x.webp", lossless=lossless, exact=True)
    read, metadata = read_picture(tmp_path / "x.webp")
    assert metadata.get("lossless", False) == lossless
    write_picture(tmp_path / "y.webp", read, metadata)
    again, _ = read_picture(tmp_path / "y.webp")
    assert (again == read).all() == lossless


def test_premultiplied_16_bit_tiff(tmp_path):
    pixels = np.full((4, 6, 4), (40_000, 20_000, 10_000, 32_768), np.uint16)
    write_picture(tmp_path / "x.tif", pixels, {})
    content = (tmp_path / "x.tif").read_bytes()
    tag = struct.pack("<HHLH", 338, 3, 1, 2)  # ExtraSamples: alpha beside the colours
    assert content.count(tag) == 1
    premultiplied = content.replace(tag, struct.pack("<HHLH", 338, 3, 1, 1))
    (tmp_path / "x.tif").write_bytes(premultiplied)
    read, _ = read_picture(tmp_path / "x.tif")
    assert np.abs(read[0, 0].astype(int) - (65535, 40_000, 20_000, 32_768)).max() <= 2


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
@pytest.mark.parametrize("heights", [[9], [4, 5], [1, 1, 6, 1]])
def test_bands_become_a_picture(tmp_path, suffix, heights):
    pixels = smooth_picture(9, 5)
    edges = np.cumsum([0, *heights])
    bands = [pixels[first:last] for first, last in itertools.pairwise(edges)]
    write_bands(tmp_path / f"x{suffix}", bands, pixels.shape, pixels.dtype, {})
    np.testing.assert_array_equal(read_picture(tmp_path / f"x{suffix}")[0], pixels)


def test_strips_are_all_of_one_height_but_the_last():
    pixels = np.arange(23)
    strips = list(_strips([pixels[:3], pixels[3:4], pixels[4:20], pixels[20:]], 5))
    assert [len(strip) for strip in strips] == [5, 5, 5, 5, 3]
    assert np.concatenate(strips).tolist() == pixels.tolist()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_other_libraries_read_what_is_written_strip_by_strip(tmp_path, suffix, dtype):
    """1.5 million pixels: several strips."""
    pixels = smooth_picture(1200, 1250, dtype=dtype)
    write_picture(tmp_path / f"x{suffix}", pixels, {})
    read = cv2.imread(str(tmp_path / f"x{suffix}"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(read[..., ::-1], pixels)
    with Image.open(tmp_path / f"x{suffix}") as file:
        np.testing.assert_array_equal(np.asarray(file), pixels >> 8 * (pixels.itemsize - 1))


def test_error_of_any_kind_in_an_encoder_names_the_format(tmp_path, monkeypatch):
    def fail(self, path, **options):
        raise RuntimeError("Error setting from dictionary")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(ValueError, match=r"stored as \.jpg: Error setting from dictionary"):
        write_picture(tmp_path / "x.jpg", smooth_picture(4, 4), {})
    assert not list(tmp_path.iterdir())


def test_16_bits_cannot_be_written_where_they_do_not_fit(tmp_path):
    with pytest.raises(ValueError, match=r"16 bits a channel: a \.jpg file holds 8"):
        write_picture(tmp_path / "x.jpg", np.zeros((2, 2, 3), np.uint16), {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "written"), [("a.jpg", "a.jpg"), ("a.GIF", "a.GIF.png"), ("b.tiff", "b.tiff")]
)
def test_formats_that_cannot_be_written_become_png(name, written):
    assert output_name(name) == written
