"""Trials of `train.py`, which `python -m tools.trials` runs: kills, and hours."""

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
import psutil

from superres.images.write import write_picture
from superres.training import checkpoint

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from support import copy_program, smooth_picture  # noqa: E402

TRAINING = [
    *("--cache=", "--data=data", "--name=run", "--num-filters=16", "--residual-blocks=2"),
    *("--crop-size=32", "--batch-size=8", "--epochs=3", "--steps-per-epoch=60", "--global-skip"),
    *("--warmup-steps=10", "--learning-rate=1e-3", "--validation-crop=64"),
]
SAVE_SECONDS = 0.3
# Kills itself inside of the saving number `sys.argv[1]`, at the call number `sys.argv[2]` of what
# saving consists of; or, at 0, never. At its end it says how many such calls a saving has.
KILLED_INSIDE = """
import os, signal, sys, time, train, zipfile
from superres.runtime import files
from superres.training import checkpoint
from superres.training.trainer import _Hook
saving, call = int(sys.argv.pop(1)), int(sys.argv.pop(1))
at = {"saving": 0, "call": 0, "most": 0}
def count(owner, name):
    function = getattr(owner, name)
    def counted(*arguments, **options):
        at["call"] += 1
        if (at["saving"], at["call"]) == (saving, call):
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)
    setattr(owner, name, counted)
for owner, names in (
    (os, ("fsync", "replace", "unlink")), (zipfile.ZipFile, ("writestr", "open", "close")),
    (files.secrets, ("token_hex",)), (checkpoint.json, ("dumps",)),
):
    for name in names:
        count(owner, name)
save = train.save
def counted_save(*arguments):
    at["saving"], at["call"] = at["saving"] + 1, 0
    error = save(*arguments)
    at["most"] = max(at["most"], at["call"])
    at["call"] = -10**9
    return error
train.save = counted_save
# Writes down how long each step took, from the end of what came before it.
steps, left = open("steps", "w", buffering=1), [time.monotonic()]
after = _Hook.on_train_batch_end
def timed(self, *arguments):
    print(self.trainer.step + 1, time.monotonic() - left[0], file=steps)
    after(self, *arguments)
    left[0] = time.monotonic()
_Hook.on_train_batch_end = timed
code = train.main()
print("calls", at["most"])
sys.exit(code)
"""


