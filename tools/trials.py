"""Trials that take minutes or hours; the tests run short ones.

`python -m tools.trials NAME ...` runs those that are named, without a name all:
  mutants         2,000 damaged files through `output.py`; two minutes
  kills           50 kills of a batch; ten minutes
  large           a picture of 100 megapixels; a quarter of an hour
  training-kills  100 kills of a training; half an hour
  page            a page of 100 pictures of a megapixel: its size, how fast it opens
  hours           two hours of training on photographs of which 1% are damaged
"""

import argparse
import contextlib
import hashlib
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

from superres.images.formats import output_name
from superres.images.read import ORIENTATION, read_rgb
from superres.images.resize import downscale, imresize, upscale_bicubic, upscale_nearest
from superres.images.write import write_picture
from superres.runtime.files import PART
from superres.scoring import figures, metrics
from superres.scoring.page import Page
from superres.scoring.restore import Restored
from superres.scoring.results import Results
from superres.training import checkpoint

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import numpy as np  # noqa: E402
import psutil  # noqa: E402
from PIL import Image  # noqa: E402

import corpus  # noqa: E402
from support import bilinear_network, copy_program, small_network, smooth_picture  # noqa: E402

SECONDS_TO_HANG = 30


def command(source, target, weights, *options):
    words = [sys.executable, ROOT / "output.py", source, target, "--weights", weights, *options]
    return [str(word) for word in words]


# ---- damaged files ----


def mutate(content, chance):
    """Flips bytes, cuts off, removes, doubles or overwrites a part; often in the header."""
    mutant = bytearray(content)
    for _ in range(chance.choice([1, 1, 2, 4])):
        reach = min(len(mutant), chance.choice([32, 200, len(mutant)]))
        place = chance.randrange(max(1, reach))
        length = chance.choice([1, 1, 2, 4, 16])
        kind = chance.choice(["flip", "flip", "set", "set", "cut", "remove", "double"])
        if kind == "flip":
            mutant[place : place + 1] = bytes([mutant[place] ^ 1 << chance.randrange(8)])
        elif kind == "set":
            value = chance.choice([b"\0", b"\xff", b"\x7f", chance.randbytes(1)])
            mutant[place : place + length] = value * len(mutant[place : place + length])
        elif kind == "cut":
            del mutant[chance.randrange(len(mutant)) :]
        elif kind == "remove":
            del mutant[place : place + length]
        else:
            mutant[place:place] = mutant[place : place + length]
        if not mutant:
            break
    return bytes(mutant)


def fix_checksum(content):
    """Makes the checksum of a PNG's header right again, so that its lie is believed."""
    if content[:4] == b"\x89PNG" and len(content) > 33:
        chunk = corpus.png_chunk(content[12:16], content[16:29])
        return content[:8] + chunk + content[33:]
    return content


def shown_size(path):
    """Width and height as a file's header has them, after the turn that EXIF asks for."""
    with Image.open(path) as file:
        width, height = file.size
        is_turned = file.format != "TIFF" and file.getexif().get(ORIENTATION) in (5, 6, 7, 8)
    return (height, width) if is_turned else (width, height)


