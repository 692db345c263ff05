import csv
import io
import json
import math

import pytest

from superres.scoring import tables, testsets


def score(psnr, ssim=0.9):
    return {"psnr": psnr, "ssim": ssim, "rgb_psnr": psnr - 1 if math.isfinite(psnr) else psnr}


def row(name, **found):
    return {"name": name, "test_set": "Set5", "scores": found, "notes": []}


ROWS = [
    row("a", bicubic=score(30), prediction=score(33), RCAN=score(34)),
    row("b", bicubic=score(20), prediction=score(math.inf, 1.0)),
]
METHODS = ["bicubic", "prediction", "RCAN"]
MADE_BY = {
    "scale": 2,
    "weights": "x.keras",
    "weights_sha256": "0123456789abcdef0123",
    "parameters": 1234,
    "precision": "float32",
    "self_ensemble": False,
    "backend": "tensorflow on CPU",
    "compared": {"RCAN": "rcan/x2"},
}


def summary(rows=ROWS, count=2, given_lr=(0, 0), name="mine"):
    return tables.summarise(
        testsets.TestSet(name, name, "HR", [None] * count), rows, METHODS, 2, given_lr
    )


def set5_of(count):
    return testsets.TestSet("Set5", "Set5", "HR", [None] * count, known="Set5")


def test_exactly_restored_picture_is_left_out_of_the_mean_psnr_only():
    mean = tables.means(ROWS, METHODS)
    assert mean["prediction"] == {"psnr": 33, "ssim": 0.95, "rgb_psnr": 32}
    assert summary()["restored_exactly"] == {"prediction": 1}
    # The other methods' means are what they were without it.
    assert mean["bicubic"] == {"psnr": 25, "ssim": 0.9, "rgb_psnr": 24}
    assert tables.means(ROWS[1:], METHODS)["prediction"]["psnr"] == math.inf


def test_mean_that_leaves_out_exact_pictures_has_a_star_and_no_gain():
    row_of_set = tables.summary_table([summary()], METHODS)[1]
    assert row_of_set[2:] == ["25.00 / 0.9000 / 24.00", "33.00* / 0.9500 / 32.00*", "–"]
    (text,) = [text for text in tables.warnings(summary()) if "exactly" in text]
    assert "prediction: 1 of 2 restored exactly and left out of its mean PSNR (*)" in text
    assert f"{text}." in tables.provenance(MADE_BY, [summary()])
    every = summary(ROWS[1:], count=1)
    assert tables.summary_table([every], METHODS)[1][3] == "∞ / 1.0000 / ∞"
    assert "mine, prediction: all 1 restored exactly" in tables.warnings(every)


def test_set_of_which_no_picture_was_scored_is_told_of():
    one = tables.summarise(
        testsets.TestSet("mine", "m", "HR", [None] * 3), [], METHODS, 2, (0, 0), 1
    )
    assert tables.summary_table([one], METHODS)[1] == ["mine", "0 of 3", "–", "–", "–"]
    found = json.loads(tables.as_json(MADE_BY, [], [one], METHODS, {"a": "bad"}))
    assert (found["test_sets"][0]["refused"], found["test_sets"][0]["untried"]) == (2, 1)
    assert found["refused"] == {"a": "bad"}


def test_published_rgb_psnr_stands_in_its_place():
    table = tables.summary_table(
        [summary() | {"published": {"EDSR": {"rgb_psnr": 35.03}}}], METHODS
    )
    assert table[2][3] == "– / – / 35.03"


def test_no_pictures_have_no_mean():
    assert tables.means([], ["A"]) == {"A": None}


def test_method_that_lacks_a_picture_has_no_mean():
    assert tables.means(ROWS, METHODS)["RCAN"] is None
    assert tables.means(ROWS[:1], METHODS)["RCAN"] == score(34)
    assert summary()["missing"] == {"RCAN": 1}


def test_json_has_no_infinity():
    results = json.loads(tables.as_json(MADE_BY, ROWS, [summary()], METHODS, {}))
    assert results["images"][1]["psnr"] is None
    assert results["images"][1]["bicubic_psnr"] == 20
    assert results["images"][0]["compared"] == {"RCAN": score(34)}
    assert results["mean"]["psnr"] == 33
    assert results["mean"]["compared"] == {"RCAN": None}
    assert results["test_sets"][0]["mean"]["bicubic_ssim"] == pytest.approx(0.9)
    assert "nearest" not in str(results)


