import itertools
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from unittest.mock import Mock

import numpy as np
import pytest

from superres.dataset import cache, photographs
from superres.dataset.cache import UNUSED_SECONDS, decode, pixel_bytes
from superres.dataset.crops import cut_batch
from superres.dataset.folder import decode_centre, survey
from superres.dataset.options import DataOptions
from superres.dataset.photographs import LOADED_AHEAD, open_photographs
from superres.images import read
from superres.images.formats import find_pictures
from superres.images.resize import downscale
from superres.images.write import write_picture
from superres.runtime import files
from superres.runtime.errors import InputError, UnreadablePicture
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


def open_all(folder, skipped, free_memory=2**30, rotates=None, **changed):
    sizes = survey(find_pictures(folder), 16, lambda path, reason: None)
    options = DataOptions(
        folder, "", "", scale=2, crop_size=16, batch_size=8, validation_crop=16, seed=1
    )
    return open_photographs(
        sizes,
        replace(options, **changed),
        free_memory=free_memory,
        on_skip=lambda path, reason: skipped.append((path.name, reason)),
        rotates=rotates,
    )


def batches(source, steps=range(3)):
    cut = (cut_batch(source.at(step), step, batch_size=8, seed=1) for step in steps)
    return [(lr, hr) for (lr, _), hr in cut]


def damage(folder, numbers=range(6)):
    for n in numbers:
        (folder / f"{n}.png").write_bytes((folder / "cut.png").read_bytes())


