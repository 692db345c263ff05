import functools
import itertools
from unittest.mock import Mock

import numpy as np
import pytest

import network
import utils
from superres.images.pixels import to_network
from superres.images.quality import Condition
from superres.images.read import read_rgb
from superres.images.resize import crop_to_multiple, downscale, upscale_bicubic
from superres.runtime import backend, engines, memory
from superres.runtime.backend import keras
from superres.scoring import metrics
from superres.upscaling import upscaler as upscaler_module
from superres.upscaling.graph import Graph
from superres.upscaling.networks import FileNetwork, KerasNetwork, in_precision
from superres.upscaling.upscaler import Upscaler
from support import ROOT, bilinear_network, small_network, smooth_picture

SHIPPED = ROOT / "weights" / "edsr_small_x2.keras"


@pytest.fixture
def upscaler_of(network_of):
    """Function from a model to an `Upscaler`, with windows of any size under JAX too."""

    def upscaler_of_model(model, precision="float32", **options):
        upscaler = Upscaler(network_of(model), precision=precision, **options)
        upscaler.network.steps = lambda precision: (1, 1)
        return upscaler

    return upscaler_of_model


# ---- tiles ----


@pytest.mark.parametrize("tile_size", [5, 16, 33])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_tiled_equals_whole(upscaler_of, tile_size, scale):
    model = small_network(scale, global_skip=True)
    picture = smooth_picture(45, 37, dtype=np.uint16)
    count, upscaler = [], upscaler_of(model, tile_size=tile_size)
    tiled = upscaler.enlarge(picture, on_tile=lambda: count.append(1))
    whole = upscaler_of(model, tile_size=1000).enlarge(picture)
    # Sums in another order may round a 16-bit value, 1/257 of a grey level, differently.
    assert np.abs(tiled.astype(int) - whole).max() <= 1
    assert len(count) == len(upscaler.plan(picture.shape)) > 1


# ---- condition ----


@pytest.mark.parametrize(
    ("count", "condition"),
    [
        pytest.param(1, Condition(0.3), marks=pytest.mark.slow),
        pytest.param(4, Condition(0.3), marks=pytest.mark.slow),
        (4, Condition(noise=9)),
        (4, Condition(sharpening=1)),
    ],
)
def test_condition_reaches_every_tile_of_a_network_that_takes_it(upscaler_of, count, condition):
    """Other for each condition; grey, alpha and the eight turns included."""
    model = small_network(conditions=count)
    picture = smooth_picture(30, 26, channels=4, dtype=np.uint16)
    picture[..., 3] = 60_000  # where alpha changes, colours stay within their surroundings
    for lr in picture, picture[..., :3], picture[..., 0]:
        for ensemble in False, True:
            tiled = upscaler_of(model, tile_size=16, self_ensemble=ensemble)
            whole = upscaler_of(model, tile_size=100, self_ensemble=ensemble)
            assert tiled.conditions == count
            bad, good = (tiled.enlarge(lr, condition=one) for one in (condition, Condition()))
            assert np.abs(bad.astype(int) - good).max() > 100
            np.testing.assert_array_equal(tiled.enlarge(lr), good)
            difference = bad.astype(int) - whole.enlarge(lr, condition=condition)
            assert np.abs(difference).max() <= 1


@pytest.mark.parametrize(("count", "taken"), [(0, Condition()), (1, Condition(0.3))])
def test_network_does_without_what_it_does_not_take(upscaler_of, count, taken):
    upscaler, picture = upscaler_of(small_network(conditions=count)), smooth_picture(20, 20)
    assert upscaler.conditions == count
    enlarged = upscaler.enlarge(picture, condition=Condition(0.3, 9, 1))
    np.testing.assert_array_equal(enlarged, upscaler.enlarge(picture, condition=taken))


