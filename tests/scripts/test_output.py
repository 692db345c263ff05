import errno
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image

import output
import utils
from superres.images import read, write
from superres.images.quality import Condition, condition_of_file, describe
from superres.images.read import read_picture, read_rgb
from superres.images.write import write_picture
from superres.runtime import backend, hardware, memory
from superres.runtime.errors import InputError
from superres.upscaling import batch, channels
from support import (
    FAULTS,
    ROOT,
    contents,
    copy_program,
    failing_twice,
    small_network,
    smooth_picture,
)

PHOTO = ROOT / "weights" / "edsr_small_x2_photo.keras"


def run(*words):
    return output.main([str(word) for word in words])


@pytest.fixture
def pictures(tmp_path):
    """A folder with a picture, one deeper, and one cut in half."""
    source = tmp_path / "in"
    (source / "deeper").mkdir(parents=True)
    write_picture(source / "a.png", smooth_picture(11, 17), {})
    write_picture(source / "deeper" / "ünï code.jpg", smooth_picture(16, 9), {})
    whole = (source / "deeper" / "ünï code.jpg").read_bytes()
    (source / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    return source


@pytest.fixture
def enlarge(tmp_path, pictures, small_weights, monkeypatch):
    """Function that enlarges the pictures, in the folder of `in`, by a small network."""
    monkeypatch.chdir(tmp_path)
    return lambda *words, source="in", target="out": run(
        source, target, "--weights", small_weights, *words
    )


# ---- the command ----


def test_folder_keeps_names_and_places_and_continues_after_a_bad_file(pictures, enlarge, capsys):
    for name in "notes.txt", ".DS_Store", "deeper/._a.png", "b.HEIC", "a.heic", "README":
        (pictures / name).touch()
    before = contents(pictures)
    assert enlarge() == 1
    printed = capsys.readouterr().out
    assert sorted(contents(Path("out"))) == ["a.png", "deeper/ünï code.jpg"]
    assert Image.open("out/a.png").size == (34, 22)
    assert Image.open("out/deeper/ünï code.jpg").size == (18, 32)
    assert "2 done, 0 already there, 1 refused" in printed
    assert "cut.jpg: " in printed
    counts = "2 hidden, 2 .heic, 1 without ending, 1 .txt"
    assert f"; 6 files left out: {counts}; convert .heic to PNG or JPEG first\n" in printed
    assert contents(pictures) == before


def test_existing_outputs_are_kept_without_overwrite(pictures, enlarge, capsys):
    Path("out").mkdir()
    Path("out/a.png").write_bytes(b"mine")
    assert enlarge() == 1
    assert "1 done, 1 already there, 1 refused" in capsys.readouterr().out
    assert Path("out/a.png").read_bytes() == b"mine"
    assert enlarge("--overwrite") == 1
    assert Image.open("out/a.png").size == (34, 22)


def test_target_may_be_inside_or_above_the_source(pictures, enlarge):
    for _ in range(2):
        assert enlarge(target="in/out") == 1
        assert sorted(contents(pictures / "out")) == ["a.png", "deeper/ünï code.jpg"]
    before = contents(pictures)
    assert enlarge(source="in/deeper", target="in") == 0
    after = contents(pictures)
    assert set(after) - set(before) == {"ünï code.jpg"}
    assert before.items() <= after.items()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("nowhere out", "SOURCE = 'nowhere': no such file or folder"),
        ("empty out", "SOURCE = 'empty': no pictures found in it"),
        ("raw out", "1 file left out: 1 .dng; convert .dng to PNG or JPEG first"),
        ("in in", "TARGET = 'in': expected another folder than SOURCE"),
        ("in/a.png in", "TARGET = 'in': expected another folder than the input's"),
        ("in --target in/a.png", "TARGET = 'in/a.png': is a file, expected a folder"),
        ("in b.png", "TARGET = 'b.png': expected a folder; names stay as they are"),
        ("'' out", "SOURCE = ['']: expected text"),
        ("in nowhere --target out", "SOURCE = 'nowhere': no such file or folder"),
        ("in out --at 5,5", "AT = '5,5': needs TRY"),
        ("in out --dry-run --try", "DRY_RUN and TRY: expected one of them"),
        ("empty raw --target out", "SOURCE = 'empty', 'raw': no pictures found in it"),
        ("in out --try --at 5", "AT = '5': expected \"X,Y\", two whole numbers"),
        ("in ''", "TARGET = '': expected text"),
        ("in out --tile-size -1", "TILE_SIZE = -1: expected a whole number"),
        ("in out --max-megapixels 0", "MAX_MEGAPIXELS = 0: expected a number"),
        ("in out --scale 5", "SCALE = 5: expected one of 0, 2, 3, 4"),
        ("in out --scale 3 --weights shipped/edsr_small_x2.keras", "_x2.keras enlarges by 2"),
        ("in out --weights no.keras", "no.keras: no such weights file"),
        ("in out --weights in/a.png", "in/a.png: expected a .keras file"),
        ("in out --weights zip.keras", "zip.keras: refused: it holds nothing: expected"),
        ("in out --content jpeg", "CONTENT = 'jpeg': expected one of 'auto', 'clean', 'photo'"),
        ("in out --quality 101", "QUALITY = 101: expected a whole number from 25 to 98"),
        ("in out --quality 0.4", "QUALITY = 0.4: expected a whole number from 25 to 98"),
        ("in out --quality 40", "no weights for JPEGs in it, only edsr_small_x2"),
        ("in out --noise 0 --content clean", "NOISE: not possible with CONTENT = 'clean'"),
        ("in out --noise -0.5", "NOISE = -0.5: expected a number from 0 to 11"),
        ("in out --blur nan", "BLUR = nan: expected a number from 0 to 1.2"),
        ("in out --quality 40 --weights shipped/edsr_small_x2.keras", "_x2.keras takes no quality"),
        (f"in out --quality 40 --blur 0 --weights '{PHOTO}'", "_photo.keras takes no blur; it"),
    ],
)
def test_what_cannot_start_ends_with_exit_code_2_and_one_line(
    tmp_path, pictures, shipped, monkeypatch, capsys, words, message
):
    monkeypatch.chdir(tmp_path)
    shipped("edsr_small_x2")
    (tmp_path / "empty").mkdir()
    shutil.make_archive("zip", "zip", "empty")
    shutil.move("zip.zip", "zip.keras")
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.dng").touch()
    before = contents(tmp_path)
    assert run(*shlex.split(words)) == 2
    error = capsys.readouterr().err
    assert error.startswith("output.py: ")
    assert message in error
    assert error.count("\n") == 1
    assert contents(tmp_path) == before


