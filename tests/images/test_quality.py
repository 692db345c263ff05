import dataclasses

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw

import corpus
from superres.images import estimate
from superres.images.degradation import Degradation, Encoding, degrade
from superres.images.estimate import MAX_NOISE, MAX_SHARPENING, SURE_BLUR
from superres.images.jpeg_tables import quality_of, tables_in, tables_of
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
from support import ROOT, as_jpeg, smooth_picture


@pytest.fixture(scope="module")
def photograph():
    """128x128 pixels that were no JPEG."""
    return downscale(read_rgb(ROOT / "inference/original/astronaut.png"), 2)


def quality_of_file(path, picture):
    return condition_of_file(path, picture).quality


def test_condition_in_words_and_as_networks_take_it():
    for condition, words in (
        (Condition(), "lossless"),
        (Condition(0.75), "quality 75"),
        (Condition(0.75, 3.2, 0.4, 0.1), "quality 75, noise 3.2, blur 0.40, sharpening 0.10"),
        (Condition(noise=3), "lossless, noise 3.0, blur 0.00, sharpening 0.00"),
    ):
        assert describe(condition) == words
    for count, expected in (4, [0.75, 0.8, 1.2, 0.5]), (1, [0.75]):  # all about as large
        values = Condition(0.75, 8, 1.2, 0.5).values(count)
        assert values.dtype == np.float32
        np.testing.assert_allclose(values, expected)


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
    assert quality_of("png", format="JPEG", quality=60) == 0.6  # by the content, not the name
    lossless, grey = tmp_path / "lossless.jpg", picture[..., 0]
    lossless.write_bytes(corpus.lossless_jpeg(grey))
    np.testing.assert_array_equal(read_picture(lossless)[0], grey)
    assert quality_of_file(lossless, grey) == LOSSLESS
    lossless.write_bytes(b"no picture")
    with pytest.raises(UnreadablePicture):
        quality_of_file(lossless, picture)


@pytest.mark.parametrize("ending", ["webp", "avif"])
def test_quality_of_a_larger_file_is_higher(tmp_path, photograph, ending):
    def quality_of(picture, **options):
        path = tmp_path / f"x.{ending}"
        Image.fromarray(picture).save(path, **options)
        return quality_of_file(path, read_picture(path)[0])

    found = [quality_of(photograph, quality=quality) for quality in (20, 50, 70, 80, 90, 97)]
    assert found == sorted(found)
    assert len(set(found)) > 4
    assert QUALITIES[0] <= found[0] < 0.85
    assert 0.95 < found[-1] < LOSSLESS
    # What is beside the picture in its file does not count.
    plain, exif = quality_of(photograph, quality=60), Image.Exif()
    exif[270] = "x" * 30_000
    other = quality_of(photograph, quality=60, exif=exif.tobytes(), icc_profile=b"y" * 30_000)
    assert other == pytest.approx(plain, abs=0.01)
    if ending == "webp":  # nor does transparency
        noise = np.random.default_rng(0).integers(0, 256, photograph.shape[:2], np.uint8)
        pictures = (np.dstack([photograph, one]) for one in (np.full_like(noise, 255), noise))
        opaque, clear = (quality_of(one, quality=60, exact=True) for one in pictures)
        assert clear == pytest.approx(opaque, abs=0.01)


@pytest.mark.parametrize("turned", [1, -1])
def test_animation_has_the_quality_of_its_first_picture(tmp_path, photograph, turned):
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


@pytest.mark.parametrize("quality", [25, 75, 95])
@pytest.mark.parametrize("subsampling", [0, 2])
def test_jpeg_in_a_lossless_file_is_found(tmp_path, photograph, quality, subsampling):
    decoded = as_jpeg(photograph, quality=quality, subsampling=subsampling)
    assert former_quality(decoded) == quality
    alpha = np.dstack([decoded, decoded[..., 0]])
    for name, picture in ("x.png", decoded), ("alpha.png", alpha), ("x.tif", decoded):
        write_picture(tmp_path / name, picture, {})
        assert quality_of_file(tmp_path / name, picture) == quality / 100


def test_jpeg_that_is_grey_or_was_turned_or_cut_is_found(photograph):
    assert former_quality(as_jpeg(photograph[..., 0], quality=60)) == 60
    decoded = as_jpeg(photograph, quality=75)
    turned = [np.rot90(decoded, turns) for turns in (1, 2, 3)]
    cut = [decoded[rows:, columns:] for rows, columns in ((3, 6), (8, 0), (1, 7), (0, 5))]
    assert {former_quality(one) for one in (*turned, *cut)} == {75}


def test_jpeg_of_saturated_colours_is_found(photograph):
    """Their channels are clipped where luma is not, and the multiples are lost there."""
    random, image = np.random.default_rng(0), Image.new("RGB", (512, 512), (255, 0, 0))
    draw = ImageDraw.Draw(image)
    for n in range(300):
        x, y = random.integers(0, 500, 2).tolist()
        colour = ((255, 0, 0), (0, 0, 255), (0, 160, 0))[n % 3]
        draw.ellipse((x, y, x + 30, y + 20), fill=colour)
    image.paste(Image.fromarray(photograph), (192, 192))
    assert former_quality(as_jpeg(np.array(image), quality=75)) == 75


