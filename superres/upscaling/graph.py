"""A network as a graph of plain values: how far it looks, what it costs.

Made from `config.json` of a weights file without Keras, which takes seconds to load. OpenVINO can
compute a network whose layers are all known here. Others are measured by `probe`, and computed by
Keras.
"""

import graphlib
import itertools
import json
import math
from typing import NamedTuple

from superres.runtime.errors import InputError

# Layers whose output pixel depends on the input pixel at the same position alone.
# fmt: off
POINTWISE_LAYERS = {
    "Activation", "Add", "Average", "BatchNormalization", "Concatenate", "Dropout", "ELU",
    "Identity", "LeakyReLU", "Maximum", "Minimum", "Multiply", "PReLU", "ReLU", "Rescaling",
    "Subtract",
}
ACTIVATIONS = {
    "elu", "gelu", "leaky_relu", "linear", "relu", "relu6", "sigmoid", "silu", "softplus", "tanh",
}
# Nodes that `keras.ops` and operators such as + add to a network, by module.
OPERATIONS = {
    "keras.src.ops.nn": {"DepthToSpace", "Relu"},
    "keras.src.ops.numpy": {
        "Add", "Clip", "Concatenate", "Maximum", "Minimum", "Multiply", "Pad", "Subtract",
    },
}
# fmt: on
POINTWISE = POINTWISE_LAYERS | set().union(*OPERATIONS.values()) - {"DepthToSpace", "Pad"}
TRANSPARENT = POINTWISE | {"DepthToSpace", "InputLayer", "Pad"}
MAX_SIZE = 2**16  # of any number in a convolution's configuration
ITEM_BYTES = {"float32": 4, "bfloat16": 2, "int8": 4}  # the sums stay float32 in int8
CONDITION_INPUTS = {0: "", 1: "quality", 4: "condition"}  # names of second inputs, by channels
EXPECTED = (
    "expected a network that takes (N, H, W, 3) of any H and W, or that and a condition, "
    "(N, 1, 1, 1) or (N, 1, 1, 4), and makes one output"
)


class Unknown(Exception):
    """A node that the graph cannot follow."""

    def __init__(self, node, why=""):
        super().__init__(f"layer {node.name!r} ({node.kind}{why and f' {why}'})")


class Traits(NamedTuple):
    """The facts about a network that enlarging needs."""

    scale: int
    conditions: int  # channels of the second input, see `images.quality.Condition`; 0: has none
    parameters: int  # number of all weights
    halo: int | None  # LR pixels beyond which no input counts; None: unknown
    multiple_of: int = 1  # of the sides of pictures


class Node(NamedTuple):
    """One use of a layer, or of an operation of `keras.ops`."""

    name: str  # that of the layer, and a number where it is used again
    layer: str  # the layer, which has the weights
    kind: str  # its class, such as Conv2D
    config: dict
    inputs: tuple  # names of nodes, and numbers; other values in a tuple
    module: str  # of the class

    @property
    def is_transparent(self):
        """Whether its output is pixels when its input is: it has no weights."""
        return self.kind in TRANSPARENT or self.module.startswith("keras.src.ops.")

    @property
    def from_nodes(self):
        return [name for name in self.inputs if isinstance(name, str)]


class Shape(NamedTuple):
    """Of a feature map; a side is (a, b) for a * LR pixels + b, and (0, 1) for the condition."""

    height: tuple
    width: tuple
    channels: int


