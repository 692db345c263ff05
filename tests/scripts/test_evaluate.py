import errno
import functools
import json
import shutil
import signal
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image

import evaluate
import utils
from superres.images.read import read_rgb
from superres.images.write import write_picture
from superres.scoring import figures, metrics, testsets
from superres.scoring.restore import places_of
from support import FAULTS, ROOT, failing_twice, small_network, smooth_picture


@functools.cache
def shipped_score(folder, scale, precision, kind="", degradation="", size="_small"):
    """Mean PSNR of the shipped weights on a benchmark's folder."""
    weights = ROOT / "weights" / f"edsr{size}_x{scale}{kind}.keras"
    upscaler = utils.load(weights, precision=precision)
    test_sets = testsets.find(folder, upscaler.scale)

    def enlarge(lr, condition):
        return upscaler.enlarge(lr, condition=condition)

    found = evaluate.score(test_sets, upscaler.scale, enlarge, degradation=degradation)
    assert not found.refused
    return found.summaries()[0]["mean"]["prediction"]["psnr"]


@pytest.mark.slow
@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize(
    ("name", "size", "precision", "least"),
    [
        ("Set5", "_small", "float32", (37.81, 34.11, 31.87)),
        ("Set14", "_small", "float32", (33.21, 29.92, 28.23)),
        ("Set5", "", "auto", (37.99, 34.28, 32.02)),
    ],
)
def test_shipped_weights(benchmarks, scale, name, size, precision, least):
    assert shipped_score(benchmarks / name, scale, precision, size=size) >= least[scale - 2]


@pytest.mark.slow
@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize(("quality", "gain"), [(95, 0), (75, 0.4), (30, 0.4)])
def test_shipped_weights_for_jpegs(benchmarks, scale, quality, gain):
    clean, photo = (
        shipped_score(benchmarks / "Set5", scale, "float32", kind, f"jpeg{quality}")
        for kind in ("", "_photo")
    )
    assert photo >= clean + gain


@pytest.mark.slow
def test_bfloat16_costs_less_than_a_hundredth_of_a_decibel(benchmarks):
    exact, fast = (shipped_score(benchmarks / "Set5", 2, p) for p in ("float32", "bfloat16"))
    assert abs(exact - fast) < 0.01


@pytest.fixture
def benchmark(tmp_path, monkeypatch):
    """A folder Set with HR/ and LR/x2/ whose LR pictures are not our own bicubic's."""
    monkeypatch.chdir(tmp_path)
    for place in "Set/HR", "Set/LR/x2", "evaluation":
        Path(place).mkdir(parents=True)
    for n, name in enumerate(["a.png", "b.png"]):
        hr = smooth_picture(41, 52, seed=n)
        write_picture(f"Set/HR/{name}", hr, {})
        write_picture(f"Set/LR/x2/{name}", hr[:40:2, ::2], {})
    return tmp_path / "Set"


BY_BICUBIC = ["--weights", "none", "--scale", "2"]


def scored(*words, code=0):
    """Runs the command; returns what it writes into results.json."""
    assert evaluate.main([str(word) for word in words]) == code
    return json.loads(Path("evaluation/results.json").read_text())


def written(name):
    return Path("evaluation", name).read_text()


def test_command_writes_results_and_pictures(tmp_path, benchmark, small_weights, capsys):
    write_picture(benchmark / "HR" / "tiny.png", smooth_picture(4, 4), {})
    write_picture(benchmark / "LR" / "x2" / "tiny.png", smooth_picture(2, 2), {})
    found = scored(benchmark, "--weights", small_weights, code=1)
    captured = capsys.readouterr()
    assert "mean of 2" in captured.out
    assert "tiny.png: 4x4 in multiples of 2: expected at least 15x15 to be scored" in captured.err
    assert found["scale"] == 2
    (network,) = found["networks"]
    assert (network["weights"], network["pictures"]) == ("small.keras", "all pictures")
    marks = ("", "bicubic_", "nearest_")
    keys = {f"{mark}{key}" for mark in marks for key in ("psnr", "ssim", "rgb_psnr")}
    assert [set(row) for row in found["images"]] == [keys | {"name", "test_set", "notes"}] * 2
    for key in keys:
        assert found["mean"][key] == pytest.approx(np.mean([r[key] for r in found["images"]]))
    for name in "a.png", "b.png":
        hr = read_rgb(benchmark / "HR" / name)[:40]
        sr = read_rgb(tmp_path / "evaluation/output" / name)
        row = next(row for row in found["images"] if row["name"] == name)
        assert metrics.psnr(hr, sr, 2) == pytest.approx(row["psnr"])
        assert metrics.psnr_rgb(hr, sr, 2) == pytest.approx(row["rgb_psnr"])
        combined = Image.open(tmp_path / "evaluation/Combined" / name)
        assert combined.width >= 3 * 52
        assert combined.height > 40
        assert Image.open(tmp_path / "evaluation/figures" / name).width > 3 * 52
    assert "2 of 3" in written("results.md")
    assert "a.png" in written("report.html")


