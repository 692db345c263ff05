"""Networks ready to compute, by Keras or by an engine without it."""

import functools
import hashlib
import math
import timeit
from pathlib import Path

import numpy as np

from superres.runtime import backend, engines, hardware, memory
from superres.runtime.backend import keras
from superres.runtime.errors import InputError
from superres.upscaling import probe, weight_files
from superres.upscaling.folding import PIXELS, linear_end
from superres.upscaling.graph import Graph

# Memory, with that of kernels such as copies in another layout, as a multiple of the feature maps.
KERAS_OVERHEAD, ENGINE_OVERHEAD = 1.8, 1.2
ENLARGED_COPIES = 5
SOURCES = ("graph", "folding", "limits", "onnx_graph")  # changes make cached graphs stale
TIMED_SIDE = 128  # LR pixels
WINDOW_STEP = 64  # under JAX, which compiles each size anew, windows are multiples of it


class KerasNetwork:
    """A Keras model, with its `Graph` and `Traits`; InputError: it does not enlarge RGB pictures.

    What is compiled in float32 follows changes of its weights, unless it `folds`, see `folding`.
    """

    extra_work = 0.15  # share of pixels that halos may add; larger windows add less, but are slower
    most_split = math.inf  # see `TilePlan`

    def __init__(self, model, folds=False, limits=None):
        self.model, self.limits = model, limits or {}
        self.graph = Graph.of_model(model)
        self._end = linear_end(self.graph) if folds and not self.graph.unknown else None
        self._measured_bytes = probe.bytes_per_pixel(model) if self.graph.unknown else None
        self.traits = self.graph.traits or probe.traits(model)

    def steps(self, precision):
        """Height and width of windows should be multiples of these."""
        return (1, 1) if backend.supports_dynamic_shapes() else (WINDOW_STEP, WINDOW_STEP)

    def fastest_precision(self):
        """The fastest here that is known to be as good."""
        return "float32" if self.graph.unknown or not backend.has_fast_bfloat16() else "bfloat16"

    def free_memory(self):
        return memory.free_device_memory()

    def bytes_per_pixel(self, precision):
        """Memory for each LR pixel of a window."""
        is_known = not self.graph.unknown
        needed = self.graph.bytes_per_pixel(precision) if is_known else self._measured_bytes
        return math.ceil(KERAS_OVERHEAD * needed)

    def compile(self, precision):
        """A function in a precision, of NumPy arrays; InputError: the network has it not.

        It takes float32 (N, H, W, 3), and a condition (N, 1, 1, conditions) if the network does,
        and returns float32 (N, scale * H, scale * W, 3).
        """
        if precision == "int8":
            raise InputError("PRECISION = 'int8': needs ENGINE = 'openvino'")

        def compiled(end):
            model = in_precision(self.model, self.graph, precision, end, self.limits)
            return backend.compile_model(model)

        return _by_size(compiled, self._end)

    def __str__(self):
        return backend.describe()


