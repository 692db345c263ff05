import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import network
import output
import utils
from superres.images import read, write
from superres.images.quality import Condition, condition_of_file, describe
from superres.images.read import read_picture, read_rgb
from superres.images.write import write_picture
from superres.runtime import backend, hardware, memory
from superres.runtime.backend import keras
from superres.runtime.errors import InputError
from superres.runtime.files import TEMPORARY
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

SHIPPED = ROOT / "weights" / "edsr_small_x2.keras"
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


# ---- the command ----


def test_folder_keeps_names_and_places_and_goes_on_after_a_bad_file(
    tmp_path, pictures, small_weights, capsys
):
    before = contents(pictures)
    assert run(pictures, tmp_path / "out", "--weights", small_weights) == 1
    captured = capsys.readouterr()
    assert sorted(contents(tmp_path / "out")) == ["a.png", "deeper/ünï code.jpg"]
    assert Image.open(tmp_path / "out" / "a.png").size == (34, 22)
    assert Image.open(tmp_path / "out" / "deeper" / "ünï code.jpg").size == (18, 32)
    assert "2 done, 0 already there, 1 refused" in captured.out
    assert "cut.jpg: " in captured.out
    assert contents(pictures) == before


def test_second_run_skips_what_is_there_unless_told_to_overwrite(
    tmp_path, pictures, small_weights, capsys
):
    (pictures / "cut.jpg").unlink()
    assert run(pictures, tmp_path / "out", "--weights", small_weights) == 0
    (tmp_path / "out" / "a.png").write_bytes(b"mine")
    assert run(pictures, tmp_path / "out", "--weights", small_weights) == 0
    assert "0 done, 2 already there, 0 refused" in capsys.readouterr().out
    assert (tmp_path / "out" / "a.png").read_bytes() == b"mine"
    assert run(pictures, tmp_path / "out", "--weights", small_weights, "--overwrite") == 0
    assert Image.open(tmp_path / "out" / "a.png").size == (34, 22)


def test_single_file(tmp_path, pictures, small_weights):
    assert run(pictures / "a.png", tmp_path / "out", "--weights", small_weights) == 0
    assert sorted(contents(tmp_path / "out")) == ["a.png"]


def test_target_inside_the_source_is_not_enlarged_again(tmp_path, pictures, small_weights):
    (pictures / "cut.jpg").unlink()
    for _ in range(2):
        assert run(pictures, pictures / "out", "--weights", small_weights) == 0
    assert sorted(contents(pictures / "out")) == ["a.png", "deeper/ünï code.jpg"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere", "out"], "SOURCE = 'nowhere': no such file or folder"),
        (["empty", "out"], "SOURCE = 'empty': no pictures found in it"),
        (["in", "in"], "TARGET = 'in': expected another folder than SOURCE"),
        (["in/a.png", "in"], "TARGET = 'in': expected another folder than the input's"),
        (["in", "in/a.png"], "TARGET = 'in/a.png': is a file, expected a folder"),
        (["in", "b.png"], "TARGET = 'b.png': expected a folder; names stay as they are"),
        (["in", "out", "--tile-size", "-1"], "TILE_SIZE = -1: expected a whole number"),
        (["in", "out", "--precision", "half"], "PRECISION = 'half': expected one of"),
        (["in", "out", "--max-megapixels", "0"], "MAX_MEGAPIXELS = 0: expected a number"),
        (["in", "out", "--scale", "5"], "SCALE = 5: expected one of 0, 2, 3, 4"),
        (["in", "out", "--scale", "3"], "small.keras enlarges by 2"),
        (["", "out"], "SOURCE = '': expected text"),
        (["in", ""], "TARGET = '': expected text"),
        (["in", "out", "--weights", "no.keras"], "no.keras: no such weights file"),
        (["in", "out", "--weights", "in/a.png"], "in/a.png: expected a .keras file"),
        (["in", "out", "--weights", "zip.keras"], "zip.keras: refused: it holds nothing: expected"),
        (["in", "out", "--weights", "grey.keras"], "grey.keras: refused: expected a network that"),
        (["in", "out", "--weights", "same.keras"], "same.keras: refused: expected a network that"),
    ],
)
def test_what_cannot_start_ends_with_exit_code_2_and_one_line(
    tmp_path, pictures, small_weights, monkeypatch, capsys, words, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    shutil.make_archive("zip", "zip", "empty")
    shutil.move("zip.zip", "zip.keras")
    if "grey.keras" in words or "same.keras" in words:
        x = keras.Input((None, None, 1 if "grey.keras" in words else 3))
        keras.Model(x, keras.layers.Conv2D(1, 3)(x)).save(words[-1])
    if "--weights" not in words:
        words = [*words, "--weights", small_weights]
    before = contents(pictures)
    assert run(*words) == 2
    error = capsys.readouterr().err
    assert error.startswith("output.py: ")
    assert message in error
    assert error.count("\n") == 1
    assert contents(pictures) == before


@pytest.mark.parametrize(
    ("module", "place"), [(batch, "plan"), (utils, "load"), (output, "output_memory")]
)
def test_ctrl_c_ends_with_exit_code_130(
    tmp_path, pictures, small_weights, monkeypatch, capsys, module, place
):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, place, interrupt)
    assert run(pictures, tmp_path / "out", "--weights", small_weights) == 130
    assert "run the same command to continue" in capsys.readouterr().err


