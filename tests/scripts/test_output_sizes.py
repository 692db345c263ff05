"""SIZE and PART of output.py."""

import math
import os
import signal
import subprocess
import sys
import time
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image, ImageCms

import output
from superres.images.read import picture_size, read_picture, read_rgb
from superres.images.resize import imresize, resized_bands
from superres.images.write import write_picture
from superres.scoring.metrics import psnr
from superres.upscaling import batch
from support import ROOT, contents, smooth_picture

ALL = ("edsr_small_x2", "edsr_small_x3", "edsr_small_x4")
SHAPES = [(1, 1), (1, 9), (9, 1), (2, 3), (7, 7), (8, 16), (13, 17), (24, 18), (40, 60), (61, 45)]


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch):
    """The tests themselves may run in a job."""
    for name in list(os.environ):
        if name.startswith(("SLURM_", "AWS_BATCH_", "JOB_COMPLETION")):
            monkeypatch.delenv(name)


def run(*words):
    return output.main([str(word) for word in words])


def expected_shape(request, height, width):
    """What a picture's size is to be, in fractions; and whether it is possible."""
    if "x" in request:
        sides = zip(request.split("x"), (width, height), strict=True)
        factor = min(Fraction(int(new), old) for new, old in sides if new)
    else:
        factor = Fraction(request)
    return tuple(math.floor(side * factor + Fraction(1, 2)) for side in (height, width)), factor


@pytest.mark.parametrize("request_", ["1.5", "3.3", "60x40", "61x", "x45"])
def test_every_picture_gets_exactly_the_size_that_was_asked_for(
    tmp_path, shipped, capsys, request_
):
    shipped(*ALL)
    (tmp_path / "in").mkdir()
    for height, width in SHAPES:
        write_picture(tmp_path / f"in/{width}x{height}.png", smooth_picture(height, width), {})
    run(tmp_path / "in", tmp_path / "out", "--size", request_, "--precision", "float32")
    printed, notes = capsys.readouterr()
    for height, width in SHAPES:
        shape, factor = expected_shape(request_, height, width)
        name = f"{width}x{height}.png"
        assert (f"/{name}: {float(factor):g} times as large" in printed) == (factor > 16)
        assert (tmp_path / "out" / name).exists() == (factor <= 16)
        if factor <= 16:
            assert picture_size(tmp_path / "out" / name, math.inf) == shape
            assert (f"/{name}: enlarged in two passes, by 4 and by " in notes) == (factor > 4)
        reduced = f"/{name}: {width}x{height} pixels reduced to {shape[1]}x{shape[0]}"
        assert (reduced in notes) == (factor < 1)
        as_it_was = f"/{name}: {width}x{height} pixels, as it was"
        assert (as_it_was in notes) == (shape == (height, width))


def deep(channels):
    return smooth_picture(30, 40, channels, dtype=np.uint16)


PICTURES = {
    "rgb.png": smooth_picture(30, 40),
    "grey.png": smooth_picture(30, 40, 1)[..., 0],
    "alpha.png": smooth_picture(30, 40, 4),
    "grey alpha.png": smooth_picture(30, 40, 2),
    "deep.png": deep(3),
    "deep grey.tif": deep(1)[..., 0],
    "deep alpha.png": deep(4),
    "deep alpha.tif": deep(4),
    "a.tif": smooth_picture(30, 40),
    "a.bmp": smooth_picture(30, 40),
    "lossless.webp": smooth_picture(30, 40, 4),
}


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
            expected = np.concatenate(list(resized_bands([picture], picture.shape, *shape)))
        assert found.shape == expected.shape
        assert np.abs(found.astype(int) - expected).max() <= (1 if found.dtype == np.uint8 else 16)


def test_exif_and_profile_are_kept(tmp_path, shipped):
    shipped(*ALL)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"  # turned
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = Image.fromarray(smooth_picture(30, 40))
    image.save(tmp_path / "a.jpg", exif=exif, icc_profile=profile, quality=95, dpi=(300, 300))
    assert run(tmp_path / "a.jpg", tmp_path / "out", "--size", "x100") == 0
    made = Image.open(tmp_path / "out" / "a.jpg")
    assert made.size == (75, 100)
    assert made.getexif()[0x010F] == "maker"
    assert 0x0112 not in made.getexif()
    assert made.info["icc_profile"] == profile
    assert made.info["dpi"] == (300, 300)


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


def test_one_and_a_half_times_as_large_beats_bicubic(tmp_path, benchmarks):
    """With the shipped weights for x2, from LR pictures made for that factor."""
    scores = {"bicubic": [], "ours": []}
    (tmp_path / "in").mkdir()
    originals = sorted((benchmarks / "Set5" / "HR").glob("*.png"))
    assert len(originals) == 5
    cropped = {}
    for path in originals:
        hr = read_rgb(path)
        height, width = (side // 3 * 3 for side in hr.shape[:2])
        cropped[path.name] = hr[:height, :width]
        lr = imresize(cropped[path.name], height * 2 // 3, width * 2 // 3)
        write_picture(tmp_path / "in" / path.name, lr, {})
        bicubic = imresize(lr, height, width)
        scores["bicubic"].append(psnr(cropped[path.name], bicubic, 2))
    assert run(tmp_path / "in", tmp_path / "out", "--size", "1.5", "--content", "clean") == 0
    for name, hr in cropped.items():
        scores["ours"].append(psnr(hr, read_rgb(tmp_path / "out" / name), 2))
    assert np.mean(scores["ours"]) > np.mean(scores["bicubic"]) + 3.5


# ---- parts ----


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


@pytest.mark.slow
def test_sixteen_processes_some_killed_make_every_picture_once_and_whole(tmp_path, small_weights):
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    random = np.random.default_rng(0)
    for n in range(200):
        height, width = random.integers(20, 120, 2)
        write_picture(source / f"{n}.png", smooth_picture(height, width, seed=n), {})
    words = [sys.executable, ROOT / "output.py", source, target, "--weights", small_weights]

    def begin(number):
        return subprocess.Popen(
            [*words, "--part", f"{number}/16"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    processes = {number: begin(number) for number in range(1, 17)}
    while len(list(target.glob("*.png"))) < 20:
        assert any(process.poll() is None for process in processes.values())
        time.sleep(0.01)
    killed = 0
    for number in range(1, 17, 3):
        processes[number].send_signal(signal.SIGKILL)
        processes[number].communicate()
        killed += processes[number].returncode == -signal.SIGKILL  # or it was done
        processes[number] = begin(number)
    assert killed
    for process in processes.values():
        _, error = process.communicate(timeout=300)
        assert process.returncode == 0, error
    made = {name for name in contents(target) if not name.startswith(".unfinished")}
    assert made == {f"{n}.png" for n in range(200)}
    before = contents(target)
    again = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "0 done, 200 already there, 0 refused" in again.stdout
    subprocess.run([*words[:3], tmp_path / "alone", *words[4:]], capture_output=True, check=True)
    assert {name: before[name] for name in made} == contents(tmp_path / "alone")
