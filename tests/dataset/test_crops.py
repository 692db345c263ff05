import numpy as np
import pytest

from superres.dataset.crops import ORIENTATIONS, CropSampler, Photograph, cut_batch
from superres.images.degradation import Degradation, Encoding, degrade
from superres.images.quality import CLEAN, condition_of
from support import photograph


def labelled_photographs(scale):
    """Photographs whose pixels tell where they are: (row, column, number) of the LR pixel."""
    photographs = []
    for number, (height, width) in enumerate([(30, 20), (9, 25)]):
        rows, columns = np.mgrid[:height, :width]
        lr = np.stack([rows, columns, np.full_like(rows, number)], axis=2).astype(np.uint8)
        photographs.append(Photograph(lr, lr.repeat(scale, 0).repeat(scale, 1)))
    return photographs


def labelled_pool(scale=2):
    return CropSampler(labelled_photographs(scale), 8 * scale)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_crops_of_lr_and_hr_show_the_same_place(scale):
    (lr, condition), hr = cut_batch(labelled_pool(scale), 0, batch_size=64, seed=1)
    assert lr.shape == (64, 8, 8, 3)
    assert hr.shape == (64, 8 * scale, 8 * scale, 3)
    np.testing.assert_array_equal(condition, np.tile(np.float32([1, 0, 0, 0]), (64, 1, 1, 1)))
    assert lr.dtype == hr.dtype == np.uint8
    np.testing.assert_array_equal(lr.repeat(scale, 1).repeat(scale, 2), hr)


def test_the_orientations_are_the_eight_flips_and_turns():
    crop = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    made = set()
    for orient in ORIENTATIONS:
        out = np.empty_like(crop)
        orient(crop, out)
        made.add(out.tobytes())
    turned = [np.rot90(crop, turns) for turns in range(4)]
    assert made == {picture.tobytes() for t in turned for picture in (t, t[:, ::-1])}


def test_every_orientation_and_position_is_equally_likely():
    # 8 ways to lie; 23 x 13 and 2 x 18 positions of 8x8 LR crops
    (lr, _), _ = cut_batch(labelled_pool(), 0, batch_size=8000, seed=1)
    down, right = (lr[:, *n, :2].astype(int) - lr[:, 0, 0, :2] for n in ((1, 0), (0, 1)))
    _, counts = np.unique(np.hstack([down, right]), axis=0, return_counts=True)
    assert len(counts) == 8
    assert counts.min() > 850
    corners = lr[..., :2].min(axis=(1, 2))
    places = set(zip(lr[:, 0, 0, 2].tolist(), map(tuple, corners.tolist()), strict=True))
    assert len(places) == 23 * 13 + 2 * 18
    share = np.mean(lr[:, 0, 0, 2] == 1)
    assert share == pytest.approx(2 * 18 / (23 * 13 + 2 * 18), abs=0.015)


def test_crops_follow_from_seed_and_step():
    def cut(step, seed):
        return cut_batch(labelled_pool(), step, batch_size=4, seed=seed)[1]

    np.testing.assert_array_equal(cut(3, 1), cut(3, 1))
    assert len({cut(step, seed).tobytes() for step in range(10) for seed in range(3)}) == 30


# ---- degraded ----


def test_degraded_crops_show_the_same_place_and_follow_from_seed_and_step():
    pool = CropSampler([photograph(140, 180), photograph(64, 80)], 64)

    def cut(step, **options):
        (lr, condition), hr = cut_batch(pool, step, batch_size=60, seed=1, **options)
        assert condition.shape == (60, 1, 1, 4)
        return lr, hr, condition[:, 0, 0, 0]

    clean, degraded = cut(3), cut(3, degradation="wild")
    np.testing.assert_array_equal(degraded[1], clean[1])
    change = np.abs(degraded[0].astype(int) - clean[0]).mean(axis=(1, 2, 3))
    assert 8 < (change == 0).sum() < 26  # a quarter is clean
    assert 0.5 < np.median(change[change > 0]) < 30
    assert (clean[2] == 1).all()
    qualities = degraded[2][change > 0]
    assert 0.25 <= qualities.min() < 0.5
    assert 0.85 < qualities[qualities < 1].max() <= 0.98
    assert (degraded[2][change == 0] == 1).all()
    for ours, theirs in zip(cut(3, degradation="wild"), degraded, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert (cut(4, degradation="wild")[0] != degraded[0]).any()


def test_condition_of_a_crop_is_that_of_the_degraded_picture():
    pool, random = CropSampler([photograph(80, 80)], 64), np.random.default_rng(0)
    lr, hr = np.empty((32, 32, 3), np.uint8), np.empty((64, 64, 3), np.uint8)
    drawn = Degradation(noise=8.0, encodings=(Encoding(75),))
    condition = pool.cut(0, 0, lr, hr, drawn, random)
    whole = degrade(
        drawn, pool.photographs[0].lr, pool.photographs[0].hr, 2, np.random.default_rng(0)
    )
    assert condition == condition_of(whole, 0.75)
    assert condition.noise > 3
    assert pool.cut(0, 0, lr, hr) == CLEAN
    (_, conditions), _ = cut_batch(pool, 3, batch_size=60, seed=1, degradation="wild")
    quality, noise, blur, sharpening = conditions.reshape(-1, 4).T
    assert 0.3 <= quality.min() < quality.max() == 1
    assert 0 <= noise.min() < 0.1 < 0.7 < noise.max() <= 1.1  # in levels / 10
    assert 0 <= blur.min() < 0.5 < 0.7 < blur.max() <= 1.2
    assert 0 <= sharpening.min() < 0.2 < 0.4 < sharpening.max() <= 1.3


@pytest.mark.parametrize("degradation", ["bicubic", "wild"])
def test_parts_of_a_batch_are_those_of_the_whole(degradation):
    pool = CropSampler([photograph(140, 180)], 64)

    def cut(part):
        options = {"batch_size": 6, "seed": 1, "degradation": degradation}
        (lr, condition), hr = cut_batch(pool, 5, part=part, **options)
        return lr, condition, hr

    parts = [cut(slice(n, n + 2)) for n in (0, 2, 4)]
    for *some, whole in zip(*parts, cut(slice(None)), strict=True):
        np.testing.assert_array_equal(np.concatenate(some), whole)


@pytest.mark.parametrize(("top", "left"), [(0, 0), (20, 30), (38, 58), (5, 58)])
def test_crop_is_what_the_whole_picture_would_have_there(top, left):
    """Also at its borders; JPEG's blocks begin as far from the crop as they are drawn to."""
    whole = photograph(140, 180)
    pool = CropSampler([whole], 64)
    blur = Degradation(blur=0.7)
    crop, _ = pool._degrade(whole, top, left, blur, None)
    expected = degrade(blur, whole.lr, whole.hr, 2)[top : top + 32, left : left + 32]
    np.testing.assert_array_equal(crop, expected)
    saving = Degradation(encodings=(Encoding(40, shift=(3, 7)),))
    crop, _ = pool._degrade(whole, top, left, saving, None)
    begins = max(0, top - 16), max(0, left - 16)
    shift = tuple((3, 7)[n] - begins[n] for n in (0, 1))
    aligned = Degradation(encodings=(Encoding(40, shift=tuple(s % 16 for s in shift)),))
    expected = degrade(aligned, whole.lr, whole.hr, 2)[top : top + 32, left : left + 32]
    inner = (slice(9, -9), slice(9, -9))  # chroma is smoothed over the window's borders
    np.testing.assert_array_equal(crop[inner], expected[inner])