# ---- one picture ----


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("size", [24, 96, 1000])
def test_centre_is_that_of_the_whole(tmp_path, scale, size):
    write_picture(tmp_path / "a.png", smooth_picture(211, 160, seed=3), {})
    whole = decode(tmp_path / "a.png", scale)
    assert whole.hr.shape == (211 // scale * scale, 160 // scale * scale, 3)
    np.testing.assert_array_equal(whole.lr, downscale(whole.hr, scale))
    centre = decode_centre(tmp_path / "a.png", scale, size)
    height, width = (min(length, size // scale) for length in whole.lr.shape[:2])
    assert centre.lr.shape == (height, width, 3)
    top, left = (whole.lr.shape[0] - height) // 2, (whole.lr.shape[1] - width) // 2
    np.testing.assert_array_equal(centre.lr, whole.lr[top:, left:][:height, :width])
    inner = whole.hr[scale * top :, scale * left :][: scale * height, : scale * width]
    np.testing.assert_array_equal(centre.hr, inner)


def test_survey_looks_at_headers_only_and_gives_reasons(folder, monkeypatch):
    monkeypatch.setattr(read, "read_picture", lambda *a, **k: pytest.fail("decoded"))
    reasons = {}
    sizes = survey(find_pictures(folder), 16, reasons.__setitem__)
    assert [sizes[folder / f"{n}.png"] for n in range(6)] == SHAPES
    assert folder / "cut.png" in sizes
    assert reasons[folder / "small.png"] == "80x15 is smaller than 16x16"
    assert reasons[folder / "text.png"].startswith("not a picture")


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
    """Opens the photographs by way of the cache, few as they are."""
    monkeypatch.setattr(photographs, "SMALL_BYTES", 0)

    def open_cached(**changed):
        return open_all(folder, skipped, **{"cache": tmp_path / "cache"} | changed)

    return open_cached


@pytest.mark.parametrize("most_mapped", [2, 9])
def test_many_are_kept_in_files_and_give_the_same_crops(
    folder, skipped, cached, tmp_path, monkeypatch, most_mapped
):
    monkeypatch.setattr(photographs, "MAX_MAPPED", most_mapped)
    expected = open_all(folder, skipped)
    for source in cached(), cached():
        assert source.where == f"in {tmp_path / 'cache'}"
        assert source.count == expected.count == 6
        np.testing.assert_equal(batches(source), batches(expected))
        is_mapped = {not p.hr.flags.writeable for p in source.at(0).photographs}
        assert is_mapped == {most_mapped > 6}
    assert [name for name, _ in skipped] == ["cut.png"] * 3
    assert len(list((tmp_path / "cache").iterdir())) == 6
    assert cached(scale=4).at(0).scale == 4
    assert len(list((tmp_path / "cache").iterdir())) == 12


@pytest.fixture
def decoded(monkeypatch):
    """Names of the pictures that are decoded from here on."""
    names, decode = [], cache.decode

    def counting(path, scale):
        names.append(path.name)
        return decode(path, scale)

    for module in cache, photographs:
        monkeypatch.setattr(module, "decode", counting)
    return names


def test_second_start_decodes_only_what_is_new_or_changed(folder, cached, decoded):
    cached()
    decoded.clear()
    write_picture(folder / "3.png", smooth_picture(60, 60, seed=9), {})
    write_picture(folder / "new.png", smooth_picture(50, 50, seed=10), {})
    (folder / "1.png").unlink()
    source = cached()
    assert sorted(decoded) == ["3.png", "cut.png", "new.png"]  # the cut one may be whole by now
    pictures = {p.hr.tobytes() for p in source.at(0).photographs}
    expected = [folder / f"{n}.png" for n in (0, 2, 3, 4, 5, "new")]
    assert pictures == {decode(path, 2).hr.tobytes() for path in expected}


@pytest.mark.parametrize("size", [0, 40, 300, 5000])
def test_damaged_file_of_the_cache_is_passed_over(folder, skipped, cached, tmp_path, size):
    cached()
    for file in (tmp_path / "cache").iterdir():
        file.write_bytes(file.read_bytes()[:size])
    np.testing.assert_equal(batches(cached()), batches(open_all(folder, skipped)))


def test_several_trainings_fill_the_cache_at_the_same_time(folder, skipped, cached, tmp_path):
    with ThreadPoolExecutor(4) as workers:
        sources = list(workers.map(lambda _: cached(), range(4)))
    for source in sources:
        np.testing.assert_equal(batches(source), batches(open_all(folder, skipped)))
    assert len(list((tmp_path / "cache").iterdir())) == 6


def test_interrupted_filling_goes_on(folder, skipped, cached, decoded, monkeypatch):
    counting = cache.decode

    def stop(path, scale):
        if path.name == "3.png":
            raise KeyboardInterrupt
        return counting(path, scale)

    monkeypatch.setattr(cache, "decode", stop)
    with pytest.raises(KeyboardInterrupt):
        cached()
    monkeypatch.setattr(cache, "decode", counting)
    decoded.clear()
    source = cached()
    assert not {"0.png", "1.png", "2.png"} & set(decoded)
    np.testing.assert_equal(batches(source), batches(open_all(folder, skipped)))


def test_what_no_training_uses_for_a_month_is_removed(folder, cached, tmp_path, capsys):
    place = tmp_path / "cache"
    cached()
    kept = {path.name for path in place.iterdir()}
    cached(scale=4)
    for name in "mine.npy", "x2-0123456789ab.pixels", "x2-0123456789ab.json":
        (place / name).touch()
    month_ago = time.time() - UNUSED_SECONDS - 9
    for path in place.iterdir():
        os.utime(path, (month_ago, month_ago))
    capsys.readouterr()
    cached()
    assert {path.name for path in place.iterdir()} == kept | {"mine.npy"}
    assert capsys.readouterr().out == f"{place}: removing the cache of an earlier version\n"


@pytest.mark.parametrize("reason", ["0.0 GB are too much for 0.0 free", "No space left", "exists"])
def test_without_a_place_on_the_disk_photographs_are_in_memory(
    folder, skipped, cached, monkeypatch, capsys, tmp_path, reason
):
    if reason == "exists":
        (tmp_path / "cache").write_text("a file")
    elif reason == "No space left":
        full = Mock(side_effect=OSError(28, "No space left on device"))
        monkeypatch.setattr(files.os, "fsync", full)
    else:
        monkeypatch.setattr(cache.shutil, "disk_usage", lambda folder: Mock(free=1000))
    source = cached()
    assert source.where == "in memory"
    said = capsys.readouterr().out
    assert said.startswith(f"photographs are not kept in {tmp_path / 'cache'}: ")
    assert reason in said
    np.testing.assert_equal(batches(source), batches(open_all(folder, skipped)))
    assert not list((tmp_path / "cache").glob("*"))


def test_photographs_rotate_where_memory_is_short_or_as_before(rotating, cached, capsys):
    assert rotating().where == "decoded, 2 at a time"
    assert rotating(free_memory=2**30, rotates=True).rotates
    assert not cached(free_memory=0, rotates=False).rotates
    assert rotating(rotates=False).rotates
    assert "not enough memory to resume with the same crops" in capsys.readouterr().out


@pytest.mark.parametrize("free_memory", [0, 2**30])
@pytest.mark.parametrize("is_cached", [False, True])
def test_nothing_that_can_be_decoded_is_an_error(folder, skipped, cached, is_cached, free_memory):
    damage(folder)
    with pytest.raises(InputError, match=r"none of the 7 pictures .* two readable"):
        cached(free_memory=free_memory, **{} if is_cached else {"cache": ""}).at(0)
    assert len(skipped) == 7


# ---- rotating ----


@pytest.fixture
def rotating(folder, skipped, monkeypatch):
    monkeypatch.setattr(photographs, "MAX_POOL", 2)
    monkeypatch.setattr(photographs, "STEPS_PER_PHOTOGRAPH", 4)
    opened = []

    def open_rotating(**changed):
        opened.append(open_all(folder, skipped, **{"free_memory": 0} | changed))
        return opened[-1]

    yield open_rotating
    for source in opened:
        source.close()


def test_all_are_used_and_few_are_there(folder, rotating):
    source = rotating()
    seen = set()
    for step in range(7 * 4):  # once through all
        pool = source.at(step)
        assert 1 <= len(pool.photographs) <= 2
        seen |= {photograph.hr.tobytes() for photograph in pool.photographs}
        assert len(source._loading) <= 2 + LOADED_AHEAD
    assert seen == {decode(folder / f"{n}.png", 2).hr.tobytes() for n in range(6)}


def test_crops_of_rotating_photographs_follow_from_seed_and_step(rotating):
    through = rotating()
    expected = batches(through, range(60))
    np.testing.assert_equal(batches(rotating(), range(33, 60)), expected[33:])  # a later start
    np.testing.assert_equal(batches(through, range(5, 20)), expected[5:20])  # and back
    other = batches(rotating(seed=2), range(60))
    assert any((a[1] != b[1]).any() for a, b in zip(other, expected, strict=True))


def test_crops_do_not_depend_on_where_rotating_photographs_are(rotating, cached, skipped):
    expected = batches(rotating(), range(40))
    skipped.clear()
    source = cached(free_memory=0)
    assert source.where.startswith("loaded from ")
    assert source.count == 6
    np.testing.assert_equal(batches(source, range(40)), expected)
    assert [name for name, _ in skipped] == ["cut.png"]
    source.close()


def test_a_damaged_picture_is_tried_and_named_once(rotating, skipped, decoded):
    source = rotating()
    for step in range(7 * 4 * 5):
        source.at(step)
    assert [name for name, _ in skipped] == ["cut.png"]
    assert decoded.count("cut.png") < 4  # it may have been on its way already
    assert decoded.count("3.png") >= 5


def test_a_pool_of_damaged_pictures_is_passed_over(folder, rotating, skipped):
    damage(folder, range(5))
    source = rotating()
    for step in range(0, 80, 4):
        assert len(source.at(step).photographs) == 1
        assert len(rotating().at(step).photographs) == 1
    assert {name for name, _ in skipped} == {*(f"{n}.png" for n in range(5)), "cut.png"}


def test_a_picture_that_is_replaced_by_a_small_one_is_left_out(folder, rotating, skipped):
    source = rotating()
    write_picture(folder / "3.png", smooth_picture(12, 40), {})
    for step in range(7 * 4 * 3):
        assert all(min(p.hr.shape[:2]) >= 16 for p in source.at(step).photographs)
    assert ("3.png", "40x12 is smaller than a crop by now") in skipped


def test_large_pictures_are_fewer(rotating, monkeypatch):
    monkeypatch.setattr(photographs, "MAX_POOL", 9)
    monkeypatch.setattr(photographs, "MAX_POOL_BYTES", 3 * pixel_bytes((64, 64), 2))
    assert rotating().at_a_time == 3
