"""SIZE and PART of output.py."""

import math
import os
import re

import numpy as np
import pytest
from PIL import Image

import output
from superres.images.read import picture_size, read_picture
from superres.images.resize import imresize, resize_bands
from superres.images.write import write_picture
from superres.upscaling import batch
from support import contents, smooth_picture

ALL = ("edsr_small_x2", "edsr_small_x3", "edsr_small_x4")


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch):
    """The tests themselves may run in a job."""
    for name in filter(re.compile("SLURM_|AWS_BATCH_|JOB_COMPLETION").match, list(os.environ)):
        monkeypatch.delenv(name)


def run(*words):
    return output.main([str(word) for word in words])


@pytest.mark.parametrize(
    ("size", "height", "width", "shape", "note"),
    [
        ("1.5", 13, 17, (20, 26), ""),
        ("x45", 24, 18, (45, 34), ""),
        ("60x40", 40, 60, (40, 60), "60x40 pixels, unchanged"),
        ("60x40", 61, 45, (40, 30), "45x61 pixels reduced to 30x40"),
        ("61x", 7, 7, (61, 61), "enlarged in two passes, by 4 and by 3"),
        ("x45", 1, 9, None, "45 times as large: expected 16 at most"),
    ],
)
def test_picture_gets_exactly_the_size_that_was_asked_for(
    tmp_path, shipped, capsys, size, height, width, shape, note
):
    shipped(*ALL)
    write_picture(tmp_path / "a.png", smooth_picture(height, width), {})
    assert run(tmp_path / "a.png", tmp_path / "out", "--size", size) == (shape is None)
    assert f"a.png: {note}" * bool(note) in "".join(capsys.readouterr())
    if shape:
        assert picture_size(tmp_path / "out" / "a.png", math.inf) == shape


GREY, GREY_ALPHA, RGB, RGBA = (smooth_picture(30, 40, n).squeeze() for n in (1, 2, 3, 4))
DEEP_GREY, DEEP_RGB, DEEP_RGBA = (
    smooth_picture(30, 40, n, dtype=np.uint16).squeeze() for n in (1, 3, 4)
)
PICTURES = {"rgb.png": RGB, "grey.png": GREY, "alpha.png": RGBA, "grey alpha.png": GREY_ALPHA}
PICTURES |= {"deep.png": DEEP_RGB, "deep grey.tif": DEEP_GREY, "deep alpha.png": DEEP_RGBA}
PICTURES |= {"deep alpha.tif": DEEP_RGBA, "a.tif": RGB, "a.bmp": RGB, "lossless.webp": RGBA}


@pytest.fixture
def folder(tmp_path):
    """A folder with the pictures, of which each is written as itself."""
    (tmp_path / "in").mkdir()
    for name, picture in PICTURES.items():
        write_picture(tmp_path / "in" / name, picture, {"lossless": True})
    return tmp_path / "in"


@pytest.mark.parametrize(
    ("size", "scales", "shape"),
    [("1.5", [2], (45, 60)), ("5", [4, 2], (150, 200)), ("20x", [], (15, 20))],
)
def test_pixels_are_those_of_the_networks_reduced(tmp_path, folder, shipped, size, scales, shape):
    networks = shipped(*ALL)
    assert run(folder, tmp_path / "out", "--size", size, "--precision", "float32") == 0
    for name, picture in PICTURES.items():
        found, _ = read_picture(tmp_path / "out" / name)
        assert found.dtype == picture.dtype
        for scale in scales:
            picture = networks[f"edsr_small_x{scale}"].enlarge(picture).copy()
        expected = imresize(picture, *shape)
        if found.shape[2:] in ((2,), (4,)):  # where colours count as much as they are visible
            expected = np.concatenate(list(resize_bands([picture], picture.shape, *shape)))
        assert found.shape == expected.shape
        assert np.abs(found.astype(int) - expected).max() <= (1 if found.dtype == np.uint8 else 16)


def test_tiles_bands_and_large_pictures_change_nothing(tmp_path, folder, shipped, monkeypatch):
    shipped(*ALL)
    write_picture(folder / "rgb.png", smooth_picture(150, 170), {})
    write_picture(folder / "alpha.png", smooth_picture(170, 150, 4), {})
    words = [folder, "--size", "2.2", "--precision", "float32"]
    assert run(*words, tmp_path / "whole") == 0
    monkeypatch.setattr(batch, "READ_AHEAD_PIXELS", 0)
    monkeypatch.setattr(batch, "WRITE_BEHIND_PIXELS", 0)
    assert run(*words, tmp_path / "tiled", "--tile-size", "33") == 0
    for name in PICTURES:
        whole, tiled = (read_picture(tmp_path / of / name)[0] for of in ("whole", "tiled"))
        assert whole.shape == tiled.shape
        assert np.abs(whole.astype(int) - tiled).max() <= np.iinfo(whole.dtype).max // 255


