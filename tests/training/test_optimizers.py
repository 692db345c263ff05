import numpy as np
import pytest

import train
from superres.runtime.backend import keras
from superres.training import optimizers
from superres.training.optimizers import OPTIMIZERS, inner_kernels, muon
from support import small_network


def gradient(shape, seed=0):
    return np.random.default_rng(seed).normal(0, 1e-3, shape).astype(np.float32)


def orthogonalised(matrix, steps=5):
    """The Newton-Schulz iteration as Jordan et al. write it, in float64."""
    x = matrix / (np.linalg.norm(matrix) + 1e-7)
    for _ in range(steps):
        gram = x.T @ x
        x = 3.4445 * x + x @ (-4.7750 * gram + 2.0315 * gram @ gram)
    return x


@pytest.fixture(params=["processor", "gpu"])
def hardware(request, monkeypatch):
    monkeypatch.setattr(optimizers.backend, "has_gpu", lambda: request.param == "gpu")


@pytest.mark.parametrize("shape", [(3, 3, 16, 16), (3, 3, 16, 64), (1, 1, 8, 24)])
def test_orthogonalised_as_by_keras_and_by_numpy(shape, hardware):
    matrix = gradient((np.prod(shape[:-1]), shape[-1]))
    ours = np.array(muon(1e-3).zeropower_via_newtonschulz5(matrix.reshape(shape), 5))
    theirs = keras.optimizers.Muon(1e-3).zeropower_via_newtonschulz5(
        keras.ops.convert_to_tensor(matrix), 5
    )
    np.testing.assert_allclose(ours, np.array(theirs).reshape(shape), atol=1e-4)
    expected = orthogonalised(matrix.astype(np.float64)).reshape(shape)
    np.testing.assert_allclose(ours, expected, atol=1e-4)


def test_several_kernels_at_once_are_orthogonalised_each_for_itself(hardware):
    kernels = np.stack([gradient((3, 3, 8, 16), seed) for seed in range(3)])
    together = np.array(muon(1e-3).zeropower_via_newtonschulz5(kernels, 5))
    for kernel, update in zip(kernels, together, strict=True):
        alone = muon(1e-3).zeropower_via_newtonschulz5(kernel, 5)
        np.testing.assert_allclose(update, np.array(alone), atol=2e-5)
    zero = np.zeros((3, 3, 8, 8), np.float32)
    assert not np.array(muon(1e-3).zeropower_via_newtonschulz5(zero, 5)).any()


def test_steps_of_muon_follow_the_definition():
    """Two steps of the body of a network against NumPy: momentum 0.95, Nesterov, no decay."""
    model = small_network()
    optimizer = muon(0.01, inner_kernels(model))
    optimizer.build(model.trainable_variables)
    number = [v.path for v in model.trainable_variables].index("body/kernel")
    kernel = model.trainable_variables[number].numpy().astype(np.float64)
    momentum = 0
    for step in range(2):
        gradients = [gradient(v.shape, seed=step) for v in model.trainable_variables]
        optimizer.apply([keras.ops.convert_to_tensor(g) for g in gradients])
        g = gradients[number].astype(np.float64).reshape(-1, kernel.shape[-1])
        momentum = 0.95 * momentum + g
        update = orthogonalised(g + 0.95 * momentum)
        kernel -= 0.01 * 0.2 * np.sqrt(len(g)) * update.reshape(kernel.shape)
    np.testing.assert_allclose(
        model.trainable_variables[number].numpy(), kernel, rtol=1e-5, atol=1e-6
    )


def test_first_and_last_convolution_and_biases_are_those_of_adam():
    models = [small_network(global_skip=True, conditions=1) for _ in range(2)]
    for model, name in zip(models, OPTIMIZERS, strict=True):
        optimizer = OPTIMIZERS[name](0.01, inner_kernels(model))
        optimizer.build(model.trainable_variables)
        for step in range(2):
            gradients = [gradient(v.shape, seed=step) for v in model.trainable_variables]
            optimizer.apply([keras.ops.convert_to_tensor(g) for g in gradients])
    for ours, theirs in zip(*(m.trainable_variables for m in models), strict=True):
        is_adam = ours.path.startswith(("head/", "quality_head/", "tail/"))
        is_adam |= ours.path.endswith("/bias")
        same = np.allclose(ours.numpy(), theirs.numpy(), rtol=1e-5, atol=1e-7)
        assert same == is_adam, ours.path


def test_kernels_of_any_network_that_are_matrices_are_orthogonalised():
    """Not those of transposed and depthwise convolutions, and none that takes or makes pixels."""
    layers = keras.layers
    x = keras.Input((None, None, 3))
    y = layers.Conv2D(4, 1, name="first")(x / 2)
    y = keras.Sequential([layers.Conv2D(4, 3, padding="same", name="inner")], name="nested")(y)
    y = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(y)
    y = layers.Conv2D(4, 3, strides=2, padding="same", name="down")(y)
    y = layers.Dense(4, name="dense")(y)
    y = layers.Conv2DTranspose(12, 3, strides=4, padding="same", name="up")(y)
    model = keras.Model(x, layers.Conv2D(3, 1, name="last")(y))
    assert inner_kernels(model) == {"nested/inner/kernel", "down/kernel"}


def test_script_knows_the_names_of_all_optimizers():
    assert OPTIMIZERS.keys() == train.DEFAULT_RATES.keys()
