"""What cannot be reasoned about a network is measured: sizes that it takes, scale, memory.

For networks with layers that `graph` does not know. How far such a network looks is measured by
`tiling.measured_halo`, and stored in its file.
"""

import math

import numpy as np

from superres.runtime.backend import keras
from superres.runtime.errors import InputError
from superres.upscaling.graph import ITEM_BYTES, Traits

MOST_STRIDE = 32  # of a network; its pictures' sides are a multiple of it
SIDES = 5, 7  # in strides: any other stride than the true one, or a multiple of it, fails at one
LARGEST = 4  # feature maps that are in memory at one time
PICTURE_SIDE = 128  # of the picture that stands for photographs where there are none


def traits(model):
    """`Traits` of a Keras model; its halo is not measured here.

    Raises:
        InputError: it does not enlarge RGB pictures by a whole number.
    """
    for stride in range(1, MOST_STRIDE + 1):
        try:
            made = [(side, _output(model, side)) for side in (stride * n for n in SIDES)]
        except Exception as error:  # each backend has its own kind for sizes that do not fit
            failed = error
            continue
        scale = made[0][1][0] // made[0][0]
        if scale and all(shape == (scale * side, scale * side, 3) for side, shape in made):
            return Traits(scale, len(model.inputs) > 1, model.count_params(), None, stride)
    if not made:
        raise failed
    side, shape = made[0]
    raise InputError(
        "expected a network that enlarges RGB pictures by a whole number; it makes "
        f"({side}, {side}, 3) into {shape}"
    )


def _output(model, side):
    inputs = [np.zeros((1, side, side, 3), np.float32), np.ones((1, 1, 1, 1), np.float32)]
    return tuple(model(inputs if len(model.inputs) > 1 else inputs[0], training=False).shape[1:])


def bytes_per_pixel(model):
    """Memory for one LR pixel in float32, beside what kernels take: that of the largest maps."""
    side = 64
    operations = keras.Model(model.inputs, model.outputs).operations
    lr, quality = keras.KerasTensor((1, side, side, 3)), keras.KerasTensor((1, 1, 1, 1))
    shapes = keras.Function(model.inputs, [one.output for one in operations]).compute_output_spec(
        [lr, quality][: len(model.inputs)]
    )
    sizes = [
        math.prod(made.shape[1:-1]) * _most_channels(one)
        for one, shape in zip(operations, shapes, strict=True)
        for made in keras.tree.flatten(shape)
    ]
    return ITEM_BYTES["float32"] * sum(sorted(sizes)[-LARGEST:]) / side**2


def _most_channels(operation):
    """Channels of an operation's output, or of the widest one within a nested model."""
    own = keras.tree.flatten(operation.output)
    return max(
        [one.shape[-1] or 1 for one in own]
        + list(map(_most_channels, getattr(operation, "layers", [])))
    )


def picture():
    """float32 (H, W, 3) in [0, 1] of all frequencies, brighter from row to row."""
    noise = np.random.default_rng(0).random((PICTURE_SIDE, PICTURE_SIDE, 3), np.float32)
    return noise * np.linspace(0.2, 1, PICTURE_SIDE, dtype=np.float32)[:, None]
