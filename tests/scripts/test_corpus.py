"""Every kind of file ends as one output or one named refusal, and harms nobody else."""

import hashlib
import stat
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import corpus
import output
from superres.images.formats import output_name
from superres.images.metadata import EXIF_IFD, ORIENTATION
from superres.images.read import read_picture
from superres.runtime.terminal import quoted
from superres.upscaling.networks import KerasNetwork
from superres.upscaling.upscaler import Upscaler
from support import ROOT, bilinear_network

CASES = corpus.cases()


def digests(folder):
    """What every file below a folder is: its content, its link, or its kind."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_symlink():
            found[path] = path.readlink()
        elif path.is_file():
            found[path] = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            found[path] = stat.S_IFMT(path.lstat().st_mode)
    return found


@pytest.fixture(scope="module")
def batch(tmp_path_factory):
    """The corpus, run through `output.py` once.

    Returns:
        Source and target folder, exit code, what was printed, and whether inputs changed.
    """
    folder = tmp_path_factory.mktemp("corpus")
    source, target, weights = folder / "in", folder / "out", folder / "w.keras"
    corpus.build(source)
    bilinear_network().save(weights)
    before = digests(source)
    command = [sys.executable, ROOT / "output.py", source, target, "--weights", weights]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    printed = run.stdout + run.stderr.replace("\r", "\n")
    return source, target, run.returncode, printed, before == digests(source)


def test_the_corpus_is_large_enough():
    assert len(CASES) >= 120


@pytest.mark.slow
def test_the_whole_batch(batch):
    _, target, code, printed, unchanged = batch
    assert code == 1
    assert unchanged
    done = sum(case.truth is not None for case in CASES.values())
    refused = len(CASES) - done
    others = f"{len(corpus.OTHERS)} files left out: 2 hidden, 1 "
    assert (
        f"{done} done, 0 already there, {refused} refused, in {quoted(target)}; {others}"
    ) in printed
    expected = {output_name(name) for name, case in CASES.items() if case.truth is not None}
    there = {p.relative_to(target).as_posix() for p in target.rglob("*") if p.is_file()}
    assert there == expected


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.truth is None])
def test_refusal(batch, name):
    source, _, _, printed, _ = batch
    path = quoted(source / name)
    reasons = [
        line.removeprefix(f"refused {path}: ")
        for line in printed.splitlines()
        if line.startswith(f"refused {path}: ")
    ]
    assert len(reasons) == 1
    assert reasons[0]
    assert CASES[name].reason in reasons[0]
    words = "Traceback", "object at 0x", " mode", "decode", "buffer", "operands", "bytes not", "-2"
    own = reasons[0].replace(str(source.parent), "")  # whose number may begin with a 2
    assert not any(word in own for word in words)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.truth is not None])
def test_output(batch, name):
    source, target, _, printed, _ = batch
    case = CASES[name]
    path = target / output_name(name)
    height, width = case.truth.shape[:2]
    with Image.open(path) as file:
        assert file.size == (2 * width, 2 * height)
        assert file.getexif().get(ORIENTATION, 1) == 1
        # What stands in the file: PNG for a name that cannot be written otherwise.
        endings = {".jpg": "JPEG", ".jpeg": "JPEG", ".tif": "TIFF", ".tiff": "TIFF"}
        ending = path.suffix.lower()
        assert file.format == endings.get(ending, ending[1:].upper())
        exif = file.getexif()
        for key, value in (case.metadata or {}).items():
            if key == "icc_profile":
                assert file.info.get("icc_profile") == value
            else:
                assert value in (exif.get(key), exif.get_ifd(EXIF_IFD).get(key))
    pixels, _ = read_picture(path)
    upscaler = Upscaler(KerasNetwork(bilinear_network()), precision=output.PRECISION)
    expected = upscaler.enlarge(case.truth)
    if expected.shape != pixels.shape and path.suffix == ".bmp":
        pixels = pixels[..., : expected.shape[2]]
    assert pixels.dtype == expected.dtype
    assert pixels.shape == expected.shape
    difference = np.abs(pixels.astype(float) - expected) / (np.iinfo(pixels.dtype).max / 255)
    assert difference.mean() <= case.tolerance
    note = f"note {quoted(source / name)}: {case.note}"
    assert (note in printed) == bool(case.note)


def test_the_next_run_has_nothing_to_do(batch, monkeypatch, capsys):
    source, target, _, _, _ = batch
    before = digests(target)
    weights = source.parent / "w.keras"
    assert output.main([str(source), str(target), "--weights", str(weights)]) == 1
    done = sum(case.truth is not None for case in CASES.values())
    assert f"0 done, {done} already there" in capsys.readouterr().out
    assert digests(target) == before
