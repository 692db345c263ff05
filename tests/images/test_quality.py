import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

import corpus
from superres.images.jpeg_traces import former_quality
from superres.images.quality import (
    LOSSLESS,
    QUALITIES,
    UNKNOWN_LOSSY,
    Condition,
    condition_of_file,
    describe,
)
from superres.images.read import read_picture, read_rgb
from superres.images.resize import downscale
from superres.images.write import write_picture
from superres.runtime.errors import UnreadablePicture
from support import ROOT, smooth_picture


@pytest.fixture(scope="module")
def photograph():
    """128x128 pixels that were no JPEG."""
    return downscale(read_rgb(ROOT / "inference/original/astronaut.png"), 2)


def quality_of_file(path, picture):
    return condition_of_file(path, picture).quality


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        (Condition(), "lossless"),
        (Condition(0.75), "quality 75"),
        (Condition(0.75, 3.2, 0.4), "quality 75, noise 3.2, blur 0.40"),
        (Condition(noise=3), "lossless, noise 3.0, blur 0.00"),
        (Condition(0.5, blur=1), "quality 50, noise 0.0, blur 1.00"),
    ],
)
def test_condition_in_words(condition, words):
    assert describe(condition) == words


def test_condition_as_networks_take_it():
    """All three about as large."""
    values = Condition(0.75, 8, 1.2).values(3)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, [0.75, 0.8, 1.2])
    assert Condition(0.75, 8, 1.2).values(1).tolist() == [0.75]


def test_lossless_jpeg_is_lossless(tmp_path):
    picture = smooth_picture(24, 32, 1)[..., 0]
    (tmp_path / "x.jpg").write_bytes(corpus.lossless_jpeg(picture))
    read, _ = read_picture(tmp_path / "x.jpg")
    np.testing.assert_array_equal(read, picture)
    assert quality_of_file(tmp_path / "x.jpg", read) == LOSSLESS


def test_quality_of_a_file(tmp_path):
    picture = smooth_picture(24, 24)

    def quality_of(ending, **options):
        path = tmp_path / f"x.{ending}"
        Image.fromarray(picture).save(path, **options)
        return quality_of_file(path, picture)

    assert quality_of("jpg", quality=75) == 0.75
    assert quality_of("jpg", quality=98) == quality_of("jpg", quality=100) == 0.98 < LOSSLESS
    assert quality_of("jpg", quality=25) == quality_of("jpg", quality=3) == 0.25
    for ending in "png", "bmp", "tif", "gif":
        assert quality_of(ending) == LOSSLESS
    assert quality_of("webp", lossless=True) == LOSSLESS


def test_quality_is_that_of_the_content_not_of_the_name(tmp_path):
    Image.fromarray(smooth_picture(24, 24)).save(tmp_path / "x.png", format="JPEG", quality=60)
    assert quality_of_file(tmp_path / "x.png", smooth_picture(24, 24)) == 0.6
    (tmp_path / "x.jpg").write_bytes(b"no picture")
    with pytest.raises(UnreadablePicture):
        quality_of_file(tmp_path / "x.jpg", smooth_picture(24, 24))


# ---- WebP and AVIF ----


@pytest.mark.parametrize("ending", ["webp", "avif"])
def test_networks_are_told_more_of_a_larger_file(tmp_path, photograph, ending):
    found = []
    for quality in 20, 50, 70, 80, 90, 97:
        path = tmp_path / f"{quality}.{ending}"
        Image.fromarray(photograph).save(path, quality=quality)
        found.append(quality_of_file(path, read_picture(path)[0]))
    assert found == sorted(found)
    assert len(set(found)) > 4
    assert QUALITIES[0] <= found[0] < 0.85
    assert 0.95 < found[-1] < LOSSLESS


@pytest.mark.parametrize("ending", ["webp", "avif"])
def test_what_is_beside_the_picture_in_its_file_does_not_count(tmp_path, photograph, ending):
    image, found, exif = Image.fromarray(photograph), [], Image.Exif()
    exif[270] = "x" * 30_000
    for options in {}, {"exif": exif.tobytes(), "icc_profile": b"y" * 30_000}:
        path = tmp_path / f"x.{ending}"
        image.save(path, quality=60, **options)
        found.append(quality_of_file(path, photograph))
    assert found[1] == pytest.approx(found[0], abs=0.01)


@pytest.mark.parametrize("turned", [1, -1])
def test_animation_is_told_of_as_its_first_picture(tmp_path, photograph, turned):
    """Whether the others are new pictures or little changed."""
    image, path = Image.fromarray(photograph), tmp_path / "x.webp"
    image.save(path, quality=60)
    still = quality_of_file(path, photograph)
    others = [photograph[::turned].copy() for _ in range(3)]
    others[-1][:8, :8] = 0
    more = {"save_all": True, "append_images": [Image.fromarray(one) for one in others]}
    image.save(path, quality=60, **more)  # a little larger: Pillow codes them in a hurry
    assert quality_of_file(path, photograph) == pytest.approx(still, abs=0.06)
    image.save(path, lossless=True, **more)
    assert quality_of_file(path, photograph) == LOSSLESS
    image.save(tmp_path / "x.avif", quality=60, **more)
    assert quality_of_file(tmp_path / "x.avif", photograph) == UNKNOWN_LOSSY