def test_lossless_pictures_have_no_traces(photograph):
    assert former_quality(photograph) is None
    assert former_quality(as_jpeg(photograph, quality=98)) is None  # too little was lost
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
        missed += [former_quality(as_jpeg(lr, quality=q)) != q for q in range(25, 96, 5)]
    assert len(missed) == 19 * 15
    assert np.mean(missed) <= 0.01


def jpeg_quality(path):
    with Image.open(path) as file:
        return quality_of(tables_in(file))


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_quality_is_that_which_a_file_was_saved_with(tmp_path, mode):
    picture = Image.fromarray(smooth_picture(24, 24)).convert(mode)
    for quality in range(1, 101):
        picture.save(tmp_path / "x.jpg", quality=quality)
        assert jpeg_quality(tmp_path / "x.jpg") == (quality, 0)


def test_tables_of_another_kind_get_the_nearest(tmp_path):
    """As cameras and Photoshop have them: near to those of a quality, and it is said how near."""
    random = np.random.default_rng(0)
    for quality in 40, 75, 92:
        other = np.clip(tables_of(quality) * random.uniform(0.9, 1.1, (2, 64)), 1, 255).round()
        found, distance = quality_of(other.astype(int).tolist())
        assert abs(found - quality) <= 1
        assert 0 < distance < 0.15
    flat = np.full((2, 64), 20).tolist()
    assert quality_of(flat)[1] > 0.4


def test_tables_in_a_file_are_read_in_their_order(tmp_path):
    """Not along the zigzag in which they are stored."""
    tables = tables_of(50).tolist()
    tables[0][1] += 3  # the first row's second: the lowest frequency of columns
    Image.fromarray(smooth_picture(24, 24)).save(tmp_path / "x.jpg", qtables=tables)
    distance = pytest.approx(np.log(14 / 11) / np.sqrt(128))
    assert jpeg_quality(tmp_path / "x.jpg") == (50, distance)


@pytest.fixture(scope="module")
def large_photograph():
    return downscale(read_rgb(ROOT / "evaluation/original/astronaut.png"), 2)


def noisy(picture, deviation, channels=3):
    noise = np.random.default_rng(0).normal(0, deviation, (*picture.shape[:2], channels))
    return np.clip(picture + noise + 0.5, 0, 255).astype(np.uint8)


def test_noise_blur_and_sharpening_are_estimated(large_photograph):
    noise, blur, sharpening, wild = estimate.estimate(large_photograph, LOSSLESS)
    assert noise < 2.5  # of the film
    assert blur < 0.2
    assert sharpening < 0.2
    assert wild < 0.35
    for deviation, channels in (5, 1), (5, 3), (9, 1), (9, 3):
        noise, *_, wild = estimate.estimate(noisy(large_photograph, deviation, channels), LOSSLESS)
        assert noise == pytest.approx(deviation, abs=3.5)
        assert wild > 0.35
    for deviation in 0.5, 0.7, 1.1:
        blurred = cv2.GaussianBlur(large_photograph, (0, 0), deviation)
        _, blur, _, wild = estimate.estimate(blurred, LOSSLESS)
        assert blur == pytest.approx(min(deviation, SURE_BLUR), abs=0.2)
        assert wild > 0.5
    jpeg = Degradation(encodings=(Encoding(85),))
    sharp = dataclasses.replace(jpeg, amount=1.0, radius=0.9)
    for one, expected in (jpeg, 0.05), (sharp, 0.25):
        found = estimate.estimate(degrade(one, large_photograph, None, 2), one.quality)[2]
        assert found == pytest.approx(expected, abs=0.1)


def test_other_kinds_of_pixels_and_the_centre_of_a_large_picture_count(
    large_photograph, monkeypatch
):
    picture = noisy(large_photograph, 5)
    opaque = np.full((*picture.shape[:2], 1), 255, np.uint8)
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    for one, *others in (
        (picture, np.concatenate([picture, opaque], 2), picture.astype(np.uint16) * 257),
        (np.stack([grey] * 3, 2), grey, np.dstack([grey, opaque])),
    ):
        for other in others:
            assert estimate.estimate(other, 0.9) == estimate.estimate(one, 0.9)
    monkeypatch.setattr(estimate, "MAX_SIDE", 128)
    top, left = ((side - 128) // 2 for side in picture.shape[:2])
    centre = picture[top:, left:][:128, :128]
    assert estimate.estimate(picture, LOSSLESS) == estimate.estimate(centre, LOSSLESS)


@pytest.mark.parametrize("shape", [(1, 1, 3), (15, 400, 3), (16, 16, 3), (17, 2000, 3), (3000, 20)])
def test_any_picture_has_an_estimate_within_limits(shape):
    levels = np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)
    for picture in np.zeros_like(levels), levels, levels // 128 * 255:
        noise, blur, sharpening, wild = estimate.estimate(picture, LOSSLESS)
        assert 0 <= noise <= MAX_NOISE
        assert 0 <= blur <= SURE_BLUR
        assert 0 <= sharpening <= MAX_SHARPENING
        assert np.isfinite(wild)
