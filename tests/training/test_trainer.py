import gc
import threading
import weakref

import numpy as np
import pytest

import network
from superres.images.quality import Condition
from superres.runtime.backend import keras
from superres.runtime.errors import InputError
from superres.training.trainer import Trainer
from support import batch_of, small_network, smooth_picture


def trainer_of(num_filters, residual_blocks):
    return Trainer(
        network.edsr(2, num_filters, residual_blocks),
        loss="l1",
        optimizer="adam",
        learning_rate=1e-3,
        clip_norm=1.0,
        ema_decay=0.9,
    )


def test_state_of_another_network_is_wrong_input():
    """As where network.py was changed between two runs."""
    state = trainer_of(4, 1).arrays()
    trainer_of(4, 1).restore(state, 1)
    with pytest.raises(InputError, match=r"another one than in the earlier run \(head/kernel\)"):
        trainer_of(5, 1).restore(state, 1)
    with pytest.raises(InputError, match=r"another one than in the earlier run \(block2_"):
        trainer_of(4, 2).restore(state, 1)


@pytest.mark.parametrize("count", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_every_number_of_the_condition_is_trained(count):
    """From the column of the batch that is its own."""

    def head_after(condition):
        keras.utils.set_random_seed(0)
        model = small_network(conditions=count)
        head = model.get_layer("quality_head")
        before = head.get_weights()[0][0, 0]
        trainer = Trainer(
            model, loss="l1", optimizer="adam", learning_rate=1e-3, clip_norm=1.0, ema_decay=0.9
        )
        hr = smooth_picture(24, 24)[None]
        batches = batch_of(hr[:, ::2, ::2].copy(), hr, condition)
        trainer.fit(batches, 1, threading.Event())
        return (head.get_weights()[0][0, 0] != before).all(axis=1).tolist()

    assert head_after(Condition(0.5, 8.0, 1.0)) == [True] * count
    for n, condition in enumerate([Condition(0.5), Condition(0, 8.0), Condition(0, 0, 1.0)]):
        assert head_after(condition) == [one == n for one in range(count)]


def test_no_crops_stay_in_memory_after_a_fit():
    """TensorFlow keeps for ever what a `fit` was given: no crops may hang on it."""
    trainer = trainer_of(4, 1)
    made = []

    def batches(steps):
        for seed in range(steps):
            random = np.random.default_rng(seed)
            lr, hr = (random.integers(0, 256, (2, n, n, 3), np.uint8) for n in (8, 16))
            made.extend([weakref.ref(lr), weakref.ref(hr)])
            yield from batch_of(lr, hr)

    for steps in (1, 2, 3, 5):
        assert trainer.fit(batches(steps), steps, threading.Event()).steps == steps
    gc.collect()
    assert len(made) == 22
    assert not [array for array in made if array() is not None]