def test_signals_end_with_exit_code_130(enlarge, monkeypatch, capsys):
    def interrupted(*arguments):
        signal.raise_signal(signal.SIGTERM)  # which waits for the end of the tile
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt as error:
            raise RuntimeError("MISMATCH of errors") from error

    with monkeypatch.context() as patched:
        patched.setattr(utils, "load", Mock(side_effect=KeyboardInterrupt))
        assert enlarge() == 130
    assert "run the same command to continue" in capsys.readouterr().err
    monkeypatch.setattr(output, "output_memory", interrupted)  # as a library does
    assert enlarge() == 130
    captured = capsys.readouterr()
    assert "0 done, 0 already there, 0 refused" in captured.out
    assert "MISMATCH" not in captured.out + captured.err


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left"), r"stopped \(No space left\), [12] not tried"),
        (OSError(errno.EFBIG, "File too large"), "1 done, 0 already there, 2 refused"),
    ],
    ids=["full", "limit"],
)
def test_full_disk_stops_the_batch_and_a_limit_of_size_does_not(
    tmp_path, pictures, enlarge, monkeypatch, capsys, error, message
):
    (pictures / "cut.jpg").unlink()
    write_picture(pictures / "b.png", smooth_picture(9, 9), {})
    monkeypatch.setattr(write, "encode_png", Mock(side_effect=error))
    assert enlarge() == 1
    printed = capsys.readouterr().out
    assert re.search(message, printed)
    assert error.strerror in printed
    assert not list((tmp_path / "out").glob("*.*"))


