import numpy as np
import pytest

import network
from superres.runtime.backend import keras
from superres.runtime.errors import InputError
from support import small_network


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_enlarges_any_size(scale):
    model = network.edsr(scale, 4, 1)
    for height, width in (1, 1), (16, 7):
        sr = model.predict_on_batch(np.ones((1, height, width, 3), np.float32))
        assert sr.shape == (1, height * scale, width * scale, 3)
    stages = [layer.filters for layer in model.layers if layer.name.startswith("upscale")]
    assert stages == {2: [16], 3: [36], 4: [16, 16]}[scale]


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_float32_in_and_out_whatever_the_policy(policy):
    keras.config.set_dtype_policy(policy)
    try:
        model = network.edsr(2, 4, 1, global_skip=True)
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.input.dtype == "float32"
    assert model.output.dtype == "float32"
    assert model.get_layer("block1_conv1").compute_dtype == policy.removeprefix("mixed_")
    assert {weight.dtype for weight in model.weights} == {"float32"}


@pytest.mark.parametrize(("count", "name"), [(1, "quality"), (4, "condition")])
def test_condition_shifts_the_first_feature_maps(count, name):
    model = small_network(conditions=count)
    shapes = [(None, None, None, 3), (None, 1, 1, count)]
    assert [tuple(one.shape) for one in model.inputs] == shapes
    assert [one.name for one in model.inputs] == ["lr", name]
    lr = np.random.default_rng(0).random((2, 5, 7, 3), np.float32)
    condition = np.float32([[0.5, 0.8, 1.0, 0.3], [1.0, 0.1, 0.0, 0.0]])[:, None, None, :count]
    first = keras.Model(model.inputs, model.get_layer("told_quality").output)
    head = keras.Model(model.inputs[0], model.get_layer("head").output)
    shift = model.get_layer("quality_head").get_weights()[0]
    expected = head.predict_on_batch(lr) + condition @ shift[0, 0]
    np.testing.assert_allclose(first.predict_on_batch([lr, condition]), expected, atol=1e-6)
    untrained = network.edsr(2, 4, 1, conditions=count)  # which does not heed it
    bad, good = (untrained.predict_on_batch([lr, one]) for one in (condition, condition + 1))
    np.testing.assert_array_equal(bad, good)


def test_parameters_of_both_sizes():
    # 3x3 convolutions with biases: head, 2 a block and one behind them, upscale, tail.
    def expected(filters, blocks):
        inner = 9 * filters * filters + filters
        upscale = 9 * filters * 4 * filters + 4 * filters
        return 9 * 3 * filters + filters + (2 * blocks + 1) * inner + upscale + 9 * filters * 3 + 3

    assert network.edsr(2).count_params() == expected(128, 24) == 7_828_995
    assert network.edsr(2, 64, 9).count_params() == expected(64, 9) == 852_867


def test_block_adds_its_scaled_branch():
    x = keras.Input((None, None, 2))
    block = keras.Model(x, network.residual_block(x, 2, 0.1, name="block"))
    centre = np.zeros((3, 3, 2, 2), np.float32)
    centre[1, 1] = np.eye(2)
    for layer in ("block_conv1", "block_conv2"):
        block.get_layer(layer).set_weights([centre, np.zeros(2)])
    features = np.random.default_rng(0).normal(size=(1, 4, 5, 2)).astype(np.float32)
    expected = features + 0.1 * np.maximum(features, 0)
    np.testing.assert_allclose(block.predict_on_batch(features), expected, rtol=1e-6)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_global_skip_is_bilinear_enlargement(scale):
    model = network.edsr(scale, 4, 1, global_skip=True)
    model.get_layer("tail").set_weights([np.zeros((3, 3, 4, 3)), np.zeros(3)])
    lr = np.random.default_rng(0).random((5, 7, 3)).astype(np.float32)

    def enlarged(line):  # np.interp holds the last value beyond the ends, as is wanted here
        places = (np.arange(len(line) * scale) + 0.5) / scale - 0.5
        return np.interp(places, np.arange(len(line)), line)

    expected = np.apply_along_axis(enlarged, 1, np.apply_along_axis(enlarged, 0, lr))
    np.testing.assert_allclose(model.predict_on_batch(lr[None])[0], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        *(({"scale": 2, "conditions": n}, f"CONDITIONS = {n}: expected") for n in (2, True, -1)),
        ({"scale": 5}, r"SCALE = 5: expected one of 2, 3, 4"),
        ({"scale": 2, "num_filters": 0}, r"NUM_FILTERS = 0: expected a whole number"),
        ({"scale": 2, "residual_blocks": 1.5}, r"RESIDUAL_BLOCKS = 1.5: expected a whole number"),
        ({"scale": 2, "residual_scaling": -1}, r"RESIDUAL_SCALING = -1: expected a number above 0"),
    ],
)
def test_refuses_what_makes_no_network(arguments, message):
    with pytest.raises(InputError, match=message):
        network.edsr(**arguments)


def test_command_prints_summary_and_draws_diagrams(tmp_path, monkeypatch, capsys):
    """Into docs/; those of other settings on the command line, into the current folder."""
    monkeypatch.setattr(network, "DOCS", tmp_path / "docs")
    monkeypatch.chdir(tmp_path)
    words = ["--num-filters", "8", "--residual-blocks", "2", "--scale", "4"]
    for options, folder, block in (words, tmp_path, 2), ([], tmp_path / "docs", 24):
        assert network.main(options) == 0
        assert f"block{block}_conv1" in capsys.readouterr().out
        for name in ("residual_block.png", "network.png"):
            assert (folder / name).stat().st_size > 1000
    assert network.main(["--scale", "7"]) == 2
    assert capsys.readouterr().err == "network.py: SCALE = 7: expected one of 2, 3, 4\n"
