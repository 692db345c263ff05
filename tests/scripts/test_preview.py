"""Before a long run: --try and --dry-run, several sources, the bar."""

import json
import re
import shlex
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image

import output
from superres.images.quality import Condition
from superres.images.read import read_rgb
from superres.images.write import write_picture
from superres.preview import trial
from superres.preview.versions import find_part
from superres.upscaling import batch
from support import contents, smooth_picture

PAGE = Path("inference/try/index.html")


def run(*words):
    return output.main([str(word) for word in words])


@pytest.fixture
def folder(tmp_path, shipped, monkeypatch):
    """The working folder, with weights for both kinds, and pictures in `in`."""
    shipped("edsr_small_x2", "edsr_small_x2_photo")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    write_picture("in/a.png", smooth_picture(430, 400, seed=1), {})
    Image.fromarray(smooth_picture(500, 420, seed=2)).save("in/b.jpg", quality=60)
    return tmp_path


def index():
    """What the page knows of its pictures, and the rows of their tables."""
    text = PAGE.read_text(encoding="utf-8")
    (script,) = re.findall(r'<script type="application/json" id="index">(.*?)</script>', text)
    pictures = json.loads(script)["pictures"]
    for picture in pictures:
        rows = re.findall(r'<tr><th scope="row">(.*?)</tr>', picture["table"], re.DOTALL)
        cells = [re.split(r"<[^>]+>\s*", row) for row in rows]
        picture["rows"] = {row[0]: [cell for cell in row[1:] if cell] for row in cells}
    return json.loads(script), pictures


def test_each_version_is_what_its_command_makes(folder, capsys):
    assert run("in", "out", "--try", "--precision", "float32") == 0
    assert f"Page: {PAGE}" in capsys.readouterr().out
    whole, pictures = index()
    assert whole["views"][0] == "bicubic"
    for picture, name in zip(pictures, ["a.png", "b.jpg"], strict=True):
        title = rf"in/{name} ×2, 384×384 pixels at \d+,\d+"
        assert re.fullmatch(title, picture["title"])
    assert whole["after"] == "clean"  # what a.png gets without options
    for picture, source in zip(pictures, ["in/a.png", "in/b.jpg"], strict=True):
        made = picture["images"].keys() - {"bicubic"}
        assert {"clean", "photo", "cleaner", "self-ensemble"} == made
        left, top, width, height = find_part(read_rgb(source))
        shown = {name: read_rgb(PAGE.parent / picture["images"][name]) for name in made}
        for name in made:
            command = shlex.split(picture["rows"][name][0])
            assert command[:4] == ["python", "output.py", "in", "out"]
            assert run(source, name, *command[4:]) == 0
            enlarged = read_rgb(Path(name, Path(source).name))
            part = enlarged[2 * top : 2 * (top + height), 2 * left : 2 * (left + width)]
            errors = {n: np.abs(one.astype(int) - part).mean() for n, one in shown.items()}
            assert min(errors, key=errors.get) == name  # a JPEG loses a little
            assert errors[name] < 0.01 or source == "in/b.jpg"


def test_a_damaged_picture_does_not_end_it(folder, capsys):
    Path("in/0 cut.png").write_bytes(Path("in/a.png").read_bytes()[:200])
    assert run("in", "--try") == 0
    assert "refused in/0 cut.png: cut off" in capsys.readouterr().err
    assert len(index()[1]) == 2
    assert run("in/0 cut.png", "--try") == 2
    assert len(index()[1]) == 2  # the earlier page stays
    Path("in/b.jpg").unlink()
    Path("in/a.png").unlink()
    assert run("in", "out", "--dry-run") == 0  # its header is whole
    assert "1 to do, about 1 second, 0 already" in capsys.readouterr().out


def test_what_cannot_be_made_says_why_and_nothing_is_made_twice(folder):
    assert run("in/b.jpg", "--try") == 0
    (picture,), rows = index()[1], index()[1][0]["rows"]
    assert "large: the same as photo" in picture["notes"]
    assert "no weights for SHARPNESS and clean pictures at x2" in picture["notes"][-1]
    assert rows["photo"][-1] == "edsr_small_x2_photo.keras, quality 60, the default"
    assert rows["photo"][0] == "python output.py in/b.jpg"
    assert rows["cleaner"][0] == "python output.py in/b.jpg --quality 35"
    assert not Path("inference/output").exists()


def test_default_is_the_version_that_it_is(folder, shipped, monkeypatch):
    """Also if a network does not take all that is known of the picture."""
    known = Condition(0.6, 1.0, 0.1, 0.1)
    monkeypatch.setattr(trial, "condition_of_file", lambda *_: known)
    shipped("edsr_small_x2_wild")
    assert run("in/b.jpg", "--try") == 0
    (picture,) = index()[1]
    assert picture["rows"]["photo"][-1] == "edsr_small_x2_photo.keras, quality 60, the default"
    assert "large: the same as photo" in picture["notes"]