@pytest.mark.slow
def test_two_runs_at_once_do_not_harm_each_other(tmp_path, small_weights):
    (tmp_path / "in").mkdir()
    for n in range(12):
        write_picture(tmp_path / "in" / f"{n}.png", smooth_picture(100, 120, seed=n), {})
    words = [sys.executable, ROOT / "output.py", tmp_path / "in", "--weights", small_weights]
    subprocess.run([*words, tmp_path / "alone"], check=True, capture_output=True)
    words += [tmp_path / "out", "--overwrite"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    for process in [subprocess.Popen(words, **pipes) for _ in range(2)]:
        printed, error = process.communicate(timeout=120)
        assert process.returncode == 0, error
        assert b"12 done, 0 already there, 0 refused" in printed
    assert contents(tmp_path / "out") == contents(tmp_path / "alone")


def test_pixel_limit_and_memory_limit(enlarge, monkeypatch, capsys):
    assert enlarge("--max-megapixels", "0.0001", source="in/a.png") == 1
    assert "17x11 pixels: expected at most 100 in all" in capsys.readouterr().out
    assert enlarge("--max-megapixels", "0.001", source="in/a.png") == 0
    monkeypatch.setattr(memory, "free_memory", lambda: 3000)
    assert enlarge("--overwrite", source="in/a.png") == 1
    assert "GB of memory: 0.0 are free" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("module", "function", "error"),
    [
        (batch, "picture_size", FAULTS[0]),
        (read, "_read_shallow", FAULTS[1]),
        (output, "output_memory", FAULTS[2]),
        (channels, "enlarge", FAULTS[3]),
        (write, "encode_png", FAULTS[0]),
    ],
    ids=["header", "reader", "main thread", "tile", "writer"],
)
def test_a_fault_of_ours_is_shown_and_does_not_end_the_batch(
    pictures, enlarge, monkeypatch, capsys, module, function, error
):
    shutil.copy(pictures / "a.png", pictures / "b.png")
    monkeypatch.setattr(module, function, failing_twice(getattr(module, function), error))
    assert enlarge() == 1
    captured = capsys.readouterr()
    assert "1 done, 0 already there, 1 refused, 2 failed, in " in captured.out
    for name in "a.png", "b.png":
        reason = f"{type(error).__name__}: {error} (traceback above)"
        assert f"failed in/{name}: {reason}\n" in captured.out
    assert captured.err.count("Traceback") == captured.err.count("in fail_twice") == 1
    assert list(contents(Path("out"))) == ["deeper/ünï code.jpg"]


def test_what_is_wrong_with_one_file_of_the_user_is_no_fault(
    tmp_path, small_weights, monkeypatch, capsys
):
    source, target = tmp_path / "in", tmp_path / "out"
    target.mkdir()
    for folder in "deeper", "within":
        (source / folder).mkdir(parents=True)
        Image.new("RGB", (6, 6)).save(source / folder / "b.png")
    for name in "a.png", "folder.png", "gone.png", "looped.png", "x" * 240 + ".bmp":
        Image.new("RGB", (6, 6)).save(source / name)
    (source / ("x" * 240 + ".bmp")).rename(source / ("x" * 249 + ".gif"))  # ".png" is appended
    (source / "dangling.png").symlink_to("nowhere.png")
    (source / "round.png").symlink_to("round.png")
    (target / "looped.png").symlink_to("looped.png")
    (target / "deeper").symlink_to("nowhere")
    (target / "within").touch()
    (target / "folder.png").mkdir()
    plan = batch.plan

    def vanish(*arguments):
        planned = plan(*arguments)
        (source / "gone.png").unlink()
        return planned

    monkeypatch.setattr(batch, "plan", vanish)
    assert run(source, target, "--weights", small_weights) == 1
    captured = capsys.readouterr()
    assert "2 done, 0 already there, 7 refused, in " in captured.out
    assert captured.out.count(": not a regular file\n") == 3
    assert captured.out.count(": [Errno ") == 3
    assert "folder.png is there, but is no file" in captured.out
    assert "Traceback" not in captured.err
    assert {path.name for path in target.glob("*.png")} == {"a.png", "folder.png", "looped.png"}


def test_the_first_line_says_how_it_computes_and_verbose_what_it_costs(pictures, enlarge, capsys):
    write_picture(pictures / "a.png", smooth_picture(40, 60), {})
    for options, end in (
        ("--verbose --precision float32 --tile-size 20 --self-ensemble", "float32, self-ensemble"),
        ("--overwrite --precision bfloat16", "bfloat16"),
    ):
        assert enlarge(*options.split(), "--engine", "keras", source="in/a.png") == 0
        first, second, *_ = capsys.readouterr().out.splitlines()
        assert first.startswith("small.keras: x2, ")
        assert first.endswith(f", {end}, halo 8")
        if "--verbose" in options and backend.supports_dynamic_shapes():
            costs = "a.png: 60x40, 6 tiles of 23x20, halo 8, overlap 117.0%, small.keras"
            assert second.endswith(costs)


