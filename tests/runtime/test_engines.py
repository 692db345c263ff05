import hashlib
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

import utils
from superres.runtime import backend, engines, hardware
from superres.runtime.errors import InputError
from superres.upscaling.networks import FileNetwork
from support import ROOT, small_network, smooth_picture

SHIPPED = ROOT / "weights" / "edsr_small_x2.keras"


@pytest.fixture(autouse=True)
def plain_machine(monkeypatch):
    """One without a GPU or settings."""
    monkeypatch.setattr(hardware, "has_nvidia_gpu", lambda: False)
    monkeypatch.delenv("KERAS_BACKEND", raising=False)


def test_openvino_is_the_engine_where_it_is_installed(monkeypatch):
    pytest.importorskip("openvino")
    assert engines.resolve("auto") == "openvino"
    assert engines.resolve("keras") == "keras"
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert engines.resolve("auto") == "keras"
    assert engines.resolve("openvino") == "openvino"


def test_keras_is_the_engine_on_a_gpu_and_without_openvino(monkeypatch):
    monkeypatch.setattr(hardware, "has_nvidia_gpu", lambda: True)
    monkeypatch.setattr(backend, "has_gpu", lambda: True)
    assert engines.resolve("auto") == "keras"
    monkeypatch.setattr(backend, "has_gpu", lambda: False)  # its driver alone is there
    assert engines.resolve("auto") == "openvino"
    monkeypatch.setattr(backend, "has_gpu", lambda: pytest.fail("Keras is loaded"))
    find = engines.importlib.util.find_spec
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda n: n != "keras" and find(n))
    assert engines.resolve("auto") == "openvino"  # where only enlarging is installed
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: None)
    assert engines.resolve("auto") == "keras"
    with pytest.raises(InputError, match="'openvino': expected the packages openvino and onnx"):
        engines.resolve("openvino")


