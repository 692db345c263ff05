import re

import pytest

import network
from superres.runtime import backend, engines, hardware
from tools import benchmark

pytestmark = pytest.mark.slow


def test_table_has_each_engine_in_each_precision_beside_the_matrix_product(capsys, monkeypatch):
    pytest.importorskip("openvino")
    monkeypatch.setattr(hardware, "has_nvidia_gpu", lambda: False)
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setattr(benchmark, "PHOTOGRAPH", (100, 120))
    monkeypatch.setattr(benchmark, "CROP_BATCHES", 3)
    small = dict(zip(benchmark.NETWORKS, [(8, 2), (4, 1)], strict=True))
    monkeypatch.setattr(benchmark, "NETWORKS", small)
    monkeypatch.setattr(benchmark, "FILE_SIZE", (30, 40))
    options = "--scale 3 --crop-size 48 --side 16 --matrix 64 --batch-size 2 --steps 2 --rounds 1"
    assert benchmark.main([*options.split(), "--bfloat16"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"Training by {backend.describe()}"
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[4:]]
    precisions = ["float32", "bfloat16"]
    kinds = [("matrix product", p) for p in precisions]
    for name in benchmark.NETWORKS:
        for p in precisions:
            found = ["OpenVINO on CPU, its own loop", backend.describe(), "OpenVINO on CPU"]
            kinds += [(f"enlarging, {name}, {engine}", p) for engine in found]
    name = "edsr_small_x3.keras"
    kinds.append((f"enlarging, {name}, OpenVINO on CPU, its own loop", "bfloat16"))
    kinds += [(f"output.py, {name}, {suffix} to {suffix}", "bfloat16") for suffix in ("png", "jpg")]
    for name in benchmark.NETWORKS:
        for optimizer in benchmark.OPTIMIZERS:
            kinds += [(f"training, {name}, {optimizer}", p) for p in precisions]
    assert [(row[0], row[1]) for row in rows[:-2]] == kinds
    assert [row[4] for row in rows[:2]] == ["100%", "100%"]
    for row in rows[2:-2]:
        unit = "LR Mpx/s" if not row[0].startswith("training") else "steps/s, waiting for crops"
        assert re.match(rf"[\d.,]+ {unit}", row[2])
    assert all(re.fullmatch(r"[\d,.]+ crops/s", row[2]) for row in rows[-2:])


def test_bfloat16_is_left_out_where_the_hardware_has_none(capsys, monkeypatch):
    for place in backend, engines:
        monkeypatch.setattr(place, "has_fast_bfloat16", lambda: False)
    monkeypatch.setattr(
        benchmark, "blocks", lambda chosen, precisions, *rest: print(precisions) or []
    )
    assert benchmark.main([]) == 0
    printed = capsys.readouterr().out
    assert "; bfloat16 is left out, which this hardware lacks" in printed
    assert "['float32']" in printed


def test_rates_follow_from_time_and_operations():
    measured = [
        benchmark.Measured("enlarging", "float32", 0.5, 50e9, 1.0, "LR Mpx/s"),
        benchmark.Measured("training", "bfloat16", 0.5, 100e9, 6, "steps/s", "waiting 1.0%"),
        benchmark.Measured("crops", "", 0.5, 0, 20_000, "crops/s"),
    ]
    rates = {"float32": 200e9, "bfloat16": 400e9}
    assert [benchmark.as_line(row, rates) for row in measured] == [
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


def test_operations_of_the_networks(tmp_path):
    side, model = 16, network.edsr(2, 64, 9)
    for run in benchmark.enlargements(model, "float32", side, tmp_path).values():
        assert run()["operations"] / side**2 == pytest.approx(1.7e6, rel=0.01)


def test_wrong_setting_ends_with_one_line(capsys):
    assert benchmark.main(["--rounds", "0"]) == 2
    assert "ROUNDS = 0: expected a whole number" in capsys.readouterr().err
    assert benchmark.main(["--scale", "3", "--crop-size", "64"]) == 2
    assert "CROP_SIZE = 64: expected a multiple of SCALE = 3" in capsys.readouterr().err
