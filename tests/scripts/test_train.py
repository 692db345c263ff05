import csv
import dataclasses
import errno
import json
import os
import shutil
import signal
import threading
import traceback
import zipfile
from copy import copy
from pathlib import Path
from unittest import mock
from unittest.mock import Mock

import numpy as np
import pytest

import network
import train
import utils
from superres.dataset import folder
from superres.dataset import photographs as photographs_module
from superres.dataset.crops import Photograph
from superres.dataset.folder import Skips, hold_out, open_dataset
from superres.dataset.options import DataOptions
from superres.images import write
from superres.images.read import read_rgb
from superres.images.resize import downscale
from superres.images.write import write_picture
from superres.runtime import backend, files, settings
from superres.runtime.backend import keras
from superres.scoring import metrics
from superres.training import checkpoint, log, plots
from superres.training.losses import LOSSES
from superres.training.trainer import Trainer
from superres.upscaling import weight_files
from support import (
    FAULTS,
    ROOT,
    at_step,
    batch_of,
    contents,
    small_network,
    smooth_picture,
    stopped_at,
)

TINY = "--data data --name tiny --num-filters 8 --residual-blocks 1 --crop-size 16 --batch-size 4"
TINY += " --epochs 3 --steps-per-epoch 5 --warmup-steps 2 --learning-rate 1e-3"
TINY += " --validation-crop 32 --cache="
PLOT = plots.plot


def run(**changed):
    """Runs the command with small settings, some of them changed."""
    words = TINY.split()
    for name, value in changed.items():
        words += ["--" + name.replace("_", "-"), *([] if value is True else [str(value)])]
    return train.main(words)


def refused(capsys, message, code=2, **changed):
    """Runs the command, which ends with a code and a message."""
    assert run(**changed) == code
    assert message in capsys.readouterr().err