@pytest.mark.parametrize(
    ("module", "function", "error"),
    [(metrics, "ssim", FAULTS[0]), (figures, "paper_figure", FAULTS[1])],
    ids=["score", "figure"],
)
def test_fault_of_ours_is_shown_and_the_other_pictures_are_scored(
    benchmark, monkeypatch, capsys, module, function, error
):
    shutil.copy(benchmark / "HR/b.png", benchmark / "HR/c.png")
    shutil.copy(benchmark / "LR/x2/b.png", benchmark / "LR/x2/c.png")
    monkeypatch.setattr(module, function, failing_twice(getattr(module, function), error))
    names = [row["name"] for row in scored("Set", *BY_BICUBIC, code=1)["images"]]
    assert names == (["c.png"] if module is metrics else ["a.png", "b.png", "c.png"])
    printed = capsys.readouterr().err
    assert printed.count("Traceback") == printed.count("in fail_twice") == 1
    unwritten = "scored, but not all of its pictures were written: " * (module is figures)
    for name in "a.png", "b.png":
        assert f"refused Set/HR/{name}: {unwritten}{type(error).__name__}: {error} (" in printed
    if module is metrics:  # in all pictures, which is no fault of the folder
        monkeypatch.setattr(metrics, "ssim", lambda *arguments: {}["ours"])
        assert evaluate.main(["Set", *BY_BICUBIC]) == 1
        assert "KeyError: 'ours' (traceback above)" in capsys.readouterr().err


def test_degraded_pictures_are_restored_and_it_is_said(benchmark, small_weights, capsys):
    (benchmark / "HR").rename("Set5")
    clean = scored("Set5", "--weights", small_weights, "--no-pictures")["mean"]
    capsys.readouterr()
    found = scored("Set5", "--weights", small_weights, "--degradation", "jpeg30")
    captured = capsys.readouterr()
    assert "LR pictures degraded by jpeg30: JPEG 30 4:2:0" in captured.out
    assert "Set5, LR jpeg30" in captured.out
    assert "degraded by jpeg30, so scores are not comparable" in captured.err
    for key in ("psnr", "bicubic_psnr", "nearest_psnr"):
        assert abs(found["mean"][key] - clean[key]) > 0.05
    assert found["test_sets"][0]["degradation"] == "jpeg30"
    assert "<title>Set5 ×2 jpeg30: " in written("report.html")


def test_degraded_pictures_are_predicted_by_the_photo_network(tmp_path, benchmark, shipped, capsys):
    shipped("edsr_small_x2", "edsr_small_x2_photo")

    def used(*options):
        found = scored("Set", "--no-pictures", *options)
        networks = {one["pictures"]: one["weights"] for one in found["networks"]}
        return networks, found["mean"]["psnr"]

    clean, photo = "edsr_small_x2.keras", "edsr_small_x2_photo.keras"
    jpeg = ["--degradation", "jpeg40"]
    assert used()[0] == {"lossless pictures": clean}
    assert capsys.readouterr().out.startswith(f"{clean} (the small network, because ")
    assert used(*jpeg) == ({"lossy pictures": photo}, used(*jpeg, "--content", "photo")[1])
    assert used(*jpeg, "--content", "clean")[0] == {"all pictures": clean}
    # As if nothing were lost it predicts something else.
    as_clean = used(*jpeg, "--content", "clean", "--weights", tmp_path / "shipped" / photo)
    assert as_clean[0] == {"all pictures": photo}
    assert as_clean[1] != used(*jpeg)[1]


def test_quality_of_given_lr_pictures_is_that_of_their_files(tmp_path, benchmark):
    path = tmp_path / "photo.keras"
    small_network(global_skip=True, conditions=1).save(path)

    def scores(*options):
        images = scored("Set", "--no-pictures", "--weights", path, *options)["images"]
        return {row["name"]: row["psnr"] for row in images}

    before, given = scores(), benchmark / "LR/x2/a.png"
    Image.open(given).save(given, format="JPEG", quality=30)
    used, unused = scores(), scores("--content", "clean")
    assert before["b.png"] == used["b.png"] == unused["b.png"]
    assert used["a.png"] != unused["a.png"]


def test_wild_is_the_same_in_every_run(benchmark):
    words = ["Set", *BY_BICUBIC, "--no-pictures", "--degradation", "wild"]
    first, second = (scored(*words)["images"] for _ in range(2))
    assert first == second
    assert all(row["notes"][0].startswith("LR: ") for row in first)


