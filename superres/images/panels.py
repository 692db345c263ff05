"""Pictures side by side, with labels; diagrams of the network."""

import math
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

GAP = 6  # pixels between panels
# For diagrams: colours, sizes in inches, the label of an addition.
BLUE, ORANGE, GREEN, GREY, WHITE = "#cfe2f3", "#fce5cd", "#d9ead3", "#eeeeee", "white"
WIDTH, HEIGHT, SPACE, ADD = 1.6, 1.1, 0.4, "+"


@cache
def font_of(size):
    """The font of labels: Pillow's own has Latin letters only, and no ∞."""
    import matplotlib  # here, since it takes long

    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), size)


def side_by_side(panels, gap=GAP):
    """Pictures of one size in a row, each under its label: (label, uint8 (H, W) or (H, W, 3))."""
    height, width = panels[0][1].shape[:2]
    size = max(11, min(28, width // 16))
    font = font_of(size)
    step = max(width, *(int(font.getlength(label)) + 2 * gap for label, _ in panels)) + gap
    strip = round(1.6 * size)
    sheet = Image.new("RGB", (len(panels) * step - gap, height + strip), "white")
    draw = ImageDraw.Draw(sheet)
    for n, (label, picture) in enumerate(panels):
        draw.text((n * step + gap, strip // 2), label, "black", font, anchor="lm")
        sheet.paste(Image.fromarray(picture).convert("RGB"), (n * step, strip))
    return np.array(sheet)


def _draw_chain(path, steps, shortcuts):
    """Draws steps (label, colour), and shortcuts (start, end, label, inches above the chain)."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Circle, FancyBboxPatch

    widths = [0.4 if label == ADD else WIDTH for label, _ in steps]
    lefts = [sum(widths[:n]) + n * SPACE for n in range(len(steps))]
    length, heights = lefts[-1] + widths[-1], [height for *_, height in shortcuts]
    bottom, top = min(-HEIGHT / 2, *heights) - 0.4, max(HEIGHT / 2, *heights) + 0.4
    figure = Figure(figsize=(length + 0.4, top - bottom), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(-0.2, length + 0.2), ylim=(bottom, top))
    axes.set_axis_off()
    arrow = {"arrowstyle": "-|>", "color": "black", "shrinkA": 0, "shrinkB": 0}
    for (label, colour), left, width in zip(steps, lefts, widths, strict=True):
        centre, corner = left + width / 2, (left + 0.06, -HEIGHT / 2 + 0.06)
        shape = Circle((centre, 0), width / 2, fc=colour, ec="black")
        if label != ADD:
            size = width - 0.12, HEIGHT - 0.12
            shape = FancyBboxPatch(corner, *size, "round,pad=0.06", fc=colour, ec="black")
        axes.add_patch(shape)
        axes.text(centre, 0, label, ha="center", va="center", fontsize=14)
        if left > 0:
            axes.annotate("", (left, 0), (left - SPACE, 0), arrowprops=arrow)
    for start, end, label, y in shortcuts:
        x_start, x_end = lefts[start] + widths[start] + SPACE / 3, lefts[end] + widths[end] / 2
        edge = math.copysign(widths[end] / 2, y)
        axes.plot([x_start, x_start, x_end], [0, y, y], color="black", linewidth=1.2)
        axes.annotate("", (x_end, edge), (x_end, y), arrowprops=arrow)
        axes.text((x_start + x_end) / 2, y + 0.08, label, ha="center", va="bottom", fontsize=14)
    figure.savefig(path, dpi=110)


def draw_residual_block(path, num_filters, residual_scaling):
    """Draws one residual block as a PNG picture at `path`."""
    features = f"features\nH × W × {num_filters}"
    convolution = f"conv 3×3\n{num_filters} → {num_filters}"
    steps = [(features, GREY), (convolution, BLUE), ("ReLU", GREEN), (convolution, BLUE)]
    steps += [(f"× {residual_scaling:g}", ORANGE), (ADD, WHITE), (features, GREY)]
    _draw_chain(path, steps, [(0, 5, "the block's input, unchanged", 0.95)])


def draw_network(path, shuffles, num_filters, residual_blocks, global_skip, conditions=0):
    """Draws EDSR as a PNG picture at `path`; `shuffles`: factors of its pixel shuffles in order."""
    condition = {0: "", 1: "\n+ quality", 4: "\n+ condition"}[conditions]
    within = f"{num_filters} → {num_filters}"
    steps = [
        ("LR picture\nH × W × 3", GREY),
        (f"conv 3×3\n3 → {num_filters}{condition}", BLUE),
        (f"{residual_blocks} residual\nblock{'s' * (residual_blocks != 1)}\n{within}", ORANGE),
        (f"conv 3×3\n{within}", BLUE),
        (ADD, WHITE),
    ]
    for factor in shuffles:
        convolution = f"conv 3×3\n{num_filters} → {num_filters * factor**2}"
        steps += [(convolution, BLUE), (f"pixel shuffle\n×{factor}", GREEN)]
    steps += [(f"conv 3×3\n{num_filters} → 3", BLUE)]
    scale, shortcuts = math.prod(shuffles), [(1, 4, "long skip", 0.95)]
    if global_skip:
        shortcuts += [(0, len(steps), f"global skip: enlarged ×{scale}, bilinear", -1.1)]
        steps += [(ADD, WHITE)]
    steps += [(f"SR picture\n{scale}H × {scale}W × 3", GREY)]
    _draw_chain(path, steps, shortcuts)