def try_mutants(count, seed=0, chunk=250):
    """Runs mutants of all valid kinds of files through `output.py`.

    Returns:
        How many were done and how many refused.

    Raises:
        AssertionError: a traceback, a hang, a mutant that is neither done nor refused, or
            an output of another size than the scaled one.
    """
    valid = [
        (name, case.content)
        for name, case in corpus.cases().items()
        if case.truth is not None and not name.startswith("names/")
    ]
    chance = random.Random(seed)
    done = refused = 0
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder, "w.keras")
        bilinear_network().save(weights)
        for first in range(0, count, chunk):
            source, target = Path(folder, f"in{first}"), Path(folder, f"out{first}")
            source.mkdir()
            for n in range(first, min(first + chunk, count)):
                name, content = chance.choice(valid)
                content = mutate(content, chance)
                content = fix_checksum(content) if chance.random() < 0.5 else content
                (source / f"{n}{Path(name).suffix}").write_bytes(content)
            inputs = {path: path.read_bytes() for path in source.iterdir()}
            run = subprocess.run(
                command(source, target, weights),
                capture_output=True,
                text=True,
                timeout=SECONDS_TO_HANG + 60,
            )
            said = run.stdout + run.stderr
            assert run.returncode in (0, 1), said
            assert "Traceback" not in said, said
            assert inputs == {path: path.read_bytes() for path in source.iterdir()}
            assert not list(target.rglob(f"{PART}*"))
            for path in inputs:
                output = target / output_name(path.name)
                if output.exists():
                    width, height = shown_size(path)
                    with Image.open(output) as file:
                        file.load()
                        assert file.size == (2 * width, 2 * height), path
                    done += 1
                else:
                    reason = re.search(rf"^  {re.escape(str(path))}: (.+)$", run.stdout, re.M)
                    assert reason, f"{path}: neither done nor refused\n{said}"
                    refused += 1
    return done, refused


# ---- killed runs ----


def digests(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(PART)
    }


