"""Noise and blur, estimated from the pixels."""

import cv2
import numpy as np
import pytest

from superres.images import estimate
from superres.images.estimate import MOST_BLUR, MOST_NOISE, noise_and_blur
from superres.images.quality import LOSSLESS
from superres.images.read import read_rgb
from superres.images.resize import downscale
from support import ROOT


@pytest.fixture(scope="module")
def photograph():
    return downscale(read_rgb(ROOT / "evaluation/original/astronaut.png"), 2)


def noisy(picture, deviation, channels=3):
    noise = np.random.default_rng(0).normal(0, deviation, (*picture.shape[:2], channels))
    return np.clip(picture + noise + 0.5, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("deviation", [5, 7, 9])
def test_noise_is_estimated(photograph, deviation, channels):
    noise, _, wild = noise_and_blur(noisy(photograph, deviation, channels), LOSSLESS)
    assert noise == pytest.approx(deviation, abs=3)
    assert wild > 0.5


@pytest.mark.parametrize("deviation", [0.7, 0.9, 1.1])
def test_blur_is_estimated(photograph, deviation):
    _, blur, wild = noise_and_blur(cv2.GaussianBlur(photograph, (0, 0), deviation), LOSSLESS)
    assert blur == pytest.approx(deviation, abs=0.3)
    assert wild > 0.5


def test_a_clean_photograph_has_little_of_both(photograph):
    noise, blur, wild = noise_and_blur(photograph, LOSSLESS)
    assert noise < 1
    assert blur < 0.1
    assert wild < 0.5


def test_other_kinds_of_pixels_are_estimated_alike(photograph):
    picture = noisy(photograph, 5)
    expected = noise_and_blur(picture, 0.9)
    opaque = np.full((*picture.shape[:2], 1), 255, np.uint8)
    assert noise_and_blur(np.concatenate([picture, opaque], 2), 0.9) == expected
    assert noise_and_blur(picture.astype(np.uint16) * 257, 0.9) == expected
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    expected = noise_and_blur(np.stack([grey] * 3, 2), 0.9)
    assert noise_and_blur(grey, 0.9) == expected
    assert noise_and_blur(np.dstack([grey, opaque]), 0.9) == expected


@pytest.mark.parametrize("shape", [(1, 1, 3), (15, 400, 3), (16, 16, 3), (17, 2000, 3), (3000, 20)])
@pytest.mark.parametrize("kind", ["flat", "random", "black and white"])
def test_any_picture_has_an_estimate_within_limits(shape, kind):
    random = np.random.default_rng(0)
    picture = {
        "flat": np.zeros(shape, np.uint8),
        "random": random.integers(256, size=shape, dtype=np.uint8),
        "black and white": 255 * random.integers(2, size=shape, dtype=np.uint8),
    }[kind]
    noise, blur, wild = noise_and_blur(picture, LOSSLESS)
    assert 0 <= noise <= MOST_NOISE
    assert 0 <= blur <= MOST_BLUR
    assert np.isfinite(wild)


def test_the_centre_of_a_large_picture_counts(photograph, monkeypatch):
    monkeypatch.setattr(estimate, "LARGEST", 128)
    height, width = photograph.shape[:2]
    centre = photograph[(height - 128) // 2 :, (width - 128) // 2 :][:128, :128]
    assert noise_and_blur(photograph, LOSSLESS) == noise_and_blur(centre, LOSSLESS)