def test_two_inputs_of_one_output_are_not_mixed_up(tmp_path, small_weights, capsys):
    (tmp_path / "in").mkdir()
    Image.fromarray(smooth_picture(6, 6)).save(tmp_path / "in" / "a.gif")
    write_picture(tmp_path / "in" / "a.gif.png", smooth_picture(7, 7), {})
    assert run(tmp_path / "in", tmp_path / "out", "--weights", small_weights) == 1
    printed = capsys.readouterr().out
    assert "1 done, 0 already there, 1 refused" in printed
    assert "a.gif.png is the output of" in printed


def test_target_that_cannot_be_made_is_a_clear_refusal(tmp_path, pictures, small_weights, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "deeper").write_text("a file where a folder should be")
    assert run(pictures, tmp_path / "out", "--weights", small_weights) == 1
    assert "1 done, 0 already there, 2 refused" in capsys.readouterr().out


def test_full_disk_stops_the_batch_and_says_so(
    tmp_path, pictures, small_weights, monkeypatch, capsys
):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    (pictures / "cut.jpg").unlink()
    write_picture(pictures / "b.png", smooth_picture(9, 9), {})
    monkeypatch.setattr(write, "encode_png", full)
    assert run(pictures, tmp_path / "out", "--weights", small_weights) == 1
    printed = capsys.readouterr().out
    assert re.search(r"stopped \(No space left on device\), [12] not tried", printed)
    assert not contents(tmp_path / "out")


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="has no such limit")
def test_file_that_grows_too_large_for_the_system_is_refused(tmp_path, small_weights):
    """An error of the operating system in the middle of a file leaves nothing."""
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    write_picture(tmp_path / "in.png", noise, {})
    limited = ["sh", "-c", 'ulimit -f 200; exec "$0" "$@"']  # 200 blocks of 512 bytes
    done = subprocess.run(
        [*limited, sys.executable, ROOT / "output.py", "in.png", "out", "--weights", small_weights],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "File too large" in done.stdout
    assert not contents(tmp_path / "out")


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_stopped_batch_leaves_whole_files_and_goes_on(tmp_path, small_weights, stop):
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for n in range(30):
        write_picture(source / f"{n}.png", smooth_picture(200, 200, seed=n), {})
    words = [sys.executable, ROOT / "output.py", source, target, "--weights", small_weights]
    # Background jobs, as these tests may be, start with Ctrl-C ignored, and what they start too.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    signal.signal(signal.SIGINT, before)
    with process:
        process.stdout.readline()
        while not list(target.glob("*.png")):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.01)
        process.send_signal(stop)
        printed, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error.endswith("stopped; run the same command to continue\n")
    there = contents(target)
    assert f"{len(there)} done, 0 already there, 0 refused, in " in printed
    assert 0 < len(there) < 30
    assert not any(name.startswith(TEMPORARY) for name in there)
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert f"{30 - len(there)} done, {len(there)} already there, 0 refused" in done.stdout
    assert there.items() <= contents(target).items()


