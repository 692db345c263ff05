import gc
import threading
import weakref

import numpy as np

import network
from superres.training.trainer import Trainer
from support import batch_of


def test_no_crops_stay_in_memory_after_a_fit():
    """TensorFlow keeps for ever what a `fit` was given: no crops may hang on it."""
    trainer = Trainer(
        network.edsr(2, 4, 1),
        loss="l1",
        optimizer="adam",
        learning_rate=1e-3,
        clip_norm=1.0,
        ema_decay=0.9,
    )
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
