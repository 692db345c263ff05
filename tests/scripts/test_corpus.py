"""Every kind of file ends as one output or one named refusal, and harms nobody else."""

import contextlib
import functools
import io

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
from support import bilinear_network, contents

CASES = corpus.cases()
DONE = [name for name, case in CASES.items() if case.truth is not None]
REFUSED = [name for name in CASES if name not in DONE]
# What is no reason that a user understands.
INTERNALS = "Traceback", "object at 0x", " mode", "decode", "buffer", "operands", "bytes not", "-2"
FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".tif": "TIFF", ".tiff": "TIFF"}


@pytest.fixture(scope="module")
def batch(tmp_path_factory):
    """Source and target of the corpus run through `output.py`, and the lines that it printed."""
    folder = tmp_path_factory.mktemp("corpus")
    source, target, weights = folder / "in", folder / "out", folder / "w.keras"
    corpus.build(source)
    bilinear_network().save(weights)
    before, printed = contents(source), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        assert output.main([str(source), str(target), "--weights", str(weights)]) == 1
    assert contents(source) == before
    return source, target, printed.getvalue().replace("\r", "\n").splitlines()


@functools.cache
def upscaler():
    return Upscaler(KerasNetwork(bilinear_network()), precision=output.PRECISION)


def test_the_whole_batch_and_a_second_run_that_has_nothing_to_do(batch, capsys):
    source, target, printed = batch
    others = f"{len(REFUSED)} refused, in {quoted(target)}; {len(corpus.OTHERS)} files left out: "
    assert any(f"{len(DONE)} done, 0 already there, {others}" in line for line in printed)
    there = {p.relative_to(target).as_posix() for p in target.rglob("*") if p.is_file()}
    assert there == {output_name(name) for name in DONE}
    before, weights = contents(target), source.parent / "w.keras"
    assert output.main([str(source), str(target), "--weights", str(weights)]) == 1
    assert f"0 done, {len(DONE)} already there" in capsys.readouterr().out
    assert contents(target) == before


@pytest.mark.parametrize("name", REFUSED)
def test_refusal(batch, name):
    source, _, printed = batch
    begin = f"refused {quoted(source / name)}: "
    (reason,) = (line.removeprefix(begin) for line in printed if line.startswith(begin))
    assert reason
    assert CASES[name].reason in reason
    own = reason.replace(str(source.parent), "")  # whose number may begin with a 2
    assert not any(word in own for word in INTERNALS)


@pytest.mark.parametrize("name", DONE)
def test_output(batch, name):
    source, target, printed = batch
    case, path = CASES[name], target / output_name(name)
    height, width = case.truth.shape[:2]
    with Image.open(path) as file:
        assert file.size == (2 * width, 2 * height)
        assert file.getexif().get(ORIENTATION, 1) == 1
        # What stands in the file: PNG for a name that cannot be written otherwise.
        ending = path.suffix.lower()
        assert file.format == FORMATS.get(ending, ending[1:].upper())
        exif = file.getexif()
        for key, value in (case.metadata or {}).items():
            if key == "icc_profile":
                assert file.info.get("icc_profile") == value
            else:
                assert value in (exif.get(key), exif.get_ifd(EXIF_IFD).get(key))
    pixels, expected = read_picture(path)[0], upscaler().enlarge(case.truth)
    assert pixels.dtype == expected.dtype
    assert pixels.shape == expected.shape
    difference = np.abs(pixels.astype(float) - expected) / (np.iinfo(pixels.dtype).max / 255)
    assert difference.mean() <= case.tolerance
    note = f"note {quoted(source / name)}: left out: {case.note}"
    assert any(note in line for line in printed) == bool(case.note)
