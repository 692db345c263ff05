import re

import pytest

from tools import benchmark

pytestmark = pytest.mark.slow


def test_table_has_both_networks_in_both_precisions_beside_the_matrix_product(capsys, monkeypatch):
    monkeypatch.setattr(benchmark, "PHOTOGRAPH", (100, 120))
    monkeypatch.setattr(benchmark, "CROP_BATCHES", 3)
    options = "--scale 3 --crop-size 48 --side 16 --matrix 64 --batch-size 2 --steps 2 --rounds 1"
    assert benchmark.main(options.split()) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.search(r"output\.py computes in (float32|bfloat16) here", lines[0])
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[3:]]
    kinds = [
        "matrix product",
        *(f"enlarging, {name}" for name in benchmark.NETWORKS),
        *(
            f"training, {name}, {optimizer}"
            for name in benchmark.NETWORKS
            for optimizer in benchmark.OPTIMIZERS
        ),
    ]
    assert [(row[0], row[1]) for row in rows[:-2]] == [
        (what, precision) for what in kinds for precision in benchmark.PRECISIONS
    ]
    assert [row[4] for row in rows[:2]] == ["100%", "100%"]
    assert all(re.fullmatch(r"[\d.,]+ LR Mpx/s", row[2]) for row in rows[2:6])
    trained = r"[\d.,]+ steps/s, waiting for crops [\d.]+%"
    assert all(re.fullmatch(trained, row[2]) for row in rows[6:14])
    assert all(re.fullmatch(r"[\d,.]+ crops/s", row[2]) for row in rows[-2:])


def test_rates_follow_from_time_and_operations():
    measured = [
        benchmark.Measured("matrix product", "float32", 2.0, 400e9),
        benchmark.Measured("matrix product", "bfloat16", 1.0, 400e9),
        benchmark.Measured("enlarging", "float32", 0.5, 50e9, 1.0, "LR Mpx/s"),
        benchmark.Measured("training", "bfloat16", 0.5, 100e9, 6, "steps/s", "waiting 1.0%"),
        benchmark.Measured("crops", "", 0.5, 0, 20_000, "crops/s"),
    ]
    assert benchmark.table(measured).splitlines()[4:] == [
        "| enlarging | float32 | 2.00 LR Mpx/s | 100 | 50% |",
        "| training | bfloat16 | 12.0 steps/s, waiting 1.0% | 200 | 50% |",
        "| crops |  | 40,000 crops/s |  |  |",
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0142, "0.0142"), (0.2, "0.200"), (3.456, "3.46"), (99.5, "99.5"), (12345.6, "12,346")],
)
def test_three_digits(value, text):
    assert benchmark.three_digits(value) == text


def test_operations_of_the_networks():
    side = 16
    operations = benchmark.enlargement(2, 64, 9, "float32", side)()["operations"]
    assert operations / side**2 == pytest.approx(1.7e6, rel=0.01)


def test_wrong_setting_ends_with_one_line(capsys):
    assert benchmark.main(["--rounds", "0"]) == 2
    assert "ROUNDS = 0: expected a whole number" in capsys.readouterr().err
    assert benchmark.main(["--scale", "3", "--crop-size", "64"]) == 2
    assert "CROP_SIZE = 64: expected a multiple of SCALE = 3" in capsys.readouterr().err
