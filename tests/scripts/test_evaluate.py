import errno
import functools
import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import evaluate
import utils
from superres.images.read import read_rgb
from superres.images.write import write_picture
from superres.runtime import backend
from superres.scoring import figures, metrics, testsets
from superres.scoring.restore import places_of
from support import FAULTS, ROOT, failing_twice, small_network, smooth_picture


@functools.cache
def shipped_score(folder, scale, precision, kind="", degradation="", size="_small"):
    """Mean PSNR of the shipped weights on a benchmark's folder."""
    weights = ROOT / "weights" / f"edsr{size}_x{scale}{kind}.keras"
    upscaler = utils.load(weights, precision=precision)
    test_sets = testsets.find(folder, upscaler.scale)
    scored = evaluate.score(
        test_sets,
        upscaler.scale,
        lambda lr, condition: upscaler.enlarge(lr, condition=condition),
        degradation=degradation,
    )
    assert not scored.refused
    return scored.summaries()[0]["mean"]["prediction"]["psnr"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scale", "set5", "set14"), [(2, 37.81, 33.21), (3, 34.11, 29.92), (4, 31.87, 28.23)]
)
def test_shipped_small_weights(benchmarks, scale, set5, set14):
    assert shipped_score(benchmarks / "Set5", scale, "float32") >= set5
    assert shipped_score(benchmarks / "Set14", scale, "float32") >= set14


@pytest.mark.slow
@pytest.mark.parametrize(("scale", "least"), [(2, 37.99), (3, 34.29), (4, 32.02)])
def test_shipped_large_weights(benchmarks, scale, least):
    assert shipped_score(benchmarks / "Set5", scale, "auto", size="") >= least


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
@pytest.mark.parametrize("name", ["Set5", "Set14"])
def test_bfloat16_costs_less_than_a_hundredth_of_a_decibel(benchmarks, name):
    exact, fast = (shipped_score(benchmarks / name, 2, p) for p in ("float32", "bfloat16"))
    assert abs(exact - fast) < 0.01


# ---- the command ----


@pytest.fixture
def benchmark(tmp_path, monkeypatch):
    """A folder Set with HR/ and LR/x2/ whose LR pictures are not our own bicubic's."""
    for n, name in enumerate(["a.png", "b.png"]):
        hr = smooth_picture(41, 52, seed=n)
        for place, picture in ("HR", hr), ("LR/x2", hr[:40:2, ::2]):
            (tmp_path / "Set" / place).mkdir(parents=True, exist_ok=True)
            write_picture(tmp_path / "Set" / place / name, picture, {})
    (tmp_path / "evaluation").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "Set"


BY_BICUBIC = ["--weights", "none", "--scale", "2"]


def results(tmp_path):
    return json.loads((tmp_path / "evaluation/results.json").read_text())


def test_command_writes_results_and_pictures(tmp_path, benchmark, small_weights, capsys):
    write_picture(benchmark / "HR" / "tiny.png", smooth_picture(4, 4), {})
    write_picture(benchmark / "LR" / "x2" / "tiny.png", smooth_picture(2, 2), {})
    assert evaluate.main([str(benchmark), "--weights", str(small_weights)]) == 1
    captured = capsys.readouterr()
    assert "mean of 2" in captured.out
    assert "tiny.png: 4x4 in multiples of 2: expected at least 15x15 to be scored" in captured.err
    found = results(tmp_path)
    assert found["scale"] == 2
    (made_by,) = found["networks"]
    assert (made_by["weights"], made_by["pictures"]) == ("small.keras", "all pictures")
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
    assert "2 of 3" in (tmp_path / "evaluation/results.md").read_text()
    assert "a.png" in (tmp_path / "evaluation/report.html").read_text()