def test_gpu_that_is_hidden_is_none(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(hardware.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert hardware.has_nvidia_gpu()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert not hardware.has_nvidia_gpu()


@pytest.fixture
def weights(tmp_path):
    pytest.importorskip("openvino")
    small_network(global_skip=True).save(tmp_path / "x.keras")
    return tmp_path / "x.keras"


LR = np.random.default_rng(0).random((1, 9, 7, 3), np.float32)


def run(weights, cache, precision="float32"):
    return FileNetwork(weights, cache).compile(precision)(LR).copy()


def test_graph_is_kept_for_each_precision_and_made_anew_for_other_weights(
    tmp_path, weights, monkeypatch
):
    cache = tmp_path / "cache"
    first = run(weights, cache)
    assert len(list(cache.iterdir())) == 1
    with monkeypatch.context() as patch:
        patch.setattr(FileNetwork, "_write", lambda network, end: pytest.fail("made again"))
        np.testing.assert_array_equal(first, run(weights, cache))
    run(weights, cache, "bfloat16")
    assert len(list(cache.iterdir())) == 2
    small_network(seed=1, global_skip=True).save(weights)
    assert np.abs(run(weights, cache) - first).max() > 0.01
    assert len(list(cache.iterdir())) == 3


def test_damaged_file_of_the_cache_is_made_anew(tmp_path, weights):
    cache = tmp_path / "cache"
    first = run(weights, cache)
    (path,) = cache.iterdir()
    whole = path.read_bytes()
    flipped = [bytearray(whole) for _ in range(4)]
    for damaged, place in zip(flipped, (0, 40, 3000, -1), strict=True):
        damaged[place] ^= 1
    other = hashlib.sha256(b"other").digest() + b"other"  # such as of other instructions
    for content in *flipped, whole[:100], b"", other:
        path.write_bytes(content)
        np.testing.assert_array_equal(first, run(weights, cache))
        assert len(path.read_bytes()) > 1000  # whole again


def test_cache_that_cannot_be_written_is_done_without(tmp_path, weights):
    (tmp_path / "file").touch()
    for cache in None, tmp_path / "file" / "cache":
        assert run(weights, cache).any()
    assert not list(tmp_path.rglob("*.blob"))


def test_cache_keeps_what_is_used(tmp_path, weights):
    cache = tmp_path / "cache"
    run(weights, cache)
    (path,) = cache.iterdir()
    os.utime(path, (1, 1))
    for n in range(60):
        (cache / f"{n}.blob").touch()
        os.utime(cache / f"{n}.blob", (n + 2, n + 2))
    run(weights, cache)  # which takes it from there
    run(weights, cache, "bfloat16")
    assert path.exists()
    assert (cache / "59.blob").exists()
    assert len(list(cache.iterdir())) == 30


def test_signals_survive_networks_that_are_gone(weights):
    """Ctrl-C after them ended in a segmentation fault."""
    FileNetwork(weights).compile("float32")(LR[:, :1])  # by a second graph, for tiny pictures
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_openvino_does_not_report_to_its_makers(tmp_path):
    pytest.importorskip("openvino")
    code = "import sys, superres.runtime.openvino_engine; print(sys.modules['openvino_telemetry'])"
    environment = os.environ | {"HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.stdout == "None\n", done.stderr
    assert list(tmp_path.iterdir()) == []


def test_bfloat16_takes_and_makes_pixels_in_float32():
    """Rounded to 8 bits an input of 200/255 is off by half a grey level, and so is the output."""
    if not hardware.has_bfloat16():
        pytest.skip("this processor has no bfloat16")
    pytest.importorskip("openvino")
    lr = smooth_picture(64, 64).astype(np.float32)[None] / 255
    exact, fast = (
        utils.load(SHIPPED, "openvino", precision=precision)._run(precision)(lr).copy()
        for precision in ("float32", "bfloat16")
    )
    assert 0 < 255 * np.sqrt(np.square(exact - fast).mean()) < 0.1


def run_script(*words, before="", **environment):
    """Runs a script; after the exit code, standard error ends with its modules of `HEAVY`."""
    code = f"""import runpy, sys
{before}
sys.argv = {list(map(str, words))!r}
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as end:
    print(end.code, *(m for m in {HEAVY!r} if sys.modules.get(m)), file=sys.stderr)
"""
    environment = {k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"} | environment
    words = [sys.executable, "-c", code]
    return subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True).stderr


def code_and_modules(*words):
    return run_script(*words, CUDA_VISIBLE_DEVICES="").splitlines()[-1].split()


def test_what_only_enlarging_lacks_is_named_with_how_to_install_it(tmp_path):
    enlarge = ["output.py", "inference/original/badge.png", tmp_path, "--engine", "keras"]
    all_packages = "pip install -r requirements.txt"
    backend_error = "Keras cannot load its backend 'tensorflow': "
    for module, words, begin, end in (
        ("keras", ["network.py"], backend_error, all_packages),
        ("keras", enlarge, backend_error, all_packages),
        ("matplotlib", ["network.py"], "", f": needs matplotlib: {all_packages}"),
        ("matplotlib", ["evaluate.py"], "", f"{all_packages}; or only score: --no-pictures"),
    ):
        error, code = run_script(*words, before=f"sys.modules[{module!r}] = None").splitlines()
        assert code.split()[0] == "2"
        assert error.startswith(begin)
        assert error.endswith(end)


HEAVY = ["tensorflow", "keras", "jax", "matplotlib", "onnx", "openvino"]


@pytest.mark.parametrize("script", ["train", "output", "evaluate", "network"])
def test_help_and_errors_in_settings_load_nothing_heavy(script):
    assert code_and_modules(f"{script}.py", "--help") == ["0"]
    code, *modules = code_and_modules(f"{script}.py", "--scale", "7")
    assert (code, modules if script != "network" else []) == ("2", [])


def test_enlarging_loads_nothing_but_the_engine(tmp_path):
    pytest.importorskip("openvino")
    place = tmp_path / "out"
    words = ["output.py", ROOT / "inference/original/badge.png", place]
    assert code_and_modules(*words)[0] == "0"  # which may write the graph
    assert code_and_modules(*words, "--overwrite") == ["0", "openvino"]
