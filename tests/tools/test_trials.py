"""Short runs of the trials in trials.py."""

import sys

import pytest

from support import bilinear_network
from tools import trials, trials_of_training

pytestmark = pytest.mark.slow


def test_mutants():
    done, refused = trials.try_mutants(300, seed=1)
    assert done + refused == 300
    assert min(done, refused) > 30  # or the mutants would test one half only


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_kills():
    there, _ = trials.try_kills(3, seed=1)
    assert len(there) == 3


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_killed_training_ends_as_an_undisturbed_one():
    anytime, inside, _ = trials_of_training.try_training_kills(3, seed=1)
    assert (anytime, inside) == (2, 1)


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGTERM and open files as Unix has them")
def test_long_training_names_each_damaged_file_once():
    # So short, its memory is still growing a little.
    samples = trials_of_training.try_hours(
        0.4, count=100, save_minutes=0.02, most_growth=200 * 2**20
    )
    assert samples[-1][3] > 0


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory as Linux has it")
def test_memory_of_a_large_picture_is_that_of_the_input(tmp_path):
    """Of what grows with the picture, only the input and the decoder's copy of it."""
    bilinear_network().save(tmp_path / "w.keras")
    small, large = (trials.try_large(side, tmp_path / "w.keras") for side in (512, 6000))
    growth = large[0] - small[0]
    assert growth < large[2]  # less than the output alone