def test_several_test_sets_at_once(benchmark, small_weights, capsys):
    shutil.copytree(benchmark / "HR", "plain")
    found = scored(benchmark, "--weights", small_weights, "plain")
    names = [f"{row['test_set']}/{row['name']}" for row in found["images"]]
    assert names == ["Set/a.png", "Set/b.png", "plain/a.png", "plain/b.png"]
    assert [one["given_lr"] for one in found["test_sets"]] == [2, 0]
    assert all(Path(f"evaluation/output/{name}").is_file() for name in names)
    out = capsys.readouterr().out
    assert "Set: 2 pictures in" in out
    assert "(HR in HR, LR in LR/x2)" in out


def test_single_pictures_and_their_notes(benchmark, capsys):
    write_picture("Set/HR/deep.png", smooth_picture(40, 40, 4, dtype=np.uint16), {})
    found = scored("Set/HR/deep.png", "Set/HR/a.png", *BY_BICUBIC)
    assert [row["name"] for row in found["images"]] == ["deep.png", "a.png"]
    captured = capsys.readouterr()
    assert "pictures: 2 pictures in Set/HR (single pictures" in captured.out
    for text in "original of 16 bits, rounded to 8", "transparency of original left out":
        assert f"note: pictures, deep.png: {text}\n" in captured.err
        assert f"- pictures, deep.png: {text}\n" in written("results.md")


def test_scores_until_ctrl_c_are_written(benchmark, capsys, monkeypatch):
    calls = Mock(wraps=evaluate.restore)

    def restore(*arguments):
        if calls.call_count == 1:
            signal.raise_signal(signal.SIGINT)
        return calls(*arguments)

    monkeypatch.setattr(evaluate, "restore", restore)
    shutil.copytree(benchmark, "Set14")
    found = scored("Set", "Set14", *BY_BICUBIC, code=130)
    assert "evaluate.py: stopped; 2 of 4 were scored" in capsys.readouterr().err
    assert [one["untried"] for one in found["test_sets"]] == [0, 2]
    assert "2 of 2 pictures were left when it was stopped" in written("results.md")
    assert Path("evaluation/report.html").is_file()


def test_refused_pictures_are_named_and_the_others_are_scored(benchmark, capsys):
    (benchmark / "LR/x2/a.png").unlink()
    for place, side in ("HR", 40), ("LR/x2", 20):
        blank = np.full((side, side, 3), 90, np.uint8)
        write_picture(benchmark / place / "blank.png", blank, {})
    found = scored("Set", *BY_BICUBIC, code=1)
    error = capsys.readouterr().err
    line = "refused Set/HR/a.png: its LR picture is missing: expected Set/LR/x2/a.png"
    assert line in error
    assert "refused Set/HR/blank.png: blank: " in error
    assert f"- {line}" in written("results.md")
    assert f"<p>{line}" in written("report.html")
    assert list(found["refused"]) == ["Set/HR/a.png", "Set/HR/blank.png"]
    assert [row["name"] for row in found["images"]] == ["b.png"]
    assert found["mean"]["bicubic_psnr"] == found["images"][0]["bicubic_psnr"]


