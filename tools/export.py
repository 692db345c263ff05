"""Writes weights as a file for other programs.

`python -m tools.export WEIGHTS FILE`: FILE ends in `.onnx` for ONNX Runtime, OpenCV's dnn and
others; in `.xml` for OpenVINO, with a `.bin` beside it; or in `.tflite` for LiteRT, on phones. An
existing FILE is replaced. They enlarge whole pictures of any size; see docs/export.md.
"""

import sys
import tempfile
from pathlib import Path

import utils
from superres.images.quality import Condition
from superres.runtime import command, engines, settings
from superres.runtime.backend import keras
from superres.runtime.errors import InputError
from superres.runtime.files import replacing
from superres.upscaling import weight_files
from superres.upscaling.graph import CONDITION_INPUTS
from superres.upscaling.networks import in_precision

# ------------------------------------------------------------------- settings ----
WEIGHTS = ""  # .keras file
FILE = ""  # to write: .onnx, .xml or .tflite
QUALITY = 0  # of JPEGs, 25 to 98, built into a network with that input; 0: it stays an input
NOISE = 0.0  # in levels, 0 to 11, built in together with QUALITY into a network with three inputs
BLUR = 0.0  # in pixels, 0 to 1.2, built in the same way
# ---------------------------------------------------------------------------------

UNSET = {"quality": 0, "noise": 0, "blur": 0}
NEEDED = {".onnx": ["onnx"], ".xml": ["onnx", "openvino"], ".tflite": ["tensorflow"]}  # packages


def check_file(file):
    """Raises InputError if FILE cannot be written; returns its ending."""
    settings.check_text("file", file, may_be_empty=True)
    name, suffix = f"FILE = {file!r}", Path(file).suffix.lower()
    if suffix not in NEEDED:
        raise InputError(f"{name}: expected a name that ends in {' '.join(NEEDED)}")
    for package in NEEDED[suffix]:
        settings.check_installed(package, name)
    arrays = Path(file).with_suffix(".bin")
    if suffix == ".xml" and arrays.exists() and not Path(file).exists():
        raise InputError(f"{name}: {arrays} exists, and would be replaced")
    return suffix


def as_onnx(path, graph, condition):
    """A weights file as bytes of an ONNX file, channels first."""
    from superres.upscaling.onnx_graph import fix_condition, onnx_graph  # here: needs onnx

    limits = weight_files.stored_limits(graph, path)
    model = onnx_graph(graph, weight_files.read_arrays(path, graph), limits=limits)
    model = model if condition is None else fix_condition(model, condition)
    return model.SerializeToString()


def as_tflite(network, condition):
    """A `KerasNetwork` as bytes of a .tflite file, channels last."""
    if keras.backend.backend() != "tensorflow":
        raise InputError("TensorFlow makes .tflite files: expected KERAS_BACKEND=tensorflow")
    import tensorflow as tf

    model = in_precision(network.model, network.graph, "float32", limits=network.limits)
    specs = [tf.TensorSpec((None, None, None, 3), tf.float32, "lr")]
    if condition is None and (count := network.graph.conditions):
        specs += [tf.TensorSpec((None, 1, 1, count), tf.float32, CONDITION_INPUTS[count])]

    def enlarge(*inputs):
        if condition is not None:
            inputs = [*inputs, tf.reshape(condition, (1, 1, 1, -1))]
        return {"sr": model(inputs[0] if len(inputs) == 1 else list(inputs), training=False)}

    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("enlarge", enlarge, specs)
    with tempfile.TemporaryDirectory() as folder:
        archive.write_out(folder, verbose=False)
        return tf.lite.TFLiteConverter.from_saved_model(folder, ["enlarge"]).convert()


def export(config, stop):
    """Writes what the settings say; returns the exit code."""
    settings.check_text("weights", config.weights)
    suffix = check_file(config.file)
    known = utils.condition_fields(vars(config), UNSET)
    if known and "quality" not in known:
        raise InputError("QUALITY = 0: expected 25 to 98, since NOISE and BLUR are built in too")
    weights, file = Path(config.weights), Path(config.file)
    if suffix == ".tflite":
        network = utils.load(weights, "keras", precision="float32").network
        scale, count, *_, multiple = network.traits
    else:
        graph = utils.read_graph(weights)
        if graph.unknown:
            raise InputError(
                f"FILE = {config.file!r}: {weights.name}: {graph.unknown} has no ONNX graph here: "
                "expected a name that ends in .tflite"
            )
        scale, count, multiple = graph.scale, graph.conditions, 1
    utils.check_accepts(known, weights, count)
    condition = Condition(**known).values(count) if known else None
    if suffix == ".tflite":
        contents = {file: as_tflite(network, condition)}
    elif suffix == ".onnx":
        contents = {file: as_onnx(weights, graph, condition)}
    else:
        xml, arrays = engines.openvino().ir(as_onnx(weights, graph, condition), graph.exact)
        contents = {file.with_suffix(".bin"): arrays, file: xml}
    for path, content in contents.items():
        with replacing(path) as part:
            part.write_bytes(content)
    is_onnx = suffix == ".onnx"
    shape, second = ("3, H, W", f"{count}, 1, 1") if is_onnx else ("H, W, 3", f"1, 1, {count}")
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
