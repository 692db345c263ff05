import csv
import json
import os
import signal
import types
import zipfile

import numpy as np
import pytest
from conftest import small_network, smooth_picture

import evaluate
import network
import output
import train
import utils
from backend import keras

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
}


def run(**changed):
    """Runs the command with small settings, some of them changed."""
    words = TINY | {"--" + name.replace("_", "-"): str(value) for name, value in changed.items()}
    return train.main([word for pair in words.items() for word in pair if word != "True"])


@pytest.fixture
def photographs(tmp_path, monkeypatch):
    """A working folder with data/ of four photographs, a small one and a damaged one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(train, "WEIGHTS_FOLDER", tmp_path / "weights")
    (tmp_path / "data" / "deeper").mkdir(parents=True)
    for n in range(3):
        utils.write(tmp_path / "data" / f"{n}.png", smooth_picture(40, 51, seed=n), {})
    utils.write(tmp_path / "data" / "deeper" / "3.jpg", smooth_picture(48, 40, seed=3), {})
    utils.write(tmp_path / "data" / "small.png", smooth_picture(15, 80), {})
    (tmp_path / "data" / "text.png").write_text("no picture")
    return tmp_path


# ---- crops ----


def labelled_photographs(scale):
    """Photographs whose pixels tell where they are: (row, column, number) of the LR pixel."""
    photographs = []
    for number, (height, width) in enumerate([(30, 20), (9, 25)]):
        rows, columns = np.mgrid[:height, :width]
        lr = np.stack([rows, columns, np.full_like(rows, number)], axis=2).astype(np.uint8)
        photographs.append(train.Photograph(lr, lr.repeat(scale, 0).repeat(scale, 1)))
    return photographs


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_crops_of_lr_and_hr_show_the_same_place(scale):
    lr, hr = train.cut_batch(
        labelled_photographs(scale), 0, crop_size=8 * scale, batch_size=64, seed=1
    )
    assert lr.shape == (64, 8, 8, 3)
    assert hr.shape == (64, 8 * scale, 8 * scale, 3)
    assert lr.dtype == hr.dtype == np.uint8
    np.testing.assert_array_equal(lr.repeat(scale, 1).repeat(scale, 2), hr)


def test_crops_are_flipped_and_turned_in_all_eight_ways():
    lr, _ = train.cut_batch(labelled_photographs(2), 0, crop_size=16, batch_size=200, seed=1)
    down = lr[:, 1, 0, :2].astype(int) - lr[:, 0, 0, :2]
    right = lr[:, 0, 1, :2].astype(int) - lr[:, 0, 0, :2]
    assert len({(*a, *b) for a, b in zip(down.tolist(), right.tolist(), strict=True)}) == 8


def test_every_position_is_equally_likely():
    photographs = labelled_photographs(2)  # 23 x 13 and 2 x 18 positions of 8x8 LR crops
    lr, _ = train.cut_batch(photographs, 0, crop_size=16, batch_size=8000, seed=1)
    corners = lr[..., :2].min(axis=(1, 2))
    places = set(zip(lr[:, 0, 0, 2].tolist(), map(tuple, corners.tolist()), strict=True))
    assert len(places) == 23 * 13 + 2 * 18
    share = np.mean(lr[:, 0, 0, 2] == 1)
    assert share == pytest.approx(2 * 18 / (23 * 13 + 2 * 18), abs=0.015)


def test_crops_follow_from_seed_and_step():
    def cut(step, seed):
        return train.cut_batch(
            labelled_photographs(2), step, crop_size=16, batch_size=4, seed=seed
        )[1]

    np.testing.assert_array_equal(cut(3, 1), cut(3, 1))
    assert (cut(3, 1) != cut(4, 1)).any()
    assert (cut(3, 1) != cut(3, 2)).any()


def test_stream_is_in_order_and_passes_errors_on():
    def make(step):
        if step == 12:
            raise RuntimeError("step 12")
        return step

    stream = train.stream(make, 7)
    assert [next(stream) for _ in range(5)] == [7, 8, 9, 10, 11]
    with pytest.raises(RuntimeError, match="step 12"):
        next(stream)


# ---- parts ----


def test_loss_is_the_mean_absolute_error_in_units_of_full_scale():
    hr = np.array([[[[255, 0, 51]]]], np.uint8)
    loss = train.mean_absolute_error(keras.ops.convert_to_tensor(hr), np.float32([[[[0.5] * 3]]]))
    assert keras.ops.convert_to_numpy(loss).tolist() == pytest.approx([(0.5 + 0.5 + 0.3) / 3])


def test_rounding_to_half_keeps_11_significant_bits():
    values = np.float32([0, 1 + 2**-10, 1 + 2**-12, -3.14159274, 1e-30, 65520 * 4])
    rounded = train.round_to_half(values)
    assert rounded.dtype == np.float32
    assert rounded[:3].tolist() == [0, 1 + 2**-10, 1]
    np.testing.assert_allclose(rounded, values, rtol=2**-11)
    assert not (rounded.view(np.uint32) & 0x1FFF).any()


def test_exported_file_is_half_the_size_and_loads_the_same(tmp_path):
    model = network.edsr(2, 32, 2)
    model.set_weights([train.round_to_half(weight) for weight in model.get_weights()])
    train.export(model, tmp_path / "packed.keras", 3)
    model.save(tmp_path / "plain.keras")
    plain, packed = ((tmp_path / f"{name}.keras").stat().st_size for name in ("plain", "packed"))
    assert packed < 0.55 * plain
    assert sorted(path.name for path in tmp_path.iterdir()) == ["packed.keras", "plain.keras"]
    assert output.load(tmp_path / "packed.keras").scale == 2
    assert output.stored_halo(tmp_path / "packed.keras") == 3
    assert output.stored_halo(tmp_path / "plain.keras") is None
    loaded = keras.models.load_model(tmp_path / "packed.keras")
    for ours, theirs in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_averaged_weights_follow_the_definition():
    training = train.training_model(
        small_network(), learning_rate=0.1, clip_norm=1.0, averaging=0.75
    )
    lr = np.full((1, 4, 4, 3), 90, np.uint8)
    hr = np.full((1, 8, 8, 3), 180, np.uint8)
    expected = None
    for _ in range(3):
        training.train_on_batch(lr, hr)
        weights = training.get_weights()
        # The average begins with the weights after the first step.
        expected = (
            weights
            if expected is None
            else [0.75 * e + 0.25 * w for e, w in zip(expected, weights, strict=True)]
        )
    for ours, theirs in zip(train.averaged_weights(training), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)
    for ours, theirs in zip(training.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def load(**changed):
    """Sizes of the pictures that are trained on and validated on."""
    values = {"data": "data", "validation_data": "", "scale": 2, "crop_size": 16}
    chosen = types.SimpleNamespace(**values | {"validation_crop": 512} | changed)
    return [[p.hr.shape[:2] for p in part] for part in train.load_data(chosen)]


def test_validation_pictures_are_never_trained_on(photographs):
    training, validation = load(validation_data="data/deeper")
    assert training == [(40, 50)] * 3
    assert validation == [(48, 40)]


def test_some_usable_pictures_are_held_out_where_no_validation_data_is_named(photographs):
    (photographs / "data" / "00.png").write_text("a damaged picture that sorts first")
    assert load() == [[(40, 50), (40, 50), (48, 40)], [(40, 50)]]


def test_validation_leaves_out_what_has_no_score(photographs, capsys):
    (photographs / "valid").mkdir()
    utils.write("valid/tiny.png", smooth_picture(4, 4), {})
    utils.write("valid/flat.png", np.full((40, 40, 3), (9, 90, 30), np.uint8), {})
    utils.write("valid/good.png", smooth_picture(40, 36), {})
    assert load(validation_data="valid")[1] == [(40, 36)]
    assert "skipped valid/tiny.png: 4x4 is smaller than" in capsys.readouterr().out


# ---- the command ----


def test_trains_and_writes_weights_settings_log_and_plot(photographs, capsys):
    run()
    printed = capsys.readouterr().out
    assert printed.count("skipped data/text.png: not a picture") == 1
    assert printed.count("skipped data/small.png: 80x15 is smaller than a crop of 16x16") == 1
    weights = photographs / "weights"
    names = sorted(path.name for path in weights.iterdir())
    assert names == ["tiny.csv", "tiny.json", "tiny.keras", "tiny.png", "tiny.state.npz"]
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
    upscaler = output.load("weights/tiny.keras", precision="float32")
    hr = utils.read_rgb("data/deeper/3.jpg")[8:40, 4:36]
    whole = utils.downscale(utils.read_rgb("data/deeper/3.jpg"), 2)
    sr = upscaler.enlarge(whole[4:20, 2:18])
    best = json.loads((photographs / "weights/tiny.json").read_text())["best"]
    assert best["psnr"] == pytest.approx(evaluate.psnr(hr, sr, 2), abs=1e-3)


def test_network_learns_to_beat_bicubic(photographs):
    for n in range(8):  # with sharp edges, which bicubic blurs
        shapes = np.where(smooth_picture(192, 192, seed=n) > 128, 220, 30).astype(np.uint8)
        utils.write(f"data/{n}.png", utils.downscale(shapes, 2), {})
    run(
        residual_blocks=2,
        residual_scaling=1,
        num_filters=16,
        global_skip=True,
        epochs=2,
        steps_per_epoch=200,
        averaging=0.9,
        learning_rate="3e-3",
    )
    best = json.loads((photographs / "weights/tiny.json").read_text())["best"]
    assert best["psnr"] > best["bicubic_psnr"] + 1


def final_state(folder):
    with np.load(folder / "weights/tiny.state.npz") as state:
        return {name: state[name] for name in state.files if name != "about"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_training_ends_as_an_undisturbed_one(photographs, monkeypatch, capsys, number):
    run()
    undisturbed = final_state(photographs)
    weights = (photographs / "weights/tiny.csv").read_text().splitlines()

    def stop(self, batch, logs=None):
        if self.history and batch == 2:
            os.kill(os.getpid(), number)

    with monkeypatch.context() as patched:
        patched.setattr(train.Journal, "on_train_batch_begin", stop, raising=False)
        assert run(restart=True) == 130
    assert "without --restart, goes on after the last whole epoch" in capsys.readouterr().err
    assert len((photographs / "weights/tiny.csv").read_text().splitlines()) == 2
    run()
    assert "going on after epoch 1 of 3" in capsys.readouterr().out
    resumed = final_state(photographs)
    assert resumed.keys() == undisturbed.keys()
    for name, array in undisturbed.items():
        np.testing.assert_array_equal(resumed[name], array, err_msg=name)
    after = (photographs / "weights/tiny.csv").read_text().splitlines()
    without_time = [[line.rsplit(",", 1)[0] for line in rows] for rows in (weights, after)]
    assert without_time[0] == without_time[1]


def test_finished_training_is_not_done_again(photographs, capsys):
    run()
    before = final_state(photographs)
    run()
    printed = capsys.readouterr().out
    assert "going on after epoch 3 of 3" in printed
    assert "tiny.keras is finished" in printed
    for name, array in final_state(photographs).items():
        np.testing.assert_array_equal(before[name], array)


def test_other_settings_do_not_go_on_from_a_state(photographs, capsys):
    run(epochs=1)
    assert run(epochs=1, batch_size=2) == 2
    assert "BATCH_SIZE = 2: expected 4, as in the interrupted run" in capsys.readouterr().err
    assert run(epochs=1, batch_size=2, restart=True) == 0


def test_weights_of_another_training_are_not_replaced(photographs, capsys):
    weights = photographs / "weights" / "tiny.keras"
    weights.parent.mkdir()
    weights.write_text("of somebody")
    assert run(epochs=1) == 2
    assert "tiny.keras: is there, but no tiny.state.npz to go on from" in capsys.readouterr().err
    assert weights.read_text() == "of somebody"
    assert run(epochs=1, restart=True) == 0
    assert zipfile.is_zipfile(weights)


def test_damaged_state_is_named(photographs, capsys):
    run(epochs=1)
    state = photographs / "weights/tiny.state.npz"
    whole = state.read_bytes()
    for damaged in whole[:5000], b"", whole[:3000] + bytes(100) + whole[3100:]:
        state.write_bytes(damaged)
        assert run(epochs=1) == 2
        assert "tiny.state.npz: damaged" in capsys.readouterr().err


def test_restart_that_is_stopped_at_once_leaves_nothing_to_go_on_from(
    photographs, monkeypatch, capsys
):
    run(epochs=1)
    with monkeypatch.context() as patched:
        patched.setattr(
            train.Journal,
            "on_train_batch_begin",
            lambda self, batch, logs=None: os.kill(os.getpid(), signal.SIGINT),
            raising=False,
        )
        assert run(epochs=1, restart=True) == 130
    assert "stopped before the first epoch was whole" in capsys.readouterr().err
    assert run(epochs=1) == 2
    assert "no tiny.state.npz to go on from" in capsys.readouterr().err


def test_name_follows_from_the_scale(photographs):
    assert run(name="", scale=3, crop_size=18, epochs=1) == 0
    assert output.load(photographs / "weights/my_edsr_x3.keras").scale == 3


def test_loss_that_is_not_finite_stops_with_the_last_state_kept(photographs, monkeypatch, capsys):
    run(epochs=1)
    before = (photographs / "weights/tiny.state.npz").read_bytes()
    weights = (photographs / "weights/tiny.keras").read_bytes()
    monkeypatch.setattr(
        train, "mean_absolute_error", lambda hr, sr: keras.ops.mean(sr, axis=(1, 2, 3)) * np.nan
    )
    monkeypatch.setattr(train, "FREE_TO_CHANGE", train.FREE_TO_CHANGE | {"epochs"})
    assert run(epochs=2) == 1
    assert "the loss, nan, or a weight is not finite in epoch 2" in capsys.readouterr().err
    assert (photographs / "weights/tiny.state.npz").read_bytes() == before
    assert (photographs / "weights/tiny.keras").read_bytes() == weights


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"scale": 5}, "SCALE = 5: expected one of 2, 3, 4"),
        ({"num_filters": 0}, "NUM_FILTERS = 0: expected a whole number of at least 1"),
        ({"crop_size": 15}, "CROP_SIZE = 15: expected a multiple of SCALE = 2"),
        ({"batch_size": 0}, "BATCH_SIZE = 0: expected a whole number of at least 1"),
        ({"epochs": 0}, "EPOCHS = 0: expected a whole number of at least 1"),
        ({"learning_rate": "nan"}, "LEARNING_RATE = nan: expected a number above 0"),
        ({"averaging": 1}, "AVERAGING = 1: expected a number above 0 and at most"),
        ({"precision": "int8"}, "PRECISION = 'int8': expected one of 'float32'"),
        ({"name": "a/b"}, "NAME = 'a/b': expected a file name without folder"),
        ({"warmup_steps": 15}, "WARMUP_STEPS = 15: expected fewer than all 15 steps"),
        ({"seed": 2**32}, "SEED = 4294967296: expected less than 2**32"),
        ({"validation_data": "nowhere"}, "VALIDATION_DATA = 'nowhere': no such folder"),
        ({"name": ".."}, "NAME = '..': expected a file name without folder"),
        ({"validation_crop": 4}, "VALIDATION_CROP = 4: expected at least 8"),
        ({"data": "nowhere"}, "DATA = 'nowhere': no such folder"),
        ({"data": "data/deeper"}, "0 usable pictures to train on and 1 to validate among 1 found"),
        ({"validation_data": "weights"}, "and 0 to validate among 6 found"),
        ({"crop_size": 64}, "0 usable pictures to train on and 0 to validate among 6 found"),
    ],
)
def test_what_makes_no_sense_ends_in_one_line(photographs, capsys, changed, message):
    (photographs / "weights").mkdir()
    assert run(**changed) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("train.py: ")
    assert message in error
