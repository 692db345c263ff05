import math

import numpy as np
import pytest

import network
import utils
from superres.images.pixels import to_network
from superres.images.read import read_rgb
from superres.runtime import backend
from superres.runtime.backend import keras
from superres.upscaling import tiling, weight_files
from superres.upscaling.graph import Graph
from superres.upscaling.networks import KERAS_OVERHEAD, KerasNetwork
from support import ROOT, small_network, smooth_picture


def rgb(height, width, seed=0):
    return to_network(smooth_picture(height, width, seed=seed))


# ---- what the graph says ----


def test_condition_changes_neither_radius_nor_memory():
    plain, *others = (Graph.of_model(network.edsr(2, 8, 2, conditions=n)) for n in (0, 1, 4))
    for graph, count in zip(others, (1, 4), strict=True):
        assert graph.radius == plain.radius
        assert graph.bytes_per_pixel("float32") == plain.bytes_per_pixel("float32")
        assert (graph.scale, graph.traits.conditions, plain.traits.conditions) == (2, count, 0)


@pytest.mark.parametrize(("scale", "skip"), [(2, False), (2, True), (3, False), (4, True)])
def test_receptive_radius_is_where_changes_end(scale, skip):
    """A changed pixel changes the output as far as the radius says, and no further."""
    model = small_network(scale, global_skip=skip)
    run, radius = backend.compile_model(model), Graph.of_model(model).radius
    lr = np.full((1, 41, 41, 3), 0.5, np.float32)
    changed = lr.copy()
    changed[0, 20, 20] = 1
    rows = np.flatnonzero((run(changed) != run(lr)).any(axis=(0, 2, 3))) // scale
    assert (rows.min(), rows.max()) == (20 - radius, 20 + radius)


def test_receptive_radius_of_dilated_valid_and_asymmetric_convolutions():
    x = keras.Input((None, None, 3))
    y = keras.layers.Conv2D(4, (1, 5), padding="same", dilation_rate=(1, 2))(x)  # 4
    y = keras.layers.Conv2D(12, 2, padding="same")(y)  # 0 before and 1 after
    y = keras.layers.ReLU()(y)
    assert Graph.of_model(keras.Model(x, keras.ops.depth_to_space(y, 2))).radius == 5


def test_flop_per_pixel():
    model = network.edsr(4, 3, 1)
    per_kernel = [3 * 3, 3 * 3, 3 * 3, 3 * 3, 3 * 12, 4 * 3 * 12, 16 * 3 * 3]
    assert Graph.of_model(model).flop_per_pixel == 2 * 9 * sum(per_kernel)


def test_bytes_per_pixel_is_the_widest_place():
    graph = Graph.of_model(network.edsr(2, 8, 1))
    # Before the pixel shuffle 4 * 8 channels, after it the same in four pixels, of 4 bytes.
    assert graph.bytes_per_pixel("float32") == 4 * (32 + 32)
    # In bfloat16 the widest is the last convolution: its input, that in float32, its output.
    assert graph.bytes_per_pixel("bfloat16") == 2 * 32 + 4 * 32 + 4 * 12
    needed = KerasNetwork(network.edsr(2, 8, 1)).bytes_per_pixel("float32")
    assert needed == math.ceil(KERAS_OVERHEAD * 4 * (32 + 32))


# ---- the halo ----


def run_of(model):
    run = backend.compile_model(model)
    return lambda lr: run(np.ascontiguousarray(lr)[None])[0]


def test_measured_halo_keeps_the_promise_and_one_less_does_not():
    model = small_network(global_skip=True)
    run, radius = run_of(model), Graph.of_model(model).radius
    pictures = [rgb(50, 60, seed) for seed in range(3)]
    halo = tiling.measure_halo(run, radius, pictures)

    def change(distance):
        return 255 * max(
            np.abs(
                tiling.centre_with_halo(run, lr, distance, radius)
                - tiling.centre_with_halo(run, lr, radius, radius)
            ).max()
            for lr in pictures
        )

    assert 0 < halo <= radius
    assert change(halo) <= tiling.HALO_TOLERANCE
    assert change(halo - 1) > tiling.HALO_TOLERANCE


