"""Kills of `train.py`, and hours of it on damaged photographs; longer where SR_TRIALS is set."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import zipfile

import numpy as np
import psutil
import pytest

from superres.images.write import write_picture
from superres.training import checkpoint
from support import copy_program, smooth_picture

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="needs signals and open files as on Unix"),
]
IS_LONG = "SR_TRIALS" in os.environ
KILLS, MINUTES, PHOTOGRAPHS, GROWTH_MIB = (100, 120, 300, 50) if IS_LONG else (3, 0.4, 100, 200)
OPTIONS = [
    *("--cache=", "--data=data", "--name=run", "--num-filters=16", "--residual-blocks=2"),
    *("--crop-size=32", "--batch-size=8", "--global-skip", "--warmup-steps=10"),
    *("--learning-rate=1e-3", "--validation-crop=64"),
]
# Decodes photographs while it trains, however few they are.
ROTATING = """
import sys, train
from superres.dataset import photographs
photographs.MEMORY_SHARE = 0
sys.exit(train.main())
"""


def start(folder, *words, code="import sys, train; sys.exit(train.main())", **options):
    return subprocess.Popen([sys.executable, "-c", code, *words, *OPTIONS], cwd=folder, **options)


def make_photographs(folder, count):
    """Writes pictures; of each hundred one is damaged: cut off, changed, or no picture at all."""
    folder.mkdir(parents=True)
    damaged = []
    for n in range(count):
        path = folder / f"{n}{['.png', '.jpg'][n % 2]}"
        write_picture(path, smooth_picture(200 + n, 400, seed=n), {})
        if n % 100 == 50:
            content = path.read_bytes()
            middle = len(content) // 2
            changed = content[:middle] + bytes([content[middle] ^ 8]) + content[middle + 1 :]
            path.write_bytes([content[:middle], changed, b"no picture"][n // 100 % 3])
            damaged.append(path.name)
    return damaged


def states_in(folder):
    return sorted((folder / "weights").glob("*.state-*.npz"))


def end_of(folder):
    """Arrays of the last state, weights and scores."""
    state = checkpoint.read(states_in(folder)[-1])
    with zipfile.ZipFile(folder / "weights" / "run.keras") as archive:
        weights = archive.read("model.weights.h5")
    return state.arrays, weights, [(row["step"], row["psnr"]) for row in state.log["rows"]]


def test_killed_training_ends_as_an_undisturbed_one(tmp_path):
    """Kills at random moments, most of them while it saves."""
    chance, whole, killed = random.Random(1), tmp_path / "whole", tmp_path / "killed"

    def begin(folder):
        words = ["--epochs=6", "--steps-per-epoch=10", "--save-minutes=0.000001"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return start(folder, *words, **pipes)

    make_photographs(whole / "data", 8)
    copy_program(whole)
    began = time.monotonic()
    begin(whole).communicate()
    seconds, expected = time.monotonic() - began, end_of(whole)
    shutil.copytree(whole, killed, ignore=shutil.ignore_patterns("weights"))
    kills, is_whole = 0, False
    while kills < KILLS or not is_whole:
        run = begin(killed)
        if kills < KILLS:
            with contextlib.suppress(subprocess.TimeoutExpired):
                run.wait(chance.uniform(0.2, 1) * seconds)
            run.kill()
        printed, _ = run.communicate()
        assert "Traceback" not in printed, printed
        is_whole = run.returncode == 0
        if is_whole:
            np.testing.assert_equal(end_of(killed), expected)
            shutil.rmtree(killed / "weights")  # the next one begins anew
        else:
            assert run.returncode == -signal.SIGKILL, printed
            kills += 1


def test_long_training_names_each_damaged_file_once_and_does_not_grow(tmp_path):
    damaged = make_photographs(tmp_path / "data", PHOTOGRAPHS)
    copy_program(tmp_path)
    words = ["--epochs=100000", "--steps-per-epoch=2000", f"--save-minutes={MINUTES / 100}"]
    samples = []
    with (tmp_path / "printed").open("w") as printed:
        pipes = {"stdout": printed, "stderr": subprocess.STDOUT}
        run = start(tmp_path, *words, code=ROTATING, **pipes)
        process, end = psutil.Process(run.pid), time.monotonic() + 60 * MINUTES
        while time.monotonic() < end and run.poll() is None:
            time.sleep(min(15, 6 * MINUTES))
            samples.append((process.memory_info().rss / 2**20, process.num_fds()))
        run.send_signal(signal.SIGTERM)
        assert run.wait(120) == 130, (tmp_path / "printed").read_text()[-3000:]
    assert checkpoint.read(states_in(tmp_path)[-1]).step > 0
    lines = (tmp_path / "printed").read_text()
    assert [lines.count(f"skipped data/{name}: ") for name in damaged] == [1] * len(damaged)
    assert lines.count("skipped data/") == len(damaged)
    assert len(list((tmp_path / "weights").iterdir())) <= 8
    settled = np.array(samples[len(samples) // 4 :])
    third = len(settled) // 3
    growth = settled[-third:].max(0) - settled[:third].max(0)
    assert (growth <= (GROWTH_MIB, 4)).all(), samples
