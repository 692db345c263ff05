import re

import pytest

from superres.runtime import backend, engines, hardware
from tools import benchmark

pytestmark = pytest.mark.slow


def test_table_has_each_engine_in_each_precision_beside_the_matrix_product(capsys, monkeypatch):
    pytest.importorskip("openvino")
    monkeypatch.setattr(hardware, "has_nvidia_gpu", lambda: False)
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    small = dict(zip(benchmark.NETWORKS, [(8, 2), (4, 1)], strict=True))
    values = {"NETWORKS": small, "PHOTOGRAPHS": (2, 96, 120, 3), "CROP_BATCHES": 3}
    for name, value in (values | {"FILES": 2, "COPIES": 1}).items():
        monkeypatch.setattr(benchmark, name, value)
    options = "--scale 3 --crop-size 48 --side 16 --matrix 64 --batch-size 2 --steps 2 --rounds 1"
    assert benchmark.main([*options.split(), "--bfloat16"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"Training by {backend.describe()}"
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[4:]]
    precisions = ["float32", "bfloat16"]
    expected = [("matrix product", p) for p in precisions]
    for name in small:
        for p in precisions:
            both = backend.describe(), "OpenVINO on CPU"
            expected += [(f"enlarging, {name}, {engine}", p) for engine in both]
    expected += [("output.py, edsr_small_x3.keras, JPEG", "bfloat16")]
    for name in small:
        for optimizer in benchmark.OPTIMIZERS:
            expected += [(f"training, {name}, {optimizer}", p) for p in precisions]
    expected += [("crops of 48x48, bicubic", ""), ("crops of 48x48, wild", "")]
    assert [(row[0], row[1]) for row in rows] == expected
    assert [row[4] for row in rows[:2]] == ["100%", "100%"]
    units = {"enlarging": "LR Mpx/s", "output.py": "LR Mpx/s", "crops of 48x48": "crops/s"}
    for row in rows[2:]:
        kind = row[0].split(",")[0]
        unit = units.get(kind, r"steps/s, waiting for crops [\d.]+%")
        assert re.fullmatch(rf"[\d.,]+ {unit}", row[2])
        assert ("%" in row[4]) == (kind in ("enlarging", "training"))


def test_bfloat16_is_left_out_where_the_hardware_has_none(capsys, monkeypatch):
    for place in backend, engines.openvino():
        monkeypatch.setattr(place, "has_fast_bfloat16", lambda: False)

    def multiply(table, precision, size):
        assert precision == "float32"
        raise KeyboardInterrupt

    monkeypatch.setattr(benchmark, "multiply_matrices", multiply)
    assert benchmark.main([]) == 130
    assert "; no bfloat16, which this hardware lacks" in capsys.readouterr().out


def test_a_row_is_the_best_round_after_the_first(capsys):
    table = benchmark.Table(rounds=2)
    for what, precision, results, *amount in (
        ("matrix product", "float32", [(0.001, ""), (0.5, ""), (1, "")], 0, "", 100e9),
        ("training", "float32", [(1, ""), (2, ", late"), (0.5, ", waiting")], 6, "steps/s", 50e9),
        ("crops", "", [(1, ""), (0.5, ""), (1, "")], 20_000, "crops/s"),
    ):
        table.add(what, precision, iter(results).__next__, *amount)
    assert capsys.readouterr().out.splitlines() == [
        "| matrix product | float32 |  | 200 | 100% |",
        "| training | float32 | 12.0 steps/s, waiting | 100 | 50% |",
        "| crops |  | 40,000 crops/s |  |  |",
    ]


def test_wrong_setting_ends_with_one_line(capsys):
    assert benchmark.main(["--scale", "3", "--crop-size", "64"]) == 2
    assert "CROP_SIZE = 64: expected a multiple of SCALE = 3" in capsys.readouterr().err
