"""Random drawings, like screenshots, comics or faxes: shapes, lines, text; half in two tones."""

from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from superres.images.resize import downscale, upscale_nearest

TWO_TONES_SHARE = 0.5
KINDS = "text", "line", "ellipse", "rectangle", "ramp"
LETTERS = list("abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ 0123456789 .,;:!?()-+*/%&")
DITHERED, SCREENTONE = 0, 2  # kinds of two tones; 1: one threshold
_font = cache(ImageFont.load_default)


def random_drawing(random, height, width):
    """One drawing, by a NumPy generator: uint8 (height, width, 3)."""
    return random_pair(random, height, width, scale=1)[1]


def random_pair(random, height, width, scale):
    """A LR drawing, uint8 (height, width, 3), and the same at `scale` times the size."""
    is_two_toned = random.random() < TWO_TONES_SHARE
    hr = _draw(random, scale * height, scale * width)
    if not is_two_toned:
        return downscale(hr, scale), hr
    grey = np.asarray(Image.fromarray(hr).convert("L"))
    lr, kind = downscale(grey, scale), random.integers(3)
    if kind == DITHERED:  # the same dots, larger
        lr = np.uint8(255) * np.asarray(Image.fromarray(lr).convert("1"))
        hr = upscale_nearest(lr, scale)
    else:
        period = int(random.integers(3, 9)) if kind == SCREENTONE else 0
        hr, lr = _threshold(grey, period * scale), _threshold(lr, period)
        if scale > 1 and random.random() < 0.5:  # antialiased; else two tones, as faxes have
            lr = downscale(hr, scale)
    return tuple(np.stack([tones] * 3, axis=-1) for tones in (lr, hr))


def _threshold(grey, period):
    """Black and white by one threshold, or by one that makes dots `period` pixels apart."""
    rows, columns = np.indices(grey.shape) + 0.5
    waves = (np.cos(2 * np.pi * line / period) for line in (rows + columns, rows - columns))
    return np.uint8(255) * (grey > 127.5 + 63 * (sum(waves) if period else 0))


def _draw(random, height, width):
    def colour():
        if random.random() < 0.5:  # paper, ink
            return (255, 255, 255) if random.random() < 0.5 else (0, 0, 0)
        return tuple(random.integers(256, size=3).tolist())

    image = Image.new("RGB", (width, height), colour())
    draw = ImageDraw.Draw(image)
    for kind in random.choice(KINDS, random.integers(3, 16)):
        x, y = (int(random.integers(-length // 4, length)) for length in (width, height))
        x_end, y_end = x + int(random.integers(4, width)), y + int(random.integers(4, height))
        if kind == "text":
            font = _font(int(random.integers(8, 40)))
            lines = ("".join(random.choice(LETTERS, size=40)) for _ in range(2))
            draw.text((x, y), "\n".join(lines), colour(), font)
        elif kind == "line":
            line = x, y, x_end, int(random.integers(height))
            draw.line(line, colour(), int(random.integers(1, 5)))
        elif kind == "ramp":
            ramp = Image.linear_gradient("L").rotate(90 * int(random.integers(4)))
            image.paste(ramp.resize((x_end - x, y_end - y)), (x, y))
        else:
            fill = colour() if random.random() < 0.5 else None
            getattr(draw, kind)((x, y, x_end, y_end), fill, colour(), int(random.integers(1, 4)))
    return np.asarray(image)
