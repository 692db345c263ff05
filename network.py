"""The network: EDSR with scaled residual blocks and a pixel-shuffle tail.

`python network.py` prints its summary and draws it into docs/; with other settings on the command
line, into the current folder.

Source: Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution",
2017 (https://arxiv.org/abs/1707.02921).
"""

import sys
from pathlib import Path

import numpy as np

from superres.runtime import command, settings
from superres.runtime.backend import keras
from superres.upscaling.graph import CONDITION_INPUTS

# ------------------------------------------------------------------- settings ----
# model
SCALE = 2  # enlargement of height and of width: 2, 3 or 4
NUM_FILTERS = 128  # channels of the feature maps; 64 on weak hardware
RESIDUAL_BLOCKS = 24  # depth, two convolutions a block; 9 on weak hardware
RESIDUAL_SCALING = 0.1  # factor of a block's branch; stabilises deep networks early on
GLOBAL_SKIP = False  # add the bilinearly enlarged input; helps short trainings
CONDITIONS = 0  # second input; 1: JPEG quality; 4: noise, blur, sharpening too; 0: none
# ---------------------------------------------------------------------------------

SCALES = (2, 3, 4)
DOCS = Path(__file__).parent / "docs"
SHUFFLES = {2: (2,), 3: (3,), 4: (2, 2)}  # pixel-shuffle factors of each scale


def build(**settings):
    """The network that `train.py` trains, built from the settings above.

    You may return any other: a Functional or Sequential `keras.Model` from RGB (N, H, W, 3) in
    [0, 1], and perhaps a condition (N, 1, 1, 1 or 4), to (N, scale * H, scale * W, 3), for all H
    and W, or all multiples of a number. docs/development.md says which layers it may have.
    """
    return edsr(**settings)


def residual_block(x, num_filters, residual_scaling, name):
    """conv - ReLU - conv - scale - add: (N, H, W, num_filters) to the same shape."""
    branch = keras.layers.Conv2D(
        num_filters, 3, padding="same", activation="relu", name=f"{name}_conv1"
    )(x)
    branch = keras.layers.Conv2D(num_filters, 3, padding="same", name=f"{name}_conv2")(branch)
    branch = keras.layers.Rescaling(residual_scaling, name=f"{name}_scale")(branch)
    return keras.layers.Add(name=f"{name}_add")([x, branch])


def bilinear_kernel(scale):
    """Bilinear enlargement of RGB as a 3x3 convolution whose output is pixel-shuffled.

    Returns:
        float32 (3, 3, 3, 3 * scale**2), for an input with one pixel of padding all around.
    """
    # Where the new pixels lie between the old ones, in old pixels: -1/4 and 1/4 for x2.
    offsets = (np.arange(scale) + 0.5) / scale - 0.5
    line = np.maximum(0, 1 - np.abs(np.arange(-1, 2)[:, None] - offsets))  # (3, scale)
    kernel = np.einsum("yi,xj,cd->yxcijd", line, line, np.eye(3))
    return kernel.reshape(3, 3, 3, 3 * scale**2).astype(np.float32)


def bilinear(lr, scale):
    """Enlarges (N, H, W, 3) bilinearly to (N, scale * H, scale * W, 3), in float32.

    Not `UpSampling2D`, which TensorFlow cannot compile for pictures of any size.
    """
    padded = keras.ops.pad(lr, [[0, 0], [1, 1], [1, 1], [0, 0]], mode="symmetric")
    enlarge = keras.layers.Conv2D(
        3 * scale**2, 3, use_bias=False, trainable=False, dtype="float32", name="bilinear"
    )
    phases = enlarge(padded)  # (N, H, W, 3 * scale**2)
    enlarge.set_weights([bilinear_kernel(scale)])
    return keras.ops.depth_to_space(phases, scale)


