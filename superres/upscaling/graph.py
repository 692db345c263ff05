"""A network as a graph of plain values, read from its configuration: what it looks at and costs.

Nothing here needs Keras, which takes seconds to load: `config.json` of a weights file is enough.
What can be reasoned about here, OpenVINO can compute. A network with any other layer is measured
by `probe`, and Keras computes it.
"""

import graphlib
import itertools
import json
import math
from typing import NamedTuple

from superres.runtime.errors import InputError

# Layers that make each output pixel from the input pixel of the same place.
# fmt: off
POINTWISE_LAYERS = {
    "Activation", "Add", "Average", "BatchNormalization", "Concatenate", "Dropout", "ELU",
    "Identity", "LeakyReLU", "Maximum", "Minimum", "Multiply", "PReLU", "ReLU", "Rescaling",
    "Subtract",
}
ACTIVATIONS = {
    "elu", "gelu", "leaky_relu", "linear", "relu", "relu6", "sigmoid", "silu", "softplus", "tanh",
}
# fmt: on
# What `keras.ops` and operators such as + become in a network, by module.
OPERATIONS = {
    "keras.src.ops.nn": {"DepthToSpace", "Relu"},
    "keras.src.ops.numpy": {
        *("Add", "Clip", "Concatenate", "Maximum", "Minimum", "Multiply", "Pad", "Subtract"),
    },
}
POINTWISE = POINTWISE_LAYERS | set().union(*OPERATIONS.values()) - {"DepthToSpace", "Pad"}
TRANSPARENT = POINTWISE | {"DepthToSpace", "InputLayer", "Pad"}
MOST_SIZE = 2**16  # of what a convolution is made of
ITEM_BYTES = {"float32": 4, "bfloat16": 2}
CONDITION_INPUTS = {0: "", 1: "quality", 3: "condition"}  # name of the second input, by its numbers
EXPECTED = (
    "expected a network that takes (N, H, W, 3) of any H and W, or that and a condition, "
    "(N, 1, 1, 1) or (N, 1, 1, 3), and makes one output"
)


class Unknown(Exception):
    """A node that cannot be reasoned about; the text names it."""

    def __init__(self, node, why=""):
        super().__init__(f"layer {node.name!r} ({node.kind}{why and f' {why}'})")


class Traits(NamedTuple):
    """What must be known of a network to enlarge pictures with it.

    Attributes:
        scale: by how much height and width are enlarged.
        conditions: numbers of the second input, see `images.quality.Condition`; 0: there is none.
        parameters: number of all weights.
        halo: LR pixels beyond which no input pixel can change an output pixel; `None`: it looks
            at the whole picture, or nobody knows how far.
        multiple_of: what height and width must be multiples of.
    """

    scale: int
    conditions: int
    parameters: int
    halo: int | None
    multiple_of: int = 1


class Node(NamedTuple):
    """One use of a layer, or of an operation of `keras.ops`.

    Attributes:
        name: its own; that of the layer, and a number where the layer is used again.
        layer: name of the layer, which has the weights.
        kind: class of the layer, such as Conv2D.
        config: its configuration.
        inputs: names of the nodes, and numbers, that it takes; other values in a tuple.
        module: of its class.
    """

    name: str
    layer: str
    kind: str
    config: dict
    inputs: tuple
    module: str

    @property
    def is_transparent(self):
        """Whether it makes pixels of pixels: without weights, which would make features."""
        return self.kind in TRANSPARENT or self.module.startswith("keras.src.ops.")

    @property
    def from_nodes(self):
        """The inputs that are nodes."""
        return [name for name in self.inputs if isinstance(name, str)]


class Shape(NamedTuple):
    """A feature map's shape, as it depends on the LR picture's.

    Attributes:
        height, width: (a, b) for a * LR pixels + b; a is 0 for the condition, of one pixel.
        channels: how many.
    """

    height: tuple
    width: tuple
    channels: int


