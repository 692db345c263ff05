"""Pictures side by side, with labels."""

from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

GAP = 6  # pixels between panels


@cache
def font_of(size):
    """The font of labels: Pillow's own has Latin letters only, and no infinity."""
    import matplotlib  # here, since it takes long

    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), size)


def side_by_side(panels, gap=GAP):
    """Pictures beside each other, each under its label, on white.

    Args:
        panels: list of (label, uint8 (H, W) or (H, W, 3)), all of one size.
        gap: pixels between them.

    Returns:
        uint8 (H', W', 3).
    """
    height, width = panels[0][1].shape[:2]
    size = max(11, min(28, width // 16))
    font = font_of(size)
    longest = max(int(font.getlength(label)) for label, _ in panels)
    step = max(width, longest + 2 * gap) + gap
    strip = round(1.6 * size)
    sheet = Image.new("RGB", (len(panels) * step - gap, height + strip), "white")
    draw = ImageDraw.Draw(sheet)
    for n, (label, picture) in enumerate(panels):
        draw.text((n * step + gap, strip // 2), label, "black", font, anchor="lm")
        sheet.paste(Image.fromarray(picture).convert("RGB"), (n * step, strip))
    return np.array(sheet)
