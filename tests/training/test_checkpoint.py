import dataclasses
import hashlib
import io
import pickle
import random
from unittest.mock import Mock

import numpy as np
import pytest

from superres.runtime import files
from superres.training import checkpoint


def state(step):
    values = np.random.default_rng(step)
    arrays = {"model_0": values.random((20, 30), np.float32), "model_1": np.array(step)}
    details = {1: np.zeros((4, 4, 3), np.uint8)}
    rows = {"rows": [{"psnr": 1.5}], "epoch": {}}
    return checkpoint.State(step, {"a": 1}, arrays, rows, details, {"held_out": []})


def save(folder, *steps, name="run"):
    """Saves the states of one training."""
    states = checkpoint.States(folder, name)
    for step in steps:
        states.save(state(step))


def newest(folder, name="run"):
    return checkpoint.States(folder, name).newest()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def assert_is(found, step):
    np.testing.assert_equal(dataclasses.asdict(found), dataclasses.asdict(state(step)))


def test_the_last_two_are_kept(tmp_path):
    assert newest(tmp_path) is None
    save(tmp_path, 5, 90, 100, 1_000_000_000)
    assert names(tmp_path) == ["run.state-00000100.npz", "run.state-1000000000.npz"]
    paths = checkpoint.States(tmp_path, "run").paths()
    assert [path.name for path in reversed(paths)] == names(tmp_path)
    assert_is(newest(tmp_path), 1_000_000_000)


def test_trainings_do_not_touch_the_states_of_others(tmp_path):
    for name, steps in ("run", (1, 2)), ("run.state-1", (3, 4)), ("r.n", (5, 6)):
        save(tmp_path, *steps, name=name)
    assert len(names(tmp_path)) == 6
    assert_is(newest(tmp_path, "r.n"), 6)
    save(tmp_path, 1, name="r.n")  # begun anew
    for name, step in ("run", 2), ("run.state-1", 4), ("r.n", 1):
        assert_is(newest(tmp_path, name), step)
    assert len(names(tmp_path)) == 5


def damage(content, chance):
    """Cuts off, flips a bit, zeroes a block or adds bytes."""
    place = chance.randrange(len(content))
    begin, end = content[:place], content[place:]
    flipped = begin + bytes([end[0] ^ 1 << chance.randrange(8)]) + end[1:]
    zeroed = begin + bytes(64) + end[64:]
    zeroed = zeroed if zeroed != content else content[:-1]
    return chance.choice([begin, flipped, flipped, zeroed, content + b"more"])


@pytest.mark.parametrize("seed", range(50))
def test_damaged_state_is_detected_and_the_one_before_used(tmp_path, capsys, seed):
    save(tmp_path, 5, 6)
    last = tmp_path / "run.state-00000006.npz"
    last.write_bytes(damage(last.read_bytes(), random.Random(seed)))
    assert_is(newest(tmp_path), 5)
    said = capsys.readouterr().out
    assert f"{last}: damaged" in said
    assert f"using the one before: {tmp_path / 'run.state-00000005.npz'}" in said


def test_a_damaged_state_is_replaced_and_the_one_before_kept(tmp_path):
    save(tmp_path, 5, 9)
    (tmp_path / "run.state-00000009.npz").write_bytes(b"")
    states = checkpoint.States(tmp_path, "run")
    assert states.newest().step == 5
    states.save(state(6))
    assert names(tmp_path) == ["run.state-00000005.npz", "run.state-00000006.npz"]


def test_all_damaged_is_an_error_that_names_them(tmp_path):
    save(tmp_path, 5, 6)
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"state-00000006\.npz, .*state-00000005\.npz: damaged"):
        newest(tmp_path)
    assert len(names(tmp_path)) == 2


def assert_no_state(folder, content, why=""):
    path = folder / "run.state-00000001.npz"
    path.write_bytes(content + hashlib.sha256(content).digest())
    with pytest.raises(ValueError, match=f"not a saved state{why}"):
        checkpoint.read(path)


def npz(save=np.savez, **arrays):
    save(content := io.BytesIO(), **arrays)
    return content.getvalue()


def test_pickles_are_not_opened(tmp_path):
    opened = tmp_path / "opened"

    class Trap:
        def __reduce__(self):
            return (open, (str(opened), "w"))

    pickled = npz(about="{}", model_0=np.array([Trap()], dtype=object))
    for content in pickled, pickle.dumps(Trap()):
        assert_no_state(tmp_path, content)
    assert not opened.exists()


def test_a_packed_state_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    packed = npz(np.savez_compressed, about="{}", model_0=np.zeros(1000, np.float32))
    monkeypatch.setattr(np.lib.npyio.NpzFile, "__getitem__", lambda *_: pytest.fail("unpacked"))
    assert_no_state(tmp_path, packed, ": its arrays are compressed")


def test_a_state_that_lacks_something_is_refused(tmp_path):
    for about in "{}", "[]", '{"details": [], "step": 1}':
        assert_no_state(tmp_path, npz(about=about))


def test_failed_saving_keeps_the_states_before(tmp_path, monkeypatch):
    save(tmp_path, 5, 6)
    monkeypatch.setattr(files.os, "fsync", Mock(side_effect=OSError(28, "full")))
    with pytest.raises(OSError, match="full"):
        save(tmp_path, 7)
    assert names(tmp_path) == ["run.state-00000005.npz", "run.state-00000006.npz"]
    assert_is(newest(tmp_path), 6)