def start(place, saving=0, call=0):
    """Starts the training in a folder; it kills itself inside of a saving where that is not 0."""
    words = [*TRAINING, f"--save-minutes={SAVE_SECONDS / 60}"]
    return subprocess.Popen(
        [sys.executable, "-c", KILLED_INSIDE, str(saving), str(call), *words],
        cwd=place,
        env=os.environ | {"TF_ENABLE_ONEDNN_OPTS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def states_in(place):
    """The states of the training, the newest last."""
    return sorted((place / "weights").glob("*.state-*.npz"))


def end_of(place):
    """What must be equal: arrays of the last state, weights, scores."""
    state = checkpoint.load(states_in(place)[-1])
    with zipfile.ZipFile(place / "weights" / "run.keras") as archive:
        weights = archive.read("model.weights.h5")
    return state.arrays, weights, [(row["step"], row["psnr"]) for row in state.rows]


def seconds_lost(place, saved):
    """Seconds of training after the step that was saved last."""
    lines = map(str.split, (place / "steps").read_text().splitlines())
    return sum(float(took) for step, took in lines if int(step) > saved)


def try_training_kills(count, seed=0):
    """Kills a training at random moments, a third of them inside of saving, and lets it go on.

    Returns:
        Kills at any time, kills inside of saving, and the most seconds of training that one cost.

    Raises:
        AssertionError: a start that fails, or an end that is not that of an undisturbed training,
            bit for bit.
    """
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder, "undisturbed")
        make_photographs(whole / "data", 8)
        copy_program(whole)
        began = time.monotonic()
        said, _ = start(whole).communicate()
        seconds = time.monotonic() - began
        calls = int(re.search(r"calls (\d+)", said)[1])
        expected = end_of(whole)
        place = Path(folder, "killed")
        shutil.copytree(whole, place, ignore=shutil.ignore_patterns("weights"))
        inside = anytime = 0
        lost = [0.0]  # seconds of training, for each kill
        while inside + anytime < count:
            is_inside = inside < (inside + anytime + 1) / 3
            before = states_in(place)
            if is_inside:
                run = start(place, chance.randint(1, 3), chance.randint(1, calls))
            else:
                run = start(place)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    run.wait(chance.uniform(0.2, 1) * seconds)
            if not is_inside:
                run.kill()
            said, _ = run.communicate()
            assert "Traceback" not in said, said
            found = states_in(place)
            if run.returncode == 0:  # it came to its end; the next ones begin anew
                assert_equal_ends(end_of(place), expected)
                shutil.rmtree(place / "weights")
                continue
            assert run.returncode == -signal.SIGKILL, said
            inside, anytime = inside + is_inside, anytime + (not is_inside)
            saved = checkpoint.load(found[-1]).step if found else 0
            if found != before:
                lost.append(seconds_lost(place, saved))
        # To the end, also when the last ones were killed.
        run = start(place)
        said, _ = run.communicate()
        assert run.returncode == 0, said
        assert_equal_ends(end_of(place), expected)
    return anytime, inside, max(lost)


def assert_equal_ends(ours, theirs):
    """State, weights file and scores, bit for bit."""
    assert ours[0].keys() == theirs[0].keys()
    for name, array in theirs[0].items():
        np.testing.assert_array_equal(ours[0][name], array, err_msg=name)
    assert ours[1:] == theirs[1:]


# Small enough that thousands of photographs are decoded and hundreds of states are saved.
SMALL_TRAINING = [
    *("--cache=", "--name", "long", "--num-filters", "16", "--residual-blocks", "2"),
    *("--crop-size", "32", "--batch-size", "8", "--steps-per-epoch", "2000", "--global-skip"),
    *("--warmup-steps", "10", "--validation-crop", "64"),
]
# Decodes in turn, whatever the size of the folder: so most is done while it trains.
IN_TURN = """
import sys, train
from superres.dataset import photographs
photographs.MEMORY_SHARE = 0
sys.exit(train.main())
"""


def make_photographs(folder, count, seed=0):
    """Writes pictures, one in a hundred of them damaged, each in another way.

    Returns:
        Names of the damaged ones.
    """
    chance = random.Random(seed)
    folder.mkdir(parents=True)
    damaged = set(chance.sample(range(count), max(1, count // 100)))
    for n in range(count):
        path = folder / f"{n}{['.png', '.jpg'][n % 2]}"
        write_picture(path, smooth_picture(chance.randint(200, 500), 400, seed=n), {})
        if n in damaged:
            content = path.read_bytes()
            kind = sorted(damaged).index(n) % 3
            middle = len(content) // 2
            flipped = content[:middle] + bytes([content[middle] ^ 8]) + content[middle + 1 :]
            if kind == 1 and path.suffix == ".png":
                path.write_bytes(flipped)
            else:
                path.write_bytes(content[:middle] if kind < 2 else b"no picture")
    return [f"{n}{['.png', '.jpg'][n % 2]}" for n in sorted(damaged)]


def try_hours(minutes, count=300, save_minutes=0.25, most_growth=50 * 2**20):
    """Trains for so long on photographs of which one in a hundred is damaged.

    Args:
        minutes: how long.
        count: of the photographs.
        save_minutes: between savings.
        most_growth: bytes of memory that may be added between its first and last quarter.

    Returns:
        List of (seconds, resident bytes, open files, steps) through the training.

    Raises:
        AssertionError: a damaged file is not named exactly once, or memory or open files grow.
    """
    samples = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        damaged = make_photographs(place / "data", count)
        words = [*SMALL_TRAINING, "--data", "data", "--save-minutes", str(save_minutes)]
        copy_program(place)
        with (place / "said").open("w") as said, (place / "errors").open("w") as errors:
            run = subprocess.Popen(
                [sys.executable, "-c", IN_TURN, *words, "--epochs", "100000"],
                cwd=place,
                stdout=said,
                stderr=errors,
            )
            process = psutil.Process(run.pid)
            began = time.monotonic()
            while time.monotonic() - began < 60 * minutes:
                time.sleep(min(15, 6 * minutes))
                seconds = time.monotonic() - began
                if run.poll() is not None:
                    last = (
                        (place / "said").read_text()[-500:],
                        (place / "errors").read_text()[-3000:],
                    )
                    raise AssertionError(
                        f"ended after {seconds:.0f} s with {run.returncode}: {last}"
                    )
                states = sorted((place / "weights").glob("*.state-*.npz"))
                step = int(states[-1].stem.split("-")[1]) if states else 0
                samples.append((seconds, process.memory_info().rss, process.num_fds(), step))
            run.send_signal(signal.SIGTERM)
            assert run.wait(120) == 130
        text = (place / "said").read_text()
        for name in damaged:
            assert text.count(f"skipped data/{name}: ") == 1, name
        assert text.count("skipped data/") == len(damaged)
        assert len(list((place / "weights").iterdir())) <= 8
    settled = samples[len(samples) // 4 :]
    early, late = settled[: len(settled) // 3], settled[-len(settled) // 3 :]
    for column, allowed in (1, most_growth), (2, 4):
        grown = max(s[column] for s in late) - max(s[column] for s in early)
        assert grown <= allowed, f"grown by {grown}: {samples}"
    return samples