@pytest.mark.parametrize("error", FAULTS, ids=repr)
@pytest.mark.parametrize(("module", "function"), [(metrics, "ssim"), (figures, "paper_figure")])
def test_fault_of_ours_is_shown_and_the_other_pictures_are_scored(
    tmp_path, benchmark, monkeypatch, capsys, module, function, error
):
    shutil.copy(benchmark / "HR/b.png", benchmark / "HR/c.png")
    shutil.copy(benchmark / "LR/x2/b.png", benchmark / "LR/x2/c.png")
    monkeypatch.setattr(module, function, failing_twice(getattr(module, function), error))
    assert evaluate.main(["Set", *BY_BICUBIC]) == 1
    printed = capsys.readouterr().err
    assert printed.count("Traceback") == printed.count("in fail_twice") == 1
    unwritten = "scored, but not all of its pictures were written: " * (module is figures)
    for name in "a.png", "b.png":
        assert f"refused Set/HR/{name}: {unwritten}{type(error).__name__}: {error} (" in printed
    scored = [row["name"] for row in results(tmp_path)["images"]]
    assert scored == (["c.png"] if module is metrics else ["a.png", "b.png", "c.png"])


def test_fault_in_all_pictures_is_not_said_to_be_of_the_folder(benchmark, monkeypatch, capsys):
    monkeypatch.setattr(metrics, "ssim", lambda *arguments: {}["ours"])
    assert evaluate.main(["Set", *BY_BICUBIC]) == 1
    assert "KeyError: 'ours' (traceback above)" in capsys.readouterr().err


def test_degraded_pictures_are_restored_and_it_is_said(tmp_path, benchmark, small_weights, capsys):
    (benchmark / "HR").rename(tmp_path / "Set5")
    words = ["Set5", "--weights", str(small_weights)]
    assert evaluate.main([*words, "--no-pictures"]) == 0
    clean = results(tmp_path)["mean"]
    capsys.readouterr()
    assert evaluate.main([*words, "--degradation", "jpeg30"]) == 0
    captured = capsys.readouterr()
    assert "LR pictures degraded by jpeg30: JPEG 30 4:2:0" in captured.out
    assert "Set5, LR jpeg30" in captured.out
    assert "degraded by jpeg30, so scores are not comparable" in captured.err
    degraded = results(tmp_path)["mean"]
    for key in ("psnr", "bicubic_psnr", "nearest_psnr"):
        assert abs(degraded[key] - clean[key]) > 0.05
    assert results(tmp_path)["test_sets"][0]["degradation"] == "jpeg30"
    assert "<title>Set5 ×2 jpeg30: " in (tmp_path / "evaluation/report.html").read_text()


def test_degraded_pictures_are_predicted_by_the_photo_network(tmp_path, benchmark, shipped):
    shipped("edsr_small_x2", "edsr_small_x2_photo")

    def used(*options):
        assert evaluate.main(["Set", "--no-pictures", *options]) == 0
        found = results(tmp_path)
        networks = {one["pictures"]: one["weights"] for one in found["networks"]}
        return networks, found["mean"]["psnr"]

    clean, photo = "edsr_small_x2.keras", "edsr_small_x2_photo.keras"
    jpeg = ["--degradation", "jpeg40"]
    assert used()[0] == {"lossless pictures": clean}
    assert used(*jpeg) == ({"lossy pictures": photo}, used(*jpeg, "--content", "photo")[1])
    assert used(*jpeg, "--content", "clean")[0] == {"all pictures": clean}
    # As if nothing were lost it predicts something else.
    as_clean = used(*jpeg, "--content", "clean", "--weights", str(tmp_path / "shipped" / photo))
    assert as_clean[0] == {"all pictures": photo}
    assert as_clean[1] != used(*jpeg)[1]


def test_quality_of_given_lr_pictures_is_that_of_their_files(tmp_path, benchmark):
    path = tmp_path / "photo.keras"
    small_network(global_skip=True, conditions=1).save(path)

    def scores(*options):
        assert evaluate.main(["Set", "--no-pictures", "--weights", str(path), *options]) == 0
        return {row["name"]: row["psnr"] for row in results(tmp_path)["images"]}

    before, given = scores(), benchmark / "LR/x2/a.png"
    Image.open(given).save(given, format="JPEG", quality=30)
    used, unused = scores(), scores("--content", "clean")
    assert before["b.png"] == used["b.png"] == unused["b.png"]
    assert used["a.png"] != unused["a.png"]


