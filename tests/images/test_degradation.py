import dataclasses

import numpy as np
import pytest

from superres.images import degradation
from superres.images.degradation import (
    Degradation,
    Encoding,
    degrade,
    parse_degradation,
    random_degradation,
)
from superres.images.resize import downscale
from support import as_jpeg, smooth_picture


@pytest.mark.parametrize("quality", [25, 75, 98])
@pytest.mark.parametrize(("is_subsampled", "sampling"), [(True, "4:2:0"), (False, "4:4:4")])
def test_jpeg_is_that_of_libjpeg(quality, is_subsampled, sampling):
    """Bit for bit as Pillow writes it, with libjpeg's tables: OpenCV has no way of its own."""
    picture, saving = smooth_picture(40, 50), Encoding(quality, is_subsampled)
    expected = as_jpeg(picture, quality=quality, subsampling=sampling)
    np.testing.assert_array_equal(degradation.recompress(picture, saving), expected)
    grey = picture[..., 0]
    np.testing.assert_array_equal(
        degradation.recompress(grey, saving), as_jpeg(grey, quality=quality)
    )


def test_shift_moves_the_blocks():
    picture = smooth_picture(64, 64)
    shifted = degradation.recompress(picture, Encoding(30, shift=(3, 5)))
    assert shifted.shape == picture.shape
    # The same as if the picture began 3 rows and 5 columns further inside of another.
    larger = np.pad(picture, ((3, 0), (5, 0), (0, 0)), mode="reflect")
    np.testing.assert_array_equal(shifted, as_jpeg(larger, quality=30)[3:, 5:])
    assert (shifted != degradation.recompress(picture, Encoding(30))).any()


def test_a_kernel_reduces_the_original_and_a_clean_picture_stays_as_it_is():
    hr = smooth_picture(40, 60)
    lr = downscale(hr, 2)
    for kernel in degradation.KERNELS:
        other = degrade(Degradation(kernel), lr, hr, 2)
        assert other.shape == lr.shape
        assert 0 < np.abs(other.astype(int) - lr).mean() < 12
        # Without an original there is nothing to reduce.
        np.testing.assert_array_equal(degrade(Degradation(kernel), lr, None, 2), lr)
    np.testing.assert_array_equal(degrade(Degradation(), lr, hr, 2), lr)
    mean = hr.reshape(20, 2, 30, 2, 3).mean(axis=(1, 3))
    assert np.abs(degrade(Degradation("area"), lr, hr, 2) - mean).max() <= 1


FLAT = np.full((200, 200, 3), 120, np.uint8)


def noisy(picture=FLAT, **options):
    """A picture with noise, as float."""
    random = np.random.default_rng(0)
    return degrade(Degradation(**options), picture, None, 2, random).astype(float)


def test_blur_and_noise_are_as_strong_as_they_say():
    assert noisy(noise=3.0).std() == pytest.approx(3.0, abs=0.1)
    grey = noisy(noise=5.0, is_noise_grey=True)  # the same in all channels
    assert np.ptp(grey, axis=2).max() == 0
    assert grey.std() == pytest.approx(5.0, abs=0.2)
    only = noisy(FLAT[..., 0], noise=5.0, is_noise_grey=True)
    np.testing.assert_array_equal(only, grey[..., 0])
    assert 2 < noisy(noise=8.0, smoothing=0.6).std() < 6
    point = np.zeros((31, 31), np.uint8)
    point[15, 15] = 255
    blurred = degrade(Degradation(blur=0.8), point, None, 2).astype(float)
    rows = blurred.sum(axis=1) / blurred.sum()
    assert np.sqrt(((np.arange(31) - 15) ** 2 * rows).sum()) == pytest.approx(0.8, abs=0.05)


def test_named():
    assert parse_degradation("jpeg75") == Degradation(encodings=(Encoding(75),))
    for name in ("jpeg", "jpeg0", "jpeg101", "png", "jpeg7.5", "75"):
        with pytest.raises(ValueError, match=f"DEGRADATION = '{name}': expected wild, or jp"):
            parse_degradation(name)


