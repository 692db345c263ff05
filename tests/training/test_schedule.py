import pytest

from superres.training import schedule


def rates(steps, **options):
    found = schedule.learning_rates(2.0, **options)
    return [float(found(step)) for step in steps]


def test_learning_rate_rises_and_falls_by_a_cosine():
    options = {"total_steps": 40, "warmup_steps": 4, "decay_steps": 0}
    assert rates((0, 2, 4, 22, 40), **options) == pytest.approx([0, 1, 2, 1, 0], abs=1e-6)


def test_learning_rate_is_held_and_falls_in_a_straight_line():
    options = {"total_steps": 200, "warmup_steps": 10, "decay_steps": 40}
    found = rates((0, 5, 10, 160, 170, 180, 200), **options)
    assert found == pytest.approx([0, 1, 2, 2, 1.5, 1, 0])


@pytest.mark.parametrize("decay_steps", [0, 20, 40, 99])
def test_warmup_is_at_most_a_tenth(decay_steps):
    steps, options = range(41), {"total_steps": 40, "decay_steps": decay_steps}
    assert rates(steps, warmup_steps=500, **options) == rates(steps, warmup_steps=4, **options)


@pytest.mark.parametrize("total_steps", [1, 9])
def test_runs_of_a_few_steps_have_no_warmup(total_steps):
    options = {"total_steps": total_steps, "warmup_steps": 500, "decay_steps": 0}
    assert rates((0, total_steps), **options) == pytest.approx([2, 0], abs=1e-6)