def test_noise_is_tried_where_a_network_takes_it(folder, shipped):
    shipped("edsr_small_x2_wild")
    assert run("in/b.jpg", "--try") == 0
    rows = index()[1][0]["rows"]
    assert "--noise" in rows["smoother"][0]
    assert rows["smoother"][-1].startswith("edsr_small_x2_wild.keras, quality 60, ")
    assert rows["cleaner"][-1] == "edsr_small_x2_photo.keras, quality 35"


def test_the_detail_is_where_most_is_to_see_or_around_a_place():
    picture = np.full((600, 900, 3), 90, np.uint8)
    picture[400:500, 700:800] = smooth_picture(100, 100, seed=3)
    left, top, width, height = find_part(picture)
    assert (width, height) == (384, 384)
    assert left <= 700 <= 800 <= left + width
    assert top <= 400 <= 500 <= top + height
    assert find_part(picture, "300,250") == (108, 58, 384, 384)
    assert find_part(picture, "0,599") == (0, 216, 384, 384)
    assert find_part(picture[:50, :70], "9999,1") == (0, 0, 70, 50)


def test_dry_run_says_what_would_be_made_and_writes_nothing(folder, capsys):
    Path("in/cut.png").write_bytes(b"no picture")
    write_picture("in/wide.webp", smooth_picture(2, 9000), {})
    assert run("in/a.png", "out") == 0
    before = contents(folder)
    capsys.readouterr()
    assert run("in", "out", "--dry-run") == 1
    out = capsys.readouterr().out
    assert contents(folder) == before
    assert "\nout/b.jpg: 840x1000, edsr_small_x2_photo.keras\n" in out
    assert "refused in/cut.png: " in out
    assert "refused in/wide.webp: " in out
    assert re.search(r"\n1 to do, about \d+ seconds?, 1 already there, 2 refused; nothing", out)
    assert run("in", "out", "--dry-run", "--overwrite", "--size", "3") == 1
    line = "out/a.png: 1200x1290, edsr_small_x2.keras or edsr_small_x2_photo.keras, edsr_small_x2"
    assert line in capsys.readouterr().out


def test_several_sources(folder, capsys):
    write_picture("c.png", smooth_picture(12, 12), {})
    assert run("c.png", "in/a.png", "in", "c.png", "--target", "out") == 0
    assert sorted(path.name for path in Path("out").iterdir()) == ["a.png", "b.jpg", "c.png"]
    assert "3 done" in capsys.readouterr().out
    assert run("c.png", "in/a.png") == 0  # the second is a file, so no target
    assert run("c.png", "in/b.jpg", "new") == 0  # there is none yet, so it is the target
    assert sorted(path.name for path in Path("new").iterdir()) == ["b.jpg", "c.png"]
    assert sorted(path.name for path in Path("inference/output").iterdir()) == ["a.png", "c.png"]
    Path("in/deep").mkdir()
    write_picture("in/deep/a.png", smooth_picture(9, 9), {})
    assert run("in", "in/deep", "--target", "overlapping") == 0
    found = sorted(path.relative_to("overlapping") for path in Path("overlapping").rglob("*.*"))
    assert list(map(str, found)) == ["a.png", "b.jpg", "deep/a.png"]
    Path("other").mkdir()
    write_picture("other/a.png", smooth_picture(9, 9), {})
    assert run("in", "other", "c.png", "--target", "twins") == 1
    assert "refused other/a.png: twins/a.png is the output of in/a.png" in capsys.readouterr().out


def test_the_bar_counts_pixels(folder):
    jobs = batch.plan(["in"], "out").jobs
    size = output.Size()
    pixels = batch.pixels_of([*jobs, batch.Job(Path("gone"), Path("gone"))], size, (2,))
    assert list(pixels.values()) == [430 * 400, 500 * 420]
    _, twice = batch.route_of(jobs[0], output.Size.parse("6"), (2, 4))
    assert twice == {4: 430 * 400, 2: 16 * 430 * 400}
    bar = Mock(total=sum(pixels.values()))
    report = batch.Report(batch.Plan(jobs, {}, []), Mock(), bar, pixels)
    Path("out").mkdir()
    write_picture("out/a.png", smooth_picture(3, 3), {})
    assert list(report.to_do(overwrite=False)) == jobs[1:]
    assert bar.total == 500 * 420  # what is there takes no time
    report.add(jobs[1])
    assert bar.update.call_args.args == (500 * 420,)
    assert bar.set_description.call_args.args == ("2 of 2 pictures",)
