from fractions import Fraction

import pytest

from superres.upscaling.sizes import Route, Size, passes

ALL = (2, 3, 4)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("", Size()),
        ("2560x1440", Size(2560, 1440)),
        ("2560x", Size(2560, 0)),
        ("x1440", Size(0, 1440)),
        ("2560X1440", Size(2560, 1440)),
        ("2560×1440", Size(2560, 1440)),
        ("17x", Size(17, 0)),
        ("1.5", Size(factor=Fraction(3, 2))),
        ("3", Size(factor=Fraction(3))),
    ],
)
def test_parse(text, size):
    assert Size.parse(text) == size


@pytest.mark.parametrize(
    "text",
    [
        *["x", "0x", "x0", "0x100", "1", "1.0", "0.5", ".5", "-2", "2e3", "nan", "2,5", "two"],
        *["1x2x3", "50%", "1.5x2", "٣x٣", "1/2", "9" * 5000, "9" * 5000 + "x"],
    ],
)
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ValueError, match=r'expected "2560x1440" \(a box\)'):
        Size.parse(text)


@pytest.mark.parametrize("text", ["2x", "x2", "×4", "3X", "x15"])
def test_a_side_of_a_few_pixels_is_taken_for_a_factor_in_the_wrong_form(text):
    number = text.strip("xX×")
    with pytest.raises(ValueError, match=f'{number} pixels; for a factor write "{number}"'):
        Size.parse(text)


# (text, height, width) of pictures, by which scales they are enlarged, and to which height and
# width.
WAYS = [
    ("", 7, 9, (4,), (28, 36)),
    ("1.5", 6, 10, (2,), (9, 15)),
    ("1.5", 5, 7, (2,), (8, 11)),  # 7.5 and 10.5
    ("1.2", 1, 1000, (2,), (1, 1200)),
    ("1.2", 1, 1, (), (1, 1)),
    ("2", 5, 7, (2,), (10, 14)),
    ("1.15", 50, 750, (2,), (58, 863)),  # 57.5 and 862.5, which binary numbers are not quite
    ("1.13", 1250, 50, (2,), (1413, 57)),
    ("2.01", 100, 100, (3,), (201, 201)),
    ("3.3", 10, 10, (4,), (33, 33)),
    ("4", 5, 5, (4,), (20, 20)),
    ("4.5", 10, 10, (4, 2), (45, 45)),
    ("9", 10, 10, (4, 3), (90, 90)),
    ("16", 1, 3, (4, 4), (16, 48)),
    ("2560x1440", 720, 1280, (2,), (1440, 2560)),
    ("2560x1440", 480, 640, (3,), (1440, 1920)),
    ("2560x1440", 100, 640, (4,), (400, 2560)),
    ("2560x1440", 1440, 2560, (), (1440, 2560)),
    ("2560x1440", 1440, 1000, (), (1440, 1000)),
    ("2560x1440", 3000, 4000, (), (1440, 1920)),
    ("2560x", 1000, 2000, (2,), (1280, 2560)),
    ("x1440", 481, 333, (3,), (1440, 997)),  # 996.9
    ("x1440", 9000, 3, (), (1440, 1)),  # 0.48: no picture is of less than a pixel
]


@pytest.mark.parametrize(("text", "height", "width", "scales", "shape"), WAYS)
def test_way(text, height, width, scales, shape):
    there = ALL if text else (4,)
    assert Size.parse(text).route(height, width, there) == Route(scales, shape)


def test_passes():
    for factor, scales, expected in (3, (2,), (2, 2)), (4, (2,), (2, 2)), (1.5, (4,), (4,)):
        assert passes(factor, scales) == expected
    with pytest.raises(ValueError, match=r"5 times as large: expected 4 at most, .* in use \(x2\)"):
        passes(5, (2,))
    with pytest.raises(ValueError, match=r"25.6 times as large: expected 16 .*\(x2, x3, x4\)"):
        Size.parse("2560x").route(100, 100, ALL)
