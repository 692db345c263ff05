"""Trains in processes of their own: on several devices that JAX simulates, and in two processes."""

import csv
import os
import shutil
import socket
import subprocess
import sys
import time

import pytest

from superres.images.write import write_picture
from superres.training import checkpoint
from support import copy_program, smooth_picture

pytestmark = pytest.mark.slow

SETTINGS = """
    --data=data --cache= --name=run --num-filters=8 --residual-blocks=1 --crop-size=16
    --batch-size=8 --epochs=3 --steps-per-epoch=10 --warmup-steps=2 --learning-rate=1e-3
    --global-skip --validation-crop=32 --optimizer=muon
"""
STARTED = []


@pytest.fixture
def place(tmp_path):
    """A folder with the scripts and four photographs, so that weights/ lies in it."""
    copy_program(tmp_path)
    for n in range(4):
        path = tmp_path / "data" / f"{n}.png"
        path.parent.mkdir(exist_ok=True)
        write_picture(path, smooth_picture(48, 52, seed=n), {})
    yield tmp_path
    while STARTED:  # one that waits for another waits for ever
        STARTED.pop().kill()


def start(place, devices=1, backend="jax", options=(), **environment):
    """Starts a training; on a processor, the devices are simulated."""
    environment |= {
        "KERAS_BACKEND": backend,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        # Threads of XLA: devices that wait for each other must not use them all up.
        "NPROC": "16",
    }
    command = [sys.executable, "train.py", *SETTINGS.split(), *options]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    STARTED.append(subprocess.Popen(command, cwd=place, env=os.environ | environment, **pipes))
    return STARTED[-1]


def finish(run, code=0):
    """What a training said to standard output and to standard error."""
    said, error = run.communicate(timeout=300)
    assert run.returncode == code, said + error
    return said, error


def numbers(place):
    with (place / "weights" / "run.csv").open() as file:
        return [[float(row[key]) for key in ("loss", "psnr")] for row in csv.DictReader(file)]


def assert_agree(ours, theirs):
    assert len(ours) == len(theirs) == 3
    for row, expected in zip(ours, theirs, strict=True):
        assert row == pytest.approx(expected, rel=1e-4)


def two_processes():
    """Environments of two processes that train together."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    names = ("JOB_ADDRESSES", "NUM_PROCESSES", "PROCESS_ID")
    return [
        {f"KERAS_DISTRIBUTION_{name}": v for name, v in zip(names, values, strict=True)}
        for values in ((address, "2", "0"), (address, "2", "1"))
    ]


def test_several_devices_and_processes_have_the_losses_of_one(place):
    said, _ = finish(start(place))
    assert "each step is shared" not in said
    one = numbers(place)
    said, _ = finish(start(place, devices=4, options=["--restart"]))
    assert "each step is shared among 4 devices" in said
    assert_agree(numbers(place), one)
    runs = [start(place, options=["--restart"], **environment) for environment in two_processes()]
    for run in runs:
        said, _ = finish(run)
        assert "each step is shared among 2 devices" in said
    assert_agree(numbers(place), one)
    # What several processes have saved, one can go on with.
    assert "resuming after step 30" in finish(start(place, options=["--epochs=4"]))[0]


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGTERM")
def test_processes_stop_together(place):
    options = ["--epochs=2000", "--steps-per-epoch=100"]
    runs = [start(place, options=options, **environment) for environment in two_processes()]
    deadline = time.monotonic() + 200
    while not list((place / "weights").glob("*.npz")):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    runs[1].terminate()
    for run in runs:
        assert "stopped; the same command" in finish(run, code=130)[1]
    states = sorted((place / "weights").glob("*.npz"))
    assert int(states[-1].stem.split("-")[1]) % 20 == 0


def test_what_cannot_train_together_is_refused(place):
    _, error = finish(start(place, 3), code=2)
    assert "BATCH_SIZE = 8: expected a multiple of the 3 devices" in error
    _, error = finish(start(place, backend="tensorflow", **two_processes()[0]), code=2)
    assert "several processes need KERAS_BACKEND=jax" in error


def test_processes_that_would_go_on_from_different_steps_are_refused(place, tmp_path):
    (place / "weights").mkdir()
    checkpoint.States(place / "weights", "run").save(checkpoint.State(10, {}, {}, {}, {}, {}))
    other = tmp_path / "other"
    shutil.copytree(place, other, ignore=shutil.ignore_patterns("weights", "other"))
    runs = [
        start(folder, options=["--epochs=2"], **environment)
        for folder, environment in zip((place, other), two_processes(), strict=True)
    ]
    for run in runs:
        _, error = finish(run, code=2)
        assert "the processes would resume from steps [10, 0]: expected the same" in error