def edsr(
    scale,
    num_filters=128,
    residual_blocks=24,
    residual_scaling=0.1,
    global_skip=False,
    conditions=0,
):
    """Builds the network, untrained; its arguments are the settings above.

    Only built-in layers and `keras.ops`, so that a saved file loads without this code.
    The layers compute in the global dtype policy, except the last one, which stays in
    float32: pixels emitted in bfloat16 cost 0.03 dB. Of the condition, learnt multiples are added
    to the first feature maps, 0 at first, as if it were channels of the picture (DRUNet, Zhang et
    al., 2021, https://arxiv.org/abs/2008.13751).

    Returns:
        `keras.Model` from float32 RGB (N, H, W, 3) in [0, 1], or a list of it and the first
        `conditions` numbers of `images.quality.Condition`, (N, 1, 1, conditions), to float32
        (N, scale * H, scale * W, 3); not clipped, so values may lie a little outside [0, 1]. H and
        W are free.

    Raises:
        InputError: an argument is outside its range.
    """
    settings.check_choice("scale", scale, SHUFFLES)
    settings.check_whole("num_filters", num_filters, 1)
    settings.check_whole("residual_blocks", residual_blocks, 1)
    settings.check_number("residual_scaling", residual_scaling, above=0, at_most=1)
    settings.check_flag("global_skip", global_skip)
    settings.check_choice("conditions", conditions, tuple(CONDITION_INPUTS))

    lr = keras.Input((None, None, 3), dtype="float32", name="lr")
    head = keras.layers.Conv2D(num_filters, 3, padding="same", name="head")(lr)
    inputs = [lr]
    if conditions:
        name = CONDITION_INPUTS[conditions]
        inputs.append(keras.Input((1, 1, conditions), dtype="float32", name=name))
        shift = keras.layers.Conv2D(
            num_filters, 1, use_bias=False, kernel_initializer="zeros", name="quality_head"
        )(inputs[1])  # (N, 1, 1, num_filters)
        head = keras.layers.Add(name="told_quality")([head, shift])

    x = head  # (N, H, W, num_filters)
    for n in range(1, residual_blocks + 1):
        x = residual_block(x, num_filters, residual_scaling, name=f"block{n}")
    x = keras.layers.Conv2D(num_filters, 3, padding="same", name="body")(x)
    x = keras.layers.Add(name="long_skip")([head, x])

    for n, factor in enumerate(SHUFFLES[scale], start=1):
        # (N, H, W, num_filters) -> (N, factor * H, factor * W, num_filters)
        x = keras.layers.Conv2D(num_filters * factor**2, 3, padding="same", name=f"upscale{n}")(x)
        x = keras.ops.depth_to_space(x, factor)
    sr = keras.layers.Conv2D(3, 3, padding="same", dtype="float32", name="tail")(x)

    if global_skip:
        sr = keras.layers.Add(dtype="float32", name="global_skip")([bilinear(lr, scale), sr])
    return keras.Model(inputs if conditions else lr, sr, name=f"edsr_x{scale}")


def draw(config, stop):
    """Prints the summary and draws the two diagrams; returns the exit code."""
    settings.check_installed("matplotlib", "diagrams")
    from superres.images import panels  # here, so that nobody who loads a network waits for it
    from superres.training.growing import is_edsr

    model = build(**vars(config))
    model.summary()
    if not is_edsr(model):
        print("The diagrams in docs/ are EDSR's; of this network none are drawn")
        return 0
    folder = DOCS if vars(config) == settings.values_of(sys.modules[__name__]) else Path()
    folder.mkdir(exist_ok=True)
    block, whole = folder / "residual_block.png", folder / "network.png"
    panels.draw_residual_block(block, config.num_filters, config.residual_scaling)
    panels.draw_network(
        whole,
        SHUFFLES[config.scale],
        config.num_filters,
        config.residual_blocks,
        config.global_skip,
        config.conditions,
    )
    print(f"Diagrams: {block} and {whole}")
    return 0


def main(arguments=None):
    """Runs the command; returns its exit code."""
    return command.run(draw, [__name__], arguments)


if __name__ == "__main__":
    sys.exit(main())