def test_photo_degrades_each_picture_in_its_own_way_the_same_in_every_run(tmp_path, benchmark):
    scores = []
    for _ in range(2):
        words = ["Set", *BY_BICUBIC, "--no-pictures"]
        assert evaluate.main([*words, "--degradation", "wild"]) == 0
        images = results(tmp_path)["images"]
        scores.append([row["bicubic_psnr"] for row in images])
        assert all(row["notes"][0].startswith("LR: ") for row in images)
    assert scores[0] == scores[1]


def test_several_test_sets_at_once(tmp_path, benchmark, small_weights, capsys):
    (benchmark / "HR").rename(tmp_path / "plain")
    shutil.copytree(tmp_path / "plain", benchmark / "HR")
    words = ["--weights", str(small_weights)]
    assert evaluate.main([str(benchmark), *words, "plain"]) == 0
    found = results(tmp_path)
    names = [f"{row['test_set']}/{row['name']}" for row in found["images"]]
    assert names == ["Set/a.png", "Set/b.png", "plain/a.png", "plain/b.png"]
    assert [one["given_lr"] for one in found["test_sets"]] == [2, 0]
    assert (tmp_path / "evaluation/output/Set/a.png").is_file()
    assert (tmp_path / "evaluation/output/plain/a.png").is_file()
    out = capsys.readouterr().out
    assert "Set: 2 pictures in" in out
    assert "(HR in HR, LR in LR/x2)" in out


def test_single_pictures(tmp_path, benchmark, capsys):
    words = [f"Set/HR/{name}.png" for name in "ba"] + BY_BICUBIC
    assert evaluate.main(words) == 0
    assert [row["name"] for row in results(tmp_path)["images"]] == ["b.png", "a.png"]
    assert "pictures: 2 pictures in Set/HR (single pictures" in capsys.readouterr().out
    assert evaluate.main(words[1:]) == 0
    assert "pictures: 1 pictures in Set/HR" in capsys.readouterr().out


def test_notes_are_printed_and_written(tmp_path, benchmark, capsys):
    write_picture(tmp_path / "deep.png", smooth_picture(40, 40, 4, dtype=np.uint16), {})
    assert evaluate.main(["deep.png", *BY_BICUBIC]) == 0
    printed, written = capsys.readouterr().err, Path("evaluation/results.md").read_text()
    for text in "original of 16 bits, rounded to 8", "transparency of original left out":
        assert f"note: pictures, deep.png: {text}\n" in printed
        assert f"- pictures, deep.png: {text}\n" in written


def test_scores_until_ctrl_c_are_written(tmp_path, benchmark, capsys, monkeypatch):
    really_restore, calls = evaluate.restore, []

    def restore(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGINT)
        return really_restore(*arguments)

    monkeypatch.setattr(evaluate, "restore", restore)
    shutil.copytree(benchmark, tmp_path / "Set14")
    assert evaluate.main(["Set", "Set14", *BY_BICUBIC]) == 130
    assert "evaluate.py: stopped; 2 of 4 were scored" in capsys.readouterr().err
    assert [one["untried"] for one in results(tmp_path)["test_sets"]] == [0, 2]
    written = (tmp_path / "evaluation/results.md").read_text()
    assert "2 of 2 pictures were left when it was stopped" in written
    assert (tmp_path / "evaluation/report.html").is_file()


