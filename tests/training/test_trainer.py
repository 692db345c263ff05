import gc
import threading
import weakref

import numpy as np
import pytest

import network
from superres.runtime.errors import InputError
from superres.training.trainer import Trainer
from support import batch_of


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
