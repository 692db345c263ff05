"""Figures of results: an enlarged detail, as in papers, and error maps."""

import cv2
import numpy as np
from PIL import Image, ImageDraw

from superres.images.panels import GAP, font_of
from superres.images.resize import upscale_nearest
from superres.runtime.terminal import escaped
from superres.scoring import metrics

BOX_COLOUR = (230, 30, 40)
PANORAMA = 2.5  # width over height; of wider pictures the details are below, not on the right
DETAIL_SIDE = 224  # pixels of an enlarged detail
MAX_ERROR = 32  # levels of Y, in the brightest colour of error maps


def error(reference, picture):
    """Absolute error of Y: float64 (H, W), in levels."""
    return np.abs(metrics.luma(reference) - metrics.luma(picture))


def error_map(reference, picture):
    """The error of Y in colours, from black for none to yellow for `MAX_ERROR`: uint8 RGB."""
    levels = np.clip(error(reference, picture) / MAX_ERROR, 0, 1) * 255
    bgr = cv2.applyColorMap(np.round(levels).astype(np.uint8), cv2.COLORMAP_INFERNO)
    return np.ascontiguousarray(bgr[..., ::-1])


def box_side(shape):
    """Side of the detail in a figure: a sixth of the shorter side, 24 to 112 pixels."""
    shorter = min(shape[:2])
    return min(shorter, max(24, min(112, shorter // 6)))


def find_box(reference, before, after, border):
    """The square where one picture gains most over another: left, top, width, height.

    There the sum of squared errors on Y falls most. It keeps off the border, which is not scored.
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
    """A picture with a box, and beside it the box enlarged in several pictures: uint8 RGB.

    Args:
        name: text under the picture.
        whole: uint8 (H, W) or (H, W, 3).
        panels: list of (label, scores, picture): two lines of text, a picture as large as `whole`.
        box: left, top, width, height.
    """
    name = escaped(name)
    left, top, width, height = box
    zoom = max(1, round(DETAIL_SIDE / max(width, height)))
    font = font_of(15)
    line = 19
    texts = [text for label, scores, _ in panels for text in (label, scores)]
    cell = max(width * zoom, *(round(font.getlength(text)) for text in texts))
    cell_height = height * zoom + 2 * line + 2
    is_panorama = whole.shape[1] > PANORAMA * whole.shape[0]
    if is_panorama:  # as wide as all details together
        columns = len(panels)
        ratio = (columns * (cell + GAP) - GAP) / whole.shape[1]
    else:  # as high as two rows of details
        columns = -(-len(panels) // 2)
        ratio = (2 * cell_height + GAP - line - 2) / whole.shape[0]
    size = [max(1, round(ratio * side)) for side in whole.shape[1::-1]]
    resized = Image.fromarray(whole).convert("RGB").resize(size, Image.Resampling.LANCZOS)
    details_x, details_y = (
        (0, resized.height + line + GAP) if is_panorama else (resized.width + GAP, 0)
    )
    rows = -(-len(panels) // columns)
    size = details_x + columns * (cell + GAP) - GAP, details_y + rows * (cell_height + GAP) - GAP
    sheet = Image.new("RGB", size, "white")
    sheet.paste(resized, (0, 0))
    draw = ImageDraw.Draw(sheet)
    corners = ratio * left - 1, ratio * top - 1, ratio * (left + width), ratio * (top + height)
    draw.rectangle(corners, outline=BOX_COLOUR, width=3)
    while name and font.getlength(name) > resized.width - 4:
        name = name.rstrip("…")[:-1] + "…" if len(name) > 2 else ""
    draw.text((2, resized.height + 2), name, "black", font, anchor="lt")
    for n, (label, scores, picture) in enumerate(panels):
        x = details_x + n % columns * (cell + GAP)
        y = details_y + n // columns * (cell_height + GAP)
        part = picture[top : top + height, left : left + width]
        part = Image.fromarray(upscale_nearest(part, zoom)).convert("RGB")
        sheet.paste(part, (x, y))
        draw.rectangle([x, y, x + part.width - 1, y + part.height - 1], outline=BOX_COLOUR, width=2)
        draw.text((x, y + part.height + 3), label, "black", font, anchor="lt")
        draw.text((x, y + part.height + line + 1), scores, "black", font, anchor="lt")
    return np.array(sheet)