def test_nearest_is_in_the_files_though_not_in_the_tables():
    rows = [row(name, bicubic=score(30), nearest=score(n)) for n, name in ((25, "a"), (27, "b"))]
    one = tables.summarise(set5_of(2), rows, ["bicubic"], 2, (0, 0))
    results = json.loads(tables.as_json(MADE_BY, rows, [one], ["bicubic"], {}))
    assert [image["nearest_psnr"] for image in results["images"]] == [25, 27]
    assert results["mean"]["nearest_psnr"] == results["test_sets"][0]["mean"]["nearest_psnr"] == 26
    assert "compared" not in results["mean"]
    assert "a,nearest,25." in tables.as_csv(rows, ["bicubic"])
    assert "nearest" not in str(tables.summary_table([one], ["bicubic"]))
    assert "nearest" not in str(tables.picture_table(rows, ["bicubic"]))


def test_csv_has_a_line_for_each_method_of_each_picture():
    lines = list(csv.DictReader(io.StringIO(tables.as_csv(ROWS, METHODS))))
    assert [(line["picture"], line["method"]) for line in lines] == [
        ("a", "bicubic"),
        ("a", "prediction"),
        ("a", "RCAN"),
        ("b", "bicubic"),
        ("b", "prediction"),
    ]
    assert [float(line["psnr"]) for line in lines] == [30, 33, 34, 20, math.inf]


def test_table_has_a_row_for_each_test_set_and_the_published_scores_under_it():
    five = [row(str(n), bicubic=score(33.66), prediction=score(37)) for n in range(5)]
    one = tables.summarise(set5_of(5), five, METHODS[:2], 2, (5, 5))
    table = tables.summary_table([one], METHODS[:2])
    assert table[1:] == [
        ["Set5", "5", "33.66 / 0.9000 / 32.66", "37.00 / 0.9000 / 36.00"],
        ["Set5, EDSR-baseline, published", "", "", "37.99 / 0.9604"],
        ["Set5, EDSR, published", "", "", "38.11 / 0.9601"],
    ]


def test_published_scores_have_a_column_of_their_own_where_there_is_no_network():
    methods = ["bicubic", "RCAN"]
    five = [row(str(n), bicubic=score(33.66), RCAN=score(37)) for n in range(5)]
    one = tables.summarise(set5_of(5), five, methods, 2, (5, 5))
    table = tables.summary_table([one], methods)
    assert table[0][2:] == ["bicubic", "RCAN", "published"]
    assert table[1][2:] == ["33.66 / 0.9000 / 32.66", "37.00 / 0.9000 / 36.00", ""]
    assert table[3] == ["Set5, EDSR, published", "", "", "", "38.11 / 0.9601"]


def test_set_of_another_name_in_the_tables_keeps_its_published_scores():
    five = [row(str(n), bicubic=score(33.66)) for n in range(5)]
    second = testsets.TestSet("Set5-2", "other/Set5", "HR", [None] * 5, known="Set5")
    assert tables.summarise(second, five, ["bicubic"], 2, (0, 0))["published"]


@pytest.mark.parametrize("name", ["Set5", "", "mine"])
def test_published_scores_are_those_of_whole_and_known_sets(name):
    rows = [row(str(n), bicubic=score(33.66)) for n in range(5)]
    for count in 4, 5:
        test_set = testsets.TestSet("Set5", "Set5", "HR", [None] * count, known=name)
        one = tables.summarise(test_set, rows[:count], ["bicubic"], 2, (0, 0))
        assert bool(one["published"]) == (name == "Set5" and count == 5)
        assert tables.warnings(one) == []


def test_other_pictures_under_a_known_name_have_no_published_scores():
    """Their bicubic enlargement has other scores than that of the known ones."""
    five = [row(str(n), bicubic=score(30.76), prediction=score(33)) for n in range(5)]
    one = tables.summarise(set5_of(5), five, METHODS[:2], 2, (0, 0))
    assert not one["published"]
    assert len(tables.summary_table([one], METHODS[:2])) == 2
    (text,) = tables.warnings(one)
    assert text.startswith("Set5: not the pictures of Set5, as bicubic's PSNR shows")
    assert f"{text}." in tables.provenance(MADE_BY, [one])


