"""The graph with channels first against Keras, layer by layer."""

import numpy as np
import pytest

import network
from superres.images.quality import Condition
from superres.runtime import backend
from superres.runtime.backend import keras
from superres.runtime.errors import InputError
from superres.upscaling import weight_files
from superres.upscaling.graph import ACTIVATIONS, OPERATIONS, POINTWISE_LAYERS, Graph
from superres.upscaling.networks import FileNetwork
from support import small_network

pytest.importorskip("openvino")
from onnx.reference import ReferenceEvaluator

from superres.upscaling.onnx_graph import fix_condition, onnx_graph

layers, ops = keras.layers, keras.ops


def conv(x, filters=4, size=3, **options):
    return layers.Conv2D(filters, size, padding=options.pop("padding", "same"), **options)(x)


def padded(x, rows, columns, size=3, **options):
    x = ops.pad(x, [[0, 0], rows, columns, [0, 0]], **options)
    return conv(x, size=size, padding="valid")


def both(x):
    return [conv(x), conv(x, size=1)]


# What each makes of feature maps (N, H, W, 4); the last channels become pixels.
CASES = {
    "Activation": layers.Activation("tanh"),
    "Add": lambda x: layers.Add()([x, conv(x), conv(x, size=1)]),
    "Average": lambda x: layers.Average()([x, conv(x), conv(x, size=1)]),
    "BatchNormalization": layers.BatchNormalization(),
    "BatchNormalization, bare": layers.BatchNormalization(scale=False, center=False, epsilon=0.1),
    "Clip": lambda x: ops.clip(x, -0.05, 0.05),
    "Concatenate": lambda x: layers.Concatenate()([x, conv(x, 3)]),
    "Conv2D, 1x5": lambda x: conv(x, size=(1, 5)),
    "Conv2D, even": lambda x: conv(x, size=(2, 4)),
    "Conv2D, dilated": lambda x: conv(x, dilation_rate=(2, 3)),
    "Conv2D, groups": lambda x: conv(x, 6, groups=2),
    "Conv2D, no bias": lambda x: conv(x, use_bias=False),
    "Dropout": layers.Dropout(0.5),
    "ELU": layers.ELU(alpha=0.7),
    "Identity": layers.Identity(),
    "LeakyReLU": layers.LeakyReLU(negative_slope=0.3),
    "Maximum": lambda x: layers.Maximum()(both(x)),
    "Minimum": lambda x: layers.Minimum()(both(x)),
    "Multiply": lambda x: layers.Multiply()(both(x)),
    "PReLU": layers.PReLU(shared_axes=[1, 2]),
    "ReLU": layers.ReLU(),
    "ReLU, bounded": layers.ReLU(max_value=0.02, negative_slope=0.1),
    "Relu": ops.relu,
    "Rescaling": layers.Rescaling(0.3, offset=0.2),
    "Rescaling, channels": layers.Rescaling([0.3, 1.0, 2.0, 0.5]),
    "Subtract": lambda x: layers.Subtract()(both(x)),
    "operators": lambda x: ops.maximum(2 * x + conv(x), ops.minimum(x, 0.01)) - 0.5 * x,
    "ops.concatenate": lambda x: ops.concatenate([x, conv(x, 2)], axis=-1),
    "Pad, reflect": lambda x: padded(x, [1, 2], [2, 1], size=4, mode="reflect"),
    "Pad, constant": lambda x: padded(x, [1, 1], [1, 1], constant_values=0.5),
    "Pad, zeros": lambda x: padded(x, [1, 1], [1, 1]),
    **{
        f"activation {name}": lambda x, name=name: layers.Activation(name)(conv(x) - 0.1)
        for name in sorted(ACTIVATIONS)
    },
}


def model_of(part):
    """A network for x2 with a part in the middle, whose weights are all random."""
    x = keras.Input((None, None, 3))
    y = conv(part(conv(x)), 12)
    model = keras.Model(x, ops.depth_to_space(y, 2))
    random = np.random.default_rng(1)
    for layer in model.layers:
        # Kernels of both signs; but the variances of BatchNormalization are positive.
        weights = [random.uniform(0.05, 0.5, w.shape) for w in layer.get_weights()]
        layer.set_weights([w - 0.3 if w.ndim > 1 else w for w in weights])
    return model