@pytest.mark.parametrize("ignores", [True, False])
def test_names_that_differ_in_case(tmp_path, monkeypatch, small_weights, capsys, ignores):
    """`ignores`: like the file systems of Windows and of most Macs."""
    for name in "a/photo.png", "a/photo.PNG", "A/photo.png":
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        write_picture(tmp_path / "in" / name, smooth_picture(8, 8), {})
    exists = Path.exists
    if ignores:
        monkeypatch.setattr(
            Path, "exists", lambda p: exists(p) or exists(p.with_name(p.name.lower()))
        )
    code = run(tmp_path / "in", tmp_path / "out" / "new", "--weights", small_weights)
    printed = capsys.readouterr().out
    assert code == int(ignores)
    assert printed.count("as TARGET ignores case") == 2 * ignores
    assert ("1 done" if ignores else "3 done") in printed


def test_folder_that_cannot_be_read_or_written_is_named(enlarge, monkeypatch, capsys):
    scandir = os.scandir

    def deny(place):
        if str(place).endswith("deeper"):
            raise PermissionError(errno.EACCES, "Permission denied", str(place))
        return scandir(place)

    monkeypatch.setattr(os, "scandir", deny)
    assert enlarge() == 1
    assert "deeper: Permission denied" in capsys.readouterr().out
    monkeypatch.setattr(output, "check_writable", lambda target: deny("deeper"))
    assert enlarge("--overwrite") == 2  # before anything is computed
    assert "Permission denied" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("closed", ["| head -n 1", ">&-", "2>&-", "| true"])
