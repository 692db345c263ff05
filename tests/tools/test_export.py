"""Exported files, run by the programs that they are for, against our own pictures."""

import importlib.util
import re
import subprocess
import sys

import cv2
import numpy as np
import pytest

import utils
from superres.images.pixels import to_network, to_pixels
from superres.images.quality import CLEAN, Condition
from superres.images.read import read_rgb
from superres.images.write import write_picture
from superres.runtime.backend import keras
from support import ROOT, small_network, smooth_picture
from tools import export

SIZES = [(37, 52), (64, 41)]
SHIPPED = ROOT / "weights" / "edsr_small_x2.keras"
PHOTO = ["--weights", str(SHIPPED).replace(".keras", "_photo.keras"), "--quality", "75"]
SAMPLE = ROOT / "inference" / "original" / "astronaut.png"


def channels_first(inputs):
    return {name: value.transpose(0, 3, 1, 2) for name, value in inputs.items()}


def by_onnxruntime(path):
    session = pytest.importorskip("onnxruntime").InferenceSession(path)
    return lambda **inputs: session.run(None, channels_first(inputs))[0].transpose(0, 2, 3, 1)


def by_opencv(path):
    net = cv2.dnn.readNetFromONNX(str(path))

    def run(**inputs):
        for name, value in channels_first(inputs).items():
            net.setInput(np.ascontiguousarray(value), name)
        return net.forward().transpose(0, 2, 3, 1)

    return run


def by_openvino(path):
    pytest.importorskip("openvino")
    from superres.runtime.openvino_engine import _core

    # Otherwise in bfloat16, if the processor has it, as the program in the docs, below. By the
    # core of the process: two that go in the wrong order leave signals without a stack.
    network = _core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda **inputs: network(inputs)["sr"]


def by_litert(path):
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    run = litert.Interpreter(str(path)).get_signature_runner()
    return lambda **inputs: run(**inputs)["sr"]


PROGRAMS = {
    "ONNX Runtime": (".onnx", by_onnxruntime),
    "OpenCV": (".onnx", by_opencv),
    "OpenVINO": (".xml", by_openvino),
    "LiteRT": (".tflite", by_litert),
}


def needs_packages(suffix):
    for package in export.NEEDED[suffix]:
        pytest.importorskip(package)
    if suffix == ".tflite" and keras.backend.backend() != "tensorflow":
        pytest.skip("TensorFlow makes .tflite files")


def exported(weights, program, folder, *options):
    """A function that enlarges by the program, from the exported file."""
    suffix, run_by = PROGRAMS[program]
    needs_packages(suffix)
    path = folder / f"exported{suffix}"
    assert export.main([str(weights), str(path), *options]) == 0
    return run_by(path)


def check(run, weights, picture, condition=CLEAN, is_input=False):
    upscaler = utils.load(weights, precision="float32")
    ours, count = upscaler.enlarge(picture, condition=condition), upscaler.conditions
    values = condition.values(count).reshape(1, 1, 1, count)
    inputs = {"quality" if count == 1 else "condition": values} if is_input else {}
    theirs = to_pixels(run(lr=to_network(picture)[None], **inputs)[0])
    assert np.ptp(ours) > 50
    assert theirs.shape == ours.shape
    assert np.abs(theirs.astype(int) - ours).max() <= 1


@pytest.mark.parametrize(
    ("program", "scale"), [*((program, 4) for program in PROGRAMS), ("ONNX Runtime", 3)]
)
def test_exported_networks_give_our_pictures(program, scale, tmp_path):
    small_network(scale, global_skip=True).save(tmp_path / "small.keras")
    run = exported(tmp_path / "small.keras", program, tmp_path)
    for size in SIZES:
        check(run, tmp_path / "small.keras", smooth_picture(*size))


@pytest.mark.parametrize(
    ("program", "count"), [*((program, 4) for program in PROGRAMS), ("ONNX Runtime", 1)]
)
def test_network_that_takes_a_condition(program, count, tmp_path, capsys):
    weights, is_onnx = tmp_path / "photo.keras", PROGRAMS[program][0] == ".onnx"
    small_network(conditions=count, global_skip=True).save(weights)
    others = ["--noise", "8", "--blur", "1.2"] if count == 4 else []
    fixed = exported(weights, program, tmp_path, "--quality", "40", *others)
    condition = Condition(0.4, 8, 1.2)
    for height, width in SIZES:
        picture = read_rgb(SAMPLE)[40 : 40 + height, 90 : 90 + width]
        check(fixed, weights, picture, condition)
    check(exported(weights, program, tmp_path, "--quality", "40"), weights, picture, Condition(0.4))
    assert " and " not in capsys.readouterr().out.rpartition(": from lr")[2]
    free = exported(weights, program, tmp_path)
    shape = f"(N, {count}, 1, 1)" if is_onnx else f"(N, 1, 1, {count})"
    name = {1: "quality", 4: "condition"}[count]
    assert f" and {name} {shape} to sr, 2 times" in capsys.readouterr().out
    if program == "OpenCV" and int(cv2.__version__.split(".")[0]) >= 5:
        # It adds no feature maps of one pixel to others behind a convolution, as the docs say.
        with pytest.raises(cv2.error, match="must have the same shape"):
            check(free, weights, picture, condition, is_input=True)
        return
    for condition in Condition(0.4, 8, 1.2), Condition(0.9, 2, 0.3, 0.5):
        check(free, weights, picture, condition, is_input=True)