class Graph:
    """A network, from its configuration; InputError: it does not enlarge RGB pictures.

    Attributes:
        nodes: dict of name -> `Node`, in an order in which they can be computed.
        layers: dict of layer -> its kind, in their order in files.
        inputs, output: names of the nodes that are the picture, perhaps the condition; the result.
        pixels_in: names of the nodes that take only pixels of the input.
        emitting: names of the nodes that make pixels: the last convolutions and all after them.
        exact: names of the nodes of these two groups that both take and make pixels.
        unknown: the first node that the graph cannot follow, in words; then `traits` is `None`,
            and the attributes below are missing.
        shapes: dict of name -> `Shape`.
        weights: dict of layer -> list of the shapes of its weights, in their order in files.
        scale, conditions, radius, parameters: as in `Traits`, where the radius is called halo.
    """

    def __init__(self, config):
        nodes, self.inputs, self.output = _parse(config)
        self.nodes = _in_order(nodes, self.output)
        layers = config["config"]["layers"]
        self.layers = {layer["config"]["name"]: layer["class_name"] for layer in layers}
        self.conditions = self._checked_conditions()
        self._find_pixels()
        self.traits, self.unknown = None, ""
        try:
            self._reason()
        except Unknown as node:
            self.unknown = str(node)

    def _reason(self):
        """Follows shapes through the graph; raises `Unknown`."""
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
        return cls(json.loads(model.to_json()))

    def _checked_conditions(self):
        picture = Shape((1, 0), (1, 0), 3)
        nodes = [self.nodes.get(name) for name in self.inputs]  # None: nothing uses it
        shapes = [node and node.kind == "InputLayer" and _shape(node, []) for node in nodes]
        for count, name in CONDITION_INPUTS.items():
            if shapes == [picture, *([Shape((0, 1), (0, 1), count)] if name else [])]:
                return count
        raise InputError(EXPECTED)

    def _checked_scale(self):
        height, width, channels = self.shapes[self.output]
        if channels == 3 and height == width and height[0] >= 1 and height[1] == 0:
            return height[0]
        made = (*(a * 8 + b for a, b in (height, width)), channels)
        raise InputError(
            "expected a network that enlarges RGB pictures by a whole number; it makes (8, 8, 3) "
            f"into {made}"
        )

    def _radius(self):
        """Follows the first and last pixel that one LR pixel's outputs need, back to the input."""
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
                first, last = (n // node.config["block_size"] for n in (first, last))
            for name in node.from_nodes:
                before, after = spans.get(name, (first, last))
                spans[name] = min(before, first), max(after, last)
        first, last = spans[self.inputs[0]]
        return max(-first, last)

    def _find_pixels(self):
        nodes = self.nodes.values()
        transparent = {node.name for node in nodes if node.is_transparent}
        self.pixels_in, self.emitting = set(), {self.output}
        for node in nodes:
            if (self.pixels_in & transparent).issuperset(node.from_nodes):
                self.pixels_in.add(node.name)
        for node in reversed(nodes):
            if node.name in self.emitting & transparent:
                self.emitting.update(node.from_nodes)
        self.exact = self.pixels_in & self.emitting | transparent & (self.pixels_in | self.emitting)

    def pixels(self, name):
        """Pixels of a feature map per LR pixel."""
        return self.shapes[name].height[0] * self.shapes[name].width[0]

    @property
    def flop_per_pixel(self):
        """Floating-point operations per LR pixel: two for each weight of a convolution."""
        return sum(
            2 * self.pixels(node.name) * math.prod(self.weights[node.layer][0])
            for node in self.nodes.values()
            if node.kind == "Conv2D"
        )

    def bytes_per_pixel(self, precision, left_out=()):
        """Peak memory per LR pixel, without the results of the nodes `left_out`."""
        last_use, item, held, most = {}, {}, {}, 0
        for node in self.nodes.values():
            last_use |= dict.fromkeys(node.from_nodes, node.name)
            is_exact = node.kind == "InputLayer" or node.name in self.emitting
            item[node.name] = ITEM_BYTES["float32" if is_exact else precision]
        for node in self.nodes.values():
            values = self.pixels(node.name) * self.shapes[node.name].channels
            held[node.name] = 0 if node.name in left_out else values * item[node.name]
            own, takes = item[node.name], set(node.from_nodes)
            casts = sum(held[name] // item[name] * own for name in takes if item[name] != own)
            most = max(most, sum(held.values()) + casts)
            held = {name: size for name, size in held.items() if last_use.get(name) != node.name}
        return most


def _parse(config):
    """Nodes by name, in any order; names of the inputs; name of the output."""
    kind = config.get("class_name") if isinstance(config, dict) else None
    if kind not in ("Functional", "Sequential"):
        raise InputError(f"expected a Functional or Sequential model, not {kind}")
    config = config["config"]
    nodes = {}
    for layer in config["layers"]:
        kind, name = layer["class_name"], layer["config"]["name"]
        if (own := layer.get("registered_name")) not in (None, kind):
            kind = own  # a custom layer, perhaps with a name that Keras has as well
        calls = layer.get("inbound_nodes")
        if calls is None:  # in a Sequential model each layer takes the output of the last
            calls = [list(nodes)[-1:]]
        else:
            calls = [list(input_names([*call["args"], *call["kwargs"].values()])) for call in calls]
        for number, inputs in enumerate(calls or [[]]):
            node, module = _node_name(name, number), layer.get("module") or ""
            nodes[node] = Node(node, name, kind, layer["config"], tuple(inputs), module)
    if "output_layers" not in config:
        names = list(nodes)
        return nodes, names[:1], names[-1]
    inputs, outputs = _ends(config["input_layers"]), _ends(config["output_layers"])
    if len(outputs) != 1:
        raise InputError(EXPECTED)
    return nodes, inputs, outputs[0]


def _ends(places):
    """Names of nodes from one or several [name, number, number]."""
    places = [places] if isinstance(places[0], str) else places
    return [_node_name(name, number) for name, number, _ in places]


def _node_name(name, number):
    return f"{name}:{number}" if number else name


def input_names(value):
    """Yields names of nodes, and numbers, in a layer's arguments; other values in a tuple."""
    if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
        name, number, _ = value["config"]["keras_history"]
        yield _node_name(name, number)
    elif isinstance(value, list):
        yield from itertools.chain(*map(input_names, value))
    elif isinstance(value, float) or type(value) is int:
        yield value
    elif value is not None and not isinstance(value, bool):
        yield (value,)


def _in_order(nodes, output):
    """The nodes that the output needs, each after its inputs."""
    needs, behind = {}, [output]
    while behind:
        name = behind.pop()
        if name not in needs:
            needs[name] = nodes[name].from_nodes
            behind += needs[name]
    return {name: nodes[name] for name in graphlib.TopologicalSorter(needs).static_order()}


def reach(config):
    """How many pixels more than one a convolution looks at, in height and in width."""
    sizes = zip(config["kernel_size"], config["dilation_rate"], strict=True)
    return [dilation * (size - 1) for size, dilation in sizes]


def _shape(node, inputs):
    config, layer = node.config, f"layer {node.name!r} ({node.kind})"
    if node.kind == "InputLayer":
        _, height, width, channels = config.get("batch_shape") or config["batch_input_shape"]
        sides = [(0, side) if side else (1, 0) for side in (height, width)]
        return Shape(*sides, channels)
    if node.kind not in TRANSPARENT | {"Conv2D"} or any(isinstance(x, tuple) for x in node.inputs):
        raise Unknown(node)
    height, width, channels = inputs[0]
    if node.kind == "Conv2D":
        _check_convolution(node)
        if config["padding"] == "valid":
            height, width = _longer(height, width, [-beyond for beyond in reach(config)])
        channels = config["filters"]
    elif node.kind == "Pad":
        batch, *sides, last = config["pad_width"]
        if any(batch) or any(last):
            raise Unknown(node, "of other than height and width")
        mode, most = config.get("mode", "constant"), max(map(max, sides))
        if mode not in ("constant", "edge", "reflect") and (mode != "symmetric" or most > 1):
            raise Unknown(node, f"of {most} pixels of mode {mode!r}")
        height, width = _longer(height, width, map(sum, sides))
    elif node.kind == "DepthToSpace":
        factor = config["block_size"]
        height, width = ((factor * a, factor * b) for a, b in (height, width))
        channels //= factor**2
    else:
        _check_pointwise(node)
        height, width = max(one.height for one in inputs), max(one.width for one in inputs)
        # All of one size; some may be one pixel, as the condition is, which is added everywhere.
        sizes = {(height, width)} | (set() if node.kind == "Concatenate" else {((0, 1), (0, 1))})
        if any(shape[:2] not in sizes for shape in inputs):
            found = " and ".join(dict.fromkeys(map(_in_words, inputs)))
            raise InputError(f"{layer}: its inputs differ in size, {found}")
        channels = (sum if node.kind == "Concatenate" else max)(one.channels for one in inputs)
    if min(height) < 0 and height[0] == 0:
        raise InputError(f"{layer}: nothing is left of its input")
    return Shape(height, width, channels)


def _longer(height, width, pixels):
    return [(a, b + more) for (a, b), more in zip((height, width), pixels, strict=True)]


def _in_words(shape):
    """Height and width of a feature map, such as 2H-2 x 2W-2."""
    sides = zip(shape[:2], "HW", strict=True)
    return " x ".join(f"{a if a > 1 else ''}{n}{f'{b:+}' if b else ''}" for (a, b), n in sides)


def _check_convolution(node):
    config = node.config
    sizes = config["filters"], config["groups"], *config["kernel_size"], *config["dilation_rate"]
    if not all(type(size) is int and 0 < size < MAX_SIZE for size in sizes):
        raise InputError(
            f"layer {node.name!r} (Conv2D): filters, groups, kernel size and dilation are {sizes}: "
            f"expected whole numbers from 1 to {MAX_SIZE - 1}"
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
    config = node.config
    if node.kind == "Conv2D":
        channels, filters = inputs[0].channels // config["groups"], config["filters"]
        kernel = (*config["kernel_size"], channels, filters)
        return [kernel, (filters,)] if config["use_bias"] else [kernel]
    if node.kind == "BatchNormalization":
        count = 2 + bool(config["scale"]) + bool(config["center"])
        return [(inputs[0].channels,)] * count
    return [(1, 1, inputs[0].channels)] if node.kind == "PReLU" else []