@pytest.mark.parametrize("count", [1, 4])
def test_bfloat16_with_a_condition_is_close_to_float32_and_not_the_same(upscaler_of, count):
    model, condition = small_network(conditions=count), Condition(0.7, 4, 0.5)
    exact, fast = (
        upscaler_of(model, precision).enlarge(smooth_picture(20, 20), condition=condition)
        for precision in ("float32", "bfloat16")
    )
    assert 0 < np.abs(exact.astype(int) - fast).max() < 8


@pytest.mark.parametrize(
    ("count", "conditions", "halo"),
    [
        (0, [[]], 7),
        (1, [[1.0], [0.25]], 40),
        (4, [[1.0, 0.0, 0.0, 0.0], [0.25, 0.0, 0.0, 0.0], [0.5, 0.8, 1.0, 0.5]], 180),
    ],
)
def test_halo_is_the_largest_that_a_condition_needs(
    upscaler_of, monkeypatch, count, conditions, halo
):
    upscaler = upscaler_of(small_network(conditions=count))
    # A network that gives back its condition, and halos that follow from it.
    upscaler._compiled["float32"] = lambda lr, *condition: np.reshape(condition, (1, -1))
    found = []

    def measured(network, radius, pictures, multiple_of):
        values = network(np.zeros((1, 1, 3)))
        found.append(pytest.approx(values))
        return round(10 / values[0] + 200 * values[1:2].sum()) if len(values) else 7

    monkeypatch.setattr(upscaler_module.tiling, "measure_halo", measured)
    assert upscaler.measure_halo([]) == halo
    assert conditions == found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "tile_size", "side"),
    [("edsr_small_x2", size, 300) for size in (48, 64, 100, 257)] + [("edsr_x2", 80, 130)],
)
def test_tiles_of_a_shipped_network_with_its_measured_halo(name, tile_size, side):
    """Within 0.01 grey levels, 3 in 16 bits; on noise too, which no photograph is."""
    noise = np.random.default_rng(0).integers(0, 2**16, (131, 303, 3), np.uint16)
    face = np.uint16(257) * read_rgb(ROOT / "inference/original/grace_hopper.jpg")
    weights = ROOT / "weights" / f"{name}.keras"
    whole = utils.load(weights, precision="float32", tile_size=1000)
    tiled = utils.load(weights, precision="float32", tile_size=tile_size)
    assert tiled.halo < tiled.radius
    for lr in face[100:319, 100:361], noise:
        difference = tiled.enlarge(lr[:side, :side]).astype(int) - whole.enlarge(lr[:side, :side])
        assert np.abs(difference).max() <= 3


@pytest.mark.parametrize("size", [(300, 300), (512, 600), (577, 1200), (5000, 259), (1100, 900)])
def test_the_halo_costs_little(size):
    upscaler = utils.load(SHIPPED)
    if max(upscaler.network.steps("float32")) < 64:
        assert upscaler.plan(size).extra_work <= 0.15


def test_little_memory_makes_small_tiles(upscaler_of, monkeypatch):
    def plan(there, **options):
        for name in "free_device_memory", "free_memory":
            monkeypatch.setattr(memory, name, lambda: there)
        return upscaler_of(small_network()).plan((5000, 5000), **options)

    assert plan(2**24).memory <= 2**23
    assert plan(2**24).tile_size < plan(2**36).tile_size
    assert plan(2**36, free=2**22).memory <= 2**22
    upscaler, size = upscaler_of(small_network(), tile_size=500), (500, 500)
    whole = upscaler.plan(size).memory
    assert upscaler.plan(size, free=whole / 3).tile_size == 250
    assert upscaler.plan(size, free=1000).memory > 1000  # there are none so small
    assert upscaler.plan(size, free=whole).tile_size == 500