def test_nobody_reads_what_is_printed(tmp_path, pictures, small_weights, closed):
    words = f"{sys.executable} {ROOT}/output.py in out --verbose --weights {small_weights} {closed}"
    done = subprocess.run(words, shell=True, cwd=tmp_path, capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    assert "Broken pipe" not in done.stderr
    if "&-" in closed:
        assert len(contents(tmp_path / "out")) == 2


def test_names_that_begin_with_a_dash(tmp_path, pictures, small_weights, monkeypatch):
    monkeypatch.chdir(pictures)
    (pictures / "a.png").rename("-a.png")
    assert run("--weights", small_weights, "--", "-a.png", tmp_path / "out") == 0
    assert list(contents(tmp_path / "out")) == ["-a.png"]
    assert run(tmp_path / "out", "--weights", small_weights, tmp_path / "again") == 0


def test_little_memory_makes_smaller_tiles_before_it_refuses(
    pictures, small_weights, enlarge, monkeypatch, capsys
):
    write_picture(pictures / "a.png", smooth_picture(400, 500), {})
    upscaler = utils.load(small_weights, "keras", precision="float32")
    needed = batch.output_memory(Path("a.png"), (800, 1000, 3), np.dtype(np.uint8))
    free = needed + replace(upscaler.plan((400, 500)), tile_size=100).memory
    options = ["--verbose", "--precision", "float32"]
    with monkeypatch.context() as patch:
        patch.setattr(memory, "free_memory", lambda: free)
        patch.setattr(memory, "free_device_memory", lambda: 2**40)
        assert enlarge(*options, "--engine", "keras", source="in/a.png") == 0
    if backend.supports_dynamic_shapes():
        assert " 56 tiles of " in capsys.readouterr().out
    enlarge(*options, source="in/a.png", target="whole")
    tiled, whole = (read_picture(f"{folder}/a.png")[0] for folder in ("out", "whole"))
    assert np.abs(tiled.astype(int) - whole).max() <= 1


@pytest.mark.slow
def test_first_command_of_the_readme(tmp_path):
    """The shipped weights enlarge the sample pictures, each to exactly twice its size."""
    for name in "inference/original", "weights":
        shutil.copytree(ROOT / name, tmp_path / name)
    copy_program(tmp_path)
    subprocess.run([sys.executable, "output.py"], cwd=tmp_path, check=True)
    originals = sorted((tmp_path / "inference" / "original").iterdir())
    assert originals
    for original in originals:
        with Image.open(original) as small:
            large = Image.open(tmp_path / "inference" / "output" / original.name)
            assert large.size == (2 * small.width, 2 * small.height)
            assert large.format == small.format


# ---- which network for which picture ----


def rows(folder):
    """Files of all kinds, of one picture each; and the quality of each."""
    folder.mkdir()
    qualities = {}

    def save(name, expected, mode="RGB", /, **options):
        picture = smooth_picture(12, 15, seed=len(qualities))
        image = Image.fromarray(picture).convert(mode)
        image.save(folder / name, **options)
        qualities[name] = expected

    save("a.png", 1.0)
    save("alpha.png", 1.0, "RGBA")
    save("grey.tif", 1.0, "L")
    save("lossless.webp", 1.0, lossless=True)
    save("good.jpg", 0.95, quality=95)
    save("grey.jpg", 0.4, "L", quality=40)
    save("named.png", 0.6, format="JPEG", quality=60)
    for name in "lossy.webp", "photo.avif":
        save(name, None)
        qualities[name] = condition_of_file(folder / name, read_picture(folder / name)[0]).quality
        assert qualities[name] < 1
    write_picture(folder / "deep.png", smooth_picture(9, 9, dtype=np.uint16), {})
    astronaut = Image.open(ROOT / "inference/original/astronaut.png")
    astronaut.resize((128, 128)).save(folder / "saved from a JPEG.png", format="JPEG", quality=50)
    decoded, _ = read_picture(folder / "saved from a JPEG.png")
    write_picture(folder / "saved from a JPEG.png", decoded, {})
    return qualities | {"deep.png": 1.0, "saved from a JPEG.png": 0.5}


BOTH = "edsr_small_x2", "edsr_small_x2_photo"
MINE = "my_edsr_x2", "my_edsr_x2_photo"
OTHER_SCALE = "edsr_small_x2", "edsr_small_x3_photo", "my_edsr_x2"


@pytest.mark.parametrize(
    ("names", "options", "clean", "photo", "quality"),
    [
        (BOTH, [], *BOTH, None),
        (BOTH, ["--content", "clean"], BOTH[0], BOTH[0], None),
        (BOTH, ["--content", "photo"], BOTH[1], BOTH[1], None),
        (BOTH, ["--quality", "40"], BOTH[1], BOTH[1], 0.4),
        (BOTH, ["--quality", "98"], BOTH[1], BOTH[1], 0.98),
        (BOTH, ["--weights", "shipped/edsr_small_x2_photo.keras"], BOTH[1], BOTH[1], None),
        (BOTH, ["--weights", "shipped/edsr_small_x2.keras"], BOTH[0], BOTH[0], None),
        # A photo network of another scale, or one's own beside a shipped one, does not stand in.
        (OTHER_SCALE, [], BOTH[0], BOTH[0], None),
        (MINE, [], *MINE, None),
        (MINE[1:], [], MINE[1], MINE[1], None),
    ],
)
def test_each_picture_gets_the_network_of_its_kind_with_its_quality(
    tmp_path, monkeypatch, shipped, capsys, names, options, clean, photo, quality
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(backend, "has_gpu", lambda: False)
    networks, qualities = shipped(*names), rows(tmp_path / "in")
    assert run("in", "out", *options, "--verbose", "--precision", "float32") == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{clean}.keras" + " (the newest): x2" * clean.startswith("my"))
    assert (f"; JPEGs and the like: {photo}.keras, float32, halo " in first) == (clean != photo)
    assert ("for all pictures" in first) == ("--quality" in options)
    assert not quality or first.endswith(f", quality {options[1]} for all pictures")
    for name in qualities:
        network = clean if qualities[name] == 1.0 else photo
        upscaler, expected = networks[network], f", {network}.keras"
        (line,) = (line for line in lines if line.startswith(f"in/{name}: "))
        condition = Condition(quality or qualities[name])
        if upscaler.conditions:
            expected += f" ({describe(condition)})"
        assert line.endswith(expected)
        if name.endswith((".png", ".tif")) or name == "lossless.webp":  # as what is written
            sr = upscaler.enlarge(read_picture(f"in/{name}")[0], condition=condition)
            found = read_picture(f"out/{name}")[0]
            assert np.abs(found.astype(int) - sr).max() <= 1


@pytest.fixture
def of_four(tmp_path):
    """A weights file of a network that takes quality, noise, blur and sharpening."""
    path = tmp_path / "four.keras"
    small_network(global_skip=True, conditions=4).save(path)
    return path


@pytest.mark.parametrize(
    ("options", "words", "condition"),
    [
        ("--noise 8", "noise 8", Condition(noise=8)),
        ("--noise 0 --blur 0", "noise 0, blur 0", Condition()),
        ("--blur 1 --noise 2 --quality 40", "quality 40, noise 2, blur 1", Condition(0.4, 2, 1)),
    ],
)
def test_noise_and_blur_of_all_pictures(tmp_path, of_four, capsys, options, words, condition):
    upscaler, picture = utils.load(of_four, precision="float32"), smooth_picture(14, 18)
    write_picture(tmp_path / "a.png", picture, {})
    Image.fromarray(picture).save(tmp_path / "b.png", format="JPEG", quality=60)
    options = ["--weights", of_four, "--precision", "float32", "--verbose", *options.split()]
    for name, quality in ("a.png", 1.0), ("b.png", 0.6):
        assert run(tmp_path / name, tmp_path / "out", *options) == 0
        first, line, *_ = capsys.readouterr().out.splitlines()
        assert first.endswith(f", {words} for all pictures")
        expected = condition if "quality" in words else condition._replace(quality=quality)
        assert line.endswith(f", four.keras ({describe(expected)})")
        lr = read_picture(tmp_path / name)[0]
        sr = upscaler.enlarge(lr, condition=expected).astype(int)
        assert np.abs(read_rgb(tmp_path / "out" / name) - sr).max() <= 1
        others = upscaler.enlarge(lr, condition=Condition(quality))
        assert (np.abs(others - sr).max() > 3) == (expected != Condition(quality))


@pytest.mark.parametrize(("count", "network"), [(1, "x2"), (4, "x2_photo")])
def test_noisy_lossless_picture_takes_the_photo_network_that_knows_noise(
    tmp_path, shipped, capsys, count, network
):
    shipped("edsr_small_x2", "edsr_small_x2_photo")
    photo = utils.WEIGHTS_FOLDER / "edsr_small_x2_photo.keras"
    small_network(conditions=count).save(photo)
    clean = read_rgb(ROOT / "evaluation/original/astronaut.png")[::2, ::2]
    noise = np.random.default_rng(0).normal(0, 10, clean.shape)
    (tmp_path / "in").mkdir()
    write_picture(tmp_path / "in/clean.png", clean, {})
    write_picture(tmp_path / "in/noisy.png", np.uint8(np.clip(clean + noise, 0, 255)), {})
    assert run(tmp_path / "in", tmp_path / "out", "--verbose") == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "overlap" in line]
    assert "edsr_small_x2.keras" in lines[0]
    assert f"edsr_small_{network}.keras" in lines[1]
    assert ("(lossless, noise " in lines[1]) == (count == 4)


@pytest.mark.parametrize(
    ("options", "kinds"),
    [
        ([], ["_photo", "", "_wild", "_wild"]),
        (["--content", "photo"], ["_photo"] * 4),
        (["--content", "wild"], ["_wild"] * 4),
        (["--content", "clean"], [""] * 4),
        (["--quality", "70"], ["_photo"] * 4),
        (["--noise", "0"], ["_wild"] * 4),
        (["--quality", "70", "--content", "wild"], ["_wild"] * 4),
    ],
)
def test_noisy_pictures_get_the_network_for_them(tmp_path, shipped, capsys, options, kinds):
    shipped("edsr_small_x2", "edsr_small_x2_photo", "edsr_small_x2_wild")
    clean = read_rgb(ROOT / "evaluation/original/astronaut.png")[::2, ::2]
    noise = np.random.default_rng(0).normal(0, 10, clean.shape)
    noisy = np.uint8(np.clip(clean + noise, 0, 255))
    (tmp_path / "in").mkdir()
    for name, picture in ("clean", clean), ("noisy", noisy):
        write_picture(tmp_path / f"in/{name}.png", picture, {})
        Image.fromarray(picture).save(tmp_path / f"in/{name}.jpg", quality=90)
    assert run(tmp_path / "in", tmp_path / "out", "--verbose", *options) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    found = [re.search(r"edsr_small_x2(\w*)\.keras", line)[1] for line in lines if "tile" in line]
    assert found == kinds  # clean.jpg, clean.png, noisy.jpg, noisy.png
    assert ("; noisy, blurred or sharpened: edsr_small_x2_wild.keras" in first) == (not options)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], ["x4", "x4_wild"]),
        (["--content", "photo"], ["x4_wild"] * 2),
        (["--quality", "40"], ["x4_wild"] * 2),
        (["--content", "clean"], ["x4"] * 2),
        (["--network", "large"], ["x4", "x4_wild"]),
    ],
)
def test_sharpness_takes_networks_with_sharp_weights(tmp_path, shipped, capsys, options, expected):
    shipped("edsr_small_x2", "edsr_x4", "edsr_small_x4", "edsr_small_x4_sharp")
    shipped("edsr_small_x4_photo", "edsr_small_x4_wild", "edsr_small_x4_wild_sharp")
    (tmp_path / "in").mkdir()
    picture = read_rgb(ROOT / "evaluation/original/astronaut.png")[::4, ::4]
    write_picture(tmp_path / "in/b.png", picture, {})
    Image.fromarray(picture).save(tmp_path / "in/c.jpg", quality=60)
    words = [tmp_path / "in", tmp_path / "out", "--sharpness", "0.5", "--verbose", *options]
    assert run(*words) == 0
    lines = capsys.readouterr().out.splitlines()
    found = [re.search(r"edsr_small_(\w*)\.keras", line)[1] for line in lines if "tile" in line]
    assert found == expected
    assert ", sharpness 0.5: x" in lines[0]


