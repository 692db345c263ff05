import functools
import json
import math
import tempfile
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, smooth_picture
from PIL import Image

import evaluate
import output
import utils

SHIPPED = ROOT / "weights" / "edsr_small_x2.keras"

# Scores of bicubic enlargement by the protocol: (benchmark, scale) -> PSNR, SSIM.
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


def grey(value, height=30, width=30):
    return np.full((height, width), value, np.uint8)


# ---- the metrics ----


def test_luma_of_white_black_and_the_primaries():
    colours = np.array([[[255] * 3, [0] * 3, [255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    expected = [235, 16, 81.481, 144.553, 40.966]
    np.testing.assert_allclose(evaluate.luma(colours)[0], expected, atol=1e-9)


def test_luma_is_not_rounded_and_grey_is_full_range():
    assert evaluate.luma(np.full((1, 1, 3), 100, np.uint8))[0, 0] == pytest.approx(101.8823529)
    assert evaluate.luma(grey(255))[0, 0] == 255


def test_psnr_off_by_one_is_48_13_db():
    assert evaluate.psnr(grey(100), grey(101), 2) == pytest.approx(48.1308, abs=1e-4)


def test_psnr_of_colour_is_of_luma():
    a, b = np.full((9, 9, 3), 100, np.uint8), np.full((9, 9, 3), 101, np.uint8)
    # One level of grey is 219/255 of Y.
    assert evaluate.psnr(a, b, 1) == pytest.approx(48.1308 + 20 * math.log10(255 / 219), abs=1e-4)


def test_psnr_of_equal_pictures_is_infinite():
    assert evaluate.psnr(grey(3), grey(3), 0) == math.inf


def test_border_is_left_out_and_nothing_more():
    a, b = grey(100), grey(100)
    b[:2], b[-2:], b[:, :2], b[:, -2:] = 0, 0, 0, 0
    assert evaluate.psnr(a, b, 2) == math.inf
    assert evaluate.psnr(a, b, 1) < 30


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
    expected = slow_ssim(evaluate.luma(a)[inner], evaluate.luma(b)[inner])
    assert evaluate.ssim(a, b, 2) == pytest.approx(expected, abs=1e-9)
    assert evaluate.ssim(a, a, 2) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("metric", [evaluate.psnr, evaluate.ssim])
def test_metrics_refuse_what_does_not_fit(metric):
    with pytest.raises(ValueError, match="expected the reference's"):
        metric(grey(0), grey(0, 30, 31), 2)
    with pytest.raises(ValueError, match="dtype float64: expected uint8"):
        metric(grey(0).astype(float), grey(0), 2)
    with pytest.raises(ValueError, match="nothing left inside a border of 15"):
        metric(grey(0), grey(0), 15)


def test_ssim_refuses_pictures_smaller_than_its_window():
    with pytest.raises(ValueError, match="too small for SSIM's window of 11x11"):
        evaluate.ssim(grey(0, 14, 30), grey(0, 14, 30), 2)


# ---- the protocol, against published figures ----


@pytest.mark.parametrize(("name", "scale"), BICUBIC)
def test_bicubic_scores_of_the_benchmarks(benchmarks, name, scale):
    scores = []
    for hr_path, lr_path, _ in evaluate.find_pairs(benchmarks / name, scale):
        hr, lr = evaluate.read_pair(hr_path, lr_path, scale)
        bicubic = utils.upscale_bicubic(lr, scale)
        scores.append((evaluate.psnr(hr, bicubic, scale), evaluate.ssim(hr, bicubic, scale)))
    psnr, ssim = np.mean(scores, axis=0)
    assert len(scores) == {"Set5": 5, "Set14": 14}[name]
    assert (round(psnr, 3), round(ssim, 4)) == BICUBIC[name, scale]


@pytest.mark.parametrize("scale", RCAN)
def test_published_pictures_of_rcan_score_as_in_its_paper(benchmarks, scale):
    scores = []
    for hr_path, lr_path, name in evaluate.find_pairs(benchmarks / "Set5", scale):
        hr, _ = evaluate.read_pair(hr_path, lr_path, scale)
        sr = utils.read_8bit(benchmarks / "Set5" / "RCAN" / f"x{scale}" / name)
        scores.append((evaluate.psnr(hr, sr, scale), evaluate.ssim(hr, sr, scale)))
    psnr, ssim = np.mean(scores, axis=0)
    assert (round(psnr, 2), round(ssim, 4)) == RCAN[scale]


@functools.cache
def shipped_score(folder, precision):
    """Mean PSNR of the shipped weights on a benchmark's folder."""
    upscaler = output.load(SHIPPED, precision=precision)
    with tempfile.TemporaryDirectory() as results:
        pairs = evaluate.find_pairs(folder, upscaler.scale)
        rows, refused = evaluate.evaluate(upscaler, pairs, Path(results))
    assert not refused
    return evaluate.means(rows)["psnr"]


@pytest.mark.parametrize(("name", "least"), [("Set5", 37.5), ("Set14", 32.9)])
def test_shipped_small_weights(benchmarks, name, least):
    assert shipped_score(benchmarks / name, "float32") >= least


@pytest.mark.parametrize("name", ["Set5", "Set14"])
def test_bfloat16_costs_less_than_a_hundredth_of_a_decibel(benchmarks, name):
    exact, fast = (shipped_score(benchmarks / name, p) for p in ("float32", "bfloat16"))
    assert abs(exact - fast) < 0.01


# ---- folders and the command ----


@pytest.fixture
def benchmark(tmp_path):
    """A folder with HR/ and LR/x2/ whose LR pictures are not our own bicubic's."""
    for n, name in enumerate(["a.png", "b.png"]):
        hr = smooth_picture(41, 52, seed=n)
        for place, picture in ("HR", hr), ("LR/x2", hr[:40:2, ::2]):
            (tmp_path / place).mkdir(parents=True, exist_ok=True)
            utils.write(tmp_path / place / name, picture, {})
    return tmp_path


def test_given_lr_pictures_are_used_as_they_are(benchmark):
    pairs = evaluate.find_pairs(benchmark, 2)
    assert [name.as_posix() for _, _, name in pairs] == ["a.png", "b.png"]
    hr, lr = evaluate.read_pair(*pairs[0][:2], 2)
    assert hr.shape == (40, 52, 3)
    np.testing.assert_array_equal(lr, utils.read_rgb(benchmark / "LR/x2/a.png"))


def test_lr_is_made_where_none_is_given(benchmark):
    pairs = evaluate.find_pairs(benchmark / "HR", 2)
    hr, lr = evaluate.read_pair(*pairs[0][:2], 2)
    np.testing.assert_array_equal(lr, utils.downscale(hr, 2))
    assert evaluate.find_pairs(benchmark, 3)[0][1] is None  # LR/x3 does not exist


def test_missing_lr_is_named(benchmark):
    (benchmark / "LR/x2/b.png").unlink()
    with pytest.raises(ValueError, match=r"b.png: no such file; expected the LR picture of"):
        evaluate.find_pairs(benchmark, 2)


def test_lr_of_another_size_is_refused(benchmark):
    utils.write(benchmark / "LR/x2/b.png", smooth_picture(20, 25), {})
    with pytest.raises(ValueError, match=r"b.png has shape \(20, 25, 3\): expected \(20, 26, 3\)"):
        evaluate.read_pair(benchmark / "HR/b.png", benchmark / "LR/x2/b.png", 2)


def test_grey_original_stays_grey(tmp_path):
    utils.write(tmp_path / "grey.png", smooth_picture(20, 20, 1)[..., 0], {})
    hr, lr = evaluate.read_pair(tmp_path / "grey.png", None, 2)
    assert hr.shape == (20, 20)
    assert lr.shape == (10, 10)


def test_command_writes_results_and_pictures(
    tmp_path, benchmark, small_weights, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    utils.write(benchmark / "HR" / "tiny.png", smooth_picture(4, 4), {})
    utils.write(benchmark / "LR" / "x2" / "tiny.png", smooth_picture(2, 2), {})
    (tmp_path / "evaluation").mkdir()
    assert evaluate.main([str(benchmark), "--weights", str(small_weights)]) == 1
    captured = capsys.readouterr()
    assert "mean of 2" in captured.out
    assert "tiny.png: 4x4: expected at least 15x15 to be scored" in captured.err
    results = json.loads((tmp_path / "evaluation/results.json").read_text())
    assert results["scale"] == 2
    assert results["weights"] == "small.keras"
    keys = {"psnr", "ssim", "bicubic_psnr", "bicubic_ssim"}
    assert [set(row) for row in results["images"]] == [keys | {"name"}] * 2
    for key in keys:
        assert results["mean"][key] == pytest.approx(np.mean([r[key] for r in results["images"]]))
    for name in "a.png", "b.png":
        hr = utils.read_rgb(benchmark / "HR" / name)[:40]
        sr = utils.read_rgb(tmp_path / "evaluation/output" / name)
        row = next(row for row in results["images"] if row["name"] == name)
        assert evaluate.psnr(hr, sr, 2) == pytest.approx(row["psnr"])
        combined = Image.open(tmp_path / "evaluation/Combined" / name)
        assert combined.width >= 3 * 52
        assert combined.height > 40


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "FOLDER = 'nowhere': no such folder"),
        (["empty"], "FOLDER = 'empty': no pictures found in empty"),
        (["HR", "--weights", "none.keras"], "none.keras: no such weights file"),
        (["bad"], "FOLDER = 'bad': no picture in it could be scored"),
    ],
)
def test_what_cannot_start_ends_with_exit_code_2(
    benchmark, small_weights, monkeypatch, capsys, words, message
):
    monkeypatch.chdir(benchmark)
    for folder in "empty", "bad":
        (benchmark / folder).mkdir()
    (benchmark / "bad" / "x.png").write_text("no picture")
    if "--weights" not in words:
        words = [*words, "--weights", str(small_weights)]
    assert evaluate.main(words) == 2
    assert f"evaluate.py: {message}" in capsys.readouterr().err


def test_combined_shows_each_picture_whole_under_its_label():
    left, right = np.full((40, 300, 3), 50, np.uint8), np.full((40, 300), 200, np.uint8)
    sheet = evaluate.side_by_side([("left", left), ("right", right)], gap=6)
    assert (sheet[-40:, :300] == 50).all()
    assert (sheet[-40:, 300:306] == 255).all()
    assert (sheet[-40:, 306:] == 200).all()
    assert sheet[:-40, :300].min() < 100  # the label


def test_exactly_restored_picture_does_not_poison_mean_or_json():
    row = {"psnr": 30.0, "ssim": 0.9, "bicubic_psnr": 20.0, "bicubic_ssim": 0.8}
    exact = row | {"psnr": math.inf, "ssim": 1.0}
    assert evaluate.means([row, exact]) == row | {"ssim": 0.95}
    assert json.loads(evaluate.as_json({"images": [exact]}))["images"][0]["psnr"] is None
