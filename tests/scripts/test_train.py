import csv
import dataclasses
import errno
import json
import os
import signal
import threading
import traceback
import zipfile
from copy import copy
from pathlib import Path

import numpy as np
import pytest

import evaluate
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
from superres.training.optimizers import OPTIMIZERS
from superres.training.trainer import Trainer, _Hook
from superres.upscaling import weight_files
from support import FAULTS, ROOT, batch_of, small_network, smooth_picture

TINY = {
    "--data": "data",
    "--name": "tiny",
    "--num-filters": "8",
    "--residual-blocks": "1",
    "--crop-size": "16",
    "--batch-size": "4",
    "--epochs": "3",
    "--steps-per-epoch": "5",
    "--warmup-steps": "2",
    "--learning-rate": "1e-3",
    "--validation-crop": "32",
    "--cache": "",
}
PLOT = plots.plot


def words(**changed):
    """Small settings, some of them changed, as words of the command line."""
    changed = {"--" + name.replace("_", "-"): str(value) for name, value in changed.items()}
    return [word for pair in (TINY | changed).items() for word in pair if word != "True"]


def run(**changed):
    """Runs the command with small settings, some of them changed."""
    return train.main(words(**changed))


@pytest.fixture
def photographs(tmp_path, monkeypatch):
    """A working folder with data/ of four photographs, a small one and a damaged one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(train, "WEIGHTS_FOLDER", tmp_path / "weights")
    monkeypatch.setattr(plots, "plot", lambda rows, path: None)  # takes as long as the training
    (tmp_path / "data" / "deeper").mkdir(parents=True)
    for n in range(3):
        write_picture(tmp_path / "data" / f"{n}.png", smooth_picture(40, 51, seed=n), {})
    write_picture(tmp_path / "data" / "deeper" / "3.jpg", smooth_picture(48, 40, seed=3), {})
    write_picture(tmp_path / "data" / "small.png", smooth_picture(15, 80), {})
    (tmp_path / "data" / "text.png").write_text("no picture")
    return tmp_path


# ---- parts ----


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_averaged_weights_follow_the_definition(name):
    trainer = Trainer(
        small_network(global_skip=True),
        loss="l1",
        optimizer=name,
        learning_rate=0.1,
        clip_norm=1.0,
        ema_decay=0.2,
    )
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


def test_validation_pictures_are_never_trained_on(photographs):
    training, validation = load(validation_data="data/deeper")
    assert training == [(40, 50)] * 3
    assert validation == [(48, 40)]


def test_some_usable_pictures_are_held_out_where_no_validation_data_is_named(photographs):
    (photographs / "data" / "00.png").write_text("a damaged picture that sorts first")
    assert load() == [[(40, 50), (40, 50), (48, 40)], [(40, 50)]]


def test_a_picture_without_score_or_a_damaged_one_is_not_held_out(photographs, capsys):
    whole = (photographs / "data" / "0.png").read_bytes()
    (photographs / "data" / "00.png").write_bytes(whole[: len(whole) // 2])
    write_picture("data/000.png", np.full((40, 44, 3), (9, 90, 30), np.uint8), {})
    training, validation = load()
    assert validation == [(40, 50)]
    assert sorted(training) == [(40, 44), (40, 50), (40, 50), (48, 40)]
    assert capsys.readouterr().out.count("skipped data/00.png: ") == 1


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


def test_validation_leaves_out_what_has_no_score(photographs, capsys):
    (photographs / "valid").mkdir()
    write_picture("valid/tiny.png", smooth_picture(4, 4), {})
    write_picture("valid/flat.png", np.full((40, 40, 3), (9, 90, 30), np.uint8), {})
    write_picture("valid/good.png", smooth_picture(40, 36), {})
    assert load(validation_data="valid")[1] == [(40, 36)]
    printed = capsys.readouterr().out
    assert "skipped valid/tiny.png: 4x4 is smaller than" in printed
    assert "skipped valid/flat.png: flat: it has no score" in printed


# ---- the command ----


def test_trains_and_writes_weights_settings_log_and_plot(photographs, monkeypatch, capsys):
    monkeypatch.setattr(plots, "plot", PLOT)
    run()
    printed = capsys.readouterr().out
    assert printed.count("skipped data/text.png: not a picture") == 1
    assert printed.count("skipped data/small.png: 80x15 is smaller than 16x16") == 1
    weights = photographs / "weights"
    names = sorted(path.name for path in weights.iterdir())
    assert names == [
        ".tiny.lock",
        "tiny.csv",
        "tiny.json",
        "tiny.keras",
        "tiny.png",
        "tiny.progress.png",
        "tiny.state-00000010.npz",
        "tiny.state-00000015.npz",
    ]
    with (weights / "tiny.csv").open() as file:
        rows = list(csv.DictReader(file))
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
    best = json.loads((photographs / "weights/tiny.json").read_text())["best"]
    assert best["psnr"] == pytest.approx(metrics.psnr(hr, sr, 2), abs=1e-3)


def write_sharp_pictures():
    """Pictures with edges, which bicubic blurs and a small network soon learns."""
    for n in range(8):
        shapes = np.where(smooth_picture(192, 192, seed=n) > 128, 220, 30).astype(np.uint8)
        write_picture(f"data/{n}.png", downscale(shapes, 2), {})


LEARNING = {
    "residual_blocks": 2,
    "residual_scaling": 1,
    "num_filters": 16,
    "global_skip": True,
    "ema_decay": 0.9,
    "learning_rate": "3e-3",
}


def test_network_learns_to_beat_bicubic(photographs):
    write_sharp_pictures()
    run(epochs=2, steps_per_epoch=200, **LEARNING)
    best = json.loads((photographs / "weights/tiny.json").read_text())["best"]
    assert best["psnr"] > best["bicubic_psnr"] + 1


def states():
    return checkpoint.States(train.WEIGHTS_FOLDER, "tiny")


def newest_state():
    """Arrays of the newest state, and its step."""
    state = states().newest()
    return state.arrays, state.step


def assert_equal_states(ours, theirs):
    assert ours[1] == theirs[1]
    assert ours[0].keys() == theirs[0].keys()
    for name, array in theirs[0].items():
        np.testing.assert_array_equal(ours[0][name], array, err_msg=name)


def rows_of(folder):
    """Rows of the log, without what depends on time."""
    with (folder / "weights/tiny.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [{key: row[key] for key in ("step", "learning_rate", "psnr")} for row in rows]


def at_step(monkeypatch, step, do):
    """Lets `do` happen after a step of the training."""
    before = _Hook.on_train_batch_end

    def after(self, batch, logs=None):
        if self.trainer.step + 1 == step:
            do()
        before(self, batch, logs)

    monkeypatch.setattr(_Hook, "on_train_batch_end", after)


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
def test_stopped_training_ends_as_an_undisturbed_one(
    photographs, monkeypatch, capsys, ending_signals, number, step, changed
):
    run(**changed)
    undisturbed, rows = newest_state(), rows_of(photographs)
    with monkeypatch.context() as patched:
        at_step(patched, step, lambda: os.kill(os.getpid(), number))
        assert run(restart=True, **changed) == 130
    state = photographs / f"weights/tiny.state-{step:08}.npz"
    error = capsys.readouterr().err
    assert f"stopped; the same command, without --restart, resumes from {state}" in error
    assert newest_state()[1] == step
    run(**changed)
    assert f"resuming after step {step}, from {state}" in capsys.readouterr().out
    assert_equal_states(newest_state(), undisturbed)
    assert rows_of(photographs) == rows


def test_loss_of_an_interrupted_epoch_is_that_of_all_its_steps(photographs, monkeypatch):
    def losses():
        with (photographs / "weights/tiny.csv").open() as file:
            return [float(row["loss"]) for row in csv.DictReader(file)]

    run()
    undisturbed = losses()
    with monkeypatch.context() as patched:
        at_step(patched, 8, lambda: os.kill(os.getpid(), signal.SIGTERM))
        run(restart=True)
    run()
    assert losses() == pytest.approx(undisturbed, rel=1e-5)


def test_state_is_saved_in_time_also_within_an_epoch(photographs, monkeypatch):
    saved = []
    save = checkpoint.States.save

    def remember(self, state):
        saved.append(state.step)
        save(self, state)

    monkeypatch.setattr(checkpoint.States, "save", remember)
    run(save_minutes=1e-9)
    assert saved == list(range(1, 16))
    saved.clear()
    run(save_minutes=60, restart=True)
    assert saved == [5, 10, 15]


@pytest.mark.slow
def test_saving_does_not_change_the_training(photographs):
    run(save_minutes=1e-9)
    often = newest_state()
    run(save_minutes=60, restart=True)
    assert_equal_states(newest_state(), often)


def test_training_without_a_name_says_how_to_go_on(photographs, monkeypatch, capsys):
    at_step(monkeypatch, 4, lambda: signal.raise_signal(signal.SIGTERM))
    assert run(name="") == 130
    state = "my_edsr_x2.state-00000004.npz"
    assert f"the same command, without --restart, resumes from {train.WEIGHTS_FOLDER / state}" in (
        capsys.readouterr().err
    )


def test_training_on_degraded_crops_is_validated_on_degraded_pictures(photographs, capsys):
    run(epochs=1)
    assert run(epochs=1, name="photo", degradation="wild") == 0
    clean, degraded = (
        json.loads((photographs / f"weights/{name}.json").read_text())["best"]["bicubic_psnr"]
        for name in ("tiny", "photo")
    )
    assert degraded != clean
    assert run(epochs=2, name="photo", degradation="bicubic") == 2
    assert "DEGRADATION = 'bicubic': expected 'wild'" in capsys.readouterr().err


def test_finished_training_is_not_done_again(photographs, capsys):
    run()
    before = newest_state()
    run()
    printed = capsys.readouterr().out
    assert "tiny.keras is finished, after 15 steps" in printed
    assert "going on" not in printed
    assert_equal_states(newest_state(), before)


def test_other_settings_do_not_go_on_from_a_state(photographs, capsys):
    run(epochs=1)
    assert run(epochs=1, batch_size=2, seed=3) == 2
    error = capsys.readouterr().err
    assert "BATCH_SIZE = 2: expected 4; SEED = 3: expected 1, as in the earlier" in error
    assert run(epochs=1, batch_size=2, restart=True) == 0


def test_epochs_and_learning_rate_may_be_changed_and_it_is_said(photographs, capsys):
    run(epochs=1)
    assert run(epochs=2, learning_rate="5e-4", data="data/../data") == 0
    printed = capsys.readouterr().out
    assert "EPOCHS was 1 and is 2 from here on" in printed
    assert "LEARNING_RATE was 0.001 and is 0.0005 from here on" in printed
    assert [row["step"] for row in rows_of(photographs)] == ["5", "10"]


def test_weights_of_another_training_are_not_replaced(photographs, capsys):
    weights = photographs / "weights" / "tiny.keras"
    weights.parent.mkdir()
    weights.write_text("of somebody")
    assert run(epochs=1) == 2
    assert "tiny.keras exists without a tiny.state-*.npz to resume from" in capsys.readouterr().err
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
    assert_equal_states(newest_state(), expected)


def test_all_states_damaged_is_an_error(photographs, capsys):
    run(epochs=2)
    for state in (photographs / "weights").glob("*.npz"):
        state.write_bytes(b"")
    assert run(epochs=2) == 2
    assert "start over with --restart" in capsys.readouterr().err
    assert run(epochs=2, restart=True) == 0


def test_finished_training_whose_weights_are_gone_is_an_error(photographs, capsys):
    run(epochs=1)
    (photographs / "weights/tiny.keras").unlink()
    assert run(epochs=1) == 2
    assert "tiny.keras is missing although its run is finished" in capsys.readouterr().err


def test_restart_that_fails_before_it_has_saved_leaves_the_training_before(
    photographs, monkeypatch, capsys
):
    run(epochs=2)
    before = newest_state()
    with monkeypatch.context() as patched:
        at_step(patched, 2, lambda: (_ for _ in ()).throw(RuntimeError("a fault")))
        with pytest.raises(RuntimeError, match="a fault"):
            run(epochs=2, restart=True)
    assert_equal_states(newest_state(), before)
    assert run(epochs=3) == 0
    assert "resuming after step 10" in capsys.readouterr().out


def test_pictures_that_are_added_do_not_change_what_is_held_out(photographs, capsys):
    run(epochs=1)
    write_picture("data/00.png", smooth_picture(44, 60, seed=9), {})
    assert run(epochs=2) == 0
    printed = capsys.readouterr().out
    assert "have changed" not in printed
    assert "4 photographs, in memory; 1 to validate" in printed


@pytest.mark.parametrize("how", ["other content", "another folder", "another crop"])
def test_other_validation_pictures_are_refused(photographs, capsys, how):
    run(epochs=1)
    options = {"epochs": 2}
    if how == "another folder":
        options["validation_data"] = "data/deeper"
    elif how == "other content":
        write_picture("data/0.png", smooth_picture(60, 44, seed=3), {})
    before = newest_state()
    if how == "another crop":
        assert run(**options, validation_crop=16) == 2
        assert "VALIDATION_CROP = 16: expected 32" in capsys.readouterr().err
    else:
        assert run(**options) == 2
        assert "the validation pictures have changed" in capsys.readouterr().err
    assert_equal_states(newest_state(), before)


def test_files_that_are_no_pictures_are_counted(photographs, capsys):
    for name in ("notes.txt", "a.heic", ".hidden"):
        (photographs / "data" / name).write_text("?")
    run(epochs=1)
    words = "2 files left out: 1 .heic, 1 .txt; convert .heic to PNG or JPEG first"
    assert words in capsys.readouterr().out


def test_folder_without_photographs_says_what_to_do(photographs, capsys):
    (photographs / "empty").mkdir()
    (photographs / "empty" / "download.py").touch()
    assert run(data="empty") == 2
    captured = capsys.readouterr()
    assert "DATA = 'empty': no photographs in " in captured.err
    assert "put at least two there" in captured.err
    assert "download.py" not in captured.out


def test_signal_while_pictures_are_decoded_ends_with_130(photographs, monkeypatch, capsys):
    monkeypatch.setattr(
        folder,
        "open_photographs",
        lambda *a, **k: os.kill(os.getpid(), signal.SIGTERM),
    )
    assert run() == 130
    assert "stopped; nothing was saved to resume from" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error", [FAULTS[0], *(pytest.param(e, marks=pytest.mark.slow) for e in FAULTS[1:])], ids=repr
)
def test_fault_in_a_step_is_shown(photographs, monkeypatch, capsys, error):
    run(epochs=1)
    at_step(monkeypatch, 7, lambda: (_ for _ in ()).throw(copy(error)))
    capsys.readouterr()
    with pytest.raises(type(error), match="ours"):
        run(epochs=2)
    assert "train.py: " not in capsys.readouterr().err


@pytest.mark.parametrize("error", FAULTS, ids=repr)
def test_fault_in_a_loss_is_shown_with_its_line(photographs, monkeypatch, error):
    def broken_loss(hr, sr):
        raise copy(error)

    monkeypatch.setitem(LOSSES, "l1", broken_loss)
    with pytest.raises(Exception, match="ours") as caught:
        run(epochs=1)
    shown = "".join(traceback.format_exception(caught.value))
    assert "test_train.py" in shown
    assert "broken_loss" in shown


def test_fault_in_the_network_is_shown_with_its_line(photographs):
    """As what a wrong layer in network.py raises."""

    def build(scale, num_filters, residual_blocks, residual_scaling, global_skip, conditions):
        x = keras.Input((None, None, 3))
        return keras.Model(x, keras.layers.Add()([x, keras.layers.Conv2D(8, 3)(x)]))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(network, "edsr", build)
        with pytest.raises(ValueError, match="incompatible shapes") as caught:
            run(epochs=1)
    shown = "".join(traceback.format_exception(caught.value))
    assert "keras.layers.Add()([x, keras.layers.Conv2D(8, 3)(x)])" in shown


def test_fault_while_saving_is_shown(photographs, monkeypatch):
    def save(*arguments):
        raise FileNotFoundError(2, "No such file or directory", "ours")

    monkeypatch.setattr(checkpoint.States, "save", save)
    with pytest.raises(FileNotFoundError, match="ours"):
        run(epochs=1)


def test_restart_that_is_stopped_at_once_begins_anew_too(photographs, monkeypatch, capsys):
    run(epochs=1)
    with monkeypatch.context() as patched:
        at_step(patched, 1, lambda: os.kill(os.getpid(), signal.SIGINT))
        assert run(epochs=1, restart=True) == 130
    states = list((photographs / "weights").glob("*.npz"))
    assert [path.name for path in states] == ["tiny.state-00000001.npz"]


def test_one_name_is_not_trained_twice_at_once(photographs, capsys):
    (photographs / "weights").mkdir()
    with states().lock():
        assert run() == 2
        assert "NAME = 'tiny': is already being trained by" in capsys.readouterr().err
        assert run(name="other", epochs=1) == 0
    assert run(epochs=1) == 0


# ---- what can go wrong on the way ----


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
    with pytest.MonkeyPatch.context() as patched:
        at_step(monkeypatch, 4, lambda: full_disk(patched, ending))
        at_step(monkeypatch, 12, patched.undo)
        assert run(restart=True) == 0
    assert "could not save at step 5: " in capsys.readouterr().out
    assert_equal_states(newest_state(), undisturbed)
    assert rows_of(photographs) == rows
    again = weight_files.read(photographs / "weights/tiny.keras").get_weights()
    for ours, theirs in zip(again, best, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_disk_that_stays_full_is_an_error_and_the_best_weights_are_kept(
    photographs, monkeypatch, capsys
):
    run(epochs=1)
    kept = {path.name: path.read_bytes() for path in (photographs / "weights").iterdir()}
    full_disk(monkeypatch, ".npz", ".keras")
    assert run(epochs=2) == 1
    assert "not saved: [Errno 28] No space left on device" in capsys.readouterr().err
    for name in ("tiny.keras", "tiny.state-00000005.npz"):
        assert (photographs / "weights" / name).read_bytes() == kept[name]
    monkeypatch.undo()


def test_loss_that_is_not_finite_stops_with_the_last_state_kept(photographs, monkeypatch, capsys):
    run(epochs=1)
    kept = {path: path.read_bytes() for path in (photographs / "weights").iterdir()}
    make, losses = folder.cut_batch, train.LOSSES

    class Poisoned(dict):
        def __getitem__(self, name):
            def loss(hr, sr):
                error = losses[name](hr, sr)
                is_poison = keras.ops.all(keras.ops.equal(hr, 77))
                return keras.ops.where(is_poison, np.nan, 1.0) * error

            return loss

    def poisoned(pool, step, **options):
        inputs, hr = make(pool, step, **options)
        return inputs, np.full_like(hr, 77) if step == 7 else hr

    monkeypatch.setattr("superres.training.trainer.LOSSES", Poisoned(losses))
    monkeypatch.setattr(folder, "cut_batch", poisoned)
    assert run(epochs=2) == 1
    error = capsys.readouterr().err
    assert "the loss is nan at step 8, at a learning rate of 0.000" in error
    assert "Lower LEARNING_RATE" in error
    assert {path: path.read_bytes() for path in (photographs / "weights").iterdir()} == kept
    monkeypatch.setattr("superres.training.trainer.LOSSES", losses)
    assert run(epochs=2, learning_rate="1e-4") == 0
    assert "resuming after step 5" in capsys.readouterr().out


def test_weights_that_are_not_finite_are_not_saved(photographs, monkeypatch, capsys):
    run(epochs=1)
    kept = {path: path.read_bytes() for path in (photographs / "weights").iterdir()}
    weights = Trainer.ema_weights

    def broken(trainer):
        trainer.model.optimizer.variables[-1].assign(np.inf * trainer.model.optimizer.variables[-1])
        return weights(trainer)

    monkeypatch.setattr(Trainer, "ema_weights", broken)
    assert run(epochs=2) == 1
    assert "a weight is not finite at step 10" in capsys.readouterr().err
    assert (photographs / "weights/tiny.state-00000005.npz").read_bytes() in kept.values()
    assert not (photographs / "weights/tiny.state-00000010.npz").exists()


def test_out_of_memory_says_what_to_lower(photographs, monkeypatch, capsys):
    def fail():
        raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate")

    run(epochs=1)
    at_step(monkeypatch, 7, fail)
    assert run(epochs=2) == 1
    error = capsys.readouterr().err
    assert "out of memory" in error
    assert "lower BATCH_SIZE" in error
    assert "resumes from" in error


# ---- other ways to train ----


# ---- time, recipes, and training that goes on elsewhere ----


@pytest.mark.parametrize("is_fast", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_precision_that_is_faster_here_is_kept_elsewhere(photographs, monkeypatch, capsys, is_fast):
    precision = "mixed_bfloat16" if is_fast else "float32"
    with monkeypatch.context() as patched:
        patched.setattr(backend, "has_fast_bfloat16", lambda: is_fast)
        at_step(patched, 7, lambda: os.kill(os.getpid(), signal.SIGTERM))
        assert run(precision="auto") == 130
    monkeypatch.setattr(backend, "has_fast_bfloat16", lambda: not is_fast)
    assert run(precision="auto") == 0
    assert capsys.readouterr().out.count(f"CPU, {precision}, ") == 2
    about = json.loads((photographs / "weights/tiny.json").read_text())
    assert about["settings"]["precision"] == precision


@pytest.mark.parametrize(
    ("recipe", "scale"), [(name, scale) for name, one in train.RECIPES.items() for scale in one]
)
def test_recipe_makes_sense(recipe, scale):
    words = ["--recipe", recipe, "--scale", str(scale), "--data", str(ROOT)]
    config = settings.parse(["network", "train"], words, presets=train.presets)
    train.check(config)
    assert train.RECIPES[recipe][scale].items() <= vars(config).items()
    assert Path(config.start_from).exists()
    network.edsr(config.scale, config.num_filters, config.residual_blocks)


def test_recipe_is_of_some_scales(capsys):
    assert train.main(["--recipe", "speedrun", "--scale", "3"]) == 2
    assert "SCALE = 3: RECIPE = 'speedrun' has [2]" in capsys.readouterr().err
    assert train.main(["--recipe", "slow"]) == 2
    assert "RECIPE = 'slow': expected one of '', 'speedrun', 'small'" in capsys.readouterr().err


def test_shape_of_the_network_is_that_of_the_one_to_start_from(monkeypatch):
    def parsed(*words):
        return settings.parse(["network", "train"], list(words), presets=train.presets)

    start = str(ROOT / "weights" / "edsr_small_x3_photo.keras")
    config = parsed("--start-from", start)
    expected = {"scale": 3, "num_filters": 64, "residual_blocks": 9, "global_skip": True}
    assert expected.items() <= vars(config).items()
    assert config.conditions == weight_files.read_graph(start).traits.conditions
    assert parsed("--start-from", start, "--scale", "2", "--num-filters", "96").num_filters == 96
    monkeypatch.setattr(train, "START_FROM", start)
    assert parsed().num_filters == 64
    assert parsed("--recipe", "large").num_filters == 128


@pytest.mark.slow
def test_rehearsal_of_the_recipe_for_a_gpu(photographs, monkeypatch, capsys):
    """The whole way of the shipped weights: stopped, lost but for the weights, scored."""
    write_sharp_pictures()
    options = LEARNING | {"name": "edsr_x2", "steps_per_epoch": 100, "epochs": 5}
    options |= {"start_from": "", "decay_epochs": 0, "precision": "mixed_bfloat16"}
    line = ["--recipe", "large", *words(**options)]
    with monkeypatch.context() as patched:
        at_step(patched, 143, lambda: os.kill(os.getpid(), signal.SIGTERM))
        assert train.main(line) == 130
    assert train.main(line) == 0
    output_text = capsys.readouterr().out
    assert "mixed_bfloat16" in output_text
    assert "resuming after step 143" in output_text
    assert train.main([*line, "--epochs", "8"]) == 0
    weights = photographs / "weights" / "edsr_x2.keras"
    about = json.loads(weights.with_suffix(".json").read_text())
    assert about["settings"]["precision"] == "mixed_bfloat16"
    assert about["best"]["psnr"] > about["best"]["bicubic_psnr"] + 1
    assert evaluate.main(["data/0.png", "--weights", str(weights), "--no-pictures"]) == 0
    (row,) = json.loads((photographs / "evaluation/results.json").read_text())["images"]
    assert row["psnr"] > row["bicubic_psnr"] + 1


def test_ssim_loss_trains(photographs):
    assert run(loss="ssim_l1", epochs=2, steps_per_epoch=20) == 0
    with (photographs / "weights/tiny.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert float(rows[1]["loss"]) < float(rows[0]["loss"])


def test_training_starts_from_other_weights_where_they_fit(photographs, capsys):
    run(epochs=1, steps_per_epoch=20)
    assert run(name="other", scale=4, epochs=1, start_from="weights/tiny.keras") == 0
    printed = capsys.readouterr().out
    assert "starting from weights/tiny.keras, 1 blocks of 8 filters, of another scale" in printed
    assert run(name="less", num_filters=7, epochs=1, start_from="weights/tiny.keras") == 2
    error = capsys.readouterr().err
    assert "START_FROM = 'weights/tiny.keras': NUM_FILTERS = 7: expected at least the 8" in error


def test_start_from_is_where_the_training_starts(photographs):
    run(epochs=1)
    assert run(name="b", epochs=1, start_from="weights/tiny.keras", learning_rate="1e-9") == 0
    start, end = (weight_files.read(f"weights/{name}.keras") for name in ("tiny", "b"))
    for ours, theirs in zip(end.get_weights(), start.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-6)


def test_training_on_rotating_photographs_goes_on_as_undisturbed(photographs, monkeypatch, capsys):
    for name, value in ("MEMORY_SHARE", 0), ("MOST_RESIDENT", 2), ("STEPS_PER_PHOTOGRAPH", 2):
        monkeypatch.setattr(photographs_module, name, value)
    run()
    assert "decoded, 2 at a time" in capsys.readouterr().out
    undisturbed = newest_state()
    with monkeypatch.context() as patched:
        at_step(patched, 8, lambda: os.kill(os.getpid(), signal.SIGTERM))
        assert run(restart=True) == 130
    monkeypatch.setattr(photographs_module, "MEMORY_SHARE", 1)  # as if there were more by now
    run()
    assert "decoded, 2 at a time" in capsys.readouterr().out
    assert_equal_states(newest_state(), undisturbed)


@pytest.mark.parametrize("count", [1, 3])
def test_condition_is_of_degraded_crops_only(photographs, capsys, count):
    assert run(conditions=count) == 2
    expected = f"CONDITIONS = {count}: needs DEGRADATION = 'wild'"
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"scale": 3, "crop_size": 18}, "my_edsr_x3"),
        ({"degradation": "wild", "conditions": 1}, "my_edsr_x2_photo"),
        ({"recipe": "speedrun"}, "my_speedrun_x2"),
        ({"recipe": "photo", "scale": 3, "crop_size": 18, "start_from": ""}, "my_edsr_x3_photo"),
    ],
)
def test_name_follows_from_recipe_scale_and_degradation(photographs, changed, name):
    assert run(name="", epochs=1, **changed) == 0
    trained = utils.load(photographs / f"weights/{name}.keras")
    assert f"_x{trained.scale}" in name
    expected = 3 if "photo" in changed.get("recipe", "") else changed.get("conditions", 0)
    assert trained.conditions == expected


@pytest.mark.parametrize("name", train.USUAL_RATES)
def test_learning_rate_follows_from_the_optimizer(photographs, capsys, name):
    assert run(optimizer=name, learning_rate=0, epochs=1, decay_epochs=1, warmup_steps=0) == 0
    rate = {"adam": 1e-4, "muon": 2e-3}[name]
    assert f"float32, {name} at {rate:g}\n" in capsys.readouterr().out
    assert states().newest().settings["learning_rate"] == rate


def test_warmup_that_is_longer_than_a_tenth_of_the_run_is_shortened(photographs, capsys):
    assert run(warmup_steps=500, epochs=2, steps_per_epoch=20) == 0
    assert "warm-up shortened from 500 to 4 steps, a tenth of 40" in capsys.readouterr().out


def test_decay_that_is_longer_than_the_run_is_shortened(photographs, capsys):
    assert run(decay_epochs=4, epochs=2, steps_per_epoch=20) == 0
    assert "decay shortened from 80 to 40 steps, the whole training" in capsys.readouterr().out
    rates = [float(row["learning_rate"]) for row in rows_of(photographs)]
    assert rates == pytest.approx([float(TINY["--learning-rate"]) / 2, 0])


def test_run_with_decay_is_made_longer_after_its_end(photographs, capsys):
    run(epochs=3, decay_epochs=1)
    assert rows_of(photographs)[-1]["learning_rate"] == "0.0"
    run(epochs=5, decay_epochs=1)
    assert "EPOCHS was 3 and is 5 from here on" in capsys.readouterr().out
    rates = [float(row["learning_rate"]) for row in rows_of(photographs)]
    assert rates == pytest.approx([1e-3, 1e-3, 0, 1e-3, 0])


def test_what_is_held_does_not_depend_on_the_end(photographs, capsys):
    changed = {"warmup_steps": 1}
    run(epochs=3, decay_epochs=1, **changed)
    (photographs / "weights/tiny.state-00000015.npz").unlink()
    assert run(epochs=4, decay_epochs=2, **changed) == 0
    went_on = newest_state()
    assert "DECAY_EPOCHS was 1 and is 2 from here on" in capsys.readouterr().out
    run(epochs=4, decay_epochs=2, restart=True, **changed)
    assert_equal_states(newest_state(), went_on)


def test_state_with_a_setting_that_is_gone_goes_on(photographs, capsys):
    run(epochs=1, optimizer="adam")
    state = states().newest()
    states().save(dataclasses.replace(state, settings=state.settings | {"tensorboard": False}))
    assert run(epochs=2) == 2
    assert "OPTIMIZER = 'muon': expected 'adam', as in the earlier" in capsys.readouterr().err
    assert run(epochs=2, optimizer="adam", decay_epochs=1) == 0
    assert "DECAY_EPOCHS was 0 and is 1 from here on" in capsys.readouterr().out


def test_setting_that_a_state_lacks_is_not_taken_for_equal(photographs, capsys):
    run(epochs=1)
    state = states().newest()
    del state.settings["loss"]
    states().save(state)
    assert run(epochs=2) == 2
    assert (
        "LOSS: the state was saved before there was such a setting; take" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"scale": 5}, "SCALE = 5: expected one of 2, 3, 4"),
        ({"drawings": 2}, "DRAWINGS = 2: expected a number from 0 to 1"),
        ({"num_filters": 0}, "NUM_FILTERS = 0: expected a whole number of at least 1"),
        ({"crop_size": 15}, "CROP_SIZE = 15: expected a multiple of 2"),
        ({"batch_size": 0}, "BATCH_SIZE = 0: expected a whole number of at least 1"),
        ({"epochs": 0}, "EPOCHS = 0: expected a whole number of at least 1"),
        ({"learning_rate": "nan"}, "LEARNING_RATE = nan: expected a number above 0"),
        ({"ema_decay": 1}, "EMA_DECAY = 1: expected a number above 0 and at most"),
        ({"precision": "int8"}, "PRECISION = 'int8': expected one of 'auto', 'float32'"),
        ({"name": "a/b"}, "NAME = 'a/b': expected a file name without folder"),
        ({"optimizer": "sgd"}, "OPTIMIZER = 'sgd': expected one of 'adam', 'muon'"),
        ({"seed": 2**32}, "SEED = 4294967296: expected a whole number from 0 to 4294967295"),
        ({"validation_data": "nowhere"}, "VALIDATION_DATA = 'nowhere': no such folder"),
        ({"name": "a.progress"}, "NAME = 'a.progress': must not end in .progress"),
        ({"name": ".."}, "NAME = '..': expected a file name without folder"),
        ({"validation_crop": 4}, "VALIDATION_CROP = 4: expected a whole number of at least 8"),
        ({"data": "nowhere"}, "DATA = 'nowhere': no such folder"),
        ({"data": "data/deeper"}, "0 usable pictures to train on and 1 to validate among 1 pict"),
        ({"validation_data": "weights"}, "and 0 to validate among 6 pictures in /"),
        ({"crop_size": 64}, "0 usable pictures to train on and 0 to validate among 6 pictures"),
        ({"loss": "l2"}, "LOSS = 'l2': expected one of 'l1', 'l1_ycbcr', 'ssim_l1'"),
        (
            {"loss": "ssim_l1", "crop_size": 10},
            "CROP_SIZE = 10: expected a whole number of at least 11",
        ),
        ({"save_minutes": 0}, "SAVE_MINUTES = 0: expected a number above 0"),
        ({"start_from": "nowhere.keras"}, "nowhere.keras: no such weights file"),
    ],
)
def test_what_makes_no_sense_ends_in_one_line(photographs, capsys, changed, message):
    (photographs / "weights").mkdir()
    assert run(**changed) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("train.py: ")
    assert message in error
