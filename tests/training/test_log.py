import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from superres.dataset.crops import Photograph
from superres.images.read import read_rgb
from superres.images.resize import downscale
from superres.training.checkpoint import State
from superres.training.log import TrainingLog
from superres.training.trainer import FitResult
from superres.upscaling.networks import KerasNetwork
from support import bilinear_network, photograph, smooth_picture


def sharpest(height=400, width=300):
    """Smooth, but for sharp stripes in one place."""
    hr = smooth_picture(height, width, seed=1) // 4
    hr[200:280, 100:180:3] = 255
    return Photograph(downscale(hr, 2), hr)


def make(folder, photographs, state=None, loss="l1"):
    settings = {"scale": 2, "epochs": 9, "steps_per_epoch": 100, "validation_crop": 512}
    settings["loss"] = loss
    data = SimpleNamespace(validation=dict(enumerate(photographs)), record={})
    network = KerasNetwork(bilinear_network())
    return TrainingLog(folder / "a.keras", settings, network, data, state)


def end_epochs(log, count):
    """Ends epochs with weights that get worse and worse."""
    random = np.random.default_rng(0)
    start = log.network.get_weights()
    for n in range(count):
        weights = [(w + n * random.normal(0, 1e-3, w.shape)).astype(np.float32) for w in start]
        log.add(FitResult(30, 0.2, 20.0, 0.2))
        log.add(FitResult(70, 0.4 / 7, 40.0, 0.4))
        average = {"ema_weights": lambda w=weights: w, "schedule": lambda step: 1e-3}
        log.end_epoch(SimpleNamespace(step=100 * (n + 1), **average))


def test_line_of_an_epoch(tmp_path, capsys):
    log = make(tmp_path, [photograph(64, 64, 1)])
    end_epochs(log, 2)
    first, second = capsys.readouterr().out.splitlines()
    row = log.rows[0]
    assert first == (
        f"epoch 1/9: loss 0.10000, PSNR {row['psnr']:.3f} dB (bicubic "
        f"{row['bicubic_psnr']:.3f}), waited for crops 1.0%, best so far: {tmp_path / 'a.keras'}"
    )
    assert "best so far" not in second


def test_what_is_shown_is_where_bicubic_fails_most(tmp_path):
    log = make(tmp_path, [photograph(300, 300, 2), sharpest()])
    index, (rows, columns) = log._hardest[0]
    assert index == 1
    assert rows.start <= 110 < rows.stop or rows.start <= 130 < rows.stop
    assert columns.start <= 55 < columns.stop or columns.start <= 85 < columns.stop


@pytest.mark.parametrize("size", [(20, 24), (300, 280)])
def test_picture_shows_lr_bicubic_prediction_and_original(tmp_path, size):
    log = make(tmp_path, [photograph(*size, 1)])
    end_epochs(log, 3)
    log.write()
    sheet = np.array(Image.open(tmp_path / "a.progress.png"))
    side = min(size[0], 96), min(size[1], 96)
    assert sheet.shape[1] >= 4 * 3 * side[1]
    assert sheet.shape[0] >= 2 * 3 * side[0]
    hr = log.validation[0].hr[*log._in_hr(log._hardest[0][1])].repeat(3, 0).repeat(3, 1)
    # The original is the last of the first line.
    step = (sheet.shape[1] + 6) // 4
    found = sheet[:, 3 * step :][:, : hr.shape[1]]
    tops = [y for y in range(60) if np.array_equal(found[y : y + len(hr)], hr)]
    assert len(tops) == 1


def test_what_was_written_is_not_written_again(tmp_path):
    log = make(tmp_path, [photograph(64, 64, 1)])
    tables = {"csv", "json", "png"}
    for count, expected in (1, {*tables, "keras"}), (0, set()), (2, tables):
        end_epochs(log, count)  # the second and third are no better
        log.write_weights()
        log.write()
        assert {path.name.split(".")[-1] for path in tmp_path.iterdir()} == expected
        for path in tmp_path.iterdir():
            path.unlink()


def test_log_is_resumed_and_keeps_predictions_of_epochs_that_are_powers_of_two(tmp_path, capsys):
    log = make(tmp_path, [photograph(64, 64, 1)])
    end_epochs(log, 2)
    state = State(200, {}, {}, {"rows": log.rows, "epoch": log.epoch_sums}, log.details, {})
    again = make(tmp_path, [photograph(64, 64, 1)], state)
    end_epochs(again, 5)
    assert "epoch 3/9" in capsys.readouterr().out
    assert sorted(again.details) == [1, 2, 4, 7]
    assert all(crop.shape == (64, 64, 3) for crop in again.details.values())


def test_duration_is_forecast_once(tmp_path, monkeypatch, capsys):
    log = make(tmp_path, [photograph(64, 64, 1)])
    log.settings["batch_size"], log.total_steps = 8, 1_000_000
    seconds = iter([100.0, 140.0, 180.0])
    monkeypatch.setattr("superres.training.log.time.monotonic", lambda: next(seconds))
    with log.progress_bar(0):
        for _ in range(5):
            log.on_steps(10, 0.5)
    (line,) = capsys.readouterr().out.splitlines()
    # 20 steps in 40 seconds, behind the first 10.
    advice = "python train.py --recipe speedrun takes minutes"
    assert line == f"999,970 steps to go, about 23 days; {advice}"


def test_settings_file_says_of_what_the_weights_are_made(tmp_path):
    log = make(tmp_path, [photograph(64, 64, 1)])
    log.dataset.record["photographs"] = "a digest"
    end_epochs(log, 1)
    log.write()
    about = json.loads((tmp_path / "a.json").read_text())
    assert {"settings", "best", "backend", "machine", "commit", "photographs"} <= about.keys()
    assert "cores" in about["machine"]


def test_of_sharp_pictures_the_last_epoch_is_kept(tmp_path):
    """What looks sharp has a lower PSNR."""
    log = make(tmp_path, [photograph(200, 160), photograph(200, 160, 1)], loss="perceptual")
    end_epochs(log, 2)
    assert log.rows[1]["psnr"] < log.rows[0]["psnr"]
    assert log.best() == log.rows[1]
    log.write()
    assert read_rgb(tmp_path / "a.details.png").shape[1] > 2 * 3 * 96