TWICE = Degradation("area", 0.52, 1.0, (Encoding(30, False), Encoding(82)))
WILD = Degradation("lanczos", 0.5, 3.0, (Encoding(80, is_webp=True),), 1.5, Encoding(70), True)
WILD = dataclasses.replace(WILD, smoothing=0.4, amount=0.8, radius=0.7)
WILD_WORDS = "1.5 times as large, JPEG 70 4:2:0, lanczos, blur 0.5, grey noise 3.0, smoothed, "


@pytest.mark.parametrize(
    ("one", "words", "quality"),
    [
        (Degradation(), "clean", 1),
        (TWICE, "area, blur 0.5, noise 1.0, JPEG 30 4:4:4, JPEG 82 4:2:0", 0.82),
        (WILD, WILD_WORDS + "sharpened 0.8, WebP 80", 0.8),
    ],
)
def test_words_and_quality(one, words, quality):
    assert str(one) == words
    assert one.quality == quality


def test_draws_are_as_often_as_they_should_be_and_those_of_the_generator():
    draws = [random_degradation(np.random.default_rng(seed)) for seed in range(3000)]
    assert draws[:9] == [random_degradation(np.random.default_rng(seed)) for seed in range(9)]
    changed = 1 - degradation.CLEAN_SHARE
    lone = degradation.JPEG_ONLY_SHARE * changed
    for share, happened in (
        (degradation.EARLIER_SHARE, [one.earlier is not None for one in draws]),
        (degradation.OTHER_KERNEL_SHARE, [one.kernel != "bicubic" for one in draws]),
        (degradation.BLUR_SHARE, [one.blur > 0 for one in draws]),
        (degradation.NOISE_SHARE, [one.noise > 0 for one in draws]),
        (degradation.SHARPENED_SHARE, [one.amount > 0 for one in draws]),
    ):
        assert np.mean(happened) == pytest.approx(share * (changed - lone), abs=0.03)
    encodings = [one.encodings for one in draws if one.encodings]
    expected = lone + degradation.JPEG_SHARE * (changed - lone)
    assert len(encodings) / 3000 == pytest.approx(expected, abs=0.03)
    twice = [one for one in encodings if len(one) == 2]
    assert len(twice) / 3000 == pytest.approx(degradation.TWICE_SHARE * lone, abs=0.02)
    qualities = [one.quality for several in encodings for one in several]
    assert (min(qualities), max(qualities)) == degradation.JPEG_QUALITY
    assert {one.shift[0] for several in encodings for one in several} == set(range(16))
    webp = [several[0].is_webp for several in encodings]
    assert np.mean(webp) == pytest.approx(degradation.WEBP_SHARE, abs=0.02)


def test_earlier_life_loses_what_its_saving_lost():
    hr = smooth_picture(80, 96)
    lr = downscale(hr, 2)
    spared, lost = (
        degrade(Degradation(factor=1.5, earlier=Encoding(quality)), lr, hr, 2)
        for quality in (98, 10)
    )
    assert spared.shape == lost.shape == lr.shape
    errors = [np.abs(picture.astype(int) - lr).mean() for picture in (spared, lost)]
    assert 1.5 * errors[0] < errors[1]
    # Without an original there was no earlier life.
    earlier = Degradation(factor=1.5, earlier=Encoding(10))
    np.testing.assert_array_equal(degrade(earlier, lr, None, 2), lr)


def test_sharpening_and_webp():
    edge = np.repeat(np.uint8([[90] * 8 + [150] * 8]), 16, axis=0)
    sharp = degrade(Degradation(amount=1.0, radius=0.8), edge, None, 2)
    assert sharp.min() < 80
    assert sharp.max() > 160
    assert (sharp[:, :4] == 90).all()
    picture = smooth_picture(40, 50)
    for one in picture, picture[..., 0]:
        webp = degradation.recompress(one, Encoding(60, shift=(3, 5), is_webp=True))
        assert webp.shape == one.shape
        assert 0 < np.abs(webp.astype(int) - one).mean() < 8
        assert (webp != degradation.recompress(one, Encoding(60, shift=(3, 5)))).any()
