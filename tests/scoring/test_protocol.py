"""Each step of the protocol by a test of its name."""

import math

import numpy as np
import pytest

import evaluate
from superres.scoring import compare, metrics, reading, results, testsets
from support import ROOT, smooth_picture

SAMPLES = ROOT / "evaluation" / "original"
# Bicubic enlargement of the repository's own pictures for x2: PSNR and SSIM on Y, PSNR over RGB.
# The same code gives the published figures of Set5 and Set14, see below.
SAMPLE_SCORES = {
    "astronaut.png": (31.7073, 0.9456, 30.179),
    "chart.png": (19.3441, 0.8564, 17.9107),
}
# Scores of bicubic enlargement of the benchmarks: (test set, scale) -> PSNR, SSIM.
BICUBIC = {
    ("Set5", 2): (33.673, 0.9303),
    ("Set5", 3): (30.403, 0.8689),
    ("Set5", 4): (28.429, 0.8111),
    ("Set14", 2): (30.230, 0.8691),
    ("Set14", 3): (27.537, 0.7745),
    ("Set14", 4): (25.994, 0.7029),
}
# Scores of the pictures that the authors of RCAN published, as in their paper.
RCAN = {2: (38.27, 0.9614), 3: (34.74, 0.9299), 4: (32.63, 0.9002)}


def colour(*rgb):
    return np.full((30, 30, 3), rgb, np.uint8)


def test_y_is_of_limited_range_and_not_rounded():
    for rgb, y in ((255,) * 3, 235), ((0,) * 3, 16), ((100,) * 3, 101.8823529):
        assert metrics.luma(colour(*rgb))[0, 0] == pytest.approx(y)
    weights = [metrics.luma(colour(*rgb))[0, 0] - 16 for rgb in np.eye(3, dtype=np.uint8) * 255]
    np.testing.assert_allclose(weights, [65.481, 128.553, 24.966])  # red, green, blue
    assert metrics.luma(grey(255))[0, 0] == 255  # grey is taken as it is


def test_border_of_scale_pixels_is_shaved():
    wrong = colour(0, 0, 0)
    wrong[3:-3, 3:-3] = 255
    assert metrics.psnr(colour(255, 255, 255), wrong, 3) == np.inf
    assert metrics.psnr(colour(255, 255, 255), wrong, 2) < 30


def test_lr_is_rounded_after_the_rows_and_after_the_columns():
    picture = smooth_picture(24, 20, 1)[..., 0]
    kernel = np.array([-0.01171875, -0.03515625, 0.11328125, 0.43359375])
    kernel = np.concatenate([kernel, kernel[::-1]])

    def reduced(rows):
        padded = np.pad(rows.astype(float), ((3, 3), (0, 0)), "symmetric")
        sums = [kernel @ padded[n : n + 8] for n in range(0, len(rows), 2)]
        return np.floor(np.clip(sums, 0, 255) + 0.5)

    np.testing.assert_array_equal(reading.downscale(picture, 2), reduced(reduced(picture).T).T)


def test_mean_is_of_the_pictures_psnrs():
    rows = [
        {"scores": {"bicubic": {"psnr": psnr, "ssim": 1.0, "rgb_psnr": psnr}}} for psnr in (20, 40)
    ]
    assert results.means(rows, ["bicubic"])["bicubic"]["psnr"] == 30


def slow_ssim(x, y):
    """SSIM of two float pictures, window by window, from its definition."""
    offsets = np.arange(11) - 5
    window = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 1.5**2))
    window /= window.sum()
    values = []
    for row, column in np.ndindex(x.shape[0] - 10, x.shape[1] - 10):
        a, b = (p[row : row + 11, column : column + 11] for p in (x, y))
        mean_a, mean_b = (window * a).sum(), (window * b).sum()
        var_a = (window * (a - mean_a) ** 2).sum()
        var_b = (window * (b - mean_b) ** 2).sum()
        covariance = (window * (a - mean_a) * (b - mean_b)).sum()
        above = (2 * mean_a * mean_b + 6.5025) * (2 * covariance + 58.5225)
        values.append(above / ((mean_a**2 + mean_b**2 + 6.5025) * (var_a + var_b + 58.5225)))
    return np.mean(values)


