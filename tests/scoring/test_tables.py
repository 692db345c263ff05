import csv
import io
import json
import math

import pytest

from superres.scoring import tables, testsets
from superres.scoring.results import Results, gain, means
from support import SETUP


def score(psnr, ssim=0.9):
    return {"psnr": psnr, "ssim": ssim, "rgb_psnr": psnr - 1 if math.isfinite(psnr) else psnr}


def row(name, **found):
    return {"name": name, "scores": found, "notes": [], "is_bicubic": None}


ROWS = [
    row("a", bicubic=score(30), prediction=score(33), RCAN=score(34)),
    row("b", bicubic=score(20), prediction=score(math.inf, 1.0)),
]
METHODS = ["bicubic", "prediction", "RCAN"]


def results_of(rows, methods=METHODS, count=None, name="mine", benchmark=""):
    """Results of a test set of `count` pictures, or of as many as there are rows."""
    pairs = [None] * (len(rows) if count is None else count)
    one = testsets.TestSet(name, name, "HR", pairs, benchmark=benchmark)
    found = Results([one], list(methods), 2)
    found.rows = [row | {"test_set": name} for row in rows]
    return found


def five(psnr=33.66, **others):
    """Rows of five pictures, of which bicubic enlargement has the published PSNR of Set5."""
    return [row(str(n), bicubic=score(psnr), **others) for n in range(5)]


def set5(rows, methods=("bicubic",), count=None, name="Set5"):
    return results_of(rows, methods, count, name, benchmark="Set5")


def set_(found):
    return found.summaries()[0]


def test_means():
    """Infinite with one picture that is restored exactly; none where one is missing."""
    assert gain(math.inf, math.inf) == 0
    mean = means(ROWS, METHODS)
    assert mean["prediction"] == {"psnr": math.inf, "ssim": 0.95, "rgb_psnr": math.inf}
    assert mean["bicubic"] == {"psnr": 25, "ssim": 0.9, "rgb_psnr": 24}
    assert tables.summary_table(results_of(ROWS))[1][3] == "inf / 0.9500 / inf"
    assert mean["RCAN"] is None
    assert means(ROWS[:1], METHODS)["RCAN"] == score(34)
    assert set_(results_of(ROWS))["missing"] == {"RCAN": 1}


def test_set_without_scored_pictures_is_in_the_table():
    found = results_of([], count=3)
    for name in "ab":
        found.refuse(found.test_sets[0], testsets.Pair(name, None, name), ValueError("bad"))
    assert tables.summary_table(found)[1] == ["mine", "0 of 3", "–", "–", "–"]
    written = json.loads(found.as_json(SETUP))
    assert (written["test_sets"][0]["refused"], written["test_sets"][0]["untried"]) == (2, 1)
    assert written["refused"] == {"a": "bad", "b": "bad"}


def test_json_has_no_infinity():
    found = json.loads(results_of(ROWS).as_json(SETUP))
    assert found["images"][1]["psnr"] is None
    assert found["images"][1]["bicubic_psnr"] == 20
    assert found["images"][0]["compared"] == {"RCAN": score(34)}
    assert found["mean"]["psnr"] is None
    assert found["mean"]["ssim"] == pytest.approx(0.95)
    assert found["mean"]["compared"] == {"RCAN": None}
    assert found["test_sets"][0]["mean"]["bicubic_ssim"] == pytest.approx(0.9)
    assert "nearest" not in str(found)


def test_nearest_is_in_the_files_though_not_in_the_tables():
    rows = [row(name, bicubic=score(30), nearest=score(n)) for n, name in ((25, "a"), (27, "b"))]
    found = results_of(rows, ["bicubic"])
    written = json.loads(found.as_json(SETUP))
    assert [image["nearest_psnr"] for image in written["images"]] == [25, 27]
    assert written["mean"]["nearest_psnr"] == written["test_sets"][0]["mean"]["nearest_psnr"] == 26
    assert "compared" not in written["mean"]
    assert "a,nearest,25." in found.as_csv()
    assert "nearest" not in str(tables.summary_table(found))
    assert "nearest" not in str(tables.picture_table(rows, ["bicubic"]))


def test_csv_has_a_line_for_each_method_of_each_picture():
    lines = list(csv.DictReader(io.StringIO(results_of(ROWS).as_csv())))
    pictures = [(line["picture"], line["method"]) for line in lines]
    assert pictures == [(name, m) for name in "ab" for m in METHODS][:5]
    assert [float(line["psnr"]) for line in lines] == [30, 33, 34, 20, math.inf]


def test_table_of_pictures_ends_with_the_mean_and_shows_gains():
    name, _, *lines = tables.details(results_of(ROWS)).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    assert name == "mine"
    assert cells[0] == ["a", "30.000 0.9000", "33.000 0.9000", "+3.000", "34.000 0.9000", "+4.000"]
    assert cells[1] == ["b", "20.000 0.9000", "inf 1.0000", "+inf", "–", "–"]
    assert cells[2] == ["mean of 2", "25.000 0.9000", "inf 0.9500", "+inf", "–", "–"]