def test_sharpness_without_sharp_weights(tmp_path, shipped, capsys):
    shipped("edsr_small_x2", "edsr_small_x4", "edsr_small_x4_sharp")
    write_picture(tmp_path / "a.png", smooth_picture(14, 18), {})
    assert run(tmp_path / "a.png", tmp_path / "out", "--sharpness", "1", "--scale", "2") == 2
    error = capsys.readouterr().err
    assert "no weights for SHARPNESS and clean pictures at x2 in it, only edsr_small_x4;" in error
    assert "--recipe sharp --scale 2" in error


def test_file_overrules_nothing_that_is_set(tmp_path, of_four, shipped, capsys, monkeypatch):
    """And it is not looked at where nothing is left to know."""
    of_file, looked = Condition(0.6, 4.0, 0.3, 0.2), []
    monkeypatch.setattr(output, "condition_of_file", lambda *_: looked.append(1) or of_file)
    shipped("edsr_small_x2_photo")
    write_picture(tmp_path / "a.png", smooth_picture(14, 18), {})

    def known(*options, weights=of_four):
        words = ["--weights", weights, "--verbose", "--overwrite", *options]
        assert run(tmp_path / "a.png", tmp_path / "out", *words) == 0
        return re.search(r"\.keras \((.*)\)", capsys.readouterr().out.splitlines()[1])[1]

    rest = ", sharpening 0.20"
    assert known() == "quality 60, noise 4.0, blur 0.30" + rest
    assert known("--noise", "0") == "quality 60, noise 0.0, blur 0.30" + rest
    assert known("--quality", "80", "--blur", "1") == "quality 80, noise 4.0, blur 1.00" + rest
    assert len(looked) == 3
    photo = tmp_path / "shipped" / "edsr_small_x2_photo.keras"
    assert known("--quality", "80", weights=photo) == "quality 80"
    assert len(looked) == 3
    assert known(weights=photo) == "quality 60"  # which is all that it takes


