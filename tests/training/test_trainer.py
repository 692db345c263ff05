import gc
import threading
import weakref

import numpy as np
import pytest

import network
from superres.images.quality import Condition
from superres.runtime.backend import keras
from superres.runtime.errors import InputError
from superres.training.trainer import BATCHES_AHEAD, _Batches
from support import batch_of, small_network, smooth_picture, trainer_of


def test_state_of_another_network_is_wrong_input():
    state = trainer_of(network.edsr(2, 4, 1)).arrays()
    trainer_of(network.edsr(2, 4, 1)).restore(state, 1)
    for shape, name in ((5, 1), r"head/kernel\)"), ((4, 2), "block2_"):
        with pytest.raises(InputError, match=r"differs from the earlier run's \(" + name):
            trainer_of(network.edsr(2, *shape)).restore(state, 1)


@pytest.mark.parametrize("count", [pytest.param(1, marks=pytest.mark.slow), 4])
def test_every_number_of_the_condition_is_trained(count):
    """From the column of the batch that is its own."""

    def head_after(condition):
        keras.utils.set_random_seed(0)
        model = small_network(conditions=count)
        head = model.get_layer("quality_head")
        before = head.get_weights()[0][0, 0]
        hr = smooth_picture(24, 24)[None]
        batches = batch_of(hr[:, ::2, ::2].copy(), hr, condition)
        trainer_of(model).fit(batches, 1, threading.Event())
        return (head.get_weights()[0][0, 0] != before).all(axis=1).tolist()

    assert head_after(Condition(0.5, 8.0, 1.0, 0.5)) == [True] * count
    for n, name in enumerate(Condition._fields):
        condition = Condition(quality=0)._replace(**{name: 1.0})
        assert head_after(condition) == [one == n for one in range(count)]


def noise(step):
    random = np.random.default_rng(step)
    lr, hr = (random.integers(0, 256, (2, side, side, 3), np.uint8) for side in (8, 16))
    return batch_of(lr, hr)(step)


def test_batches_come_in_the_order_of_their_steps_and_none_stays():
    """TensorFlow keeps for ever what a `fit` was given: no crops may hang on it."""
    trainer = trainer_of(network.edsr(2, 4, 1))
    made, threads, arrays = [], set(), []

    def make_batch(step):
        made.append(step)
        threads.add(threading.current_thread())
        (lr, condition), hr = noise(step)
        arrays.extend([weakref.ref(lr), weakref.ref(hr)])
        return (lr, condition), hr

    for steps in (1, 2, 3, 20):
        first = trainer.step
        assert trainer.fit(make_batch, steps, threading.Event()).steps == steps
        assert made == list(range(first, first + steps))
        made.clear()
    gc.collect()
    assert len(arrays) == 2 * 26
    assert not [array for array in arrays if array() is not None]
    assert threading.main_thread() not in threads
    assert not any(thread.is_alive() for thread in threads)


def test_few_batches_are_made_ahead_and_their_errors_are_passed_on():
    made = []

    def make_batch(step):
        made.append(step)
        if step == 12:
            raise RuntimeError("step 12")
        return noise(step)

    batches = _Batches(make_batch, range(7, 40), 0)
    np.testing.assert_array_equal(batches[0][0], noise(7)[0][0])
    batches._worker.submit(int).result()  # behind those that are made ahead
    assert made == list(range(7, 7 + BATCHES_AHEAD))
    with pytest.raises(RuntimeError, match="step 12"):
        batches[5]
    batches.close()


def test_time_without_a_batch_is_counted():
    gate = threading.Event()
    batches = _Batches(lambda step: gate.wait(60) and noise(step), range(3), 0)
    threading.Timer(0.1, gate.set).start()
    assert len(list(batches)) == 3
    assert batches.waited > 0.05
    batches.close()