def try_kills(count, seed=0):
    """Kills a batch at random moments, and lets the next run go on.

    Returns:
        List of how many of the pictures were there after each kill, and how many parts of
        files the kills left.

    Raises:
        AssertionError: a file under a final name that is not whole, or an end that is not
            that of an undisturbed run.
    """
    chance = random.Random(seed)
    there, parts = [], 0
    with tempfile.TemporaryDirectory() as folder:
        source, weights = Path(folder, "in"), Path(folder, "w.keras")
        small_network(global_skip=True).save(weights)
        for n in range(24):
            path = source / str(n % 3) / f"{n}{['.png', '.jpg', '.tif', '.webp'][n % 4]}"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_picture(path, smooth_picture(200 + 10 * n, 300, seed=n), {})
        undisturbed, target = Path(folder, "undisturbed"), Path(folder, "out")
        began = time.monotonic()
        # As the one that is killed: from its first line on.
        with subprocess.Popen(
            command(source, undisturbed, weights), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as run:
            run.stdout.readline()
            began = time.monotonic()
            run.communicate()
        seconds = time.monotonic() - began
        expected = digests(undisturbed)
        assert len(expected) == 24
        for _ in range(count):
            shutil.rmtree(target, ignore_errors=True)
            with subprocess.Popen(
                command(source, target, weights), stdout=subprocess.PIPE, stderr=subprocess.PIPE
            ) as run:
                run.stdout.readline()
                time.sleep(chance.uniform(0, seconds))
                run.send_signal(signal.SIGKILL)
                run.communicate()
            found = digests(target)
            assert found.items() <= expected.items()
            there.append(len(found))
            left = list(target.rglob(f"{PART}*"))
            parts += len(left)
            for part in left:  # as if it had been a while ago
                os.utime(part, (0, 0))
            again = subprocess.run(command(source, target, weights), capture_output=True, text=True)
            assert again.returncode == 0, again.stderr
            assert f"{24 - len(found)} done, {len(found)} already there, 0 refused" in again.stdout
            assert digests(target) == expected
            assert not list(target.rglob(f"{PART}*"))
    return there, parts


# ---- a large picture ----


def try_large(side, weights, *options):
    """Enlarges a PNG of `side` x `side` pixels.

    Returns:
        Peak resident memory of the process in bytes, bytes of the pixels of input and of
        output, and seconds.
    """
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "large.png"), Path(folder, "out")
        face = read_rgb(ROOT / "evaluation" / "original" / "astronaut.png")
        copies = -(-side // face.shape[0])
        large = np.tile(face, (copies, copies, 1))[:side, :side]
        Image.fromarray(large).save(source, compress_level=1)
        del large
        began = time.monotonic()
        subprocess.run(command(source, target, weights, *options), check=True)
        seconds = time.monotonic() - began
        # Of all children so far; this one is by far the largest. Kilobytes on Linux.
        import resource

        peak = 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        with Image.open(target / "large.png") as file:
            assert file.size == (2 * side, 2 * side)
        return peak, 3 * side**2, 12 * side**2, seconds


# ---- a training that is killed ----

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


def try_training_kills(count, seed=0):
    """Kills a training at random moments, a third of them inside of saving, and lets it go on.

    Returns:
        Kills at any time, kills inside of saving, and the most seconds of training that one cost.

    Raises:
        AssertionError: a start that fails, a loss of more than the interval of saving, or an end
            that is not that of an undisturbed training, bit for bit.
    """
    chance = random.Random(seed)
    environment = os.environ | {"TF_ENABLE_ONEDNN_OPTS": "1"}
    words = [*TRAINING, f"--save-minutes={SAVE_SECONDS / 60}"]

    def training(place, saving=0, call=0):
        return subprocess.Popen(
            [sys.executable, "-c", KILLED_INSIDE, str(saving), str(call), *words],
            cwd=place,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def states(place):
        return sorted((place / "weights").glob("*.state-*.npz"))

    def end(place):
        state = checkpoint.load(states(place)[-1])
        with zipfile.ZipFile(place / "weights" / "run.keras") as archive:
            weights = archive.read("model.weights.h5")
        return state.arrays, weights, [(row["step"], row["psnr"]) for row in state.rows]

    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder, "undisturbed")
        make_photographs(whole / "data", 8)
        copy_program(whole)
        began = time.monotonic()
        said, _ = training(whole).communicate()
        seconds = time.monotonic() - began
        calls = int(re.search(r"calls (\d+)", said)[1])
        expected = end(whole)
        place = Path(folder, "killed")
        shutil.copytree(whole, place, ignore=shutil.ignore_patterns("weights"))
        inside = anytime = 0
        lost = [0.0]  # seconds of training, for each kill
        while inside + anytime < count:
            is_inside = inside < (inside + anytime + 1) / 3
            before = states(place)
            if is_inside:
                run = training(place, chance.randint(1, 3), chance.randint(1, calls))
            else:
                run = training(place)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    run.wait(chance.uniform(0.2, 1) * seconds)
            if not is_inside:
                run.kill()
            said, _ = run.communicate()
            assert "Traceback" not in said, said
            found = states(place)
            if run.returncode == 0:  # it came to its end; the next ones begin anew
                assert_equal_ends(end(place), expected)
                shutil.rmtree(place / "weights")
                continue
            assert run.returncode == -signal.SIGKILL, said
            inside, anytime = inside + is_inside, anytime + (not is_inside)
            saved = checkpoint.load(found[-1]).step if found else 0
            if found != before:
                lines = map(str.split, (place / "steps").read_text().splitlines())
                gone = [float(took) for step, took in lines if int(step) > saved]
                # The step in which the time ran out is not over the interval yet.
                assert sum(gone[:-1]) <= SAVE_SECONDS, gone
                lost.append(sum(gone))
        # To the end, also when the last ones were killed.
        run = training(place)
        said, _ = run.communicate()
        assert run.returncode == 0, said
        assert_equal_ends(end(place), expected)
    return anytime, inside, max(lost)


def assert_equal_ends(ours, theirs):
    """State, weights file and scores, bit for bit."""
    assert ours[0].keys() == theirs[0].keys()
    for name, array in theirs[0].items():
        np.testing.assert_array_equal(ours[0][name], array, err_msg=name)
    assert ours[1:] == theirs[1:]


# ---- a long training ----

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


# ---- the page of an evaluation ----


def make_photograph(side, chance):
    """Parts of the sample pictures, turned and flipped, side by side: uint8 (side, side, 3)."""
    samples = [
        ROOT / "evaluation/original/astronaut.png",
        ROOT / "inference/original/grace_hopper.jpg",
    ]
    samples = [read_rgb(path) for path in samples]
    half = side // 2
    rows = []
    for _ in range(2):
        row = []
        for _ in range(2):
            sample = samples[chance.integers(2)]
            top, left = (chance.integers(length - 256) for length in sample.shape[:2])
            part = np.rot90(sample[top : top + 256, left : left + 256], chance.integers(4))
            part = imresize(np.ascontiguousarray(part), half, half).astype(float)
            row.append(part + chance.normal(0, 3, part.shape))  # as of a sensor
        rows.append(np.concatenate(row, axis=1))
    return np.clip(np.concatenate(rows), 0, 255).astype(np.uint8)


def try_page(path, count, side):
    """Writes a page of pictures of `side` squared pixels; returns its size in bytes."""
    chance = np.random.default_rng(1)
    report = Page(count, "prediction")
    for number in range(count):
        original = make_photograph(side, chance)
        lr = downscale(original, 2)
        bicubic = upscale_bicubic(lr, 2)
        better = ((original.astype(int) + bicubic) // 2).astype(np.uint8)
        views = {"nearest": upscale_nearest(lr, 2), "bicubic": bicubic, "prediction": better}
        scores = {name: metrics.score(original, view, 2) for name, view in views.items()}
        box = figures.find_box(original, bicubic, better, 2)
        views["original"] = original
        report.add(f"{number}", Restored(views, scores, [], {}, box, None))
    results = Results([], ["bicubic", "prediction"], 2)
    report.write(path, results, {"scale": 2, "weights": None, "compared": {}})
    return path.stat().st_size


def opening_seconds(path):
    """Seconds until the first picture of a page can be looked at in Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page()
        began = time.monotonic()
        page.goto(path.as_uri())
        page.wait_for_selector("canvas[data-zoom]")
        return time.monotonic() - began


def report_page():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "report.html")
        size = try_page(path, 100, 1000)
        seconds = opening_seconds(path)
    assert size < 90e6
    print(f"a page of 100 pictures of 1 megapixel: {size / 1e6:.1f} MB, opens in {seconds:.1f} s")


def report_mutants():
    done, refused = try_mutants(2000)
    print(f"2,000 mutants: {done} done, {refused} refused, no traceback, hang or wrong size")


def report_kills():
    there, parts = try_kills(50)
    print(f"50 kills, with {sorted(there)} of 24 pictures there and {parts} parts left")


def report_large():
    weights = ROOT / "weights" / "edsr_small_x2.keras"
    peak, source, target, seconds = try_large(10_000, weights, "--verbose")
    more = (peak - source - target) / 2**30
    assert more < 1.5
    print(
        f"100 megapixels in {seconds:.0f} s: peak of {peak / 2**30:.2f} GiB resident, "
        f"{more:.2f} GiB more than input and output"
    )


def report_training_kills():
    _, inside, seconds = try_training_kills(100)
    print(
        f"100 kills of a training, {inside} of them inside of saving: each next one went on, at "
        f"most {seconds:.1f} s were lost, and all ends are equal bit for bit"
    )


def report_hours(minutes=120):
    samples = try_hours(minutes)
    for seconds, memory, files, step in samples[:: max(1, len(samples) // 12)]:
        print(f"{seconds:6.0f} s  {memory / 2**20:6.0f} MiB  {files} files  step {step:,}")
    print(
        f"{minutes} minutes of training: memory and open files flat, each damaged file named once"
    )


TRIALS = {
    "mutants": report_mutants,
    "kills": report_kills,
    "large": report_large,
    "training-kills": report_training_kills,
    "page": report_page,
    "hours": report_hours,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("trials", nargs="*", metavar="NAME", help=", ".join(TRIALS))
    chosen = parser.parse_args().trials or TRIALS
    if unknown := [name for name in chosen if name not in TRIALS]:
        parser.error(f"{unknown[0]!r}: expected one of {', '.join(TRIALS)}")
    for name in chosen:
        TRIALS[name]()


if __name__ == "__main__":
    main()
