"""What a network looks at and what it costs, read from its graph; tiles that follow from it.

A tile of a picture is computed together with a halo of its surroundings, so that it comes
out as it would from the whole picture. How wide the halo must be is bounded by the graph:
`receptive_radius`. Far pixels count for so little that a trained network needs much less:
`measured_halo`.
"""

import itertools
import math

import numpy as np

from backend import keras

# Operations and layers that make each output pixel from the input pixel of the same place.
# fmt: off
POINTWISE = {
    "Activation", "Add", "Average", "BatchNormalization", "Cast", "Clip", "Concatenate",
    "Dropout", "ELU", "Identity", "LeakyReLU", "Maximum", "Minimum", "Multiply", "PReLU",
    "ReLU", "Relu", "Rescaling", "Subtract",
}
# fmt: on
ITEM_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
# Memory that the kernels take beside the feature maps themselves (copies in another layout
# and the like), as a factor; measured under TensorFlow on a CPU.
KERNEL_OVERHEAD = 1.8
HALO_TOLERANCE = 0.001  # grey levels by which a measured halo may change the result
MEASURED_SIDE = 64  # LR pixels of a picture that a halo is measured on


def scale_of(model):
    """By how much a network enlarges height and width.

    Raises:
        ValueError: it does not enlarge RGB pictures by a whole number.
    """
    try:
        _, height, width, channels = model.compute_output_shape((1, 8, 8, 3))
    except Exception as error:  # Keras raises many kinds
        raise ValueError("expected a network that takes (N, H, W, 3)") from error
    if channels != 3 or height != width or height % 8 or height < 8:
        raise ValueError(
            "expected a network that enlarges RGB pictures by a whole number; "
            f"it makes (8, 8, 3) into ({height}, {width}, {channels})"
        )
    return height // 8


def _inputs(operation):
    return keras.tree.flatten(operation.input)


def receptive_radius(model):
    """Distance in LR pixels beyond which no input pixel can change an output pixel.

    Follows the graph backwards from one LR pixel's outputs, with the first and last pixel
    of each feature map that they depend on.

    Raises:
        ValueError: a layer that is not known here, or that looks at the whole picture.
    """
    spans = {id(model.output): (0, scale_of(model) - 1)}
    for operation in reversed(model.operations):
        kind = type(operation).__name__
        if kind == "InputLayer" or id(operation.output) not in spans:
            continue
        first, last = spans[id(operation.output)]
        if kind == "Conv2D" and set(operation.strides) == {1}:
            reach = max(
                dilation * (size - 1)
                for size, dilation in zip(
                    operation.kernel_size, operation.dilation_rate, strict=True
                )
            )
            before = reach // 2 if operation.padding == "same" else 0
            first, last = first - before, last + reach - before
        elif kind == "Pad":
            before = max(operation.pad_width[1][0], operation.pad_width[2][0])
            first, last = first - before, last - before
        elif kind == "DepthToSpace":
            first, last = first // operation.block_size, last // operation.block_size
        elif kind not in POINTWISE:
            raise ValueError(
                f"layer {operation.name!r} of kind {kind}: how far it looks is not known, so "
                "the picture cannot be cut into tiles"
            )
        for tensor in _inputs(operation):
            before, after = spans.get(id(tensor), (first, last))
            spans[id(tensor)] = min(before, first), max(after, last)
    first, last = spans[id(model.input)]
    return max(-first, last)


def _feature_maps(model):
    """For each operation: (operation, pixels of its output for one LR pixel)."""
    pixels = {}
    for operation in model.operations:
        factor = operation.block_size**2 if type(operation).__name__ == "DepthToSpace" else 1
        pixels[id(operation.output)] = factor * max(
            (pixels.get(id(tensor), 1) for tensor in _inputs(operation)), default=1
        )
        yield operation, pixels[id(operation.output)]


def flop_per_pixel(model):
    """Floating-point operations for one LR pixel: two for each weight of each convolution."""
    return sum(
        2 * pixels * math.prod(operation.kernel.shape)
        for operation, pixels in _feature_maps(model)
        if isinstance(operation, keras.layers.Conv2D)
    )


