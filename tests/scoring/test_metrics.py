import math

import numpy as np
import pytest

from superres.scoring import metrics
from support import smooth_picture


def grey(value, height=30, width=30):
    return np.full((height, width), value, np.uint8)


def test_psnr_off_by_one_is_48_13_db():
    assert metrics.psnr(grey(100), grey(101), 2) == pytest.approx(48.1308, abs=1e-4)


def test_psnr_of_colour_is_of_luma():
    a, b = np.full((9, 9, 3), 100, np.uint8), np.full((9, 9, 3), 101, np.uint8)
    # One level of grey is 219/255 of Y.
    assert metrics.psnr(a, b, 1) == pytest.approx(48.1308 + 20 * math.log10(255 / 219), abs=1e-4)


def slow_ssim(x, y):
    """SSIM of two float pictures, window by window, from its definition."""
    offsets = np.arange(11) - 5
    window = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 1.5**2))
    window /= window.sum()
    values = []
    for row in range(x.shape[0] - 10):
        for column in range(x.shape[1] - 10):
            a, b = (p[row : row + 11, column : column + 11] for p in (x, y))
            mean_a, mean_b = (window * a).sum(), (window * b).sum()
            var_a = (window * (a - mean_a) ** 2).sum()
            var_b = (window * (b - mean_b) ** 2).sum()
            covariance = (window * (a - mean_a) * (b - mean_b)).sum()
            values.append(
                (2 * mean_a * mean_b + 6.5025)
                * (2 * covariance + 58.5225)
                / ((mean_a**2 + mean_b**2 + 6.5025) * (var_a + var_b + 58.5225))
            )
    return np.mean(values)


def test_ssim_follows_the_definition():
    a = smooth_picture(24, 19)
    noise = np.random.default_rng(0).integers(-30, 31, a.shape)
    b = np.clip(a.astype(int) + noise, 0, 255).astype(np.uint8)
    inner = (slice(2, -2), slice(2, -2))
    expected = slow_ssim(metrics.luma(a)[inner], metrics.luma(b)[inner])
    assert metrics.ssim(a, b, 2) == pytest.approx(expected, abs=1e-9)
    assert metrics.ssim(a, a, 2) == pytest.approx(1, abs=1e-12)


def test_rgb_psnr_is_over_all_channels_together():
    a = np.full((9, 9, 3), 100, np.uint8)
    b = a + np.array([0, 1, 2], np.uint8)
    assert metrics.psnr_rgb(a, b, 1) == pytest.approx(10 * math.log10(255**2 / (5 / 3)))
    assert metrics.psnr_rgb(a, a, 1) == math.inf


def test_rgb_psnr_of_grey_is_that_on_y():
    assert metrics.psnr_rgb(grey(100), grey(103), 2) == metrics.psnr(grey(100), grey(103), 2)


@pytest.mark.parametrize("metric", [metrics.psnr, metrics.psnr_rgb, metrics.ssim])
def test_metrics_refuse_what_does_not_fit(metric):
    with pytest.raises(ValueError, match="expected the reference's"):
        metric(grey(0), grey(0, 30, 31), 2)
    with pytest.raises(ValueError, match="dtype float64: expected uint8"):
        metric(grey(0).astype(float), grey(0), 2)
    with pytest.raises(ValueError, match="nothing left inside a border of 15"):
        metric(grey(0), grey(0), 15)


def test_ssim_refuses_pictures_smaller_than_its_window():
    with pytest.raises(ValueError, match="too small for SSIM's window of 11x11"):
        metrics.ssim(grey(0, 14, 30), grey(0, 14, 30), 2)
