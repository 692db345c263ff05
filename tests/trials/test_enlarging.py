"""Damaged files, kills and a large picture, through `output.py`; longer where SR_TRIALS is set."""

import math
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

import corpus
from superres.images.formats import output_name
from superres.images.read import picture_size, read_picture, read_rgb
from superres.images.write import write_picture
from superres.runtime.files import TEMPORARY
from support import ROOT, bilinear_network, contents, small_network, smooth_picture

pytestmark = pytest.mark.slow
IS_LONG = "SR_TRIALS" in os.environ
MUTANTS, KILLS, SIDE = (2000, 50, 10_000) if IS_LONG else (300, 3, 6000)


def command(*words):
    return [sys.executable, *map(str, (ROOT / "output.py", *words))]


def mutant_of(content, chance):
    """Flips, sets, removes or doubles bytes, or cuts the rest off; often in the header."""
    mutant = bytearray(content)
    for _ in range(chance.choice([1, 1, 2, 4])):
        place = chance.randrange(min(len(mutant), chance.choice([32, 200, len(mutant)])) or 1)
        end = place + chance.choice([1, 1, 2, 4, 16])
        part = mutant[place:end]
        changes = [
            bytes(byte ^ 1 << chance.randrange(8) for byte in part[:1]) + part[1:],
            chance.choice([b"\0", b"\xff", b"\x7f", chance.randbytes(1)]) * len(part),
            b"",
            2 * part,
        ]
        mutant[place:end] = chance.choices(changes, [2, 2, 1, 1])[0]
        if chance.random() < 1 / 7:
            del mutant[chance.randrange(len(mutant) or 1) :]
    if mutant[:4] == b"\x89PNG" and len(mutant) > 33 and chance.random() < 0.5:
        # With a right checksum, the header's lie is believed.
        mutant[8:33] = corpus.png_chunk(bytes(mutant[12:16]), bytes(mutant[16:29]))
    return bytes(mutant)


def test_a_mutant_is_enlarged_or_refused(tmp_path):
    valid = [
        (name, case.content)
        for name, case in corpus.cases().items()
        if case.truth is not None and not name.startswith("names/")
    ]
    chance = random.Random(1)
    bilinear_network().save(tmp_path / "w.keras")
    done = 0
    for first in range(0, MUTANTS, 250):
        source, target = tmp_path / f"in{first}", tmp_path / f"out{first}"
        source.mkdir()
        for n in range(first, min(first + 250, MUTANTS)):
            name, content = chance.choice(valid)
            path = source / f"{n}{name[name.rindex('.') :]}"
            path.write_bytes(mutant_of(content, chance))
        before = contents(source)
        words = command(source, target, "--weights", tmp_path / "w.keras")
        run = subprocess.run(words, capture_output=True, text=True, timeout=90)
        assert run.returncode in (0, 1), run.stderr
        assert "Traceback" not in run.stdout + run.stderr, run.stderr
        assert contents(source) == before
        assert not list(target.rglob(f"{TEMPORARY}*"))
        for path in source.iterdir():
            output = target / output_name(path.name)
            if output.exists():
                height, width = read_picture(path)[0].shape[:2]
                assert picture_size(output, math.inf) == (2 * height, 2 * width), path
                if height * width < 10**6:  # or its output may be above the limit of pixels
                    read_picture(output)
                done += 1
            else:
                assert re.search(rf"^refused {re.escape(str(path))}: .", run.stdout, re.M), path
    assert 30 < done < MUTANTS - 30  # or the mutants would test one half only


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_run_after_a_signal_makes_what_is_missing(tmp_path):
    chance, source, target = random.Random(1), tmp_path / "in", tmp_path / "out"
    small_network(global_skip=True).save(tmp_path / "w.keras")
    for n in range(24):
        path = source / str(n % 3) / f"{n}{['.png', '.jpg', '.tif', '.webp'][n % 4]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_picture(path, smooth_picture(200 + 10 * n, 300, seed=n), {})

    def run(number=None, seconds=0):
        """What was printed, and the seconds from the first line to the end."""
        words = command(source, target, "--weights", tmp_path / "w.keras")
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            process.stdout.readline()
            began = time.monotonic()
            if number is not None:
                time.sleep(seconds)
                process.send_signal(number)
            return process.communicate()[0].decode(), time.monotonic() - began

    _, seconds = run()
    expected = contents(target)
    assert len(expected) == 24
    for n in range(KILLS):
        shutil.rmtree(target)
        number = [signal.SIGKILL, signal.SIGINT, signal.SIGTERM][n % 3]
        printed, _ = run(number, chance.uniform(0, 0.9 * seconds))
        parts = list(target.rglob(f"{TEMPORARY}*"))
        there = len(contents(target)) - len(parts)
        if number != signal.SIGKILL:
            assert f"{there} done, 0 already there, 0 refused" in printed
            assert there == 24 or printed.endswith("stopped; run the same command to continue\n")
            assert not parts
        for part in parts:  # as if it had been a while ago
            os.utime(part, (0, 0))
        assert f"{24 - there} done, {there} already there, 0 refused" in run()[0]
        assert contents(target) == expected


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory as Linux has it")
def test_memory_of_a_large_picture_grows_by_less_than_the_output(tmp_path):
    """By the input and the decoder's copy of it alone."""
    bilinear_network().save(tmp_path / "w.keras")
    face, peaks = read_rgb(ROOT / "evaluation" / "original" / "astronaut.png"), []
    for side in 512, SIDE:
        source, copies = tmp_path / f"{side}.png", -(-side // len(face))
        large = np.tile(face, (copies, copies, 1))[:side, :side]
        Image.fromarray(large).save(source, compress_level=1)
        words = command(source, tmp_path / "out", "--weights", tmp_path / "w.keras")
        _, status, usage = os.wait4(subprocess.Popen(words).pid, 0)
        assert status == 0
        peaks.append(1024 * usage.ru_maxrss)
        with Image.open(tmp_path / "out" / source.name) as file:
            assert file.size == (2 * side, 2 * side)
    assert peaks[1] - peaks[0] < 12 * SIDE**2