def code_of_docs():
    """The programs in docs/export.md, by what they import."""
    text = (ROOT / "docs" / "export.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 4
    return {re.search(r"onnxruntime|cv2|openvino|litert", block)[0]: block for block in blocks}


@pytest.mark.parametrize("package", ["onnxruntime", "cv2", "openvino", "litert"])
def test_code_in_the_docs_runs(package, tmp_path, monkeypatch):
    pytest.importorskip({"litert": "ai_edge_litert"}.get(package, package))
    suffix = {"openvino": ".xml", "litert": ".tflite"}.get(package, ".onnx")
    needs_packages(suffix)
    monkeypatch.chdir(tmp_path)
    assert export.main([str(SHIPPED), f"x2{suffix}"]) == 0
    picture = read_rgb(SAMPLE)[40:80, 90:140]
    write_picture("small.png", picture, {})
    # In a process of its own, since a second core of OpenVINO endangers this one.
    subprocess.run([sys.executable, "-c", code_of_docs()[package]], check=True)
    ours = utils.load(SHIPPED, precision="float32").enlarge(picture)
    at_most = 2 if package == "openvino" else 1  # which computes in bfloat16 where it can
    assert np.abs(read_rgb("large.png").astype(int) - ours).max() <= at_most


@pytest.mark.parametrize(
    ("file", "options", "message"),
    [
        ("a.pt", [], "FILE = 'a.pt': expected a name that ends in .onnx .xml .tflite"),
        ("a.onnx", ["--quality", "75"], "QUALITY: edsr_small_x2.keras takes no quality"),
        ("a.onnx", ["--noise", "5"], "QUALITY = 0: expected 25 to 98, since NOISE and BLUR"),
        ("a.onnx", [*PHOTO, "--noise", "1"], "NOISE: edsr_small_x2_photo.keras takes no noise"),
        ("a.onnx", [*PHOTO, "--blur", "-1"], "BLUR = -1: expected a number from 0 to"),
        ("nowhere/a.onnx", [], "No such file or directory: 'nowhere/a.onnx'"),
        ("a.onnx", ["--weights", "no.keras"], "no.keras: no such weights file"),
        ("a.tflite", [], "expected KERAS_BACKEND=tensorflow"),
    ],
)
def test_what_cannot_be_exported(file, options, message, tmp_path, monkeypatch, capsys):
    needs_packages(".tflite" if file == "a.tflite" else ".onnx")
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    monkeypatch.chdir(tmp_path)
    assert export.main(["--weights", str(SHIPPED), "--file", file, *options]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("suffix", "package"),
    [(suffix, package) for suffix, needed in export.NEEDED.items() for package in needed],
)
def test_package_that_is_missing_is_named(suffix, package, tmp_path, monkeypatch, capsys):
    for name in {"onnx", "openvino", "tensorflow"} - {package}:
        pytest.importorskip(name)
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == package else find(n))
    file = str(tmp_path / f"a{suffix}")
    assert export.main([str(SHIPPED), file]) == 2
    expected = f"FILE = {file!r}: needs {package}: pip install -r requirements.txt"
    assert expected in capsys.readouterr().err


def test_file_of_another_is_not_replaced(tmp_path, capsys):
    needs_packages(".xml")
    (tmp_path / "a.bin").write_bytes(b"mine")
    assert export.main([str(SHIPPED), str(tmp_path / "a.xml")]) == 2
    assert f"{tmp_path / 'a.bin'} exists, and would be replaced" in capsys.readouterr().err
    assert (tmp_path / "a.bin").read_bytes() == b"mine"
    (tmp_path / "a.bin").unlink()
    for _ in range(2):  # its own files are
        assert export.main([str(SHIPPED), str(tmp_path / "a.xml")]) == 0
    assert f"{tmp_path / 'a.xml'} and {tmp_path / 'a.bin'}: from lr" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["benchmark", "draw", "export"])
def test_every_tool_can_be_imported(name):
    importlib.import_module(f"tools.{name}")