def test_blank_picture_is_named_and_left_out_of_the_mean(tmp_path, benchmark, capsys):
    (tmp_path / "pages").mkdir()
    write_picture(tmp_path / "pages/a.png", np.full((40, 40, 3), 90, np.uint8), {})
    write_picture(tmp_path / "pages/b.png", smooth_picture(40, 40), {})
    assert evaluate.main(["pages", *BY_BICUBIC, "--no-pictures"]) == 1
    assert "refused pages/a.png: blank: " in capsys.readouterr().err
    found = results(tmp_path)
    assert [row["name"] for row in found["images"]] == ["b.png"]
    assert found["mean"]["bicubic_psnr"] == found["images"][0]["bicubic_psnr"]
    assert list(found["refused"]) == ["pages/a.png"]


def test_name_or_shape_that_cannot_be_drawn_ends_nothing(tmp_path, benchmark, capsys):
    (tmp_path / "odd").mkdir()
    names = {"new\nline": 40, "wide": 16500, "plain": 40, "<img src=x>": 40, "\x1b[31m": 40}
    for name, width in {**names, "long" * 62: 40}.items():
        picture = np.repeat(smooth_picture(40, 20), width // 20, axis=1)
        write_picture(tmp_path / "odd" / f"{name}.bmp", picture, {})
    assert evaluate.main(["odd", *BY_BICUBIC]) == 1
    captured = capsys.readouterr()
    assert "long.bmp: scored, but not all of its pictures were written: " in captured.err
    assert captured.err.count("refused") == 1
    assert "\x1b" not in captured.out + captured.err
    assert len(results(tmp_path)["images"]) == 6
    assert (tmp_path / "evaluation/Combined/wide.bmp.png").is_file()
    assert "<img" not in (tmp_path / "evaluation/results.md").read_text().replace("\\<", "")


def test_pictures_of_another_program(tmp_path, benchmark, capsys):
    for name in "a", "b":
        picture = read_rgb(benchmark / "HR" / f"{name}.png")[:40]
        picture = np.clip(picture.astype(int) + 1, 0, 255).astype(np.uint8)
        (tmp_path / "Other" / "x2").mkdir(parents=True, exist_ok=True)
        write_picture(tmp_path / "Other" / "x2" / f"{name}_x2.png", picture, {})
    words = [str(benchmark), *BY_BICUBIC, "--compare", "Other"]
    assert evaluate.main(words) == 0
    found = results(tmp_path)
    assert found["networks"] == []
    assert found["refused"] == {}
    keys = {f"{m}_{key}" for m in ("bicubic", "nearest") for key in ("psnr", "ssim", "rgb_psnr")}
    assert set(found["mean"]) == {*keys, "compared"}
    assert found["mean"]["compared"]["Other"]["rgb_psnr"] > 48
    assert " Other |" in capsys.readouterr().out
    assert '"Other"' in (tmp_path / "evaluation/report.html").read_text()
    assert not (tmp_path / "evaluation/output").exists()
    write_picture(tmp_path / "Other" / "x2" / "a_x2.png", smooth_picture(9, 9), {})
    assert evaluate.main(words) == 1
    error = capsys.readouterr().err
    assert "refused Other/x2/a_x2.png: 9x9 pixels, expected 52x40\n" in error
    assert results(tmp_path)["mean"]["compared"]["Other"] is None


def test_only_tables_and_the_page_of_an_earlier_run(tmp_path, benchmark, capsys):
    words = ["Set", *BY_BICUBIC]
    assert evaluate.main([*words, "--no-pictures"]) == 0
    names = {path.name for path in (tmp_path / "evaluation").iterdir()}
    assert names == {"results.json", "results.md", "results.csv"}
    assert evaluate.main(words) == 0
    assert "earlier" not in capsys.readouterr().out
    assert evaluate.main([*words, "--no-pictures"]) == 0
    assert "report.html and the pictures in evaluation are of an earlier" in capsys.readouterr().out


def test_which_network_and_why_is_said(tmp_path, benchmark, shipped, monkeypatch, capsys):
    shipped("edsr_x2", "edsr_small_x2")
    monkeypatch.setattr(backend, "has_gpu", lambda: False)
    assert evaluate.main(["Set", "--no-pictures"]) == 0
    words = "edsr_small_x2.keras (the small network, because there is no GPU): x2, "
    assert capsys.readouterr().out.startswith(words)
    assert evaluate.main(["Set", "--no-pictures", "--network", "large"]) == 0
    assert [one["weights"] for one in results(tmp_path)["networks"]] == ["edsr_x2.keras"]


def test_pictures_that_would_be_replaced_are_refused(tmp_path, benchmark, capsys):
    words = BY_BICUBIC
    shutil.copytree(benchmark / "HR", tmp_path / "evaluation" / "output")
    content = (tmp_path / "evaluation/output/a.png").read_bytes()
    for line in (["evaluation/output"], ["evaluation/output/a.png"]):
        assert evaluate.main([*line, *words]) == 2
        assert "lies where the pictures are written" in capsys.readouterr().err
    assert evaluate.main(["Set", *words, "--compare", "evaluation/output"]) == 2
    assert "a.png: lies where the pictures are written" in capsys.readouterr().err
    assert evaluate.main(["Set", *words, "--compare", "evaluation/output", "--no-pictures"]) == 1
    assert (tmp_path / "evaluation/output/a.png").read_bytes() == content


def test_what_earlier_runs_wrote_is_not_scored(tmp_path, benchmark, monkeypatch, capsys):
    for place in "a.png", "more/b.png":
        (tmp_path / "mine" / place).parent.mkdir(exist_ok=True, parents=True)
        shutil.copy(benchmark / "HR" / "a.png", tmp_path / "mine" / place)
    monkeypatch.chdir(tmp_path / "mine")
    for option in "--pictures", "--pictures", "--no-pictures":
        assert evaluate.main([".", *BY_BICUBIC, option]) == 0
        assert "mine: 2 pictures in" in capsys.readouterr().out


def test_pictures_of_one_name_but_its_ending_are_written_under_two():
    pairs = [testsets.Pair(None, None, Path(name)) for name in ("a.jpg", "a.jpg.png", "b.PNG")]
    places = places_of([testsets.TestSet("mine", None, "", pairs)])
    names = {name.name: place.name for (_, name), (place, _) in places.items()}
    assert names == {"a.jpg": "a.jpg-2.png", "a.jpg.png": "a.jpg.png", "b.PNG": "b.PNG"}


def test_scores_are_printed_though_nothing_can_be_written(benchmark, capsys, monkeypatch):
    def full(path, *arguments, **options):
        if "unfinished" in path.name:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    assert evaluate.main(["Set", *BY_BICUBIC, "--no-pictures"]) == 2
    captured = capsys.readouterr()
    assert "mean of 2" in captured.out
    results = Path("evaluation", "results.json")
    assert f"No space left on device: '{results}'" in captured.err


def test_refused_picture_is_named_and_the_others_are_scored(tmp_path, benchmark, capsys):
    (benchmark / "LR/x2/a.png").unlink()
    assert evaluate.main(["Set", *BY_BICUBIC]) == 1
    line = "refused Set/HR/a.png: its LR picture is missing: expected Set/LR/x2/a.png"
    assert line in capsys.readouterr().err
    assert f"- {line}" in (tmp_path / "evaluation/results.md").read_text()
    assert f"<p>{line}" in (tmp_path / "evaluation/report.html").read_text()
    assert list(results(tmp_path)["refused"]) == ["Set/HR/a.png"]
    assert [row["name"] for row in results(tmp_path)["images"]] == ["b.png"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "nowhere: no such folder"),
        (["empty"], "empty: no pictures found in it"),
        (["HR", "--weights", "none.keras"], "none.keras: no such weights file"),
        (["HR", "--weights", "none"], "SCALE = 0: expected 2, 3 or 4, since WEIGHTS = 'none'"),
        (["HR", "--scale", "3"], "SCALE = 3: "),
        (
            ["HR", *BY_BICUBIC, "--self-ensemble"],
            "SELF_ENSEMBLE = True: no network has WEIGHTS = 'none'",
        ),
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
