import io
import struct

import cv2
import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from superres.images.formats import MAX_SIDE, check_storable
from superres.images.read import read_picture
from superres.images.write import write_bands, write_picture
from support import smooth_picture


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


def rewritten(path):
    """What Pillow knows of a picture file that was read and written again."""
    target = path.with_stem("y")
    write_picture(target, *read_picture(path))
    with Image.open(target) as file:
        return file.info


def test_colours_of_a_png_without_a_profile_are_kept(tmp_path):
    chunks = PngImagePlugin.PngInfo()
    chunks.add(b"gAMA", struct.pack(">L", 100_000))
    chunks.add(b"cHRM", struct.pack(">8L", *range(10_000, 90_000, 10_000)))
    chunks.add(b"sRGB", b"\0")
    Image.fromarray(smooth_picture(4, 4)).save(tmp_path / "x.png", pnginfo=chunks)
    info = rewritten(tmp_path / "x.png")
    assert (info["gamma"], info["srgb"]) == (1, 0)
    assert info["chromaticity"] == tuple(n / 10 for n in range(1, 9))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif"])
def test_resolution_is_kept(tmp_path, suffix):
    Image.fromarray(smooth_picture(8, 8)).save(tmp_path / f"x{suffix}", dpi=(300, 150))
    assert rewritten(tmp_path / f"x{suffix}")["dpi"] == pytest.approx((300, 150), abs=0.1)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_bands_become_a_picture(tmp_path, suffix):
    pixels = smooth_picture(9, 5)
    bands = np.split(pixels, [1, 2, 8])
    write_bands(tmp_path / f"x{suffix}", bands, pixels.shape, pixels.dtype, {})
    np.testing.assert_array_equal(read_picture(tmp_path / f"x{suffix}")[0], pixels)


@pytest.mark.parametrize("suffix", MAX_SIDE)
def test_the_longest_side_can_be_written_and_read(tmp_path, suffix):
    pixels = np.full((MAX_SIDE[suffix], 16, 3), 100, np.uint8)
    write_picture(tmp_path / f"x{suffix}", pixels, {})
    assert read_picture(tmp_path / f"x{suffix}")[0].shape == pixels.shape


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_other_libraries_read_what_is_written_strip_by_strip(tmp_path, suffix, dtype):
    """1.5 million pixels: several strips."""
    path, pixels = tmp_path / f"x{suffix}", smooth_picture(1200, 1250, dtype=dtype)
    write_picture(path, pixels, {})
    read = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(read[..., ::-1], pixels)
    np.testing.assert_array_equal(read_picture(path)[0], pixels)
    with Image.open(path) as file:
        np.testing.assert_array_equal(np.asarray(file), pixels >> 8 * (pixels.itemsize - 1))


def test_error_of_any_kind_in_an_encoder_names_the_format(tmp_path, monkeypatch):
    def fail(self, path, **options):
        raise RuntimeError("Error setting from dictionary")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(ValueError, match=r"stored as \.jpg: Error setting from dictionary"):
        write_picture(tmp_path / "x.jpg", smooth_picture(4, 4), {})
    assert not list(tmp_path.iterdir())
