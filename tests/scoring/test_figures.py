import numpy as np
import pytest

from superres.images.panels import side_by_side
from superres.scoring import figures
from support import smooth_picture


def flat(value, height=60, width=90):
    return np.full((height, width, 3), value, np.uint8)


def test_side_by_side_shows_each_picture_whole_under_its_label():
    left, right = np.full((40, 300, 3), 50, np.uint8), np.full((40, 300), 200, np.uint8)
    sheet = side_by_side([("left", left), ("right", right)], gap=6)
    assert (sheet[-40:, :300] == 50).all()
    assert (sheet[-40:, 300:306] == 255).all()
    assert (sheet[-40:, 306:] == 200).all()
    assert sheet[:-40, :300].min() < 100  # the label


def test_error_is_of_y_and_brightest_from_32_levels():
    np.testing.assert_allclose(figures.error(flat(100), flat(110)), 10 * 219 / 255)
    grey = np.zeros((1, 4), np.uint8)
    wrong = np.array([[0, 16, 32, 255]], np.uint8)
    colours = figures.error_map(grey, wrong).astype(int)
    brightness = colours.sum(axis=2)[0]
    assert brightness[0] < 20
    assert brightness[0] < brightness[1] < brightness[2] == brightness[3]
    assert colours[0, 3, 0] > colours[0, 3, 2]  # yellow, not blue


@pytest.mark.parametrize(("left", "top"), [(10, 5), (60, 30), (2, 2)])
def test_box_is_where_the_gain_is_largest(left, top):
    reference, before, after = flat(100), flat(101), flat(101)
    side = figures.box_side(reference.shape)
    before[top : top + side, left : left + side] = 150
    before[:2] = before[:, :2] = 255  # in the border, which is not scored
    assert figures.find_box(reference, before, after, 2) == (left, top, side, side)
    assert figures.find_box(reference, after, before, 2)[:2] != (left, top)  # that would be a loss


def test_paper_figure_shows_the_box_of_each_picture_in_sharp_pixels():
    whole = smooth_picture(120, 160)
    other = smooth_picture(120, 160, seed=1)
    box = (40, 30, 28, 28)
    panels = [("nearest", "20 dB", whole), ("original", "PSNR / SSIM", other)]
    sheet = figures.paper_figure("name", whole, panels, box)
    zoom = 224 // 28
    expected = other[30:58, 40:68].repeat(zoom, 0).repeat(zoom, 1)[2:-2, 2:-2]
    size = expected.shape[0]
    tops, lefts = np.nonzero((sheet == expected[0, 0]).all(axis=2))
    assert any(
        np.array_equal(sheet[top : top + size, left : left + size], expected)
        for top, left in zip(tops, lefts, strict=True)
    )
    assert (sheet == figures.BOX_COLOUR).all(axis=2).sum() > 3 * 4 * 28


def test_panorama_stands_above_its_details():
    whole = np.full((40, 400, 3), 90, np.uint8)
    panels = [(name, "PSNR / SSIM", whole) for name in "abcd"]
    sheet = figures.paper_figure("wide", whole, panels, (100, 8, 24, 24))
    grey = (sheet == 90).all(axis=2)
    assert grey[: sheet.shape[1] // 12].mean() > 0.9  # over the whole width
    assert grey.mean() > 0.6


@pytest.mark.parametrize(("height", "width"), [(15, 15), (15, 900), (24, 24), (900, 20)])
def test_box_and_figure_of_any_shape(height, width):
    a, b = (smooth_picture(height, width, 1, seed)[..., 0] for seed in (0, 1))
    left, top, box_width, box_height = box = figures.find_box(a, b, a, 2)
    assert 0 <= left <= left + box_width <= width
    assert 0 <= top <= top + box_height <= height
    panels = [(name, "PSNR / SSIM", a) for name in "abcde"]
    sheet = figures.paper_figure("a rather long name " * 9, a, panels, box)
    assert sheet.dtype == np.uint8
    assert max(sheet.shape) < 3000