def test_transparency_of_a_webp_does_not_count(tmp_path, photograph):
    noise = np.random.default_rng(0).integers(0, 256, photograph.shape[:2], np.uint8)
    found = []
    for alpha in np.full_like(noise, 255), noise:
        path, picture = tmp_path / "x.webp", np.dstack([photograph, alpha])
        Image.fromarray(picture).save(path, quality=60, exact=True)
        found.append(quality_of_file(path, picture))
    assert found[1] == pytest.approx(found[0], abs=0.01)


# ---- traces of JPEG in lossless files ----


def as_jpeg(picture, quality, **options):
    coded = io.BytesIO()
    Image.fromarray(picture).save(coded, "JPEG", quality=quality, **options)
    return np.asarray(Image.open(coded))


@pytest.mark.parametrize("quality", [25, 50, 75, 90, 95])
@pytest.mark.parametrize("subsampling", [0, 2])
def test_jpeg_in_a_lossless_file_is_found(tmp_path, photograph, quality, subsampling):
    decoded = as_jpeg(photograph, quality, subsampling=subsampling)
    assert former_quality(decoded) == quality
    alpha = np.dstack([decoded, decoded[..., 0]])
    for name, picture in ("x.png", decoded), ("alpha.png", alpha), ("x.tif", decoded):
        write_picture(tmp_path / name, picture, {})
        assert quality_of_file(tmp_path / name, picture) == quality / 100


def test_grey_jpeg_in_a_lossless_file_is_found(photograph):
    assert former_quality(as_jpeg(photograph[..., 0], 60)) == 60


def test_jpeg_that_was_turned_is_found(photograph):
    decoded = as_jpeg(photograph, 75)
    for turns in 1, 2, 3:
        assert former_quality(np.rot90(decoded, turns)) == 75


def test_jpeg_of_saturated_colours_is_found(photograph):
    """Their channels are clipped where luma is not, and the multiples are lost there."""
    random, image = np.random.default_rng(0), Image.new("RGB", (512, 512), (255, 0, 0))
    draw = ImageDraw.Draw(image)
    for n in range(300):
        x, y = random.integers(0, 500, 2).tolist()
        colour = ((255, 0, 0), (0, 0, 255), (0, 160, 0))[n % 3]
        draw.ellipse((x, y, x + 30, y + 20), fill=colour)
    image.paste(Image.fromarray(photograph), (192, 192))
    assert former_quality(as_jpeg(np.array(image), 75)) == 75


def test_jpeg_that_was_cut_is_found(photograph):
    decoded = as_jpeg(photograph, 50)
    for rows, columns in (3, 6), (8, 0), (1, 7), (0, 5):
        assert former_quality(decoded[rows:, columns:]) == 50


def test_lossless_pictures_have_no_traces(photograph):
    assert former_quality(photograph) is None
    assert former_quality(as_jpeg(photograph, 98)) is None  # too little was lost
    random = np.random.default_rng(0)
    assert former_quality(random.integers(0, 256, (300, 300, 3), np.uint8)) is None
    assert former_quality(np.zeros((300, 300), np.uint8)) is None
    pattern = np.tile(random.integers(1, 255, (8, 8), np.uint8), (40, 40))
    assert former_quality(pattern) is None
    y, x = np.mgrid[:300, :300]
    for slope in 0.11, 0.23, 0.37, 0.71:
        ramp, wave = (slope * (x + y / 3)) % 256, 128 + 100 * np.sin(slope * x)
        assert former_quality(ramp.astype(np.uint8)) is None
        assert former_quality(np.dstack([wave, ramp, wave]).astype(np.uint8)) is None
    assert former_quality(smooth_picture(300, 300, dtype=np.uint16)) is None
    for height, width in (1, 1), (7, 300), (300, 3), (17, 9):
        assert former_quality(smooth_picture(height, width)) is None


@pytest.mark.slow
def test_traces_are_reliable(benchmarks):
    """No error on 19 photographs as they are, and at most 1 in 100 on their JPEGs."""
    missed = []
    for path in sorted([*benchmarks.glob("Set5/HR/*.png"), *benchmarks.glob("Set14/HR/*.png")]):
        hr = read_rgb(path)
        lr = downscale(hr[: hr.shape[0] // 2 * 2, : hr.shape[1] // 2 * 2], 2)
        assert former_quality(lr) is None, path
        missed += [former_quality(as_jpeg(lr, quality)) != quality for quality in range(25, 96, 5)]
    assert len(missed) == 19 * 15
    assert np.mean(missed) <= 0.01
