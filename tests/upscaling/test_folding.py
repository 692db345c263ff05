"""The linear end of a network as one convolution."""

import numpy as np
import pytest

import network
from superres.runtime import backend
from superres.runtime.backend import keras
from superres.upscaling import folding
from superres.upscaling.graph import Graph
from superres.upscaling.networks import FileNetwork, KerasNetwork, in_precision
from support import small_network

layers, ops = keras.layers, keras.ops


def end_of(model):
    return folding.linear_end(Graph.of_model(model))


@pytest.mark.parametrize(
    ("scale", "factor", "radius", "border", "count"),
    [(2, 2, 2, 1, 3), (3, 3, 2, 1, 3), (4, 4, 2, 1, 5)],
)
def test_end_of_edsr_is_from_the_first_upscaling_on(scale, factor, radius, border, count):
    end = end_of(network.edsr(scale, 8, 1, global_skip=True))
    assert (end.factor, end.radius, end.border, len(end.nodes)) == (factor, radius, border, count)
    assert (end.nodes[0].name, end.nodes[-1].name) == ("upscale1", "tail")


def enlarging(*, activation="linear", padding="same", taken_twice=False, bias=True, size=3):
    """A network whose end is linear, or not."""
    x = keras.Input((None, None, 3))
    y = layers.Conv2D(6, 3, padding="same")(x)
    y = layers.Conv2D(24, size, padding=padding, activation=activation, use_bias=bias)(y)
    if padding == "valid":
        y = ops.pad(y, [[0, 0], [1, 1], [1, 1], [0, 0]])
    y = ops.depth_to_space(y, 2)
    sr = layers.Conv2D(3, size, padding="same", use_bias=bias)(y)
    if taken_twice:
        sr = layers.Add()([sr, layers.Conv2D(3, 1)(y)])
    return keras.Model(x, sr)


def more_work():
    """Few feature maps before the shuffle, and large kernels after it."""
    x = keras.Input((None, None, 3))
    y = layers.Conv2D(4, 1, padding="same")(layers.Conv2D(64, 3, padding="same")(x))
    return keras.Model(x, layers.Conv2D(3, 5, padding="same")(ops.depth_to_space(y, 2)))


def test_end_that_is_not_linear_or_is_needed_within_or_would_be_more_work_stays_as_it_is():
    for options in {"activation": "relu"}, {"padding": "valid"}, {"taken_twice": True}, {"size": 2}:
        assert end_of(enlarging(**options)) is None, options
    assert end_of(more_work()) is None


def compare(model, folder, shapes):
    pytest.importorskip("openvino")
    model.save(folder / "x.keras")
    run, expected = FileNetwork(folder / "x.keras").compile("float32"), backend.compile_model(model)
    for shape in shapes:
        lr = np.random.default_rng(0).random((1, *shape, 3), np.float32)
        np.testing.assert_allclose(run(lr), expected(lr), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_every_size_is_exact_also_at_the_border(scale, tmp_path):
    sides = [*range(1, 9), 17]
    shapes = [shape for n in sides for shape in ((n, 11), (11, n), (n, n))]
    compare(small_network(scale, global_skip=True), tmp_path, shapes)


@pytest.mark.parametrize("options", [{"size": 1}, {"size": 5}, {"bias": False}])
def test_other_kernels_are_exact(options, tmp_path):
    model = enlarging(**options)
    assert end_of(model)
    compare(model, tmp_path, [(5, 13), (20, 7), (3, 2)])


@pytest.mark.parametrize("conditions", [0, 4])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_keras_computes_a_folded_end_too(scale, conditions):
    model = small_network(scale, global_skip=True, conditions=conditions)
    plain = KerasNetwork(model).compile("float32")
    folded = KerasNetwork(model, folds=True).compile("float32")
    random = np.random.default_rng(0)
    inputs = [np.full((1, 1, 1, conditions), 0.7, np.float32)] * bool(conditions)
    for shape in (20, 31), (3, 40), (2, 9):  # the last one is too small to fold
        lr = random.random((1, *shape, 3), np.float32)
        result = folded(lr, *inputs)
        np.testing.assert_allclose(result, plain(lr, *inputs), atol=1e-5)


def test_in_bfloat16_a_folded_end_emits_float32():
    model = small_network(2, global_skip=True)
    graph = Graph.of_model(model)
    copy = in_precision(model, graph, "bfloat16", folding.linear_end(graph))
    assert copy.get_layer("tail").compute_dtype == "float32"
    assert copy.get_layer("block1_conv1").compute_dtype == "bfloat16"
    assert copy.output.dtype == "float32"
    assert copy.count_params() < model.count_params()  # of the end, nothing is computed twice