def compare(model, folder, *condition):
    """Runs a network by Keras and from a file without it, at two sizes."""
    path = folder / "network.keras"
    model.save(path)
    run, expected = FileNetwork(path).compile("float32"), backend.compile_model(model)
    for size in (13, 9), (6, 17):
        lr = np.random.default_rng(0).random((1, *size, 3), np.float32)
        sr = run(lr, *condition)
        assert np.ptp(sr) > 0.01
        np.testing.assert_allclose(sr, expected(lr, *condition), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("case", CASES)
def test_layer_computes_what_keras_does(case, tmp_path):
    keras.utils.set_random_seed(0)
    compare(model_of(CASES[case]), tmp_path)


def test_every_layer_that_files_may_have_is_tried():
    graphs = [Graph.of_model(model_of(part)) for part in CASES.values()]
    kinds = {kind for graph in graphs for kind in graph.layers.values()}
    assert kinds >= POINTWISE_LAYERS | {"Conv2D", "InputLayer"}
    assert kinds >= set().union(*OPERATIONS.values())


@pytest.mark.parametrize(("count", "name"), [(1, "quality"), (4, "condition")])
def test_condition_is_an_input_or_built_in(tmp_path, count, name):
    """By OpenVINO, and by ONNX's own evaluator."""
    model = small_network(conditions=count, global_skip=True)
    compare(model, tmp_path, np.float32([0.4, 0.8, 1.2, 0.5])[None, None, None, :count])
    graph = weight_files.read_graph(tmp_path / "network.keras")
    written = onnx_graph(graph, weight_files.read_arrays(tmp_path / "network.keras", graph))
    lr = np.random.default_rng(0).random((1, 9, 7, 3), np.float32)
    for condition in Condition(0.4, 8, 1.2, 0.5), Condition(1, 1, 0.5):
        values = condition.values(count)
        expected = model.predict_on_batch([lr, values[None, None, None]])
        given = {name: values.reshape(1, -1, 1, 1)}
        for one, more in (written, given), (fix_condition(written, values), {}):
            assert [each.name for each in one.graph.input] == ["lr", *more]
            (sr,) = ReferenceEvaluator(one).run(None, {"lr": lr.transpose(0, 3, 1, 2)} | more)
            np.testing.assert_allclose(sr.transpose(0, 2, 3, 1), expected, atol=1e-4)


def test_sequential_and_shared_layers(tmp_path):
    shuffle = keras.Sequential([keras.Input((None, None, 3)), layers.Conv2D(3, 3, padding="same")])
    compare(shuffle, tmp_path)
    x = keras.Input((None, None, 3))
    twice = layers.Conv2D(3, 3, padding="same", activation="tanh")
    y = conv(twice(twice(x)), 12)
    compare(keras.Model(x, ops.depth_to_space(y, 2)), tmp_path)


TWO = [[0, 0], [2, 2], [2, 2], [0, 0]]
UNKNOWN = {
    "'a' (Conv2D with strides [2, 2])": lambda x: conv(x, strides=2, name="a"),
    "'a' (Activation with activation 'softmax')": layers.Activation("softmax", name="a"),
    "'a' (Concatenate along axis 1)": lambda x: layers.Concatenate(axis=1, name="a")([x, x]),
    "'a' (ReLU with a threshold of 0.1)": layers.ReLU(threshold=0.1, name="a"),
    "(Pad of 2 pixels of mode 'symmetric')": lambda x: ops.pad(x, TWO, mode="symmetric"),
    "(Add)": lambda x: x + np.ones((1, 1, 1, 4), np.float32),
    "'a' (GlobalAveragePooling2D)": lambda x: (
        x * layers.GlobalAveragePooling2D(keepdims=True, name="a")(x)
    ),
    "'a' (Sequential)": lambda x: keras.Sequential([layers.Conv2D(4, 1)], name="a")(x),
}


@pytest.mark.parametrize("words", UNKNOWN)
def test_layer_that_the_graph_cannot_follow_is_named(words):
    part = UNKNOWN[words]
    x = keras.Input((None, None, 3))
    graph = Graph.of_model(keras.Model(x, ops.depth_to_space(conv(part(conv(x)), 12), 2)))
    assert graph.unknown.endswith(words)
    assert graph.traits is None


@pytest.mark.parametrize(
    ("size", "padding", "message"),
    [
        ((40, 40), "same", r"expected a network that takes \(N, H, W, 3\)"),
        ((None, None), "valid", "by a whole number; it makes"),
    ],
)
def test_network_for_one_size_or_of_another_size_is_refused(size, padding, message):
    x = keras.Input((*size, 3))
    model = keras.Model(x, ops.depth_to_space(conv(conv(x), 12, padding=padding), 2))
    with pytest.raises(InputError, match=message):
        Graph.of_model(model)


def test_weights_that_are_not_those_of_the_graph_are_refused(tmp_path):
    network.edsr(2, 4, 1).save(tmp_path / "small.keras")
    graph = Graph.of_model(network.edsr(2, 5, 1))
    with pytest.raises(ValueError, match=r"small.keras: refused: layer 'head' has weights of"):
        weight_files.read_arrays(tmp_path / "small.keras", graph)
