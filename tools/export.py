"""Writes weights as a file that other programs run.

`python -m tools.export WEIGHTS FILE`: the ending of FILE says for which. `.onnx`: ONNX Runtime,
OpenCV's dnn and others; `.xml`, with a `.bin` beside it: OpenVINO; `.tflite`: LiteRT, on phones.
They take pictures of any size and enlarge them whole. docs/weights.md has the code that runs them.
A FILE that is there is replaced.
"""

import importlib.util
import sys
from pathlib import Path

import utils
from superres.images.quality import Condition
from superres.runtime import command, engines, settings
from superres.runtime.errors import InputError
from superres.runtime.files import replacing
from superres.upscaling import weight_files
from superres.upscaling.graph import CONDITION_INPUTS

# ------------------------------------------------------------------- settings ----
WEIGHTS = ""  # .keras file
FILE = ""  # what is written: .onnx, .xml or .tflite
QUALITY = 0  # of JPEGs, 25 to 98, built into a network that takes one; 0: it stays an input
NOISE = 0.0  # in levels, 0 to 11, built in together with QUALITY into a network that takes three
BLUR = 0.0  # in pixels, 0 to 1.2, likewise
# ---------------------------------------------------------------------------------

UNSET = dict.fromkeys(Condition._fields, 0)
NEEDED = {".onnx": ["onnx"], ".xml": ["onnx", "openvino"], ".tflite": ["tensorflow"]}  # packages


def check_settings(chosen):
    """Raises InputError where a setting is not valid, or a package is missing."""
    settings.check_text("weights", chosen.weights)
    settings.check_text("file", chosen.file, may_be_empty=True)
    suffix = Path(chosen.file).suffix.lower()
    if suffix not in NEEDED:
        raise InputError(f"FILE = {chosen.file!r}: expected a name that ends in {' '.join(NEEDED)}")
    for name in NEEDED[suffix]:
        if not importlib.util.find_spec(name):
            raise InputError(
                f"FILE = {chosen.file!r}: needs the package {name}: pip install {name}"
            )
    beside = Path(chosen.file).with_suffix(".bin")
    if suffix == ".xml" and beside.exists() and not Path(chosen.file).exists():
        raise InputError(f"FILE = {chosen.file!r}: {beside} is there, and would be replaced")
    known = utils.known_condition(chosen, UNSET)
    if known and "quality" not in known:
        raise InputError(
            "QUALITY = 0: expected 25 to 98, since NOISE and BLUR are built in with it"
        )


def as_onnx(path, graph, condition):
    """A weights file as bytes of an ONNX file, channels first."""
    from superres.upscaling.onnx_graph import onnx_graph, with_condition  # they load onnx

    arrays = weight_files.read_arrays(path, graph)
    model = onnx_graph(graph, arrays)
    model = model if condition is None else with_condition(model, condition)
    return model.SerializeToString()


def as_tflite(network, condition):
    """A `KerasNetwork` as bytes of a .tflite file."""
    from superres.runtime import tflite  # it loads Keras
    from superres.upscaling.networks import in_precision

    model, name = network.model, CONDITION_INPUTS[network.graph.conditions]
    return tflite.as_tflite(in_precision(model, network.graph, "float32"), name, condition)


def export(chosen, stop):
    """Writes what the settings say; returns the exit code."""
    check_settings(chosen)
    weights, file = Path(chosen.weights), Path(chosen.file)
    suffix = file.suffix.lower()
    if suffix == ".tflite":
        network = utils.load(weights, "keras", precision="float32").network
        graph, (scale, *_, multiple) = network.graph, network.traits
    else:
        graph = utils.read_graph(weights)
        if graph.unknown:
            raise InputError(
                f"FILE = {chosen.file!r}: {weights.name}: {graph.unknown} has no ONNX graph here: "
                "expected a name that ends in .tflite"
            )
        scale, multiple = graph.scale, 1
    known, count = utils.known_condition(chosen, UNSET), graph.conditions
    utils.check_takes(known, chosen, weights, count)
    condition = Condition(**known).values(count) if known else None
    if suffix == ".onnx":
        contents = {file: as_onnx(weights, graph, condition)}
    elif suffix == ".tflite":
        contents = {file: as_tflite(network, condition)}
    else:
        xml, weights_of_it = engines.ir(as_onnx(weights, graph, condition), graph.exact)
        contents = {file.with_suffix(".bin"): weights_of_it, file: xml}
    for path, content in contents.items():
        with replacing(path) as part:
            part.write_bytes(content)
    shape, second = "H, W, 3", f"1, 1, {count}"
    if suffix == ".onnx":
        shape, second = "3, H, W", f"{count}, 1, 1"
    second = f" and {CONDITION_INPUTS[count]} (N, {second})" if count and not known else ""
    files = " and ".join(map(str, reversed(contents)))
    sizes = f"; H and W must be multiples of {multiple}" * (multiple > 1)
    print(f"{files}: from lr (N, {shape}){second} to sr, {scale} times as large, in [0, 1]{sizes}")
    return 0


def main(arguments=None):
    """Runs the command; returns its exit code."""
    return command.run(export, [__name__], arguments, positional=("WEIGHTS", "FILE"))


if __name__ == "__main__":
    sys.exit(main())