class Graph:
    """A network that enlarges RGB pictures.

    Args:
        config: dict of a Keras model's class and configuration, as in `config.json` of its file.

    Attributes:
        nodes: dict of name -> `Node`, in an order in which they can be computed.
        layers: dict of the name of each layer -> its kind, in their order in files.
        inputs: names of the nodes that are given: the picture, and perhaps the condition.
        output: name of the node that is the enlarged picture.
        emitting: names of the nodes that make pixels: the last convolutions and what follows them.
            Results in bfloat16 would cost 0.03 dB there.
        exact: names of those of them, and of the nodes before, that take pixels as well.
        unknown: the first node that cannot be reasoned about, in words; empty: there is none. Only
            then there are
        traits: `Traits`; else `None`.
        shapes: dict of name -> `Shape`.
        weights: dict of layer -> list of the shapes of its weights, in their order in files.
        scale, conditions, radius, parameters: as in `Traits`, where the radius is called halo.

    Raises:
        InputError: it does not enlarge RGB pictures by a whole number.
    """

    def __init__(self, config):
        nodes, self.inputs, self.output = _parsed(config)
        self.nodes = _in_order(nodes, self.output)
        layers = config["config"]["layers"]
        self.layers = {layer["config"]["name"]: layer["class_name"] for layer in layers}
        self.conditions = self._checked_conditions()
        self.pixels_in = self._pixels_in()
        self.emitting = self._emitting()
        self.exact = self._exact()
        self.traits, self.unknown = None, ""
        try:
            self._reason()
        except Unknown as node:
            self.unknown = str(node)

    def _reason(self):
        """Follows sizes and channels through the graph; raises `Unknown`."""
        self.shapes, self.weights = {}, {}
        for node in self.nodes.values():
            shapes = [self.shapes[name] for name in node.from_nodes]
            self.shapes[node.name] = _shape(node, shapes)
            if weights := _weights(node, shapes):
                self.weights[node.layer] = weights
        self.scale = self._checked_scale()
        self.radius = self._radius()
        self.parameters = sum(map(math.prod, itertools.chain(*self.weights.values())))
        self.traits = Traits(self.scale, self.conditions, self.parameters, self.radius)

    @classmethod
    def of_model(cls, model):
        """The graph of a `keras.Model`."""
        return cls(json.loads(model.to_json()))

    def _checked_conditions(self):
        """Raises InputError unless the inputs are a picture and perhaps a condition."""
        picture = Shape((1, 0), (1, 0), 3)
        nodes = [self.nodes.get(name) for name in self.inputs]  # None: it is not used
        shapes = [node and node.kind == "InputLayer" and _shape(node, []) for node in nodes]
        for count, name in CONDITION_INPUTS.items():
            if shapes == [picture, *([Shape((0, 1), (0, 1), count)] if name else [])]:
                return count
        raise InputError(EXPECTED)

    def _checked_scale(self):
        height, width, channels = self.shapes[self.output]
        scale = height[0]
        if channels != 3 or height != width or height[1] or scale < 1:
            made = [a * 8 + b for a, b in (height, width)]
            raise InputError(
                "expected a network that enlarges RGB pictures by a whole number; it makes "
                f"(8, 8, 3) into ({made[0]}, {made[1]}, {channels})"
            )
        return scale

    def _radius(self):
        """Follows the graph backwards from one LR pixel's outputs, with the first and last pixel
        of each feature map that they depend on."""
        spans = {self.output: (0, self.scale - 1)}
        for node in reversed(self.nodes.values()):
            first, last = spans[node.name]
            if node.kind == "Conv2D":
                beyond = max(reach(node.config))
                before = beyond // 2 if node.config["padding"] == "same" else 0
                first, last = first - before, last + beyond - before
            elif node.kind == "Pad":
                before = max(width[0] for width in node.config["pad_width"][1:3])
                first, last = first - before, last - before
            elif node.kind == "DepthToSpace":
                factor = node.config["block_size"]
                first, last = first // factor, last // factor
            for name in node.from_nodes:
                before, after = spans.get(name, (first, last))
                spans[name] = min(before, first), max(after, last)
        first, last = spans[self.inputs[0]]
        return max(-first, last)

    def _emitting(self):
        found, behind = set(), [self.output]
        while behind:
            node = self.nodes[behind.pop()]
            if node.name not in found:
                found.add(node.name)
                behind += node.from_nodes if node.is_transparent else []
        return found

    def _pixels_in(self):
        """Names of the nodes that take nothing but pixels of the input."""
        of_pixels, found = set(), set()
        for node in self.nodes.values():
            if of_pixels.issuperset(node.from_nodes):
                found.add(node.name)
                if node.is_transparent:
                    of_pixels.add(node.name)
        return found

    def _exact(self):
        return {
            name
            for name in self.pixels_in | self.emitting
            if self.nodes[name].is_transparent or (name in self.pixels_in and name in self.emitting)
        }

    def pixels(self, name):
        """Pixels of a feature map for one LR pixel."""
        return self.shapes[name].height[0] * self.shapes[name].width[0]

    @property
    def flop_per_pixel(self):
        """Floating-point operations for one LR pixel: two for each weight of each convolution."""
        return sum(
            2 * self.pixels(node.name) * math.prod(self.weights[node.layer][0])
            for node in self.nodes.values()
            if node.kind == "Conv2D"
        )

    def bytes_per_pixel(self, precision, left_out=()):
        """Memory for one LR pixel: the most that is held at one time, on the way through.

        Args:
            precision: float32, or bfloat16, in which `emitting` and the input still are float32.
            left_out: names of nodes whose results are never made.
        """
        last_use, item, held, most = {}, {}, {}, 0
        for node in self.nodes.values():
            last_use |= dict.fromkeys(node.from_nodes, node.name)
            is_exact = node.kind == "InputLayer" or node.name in self.emitting
            item[node.name] = ITEM_BYTES["float32" if is_exact else precision]
        for node in self.nodes.values():
            values = self.pixels(node.name) * self.shapes[node.name].channels
            held[node.name] = 0 if node.name in left_out else values * item[node.name]
            casts = sum(
                held[name] // item[name] * item[node.name]
                for name in set(node.from_nodes)
                if item[name] != item[node.name]
            )
            most = max(most, sum(held.values()) + casts)
            held = {name: size for name, size in held.items() if last_use.get(name) != node.name}
        return most


