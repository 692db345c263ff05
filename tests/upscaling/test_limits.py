"""Limits of feature maps: eight bits stay close to float32 whatever the picture."""

import json
import zipfile

import cv2
import keras
import numpy as np
import pytest

import utils
from superres.images.pixels import to_network
from superres.images.quality import CLEAN, Condition
from superres.images.random_drawings import random_drawing
from superres.images.read import read_rgb
from superres.images.resize import downscale
from superres.runtime import engines, hardware
from superres.upscaling import limits, weight_files
from superres.upscaling.networks import FileNetwork, KerasNetwork
from superres.upscaling.upscaler import Upscaler
from support import ROOT, as_jpeg, small_network, smooth_picture

SIDE = 96
OTHERS = "x2_wild", "x3", "x3_wild", "x4", "x4_photo", "x4_wild"  # slow
needs_openvino = pytest.mark.skipif(not engines.is_installed(), reason="needs OpenVINO")


def adversaries():
    """Name -> picture unlike any photograph."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE]

    def noise(deviation, channels=3):
        values = 127.5 + random.normal(0, deviation, (SIDE, SIDE, channels))
        return np.clip(values, 0, 255)

    blocks = random.integers(0, 2, (SIDE // 4, SIDE // 4, 3))
    salt = random.choice([0, 127, 255], (SIDE, SIDE, 1), p=[0.05, 0.9, 0.05])
    pictures = {
        "noise 10": noise(10),
        "noise 30": noise(30),
        "noise 100": noise(100),
        "grey noise": noise(60, 1),
        "black and white noise": 255 * (noise(60, 1) > 127),
        "checkerboard": 255 * ((x + y) % 2)[..., None],
        "coarse checkerboard": 255 * ((x // 2 + y // 2) % 2)[..., None],
        "stripes": 255 * (x % 2)[..., None],
        "lines": 255 * (y % 2)[..., None],
        "diagonals": 255 * ((x + y) % 3 == 0)[..., None],
        "primaries": 255 * np.stack([(x + y) % 2, x % 2, y % 2], 2),
        "blocks": 255 * blocks.repeat(4, 0).repeat(4, 1),
        "dithering": 255 * (random.random((SIDE, SIDE)) < x / SIDE)[..., None],
        "chirp": 127.5 + 127.5 * np.sin((x**2 + y**2) / SIDE * 1.2)[..., None],
        "salt and pepper": salt,
        "drawing": random_drawing(random, SIDE, SIDE),
    }
    text = np.full((SIDE, SIDE, 3), 255, np.uint8)
    for line in range(10, SIDE, 12):
        cv2.putText(text, "The quick fox 0123", (0, line), cv2.FONT_HERSHEY_PLAIN, 0.7, (0, 0, 0))
    pictures["text"] = text
    wide = {name: np.broadcast_to(one, (SIDE, SIDE, 3)) for name, one in pictures.items()}
    wide["ruined JPEG"] = as_jpeg(photograph(2)[:SIDE, :SIDE], quality=3)
    return {name: np.ascontiguousarray(one, np.uint8) for name, one in wide.items()}


def photograph(scale):
    hr = read_rgb(ROOT / "evaluation/original/astronaut.png")
    return downscale(hr[: len(hr) // scale * scale, : hr.shape[1] // scale * scale], scale)


def with_limits(source, path, pictures):
    """The network of a weights file, written again with limits; returns them."""
    model, graph = weight_files.read(source), weight_files.read_graph(source)
    found = limits.measure(model, graph, pictures)
    weight_files.export(model, path, 8, found)
    return found


def worst(one, other):
    """The largest difference, and the mean one of the worst quarter, in levels."""
    difference = np.abs(one.astype(int) - other)
    half = len(difference) // 2
    parts = (difference[y : y + half, x : x + half] for y in (0, half) for x in (0, half))
    return difference.max(), max(part.mean() for part in parts)


@needs_openvino
@pytest.mark.parametrize(
    "name",
    ["x2", *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)],
)
def test_int8_is_close_to_float32_on_any_picture(tmp_path, name):
    path, scale = ROOT / f"weights/edsr_small_{name}.keras", int(name[1])
    photo = photograph(scale)
    found = weight_files.stored_limits(weight_files.read_graph(path), path)
    assert len(found) == 19 + (scale > 2)  # two in each of nine blocks, one behind, the end
    exact, fast = (utils.load(path, "openvino", precision=one) for one in ("float32", "int8"))
    for name, picture in {"photograph": photo, **adversaries()}.items():
        most, mean = worst(*(one.enlarge(picture) for one in (exact, fast)))
        assert most <= 4, name
        assert mean <= 1, name
    assert most > 0  # it is another computation
    free = Upscaler(KerasNetwork(weight_files.read(path)), precision="float32")
    assert np.abs(free.enlarge(photo).astype(int) - exact.enlarge(photo)).mean() < 0.25


@needs_openvino
@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_both_engines_clip_alike(tmp_path, precision, scale):
    path, picture = tmp_path / "limited.keras", adversaries()["noise 100"]
    small_network(scale, filters=32, conditions=4).save(tmp_path / "free.keras")
    smooth, condition = to_network(smooth_picture(20, 20)), Condition(0.7, 3, 0.5, 0.2)
    assert with_limits(tmp_path / "free.keras", path, [(smooth, condition)])
    made = {
        engine: utils.load(path, engine, precision=precision).enlarge(picture, condition=condition)
        for engine in ("openvino", "keras")
    }
    at_most = 1 if precision == "float32" else 4
    assert worst(made["openvino"], made["keras"])[0] <= at_most
    free = utils.load(tmp_path / "free.keras", precision="float32")
    assert worst(made["keras"], free.enlarge(picture, condition=condition))[0] > 4 * at_most


def test_rounded_weights_are_the_same_in_both_ways():
    random = np.random.default_rng(0)
    kernel = random.normal(size=(3, 3, 5, 7)).astype(np.float32)
    for is_positive in False, True:
        limit = limits.Limit(random.uniform(0.5, 9, 5).astype(np.float32), is_positive)
        levels, unit = limit.rounded(kernel)
        assert np.abs(levels.astype(int)).max() == 127
        kernel_of_inputs = limit.rounded_kernel(kernel)
        np.testing.assert_allclose(
            kernel_of_inputs * limit.step[:, None], levels * unit, rtol=1e-5, atol=1e-7
        )
        assert np.abs(kernel_of_inputs - kernel).max() <= (unit / limit.step[:, None]).max() * 0.51


@needs_openvino
@pytest.mark.parametrize("engine", ["openvino", "keras"])
def test_mix_of_two_networks_has_the_larger_limits(tmp_path, engine):
    paths = [tmp_path / f"{name}.keras" for name in ("free", "red", "blue")]
    small_network(filters=32).save(paths[0])
    smooth = to_network(smooth_picture(20, 20))
    with_limits(paths[0], paths[1], [(smooth * np.float32([1, 0, 0]), CLEAN)])
    with_limits(paths[0], paths[2], [(smooth * np.float32([0, 0, 1]), CLEAN)])
    red, blue = (utils.load(path, engine).network.limits for path in paths[1:])
    mixed = utils.load(paths[1], engine, mix=(paths[2], 0.5)).network.limits
    assert mixed.keys() == blue.keys()
    for node, limit in mixed.items():
        np.testing.assert_array_equal(limit.most, np.maximum(red[node].most, blue[node].most))
    assert (mixed["body"].most != blue["body"].most).any()
    assert (mixed["body"].most != red["body"].most).any()
    assert utils.load(paths[2], engine, mix=(paths[0], 0.5)).network.limits == {}


def test_only_inner_convolutions_of_enough_channels_have_limits(tmp_path):
    def names(model):
        return [node.name for node in limits.limited(KerasNetwork(model).graph)]

    inner = ["block1_conv1", "block1_conv2", "block2_conv1", "block2_conv2", "body"]
    assert names(small_network(filters=32)) == inner
    assert names(small_network(scale=4, filters=32)) == [*inner, "upscale1"]
    assert names(small_network(filters=31)) == []
    x = inputs = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(32, 3, padding="same")(x)
    shared = keras.layers.Conv2D(32, 3, padding="same", name="shared")
    x = keras.layers.Conv2D(12, 3, padding="same")(shared(shared(x)))
    assert names(keras.Model(inputs, keras.ops.depth_to_space(x, 2))) == []


def test_limits_that_do_not_fit_count_as_none(tmp_path):
    small_network(filters=32).save(tmp_path / "free.keras")
    smooth = [(to_network(smooth_picture(20, 20)), CLEAN)]
    found = with_limits(tmp_path / "free.keras", tmp_path / "x.keras", smooth)
    graph = weight_files.read_graph(tmp_path / "x.keras")
    stored = weight_files.stored_limits(graph, tmp_path / "x.keras")
    assert stored.keys() == found.keys()
    assert [one.is_positive for one in stored.values()] == [False, True, False, True, False]
    assert weight_files.stored_limits(graph, tmp_path / "free.keras") == {}
    name = next(iter(found))
    for wrong in ({}, [], 7, {name: [1.0]}, found | {name: "x"}, found | {name: [-1.0] * 32}):
        with zipfile.ZipFile(tmp_path / "x.keras") as file:
            members = {one: file.read(one) for one in file.namelist()}
        members["metadata.json"] = json.dumps(
            json.loads(members["metadata.json"]) | {"limits": wrong}
        )
        with zipfile.ZipFile(tmp_path / "wrong.keras", "w") as file:
            for one, content in members.items():
                file.writestr(one, content)
        assert weight_files.stored_limits(graph, tmp_path / "wrong.keras") == {}


@needs_openvino
def test_auto_is_int8_where_a_tile_of_it_is_faster(tmp_path, monkeypatch):
    path, timed = tmp_path / "limited.keras", []
    small_network(filters=32).save(tmp_path / "free.keras")
    with_limits(tmp_path / "free.keras", path, [(to_network(smooth_picture(20, 20)), CLEAN)])

    def precision(cache, file=path, seconds=1, vnni=True, amx=False):
        def take(self, precision):
            timed.append(precision)
            return seconds if precision == "int8" else 2

        monkeypatch.setattr(hardware, "has_vnni", lambda: vnni)
        monkeypatch.setattr(hardware, "has_amx", lambda: amx)
        with monkeypatch.context() as patch:
            if seconds:
                patch.setattr(FileNetwork, "_seconds", take)
            return FileNetwork(file, cache and tmp_path / cache).fastest_precision()

    usual = precision(None)
    assert usual in ("float32", "bfloat16")
    assert not timed
    assert precision("a") == "int8"
    assert timed == [usual, "int8"]
    assert precision("a", seconds=3) == "int8"  # as it was
    assert precision("b", seconds=3) == usual
    next((tmp_path / "b").glob("*.txt")).write_text("int4")
    assert precision("b") == "int8"
    assert precision("c", seconds=0) in (usual, "int8")  # really timed
    del timed[:]
    assert {precision("d", **one) for one in ({"vnni": False}, {"amx": True})} == {usual}
    assert precision("d", tmp_path / "free.keras") == usual
    assert not timed


@needs_openvino
def test_int8_needs_limits_and_openvino(tmp_path):
    small_network(filters=32).save(tmp_path / "free.keras")
    with pytest.raises(ValueError, match=r"free\.keras has no limits of its feature maps"):
        utils.load(tmp_path / "free.keras", "openvino", precision="int8")
    with pytest.raises(ValueError, match="PRECISION = 'int8': needs ENGINE = 'openvino'"):
        utils.load(tmp_path / "free.keras", "keras", precision="int8")
    assert Upscaler(KerasNetwork(small_network()), precision="auto").precision != "int8"
