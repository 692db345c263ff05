"""Measures scale, stride and memory of a network that `graph` cannot follow."""

import math

import numpy as np

from superres.runtime.backend import keras
from superres.runtime.errors import InputError
from superres.upscaling.graph import ITEM_BYTES, Traits

MAX_STRIDE = 32
SIDES = 5, 7  # in strides: unless the stride is a multiple of the network's, one does not fit
MAX_BYTES = 2**18  # per LR pixel; 256 channels for x8 take as much
LIVE_MAPS = 4  # feature maps in memory at one time


def traits(model):
    """`Traits` of a Keras model, but no halo; InputError: it does not enlarge RGB pictures."""
    made = []
    for stride in range(1, MAX_STRIDE + 1):
        try:
            made = [(stride * n, _output_shape(model, stride * n)) for n in SIDES]
        except Exception as error:  # each backend has its own kind for sizes that do not fit
            failed = error
            continue
        scale = made[0][1][0] // made[0][0]
        if scale and all(shape == (scale * side, scale * side, 3) for side, shape in made):
            conditions = sum(one.shape[-1] for one in model.inputs[1:])
            return Traits(scale, conditions, model.count_params(), None, stride)
    if not made:
        raise failed
    raise InputError(
        "expected a network that enlarges RGB pictures by a whole number; it makes "
        f"{(made[0][0], made[0][0], 3)} into {made[0][1]}"
    )


def _output_shape(model, side):
    inputs = [np.zeros((1, side, side, 3), np.float32)]
    inputs += [np.ones((1, *one.shape[1:]), np.float32) for one in model.inputs[1:]]
    return tuple(model(inputs if len(inputs) > 1 else inputs[0], training=False).shape[1:])


def bytes_per_pixel(model):
    """Bytes of the largest float32 feature maps per LR pixel; InputError: too many."""
    side = 64
    operations = keras.Model(model.inputs, model.outputs).operations
    shapes = [(1, side, side, 3), *((1, *one.shape[1:]) for one in model.inputs[1:])]
    made = keras.Function(
        model.inputs, [keras.tree.flatten(one.output)[0] for one in operations]
    ).compute_output_spec([keras.KerasTensor(shape) for shape in shapes])
    pairs = zip(operations, made, strict=True)
    sizes = [math.prod(spec.shape[1:-1]) * _widest(one) for one, spec in pairs]
    needed = ITEM_BYTES["float32"] * sum(sorted(sizes)[-LIVE_MAPS:]) / side**2
    if needed > MAX_BYTES:
        raise InputError(f"it takes {needed:,.0f} bytes for each pixel: at most {MAX_BYTES:,}")
    return needed


def _widest(operation):
    """Channels of an operation's output, or of the widest layer in a nested model."""
    own = keras.tree.flatten(operation.output)[0].shape[-1]
    return max([own or 1, *map(_widest, getattr(operation, "layers", ()))])


def picture():
    """Noise, float32 (H, W, 3) in [0, 1], brighter from row to row."""
    noise = np.random.default_rng(0).random((128, 128, 3), np.float32)
    return noise * np.linspace(0.2, 1, len(noise), dtype=np.float32)[:, None]