def with_run(monkeypatch, run):
    """Lets `run`, a function of the network's own and LR pixels, be what computes."""
    for kind in KerasNetwork, FileNetwork:

        def compile_anew(network, precision, inner=kind.compile):
            return functools.partial(run, inner(network, precision))

        monkeypatch.setattr(kind, "compile", compile_anew)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 123 bytes"),
        type("ResourceExhaustedError", (Exception,), {})("OOM when allocating tensor"),
        type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory. Tried to ..."),
    ],
)
def test_out_of_memory_halves_the_tile_and_goes_on(upscaler_of, monkeypatch, error):
    model = small_network(global_skip=True)
    picture = smooth_picture(90, 70)
    whole = upscaler_of(model).enlarge(picture)
    failures = []

    def run_with_little_memory(run, lr):
        if lr.shape[1] * lr.shape[2] > 40 * 40:
            failures.append(lr.shape)
            raise error
        return run(lr)

    with_run(monkeypatch, run_with_little_memory)
    scarce = upscaler_of(model)
    sr = scarce.enlarge(picture)
    assert np.abs(sr.astype(int) - whole).max() <= 1
    assert scarce.plan(picture.shape).tile_size < 40
    tried = len(failures)
    scarce.enlarge(picture)  # the next picture does not run into it again
    assert len(failures) == tried
    assert tried <= 4


def test_memory_that_runs_out_later_leaves_what_is_done(upscaler_of, monkeypatch):
    picture, count = smooth_picture(90, 70), itertools.count(1)
    whole = upscaler_of(small_network()).enlarge(picture)

    def run_out_at_the_sixth(run, lr):
        if next(count) == 6:  # of 9: in the second of three bands
            raise MemoryError
        return run(lr)

    with_run(monkeypatch, run_out_at_the_sixth)
    bands = list(upscaler_of(small_network(), tile_size=30).bands(picture))
    assert [len(band) for band in bands] == [66, 38, 22, 22, 32]  # the rest is cut anew
    assert np.abs(np.concatenate(bands).astype(int) - whole).max() <= 1


@pytest.mark.parametrize(
    ("error", "message"),
    [(RuntimeError("something else"), "something else"), (MemoryError(), "not enough memory")],
)
def test_other_errors_and_too_little_memory_for_one_pixel_end(
    upscaler_of, monkeypatch, error, message
):
    with_run(monkeypatch, Mock(side_effect=error))
    with pytest.raises(type(error), match=message):
        upscaler_of(small_network()).enlarge(smooth_picture(20, 20))


@pytest.mark.skipif(not backend.supports_dynamic_shapes(), reason="compiles each size of window")
def test_one_compilation_serves_pictures_of_all_sizes():
    model = small_network()
    model.call = traced = Mock(wraps=model.call)
    upscaler = Upscaler(KerasNetwork(model), precision="float32", tile_size=30)
    for size in (20, 20), (7, 9), (50, 33), (64, 64), (1, 100):
        upscaler.enlarge(smooth_picture(*size))
        assert traced.call_count == 1 or keras.backend.backend() != "tensorflow"


# ---- precision ----


def test_bfloat16_keeps_the_last_convolution_and_the_skip_in_float32():
    model = network.edsr(4, 4, 1, global_skip=True)
    changed = in_precision(model, Graph.of_model(model), "bfloat16")
    computed = {layer.name: layer.compute_dtype for layer in changed.layers}
    in_float32 = {name for name, dtype in computed.items() if dtype == "float32"}
    assert in_float32 == {"lr", "tail", "bilinear", "global_skip"}
    assert {layer.variable_dtype for layer in changed.layers} == {"float32"}
    np.testing.assert_equal(changed.get_weights(), model.get_weights())
    # Neither the network itself nor one that was saved in mixed precision keeps others.
    exact = in_precision(changed, Graph.of_model(changed), "float32")
    for one in model, exact:
        assert {layer.compute_dtype for layer in one.layers} == {"float32"}


@pytest.fixture
def fast_bfloat16(monkeypatch):
    """Lets bfloat16 be fast on this machine."""
    for place in backend, engines.openvino():
        monkeypatch.setattr(place, "has_fast_bfloat16", lambda: True)