@pytest.mark.slow
def test_two_runs_at_once_do_not_harm_each_other(tmp_path, small_weights):
    source = tmp_path / "in"
    source.mkdir()
    for n in range(12):
        write_picture(source / f"{n}.png", smooth_picture(100, 120, seed=n), {})
    words = [sys.executable, ROOT / "output.py", source, "--weights", small_weights, "--overwrite"]
    subprocess.run([*words, tmp_path / "alone"], check=True, capture_output=True)
    both = [
        subprocess.Popen([*words, tmp_path / "out"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    for process in both:
        printed, error = process.communicate(timeout=120)
        assert process.returncode == 0, error
        assert b"12 done, 0 already there, 0 refused" in printed
    assert contents(tmp_path / "out") == contents(tmp_path / "alone")


def test_pixel_limit(tmp_path, pictures, small_weights, capsys):
    words = [pictures / "a.png", tmp_path / "out", "--weights", small_weights]
    assert run(*words, "--max-megapixels", "0.0001") == 1
    assert "17x11 pixels: expected at most 100 in all" in capsys.readouterr().out
    assert run(*words, "--max-megapixels", "0.001") == 0


def test_picture_that_does_not_fit_into_memory_is_refused(
    tmp_path, pictures, small_weights, monkeypatch, capsys
):
    monkeypatch.setattr(memory, "free_memory", lambda: 3000)
    assert run(pictures / "a.png", tmp_path / "out", "--weights", small_weights) == 1
    assert "GB of memory: 0.0 are free" in capsys.readouterr().out


@pytest.mark.parametrize("error", FAULTS, ids=repr)
@pytest.mark.parametrize(
    ("module", "function"),
    [
        (batch, "picture_size"),
        (read, "_read_shallow"),
        (output, "output_memory"),
        (channels, "enlarge"),
        (write, "encode_png"),
    ],
    ids=["header", "reader", "main thread", "tile", "writer"],
)
def test_a_fault_of_ours_is_shown_and_does_not_end_the_batch(
    tmp_path, pictures, small_weights, monkeypatch, capsys, module, function, error
):
    shutil.copy(pictures / "a.png", pictures / "b.png")
    monkeypatch.setattr(module, function, failing_twice(getattr(module, function), error))
    assert run(pictures, tmp_path / "out", "--weights", small_weights) == 1
    captured = capsys.readouterr()
    assert "1 done, 0 already there, 1 refused, 2 failed, in " in captured.out
    for name in "a.png", "b.png":
        reason = f"{type(error).__name__}: {error} (traceback above)"
        assert f"failed {pictures / name}: {reason}\n" in captured.out
    assert captured.err.count("Traceback") == captured.err.count("in fail_twice") == 1
    assert list(contents(tmp_path / "out")) == ["deeper/ünï code.jpg"]


def test_what_is_wrong_with_one_file_of_the_user_is_no_fault(
    tmp_path, small_weights, monkeypatch, capsys
):
    """A name too long, a file that vanishes, a link to nowhere or to itself, a file as folder."""
    source, target = tmp_path / "in", tmp_path / "out"
    (source / "deeper").mkdir(parents=True)
    target.mkdir()
    for name in "a.png", "gone.png", "looped.png", "deeper/b.png", "x" * 240 + ".bmp":
        Image.new("RGB", (6, 6)).save(source / name)
    (source / ("x" * 240 + ".bmp")).rename(source / ("x" * 249 + ".gif"))  # ".png" is appended
    (source / "dangling.png").symlink_to("nowhere.png")
    (source / "round.png").symlink_to("round.png")
    (target / "looped.png").symlink_to("looped.png")
    (target / "deeper").symlink_to("nowhere")
    plan = batch.plan

    def vanish(*arguments):
        planned = plan(*arguments)
        (source / "gone.png").unlink()
        return planned

    monkeypatch.setattr(batch, "plan", vanish)
    assert run(source, target, "--weights", small_weights) == 1
    captured = capsys.readouterr()
    assert "2 done, 0 already there, 5 refused, in " in captured.out
    assert captured.out.count(": not a regular file\n") == 3
    assert captured.out.count(": [Errno ") == 2
    assert "Traceback" not in captured.err
    assert sorted(path.name for path in target.iterdir()) == ["a.png", "deeper", "looped.png"]


def test_large_pictures_are_done_one_by_one(tmp_path, pictures, small_weights, monkeypatch):
    """Without reading ahead or writing behind, the outputs are the same."""
    run(pictures, tmp_path / "out", "--weights", small_weights)
    monkeypatch.setattr(batch, "READ_AHEAD_PIXELS", 0)
    monkeypatch.setattr(batch, "WRITE_BEHIND_PIXELS", 0)
    run(pictures, tmp_path / "one", "--weights", small_weights)
    assert contents(tmp_path / "one") == contents(tmp_path / "out")


def test_the_first_line_says_how_it_computes_and_verbose_what_it_costs(
    tmp_path, pictures, small_weights, capsys
):
    write_picture(pictures / "a.png", smooth_picture(40, 60), {})
    words = [pictures / "a.png", tmp_path / "out", "--weights", small_weights, "--engine", "keras"]
    options = ["--verbose", "--precision", "float32", "--tile-size", "20", "--self-ensemble"]
    assert run(*words, *options) == 0
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith("small.keras: x2, ")
    assert first.endswith(", float32, self-ensemble, halo 8")
    if backend.supports_dynamic_shapes():
        assert second.endswith(
            "a.png: 60x40, 6 tiles of 23x20, halo 8, extra work 117.0%, small.keras"
        )
    assert run(*words, "--overwrite", "--precision", "bfloat16") == 0
    assert ", bfloat16, halo 8" in capsys.readouterr().out


def test_other_files_are_counted(tmp_path, pictures, small_weights, capsys):
    for name in "notes.txt", ".DS_Store", "deeper/._a.png", "b.HEIC", "a.heic", "README":
        (pictures / name).touch()
    run(pictures, tmp_path / "out", "--weights", small_weights)
    printed = capsys.readouterr().out
    assert "2 done, 0 already there, 1 refused" in printed
    counts = "2 hidden, 2 .heic, 1 without ending, 1 .txt"
    assert f"; 6 files left out: {counts}; convert .heic to PNG or JPEG first\n" in printed


def test_folder_of_other_pictures_says_so(tmp_path, small_weights, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.dng").touch()
    assert run(tmp_path / "in", tmp_path / "out", "--weights", small_weights) == 2
    words = "1 file left out: 1 .dng; convert .dng to PNG or JPEG first"
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("ignores", [True, False])
def test_names_that_differ_in_case(tmp_path, monkeypatch, small_weights, capsys, ignores):
    """`ignores`: like the file systems of Windows and of most Macs."""
    for name in "a/photo.png", "a/photo.PNG", "A/photo.png":
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(smooth_picture(8, 8)).save(path)
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
    assert not list(tmp_path.glob(".unfinished*"))


def test_folder_that_cannot_be_read_is_named(
    tmp_path, pictures, small_weights, monkeypatch, capsys
):
    scandir = os.scandir

    def deny(place):
        if str(place).endswith("deeper"):
            raise PermissionError(errno.EACCES, "Permission denied", str(place))
        return scandir(place)

    monkeypatch.setattr(os, "scandir", deny)
    assert run(pictures, tmp_path / "out", "--weights", small_weights) == 1
    assert "deeper: Permission denied" in capsys.readouterr().out


def test_target_may_be_above_the_source(tmp_path, pictures, small_weights, capsys):
    (pictures / "a.png").unlink()
    before = contents(pictures)
    assert run(pictures / "deeper", pictures, "--weights", small_weights) == 0
    after = contents(pictures)
    assert set(after) - set(before) == {"ünï code.jpg"}
    assert before.items() <= after.items()


def test_what_is_no_file_where_an_output_belongs_is_no_output(
    tmp_path, pictures, small_weights, capsys
):
    (tmp_path / "out" / "a.png").mkdir(parents=True)
    assert run(pictures, tmp_path / "out", "--weights", small_weights) == 1
    printed = capsys.readouterr().out
    assert "1 done, 0 already there, 2 refused" in printed
    assert "a.png is there, but is no file" in printed


def test_stop_that_a_library_turns_into_its_own_error_stops(
    tmp_path, pictures, small_weights, monkeypatch, capsys
):
    def interrupted(*arguments):
        signal.raise_signal(signal.SIGTERM)  # which waits for the end of the tile
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt as error:
            raise RuntimeError("MISMATCH of errors") from error

    monkeypatch.setattr(output, "output_memory", interrupted)
    assert run(pictures, tmp_path / "out", "--weights", small_weights) == 130
    captured = capsys.readouterr()
    assert "0 done, 0 already there, 0 refused" in captured.out
    assert "MISMATCH" not in captured.out + captured.err


@pytest.mark.slow
@pytest.mark.parametrize("closed", ["| head -n 1", ">&-", "2>&-", "| true"])
def test_nobody_reads_what_is_printed(tmp_path, pictures, small_weights, closed):
    for name in "b.png", "c.png":
        write_picture(pictures / name, smooth_picture(9, 9), {})
    command = f"{sys.executable} {ROOT}/output.py in out --verbose --weights {small_weights}"
    done = subprocess.run(
        f"{command} {closed}", shell=True, cwd=tmp_path, capture_output=True, text=True
    )
    assert "Traceback" not in done.stderr
    assert "Broken pipe" not in done.stderr
    if "&-" in closed:
        assert len(contents(tmp_path / "out")) == 4


def test_names_that_begin_with_a_dash(tmp_path, pictures, small_weights, monkeypatch):
    monkeypatch.chdir(pictures)
    (pictures / "a.png").rename("-a.png")
    assert run("--weights", small_weights, "--", "-a.png", tmp_path / "out") == 0
    assert run(tmp_path / "out", "--weights", small_weights, tmp_path / "again") == 0


def test_little_memory_makes_smaller_tiles_before_it_refuses(
    tmp_path, pictures, small_weights, monkeypatch, capsys
):
    write_picture(pictures / "a.png", smooth_picture(400, 500), {})
    upscaler = utils.load(small_weights, "keras", precision="float32")
    needed = batch.output_memory(Path("a.png"), (800, 1000, 3), np.dtype(np.uint8))
    free = needed + replace(upscaler.plan((400, 500)), tile_size=100).memory
    words = [pictures / "a.png", tmp_path / "out", "--weights", small_weights, "--verbose"]
    with monkeypatch.context() as patch:
        patch.setattr(memory, "free_memory", lambda: free)
        patch.setattr(memory, "free_device_memory", lambda: 2**40)
        assert run(*words, "--precision", "float32", "--engine", "keras") == 0
    if backend.supports_dynamic_shapes():
        assert " 56 tiles of " in capsys.readouterr().out
    whole = tmp_path / "whole"
    run(pictures / "a.png", whole, "--weights", small_weights, "--precision", "float32")
    tiled, whole = (read_picture(folder / "a.png")[0] for folder in (tmp_path / "out", whole))
    assert np.abs(tiled.astype(int) - whole).max() <= 1


def test_target_that_cannot_be_written_is_known_before_anything_is_computed(
    tmp_path, pictures, small_weights, monkeypatch, capsys
):
    def deny(*arguments):
        raise PermissionError(errno.EACCES, "Permission denied", "out")

    monkeypatch.setattr(output, "check_writable", deny)
    assert run(pictures, tmp_path / "out", "--weights", small_weights) == 2
    assert "Permission denied" in capsys.readouterr().err


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


@pytest.mark.parametrize(
    ("options", "clean", "photo", "quality"),
    [
        ([], "edsr_small_x2", "edsr_small_x2_photo", None),
        (["--content", "clean"], "edsr_small_x2", "edsr_small_x2", None),
        (["--content", "photo"], "edsr_small_x2_photo", "edsr_small_x2_photo", None),
        (["--quality", "40"], None, "edsr_small_x2_photo", 0.4),
        (["--quality", "98"], None, "edsr_small_x2_photo", 0.98),
        (["--weights", "shipped/edsr_small_x2_photo.keras"], *["edsr_small_x2_photo"] * 2, None),
        (["--weights", "shipped/edsr_small_x2.keras"], *["edsr_small_x2"] * 2, None),
    ],
)
def test_each_picture_gets_the_network_of_its_kind_with_its_quality(
    tmp_path, monkeypatch, shipped, capsys, options, clean, photo, quality
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(backend, "has_gpu", lambda: False)
    networks, qualities = shipped("edsr_small_x2", "edsr_small_x2_photo"), rows(tmp_path / "in")
    assert run("in", "out", *options, "--verbose", "--precision", "float32") == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{clean or photo}.keras")
    assert ("; JPEGs and the like: edsr_small_x2_photo.keras, halo " in first) == (not options)
    assert ("for all pictures" in first) == ("--quality" in options)
    assert not quality or first.endswith(f", quality {options[1]} for all pictures")
    for name in qualities:
        is_clean = qualities[name] == 1.0 and not quality
        upscaler = networks[clean if is_clean else photo]
        (line,) = (line for line in lines if line.startswith(f"in/{name}: "))
        expected = f", {clean if is_clean else photo}.keras"
        condition = Condition(quality or qualities[name])
        if upscaler.conditions:
            expected += f" ({describe(condition)})"
        assert line.endswith(expected)
        if name.endswith((".png", ".tif")) or name == "lossless.webp":  # as what is written
            sr = upscaler.enlarge(read_picture(f"in/{name}")[0], condition=condition)
            found = read_picture(f"out/{name}")[0]
            assert np.abs(found.astype(int) - sr).max() <= 1


@pytest.fixture
def of_three(tmp_path):
    """A weights file of a network that takes quality, noise and blur."""
    path = tmp_path / "three.keras"
    small_network(global_skip=True, conditions=3).save(path)
    return path


@pytest.mark.parametrize(
    ("options", "said", "condition"),
    [
        (["--noise", "8"], "noise 8", Condition(noise=8)),
        (["--blur", "0.7"], "blur 0.7", Condition(blur=0.7)),
        (["--noise", "0", "--blur", "0"], "noise 0, blur 0", Condition()),
        (
            ["--blur", "1.2", "--noise", "11", "--quality", "40"],
            "quality 40, noise 11, blur 1.2",
            Condition(0.4, 11, 1.2),
        ),
    ],
)
def test_noise_and_blur_of_all_pictures(tmp_path, of_three, capsys, options, said, condition):
    upscaler, picture = utils.load(of_three, precision="float32"), smooth_picture(14, 18)
    write_picture(tmp_path / "a.png", picture, {})
    Image.fromarray(picture).save(tmp_path / "b.png", format="JPEG", quality=60)
    words = ["--weights", of_three, "--precision", "float32", "--verbose"]
    for name, quality in ("a.png", 1.0), ("b.png", 0.6):
        assert run(tmp_path / name, tmp_path / "out", *words, *options) == 0
        first, line, *_ = capsys.readouterr().out.splitlines()
        assert first.endswith(f", {said} for all pictures")
        expected = condition if "--quality" in options else condition._replace(quality=quality)
        assert line.endswith(f", three.keras ({describe(expected)})")
        sr = upscaler.enlarge(read_picture(tmp_path / name)[0], condition=expected)
        assert np.abs(read_rgb(tmp_path / "out" / name).astype(int) - sr).max() <= 1
        others = upscaler.enlarge(read_picture(tmp_path / name)[0], condition=Condition(quality))
        assert (np.abs(others.astype(int) - sr).max() > 3) == (expected != Condition(quality))


def test_noise_takes_the_photo_network_for_all_pictures(tmp_path, shipped, capsys):
    shipped("edsr_small_x2")
    photo = tmp_path / "shipped" / "edsr_small_x2_photo.keras"
    small_network(conditions=3).save(photo)
    write_picture(tmp_path / "a.png", smooth_picture(14, 18), {})
    for noise in "-1", "0", "5":
        assert run(tmp_path / "a.png", tmp_path / noise, "--noise", noise, "--verbose") == 0
        first, line, *_ = capsys.readouterr().out.splitlines()
        assert first.startswith("edsr_small_x2.keras" if noise == "-1" else photo.name)
        words = {"-1": "edsr_small_x2.keras", "0": "photo.keras (lossless)"}
        assert line.endswith(words.get(noise, "photo.keras (lossless, noise 5.0, blur 0.00)"))


@pytest.mark.parametrize(("count", "network"), [(1, "x2"), (3, "x2_photo")])
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
    lines = [line for line in capsys.readouterr().out.splitlines() if "extra work" in line]
    assert "edsr_small_x2.keras" in lines[0]
    assert f"edsr_small_{network}.keras" in lines[1]
    assert ("(lossless, noise " in lines[1]) == (count == 3)


def test_file_overrules_nothing_that_is_set(tmp_path, of_three, shipped, capsys, monkeypatch):
    """And it is not looked at where nothing is left to know."""
    of_file, looked = Condition(0.6, 4.0, 0.3), []
    monkeypatch.setattr(output, "condition_of_file", lambda *_: looked.append(1) or of_file)
    shipped("edsr_small_x2_photo")
    write_picture(tmp_path / "a.png", smooth_picture(14, 18), {})

    def known(*options, weights=of_three):
        words = ["--weights", weights, "--verbose", "--overwrite", *options]
        assert run(tmp_path / "a.png", tmp_path / "out", *words) == 0
        return re.search(r"\.keras \((.*)\)", capsys.readouterr().out.splitlines()[1])[1]

    assert known() == "quality 60, noise 4.0, blur 0.30"
    assert known("--noise", "0") == "quality 60, noise 0.0, blur 0.30"
    assert known("--quality", "80", "--blur", "1") == "quality 80, noise 4.0, blur 1.00"
    assert len(looked) == 3
    assert known("--quality", "80", "--blur", "1", "--noise", "2").endswith("noise 2.0, blur 1.00")
    photo = tmp_path / "shipped" / "edsr_small_x2_photo.keras"
    assert known("--quality", "80", weights=photo) == "quality 80"
    assert len(looked) == 3
    assert known(weights=photo) == "quality 60"  # which is all that it takes


def test_without_a_photo_network_jpegs_get_the_clean_one(tmp_path, shipped, capsys):
    """One of another scale, or of one's own, does not stand in."""
    shipped("edsr_small_x2")
    qualities = rows(tmp_path / "in")
    small_network(3, conditions=1).save(tmp_path / "shipped" / "edsr_small_x3_photo.keras")
    small_network(2, conditions=1).save(tmp_path / "shipped" / "my_edsr_x2.keras")
    assert run(tmp_path / "in", tmp_path / "out", "--verbose", "--precision", "float32") == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first.startswith("edsr_small_x2.keras (")
    assert "photo" not in first
    assert sum(line.endswith(", edsr_small_x2.keras") for line in lines) == len(qualities)


def test_photo_network_of_ones_own_is_not_for_clean_pictures(tmp_path, shipped, capsys):
    shipped("my_edsr_x2", "my_edsr_x2_photo")
    os.utime(tmp_path / "shipped" / "my_edsr_x2.keras", (0, 0))
    rows(tmp_path / "in")
    assert run(tmp_path / "in", tmp_path / "out") == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("my_edsr_x2.keras (the newest): x2")
    assert "; JPEGs and the like: my_edsr_x2_photo.keras" in first


def test_photo_network_alone_takes_all_pictures(tmp_path, shipped, capsys):
    shipped("my_edsr_x2_photo")
    rows(tmp_path / "in")
    assert run(tmp_path / "in", tmp_path / "out", "--verbose") == 0
    printed = capsys.readouterr().out
    assert printed.startswith("my_edsr_x2_photo.keras (the newest): x2")
    assert "a.png: 15x12, 1 tile of 15x12" in printed
    assert printed.count(".keras (lossless)") == 5


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--content", "jpeg"], "CONTENT = 'jpeg': expected one of 'auto', 'clean', 'photo'"),
        (["--content", "photo"], "no weights for JPEGs in it, only edsr_small_x2"),
        (["--quality", "101"], "QUALITY = 101: expected a whole number from 25 to 98"),
        (["--quality", "0.4"], "QUALITY = 0.4: expected a whole number from 25 to 98"),
        (["--quality", "40"], "no weights for JPEGs in it, only edsr_small_x2"),
        (
            ["--quality", "40", "--weights", str(SHIPPED)],
            "QUALITY: edsr_small_x2.keras takes no quality; it was trained with CONDITIONS =",
        ),
        (
            ["--quality", "40", "--content", "clean"],
            "QUALITY: not possible with CONTENT = 'clean'",
        ),
        (["--noise", "0", "--content", "clean"], "NOISE: not possible with CONTENT = 'clean'"),
        (["--blur", "1", "--content", "clean"], "BLUR: not possible with CONTENT = 'clean'"),
        (["--noise", "12"], "NOISE = 12: expected a number from 0 to 11"),
        (["--noise", "-0.5"], "NOISE = -0.5: expected a number from 0 to 11"),
        (["--blur", "1.3"], "BLUR = 1.3: expected a number from 0 to 1.2"),
        (["--blur", "nan"], "BLUR = nan: expected a number from 0 to 1.2"),
        (["--noise", "5"], "no weights for JPEGs in it, only edsr_small_x2"),
        (
            ["--noise", "5", "--weights", str(PHOTO)],
            "NOISE: edsr_small_x2_photo.keras takes no noise; it was trained with CONDITIONS = 1",
        ),
        (
            ["--quality", "40", "--blur", "0", "--weights", str(PHOTO)],
            "BLUR: edsr_small_x2_photo.keras takes no blur; it was trained with CONDITIONS = 1",
        ),
    ],
)
def test_what_no_network_can_do_is_refused(tmp_path, pictures, shipped, capsys, options, reason):
    shipped("edsr_small_x2")
    assert run(pictures, tmp_path / "out", *options) == 2
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


# ---- weights ----


def weights_of(folder, *stems):
    """A folder of weights files of these names, the last one the newest."""
    for age, stem in enumerate(reversed(stems)):
        (folder / f"{stem}.keras").touch()
        os.utime(folder / f"{stem}.keras", (2e9 - age, 2e9 - age))
    return utils.Weights(folder)


SHIPPED = [f"edsr{kind}_x{scale}" for kind in ("", "_small", "_photo") for scale in (2, 3, 4)]
SHIPPED = [re.sub(r"_photo(_x.)", r"_small\1_photo", stem) for stem in SHIPPED]


@pytest.mark.parametrize("has_gpu", [True, False])
@pytest.mark.parametrize("scale", [0, 2, 3, 4])
def test_which_of_the_shipped_weights_are_taken(tmp_path, monkeypatch, has_gpu, scale):
    """For every scale, size and content."""
    monkeypatch.setattr(backend, "has_gpu", lambda: has_gpu)
    monkeypatch.setattr(hardware, "has_nvidia_gpu", lambda: has_gpu)
    weights = weights_of(tmp_path, *SHIPPED)
    small, large = f"edsr_small_x{scale or 2}", f"edsr_x{scale or 2}"
    auto, reason = (large, "large") if has_gpu else (small, "small"), "there is no large one"
    gpu = "there is a GPU" if has_gpu else "there is no GPU"
    for size, content, stem, why in (
        ("auto", "clean", auto[0], f"the {auto[1]} network, because {gpu}"),
        ("large", "clean", large, "the large network, because NETWORK = 'large'"),
        ("small", "clean", small, "the small network, because NETWORK = 'small'"),
        ("auto", "photo", f"{small}_photo", f"the small network, because {reason}"),
        ("large", "photo", f"{small}_photo", f"the small network, because {reason}"),
        ("small", "photo", f"{small}_photo", "the small network, because NETWORK = 'small'"),
    ):
        if (size, content, has_gpu) == ("auto", "photo", False):
            why = f"the small network, because {gpu}"
        assert weights.pick(scale, size, content) == (tmp_path / f"{stem}.keras", why)


def test_weights_of_ones_own_come_behind_the_shipped_ones(tmp_path):
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
    path, why = weights.pick(4)
    assert (path.stem, why) == ("edsr_x4", "the large network, because there is no small one")
    assert weights.pick(4, "small") is None


@pytest.mark.parametrize(
    ("stems", "options", "message"),
    [
        ((), {}, "no weights for clean pictures in it, no .keras file at all; train them"),
        (
            ("a_x2",),
            {"scale": 3},
            "clean pictures at x3 in it, only a_x2; train them with",
        ),
        (
            ("a_x2",),
            {"content": "photo"},
            "JPEGs in it, only a_x2; .* --recipe photo --scale 2",
        ),
        (("edsr_small_x2",), {"network": "large"}, "clean pictures and NETWORK = 'large' in it"),
    ],
)
def test_missing_weights_are_named(tmp_path, monkeypatch, stems, options, message):
    monkeypatch.setattr(utils, "WEIGHTS_FOLDER", tmp_path)
    weights_of(tmp_path, *stems)
    for ask in utils.NetworkOptions.load, utils.NetworkOptions.scales:
        with pytest.raises(InputError, match=message):
            ask(utils.NetworkOptions(**options))


def test_large_network_leaves_jpegs_to_the_one_for_them(shipped):
    """No large one is shipped for JPEGs, and one for clean pictures takes blocks for detail."""
    shipped("edsr_x2", "edsr_small_x2", "edsr_small_x2_photo")
    networks = utils.NetworkOptions(network="large").load(2)
    names = [network.path.name for network in (networks.clean, networks.photo)]
    assert names == ["edsr_x2.keras", "edsr_small_x2_photo.keras"]


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_scale_is_learned_from_the_file(tmp_path, scale):
    network.edsr(scale, 4, 1).save(tmp_path / "any.keras")
    assert utils.load(tmp_path / "any.keras").scale == scale


@pytest.mark.slow
def test_backends_agree(tmp_path):
    """What TensorFlow makes of a picture on a processor is what JAX and OpenVINO make of it."""
    pytest.importorskip("jax")
    pytest.importorskip("openvino")
    source = ROOT / "inference" / "original" / "astronaut.png"
    pictures = {}
    for name in "tensorflow", "jax", "OpenVINO":
        engine = "openvino" if name == "OpenVINO" else "auto"
        command = [sys.executable, "output.py", source, tmp_path / name, "--precision", "float32"]
        command += ["--engine", engine]
        environment = os.environ | {"KERAS_BACKEND": name, "JAX_PLATFORMS": "cpu"}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert f"{name} on CPU" in done.stdout
        pictures[name] = read_rgb(tmp_path / name / source.name).astype(int)
    for name in "jax", "OpenVINO":
        assert np.abs(pictures[name] - pictures["tensorflow"]).max() <= 1
