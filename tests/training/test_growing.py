import threading

import numpy as np
import pytest

import network
from superres.images.quality import Condition
from superres.runtime.backend import keras
from superres.training import growing
from support import batch_of, small_network, smooth_picture, trainer_of


@pytest.fixture
def saved(tmp_path):
    """Function that saves a network and returns its path."""

    def save(model):
        model.save(tmp_path / "small.keras")
        return tmp_path / "small.keras"

    return save


LR = smooth_picture(20, 24)[None].astype(np.float32) / 255


def enlarged(model):
    return model.predict_on_batch(LR)


def assert_equal_weights(ours, theirs):
    np.testing.assert_equal(ours.get_weights(), theirs.get_weights())


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize(
    ("filters", "blocks", "scaling"), [(12, 5, 0.1), (8, 2, 0.1), (9, 2, 0.25), (8, 3, 0.1)]
)
def test_grown_network_gives_the_pictures_of_the_small_one(saved, scale, filters, blocks, scaling):
    small = small_network(scale, global_skip=True)
    large = network.edsr(scale, filters, blocks, residual_scaling=scaling, global_skip=True)
    assert np.abs(enlarged(large) - enlarged(small)).max() > 0.01
    growing.start_from(large, saved(small))
    np.testing.assert_allclose(enlarged(large), enlarged(small), atol=1e-5)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_every_weight_of_a_grown_network_learns(saved, scale):
    """Each changes within the first steps, by other amounts than its neighbours."""
    large = network.edsr(scale, 12, 4, global_skip=True)
    growing.start_from(large, saved(small_network(scale, global_skip=True)))
    trainer = trainer_of(large)
    random = np.random.default_rng(0)
    before = [v.numpy() for v in large.trainable_variables]
    for _ in range(4):
        hr = random.integers(0, 256, (2, 12 * scale, 12 * scale, 3), np.uint8)
        lr = np.ascontiguousarray(hr[:, ::scale, ::scale])
        trainer.fit(batch_of(lr, hr), 1, threading.Event())
    for variable, start in zip(large.trainable_variables, before, strict=True):
        change = variable.numpy() - start
        assert (change != 0).mean() > 0.99, variable.path
        if change.ndim == 4 and change.shape[-1] > 3:
            channels = change.reshape(-1, change.shape[-1]).T
            assert len(np.unique(channels.round(9), axis=0)) == len(channels), variable.path


def test_weights_of_a_new_condition_learn(saved):
    large = network.edsr(2, 10, 3, global_skip=True, conditions=4)
    growing.start_from(large, saved(small_network(global_skip=True)))
    trainer, hr = trainer_of(large, "muon"), smooth_picture(40, 48)[None]
    for _ in range(3):  # what is new leads to nothing at first
        batches = batch_of(hr[:, ::2, ::2].copy(), hr, Condition(0.5, 8, 1, 0.5))
        trainer.fit(batches, 1, threading.Event())
    assert (large.get_layer("quality_head").get_weights()[0] != 0).all()


@pytest.mark.parametrize("filters", [8, 12])
@pytest.mark.parametrize(("before", "after"), [(0, 1), (0, 4), (1, 1), (1, 4), (4, 4)])
def test_grown_network_keeps_what_it_makes_of_the_condition(saved, before, after, filters):
    small = small_network(conditions=before)
    large = network.edsr(2, filters, 3, conditions=after)
    head = large.get_layer("quality_head")
    if before:
        head.set_weights([np.ones_like(w) for w in head.get_weights()])  # as if not 0 at first
    growing.start_from(large, saved(small))
    made = []
    for condition in Condition(0.3, 9, 1, 0.5), Condition(1.0, 2, 0.3):
        values = [condition.values(n)[None, None, None] for n in (before, after)]
        made.append(small.predict_on_batch([LR, values[0]] if before else LR))
        found = large.predict_on_batch([LR, values[1]])
        np.testing.assert_allclose(found, made[-1], atol=1e-5)
    assert (np.abs(made[0] - made[1]).max() > 0.001) == (before > 0)


def test_another_scale_takes_what_does_not_depend_on_it(saved):
    small = small_network(2)
    large = network.edsr(3, 10, 3)
    before = large.get_layer("upscale1").get_weights()[0]
    growing.start_from(large, saved(small))
    ours, theirs = (m.get_layer("block2_conv1").get_weights()[0] for m in (large, small))
    np.testing.assert_array_equal(ours[:, :, :8, :8], theirs)
    np.testing.assert_array_equal(large.get_layer("upscale1").get_weights()[0], before)
    # Of x4 the first shuffle is that of x2.
    large = network.edsr(4, 8, 2)
    growing.start_from(large, saved(small))
    for name in "upscale1", "tail":
        assert_equal_weights(large.get_layer(name), small.get_layer(name))