def test_ssim_has_a_gaussian_window():
    a = smooth_picture(24, 19)
    noise = np.random.default_rng(0).integers(-30, 31, a.shape)
    b = np.clip(a.astype(int) + noise, 0, 255).astype(np.uint8)
    expected = slow_ssim(metrics.luma(a)[2:-2, 2:-2], metrics.luma(b)[2:-2, 2:-2])
    assert metrics.ssim(a, b, 2) == pytest.approx(expected, abs=1e-9)
    assert metrics.ssim(a, a, 2) == pytest.approx(1, abs=1e-12)


def test_scores_of_bicubic_on_the_samples():
    rows = evaluate.score(testsets.find(SAMPLES, 2), 2).rows
    found = {row["name"]: row["scores"]["bicubic"].values() for row in rows}
    assert {n: tuple(round(v, 4) for v in values) for n, values in found.items()} == SAMPLE_SCORES


@pytest.mark.parametrize(("name", "scale"), BICUBIC)
def test_bicubic_scores_of_the_benchmarks(benchmarks, name, scale):
    scored = evaluate.score(testsets.find(benchmarks / name, scale), scale)
    (summary,) = scored.summaries()
    mean = summary["mean"]["bicubic"]
    assert not scored.refused
    assert summary["pictures"] == {"Set5": 5, "Set14": 14}[name]
    assert (round(mean["psnr"], 3), round(mean["ssim"], 4)) == BICUBIC[name, scale]
    assert summary["given_lr_equal_to_bicubic"] == summary["given_lr"]


@pytest.mark.parametrize("scale", RCAN)
def test_published_pictures_of_rcan_score_as_in_its_paper(benchmarks, scale):
    test_sets = testsets.find(benchmarks / "Set5", scale)
    programs = compare.find_programs([str(benchmarks / "Set5" / "RCAN")], test_sets, scale)
    scored = evaluate.score(test_sets, scale, programs=programs)
    mean = scored.summaries()[0]["mean"]["RCAN"]
    assert not scored.refused
    assert (round(mean["psnr"], 2), round(mean["ssim"], 4)) == RCAN[scale]


def grey(value, height=30, width=30):
    return np.full((height, width), value, np.uint8)


def test_psnr_follows_the_definition():
    one = pytest.approx(20 * math.log10(255), abs=1e-4)  # off by one
    assert metrics.psnr(grey(100), grey(101), 2) == metrics.psnr_rgb(grey(100), grey(101), 2) == one
    a = np.full((9, 9, 3), 100, np.uint8)
    # One level of grey is 219/255 of Y.
    assert metrics.psnr(a, a + np.uint8(1), 1) == pytest.approx(20 * math.log10(255**2 / 219))
    # That of RGB is over all channels together.
    b = a + np.array([0, 1, 2], np.uint8)
    assert metrics.psnr_rgb(a, b, 1) == pytest.approx(10 * math.log10(255**2 / (5 / 3)))
    assert metrics.psnr_rgb(a, a, 1) == math.inf


@pytest.mark.parametrize("metric", [metrics.psnr, metrics.psnr_rgb, metrics.ssim])
def test_metrics_refuse_what_does_not_fit(metric):
    for reference, picture, border, message in (
        (grey(0), grey(0, 30, 31), 2, "expected the reference's"),
        (grey(0).astype(float), grey(0), 2, "dtype float64: expected uint8"),
        (grey(0), grey(0), 15, "nothing left inside a border of 15"),
    ):
        with pytest.raises(ValueError, match=message):
            metric(reference, picture, border)
    with pytest.raises(ValueError, match="too small for SSIM's window of 11x11"):
        metrics.ssim(grey(0, 14, 30), grey(0, 14, 30), 2)