def test_published_scores_have_their_source():
    five = [row(str(n), bicubic=score(33.66), prediction=score(37)) for n in range(5)]
    one = tables.summarise(set5_of(5), five, METHODS[:2], 2, (0, 0))
    texts = tables.provenance(MADE_BY, [one])
    assert sum("EDSR, published: Lim et al." in text for text in texts) == 1
    assert sum("EDSR-baseline, published: Ahn et al." in text for text in texts) == 1
    assert not any("published:" in text for text in tables.provenance(MADE_BY, [summary()]))


def test_pictures_that_were_left_are_told_from_refused_ones():
    rows = [row(str(n), bicubic=score(30)) for n in range(2)]
    one = tables.summarise(set5_of(5), rows, ["bicubic"], 2, (0, 0), untried=2)
    assert tables.summary_table([one], ["bicubic"])[1][1] == "2 of 5"
    text = "\n".join(tables.provenance(MADE_BY, [one]))
    assert "1 of 5 pictures were refused" in text
    assert "2 of 5 pictures were left when it was stopped" in text
    assert not one["published"]


def test_refused_picture_shows_in_the_table_and_hides_the_published_scores():
    four = [row(str(n), bicubic=score(30)) for n in range(4)]
    one = tables.summarise(set5_of(5), four, ["bicubic"], 2, (0, 0))
    table = tables.summary_table([one], ["bicubic"])
    assert [line[:2] for line in table[1:]] == [["Set5", "4 of 5"]]
    six = tables.summarise(set5_of(6), four, ["bicubic"], 2, (0, 0))
    assert not six["published"]
    assert "Set5: 1 of 5 pictures were refused" in "\n".join(tables.provenance(MADE_BY, [one]))


def test_table_of_pictures_ends_with_the_mean_and_shows_gains():
    table = tables.picture_table(ROWS, METHODS)
    assert table[1] == [
        "a",
        "30.000 0.9000",
        *("33.000 0.9000", "+3.000", "34.000 0.9000", "+4.000"),
    ]
    assert table[2] == ["b", "20.000 0.9000", "∞ 1.0000", "+∞", "–", "–"]
    assert table[3][:4] == ["mean of 2", "25.000 0.9000", "33.000* 0.9500", "–"]


def test_mean_gain_where_one_method_restored_everything_exactly():
    rows = [row("a", bicubic=score(20), A=score(math.inf))]
    assert tables.picture_table(rows, ["bicubic", "A"])[-1][-1] == "+∞"


def test_markdown_is_aligned_and_escaped():
    text = tables.as_markdown([["a|b", "n"], ["c", "1.5"]])
    assert text.splitlines() == ["| a\\|b |   n |", "| :--- | --: |", "| c    | 1.5 |"]


def test_names_cannot_tear_a_table_nor_steer_a_terminal():
    text = tables.as_markdown([["a\nb\x1b[31m<img src=x>\udc80 é∞"]])
    assert text.splitlines()[0] == "| a\\nb\\x1b\\[31m\\<img src=x>\\udc80 é∞ |"


def test_html_is_escaped():
    assert '<th scope="col">&lt;b&gt;</th>' in tables.as_html([["<b>", "x"], ["y", "z"]])


def test_provenance_says_how_each_number_was_made():
    text = "\n".join(tables.provenance(MADE_BY, [summary()]))
    for words in (
        "2 pixels left out at each border",
        "limited range, not rounded",
        "x.keras (SHA-256 0123456789abcdef...), 1,234 parameters, float32, without self-ensemble",
        "RCAN: pictures in rcan/x2",
        "LR made here by MATLAB's bicubic",
        "mine, prediction: 1 of 2 restored exactly",
        "mine: RCAN lacks 1 pictures",
    ):
        assert words in text


def test_provenance_says_whether_given_lr_is_bicubic():
    def text(given_lr):
        return "\n".join(tables.provenance(MADE_BY, [summary(given_lr=given_lr)]))

    assert "as given, bit for bit what MATLAB's bicubic makes" in text((2, 2))
    assert "1 of 2 are not what MATLAB's bicubic makes" in text((2, 1))


def test_gain_of_equal_scores_is_none_even_of_infinite_ones():
    assert tables.gain(math.inf, math.inf) == 0
    assert tables.gain(33.0, 30.0) == 3