def weights_of(folder, *stems):
    """A folder of weights files of these names, the last one the newest."""
    for age, stem in enumerate(reversed(stems)):
        (folder / f"{stem}.keras").touch()
        os.utime(folder / f"{stem}.keras", (2e9 - age, 2e9 - age))
    return utils.Weights(folder)


KINDS = ("edsr", ""), ("edsr_small", ""), ("edsr_small", "_photo")
STEMS = [f"{stem}_x{scale}{content}" for stem, content in KINDS for scale in (2, 3, 4)]


@pytest.mark.parametrize("scale", [0, 2, 3, 4])
@pytest.mark.parametrize(
    ("has_gpu", "size", "content", "stem", "why"),
    [
        (True, "auto", "clean", "edsr", "large network, because there is a GPU"),
        (False, "auto", "clean", "edsr_small", "small network, because there is no GPU"),
        (True, "auto", "photo", "edsr_small", "small network, because there is no large one"),
        (False, "auto", "photo", "edsr_small", "small network, because there is no GPU"),
        (True, "large", "clean", "edsr", "large network, because NETWORK = 'large'"),
        (True, "small", "clean", "edsr_small", "small network, because NETWORK = 'small'"),
        (True, "large", "photo", "edsr_small", "small network, because there is no large one"),
        (True, "small", "photo", "edsr_small", "small network, because NETWORK = 'small'"),
    ],
)
def test_which_of_the_shipped_weights_are_taken(
    tmp_path, monkeypatch, scale, has_gpu, size, content, stem, why
):
    monkeypatch.setattr(backend, "has_gpu", lambda: has_gpu)
    monkeypatch.setattr(hardware, "has_nvidia_gpu", lambda: has_gpu)
    name = f"{stem}_x{scale or 2}{'_photo' * (content == 'photo')}.keras"
    picked = weights_of(tmp_path, *STEMS).pick(scale, size, content)
    assert picked == (tmp_path / name, f"the {why}")