def test_name_or_shape_that_cannot_be_drawn_ends_nothing(tmp_path, benchmark, capsys):
    (tmp_path / "odd").mkdir()
    names = {"new\nline": 40, "wide": 16500, "plain": 40, "<img src=x>": 40, "\x1b[31m": 40}
    for name, width in {**names, "long" * 62: 40}.items():
        picture = np.repeat(smooth_picture(40, 20), width // 20, axis=1)
        write_picture(tmp_path / "odd" / f"{name}.bmp", picture, {})
    assert len(scored("odd", *BY_BICUBIC, code=1)["images"]) == 6
    captured = capsys.readouterr()
    assert "long.bmp: scored, but not all of its pictures were written: " in captured.err
    assert captured.err.count("refused") == 1
    assert "\x1b" not in captured.out + captured.err
    assert Path("evaluation/Combined/wide.bmp.png").is_file()
    assert "<img" not in written("results.md").replace("\\<", "")


def test_pictures_of_another_program(tmp_path, benchmark, capsys):
    (tmp_path / "Other" / "x2").mkdir(parents=True)
    for name in "a", "b":
        picture = read_rgb(benchmark / "HR" / f"{name}.png")[:40]
        picture = np.clip(picture.astype(int) + 1, 0, 255).astype(np.uint8)
        write_picture(tmp_path / "Other" / "x2" / f"{name}_x2.png", picture, {})
    words = ["Set", *BY_BICUBIC, "--compare", "Other"]
    found = scored(*words)
    assert found["networks"] == []
    assert found["refused"] == {}
    keys = {f"{m}_{key}" for m in ("bicubic", "nearest") for key in ("psnr", "ssim", "rgb_psnr")}
    assert set(found["mean"]) == {*keys, "compared"}
    assert found["mean"]["compared"]["Other"]["rgb_psnr"] > 48
    assert " Other |" in capsys.readouterr().out
    assert '"Other"' in written("report.html")
    assert not Path("evaluation/output").exists()
    write_picture(tmp_path / "Other" / "x2" / "a_x2.png", smooth_picture(9, 9), {})
    assert scored(*words, code=1)["mean"]["compared"]["Other"] is None
    line = "refused Other/x2/a_x2.png: 9x9 pixels, expected 52x40\n"
    assert line in capsys.readouterr().err


def test_only_tables_and_the_page_of_an_earlier_run(tmp_path, benchmark, capsys):
    scored("Set", *BY_BICUBIC, "--no-pictures")
    names = {path.name for path in (tmp_path / "evaluation").iterdir()}
    assert names == {"results.json", "results.md", "results.csv"}
    note = "report.html and the pictures in evaluation are of an earlier"
    for options, is_noted in ([], False), (["--no-pictures"], True):
        scored("Set", *BY_BICUBIC, *options)
        assert (note in capsys.readouterr().out) == is_noted


def test_what_is_written_is_not_scored(tmp_path, benchmark, monkeypatch, capsys):
    """Pictures that would be replaced are refused, and those of earlier runs left out."""
    shutil.copytree(benchmark / "HR", "evaluation/output")
    content = Path("evaluation/output/a.png").read_bytes()
    compare = ["Set", "--compare", "evaluation/output"]
    for words in ["evaluation/output"], ["evaluation/output/a.png"], compare:
        assert evaluate.main([*words, *BY_BICUBIC]) == 2
        assert "lies where the pictures are written" in capsys.readouterr().err
    assert evaluate.main([*compare, *BY_BICUBIC, "--no-pictures"]) == 1
    assert Path("evaluation/output/a.png").read_bytes() == content
    shutil.copytree(benchmark / "HR", tmp_path / "mine" / "more")
    monkeypatch.chdir(tmp_path / "mine")
    for option in "--pictures", "--pictures", "--no-pictures":
        scored(".", *BY_BICUBIC, option)
        assert "mine: 2 pictures in" in capsys.readouterr().out


def test_pictures_of_one_name_but_its_ending_are_written_under_two():
    pairs = [testsets.Pair(None, None, Path(name)) for name in ("a.jpg", "a.jpg.png", "b.PNG")]
    places = places_of([testsets.TestSet("mine", None, "", pairs)])
    names = {name.name: place.name for (_, name), (place, _) in places.items()}
    assert names == {"a.jpg": "a.jpg-2.png", "a.jpg.png": "a.jpg.png", "b.PNG": "b.PNG"}


def test_scores_are_printed_though_nothing_can_be_written(benchmark, capsys, monkeypatch):
    full = Mock(side_effect=OSError(errno.ENOSPC, "No space left on device"))
    monkeypatch.setattr(Path, "write_text", full)
    assert evaluate.main(["Set", *BY_BICUBIC, "--no-pictures"]) == 2
    captured = capsys.readouterr()
    assert "mean of 2" in captured.out
    assert f"No space left on device: '{Path('evaluation/results.json')}'" in captured.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "nowhere: no such folder"),
        (["empty"], "empty: no pictures found in it"),
        (["HR", "--weights", "none.keras"], "none.keras: no such weights file"),
        (["HR", "--weights", "none"], "SCALE = 0: expected 2, 3 or 4, since WEIGHTS = 'none'"),
        (["HR", "--scale", "3"], "SCALE = 3: "),
        (["HR", *BY_BICUBIC, "--self-ensemble"], "SELF_ENSEMBLE = True: no network has WEIGHTS"),
        (["HR", "--compare", "nowhere"], "nowhere: no such folder"),
        (["HR", "--compare", "empty"], "empty: expected pictures of x2, named as a.png, in it"),
        (["HR", "--degradation", "jpeg0"], "DEGRADATION = 'jpeg0': expected wild, or jpeg"),
        (["bad"], "FOLDER = 'bad': no picture in it could be scored"),
    ],
)
def test_what_cannot_start_ends_with_exit_code_2(
    benchmark, small_weights, monkeypatch, capsys, words, message
):
    monkeypatch.chdir(benchmark)
    for folder in "empty", "bad", "evaluation":
        (benchmark / folder).mkdir()
    (benchmark / "bad" / "x.png").write_text("no picture")
    if "--weights" not in words:
        words = [*words, "--weights", str(small_weights)]
    assert evaluate.main(words) == 2
    assert f"evaluate.py: {message}" in capsys.readouterr().err
