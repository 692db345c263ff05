"""Fixtures."""

import itertools
import os
import re
import signal
import sys
from pathlib import Path
from types import ModuleType

import pytest

import utils
from superres.runtime import command
from superres.upscaling.networks import FileNetwork, KerasNetwork
from support import small_network


@pytest.fixture
def benchmarks():
    """Folder with Set5/HR, Set5/LR/x2 ..., Set5/RCAN/x2 ... and Set14/HR."""
    if not (folder := os.environ.get("SR_BENCHMARKS")):
        pytest.skip("needs a folder in the environment variable SR_BENCHMARKS, see development.md")
    return Path(folder)


@pytest.fixture
def small_weights(tmp_path):
    """A weights file of a small untrained network for x2."""
    path = tmp_path / "weights" / "small.keras"
    path.parent.mkdir()
    small_network(global_skip=True).save(path)
    return path


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """Function that makes networks the project's own, of these names; dict of `Upscaler`."""
    monkeypatch.setattr(utils, "WEIGHTS_FOLDER", tmp_path / "shipped")
    (tmp_path / "shipped").mkdir()

    def ship(*names):
        upscalers = {}
        for seed, name in enumerate(names):
            path, scale = tmp_path / "shipped" / f"{name}.keras", int(re.search(r"_x(\d)", name)[1])
            conditions = 4 if "_wild" in name else int("_photo" in name)
            small_network(scale, seed, global_skip=True, conditions=conditions).save(path)
            upscalers[name] = utils.load(path, precision="float32")
        return upscalers

    return ship


@pytest.fixture(params=["openvino", "keras"])
def network_of(request, tmp_path):
    """Function that makes a network of a Keras model, for each engine."""
    if request.param == "keras":
        return KerasNetwork
    pytest.importorskip("openvino")
    numbers = itertools.count()

    def of_file(model):
        path = tmp_path / f"network{next(numbers)}.keras"
        model.save(path)
        return FileNetwork(path)

    return of_file


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path_factory):
    """The folder for what engines make of weights: none of the user's."""
    monkeypatch.setattr(utils, "CACHE", tmp_path_factory.getbasetemp() / "cache")


@pytest.fixture(autouse=True)
def foreground():
    """As in a terminal: background jobs ignore Ctrl-C, and what nohup starts ignores SIGHUP."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in command.SIGNALS}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """What opens a browser is slow."""
    for item in items:
        if "chromium" in item.fixturenames:
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def make_script(tmp_path, monkeypatch):
    """Makes a module of a text, as if it were a script; returns its name."""

    def make(text):
        path = tmp_path / "script.py"
        path.write_text(f'"""A script."""\n{text}')
        module = ModuleType("script", "A script.")
        module.__file__ = str(path)
        exec(path.read_text(), vars(module))
        monkeypatch.setitem(sys.modules, "script", module)
        return "script"

    return make
