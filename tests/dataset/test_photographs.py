import errno
import itertools
import json
import os
import queue
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from superres.dataset import cache, photographs
from superres.dataset.cache import decode, pixel_bytes
from superres.dataset.crops import cut_batch
from superres.dataset.folder import decode_centre, survey
from superres.dataset.options import DataOptions
from superres.dataset.photographs import LOADED_AHEAD, open_photographs
from superres.images import read
from superres.images.formats import find_pictures
from superres.images.resize import downscale
from superres.images.write import write_picture
from superres.runtime import files
from superres.runtime.errors import UnreadablePicture
from superres.runtime.files import locked
from superres.runtime.prefetch import in_order
from support import smooth_picture

SHAPES = [(40, 51), (48, 40), (33, 64), (40, 40), (52, 36), (64, 64)]


@pytest.fixture
def folder(tmp_path):
    """Six photographs; a cut one, a text and a small one."""
    place = tmp_path / "data"
    place.mkdir()
    for n, (height, width) in enumerate(SHAPES):
        write_picture(place / f"{n}.png", smooth_picture(height, width, seed=n), {})
    whole = (place / "0.png").read_bytes()
    (place / "cut.png").write_bytes(whole[: len(whole) // 2])
    (place / "text.png").write_text("no picture")
    write_picture(place / "small.png", smooth_picture(15, 80), {})
    return place


@pytest.fixture
def skipped():
    return []


def open_all(folder, skipped, **changed):
    sizes, _ = survey(find_pictures(folder), 16)
    how = {key: changed.pop(key) for key in ("free_memory", "in_turn") if key in changed}
    options = DataOptions(
        data=folder,
        validation_data="",
        cache="",
        scale=2,
        crop_size=16,
        batch_size=8,
        validation_crop=16,
        seed=1,
    )
    return open_photographs(
        sizes,
        replace(options, **changed),
        on_skip=lambda path, reason: skipped.append((path.name, reason)),
        **{"free_memory": 2**30} | how,
    )


def batches(source, steps=range(3)):
    made = (cut_batch(source.at(step), step, batch_size=8, seed=1) for step in steps)
    return [(lr, hr) for (lr, _), hr in made]


def assert_same(ours, theirs):
    for batch, other in zip(ours, theirs, strict=True):
        for crops, expected in zip(batch, other, strict=True):
            np.testing.assert_array_equal(crops, expected)


# ---- one picture ----


def test_decoded_photograph_is_cropped_to_the_scale_and_reduced(folder):
    photograph = decode(folder / "2.png", 3)
    assert photograph.hr.shape == (33, 63, 3)
    np.testing.assert_array_equal(photograph.lr, downscale(photograph.hr, 3))


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("size", [24, 96, 1000])
def test_centre_is_that_of_the_whole(tmp_path, scale, size):
    write_picture(tmp_path / "a.png", smooth_picture(211, 160, seed=3), {})
    whole = decode(tmp_path / "a.png", scale)
    centre = decode_centre(tmp_path / "a.png", scale, size)
    height, width = (min(length, size // scale) for length in whole.lr.shape[:2])
    assert centre.lr.shape == (height, width, 3)
    top, left = (whole.lr.shape[0] - height) // 2, (whole.lr.shape[1] - width) // 2
    np.testing.assert_array_equal(centre.lr, whole.lr[top:, left:][:height, :width])
    inner = whole.hr[scale * top :, scale * left :][: scale * height, : scale * width]
    np.testing.assert_array_equal(centre.hr, inner)


def test_survey_looks_at_headers_only_and_gives_reasons(folder, monkeypatch):
    monkeypatch.setattr(read, "read_picture", lambda *a, **k: pytest.fail("decoded"))
    sizes, skipped = survey(find_pictures(folder), 16)
    assert [sizes[folder / f"{n}.png"] for n in range(6)] == SHAPES
    assert folder / "cut.png" in sizes
    assert skipped[folder / "small.png"] == "80x15 is smaller than 16x16"
    assert skipped[folder / "text.png"].startswith("not a picture")


def test_results_come_in_order_and_not_far_ahead():
    started = []

    def work(item):
        started.append(item)
        if item == 3:
            raise UnreadablePicture("three")
        return item * item

    results = in_order(work, itertools.count(), UnreadablePicture, ahead=4)
    assert [next(results) for _ in range(3)] == [(0, 0), (1, 1), (2, 4)]
    item, error = next(results)
    assert (item, str(error)) == (3, "three")
    results.close()
    assert len(started) <= 8


# ---- where the pixels are ----


def test_few_photographs_are_decoded_into_memory(folder, skipped, tmp_path):
    source = open_all(folder, skipped, cache=tmp_path / "cache")
    assert source.where == "in memory"
    assert not (tmp_path / "cache").exists()
    assert len(source.at(0).photographs) == 6
    assert [name for name, _ in skipped] == ["cut.png"]


@pytest.fixture
def cached(folder, skipped, tmp_path, monkeypatch):
    """Opens the photographs through a cache, which it makes as few as they are."""
    monkeypatch.setattr(photographs, "SMALL_BYTES", 0)

    def open_cached(**changed):
        return open_all(folder, skipped, **{"cache": tmp_path / "cache"} | changed)

    return open_cached


def test_many_are_kept_in_a_file_and_give_the_same_crops(folder, skipped, cached, tmp_path):
    source = cached()
    assert source.where == f"in {next((tmp_path / 'cache').glob('*.pixels'))}"
    assert [name for name, _ in skipped] == ["cut.png"]
    assert_same(batches(source), batches(open_all(folder, skipped)))


def count_decoded(monkeypatch):
    decoded, decode = [], cache.decode

    def counting(path, scale):
        decoded.append(path.name)
        return decode(path, scale)

    for module in cache, photographs:
        monkeypatch.setattr(module, "decode", counting)
    return decoded


def test_second_start_decodes_only_what_is_new_or_changed(folder, cached, monkeypatch):
    cached()
    decoded = count_decoded(monkeypatch)
    cached()
    assert decoded == ["cut.png"]  # it may be whole by now
    write_picture(folder / "3.png", smooth_picture(60, 60, seed=9), {})
    write_picture(folder / "new.png", smooth_picture(50, 50, seed=10), {})
    (folder / "1.png").unlink()
    decoded.clear()
    source = cached()
    assert sorted(decoded) == ["3.png", "cut.png", "new.png"]
    pictures = {p.hr.tobytes() for p in source.at(0).photographs}
    expected = [folder / f"{n}.png" for n in (0, 2, 3, 4, 5, "new")]
    assert pictures == {decode(path, 2).hr.tobytes() for path in expected}


def test_scales_have_caches_of_their_own(cached, tmp_path):
    assert cached().at(0).scale == 2
    assert cached(scale=4).at(0).scale == 4
    assert len(list((tmp_path / "cache").glob("*.pixels"))) == 2


@pytest.mark.parametrize("damage", ["index", "pixels", "no index", "no pixels"])
def test_damaged_cache_is_made_anew(folder, skipped, cached, tmp_path, damage):
    cached()
    file = next((tmp_path / "cache").glob("*.json" if "index" in damage else "*.pixels"))
    if damage.startswith("no"):
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-100])
    assert_same(batches(cached()), batches(open_all(folder, skipped)))


@pytest.mark.parametrize(
    "text", ['{"photographs": []}', '{"photographs": {"a": 1}}', '{"photographs": {"a": {}}}', "1"]
)
def test_index_of_something_else_is_made_anew(folder, skipped, cached, tmp_path, text):
    cached()
    next((tmp_path / "cache").glob("*.json")).write_text(text)
    assert_same(batches(cached()), batches(open_all(folder, skipped)))


def test_nothing_that_can_be_cached_is_an_error_too(folder, cached, skipped):
    for n in range(6):
        (folder / f"{n}.png").write_bytes((folder / "cut.png").read_bytes())
    with pytest.raises(ValueError, match=r"none of the 7 pictures .* two sound"):
        cached()
    assert len(skipped) == 7
    source = cached(free_memory=0)
    with pytest.raises(ValueError, match=r"none of the 7 pictures .* two sound"):
        source.at(0)
    source.close()


def test_what_was_all_at_once_comes_in_turn_where_memory_is_short(in_turn, capsys):
    assert in_turn(free_memory=0, in_turn=False).is_in_turn
    assert "not enough memory to go on as before" in capsys.readouterr().out


def test_count_is_of_what_can_be_used(folder, skipped, cached):
    assert open_all(folder, skipped).count == 6
    assert cached().count == 6
    source = cached(free_memory=0)
    assert source.count == 6
    source.close()


def test_interrupted_filling_goes_on(folder, skipped, cached, monkeypatch):
    monkeypatch.setattr(cache, "INDEX_SECONDS", 0)
    decode = cache.decode

    def stop(path, scale):
        if path.name == "3.png":
            raise KeyboardInterrupt
        return decode(path, scale)

    with monkeypatch.context() as patched:
        patched.setattr(cache, "decode", stop)
        with pytest.raises(KeyboardInterrupt):
            cached()
    decoded = count_decoded(monkeypatch)
    source = cached()
    assert not {"0.png", "1.png", "2.png"} & set(decoded)
    assert_same(batches(source), batches(open_all(folder, skipped)))


def test_cache_of_pictures_that_are_mostly_gone_is_made_anew(folder, cached, tmp_path):
    cached()
    pixels = next((tmp_path / "cache").glob("*.pixels"))
    before = pixels.stat().st_size
    for n in range(1, 6):
        (folder / f"{n}.png").unlink()
    assert len(cached().at(0).photographs) == 1
    assert pixels.stat().st_size < before / 4


def test_mapped_pictures_stay_as_they_are_when_the_cache_is_made_anew(folder, cached):
    source = cached()
    before = batches(source)
    for n in range(1, 6):
        (folder / f"{n}.png").unlink()
    write_picture(folder / "new.png", smooth_picture(64, 64, seed=10), {})
    cached()
    assert_same(batches(source), before)


def test_no_room_on_the_disk_means_memory(folder, skipped, cached, monkeypatch, capsys):
    full = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda folder: full)
    source = cached()
    assert source.where == "in memory"
    assert "it takes 0.0 GB, and 0.0 are free" in capsys.readouterr().out
    assert_same(batches(source), batches(open_all(folder, skipped)))


def test_disk_that_fills_up_means_memory_and_keeps_what_was_there(
    folder, skipped, cached, monkeypatch, capsys, tmp_path
):
    cached()
    pixels = next((tmp_path / "cache").glob("*.pixels"))
    before = pixels.stat().st_size
    write_picture(folder / "new.png", smooth_picture(50, 50, seed=10), {})

    def fail(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(cache.os, "fsync", fail)
        assert cached().where == "in memory"
    assert "decoded photographs are not kept in" in capsys.readouterr().out
    assert pixels.stat().st_size == before
    index = json.loads(next((tmp_path / "cache").glob("*.json")).read_text())
    assert len(index["photographs"]) == 6


def test_folder_that_cannot_be_written_means_memory(cached, tmp_path, capsys):
    (tmp_path / "cache").write_text("a file")
    assert cached().where == "in memory"
    assert "are not kept in" in capsys.readouterr().out


def test_neither_disk_nor_memory_means_in_turn(folder, skipped, monkeypatch):
    monkeypatch.setattr(photographs, "MOST_RESIDENT", 3)
    source = open_all(folder, skipped, free_memory=0)
    assert source.where == "decoded in turn, 3 at a time"
    assert len(source.at(0).photographs) in (2, 3)
    source.close()


def test_nothing_that_can_be_decoded_is_an_error(folder, skipped):
    for n in range(6):
        (folder / f"{n}.png").write_bytes((folder / "cut.png").read_bytes())
    with pytest.raises(ValueError, match=r"none of the 7 pictures .* two sound"):
        open_all(folder, skipped)
    assert len(skipped) == 7
    source = open_all(folder, skipped, free_memory=0)
    with pytest.raises(ValueError, match=r"none of the 7 pictures .* two sound"):
        source.at(0)
    source.close()


# ---- in turn ----


@pytest.fixture
def in_turn(folder, skipped, monkeypatch):
    monkeypatch.setattr(photographs, "MOST_RESIDENT", 2)
    monkeypatch.setattr(photographs, "STEPS_PER_PHOTOGRAPH", 4)
    opened = []

    def open_in_turn(**changed):
        opened.append(open_all(folder, skipped, **{"free_memory": 0} | changed))
        return opened[-1]

    yield open_in_turn
    for source in opened:
        source.close()


def test_in_turn_all_are_used_and_few_are_there(folder, in_turn):
    source = in_turn()
    seen = set()
    for step in range(7 * 4):  # once through all
        pool = source.at(step)
        assert 1 <= len(pool.photographs) <= 2
        seen |= {photograph.hr.tobytes() for photograph in pool.photographs}
        assert len(source._loading) <= 2 + LOADED_AHEAD
    expected = [decode(folder / f"{n}.png", 2).hr.tobytes() for n in range(6)]
    assert seen == set(expected)


def test_in_turn_crops_follow_from_the_step(in_turn):
    through = in_turn()
    expected = batches(through, range(60))
    assert_same(batches(in_turn(), range(33, 60)), expected[33:])  # a later start
    assert_same(batches(through, range(5, 20)), expected[5:20])  # and back


def test_in_turn_crops_do_not_depend_on_where_the_pixels_are(folder, in_turn, cached, skipped):
    expected = batches(in_turn(), range(40))
    skipped.clear()
    from_file = cached(free_memory=0)
    assert from_file.where.startswith("loaded from ")
    assert_same(batches(from_file, range(40)), expected)
    assert [name for name, _ in skipped] == ["cut.png"]
    from_file.close()


def test_a_training_that_goes_on_keeps_its_way(in_turn, cached):
    assert in_turn(free_memory=2**30, in_turn=True).is_in_turn
    assert not cached(free_memory=0, in_turn=False).is_in_turn


def test_in_turn_order_depends_on_the_seed(in_turn):
    first, second = batches(in_turn(), range(0, 40, 4)), batches(in_turn(seed=2), range(0, 40, 4))
    assert any((a[1] != b[1]).any() for a, b in zip(first, second, strict=True))


def test_in_turn_a_damaged_picture_is_tried_and_named_once(in_turn, skipped, monkeypatch):
    decoded = count_decoded(monkeypatch)
    source = in_turn()
    for step in range(7 * 4 * 5):
        source.at(step)
    assert [name for name, _ in skipped] == ["cut.png"]
    assert decoded.count("cut.png") < 4  # it may have been on its way already
    assert decoded.count("3.png") >= 5


def test_in_turn_a_pool_of_damaged_pictures_is_passed_over(folder, in_turn, skipped):
    for n in range(5):
        (folder / f"{n}.png").write_bytes((folder / "cut.png").read_bytes())
    source = in_turn()
    for step in range(0, 80, 4):
        assert len(source.at(step).photographs) == 1
        assert len(in_turn().at(step).photographs) == 1
    assert {name for name, _ in skipped} == {*(f"{n}.png" for n in range(5)), "cut.png"}


def test_in_turn_a_picture_that_is_replaced_by_a_small_one_is_left_out(folder, in_turn, skipped):
    source = in_turn()
    write_picture(folder / "3.png", smooth_picture(12, 40), {})
    for step in range(7 * 4 * 3):
        assert all(min(p.hr.shape[:2]) >= 16 for p in source.at(step).photographs)
    assert ("3.png", "40x12 is smaller than a crop by now") in skipped


def test_in_turn_large_pictures_are_fewer(folder, skipped, monkeypatch):
    monkeypatch.setattr(photographs, "RESIDENT_BYTES", 3 * pixel_bytes((64, 64), 2))
    source = open_all(folder, skipped, free_memory=0)
    assert source.resident == 3
    source.close()


@pytest.mark.skipif(os.name == "nt", reason="has no such locks")
def test_cache_that_another_process_fills_is_waited_for_and_used(
    folder, skipped, cached, tmp_path, monkeypatch
):
    cached()
    (tmp_path / "cache").rename(tmp_path / "ready")
    (tmp_path / "cache").mkdir()
    decoded = count_decoded(monkeypatch)
    lock = next((tmp_path / "ready").glob("*.lock")).name
    said = queue.Queue()  # not capsys, which loses what a thread prints while it is read
    monkeypatch.setattr(files, "print", lambda text, **options: said.put(text), raising=False)
    with ThreadPoolExecutor(1) as worker:
        with locked(tmp_path / "cache" / lock):
            opening = worker.submit(cached)
            assert "waiting for another process" in said.get(timeout=60)
            for file in (tmp_path / "ready").iterdir():
                if file.name != lock:
                    shutil.copy(file, tmp_path / "cache")
        source = opening.result()
    assert decoded == ["cut.png"]
    assert_same(batches(source), batches(open_all(folder, skipped)))