def test_measured_halo_without_a_picture_that_is_large_enough_is_the_radius():
    run = run_of(small_network())
    assert tiling.measure_halo(run, 8, [rgb(16, 40)]) == tiling.measure_halo(run, 8, []) == 8


def test_shipped_weights_bring_the_halo_that_is_measured():
    """On the sample pictures the stored halo changes less than 0.01 grey levels."""
    path = ROOT / "weights" / "edsr_small_x2.keras"
    upscaler = utils.load(path, precision="float32")
    assert upscaler.halo == weight_files.stored_halo(path) < upscaler.radius == 22
    for name in "astronaut.png", "grace_hopper.jpg":
        lr = to_network(read_rgb(ROOT / "inference" / "original" / name))
        assert upscaler.measure_halo([lr]) <= upscaler.halo + 1


# ---- tiles ----


@pytest.mark.parametrize("length", [1, 5, 48, 49, 63, 64, 65, 100, 1000])
@pytest.mark.parametrize("tile_size", [1, 7, 48, 200])
@pytest.mark.parametrize("step", [1, 64])
def test_tiles_cover_a_line_once_and_their_windows_are_equally_long(length, tile_size, step):
    halo = 6
    tiles = tiling.cuts(length, tile_size, halo, step)
    assert [n for first, end in tiles for n in range(first, end)] == list(range(length))
    size = tiling.window_length(length, tile_size, halo, step)
    assert size == length or size % step == 0
    assert size <= tile_size + 2 * halo + step
    for first, end in tiles:
        start, stop = tiling.window((first, end), length, halo, size)
        assert stop - start == size
        assert 0 <= start <= max(0, first - halo)
        assert min(length, end + halo) <= stop <= length
    if step == 1:  # no more windows than tiles of that size
        assert len(tiles) <= -(-length // tile_size)


def test_windows_have_few_sizes_where_each_is_compiled():
    sizes = set()
    for length in range(200, 3000, 7):
        for tile in tiling.cuts(length, 256, 14, 64):
            size = tiling.window_length(length, 256, 14, 64)
            start, stop = tiling.window(tile, length, 14, size)
            sizes.add(stop - start)
    assert sizes <= {128, 192, 256, 320}


def test_line_is_split_for_the_steps_sake_only_where_that_is_little_work():
    assert tiling.window_length(300, 400, 10, 16, most_split=1.15) == 160  # 320 in all
    assert tiling.window_length(100, 400, 10, 16, most_split=1.15) == 100  # it would be 128
    assert tiling.window_length(320, 400, 10, 16, most_split=1.15) == 320


def test_plan():
    assert tiling.TilePlan(100, 100, 100, 10).extra_work == 0
    assert tiling.TilePlan(100, 200, 100, 10).extra_work == pytest.approx(0.1)  # 110 twice
    # Of 320 pixels three windows of 120, 100 from one to the next.
    assert tiling.TilePlan(320, 100, 107, 10).extra_work == pytest.approx(40 / 320)
    assert tiling.TilePlan(320, 100, 107, 10).rows() == [(0, 110), (110, 210), (210, 320)]
    # One of the rest of a picture sees what is done.
    tiles = tiling.TilePlan(100, 70, 50, 6)
    assert (tiles.rows(), len(tiles)) == ([(0, 50), (50, 100)], 4)
    smaller = tiles.smaller()
    assert smaller.rows(done=50) == [(50, 75), (75, 100)]
    assert smaller.window((50, 75), (0, 24)) == ((44, 81), (0, 32))
    # Memory is that of the windows: 16, with 26 pixels in common with the next.
    for length, steps, shape in (
        (1000, (1, 1), (87, 87)),
        (1000, (1, 64), (87, 128)),
        (50, (1, 4), (50, 88)),
    ):
        plan = tiling.TilePlan(length, 1000, 64, 13, steps, bytes_per_pixel=2)
        assert plan.window_shape == shape
        assert plan.memory == 2 * shape[0] * shape[1]
