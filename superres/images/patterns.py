"""Random drawings, like screenshots, comics, faxes: shapes, lines, text; some in two tones."""

from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

TWO_TONES_SHARE = 0.5  # of the drawings
LETTERS = list("abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ 0123456789 .,;:!?()-+*/%&")
_font = cache(ImageFont.load_default)


def draw_pattern(random, height, width):
    """Draws one, by a NumPy generator: uint8 (height, width, 3)."""
    is_two_toned = random.random() < TWO_TONES_SHARE

    def colour():
        if random.random() < 0.5:  # paper, ink
            return (255, 255, 255) if random.random() < 0.5 else (0, 0, 0)
        return tuple(random.integers(256, size=3).tolist())

    image = Image.new("RGB", (width, height), colour())
    draw = ImageDraw.Draw(image)
    for kind in random.choice(
        ("text", "line", "ellipse", "rectangle", "ramp"), random.integers(3, 16)
    ):
        x, y = (int(random.integers(-length // 4, length)) for length in (width, height))
        x_end, y_end = x + int(random.integers(4, width)), y + int(random.integers(4, height))
        if kind == "text":
            font = _font(int(random.integers(8, 40)))
            lines = (
                "".join(random.choice(LETTERS, size=40)),
                "".join(random.choice(LETTERS, size=40)),
            )
            draw.text((x, y), "\n".join(lines), colour(), font)
        elif kind == "line":
            draw.line(
                (x, y, x_end, int(random.integers(height))), colour(), int(random.integers(1, 5))
            )
        elif kind == "ramp":
            ramp = Image.linear_gradient("L").rotate(90 * int(random.integers(4)))
            image.paste(ramp.resize((x_end - x, y_end - y)), (x, y))
        else:
            fill = colour() if random.random() < 0.5 else None
            getattr(draw, kind)((x, y, x_end, y_end), fill, colour(), int(random.integers(1, 4)))
    if is_two_toned:
        image = _in_two_tones(np.asarray(image.convert("L")), random)
    return np.asarray(image.convert("RGB"))


def _in_two_tones(grey, random):
    """By a threshold, dithered, or in screentone."""
    kind = random.integers(3)
    if kind == 0:
        return Image.fromarray(grey).convert("1")
    period = int(random.integers(3, 9))
    rows, columns = np.indices(grey.shape)
    dots = np.cos(2 * np.pi * (rows + columns) / period) + np.cos(
        2 * np.pi * (rows - columns) / period
    )
    return Image.fromarray(grey > (128 if kind == 1 else 127.5 + 63 * dots))
