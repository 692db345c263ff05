"""OpenVINO: compiles an ONNX graph for this processor."""

import contextlib
import shutil
import tempfile
from pathlib import Path
from xml.etree import ElementTree

import openvino
from openvino import Layout
from openvino.preprocess import PrePostProcessor

from superres.runtime.files import check_writable, remove_leftovers, replacing

HINTS = {"float32": "f32", "bfloat16": "bf16"}
MOST_CACHED = 20  # files in the cache; the oldest give way


def compiled(write, exact, precision, cache, name):
    """Compiles a graph for pictures of all sizes.

    Args:
        write: function that returns the graph as bytes of an ONNX file, channels first; called
            where the cache lacks it.
        exact: names of the graph's nodes, or what stands before the last / in them, that
            compute in float32 whatever the precision.
        precision: float32 or bfloat16.
        cache: folder to keep it in, which is made; `None`: none.
        name: of the graph in the cache, another one for every other graph.

    Returns:
        Function from float32 (N, H, W, C), and what else the graph takes, to float32 of the same
        layout, which is valid until the next call.
    """
    core = openvino.Core()
    options = {"INFERENCE_PRECISION_HINT": HINTS[precision], "PERFORMANCE_HINT": "LATENCY"}
    # A thread that is bound to a core waits for the encoder of the last picture there.
    options["ENABLE_CPU_PINNING"] = False
    with contextlib.ExitStack() as held:
        try:
            folder = Path(cache)
            folder.mkdir(parents=True, exist_ok=True)
            check_writable(folder)
            options["CACHE_DIR"] = str(folder)
        except (OSError, TypeError):
            folder = Path(held.enter_context(tempfile.TemporaryDirectory()))
        path = folder / f"{name}.xml"
        if not (path.exists() and path.with_suffix(".bin").exists()):
            _store(_channels_last(core.read_model(write())), path, exact)
        model = core.compile_model(core.read_model(path), "CPU", options)
    request = model.create_infer_request()
    return lambda *inputs: request.infer(inputs, share_inputs=True, share_outputs=True)[0]


def _channels_last(model):
    """The model with pictures that have their channels last, as files have them."""
    changed = PrePostProcessor(model)
    for place in changed.input(0), changed.output(0):
        place.tensor().set_layout(Layout("NHWC"))
        place.model().set_layout(Layout("NCHW"))
    return changed.build()


def _store(model, path, exact):
    """Writes a model as OpenVINO's own files, with the nodes marked that stay in float32.

    Only in the file can they be marked. Of padding the first version is written: the later one
    loses its mark when it is read.
    """
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder, path.name)
        openvino.save_model(model, written, compress_to_fp16=False)
        tree = ElementTree.parse(written)
        for layer in tree.getroot().find("layers"):
            is_of_pixels = layer.get("type") == "Transpose"  # by `_channels_last`
            if is_of_pixels or layer.get("name").rpartition("/")[0] in exact:
                if layer.get("type") == "Pad":
                    layer.set("version", "opset1")
                info = layer.find("rt_info")
                info = ElementTree.SubElement(layer, "rt_info") if info is None else info
                ElementTree.SubElement(info, "attribute", {"name": "precise", "version": "0"})
        tree.write(written)
        for suffix in (".bin", ".xml"):  # in this order: with the second one it is whole
            with replacing(path.with_suffix(suffix)) as part:
                shutil.copyfile(written.with_suffix(suffix), part)
    _clear(path.parent)


def _clear(cache):
    """Removes the oldest files of a cache."""
    remove_leftovers(cache)
    files = sorted(filter(Path.is_file, cache.iterdir()), key=lambda file: file.stat().st_mtime)
    for file in files[:-MOST_CACHED]:
        file.unlink(missing_ok=True)