def prepare(folder, monkeypatch):
    """Makes a working folder with data/ of four photographs, a small one and a damaged one."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(train, "WEIGHTS_FOLDER", folder / "weights")
    monkeypatch.setattr(plots, "plot", lambda rows, path: None)  # takes as long as the training
    Path("data/deeper").mkdir(parents=True)
    for n in range(3):
        write_picture(f"data/{n}.png", smooth_picture(40, 51, seed=n), {})
    write_picture("data/deeper/3.jpg", smooth_picture(48, 40, seed=3), {})
    write_picture("data/small.png", smooth_picture(15, 80), {})
    Path("data/text.png").write_text("no picture")
    return folder


@pytest.fixture
def photographs(tmp_path, monkeypatch):
    return prepare(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def one_epoch(tmp_path_factory):
    """weights/ after a training of one epoch."""
    with pytest.MonkeyPatch.context() as patched:
        folder = prepare(tmp_path_factory.mktemp("one_epoch"), patched)
        assert run(epochs=1) == 0
    return folder / "weights"


@pytest.fixture
def trained(photographs, one_epoch):
    """A working folder in which a training of one epoch is finished."""
    shutil.copytree(one_epoch, photographs / "weights")
    return photographs


def test_averaged_weights_follow_the_definition():
    options = {"learning_rate": 0.1, "clip_norm": 1.0, "ema_decay": 0.2}
    trainer = Trainer(small_network(global_skip=True), loss="l1", optimizer="adam", **options)
    lr = np.full((1, 4, 4, 3), 90, np.uint8)
    hr = np.full((1, 8, 8, 3), 180, np.uint8)
    expected = None
    for step in range(4):
        trainer.fit(batch_of(lr, hr), 1, threading.Event())
        weights = trainer.model.get_weights()
        # It begins with the weights after the first step; 0.2 is reached at the third.
        decay = [0, 2 / 11, 0.2, 0.2][step]
        expected = expected or weights
        expected = [decay * e + (1 - decay) * w for e, w in zip(expected, weights, strict=True)]
    for ours, theirs in zip(trainer.ema_weights(), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)


def load(**changed):
    """Sizes of the pictures that are trained on and validated on."""
    options = DataOptions(
        "data", "", "", 2, crop_size=16, batch_size=1, validation_crop=512, seed=1
    )
    with open_dataset(dataclasses.replace(options, **changed)) as data:
        parts = data._source.at(0).photographs, data.validation.values()
        return [[p.hr.shape[:2] for p in part] for part in parts]


def test_held_out_pictures_are_usable_and_have_a_score(photographs, capsys):
    assert load() == [[(40, 50), (40, 50), (48, 40)], [(40, 50)]]
    assert load(validation_data="data/deeper") == [[(40, 50)] * 3, [(48, 40)]]
    # Those that sort first are a picture cut in half and a flat one.
    whole, flat = Path("data/0.png").read_bytes(), np.full((40, 44, 3), (9, 90, 30), np.uint8)
    Path("data/-1.png").write_bytes(whole[: len(whole) // 2])
    write_picture("data/-2.png", flat, {})
    capsys.readouterr()
    training, validation = load()
    assert validation == [(40, 50)]
    assert sorted(training) == [(40, 44), (40, 50), (40, 50), (48, 40)]
    assert capsys.readouterr().out.count("skipped data/-1.png: ") == 1
    Path("valid").mkdir()
    pictures = {"tiny": smooth_picture(4, 4), "flat": flat, "good": smooth_picture(40, 36)}
    for name, picture in pictures.items():
        write_picture(f"valid/{name}.png", picture, {})
    assert load(validation_data="valid")[1] == [(40, 36)]
    printed = capsys.readouterr().out
    assert "skipped valid/tiny.png: 4x4 is smaller than" in printed
    assert "skipped valid/flat.png: all its pixels have one colour" in printed


def test_of_many_pictures_every_50th_is_held_out_and_12_at_most(monkeypatch):
    decoded = []

    def decode(path, scale, crop):
        decoded.append(path)
        pixels = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
        return Photograph(pixels, pixels)

    monkeypatch.setattr(folder, "decode_centre", decode)
    for count, expected in (1, 1), (50, 1), (51, 2), (120, 3), (800, 12), (5000, 12):
        decoded.clear()
        held_out, left = hold_out(list(range(count)), 2, 64, Skips())
        assert len(held_out) == len(decoded) == expected
        assert sorted([*left, *held_out]) == list(range(count))


# ---- the command ----


def log_of(folder):
    with (folder / "weights/tiny.csv").open() as file:
        return list(csv.DictReader(file))


def best_of(folder, name="tiny"):
    return json.loads((folder / f"weights/{name}.json").read_text())["best"]


def test_trains_and_writes_weights_settings_log_and_plot(photographs, monkeypatch, capsys):
    monkeypatch.setattr(plots, "plot", PLOT)
    for name in "notes.txt", "a.heic", ".hidden":
        (photographs / "data" / name).write_text("?")
    run()
    printed = capsys.readouterr().out
    assert "2 files left out: 1 .heic, 1 .txt; convert .heic to PNG or JPEG first" in printed
    assert printed.count("skipped data/text.png: not a picture") == 1
    assert printed.count("skipped data/small.png: 80x15 is smaller than 16x16") == 1
    weights = photographs / "weights"
    endings = "csv", "json", "keras", "png", "progress.png"
    endings += "state-00000010.npz", "state-00000015.npz"
    assert set(contents(weights)) == {".tiny.lock", *(f"tiny.{ending}" for ending in endings)}
    rows = log_of(photographs)
    assert [row["step"] for row in rows] == ["5", "10", "15"]
    assert float(rows[-1]["learning_rate"]) == pytest.approx(0, abs=1e-9)
    about = json.loads((weights / "tiny.json").read_text())
    assert about["settings"]["num_filters"] == 8
    assert about["best"]["psnr"] == max(float(row["psnr"]) for row in rows)
    assert zipfile.is_zipfile(weights / "tiny.keras")


def test_score_in_the_log_is_that_of_the_saved_file(photographs):
    run(validation_data="data/deeper", precision="mixed_bfloat16")
    model = keras.models.load_model("weights/tiny.keras")
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}
    upscaler = utils.load("weights/tiny.keras", precision="float32")
    hr = read_rgb("data/deeper/3.jpg")[8:40, 4:36]
    whole = downscale(read_rgb("data/deeper/3.jpg"), 2)
    sr = upscaler.enlarge(whole[4:20, 2:18])
    assert best_of(photographs)["psnr"] == pytest.approx(metrics.psnr(hr, sr, 2), abs=1e-3)


def test_network_learns_to_beat_bicubic(photographs):
    for n in range(8):  # with edges, which bicubic blurs
        shapes = np.where(smooth_picture(192, 192, seed=n) > 128, 220, 30).astype(np.uint8)
        write_picture(f"data/{n}.png", downscale(shapes, 2), {})
    shape = {"residual_blocks": 2, "residual_scaling": 1, "num_filters": 16, "global_skip": True}
    run(epochs=2, steps_per_epoch=200, ema_decay=0.9, learning_rate="3e-3", **shape)
    best = best_of(photographs)
    assert best["psnr"] > best["bicubic_psnr"] + 1


def states():
    return checkpoint.States(train.WEIGHTS_FOLDER, "tiny")


def newest_state():
    """Arrays of the newest state, and its step."""
    return (state := states().newest()).arrays, state.step


def rows_of(folder):
    """Rows of the log, without what depends on time, and their losses."""
    rows = log_of(folder)
    kept = [{key: row[key] for key in ("step", "learning_rate", "psnr")} for row in rows]
    return kept, [float(row["loss"]) for row in rows]


def rates_of(folder):
    return [float(row["learning_rate"]) for row in log_of(folder)]


@pytest.mark.parametrize(
    ("number", "step", "changed"),
    [
        (signal.SIGINT, 1, {"optimizer": "adam"}),
        (signal.SIGTERM, 7, {"decay_epochs": 2}),
        pytest.param(
            *(signal.SIGHUP, 10, {"conditions": 1, "degradation": "wild", "crop_size": 24}),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_stopped_training_ends_as_an_undisturbed_one(photographs, capsys, number, step, changed):
    run(**changed)
    undisturbed, (rows, losses) = newest_state(), rows_of(photographs)
    with stopped_at(step, number):
        assert run(restart=True, **changed) == 130
    state = photographs / f"weights/tiny.state-{step:08}.npz"
    error = capsys.readouterr().err
    assert f"stopped; the same command, without --restart, resumes from {state}" in error
    assert newest_state()[1] == step
    run(**changed)
    assert f"resuming after step {step}, from {state}" in capsys.readouterr().out
    np.testing.assert_equal(newest_state(), undisturbed)
    assert rows_of(photographs) == (rows, pytest.approx(losses, rel=1e-5))
    before = newest_state()
    run(**changed)
    printed = capsys.readouterr().out
    assert "tiny.keras is finished, after 15 steps" in printed
    assert "going on" not in printed
    np.testing.assert_equal(newest_state(), before)
    (photographs / "weights/tiny.keras").unlink()
    refused(capsys, "tiny.keras is missing although its run is finished", **changed)


def test_state_is_saved_in_time_and_does_not_change_the_training(photographs):
    ends = []
    for options, steps in ({"save_minutes": 1e-9}, range(1, 11)), ({"restart": True}, [5, 10]):
        save = checkpoint.States.save
        with mock.patch.object(checkpoint.States, "save", autospec=True, side_effect=save) as saved:
            run(epochs=2, **{"save_minutes": 60} | options)
        assert [call.args[1].step for call in saved.call_args_list] == list(steps)
        ends.append(newest_state())
    np.testing.assert_equal(*ends)


def test_training_on_degraded_crops_is_validated_on_degraded_pictures(trained, capsys):
    assert run(epochs=1, name="photo", degradation="wild") == 0
    clean, degraded = (best_of(trained, name)["bicubic_psnr"] for name in ("tiny", "photo"))
    assert degraded != clean
    message = "DEGRADATION = 'bicubic': expected 'wild'"
    refused(capsys, message, epochs=2, name="photo", degradation="bicubic")


def test_some_settings_may_be_changed_and_it_is_said(trained, capsys):
    message = "BATCH_SIZE = 2: expected 4; SEED = 3: expected 1, as in the earlier"
    refused(capsys, message, epochs=2, batch_size=2, seed=3)
    # A setting that a state has beyond today's does no harm.
    state = states().newest()
    states().save(dataclasses.replace(state, settings=state.settings | {"tensorboard": False}))
    options = {"learning_rate": "5e-4", "decay_epochs": 1}
    assert run(epochs=2, data="data/../data", **options) == 0
    printed = capsys.readouterr().out
    assert "EPOCHS was 1 and is 2 from here on" in printed
    assert "LEARNING_RATE was 0.001 and is 0.0005 from here on" in printed
    assert "DECAY_EPOCHS was 0 and is 1 from here on" in printed
    assert [row["step"] for row in log_of(trained)] == ["5", "10"]
    state = states().newest()
    del state.settings["loss"]
    states().save(state)
    message = "LOSS: unknown when the state was saved"
    refused(capsys, message, epochs=3, **options)


def test_weights_of_another_training_are_not_replaced(photographs, capsys):
    weights = photographs / "weights" / "tiny.keras"
    weights.parent.mkdir()
    weights.write_text("of somebody")
    refused(capsys, "tiny.keras exists without a tiny.state-*.npz to resume from", epochs=1)
    assert weights.read_text() == "of somebody"
    assert run(epochs=1, restart=True) == 0
    assert zipfile.is_zipfile(weights)


def test_damaged_state_is_named_and_the_one_before_used(photographs, capsys):
    run(epochs=2)
    expected = newest_state()
    newest = photographs / "weights/tiny.state-00000010.npz"
    newest.write_bytes(newest.read_bytes()[:5000])
    assert run(epochs=2) == 0
    printed = capsys.readouterr().out
    assert f"{newest}: damaged" in printed
    assert "resuming after step 5, from" in printed
    np.testing.assert_equal(newest_state(), expected)
    for state in (photographs / "weights").glob("*.npz"):
        state.write_bytes(b"")
    refused(capsys, "start over with --restart", epochs=2)


def test_restart_leaves_the_training_before_until_it_has_saved(photographs, capsys):
    run(epochs=2)
    before, fail = newest_state(), Mock(side_effect=RuntimeError("a fault"))
    with at_step(2, fail), pytest.raises(RuntimeError, match="a fault"):  # shown, as any of ours
        run(epochs=2, restart=True)
    np.testing.assert_equal(newest_state(), before)
    assert "train.py: " not in capsys.readouterr().err
    assert run(epochs=3) == 0
    assert "resuming after step 10" in capsys.readouterr().out
    with stopped_at(1, signal.SIGINT):
        assert run(epochs=1, restart=True) == 130
    states = list((photographs / "weights").glob("*.npz"))
    assert [path.name for path in states] == ["tiny.state-00000001.npz"]


def test_validation_pictures_stay_the_same(trained, capsys):
    before, content = newest_state(), Path("data/0.png").read_bytes()
    refused(capsys, "VALIDATION_CROP = 16: expected 32", epochs=2, validation_crop=16)
    other = {"epochs": 2, "validation_data": "data/deeper"}
    refused(capsys, "the validation pictures have changed", **other)
    write_picture("data/0.png", smooth_picture(60, 44, seed=3), {})
    refused(capsys, "the validation pictures have changed", epochs=2)
    np.testing.assert_equal(newest_state(), before)
    Path("data/0.png").write_bytes(content)
    write_picture("data/-1.png", smooth_picture(44, 60, seed=9), {})  # which sorts first
    assert run(epochs=2) == 0
    assert "4 photographs, in memory; 1 to validate" in capsys.readouterr().out


def test_signal_while_pictures_are_decoded_ends_with_130(photographs, monkeypatch, capsys):
    stop = Mock(side_effect=lambda *_, **options: os.kill(os.getpid(), signal.SIGTERM))
    monkeypatch.setattr(folder, "open_photographs", stop)
    refused(capsys, "stopped; nothing was saved to resume from", 130)


@pytest.mark.parametrize("error", [FAULTS[0], FAULTS[2]], ids=repr)
@pytest.mark.parametrize(
    ("owner", "name"),
    [(LOSSES, "l1"), (network, "edsr"), (checkpoint.States, "save")],
    ids=["loss", "network", "saving"],
)
def test_fault_of_ours_is_shown_with_its_line(photographs, monkeypatch, owner, name, error):
    def broken(*arguments, **options):
        raise copy(error)

    (monkeypatch.setitem if owner is LOSSES else monkeypatch.setattr)(owner, name, broken)
    with pytest.raises(Exception, match="ours") as caught:
        run(epochs=1)
    lines = "".join(traceback.format_exception(caught.value))
    assert "test_train.py" in lines
    assert "in broken" in lines


def test_one_name_is_not_trained_twice_at_once(photographs, capsys):
    (photographs / "weights").mkdir()
    with states().lock():
        refused(capsys, "NAME = 'tiny': another process is training it")
        assert run(name="other", epochs=1) == 0


def full_disk(monkeypatch, *names):
    """Lets the files of some endings be written no more."""
    replacing = files.replacing

    def refuse(path):
        if str(path).endswith(names):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return replacing(path)

    for module in weight_files, checkpoint, log, plots, write:
        monkeypatch.setattr(module, "replacing", refuse)


@pytest.mark.parametrize(
    "ending",
    [".npz", *(pytest.param(e, marks=pytest.mark.slow) for e in (".keras", ".progress.png"))],
)
def test_full_disk_costs_nothing_when_it_has_room_again(photographs, monkeypatch, capsys, ending):
    run()
    undisturbed, rows = newest_state(), rows_of(photographs)
    best = weight_files.read(photographs / "weights/tiny.keras").get_weights()
    fill = at_step(4, lambda: full_disk(monkeypatch, ending))
    with fill, at_step(12, lambda: full_disk(monkeypatch)):
        assert run(restart=True) == 0
    assert "could not save at step 5: " in capsys.readouterr().out
    np.testing.assert_equal(newest_state(), undisturbed)
    assert rows_of(photographs) == rows
    again = weight_files.read(photographs / "weights/tiny.keras").get_weights()
    np.testing.assert_equal(again, best)


def test_disk_that_stays_full_is_an_error_and_the_best_weights_are_kept(
    trained, monkeypatch, capsys
):
    kept = contents(trained / "weights")
    full_disk(monkeypatch, ".npz", ".keras")
    refused(capsys, "not saved: [Errno 28] No space left on device", 1, epochs=2)
    for name in "tiny.keras", "tiny.state-00000005.npz":
        assert contents(trained / "weights")[name] == kept[name]


def test_loss_that_is_not_finite_stops_with_the_last_state_kept(trained, monkeypatch, capsys):
    kept, make, l1 = contents(trained / "weights"), folder.cut_batch, LOSSES["l1"]

    def loss(hr, sr):
        is_poison = keras.ops.all(keras.ops.equal(hr, 77))
        return keras.ops.where(is_poison, np.nan, 1.0) * l1(hr, sr)

    def poisoned(pool, step, **options):
        inputs, hr = make(pool, step, **options)
        return inputs, np.full_like(hr, 77) if step == 7 else hr

    with monkeypatch.context() as patched:
        patched.setitem(LOSSES, "l1", loss)
        patched.setattr(folder, "cut_batch", poisoned)
        assert run(epochs=2) == 1
    error = capsys.readouterr().err
    assert "the loss is nan at step 8, at a learning rate of 0.000" in error
    assert "Lower LEARNING_RATE" in error
    assert contents(trained / "weights") == kept
    assert run(epochs=2, learning_rate="1e-4") == 0
    assert "resuming after step 5" in capsys.readouterr().out


def test_weights_that_are_not_finite_are_not_saved(trained, monkeypatch, capsys):
    weights = Trainer.ema_weights

    def broken(trainer):
        last = trainer.model.optimizer.variables[-1]
        last.assign(np.inf * last)
        return weights(trainer)

    monkeypatch.setattr(Trainer, "ema_weights", broken)
    refused(capsys, "a weight is not finite at step 10", 1, epochs=2)
    names = [path.name for path in (trained / "weights").glob("*.npz")]
    assert names == ["tiny.state-00000005.npz"]


def test_out_of_memory_says_what_to_lower(trained, capsys):
    message = "RESOURCE_EXHAUSTED: Out of memory while trying to allocate"
    with at_step(7, Mock(side_effect=RuntimeError(message))):
        assert run(epochs=2) == 1
    error = capsys.readouterr().err
    for words in "out of memory", "lower BATCH_SIZE", "resumes from":
        assert words in error


def parsed(*words):
    return settings.parse(["network", "train"], list(words), presets=train.presets)


def test_precision_that_is_faster_here_is_kept_elsewhere(photographs, monkeypatch, capsys):
    monkeypatch.setattr(backend, "has_fast_bfloat16", lambda: True)
    with stopped_at(7):
        assert run(precision="auto") == 130
    monkeypatch.setattr(backend, "has_fast_bfloat16", lambda: False)
    assert run(precision="auto") == 0
    assert capsys.readouterr().out.count("CPU, mixed_bfloat16, ") == 2
    about = json.loads((photographs / "weights/tiny.json").read_text())
    assert about["settings"]["precision"] == "mixed_bfloat16"


@pytest.mark.parametrize(
    ("recipe", "scale"), [(name, scale) for name, one in train.RECIPES.items() for scale in one]
)
def test_recipe_makes_sense(recipe, scale):
    config = parsed("--recipe", recipe, "--scale", str(scale), "--data", str(ROOT))
    train.check(config)
    assert train.RECIPES[recipe][scale].items() <= vars(config).items()
    assert Path(config.start_from).exists()
    network.edsr(config.scale, config.num_filters, config.residual_blocks)


def test_shape_of_the_network_is_that_of_the_one_to_start_from(monkeypatch):
    start = str(ROOT / "weights" / "edsr_small_x3_photo.keras")
    config = parsed("--start-from", start)
    expected = {"scale": 3, "num_filters": 64, "residual_blocks": 9, "global_skip": True}
    assert expected.items() <= vars(config).items()
    assert config.conditions == weight_files.read_graph(start).traits.conditions
    assert parsed("--start-from", start, "--scale", "2", "--num-filters", "96").num_filters == 96
    monkeypatch.setattr(train, "START_FROM", start)
    assert parsed().num_filters == 64
    assert parsed("--recipe", "large").num_filters == 128


def test_learning_rate_follows_from_the_optimizer():
    for name, rate in ("adam", 1e-4), ("muon", 2e-3):
        train.fill_in_defaults(config := parsed("--optimizer", name, "--learning-rate", "0"))
        assert config.learning_rate == rate


def test_training_starts_from_other_weights_where_they_fit(trained, capsys):
    start = {"epochs": 1, "start_from": "weights/tiny.keras"}
    assert run(name="b", **start, learning_rate="1e-9") == 0
    begin, end = (weight_files.read(f"weights/{name}.keras") for name in ("tiny", "b"))
    for ours, theirs in zip(end.get_weights(), begin.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-6)
    assert run(name="other", scale=4, **start) == 0
    printed = capsys.readouterr().out
    assert "starting from weights/tiny.keras, 1 blocks of 8 filters, of another scale" in printed
    refused(capsys, "NUM_FILTERS = 7: expected at least the 8", num_filters=7, name="less", **start)


def test_training_on_rotating_photographs_goes_on_as_undisturbed(photographs, monkeypatch, capsys):
    for name, value in ("MEMORY_SHARE", 0), ("MAX_POOL", 2), ("STEPS_PER_PHOTOGRAPH", 2):
        monkeypatch.setattr(photographs_module, name, value)
    run()
    assert "decoded, 2 at a time" in capsys.readouterr().out
    undisturbed = newest_state()
    with stopped_at(8):
        assert run(restart=True) == 130
    monkeypatch.setattr(photographs_module, "MEMORY_SHARE", 1)  # as if there were more by now
    run()
    assert "decoded, 2 at a time" in capsys.readouterr().out
    np.testing.assert_equal(newest_state(), undisturbed)


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"degradation": "wild", "conditions": 1}, "my_edsr_x2_photo"),
        ({"recipe": "speedrun"}, "my_speedrun_x2"),
        ({"recipe": "photo", "scale": 3, "crop_size": 18, "start_from": ""}, "my_edsr_x3_photo"),
    ],
)
def test_name_follows_from_recipe_scale_and_degradation(photographs, changed, name):
    assert run(name="", epochs=1, **changed) == 0
    assert (photographs / f"weights/{name}.state-00000005.npz").is_file()
    trained = utils.load(photographs / f"weights/{name}.keras")
    assert f"_x{trained.scale}" in name
    expected = 4 if "photo" in changed.get("recipe", "") else changed.get("conditions", 0)
    assert trained.conditions == expected


def test_phases_of_the_learning_rate_fit_into_the_run(photographs, capsys):
    assert run(warmup_steps=500, decay_epochs=4, epochs=2, steps_per_epoch=20) == 0
    printed = capsys.readouterr().out
    assert "warm-up shortened from 500 to 4 steps, a tenth of 40" in printed
    assert "decay shortened from 80 to 40 steps, the whole run" in printed
    assert rates_of(photographs) == pytest.approx([5e-4, 0])


def test_run_with_decay_is_made_longer(photographs, capsys):
    """What is held before does not depend on the end."""
    changed = {"warmup_steps": 1}
    run(epochs=3, decay_epochs=1, **changed)
    assert rates_of(photographs)[-1] == 0
    (photographs / "weights/tiny.state-00000015.npz").unlink()
    assert run(epochs=4, decay_epochs=2, **changed) == 0
    resumed = newest_state()
    assert "DECAY_EPOCHS was 1 and is 2 from here on" in capsys.readouterr().out
    run(epochs=4, decay_epochs=2, restart=True, **changed)
    np.testing.assert_equal(newest_state(), resumed)
    run(epochs=6, decay_epochs=1, **changed)
    assert "EPOCHS was 4 and is 6 from here on" in capsys.readouterr().out
    assert rates_of(photographs) == pytest.approx([1e-3, 1e-3, 5e-4, 0, 1e-3, 0])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"scale": 5}, "SCALE = 5: expected one of 2, 3, 4"),
        (
            {"recipe": "speedrun", "scale": 3},
            "SCALE = 3: expected one of [2] with RECIPE = 'speedrun'",
        ),
        ({"recipe": "slow"}, "RECIPE = 'slow': expected one of '', 'speedrun', 'small'"),
        ({"conditions": 4}, "CONDITIONS = 4: needs DEGRADATION = 'wild'"),
        ({"data": "empty"}, "put at least two there"),
        ({"drawings": 2}, "DRAWINGS = 2: expected a number from 0 to 1"),
        ({"crop_size": 15}, "CROP_SIZE = 15: expected a multiple of 2"),
        ({"batch_size": 0}, "BATCH_SIZE = 0: expected a whole number of at least 1"),
        ({"learning_rate": "nan"}, "LEARNING_RATE = nan: expected a number above 0"),
        ({"ema_decay": 1}, "EMA_DECAY = 1: expected a number above 0 and at most"),
        ({"name": "a/b"}, "NAME = 'a/b': expected no folder"),
        ({"seed": 2**32}, "SEED = 4294967296: expected a whole number from 0 to 4294967295"),
        ({"validation_data": "nowhere"}, "VALIDATION_DATA = 'nowhere': no such folder"),
        ({"name": "a.progress"}, "NAME = 'a.progress': expected no folder, and no .progress"),
        ({"validation_crop": 4}, "VALIDATION_CROP = 4: expected a whole number of at least 8"),
        ({"data": "nowhere"}, "DATA = 'nowhere': no such folder"),
        ({"data": "data/deeper"}, "0 usable pictures to train on and 1 to validate among 1 pict"),
        ({"validation_data": "weights"}, "and 0 to validate among 6 pictures in /"),
        ({"crop_size": 64}, "0 usable pictures to train on and 0 to validate among 6 pictures"),
        ({"loss": "l2"}, "LOSS = 'l2': expected one of 'l1', 'l1_ycbcr', 'ssim_l1'"),
        ({"loss": "ssim_l1", "crop_size": 10}, "CROP_SIZE = 10: expected a whole number of at"),
        ({"save_minutes": 0}, "SAVE_MINUTES = 0: expected a number above 0"),
        ({"start_from": "nowhere.keras"}, "nowhere.keras: no such weights file"),
    ],
)
def test_what_makes_no_sense_ends_in_one_line(photographs, capsys, changed, message):
    for name in "weights", "empty":
        (photographs / name).mkdir()
    (photographs / "empty" / "download.py").touch()
    assert run(**changed) == 2
    captured = capsys.readouterr()
    assert "download.py" not in captured.out
    error = captured.err.splitlines()[-1]
    assert error.startswith("train.py: ")
    assert message in error
