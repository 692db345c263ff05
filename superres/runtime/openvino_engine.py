"""OpenVINO: compiles an ONNX graph for this processor, and caches the result."""

import contextlib
import functools
import hashlib
import io
import os
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

from superres.runtime.errors import InputError
from superres.runtime.files import remove_stale_files, replacing

# Without this module OpenVINO cannot report to its makers that it was imported.
sys.modules.setdefault("openvino_telemetry", None)

import openvino  # noqa: E402
from openvino import Layout  # noqa: E402
from openvino.preprocess import PrePostProcessor  # noqa: E402

HINTS = {"float32": "f32", "bfloat16": "bf16", "int8": "f32"}  # for what is not in int8
MAX_CACHED = 30  # files, one for each network and precision; then the oldest go


@functools.cache
def _core():
    """The only core of the process.

    Each core sets a stack for signals. When the second of two goes, it restores that of the first,
    which is gone, and the next Ctrl-C is a segmentation fault.
    """
    return openvino.Core()


def has_fast_bfloat16():
    """Whether the processor computes in bfloat16."""
    return "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def compile_graph(write, exact, precision, cache, name):
    """Compiles a graph for pictures of all sizes.

    Args:
        write: returns the bytes of an ONNX file, channels first, where the cache lacks the graph.
        exact: names of nodes, or their parts before the last /, that always compute in float32.
        precision: of `HINTS`.
        cache, name: folder for the compiled graph, or `None`, and its unique name there.

    Returns:
        Function from float32 (N, H, W, C), and the graph's other inputs, to float32 of the same
        layout, which is valid until the next call.
    """
    core = _core()
    options = {"INFERENCE_PRECISION_HINT": HINTS[precision], "PERFORMANCE_HINT": "LATENCY"}
    # Or a thread would wait for the encoder of the last picture on its core.
    options["ENABLE_CPU_PINNING"] = False
    path = Path(cache, f"{name}-{precision}-{_platform_digest(core)}.blob") if cache else None
    model = _load_cached(core, path, options) if path else None
    if not model:
        model = core.compile_model(core.read_model(*ir(write(), exact)), "CPU", options)
        if path:
            _save_cached(path, model.export_model().getvalue())
    request = model.create_infer_request()
    return lambda *inputs: request.infer(inputs, share_inputs=True, share_outputs=True)[0]


def _platform_digest(core):
    """Of the processor, the version of OpenVINO, and this file."""
    device = core.get_property("CPU", "FULL_DEVICE_NAME")
    parts = (device.encode(), openvino.__version__.encode(), Path(__file__).read_bytes())
    return hashlib.sha256(b"".join(parts)).hexdigest()[:8]


def remembered(cache, name, choices, measure):
    """One of `choices`: what `measure()` returned earlier on this platform, or returns now."""
    path = Path(cache, f"{name}-{_platform_digest(_core())}.txt")
    with contextlib.suppress(OSError, ValueError):
        if (found := path.read_text()) in choices:
            return found
    found = measure()
    with contextlib.suppress(OSError, InputError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part:
            part.write_text(found)
    return found


def _load_cached(core, path, options):
    """The compiled graph in a file of the cache; `None`: missing, damaged, or for others."""
    with contextlib.suppress(OSError):
        os.utime(path)  # the oldest go first
    with contextlib.suppress(OSError, RuntimeError):  # the last: of other instructions
        content = path.read_bytes()
        digest, blob = content[:32], content[32:]
        if hashlib.sha256(blob).digest() == digest:
            return core.import_model(io.BytesIO(blob), "CPU", options)
    return None


def _save_cached(path, blob):
    """Writes a file of the cache where possible, and removes the oldest."""
    with contextlib.suppress(OSError, InputError):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_stale_files(path.parent)
        with replacing(path) as part:
            part.write_bytes(hashlib.sha256(blob).digest() + blob)
        files = sorted(path.parent.glob("*.blob"), key=lambda file: file.stat().st_mtime)
        for file in files[:-MAX_CACHED]:
            file.unlink(missing_ok=True)


def ir(graph, exact):
    """An ONNX file, channels first, as OpenVINO's two of IR, .xml and .bin, channels last.

    Only IR can say which nodes stay in float32: `exact`, as `compile_graph` takes it.
    """
    model = _channels_last(_core().read_model(graph))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.xml")
        openvino.save_model(model, path, compress_to_fp16=False)
        return _mark_exact(path, exact), path.with_suffix(".bin").read_bytes()


def _channels_last(model):
    changed = PrePostProcessor(model)
    inputs = [changed.input(n) for n in range(len(model.inputs))]
    for place in (*inputs, changed.output(0)):
        place.tensor().set_layout(Layout("NHWC"))
        place.model().set_layout(Layout("NCHW"))
    return changed.build()


def _mark_exact(path, exact):
    """An .xml file as bytes, with marks on the nodes that stay in float32."""
    tree = ElementTree.parse(path)
    for layer in tree.getroot().find("layers"):
        is_of_pixels = layer.get("type") == "Transpose"  # by `_channels_last`
        if is_of_pixels or layer.get("name").rpartition("/")[0] in exact:
            if layer.get("type") == "Pad":
                layer.set("version", "opset1")  # later ones lose the mark
            info = layer.find("rt_info")
            info = ElementTree.SubElement(layer, "rt_info") if info is None else info
            ElementTree.SubElement(info, "attribute", {"name": "precise", "version": "0"})
    return ElementTree.tostring(tree.getroot())
