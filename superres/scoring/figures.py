"""Pictures of results: a detail in the manner of the papers, maps of the error."""

import cv2
import numpy as np
from PIL import Image, ImageDraw

from superres.images.panels import GAP, font_of
from superres.images.resize import upscale_nearest
from superres.runtime.terminal import escaped
from superres.scoring import metrics

BOX_COLOUR = (230, 30, 40)
PANORAMA = 2.5  # width over height of pictures that stand above their details in a figure
DETAIL_SIDE = 224  # pixels of an enlarged detail in a figure
MAX_ERROR = 32  # levels of Y that an error map shows in its brightest colour


def error(reference, picture):
    """Difference of Y, pixel for pixel: float64 (H, W), in levels from 0 to 255."""
    return np.abs(metrics.luma(reference) - metrics.luma(picture))


def error_map(reference, picture):
    """The difference of Y as RGB: black where there is none, yellow at `MAX_ERROR`."""
    levels = np.clip(error(reference, picture) / MAX_ERROR, 0, 1) * 255
    bgr = cv2.applyColorMap(np.round(levels).astype(np.uint8), cv2.COLORMAP_INFERNO)
    return np.ascontiguousarray(bgr[..., ::-1])


def box_side(shape):
    """Side of the box that a figure enlarges: a sixth of the shorter side, 24 to 112 pixels."""
    shorter = min(shape[:2])
    return min(shorter, max(24, min(112, shorter // 6)))


def find_box(reference, before, after, border):
    """Where one picture gains most over another: left, top, width and height of a square.

    It has the largest sum of gains; that of a pixel is how much smaller its squared error on Y is.
    A border of so many pixels, which are not scored, is left out.
    """
    height, width = reference.shape[:2]
    side = box_side(reference.shape)
    gain = error(reference, before) ** 2 - error(reference, after) ** 2
    border = min(border, (height - side) // 2, (width - side) // 2)
    inner = gain[border : height - border, border : width - border]
    total = cv2.integral(inner)
    sums = total[side:, side:] - total[:-side, side:] - total[side:, :-side] + total[:-side, :-side]
    top, left = np.unravel_index(np.argmax(sums), sums.shape)
    return int(left) + border, int(top) + border, side, side


def paper_figure(name, whole, panels, box):
    """The whole picture with a box, and beside it what is in the box in several pictures.

    Args:
        name: text under the whole picture.
        whole: uint8 (H, W) or (H, W, 3), the picture in which the box is drawn.
        panels: list of (label, scores, picture): two lines of text, and a picture of the size
            of `whole`, of which the box is shown enlarged, every pixel a sharp square.
        box: left, top, width and height in it.

    Returns:
        uint8 (H', W', 3), on white.
    """
    name = escaped(name)
    left, top, width, height = box
    zoom = max(1, round(DETAIL_SIDE / max(width, height)))
    font = font_of(15)
    line = 19
    words = [text for label, scores, _ in panels for text in (label, scores)]
    cell = max(width * zoom, *(round(font.getlength(text)) for text in words))
    cell_height = height * zoom + 2 * line + 2
    is_panorama = whole.shape[1] > PANORAMA * whole.shape[0]
    if is_panorama:  # above the details, as wide as they are together
        columns = len(panels)
        ratio = (columns * (cell + GAP) - GAP) / whole.shape[1]
    else:  # on their left
        columns = -(-len(panels) // 2)
        ratio = (2 * cell_height + GAP - line - 2) / whole.shape[0]
    size = [max(1, round(ratio * side)) for side in whole.shape[1::-1]]
    resized = Image.fromarray(whole).convert("RGB").resize(size, Image.Resampling.LANCZOS)
    left_of, below = (0, resized.height + line + GAP) if is_panorama else (resized.width + GAP, 0)
    rows = -(-len(panels) // columns)
    sheet = Image.new(
        "RGB",
        (left_of + columns * (cell + GAP) - GAP, below + rows * (cell_height + GAP) - GAP),
        "white",
    )
    sheet.paste(resized, (0, 0))
    draw = ImageDraw.Draw(sheet)
    draw.rectangle(
        [ratio * left - 1, ratio * top - 1, ratio * (left + width), ratio * (top + height)],
        outline=BOX_COLOUR,
        width=3,
    )
    while name and font.getlength(name) > resized.width - 4:
        name = name.rstrip("…")[:-1] + "…" if len(name) > 2 else ""
    draw.text((2, resized.height + 2), name, "black", font, anchor="lt")
    for n, (label, scores, picture) in enumerate(panels):
        x = left_of + n % columns * (cell + GAP)
        y = below + n // columns * (cell_height + GAP)
        part = picture[top : top + height, left : left + width]
        part = Image.fromarray(upscale_nearest(part, zoom)).convert("RGB")
        sheet.paste(part, (x, y))
        draw.rectangle([x, y, x + part.width - 1, y + part.height - 1], outline=BOX_COLOUR, width=2)
        draw.text((x, y + part.height + 3), label, "black", font, anchor="lt")
        draw.text((x, y + part.height + line + 1), scores, "black", font, anchor="lt")
    return np.array(sheet)
