"""A network as an ONNX graph, channels first, which engines other than Keras can run.

Keras exports channels last, (N, H, W, C), but on processors a network is up to twice as fast with
channels first. So kernels (kh, kw, in, out) are transposed. Pixel shuffles keep Keras's order of
channels, (i, j, c), which ONNX calls DCR.
"""

import functools

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from superres.upscaling.folding import PIXELS, fold
from superres.upscaling.graph import CONDITION_INPUTS, reach

OPSET = 17  # of 2022, which all current engines read
INPUT, OUTPUT = "lr", "sr"


def onnx_graph(graph, arrays, end=None, limits=None, in_int8=False):
    """Writes a network as an `onnx.ModelProto` for pictures of every size.

    It takes float32 RGB `lr` (N, 3, H, W) in [0, 1], perhaps `quality` (N, 1, 1, 1) or `condition`
    (N, 4, 1, 1), and makes `sr` (N, 3, scale * H, scale * W).

    Args:
        graph: `Graph`.
        arrays: dict of layer -> list of its weights, as `weight_files.read_arrays` returns it.
        end: `folding.End` to write as one convolution, for H and W of more than 2 * `end.border`.
        limits: dict of node -> `Limit`, of `limits.from_metadata`.
        in_int8: whether the nodes with limits compute in eight bits.
    """
    writer = _Writer(graph, arrays, end, limits or {}, in_int8)
    for node in graph.nodes.values():
        writer.add(node)
    shapes = {INPUT: ["n", 3, "height", "width"]}
    if graph.conditions:
        shapes[CONDITION_INPUTS[graph.conditions]] = ["n", graph.conditions, 1, 1]
    inputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()]
    enlarged = ["n", 3, f"{graph.scale}*height", f"{graph.scale}*width"]
    output = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, enlarged)
    model = helper.make_model(
        helper.make_graph(writer.nodes, "network", inputs, [output], writer.constants),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=8,  # of the same year
        producer_name="superres",
    )
    onnx.checker.check_model(model)
    return model


def fix_condition(model, condition):
    """A copy of `onnx_graph`'s model with a fixed `Condition.values`, float32 (1,) or (4,).

    What follows from it alone is computed here, since OpenCV does not fold constants.
    """
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    graph = fixed.graph
    constants = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    constants[graph.input.pop().name] = condition.reshape(1, -1, 1, 1)
    nodes = []
    for node in graph.node:
        if constants.keys() >= set(node.input):
            values = ReferenceEvaluator(node).run(None, {n: constants[n] for n in node.input})
            constants |= zip(node.output, values, strict=True)
        else:
            nodes.append(node)
    used = {name for node in nodes for name in node.input}
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(
        numpy_helper.from_array(value, name) for name, value in constants.items() if name in used
    )
    onnx.checker.check_model(fixed)
    return fixed