def test_weights_of_ones_own_come_after_the_shipped_ones(tmp_path):
    weights = weights_of(tmp_path, "mine_x4", "mine_x2_photo", "other_x4", "any")
    for scale, content, stem in (
        (0, "clean", "any"),
        (4, "clean", "other_x4"),
        (2, "photo", "mine_x2_photo"),
        (0, "photo", "mine_x2_photo"),
    ):
        assert weights.pick(scale, "auto", content) == (tmp_path / f"{stem}.keras", "the newest")
    assert weights.pick(3) is weights.pick(2) is weights.pick(4, "large") is None
    weights = weights_of(tmp_path, "edsr_x4")
    why = "the large network, because there is no small one"
    assert weights.pick(4) == (tmp_path / "edsr_x4.keras", why)
    assert weights.pick(4, "small") is None


@pytest.mark.parametrize(
    ("stems", "options", "message"),
    [
        ([], {}, "no weights for clean pictures in it, no .keras file at all; train them"),
        (["a_x2"], {"scale": 3}, "clean pictures at x3 in it, only a_x2; train them with"),
        (["a_x2"], {"content": "photo"}, "JPEGs in it, only a_x2; .* --recipe photo --scale 2"),
        (["a_x2"], {"content": "wild", "scale": 4}, "sharpened pictures at x4.* --name my_x4_wild"),
        (["edsr_small_x2"], {"network": "large"}, "clean pictures and NETWORK = 'large' in it"),
    ],
)
def test_missing_weights_are_named(tmp_path, monkeypatch, stems, options, message):
    monkeypatch.setattr(utils, "WEIGHTS_FOLDER", tmp_path)
    weights_of(tmp_path, *stems)
    for ask in utils.NetworkOptions.load, utils.NetworkOptions.scales:
        with pytest.raises(InputError, match=message):
            ask(utils.NetworkOptions(**options))


@pytest.mark.slow
def test_backends_agree(tmp_path):
    pytest.importorskip("jax")
    pytest.importorskip("openvino")
    source = ROOT / "inference" / "original" / "astronaut.png"
    pictures = {}
    for name in "tensorflow", "jax", "OpenVINO":
        command = [sys.executable, "output.py", source, tmp_path / name, "--precision", "float32"]
        command += ["--engine", "openvino" if name == "OpenVINO" else "auto"]
        environment = os.environ | {"KERAS_BACKEND": name, "JAX_PLATFORMS": "cpu"}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert f"{name} on CPU" in done.stdout, done.stderr
        pictures[name] = read_rgb(tmp_path / name / source.name).astype(int)
        assert np.abs(pictures[name] - pictures["tensorflow"]).max() <= 1


def test_links_in_the_target_do_not_lead_back_to_the_inputs(tmp_path, pictures, enlarge, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "deeper").symlink_to(pictures / "deeper")
    before = contents(pictures)
    assert enlarge("--overwrite") == 1
    assert "its output would be among the inputs" in capsys.readouterr().out
    assert contents(pictures) == before