def test_precision_is_that_of_the_hardware_but_for_16_bits(upscaler_of, monkeypatch, fast_bfloat16):
    model = small_network(global_skip=True)
    picture = smooth_picture(40, 30, dtype=np.uint16)
    upscalers = [upscaler_of(model, p, tile_size=16) for p in ("float32", "auto", "bfloat16")]
    assert [one.precision for one in upscalers] == ["float32", "bfloat16", "bfloat16"]
    exact, auto, fast = (one.enlarge(picture).astype(int) for one in upscalers)
    assert np.abs(auto - exact).max() <= 1
    assert np.abs(fast - exact).max() > 10
    for place in backend, engines.openvino():
        monkeypatch.setattr(place, "has_fast_bfloat16", lambda: False)
    assert upscaler_of(model, "auto").precision == "float32"


def test_halo_is_at_most_the_radius_and_if_measured_narrower_in_bfloat16(
    upscaler_of, fast_bfloat16
):
    assert [upscaler_of(small_network(), halo=n).halo for n in (None, 5, 100)] == [8, 5, 8]
    assert upscaler_of(small_network(), "bfloat16", halo=7).halo == 4
    assert upscaler_of(small_network(), "bfloat16", halo=3).halo == 2
    assert upscaler_of(small_network(), "bfloat16").halo == 8  # not measured: the radius
    upscaler = upscaler_of(small_network(), "auto", halo=7)
    assert upscaler.plan((100, 100)).halo == upscaler.halo == 4
    assert upscaler.plan((100, 100), np.dtype(np.uint16)).halo == 7


def test_narrower_halo_changes_less_than_bfloat16_does():
    """At most 0.1 grey levels, of a network and a picture for which it was measured."""
    lr = to_network(read_rgb(ROOT / "inference/original/astronaut.png"))
    upscaler = utils.load(SHIPPED, precision="float32")
    run = upscaler._network(Condition())
    whole, halo = run(lr).copy(), upscaler.halo - upscaler_module.LESS_IN_BFLOAT16
    part = run(lr[100 - halo : 180, 60 - halo : 180])
    difference = part - whole[2 * (100 - halo) : 360, 2 * (60 - halo) : 360]
    inside = slice(2 * halo, -2 * upscaler.radius)
    assert 0 < 255 * np.abs(difference[inside, inside]).max() < 0.1


# ---- self-ensemble ----


def test_self_ensemble_does_not_depend_on_how_the_picture_lies(upscaler_of):
    model, lr = small_network(global_skip=True), smooth_picture(20, 31, dtype=np.uint16)
    upscaler = upscaler_of(model, self_ensemble=True)
    sr = upscaler.enlarge(lr).astype(int)
    for turns, flip in itertools.product(range(4), (1, -1)):
        turned = upscaler.enlarge(np.rot90(lr, turns)[::flip])
        assert np.abs(turned - np.rot90(sr, turns)[::flip]).max() <= 2
    assert np.abs(sr - upscaler_of(model).enlarge(lr)).max() > 60


# ---- kinds of pictures ----


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("has_alpha", [False, True])
def test_colours_of_equal_channels_stay_grey(upscaler_of, dtype, has_alpha):
    upscaler = upscaler_of(small_network())
    grey = smooth_picture(150, 40, 2 if has_alpha else 1, dtype=dtype)
    grey = grey if has_alpha else grey[..., 0]
    stored = np.dstack([grey] * 3) if not has_alpha else grey[..., [0, 0, 0, 1]]
    unit = np.iinfo(dtype).max // 255
    stored[::2, ::2, 0] -= (stored[::2, ::2, 0] > 2 * unit) * dtype(2 * unit)
    lossy = Condition(0.9)  # which colours grey a little
    enlarged = upscaler.enlarge(stored, condition=lossy)
    assert enlarged.shape == (300, 80, *stored.shape[2:])
    for channel in range(3):
        expected = upscaler.enlarge(grey)
        np.testing.assert_array_equal(
            enlarged[..., channel], expected[..., 0] if has_alpha else expected
        )
    if has_alpha:
        np.testing.assert_array_equal(enlarged[..., 3], expected[..., 1])
    # A lossless picture has its tint on purpose: it stays, and grows no stronger.
    tint = np.ptp(upscaler.enlarge(stored)[..., :3], axis=2)
    assert tint.max() == 2 * unit
    stored[..., :3] = stored[..., 1:2]
    assert np.ptp(upscaler.enlarge(stored)[..., :3], axis=2).max() == 0
    stored[77, 20, :3] = [9 * unit, 4 * unit, 9 * unit]  # one pixel with a colour
    stored[77, 20, 3:] = 255 * unit
    assert np.ptp(upscaler.enlarge(stored)[..., :3], axis=2).max() > 0