def test_the_first_pass_is_for_jpegs_and_the_second_one_for_clean_pictures(
    tmp_path, shipped, capsys
):
    shipped(*ALL, *(f"{name}_photo" for name in ALL))
    Image.fromarray(smooth_picture(12, 15)).save(tmp_path / "a.jpg", quality=50)
    assert run(tmp_path / "a.jpg", tmp_path / "out", "--size", "120x", "--verbose") == 0
    printed, notes = capsys.readouterr()
    assert "a.jpg: enlarged in two passes, by 4 and by 2\n" in notes
    lines = [line for line in printed.splitlines() if "a.jpg: " in line]
    assert [line.split(", ")[-1] for line in lines] == [
        "edsr_small_x4_photo.keras (quality 50)",
        "edsr_small_x2.keras",
    ]
    # Networks are named when they are loaded, and no others are.
    named = [line.split(".keras")[0] for line in printed.splitlines() if "parameters" in line]
    assert named == ["edsr_small_x4", "edsr_small_x2"]


def test_memory_of_both_passes_is_asked_for(tmp_path, shipped, monkeypatch):
    shipped(*ALL)
    write_picture(tmp_path / "a.png", smooth_picture(20, 30), {})
    asked, tiles_in_memory = [], output.tiles_in_memory

    def spy(upscaler, picture, needed, wait):
        asked.append(needed)
        return tiles_in_memory(upscaler, picture, needed, wait)

    monkeypatch.setattr(output, "tiles_in_memory", spy)
    assert run(tmp_path / "a.png", tmp_path / "out", "--size", "5") == 0
    enlarged, between = 100 * 150 * 3, 80 * 120 * 3
    assert asked == [enlarged + between, enlarged]


def test_weights_and_scale_say_what_enlarges(tmp_path, shipped, capsys):
    shipped(*ALL)
    write_picture(tmp_path / "a.png", smooth_picture(10, 10), {})
    two = tmp_path / "shipped" / "edsr_small_x2.keras"
    for target, size, options, scales in [
        ("1", "1.5", ["--scale", "4"], [4]),
        ("2", "3", ["--scale", "2"], [2, 2]),
        ("3", "3.9", ["--weights", two], [2, 2]),
        ("4", "18x", ["--weights", two], [2]),
    ]:
        words = [tmp_path / "a.png", tmp_path / target, "--size", size, *options, "--verbose"]
        assert run(*words) == 0
        printed = capsys.readouterr().out
        lines = [line for line in printed.splitlines() if "a.png: " in line]
        found = [line.split(", ")[-1] for line in lines]
        assert found == [f"edsr_small_x{scale}.keras" for scale in scales]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--size", "1"], "SIZE = '1': expected \"2560x1440\" (a box)"),
        (["--size", "17"], "SIZE = '17': 17 times as large: expected 16 at most"),
        (["--size", "5", "--scale", "2"], "SIZE = '5': 5 times as large: expected 4 at most"),
        (["--size", "100x", "--weights", "no.keras"], "no.keras: no such weights file"),
        (["--size", "100x", "--network", "large"], "clean pictures and NETWORK = 'large' in it"),
        (["--part", "5/4"], "PART = '5/4': no part 5 of 4"),
        (["--part", "auto"], "PART = 'auto': expected the variables of a SLURM array"),
        (["--size", "2x"], """SIZE = '2x': 2 pixels; for a factor write "2", for a side"""),
    ],
)
def test_what_cannot_be_is_refused_at_once(tmp_path, shipped, capsys, options, message):
    shipped(*ALL)
    write_picture(tmp_path / "a.png", smooth_picture(10, 10), {})
    assert run(tmp_path / "a.png", tmp_path / "out", *options) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_parts_together_are_the_whole(tmp_path, small_weights, capsys):
    source = tmp_path / "in"
    for n in range(20):
        path = source / f"{n % 3}" / f"{n}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_picture(path, smooth_picture(6, 7, seed=n), {})
    (source / "torn.png").write_bytes(b"no picture")
    words = [source, "--weights", small_weights]
    run(*words, tmp_path / "whole")
    capsys.readouterr()
    made, refused = [], 0
    for number in range(1, 5):
        code = run(*words, tmp_path / f"{number}", "--part", f"{number}/4")
        printed = capsys.readouterr().out
        assert f"\npart {number} of 4: " in printed
        assert code == printed.count("torn.png: ")
        refused += code
        made += contents(tmp_path / f"{number}").items()
    assert sorted(made) == sorted(contents(tmp_path / "whole").items())
    assert refused == 1


def test_an_empty_part_is_no_error(tmp_path, small_weights, monkeypatch, capsys):
    write_picture(tmp_path / "a.png", smooth_picture(6, 7), {})
    codes = set()
    for index in range(3):
        monkeypatch.setenv("JOB_COMPLETION_INDEX", str(index))
        words = [tmp_path / "a.png", tmp_path / "out", "--weights", small_weights]
        codes.add(run(*words, "--part", "auto/3"))
    assert codes == {0}
    printed = capsys.readouterr().out
    assert printed.count(": 1 picture\n") == 1
    assert printed.count(": 0 pictures\n") == 2
    assert printed.count("1 done, 0 already there, 0 refused") == 1
