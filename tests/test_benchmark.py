import re

import pytest

import benchmark


def test_table_has_both_networks_and_the_matrix_product_in_both_precisions(capsys):
    assert benchmark.main(["--side", "16", "--matrix", "64", "--rounds", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.search(r"output\.py computes in (float32|bfloat16) here", lines[0])
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[3:]]
    assert [(row[0], row[1]) for row in rows] == [
        (what, precision)
        for what in ["matrix product", *benchmark.NETWORKS]
        for precision in benchmark.PRECISIONS
    ]
    assert [row[4] for row in rows[:2]] == ["100%", "100%"]
    assert all(float(row[2]) > 0 for row in rows[2:])


def test_rates_follow_from_time_and_operations():
    measured = {
        ("matrix product", "float32"): (2.0, 400e9),
        ("9 blocks of 64 filters", "float32"): (0.5, 50e9),
    }
    row = benchmark.table(measured, 1000).splitlines()[-1]
    assert row == "| 9 blocks of 64 filters | float32 | 2.000 | 100 | 50% |"


def test_operations_of_the_networks():
    side = 16
    _, operations = benchmark.enlargement(64, 9, "float32", side)
    assert operations / side**2 == pytest.approx(1.7e6, rel=0.01)


def test_wrong_setting_ends_with_one_line(capsys):
    assert benchmark.main(["--rounds", "0"]) == 2
    assert "ROUNDS = 0: expected a whole number" in capsys.readouterr().err
