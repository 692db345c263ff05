import io
import itertools
import struct

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from superres.images.formats import (
    LONGEST_SIDE,
    check_storable,
    output_name,
)
from superres.images.png import _paeth
from superres.images.read import read_picture
from superres.images.write import _strips, write_bands, write_picture
from support import smooth_picture

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


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


def test_jpeg_is_written_at_quality_97_without_chroma_subsampling(tmp_path):
    pixels = smooth_picture(64, 48)
    write_picture(tmp_path / "x.jpg", pixels, {})
    expected = io.BytesIO()
    Image.fromarray(pixels).save(expected, "JPEG", quality=97, subsampling=0)
    assert (tmp_path / "x.jpg").read_bytes() == expected.getvalue()


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


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif"])
def test_resolution_is_kept(tmp_path, suffix):
    Image.fromarray(smooth_picture(8, 8)).save(tmp_path / f"x{suffix}", dpi=(300, 150))
    pixels, metadata = read_picture(tmp_path / f"x{suffix}")
    write_picture(tmp_path / f"y{suffix}", pixels, metadata)
    with Image.open(tmp_path / f"y{suffix}") as file:
        assert file.info["dpi"] == pytest.approx((300, 150), abs=0.1)


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


def test_guess_of_png_is_that_of_the_standard():
    values = [0, 1, 2, 3, 100, 127, 128, 200, 253, 254, 255]
    left, up, corner = np.uint8(list(itertools.product(values, repeat=3))).T
    expected = []
    for a, b, c in zip(*(x.astype(int) for x in (left, up, corner)), strict=True):
        expected.append(min((a, b, c), key=lambda guess: abs(a + b - c - guess)))  # the first one
    found = _paeth(*(x.reshape(11, -1) for x in (left, up, corner)))
    assert found.ravel().tolist() == expected
