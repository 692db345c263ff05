"""Trials that take minutes or hours; the tests run short ones.

`python -m tools.trials NAME ...` runs those that are named, without a name all:
  mutants         2,000 damaged files through `output.py`; two minutes
  kills           50 kills of a batch; ten minutes
  large           a picture of 100 megapixels; a quarter of an hour
  training-kills  100 kills of a training; half an hour
  hours           two hours of training on photographs of which 1% are damaged
"""

import argparse
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
from pathlib import Path

from superres.images.formats import output_name
from superres.images.read import ORIENTATION, opened, read_rgb
from superres.images.write import write_picture
from superres.runtime.files import PART

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402

import corpus  # noqa: E402
from support import bilinear_network, small_network, smooth_picture  # noqa: E402
from tools import trials_of_training  # noqa: E402

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
    with opened(path) as file:  # which mends what Pillow refuses
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
                    reason = re.search(rf"^refused {re.escape(str(path))}: (.+)$", run.stdout, re.M)
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


# ---- all ----


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
    _, inside, seconds = trials_of_training.try_training_kills(100)
    # With the step in which the time ran out, and what is not counted between two fits.
    assert seconds < 3 * trials_of_training.SAVE_SECONDS
    print(
        f"100 kills of a training, {inside} of them inside of saving: each next one went on, at "
        f"most {seconds:.1f} s were lost, and all ends are equal bit for bit"
    )


def report_hours(minutes=120):
    samples = trials_of_training.try_hours(minutes)
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