# ---- reading the configuration ----


def _parsed(config):
    """Nodes by name, not in order; names of the inputs; name of the output.

    Raises:
        InputError: it is no model of one output.
    """
    kind = config.get("class_name") if isinstance(config, dict) else None
    if kind not in ("Functional", "Sequential"):
        raise InputError(f"expected a Functional or Sequential model, not {kind}")
    config = config["config"]
    nodes = {}
    for layer in config["layers"]:
        kind, name = layer["class_name"], layer["config"]["name"]
        if (own := layer.get("registered_name")) not in (None, kind):
            kind = own  # a layer of one's own, perhaps of a name that Keras has as well
        calls = layer.get("inbound_nodes")
        if calls is None:  # a Sequential model's layer takes what the one before it makes
            calls = [list(nodes)[-1:]]
        else:
            calls = [list(tensors([*call["args"], *call["kwargs"].values()])) for call in calls]
        for number, inputs in enumerate(calls or [[]]):
            module = layer.get("module") or ""
            node = Node(_numbered(name, number), name, kind, layer["config"], tuple(inputs), module)
            nodes[node.name] = node
    if "output_layers" not in config:
        names = list(nodes)
        return nodes, names[:1], names[-1]
    inputs, outputs = (
        [_numbered(name, number) for name, number, _ in _several(config[f"{end}_layers"])]
        for end in ("input", "output")
    )
    if len(outputs) != 1:
        raise InputError(EXPECTED)
    return nodes, inputs, outputs[0]


def _several(places):
    """One or several [name, number, number] as a list of them."""
    return [places] if isinstance(places[0], str) else places


def _numbered(name, number):
    return f"{name}:{number}" if number else name


def tensors(value):
    """Names of nodes, and numbers, in what a layer is called with; other values in a tuple."""
    if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
        name, number, _ = value["config"]["keras_history"]
        yield _numbered(name, number)
    elif isinstance(value, list):
        yield from itertools.chain(*map(tensors, value))
    elif isinstance(value, float) or type(value) is int:
        yield value
    elif value is not None and not isinstance(value, bool):
        yield (value,)


def _in_order(nodes, output):
    """The nodes that the output needs, each behind those that it takes."""
    needs, behind = {}, [output]
    while behind:
        name = behind.pop()
        if name not in needs:
            needs[name] = nodes[name].from_nodes
            behind += needs[name]
    return {name: nodes[name] for name in graphlib.TopologicalSorter(needs).static_order()}


# ---- shapes ----


def reach(config):
    """By how many pixels a convolution looks further than one, in height and in width."""
    sizes = zip(config["kernel_size"], config["dilation_rate"], strict=True)
    return [dilation * (size - 1) for size, dilation in sizes]