def bytes_per_pixel(model):
    """Memory for one LR pixel: the most that is held at one time, on the way through."""
    order = list(_feature_maps(model))
    size, last_use = {}, {}
    for n, (operation, pixels) in enumerate(order):
        channels, dtype = operation.output.shape[-1], operation.output.dtype
        size[id(operation.output)] = pixels * channels * ITEM_BYTES[dtype]
        for tensor in _inputs(operation):
            last_use[id(tensor)] = n
    held, most = {}, 0
    for n, (operation, _) in enumerate(order):
        held[id(operation.output)] = size[id(operation.output)]
        computed = getattr(operation, "compute_dtype", None)  # layers have one
        casts = sum(
            size[id(tensor)] // ITEM_BYTES[tensor.dtype] * ITEM_BYTES[computed]
            for tensor in _inputs(operation)
            if computed and tensor.dtype != computed
        )
        most = max(most, sum(held.values()) + casts)
        held = {key: value for key, value in held.items() if last_use.get(key, n) > n}
    return math.ceil(KERNEL_OVERHEAD * most)


def centre_with_halo(run, lr, halo, radius):
    """The centre of a picture, computed with no more than `halo` pixels around it.

    Args:
        run: the network: float32 (1, H, W, 3) to float32 (1, scale * H, scale * W, 3).
        lr: float32 (H, W, 3) in [0, 1], H and W above 2 * `radius`.
        halo: LR pixels, at most `radius`.
        radius: what is no centre, on each side, in LR pixels.

    Returns:
        float32 (scale * (H - 2 * radius), scale * (W - 2 * radius), 3).
    """
    cut = radius - halo
    window = lr[cut : lr.shape[0] - cut, cut : lr.shape[1] - cut]
    sr = run(np.ascontiguousarray(window)[None])[0]
    margin = halo * (sr.shape[0] // window.shape[0])
    return sr[margin : sr.shape[0] - margin, margin : sr.shape[1] - margin]


def measured_halo(run, radius, pictures):
    """The smallest halo that changes none of `pictures` by more than `HALO_TOLERANCE`.

    Args:
        run: as for `centre_with_halo`, in float32.
        radius: as `receptive_radius` returns it.
        pictures: list of float32 (H, W, 3) in [0, 1], photographs like those to be
            enlarged, of which the middle is taken. Those not larger than 2 * `radius` are
            left out; with none left the halo is `radius`.

    Returns:
        LR pixels, from 1 to `radius`.
    """
    pictures = [_middle(lr, 2 * radius + MEASURED_SIDE) for lr in pictures]
    pictures = [lr for lr in pictures if min(lr.shape[:2]) > 2 * radius]
    exact = [centre_with_halo(run, lr, radius, radius) for lr in pictures]
    too_small, enough = 0, radius
    while pictures and enough - too_small > 1:
        halo = (too_small + enough) // 2
        if all(
            255 * np.abs(centre_with_halo(run, lr, halo, radius) - sr).max() <= HALO_TOLERANCE
            for lr, sr in zip(pictures, exact, strict=True)
        ):
            enough = halo
        else:
            too_small = halo
    return enough


def _middle(lr, size):
    top, left = (max(0, length - size) // 2 for length in lr.shape[:2])
    return lr[top : top + size, left : left + size]


def cuts(length, tile_size, halo, step=1):
    """Cuts a line of `length` pixels into about equally long tiles, at most `tile_size`.

    Returns:
        List of (first, last + 1), which cover the line once.
    """
    count = math.ceil(length / tile_size)
    # Two windows of a size that is a multiple of `step` instead of one that is not.
    if count == 1 and length % step and _up(math.ceil(length / 2) + halo, step) <= length:
        count = 2
    ends = [length * n // count for n in range(count + 1)]
    return list(itertools.pairwise(ends))


def _up(length, step):
    return -(-length // step) * step


def window(tile, length, halo, step=1):
    """The part of a line of `length` pixels that the network must see to make a tile.

    Args:
        tile: (first, last + 1).
        halo: pixels on each side, as far as the line goes.
        step: the window is widened to a multiple of it, as far as the line goes.

    Returns:
        (first, last + 1) of the window.
    """
    first, end = max(tile[0] - halo, 0), min(tile[1] + halo, length)
    size = min(_up(end - first, step), length)
    first = min(first, length - size)
    return first, first + size


def extra_work(height, width, tile_size, halo, step=1):
    """Pixels computed beyond those of the picture, as a share of the picture's."""
    rows, columns = (
        sum(
            end - first
            for tile in cuts(length, tile_size, halo, step)
            for first, end in [window(tile, length, halo, step)]
        )
        for length in (height, width)
    )
    return rows * columns / (height * width) - 1