def test_markdown_is_aligned_and_escaped():
    text = tables.as_markdown([["a|b", "n"], ["c", "1.5"]])
    assert text.splitlines() == ["| a\\|b |   n |", "| :--- | --: |", "| c    | 1.5 |"]
    # Names can neither tear a table nor steer a terminal.
    text = tables.as_markdown([["a\nb\x1b[31m<img src=x>\udc80 é"]])
    assert text.splitlines()[0] == "| a\\nb\\x1b\\[31m\\<img src=x>\\udc80 é |"
    assert '<th scope="col">&lt;b&gt;</th>' in tables.as_html([["<b>", "x"], ["y", "z"]])
    assert tables.shortened(["a", "b"], 2) == ["a", "b"]
    assert tables.shortened(["a", "b", "c", "d"], 2) == ["a", "b", "2 more in results.md"]


def test_table_has_a_row_for_each_test_set_and_the_published_scores_under_it():
    table = tables.summary_table(set5(five(prediction=score(37)), METHODS[:2]))
    assert table[1:] == [
        ["Set5", "5", "33.66 / 0.9000 / 32.66", "37.00 / 0.9000 / 36.00"],
        ["Set5, EDSR-baseline, published", "", "", "37.99 / 0.9604"],
        ["Set5, EDSR, published", "", "", "38.11 / 0.9601"],
    ]
    texts = tables.provenance(set5(five(prediction=score(37)), METHODS[:2]), SETUP)
    for words in "EDSR, published: Lim et al.", "EDSR-baseline, published: Ahn et al.":
        assert sum(words in text for text in texts) == 1
    rows = [row(str(n), bicubic=score(32.01), prediction=score(37)) for n in range(100)]
    found = results_of(rows, METHODS[:2], name="DIV2K", benchmark="DIV2K")
    assert tables.summary_table(found)[3][3] == "– / – / 35.03"  # of RGB


def test_published_scores_have_a_column_of_their_own_where_there_is_no_network():
    table = tables.summary_table(set5(five(RCAN=score(37)), ["bicubic", "RCAN"]))
    assert table[0][2:] == ["bicubic", "RCAN", "published"]
    assert table[1][2:] == ["33.66 / 0.9000 / 32.66", "37.00 / 0.9000 / 36.00", ""]
    assert table[3] == ["Set5, EDSR, published", "", "", "", "38.11 / 0.9601"]


@pytest.mark.parametrize("benchmark", ["Set5", "", "mine"])
@pytest.mark.parametrize("count", [4, 5])
def test_published_scores_are_those_of_whole_and_known_sets(benchmark, count):
    one = set_(results_of(five()[:count], ["bicubic"], name="Set5-2", benchmark=benchmark))
    assert bool(one["published"]) == (benchmark == "Set5" and count == 5)
    assert tables.warnings(one) == []


def test_other_pictures_under_a_known_name_have_no_published_scores():
    found = set5(five(30.76, prediction=score(33)), METHODS[:2])
    assert not set_(found)["published"]
    assert len(tables.summary_table(found)) == 2
    (text,) = tables.warnings(set_(found))
    assert text.startswith("Set5: not the pictures of Set5, as bicubic's PSNR shows")
    assert f"{text}." in tables.provenance(found, SETUP)


def test_refused_and_untried_pictures_show_in_the_table_and_hide_the_published_scores():
    found = set5(five()[:2], count=5)
    found.refuse(found.test_sets[0], testsets.Pair("a", None, "a"), ValueError("bad"))
    assert tables.summary_table(found)[1:] == [["Set5", "2 of 5", "33.66 / 0.9000 / 32.66"]]
    assert "1 of 5 pictures were refused" in "\n".join(tables.provenance(found, SETUP))
    assert not set_(found)["published"]


@pytest.mark.parametrize("is_bicubic", [True, False])
def test_given_lr_that_is_not_bicubic_hides_the_published_scores(is_bicubic):
    found = set5([one | {"is_bicubic": n > 0 or is_bicubic} for n, one in enumerate(five())])
    assert bool(set_(found)["published"]) == is_bicubic
    warnings = " ".join(tables.warnings(set_(found)))
    assert ("1 of 5 are not what MATLAB's bicubic makes" in warnings) == (not is_bicubic)
    provenance = " ".join(tables.provenance(found, SETUP))
    assert ("as given, bit for bit what MATLAB's bicubic makes" in provenance) == is_bicubic


def test_provenance_says_how_each_number_was_made():
    text = "\n".join(tables.provenance(results_of(ROWS), SETUP))
    assert "published:" not in text
    for words in (
        "2 pixels left out at each border",
        "limited range, not rounded",
        "x.keras (SHA-256 0123456789abcdef...), 1,234 parameters, float32, without self-ensemble",
        "RCAN: pictures in rcan/x2",
        "LR made here by MATLAB's bicubic",
        "mine: RCAN lacks 1 of 2 pictures",
    ):
        assert words in text