def _shape(node, inputs):
    """`Shape` of a node's output from those of its inputs; checks what it depends on."""
    config = node.config
    if node.kind == "InputLayer":
        _, height, width, channels = config.get("batch_shape") or config["batch_input_shape"]
        sides = [(0, side) if side else (1, 0) for side in (height, width)]
        return Shape(*sides, channels)
    if node.kind not in TRANSPARENT | {"Conv2D"} or any(isinstance(x, tuple) for x in node.inputs):
        raise Unknown(node)
    (height, width, channels), *others = inputs
    if node.kind == "Conv2D":
        _check_convolution(node)
        if config["padding"] == "valid":
            height, width = (
                (side[0], side[1] - beyond)
                for side, beyond in zip((height, width), reach(config), strict=True)
            )
        channels = config["filters"]
    elif node.kind == "Pad":
        batch, *sides, last = config["pad_width"]
        if any(batch) or any(last):
            raise Unknown(node, "of other than height and width")
        mode, most = config.get("mode", "constant"), max(map(max, sides))
        if mode not in ("constant", "edge", "reflect") and (mode != "symmetric" or most > 1):
            raise Unknown(node, f"of {most} pixels of mode {mode!r}")
        height, width = (
            (side[0], side[1] + sum(widths))
            for side, widths in zip((height, width), sides, strict=True)
        )
    elif node.kind == "DepthToSpace":
        factor = config["block_size"]
        height, width = ((factor * a, factor * b) for a, b in (height, width))
        channels //= factor**2
    else:
        _check_pointwise(node)
        for other in others:
            height, width = max(height, other.height), max(width, other.width)
        # All of one size, or some of one pixel, as the condition has: those are added everywhere.
        sizes = {(height, width)} | (set() if node.kind == "Concatenate" else {((0, 1), (0, 1))})
        if any(shape[:2] not in sizes for shape in inputs):
            found = " and ".join(dict.fromkeys(map(_in_words, inputs)))
            raise InputError(
                f"layer {node.name!r} ({node.kind}): its inputs differ in size, {found}"
            )
        all_channels = [shape.channels for shape in inputs]
        channels = sum(all_channels) if node.kind == "Concatenate" else max(all_channels)
    if min(height) < 0 and height[0] == 0:
        raise InputError(f"layer {node.name!r} ({node.kind}): nothing is left of its input")
    return Shape(height, width, channels)


def _in_words(shape):
    """Height and width of a feature map, such as 2H-2 x 2W-2."""
    sides = zip("HW", shape[:2], strict=True)
    return " x ".join(
        f"{a if a > 1 else ''}{name}{f'{b:+}' if b else ''}" for name, (a, b) in sides
    )


def _check_convolution(node):
    config = node.config
    sizes = config["filters"], config["groups"], *config["kernel_size"], *config["dilation_rate"]
    if not all(type(size) is int and 0 < size < MOST_SIZE for size in sizes):
        raise InputError(
            f"layer {node.name!r} (Conv2D): filters, groups, kernel size and dilation are {sizes}: "
            f"expected whole numbers from 1 to {MOST_SIZE - 1}"
        )
    if set(config["strides"]) != {1}:
        raise Unknown(node, f"with strides {config['strides']}")
    if config.get("data_format") == "channels_first":
        raise Unknown(node, "with channels first")
    _check_activation(node)


def _check_pointwise(node):
    config = node.config
    if node.kind in ("Concatenate", "BatchNormalization") and config["axis"] not in (-1, 3, [3]):
        raise Unknown(node, f"along axis {config['axis']}")
    if node.kind == "PReLU" and config["shared_axes"] not in ([1, 2], (1, 2)):
        raise Unknown(node, f"with shared_axes {config['shared_axes']}")
    if node.kind == "ReLU" and config.get("threshold"):
        raise Unknown(node, f"with a threshold of {config['threshold']}")
    if node.kind == "Activation":
        _check_activation(node)


def _check_activation(node):
    activation = node.config["activation"]
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        raise Unknown(node, f"with activation {activation!r}")


def _weights(node, inputs):
    """Shapes of a layer's weights, in the order in which they are stored."""
    config = node.config
    if node.kind == "Conv2D":
        channels, filters = inputs[0].channels // config["groups"], config["filters"]
        kernel = (*config["kernel_size"], channels, filters)
        return [kernel, (filters,)] if config["use_bias"] else [kernel]
    if node.kind == "BatchNormalization":
        count = 2 + bool(config["scale"]) + bool(config["center"])
        return [(inputs[0].channels,)] * count
    return [(1, 1, inputs[0].channels)] if node.kind == "PReLU" else []
