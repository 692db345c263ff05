"""What a network looks at and what it costs, read from its graph; the same graph in bfloat16."""

import math

from superres.runtime.backend import keras

# Layers, and beside them operations, that make each output pixel from the input pixel of the same
# place. The layers, and the two others that `receptive_radius` knows, may be in weights files.
# fmt: off
POINTWISE_LAYERS = {
    "Activation", "Add", "Average", "BatchNormalization", "Concatenate", "Dropout", "ELU",
    "Identity", "LeakyReLU", "Maximum", "Minimum", "Multiply", "PReLU", "ReLU", "Rescaling",
    "Subtract",
}
# fmt: on
POINTWISE = POINTWISE_LAYERS | {"Cast", "Clip", "Relu"}
LAYERS = POINTWISE_LAYERS | {"Conv2D", "InputLayer"}
ITEM_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
# Memory that the kernels take beside the feature maps themselves (copies in another layout
# and the like), as a factor; measured under TensorFlow on a CPU.
KERNEL_OVERHEAD = 1.8


def scale_of(model):
    """By how much a network enlarges height and width.

    Raises:
        ValueError: it does not enlarge RGB pictures by a whole number.
    """
    shapes = [(1, 8, 8, 3), *[(1, *other.shape[1:]) for other in model.inputs[1:]]]
    try:
        shape = model.compute_output_shape(shapes if len(shapes) > 1 else shapes[0])
        _, height, width, channels = shape
        is_known = shapes[1:] in ([], [(1, 1, 1, 1)])
    except Exception:  # Keras raises many kinds
        is_known = False
    if not is_known:
        raise ValueError(
            "expected a network that takes (N, H, W, 3), or that and a quality, (N, 1, 1, 1)"
        )
    if channels != 3 or height != width or height % 8 or height < 8:
        raise ValueError(
            "expected a network that enlarges RGB pictures by a whole number; "
            f"it makes (8, 8, 3) into ({height}, {width}, {channels})"
        )
    return height // 8


def is_told_quality(model):
    """Whether a network has a second input: the quality of the JPEG that a picture was."""
    return len(model.inputs) > 1


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
        if isinstance(operation, keras.layers.Layer) and kind not in LAYERS:
            raise _unknown(operation)
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
            raise _unknown(operation)
        for tensor in _inputs(operation):
            before, after = spans.get(id(tensor), (first, last))
            spans[id(tensor)] = min(before, first), max(after, last)
    first, last = spans[id(model.inputs[0])]
    return max(-first, last)


def _unknown(operation):
    kind = type(operation).__name__
    return ValueError(
        f"layer {operation.name!r} of kind {kind}: superres/upscaling/graph.py does not know how "
        "far it looks, so pictures cannot be cut into tiles"
    )


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


def in_precision(model, precision):
    """The same network with its feature maps in `precision`.

    The last convolution and what follows it stay in float32, as do all weights: pixels
    emitted in bfloat16 cost 0.03 dB.

    Args:
        model: network as `network.edsr` builds it; not changed.
        precision: "float32" or "bfloat16".

    Returns:
        `keras.Model` with weights of its own; `model` itself if it is in float32 and to
        remain so.
    """
    policies = {layer.dtype_policy.name for layer in model.layers}
    if precision == "float32" and policies == {"float32"}:
        return model
    producers = {id(operation.output): operation for operation in model.operations}
    emitting, behind = set(), [model.output]
    while behind:
        operation = producers[id(behind.pop())]
        emitting.add(operation.name)
        if not isinstance(operation, keras.layers.Conv2D):
            behind += keras.tree.flatten(operation.input)

    def clone(layer):
        config = layer.get_config()
        if isinstance(layer, keras.layers.Layer):
            in_float32 = precision == "float32" or layer.name in emitting
            config["dtype"] = "float32" if in_float32 else "mixed_bfloat16"
        return type(layer).from_config(config)

    copy = keras.models.clone_model(model, clone_function=clone)
    copy.set_weights(model.get_weights())
    return copy