class FileNetwork:
    """A network from a weights file, all of whose layers `Graph` knows, without Keras.

    `cache` is a folder for compiled graphs, or `None`. With `folds`, its end may be computed as one
    convolution, see `folding`. `mix` names another file and the share of its weights.
    """

    extra_work = 0.11
    most_split = 1.15

    def __init__(self, path, cache=None, folds=True, mix=None):
        self.path, self.cache, self._mix = Path(path), cache, mix
        self.graph = weight_files.read_graph(self.path)
        self.traits = self.graph.traits
        self._end = linear_end(self.graph) if folds else None
        self.limits = weight_files.stored_limits(self.graph, path, *(mix or ())[:1])

    def steps(self, precision):
        return engines.window_steps(precision)

    def fastest_precision(self):
        engine = engines.openvino()
        usual = "bfloat16" if engine.has_fast_bfloat16() else "float32"
        if not (self.limits and self.cache and hardware.has_vnni()) or hardware.has_amx():
            return usual
        name, choices = f"{self._digest()}-fastest", (usual, "int8")
        return engine.remembered(self.cache, name, choices, lambda: min(choices, key=self._seconds))

    def _seconds(self, precision):
        """The time that a small tile takes."""
        run, count = self.compile(precision), self.graph.conditions
        shapes = [(1, TIMED_SIDE, TIMED_SIDE, 3)] + [(1, 1, 1, count)] * bool(count)
        inputs = [np.zeros(shape, np.float32) for shape in shapes]
        run(*inputs)
        return min(timeit.repeat(lambda: run(*inputs), number=1, repeat=3))

    def free_memory(self):
        return memory.free_memory()

    def bytes_per_pixel(self, precision):
        needed = self.graph.bytes_per_pixel(precision, self._end.within if self._end else ())
        # With a folded end, enlarged pixels are joined from parts.
        pixels = ENLARGED_COPIES * 3 * 4 * self.graph.scale**2 if self._end else 0
        return math.ceil(ENGINE_OVERHEAD * (needed + pixels))

    def compile(self, precision):
        """As `KerasNetwork.compile`; a result is valid until the next call."""
        if precision == "int8" and not self.limits:
            raise InputError(
                f"PRECISION = 'int8': {self.path.name} has no limits of its feature maps, which "
                "trainings write since 2026-11: expected auto, float32 or bfloat16"
            )
        return _by_size(functools.partial(self._compile, precision), self._end)

    def _compile(self, precision, end):
        name = self._digest() + ("" if end else "-plain")
        exact = self.graph.exact | {f"{node}/{PIXELS}" for node in self.graph.emitting}
        write = functools.partial(self._write, end, precision == "int8")
        return engines.openvino().compile_graph(write, exact, precision, self.cache, name)

    def _write(self, end, in_int8):
        """The network as bytes of an ONNX file."""
        from superres.upscaling.onnx_graph import onnx_graph  # here, since it loads onnx

        arrays = weight_files.read_arrays(self.path, self.graph)
        if self._mix:
            other, share = self._mix
            others = weight_files.read_arrays(other, self.graph)
            arrays = {n: weight_files.mix(one, others[n], share) for n, one in arrays.items()}
        graph = onnx_graph(self.graph, arrays, end, self.limits, in_int8)
        return graph.SerializeToString()

    def _digest(self):
        """Of the weights and of the code that turns them into a graph."""
        others, share = (self._mix or ())[:1], (self._mix or ())[1:]
        digest = hashlib.sha256(repr(share).encode())
        sources = (Path(__file__).with_name(f"{name}.py") for name in SOURCES)
        for path in (self.path, *others, *sources):
            with open(path, "rb") as file:
                hashlib.file_digest(file, lambda: digest)
        return digest.hexdigest()[:16]

    def __str__(self):
        return engines.describe()


def _by_size(compile_with, end):
    """What `compile_with(end)` returns; with `None` for pictures that are too small for the end."""
    folded, for_small = compile_with(end), functools.cache(compile_with)
    if not end:
        return folded

    def call(lr, *condition):
        is_large = min(lr.shape[1:3]) > 2 * end.border
        return (folded if is_large else for_small(None))(lr, *condition)

    return call


def in_precision(model, graph, precision, end=None, limits=None):
    """A Keras model in `precision`: itself, or a copy; `end` is computed as one convolution.

    Weights, the last convolution and all layers after it stay in float32: pixels emitted in
    bfloat16 cost 0.03 dB.
    """
    from superres.upscaling.keras_layers import FoldedEnd, LimitedConv2D  # here: they load Keras

    policies = {layer.dtype_policy.name for layer in model.layers}
    if precision == "float32" and policies == {"float32"} and not (end or limits):
        return model
    limits = {graph.nodes[name].layer: limit for name, limit in (limits or {}).items()}
    emitting = {graph.nodes[name].layer for name in graph.emitting}
    within = {node.layer for node in end.nodes[:-1]} if end else ()

    def clone(layer):
        config = layer.get_config()
        if layer.name in within:
            return keras.layers.Identity(name=layer.name)
        if end and layer.name == end.nodes[-1].layer:
            return FoldedEnd(end, model, limits.get(end.nodes[0].layer))
        if isinstance(layer, keras.layers.Layer):
            in_float32 = precision == "float32" or layer.name in emitting
            config["dtype"] = "float32" if in_float32 else "mixed_bfloat16"
        if layer.name in limits:
            return LimitedConv2D(limits[layer.name], **config)
        return type(layer).from_config(config)

    copy = keras.models.clone_model(model, clone_function=clone, recursive=True)
    for layer in copy.layers:
        if layer.weights:
            weights = model.get_layer(layer.name).get_weights()
            if layer.name in limits:
                weights[0] = limits[layer.name].rounded_kernel(weights[0])
            layer.set_weights(weights)
    return copy