@pytest.mark.parametrize(
    ("before", "options", "message"),
    [
        (0, (7, 2), "NUM_FILTERS = 7: expected at least the 8 that it has; a network cannot sh"),
        (0, (8, 1), "RESIDUAL_BLOCKS = 1: expected at least the 2 that it has"),
        (0, (8, 2, 0.1, True), "GLOBAL_SKIP = True: expected False, as it was trained"),
        (1, (8, 2), "CONDITIONS = 0: expected at least the 1 that it has"),
        (4, (8, 2, 0.1, False, 1), "CONDITIONS = 1: expected at least the 4 that it has"),
    ],
)
def test_what_cannot_grow_is_refused(saved, before, options, message):
    with pytest.raises(ValueError, match=message):
        growing.start_from(network.edsr(2, *options), saved(small_network(conditions=before)))


def prelu_block(x, num_filters, residual_scaling, name):
    """A residual block of another kind."""
    branch = keras.layers.Conv2D(num_filters, 3, padding="same", name=f"{name}_conv1")(x)
    branch = keras.layers.PReLU(shared_axes=[1, 2], name=f"{name}_prelu")(branch)
    branch = keras.layers.Conv2D(num_filters, 3, padding="same", name=f"{name}_conv2")(branch)
    return keras.layers.Add(name=f"{name}_add")([x, branch])


@pytest.mark.parametrize("is_turned", [False, True])
def test_a_block_of_another_kind_takes_layers_of_the_same_name_and_shape(
    saved, monkeypatch, capsys, is_turned
):
    relu = small_network()
    monkeypatch.setattr(network, "residual_block", prelu_block)
    prelu = small_network(seed=1)
    before = prelu.get_layer("block1_prelu").get_weights()
    old, new = (prelu, relu) if is_turned else (relu, prelu)
    growing.start_from(new, saved(old))
    for name in "head", "block2_conv1", "body", "upscale1", "tail":
        assert_equal_weights(new.get_layer(name), old.get_layer(name))
    np.testing.assert_array_equal(prelu.get_layer("block1_prelu").get_weights(), before)
    words = f"8 layers have its weights, {0 if is_turned else 2} begin at random"
    assert words in capsys.readouterr().out


def changed(name, **changes):
    """A network of `network.edsr`, one layer of which is another."""
    config = network.edsr(2, 4, 2).get_config()
    for layer in config["layers"]:
        layer["config"] |= changes if layer["config"]["name"] == name else {}
    return keras.Model.from_config(config)


def test_edsr_is_known_from_other_networks(monkeypatch):
    for options in {}, {"global_skip": True}, {"conditions": 1}, {"conditions": 4}:
        assert growing.is_edsr(network.edsr(4, 4, 2, **options))
    assert growing.is_edsr(changed("block2_conv1"))
    assert not growing.is_edsr(changed("block2_conv1", activation="gelu"))
    assert not growing.is_edsr(changed("block1_conv2", kernel_size=(5, 5)))
    monkeypatch.setattr(network, "residual_block", prelu_block)
    assert not growing.is_edsr(network.edsr(2, 4, 2))
    monkeypatch.setattr(network, "residual_block", lambda x, *settings, name: x / 2)
    assert not growing.is_edsr(network.edsr(2, 4, 2))


def numbered(blocks):
    """A network whose layers Keras names and numbers, anew each time."""
    x = pixels = keras.Input((None, None, 3))
    for _ in range(blocks):
        x = keras.layers.PReLU(shared_axes=[1, 2])(keras.layers.Conv2D(4, 3, padding="same")(x))
    return keras.Model(pixels, keras.layers.Conv2D(12, 1, name="last")(x))


def test_layers_without_a_name_are_copied_by_their_order(saved, capsys):
    old, new = numbered(3), numbered(2)
    assert old.layers[1].name != new.layers[1].name
    growing.start_from(new, saved(old))
    for number in 3, 4:  # convolutions of the second block; the first one is of another shape
        assert_equal_weights(new.layers[number], old.layers[number])
    assert "5 layers have its weights, 0 begin at random" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"none of its layers has the name and shape of a new on"):
        growing.start_from(network.edsr(2, 8, 2), saved(numbered(1)))