@pytest.mark.parametrize("colour", [(200, 100, 50), (180,)])
@pytest.mark.parametrize("hidden", [0, 255])
def test_hidden_colours_do_not_bleed_out_of_transparent_pixels(upscaler_of, colour, hidden):
    picture = np.zeros((12, 12, len(colour) + 1), np.uint8)
    picture[:, 6:, len(colour) // 2] = hidden
    picture[:, :6] = (*colour, 255)
    enlarged = upscaler_of(bilinear_network(), tile_size=5).enlarge(picture)
    visible = enlarged[enlarged[..., -1] > 0]
    assert 0 < visible[..., -1].min() < 255  # there is an edge to look at
    assert np.abs(visible[..., :-1].astype(int) - colour).max() <= 1


def test_soft_edge_of_one_colour_keeps_it():
    """Also where the network overshoots: a red disc with a soft edge is red everywhere."""
    y, x = np.mgrid[:40, :40]
    alpha = np.clip(16 - np.hypot(y - 19.5, x - 19.5), 0, 1)
    picture = np.zeros((40, 40, 4), np.uint8)
    picture[..., 3] = np.round(255 * alpha)
    picture[picture[..., 3] > 0, :3] = (220, 40, 30)
    enlarged = utils.load(SHIPPED, precision="float32").enlarge(picture).astype(int)
    visible = enlarged[enlarged[..., 3] > 0]
    assert (visible[:, 3] < 60).sum() > 50
    assert np.abs(visible[:, :3] - (220, 40, 30)).max() <= 2


@pytest.mark.parametrize(("dtype", "alpha"), [(np.uint8, 2), (np.uint8, 128), (np.uint16, 30)])
def test_faint_picture_has_the_colours_of_an_opaque_one(dtype, alpha):
    upscaler = utils.load(SHIPPED, precision="float32", tile_size=40)
    colours = read_rgb(ROOT / "inference/original/astronaut.png")[:64, 64:128].astype(dtype)
    colours *= np.iinfo(dtype).max // 255
    faint = upscaler.enlarge(np.dstack([colours, np.full((64, 64), alpha, dtype)]))
    assert (faint[..., 3] == alpha).all()
    opaque = upscaler.enlarge(colours)
    assert np.abs(faint[..., :3].astype(int) - opaque).max() <= 1


def test_opaque_stays_opaque_and_empty_stays_empty():
    colours = read_rgb(ROOT / "inference/original/astronaut.png")[:64, :64]
    upscaler = utils.load(SHIPPED, precision="float32")
    alpha = np.full((64, 64, 1), 255, np.uint8)
    opaque = upscaler.enlarge(np.dstack([colours, alpha]))
    np.testing.assert_array_equal(opaque, np.insert(upscaler.enlarge(colours), 3, 255, axis=2))
    alpha[:, 20:40] = 0
    with_hole = upscaler.enlarge(np.dstack([colours, alpha]))[..., 3]
    assert (with_hole[:, :38] == 255).all()
    assert (with_hole[:, 42:78] == 0).all()


def test_shipped_weights_beat_bicubic_on_the_chart():
    hr = crop_to_multiple(read_rgb(ROOT / "evaluation/original/chart.png"), 2)
    lr = downscale(hr, 2)
    ours, bicubic = utils.load(SHIPPED).enlarge(lr), upscale_bicubic(lr, 2)
    assert metrics.psnr(hr, ours, 2) > metrics.psnr(hr, bicubic, 2) + 2
