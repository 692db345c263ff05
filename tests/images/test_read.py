import io
import os
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms, ImageFile, ImageOps

import corpus
from superres.images import read
from superres.images.formats import find_pictures
from superres.images.metadata import ORIENTATION
from superres.images.read import read_picture, read_rgb
from superres.images.write import write_picture
from superres.runtime.errors import UnreadablePicture
from support import smooth_picture

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


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
        (whole_png()[:-500], "cut off"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "PNG: damaged"),
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
    def fail(*arguments, **options):
        raise RuntimeError("Failed to decode frame 0")

    path = save(tmp_path, "P")
    for owner, method in (Image, "open"), (Image.Image, "convert"), (ImageFile.ImageFile, "load"):
        with monkeypatch.context() as patch:
            patch.setattr(owner, method, fail)
            with pytest.raises(UnreadablePicture, match="PNG: damaged"):
                read_picture(path)


def test_fault_of_ours_in_reading_is_no_refusal(tmp_path, monkeypatch):
    path = save(tmp_path, "RGB")
    for function in "_check_pixel_count", "_png_chunks", "_read_shallow", "_take_exif":
        with monkeypatch.context() as patch:
            patch.setattr(read, function, lambda: None)  # which takes no arguments
            with pytest.raises(TypeError):
                read_picture(path)


def test_damaged_avif_is_refused(tmp_path):
    write_picture(tmp_path / "x.avif", smooth_picture(64, 64), {})
    content = (tmp_path / "x.avif").read_bytes()
    (tmp_path / "x.avif").write_bytes(content[: len(content) // 2])
    with pytest.raises(UnreadablePicture):
        read_picture(tmp_path / "x.avif")


def test_damaged_exif_does_not_cost_the_picture(tmp_path):
    path = save(tmp_path, "RGB", "x.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    pixels, metadata = read_picture(path)
    assert pixels.shape == (8, 6, 3)
    assert metadata == {"lost": ["its EXIF, which is damaged or cannot be stored,"]}


def test_float_tiff_is_refused(tmp_path):
    with pytest.raises(UnreadablePicture, match="32 bits a channel"):
        read_picture(save(tmp_path, "F", "x.tif"))


def test_pixel_limit_is_checked_before_decoding(tmp_path):
    path = save(tmp_path, "RGB")
    with pytest.raises(UnreadablePicture, match="6x8 pixels: expected at most 47 in all"):
        read_picture(path, max_pixels=47)


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


def test_tiff_made_by_hand_is_read(tmp_path):
    for channels in 1, 3:
        pixels = smooth_picture(5, 7, channels, dtype=np.uint16)
        (tmp_path / "x.tif").write_bytes(corpus.tiff(pixels))
        np.testing.assert_array_equal(read_picture(tmp_path / "x.tif")[0], pixels.squeeze())


@pytest.mark.parametrize(
    ("channels", "dtype", "tags", "reason"),
    [
        (3, np.uint16, {"PLANAR_CONFIGURATION": 2}, "in separate planes"),
        (1, np.uint16, {"PHOTOMETRIC_INTERPRETATION": 0}, "white as zero"),
        (1, np.uint8, {"SAMPLEFORMAT": 2}, "bits a channel, signed, 1 channels"),
        (1, np.uint16, {"SAMPLEFORMAT": 2}, "bits a channel, signed, 1 channels"),
        (1, np.uint16, {"BITSPERSAMPLE": 12}, "12 bits a channel"),
    ],
)
def test_kinds_of_tiff_that_decoders_get_wrong_are_refused(tmp_path, channels, dtype, tags, reason):
    pixels = smooth_picture(6, 8, channels, dtype=dtype)
    (tmp_path / "x.tif").write_bytes(corpus.tiff(pixels, **tags))
    with pytest.raises(UnreadablePicture, match=reason):
        read_picture(tmp_path / "x.tif")


def test_fourth_channel_that_is_no_alpha_is_none(tmp_path):
    pixels = smooth_picture(6, 8, 4, dtype=np.uint16)
    (tmp_path / "x.tif").write_bytes(corpus.tiff(pixels, EXTRASAMPLES=0))
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


def test_colour_code_points_of_a_png_are_kept(tmp_path):
    chunk = (b"cICP", bytes([9, 16, 0, 1]))
    (tmp_path / "x.png").write_bytes(png(2, 1, 8, 2, [bytes(6)], chunk))
    write_picture(tmp_path / "y.png", *read_picture(tmp_path / "x.png"))
    assert corpus.png_chunk(*chunk) in (tmp_path / "y.png").read_bytes()
