import pytest

from superres.training import schedule


def rates(steps, **options):
    found = schedule.learning_rates(2.0, **options)
    return [float(found(step)) for step in steps]


@pytest.mark.parametrize(
    ("total", "warmup", "decay", "expected"),
    [
        (40, 4, 0, {0: 0, 2: 1, 4: 2, 22: 1, 40: 0}),  # by a cosine
        (200, 10, 40, {0: 0, 5: 1, 10: 2, 160: 2, 170: 1.5, 180: 1, 200: 0}),  # held, and linear
        (1, 500, 0, {0: 2, 1: 0}),  # too few steps for a warm-up
        (9, 500, 0, {0: 2, 9: 0}),
    ],
)
def test_learning_rate_rises_and_falls(total, warmup, decay, expected):
    found = rates(expected, total_steps=total, warmup_steps=warmup, decay_steps=decay)
    assert found == pytest.approx(list(expected.values()), abs=1e-6)


@pytest.mark.parametrize("decay_steps", [0, 20, 40, 99])
def test_warmup_is_at_most_a_tenth(decay_steps):
    steps, options = range(41), {"total_steps": 40, "decay_steps": decay_steps}
    assert rates(steps, warmup_steps=500, **options) == rates(steps, warmup_steps=4, **options)