class _Writer:
    """ONNX nodes, named after those of the network, and their constants."""

    def __init__(self, graph, arrays, end, limits, in_int8):
        self.graph, self.arrays, self.end = graph, arrays, end
        self.limits, self.in_int8 = limits, in_int8
        self.nodes, self.constants = [], []
        self._names = {}  # of constants, by their arrays
        names = INPUT, CONDITION_INPUTS[graph.conditions]
        self._tensors = dict(zip(graph.inputs, names, strict=False))

    def add(self, node):
        """Translates a node of the graph."""
        if node.kind == "InputLayer" or (self.end and node.name in self.end.within):
            return
        inputs = [self._tensors.get(value, value) for value in node.inputs]
        if self.end and node is self.end.nodes[-1]:
            made = self._fold(self._tensors[self.end.nodes[0].from_nodes[0]])
        else:
            made = self._translate(node, *inputs)
        if node.name == self.graph.output:
            self._put("Identity", node, made, output=OUTPUT)
        self._tensors[node.name] = made

    def _translate(self, node, *inputs):
        return getattr(self, f"_{node.kind.lower()}", self._merge)(node, *inputs)

    def _fold(self, x):
        """The end as one convolution; along the border layer by layer."""
        *_, node = self.end.nodes
        kernel, bias = fold(self.end, self.arrays)
        size, border, radius = len(kernel), self.end.border, self.end.radius
        limited, kernel = self._limit(self.end.nodes[0], x, kernel)
        pads = [radius] * 4
        one = self._conv(node, limited, kernel, [bias], kernel_shape=[size, size], pads=pads)
        # OpenVINO fuses a float32 node with the convolution before it, which then emits float32
        # even in bfloat16. No pixel comes near the bounds.
        one = self._pixels("Clip", node, one, -100.0, 100.0)
        one = self._pixels("DepthToSpace", node, one, blocksize=self.end.factor, mode="DCR")
        if not border:
            return one
        width, deep, far = border * self.end.factor, border + radius, np.iinfo(np.int64).max

        def part(put, tensor, axis, first, last):
            bounds = (self._constant(node, [n], np.int64) for n in (first, last, axis))
            return put("Slice", node, tensor, *bounds)

        def unfolded(axis, is_last):
            """The border at one side."""
            strip = part(self._put, x, axis, *((-deep, far) if is_last else (0, deep)))
            for step in self.end.nodes:
                strip = self._translate(step, strip)
            strip = self._pixels("Clip", node, strip, -100.0, 100.0)
            return part(self._pixels, strip, axis, *((-width, far) if is_last else (0, width)))

        def inner(tensor, axis):
            return part(self._pixels, tensor, axis, width, -width)

        rows, columns = 2, 3
        middle = [inner(unfolded(columns, False), rows), inner(inner(one, rows), columns)]
        middle.append(inner(unfolded(columns, True), rows))
        middle = self._pixels("Concat", node, *middle, axis=columns)
        whole = [unfolded(rows, False), middle, unfolded(rows, True)]
        return self._pixels("Concat", node, *whole, axis=rows)

    def _pixels(self, kind, node, *inputs, **attributes):
        """As `_put`, for nodes that only move pixels; their names form a group."""
        output = f"{node.name}/{PIXELS}/{len(self.nodes)}"
        return self._put(kind, node, *inputs, output=output, **attributes)

    def _put(self, kind, node, *inputs, output=None, **attributes):
        """Adds an ONNX node; numbers and arrays among its inputs become constants."""
        names = [x if isinstance(x, str) else self._constant(node, x) for x in inputs]
        output = output or f"{node.name}/{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, names, [output], output, **attributes))
        return output

    def _constant(self, node, value, dtype=np.float32):
        array = np.ascontiguousarray(value, dtype).reshape(np.shape(value))
        key = array.tobytes(), array.shape, array.dtype
        if key not in self._names:
            self._names[key] = f"{node.name}/constant{len(self.constants)}"
            self.constants.append(numpy_helper.from_array(array, self._names[key]))
        return self._names[key]

    def _conv2d(self, node, x):
        config = node.config
        kernel, *bias = self.arrays[node.layer]
        pads = [0, 0, 0, 0]
        if config["padding"] == "same":
            # An odd zero goes last.
            reaches = reach(config)
            before = [n // 2 for n in reaches]
            pads = [*before, *(n - b for n, b in zip(reaches, before, strict=True))]
        sizes = {"kernel_shape": config["kernel_size"], "dilations": config["dilation_rate"]}
        x, kernel = self._limit(node, x, kernel)
        made = self._conv(node, x, kernel, bias, group=config["groups"], pads=pads, **sizes)
        return self._activation(node, made)

    def _conv(self, node, x, kernel, bias, **attributes):
        kernel = kernel if isinstance(kernel, str) else kernel.transpose(3, 2, 0, 1)
        return self._put("Conv", node, x, kernel, *bias, **attributes)

    def _limit(self, node, x, kernel):
        """The clipped input and the rounded kernel of a convolution, perhaps in eight bits."""
        if not (limit := self.limits.get(node.name)):
            return x, kernel
        if not self.in_int8:
            most, least = (one.reshape(-1, 1, 1) for one in (limit.most, limit.least))
            clipped = self._put("Max", node, self._put("Min", node, x, most), least)
            return clipped, limit.rounded_kernel(kernel)
        dtype = np.uint8 if limit.is_positive else np.int8
        levels, unit = limit.rounded(kernel)
        zeros = self._constant(node, 0 * limit.step, dtype)
        x = self._put("QuantizeLinear", node, x, limit.step, zeros, axis=1)
        x = self._put("DequantizeLinear", node, x, 1.0, self._constant(node, 0, dtype))
        levels = self._constant(node, levels.transpose(3, 2, 0, 1), np.int8)
        zeros = self._constant(node, 0 * unit, np.int8)
        return x, self._put("DequantizeLinear", node, levels, unit, zeros, axis=0)

    def _activation(self, node, x):
        name = node.config["activation"]
        if name == "linear":
            return x
        if name == "leaky_relu":
            return self._put("LeakyRelu", node, x, alpha=0.2)
        if name == "relu6":
            return self._put("Clip", node, x, 0.0, 6.0)
        if name == "silu":
            return self._put("Mul", node, x, self._put("Sigmoid", node, x))
        if name == "gelu":
            bent = self._put("Erf", node, self._put("Mul", node, x, np.sqrt(0.5)))
            half = self._put("Mul", node, x, 0.5)
            return self._put("Mul", node, half, self._put("Add", node, bent, 1.0))
        return self._put(name.capitalize(), node, x)

    def _depthtospace(self, node, x):
        return self._put("DepthToSpace", node, x, blocksize=node.config["block_size"], mode="DCR")

    def _pad(self, node, x, value=None):
        (top, bottom), (left, right) = node.config["pad_width"][1:3]
        mode = node.config.get("mode", "constant").replace("symmetric", "edge")  # of one pixel
        pads = self._constant(node, [0, 0, top, left, 0, 0, bottom, right], np.int64)
        values = [float(value or 0)] if mode == "constant" else []
        return self._put("Pad", node, x, pads, *values, mode=mode)

    def _relu(self, node, x):
        config = node.config  # empty for the operation of `keras.ops`
        slope = config.get("negative_slope") or 0
        x = self._put("LeakyRelu", node, x, alpha=slope) if slope else self._put("Relu", node, x)
        most = config.get("max_value")
        return x if most is None else self._put("Min", node, x, most)

    def _leakyrelu(self, node, x):
        return self._put("LeakyRelu", node, x, alpha=node.config["negative_slope"])

    def _elu(self, node, x):
        return self._put("Elu", node, x, alpha=node.config["alpha"])

    def _prelu(self, node, x):
        return self._put("PRelu", node, x, self.arrays[node.layer][0].transpose(2, 0, 1))

    def _clip(self, node, x):
        return self._put("Clip", node, x, node.config["x_min"], node.config["x_max"])

    def _rescaling(self, node, x):
        values = (np.asarray(node.config[key]) for key in ("scale", "offset"))
        scale, offset = (v.reshape(-1, 1, 1) if v.ndim else v for v in values)
        x = self._put("Mul", node, x, scale)
        return self._put("Add", node, x, offset) if offset.any() else x

    def _batchnormalization(self, node, x):
        *scale_and_shift, mean, variance = self.arrays[node.layer]
        scale = scale_and_shift.pop(0) if node.config["scale"] else np.ones_like(mean)
        shift = scale_and_shift.pop(0) if node.config["center"] else np.zeros_like(mean)
        weights = scale, shift, mean, variance
        return self._put("BatchNormalization", node, x, *weights, epsilon=node.config["epsilon"])

    def _dropout(self, node, x):
        return x

    _identity = _dropout

    def _concatenate(self, node, *inputs):
        return self._put("Concat", node, *inputs, axis=1)

    def _average(self, node, *inputs):
        return self._put("Mean", node, *inputs)

    def _merge(self, node, *inputs):
        kind = node.kind[:3]  # Add, Sub, Mul, Max, Min
        return functools.reduce(lambda a, b: self._put(kind, node, a, b), inputs)
