"""Diagrams of the network."""

from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch

BLUE, ORANGE, GREEN, GREY = "#cfe2f3", "#fce5cd", "#d9ead3", "#eeeeee"
WIDTH, HEIGHT, SPACE = 1.6, 1.1, 0.4  # of a box, and between two, in inches
ADD = "+"  # a step drawn as a small circle where a shortcut ends


def draw_chain(steps, shortcuts, path):
    """Draws steps from left to right, with shortcuts that pass above or below some.

    Args:
        steps: list of (label, colour); the label `ADD` stands for an addition.
        shortcuts: list of (index of the step behind which it leaves, index of the addition
            where it arrives, label, height above the chain in inches; negative: below).
        path: PNG file to write.
    """
    widths = [0.4 if label == ADD else WIDTH for label, _ in steps]
    lefts = [sum(widths[:n]) + n * SPACE for n in range(len(steps))]
    length = lefts[-1] + widths[-1]
    top = max([HEIGHT / 2, *(height for *_, height in shortcuts)]) + 0.4
    bottom = min([-HEIGHT / 2, *(height for *_, height in shortcuts)]) - 0.4
    figure = Figure(figsize=(length + 0.4, top - bottom), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(-0.2, length + 0.2), ylim=(bottom, top))
    axes.set_axis_off()
    arrow = {"arrowstyle": "-|>", "color": "black", "shrinkA": 0, "shrinkB": 0}

    for (label, colour), left, width in zip(steps, lefts, widths, strict=True):
        centre = left + width / 2
        if label == ADD:
            axes.add_patch(Circle((centre, 0), width / 2, facecolor="white", edgecolor="black"))
        else:
            axes.add_patch(
                FancyBboxPatch(
                    (left + 0.06, -HEIGHT / 2 + 0.06),
                    width - 0.12,
                    HEIGHT - 0.12,
                    boxstyle="round,pad=0.06",
                    facecolor=colour,
                    edgecolor="black",
                )
            )
        axes.text(centre, 0, label, ha="center", va="center", fontsize=14)
        if left > 0:
            axes.annotate("", (left, 0), (left - SPACE, 0), arrowprops=arrow)
    for start, end, label, height in shortcuts:
        x_start = lefts[start] + widths[start] + SPACE / 3
        x_end = lefts[end] + widths[end] / 2
        edge = widths[end] / 2 if height > 0 else -widths[end] / 2
        axes.plot([x_start, x_start, x_end], [0, height, height], color="black", linewidth=1.2)
        axes.annotate("", (x_end, edge), (x_end, height), arrowprops=arrow)
        middle = (x_start + x_end) / 2
        axes.text(middle, height + 0.08, label, ha="center", va="bottom", fontsize=14)
    figure.savefig(path, dpi=110)


def draw_residual_block(path, num_filters, residual_scaling):
    """Draws one residual block as a PNG picture at `path`."""
    convolution = f"conv 3×3\n{num_filters} → {num_filters}"
    steps = [
        (f"features\nH × W × {num_filters}", GREY),
        (convolution, BLUE),
        ("ReLU", GREEN),
        (convolution, BLUE),
        (f"× {residual_scaling:g}", ORANGE),
        (ADD, None),
        (f"features\nH × W × {num_filters}", GREY),
    ]
    draw_chain(steps, [(0, 5, "the block's input, unchanged", 0.95)], path)


def draw_network(path, shuffles, num_filters, residual_blocks, global_skip, conditions=0):
    """Draws the whole network as a PNG picture at `path`.

    Args:
        shuffles: factors of the pixel shuffles, one after the other.
        global_skip: whether the enlarged input is added at the end.
        conditions: numbers on which the first feature maps depend: 1 for the quality, or 3.
    """
    noun = "block" if residual_blocks == 1 else "blocks"
    condition = {0: "", 1: "\n+ quality", 3: "\n+ condition"}[conditions]
    steps = [
        ("LR picture\nH × W × 3", GREY),
        (f"conv 3×3\n3 → {num_filters}{condition}", BLUE),
        (
            f"{residual_blocks} residual\n{noun}\n{num_filters} → {num_filters}",
            ORANGE,
        ),
        (f"conv 3×3\n{num_filters} → {num_filters}", BLUE),
        (ADD, None),
    ]
    scale = 1
    for factor in shuffles:
        scale *= factor
        steps.append((f"conv 3×3\n{num_filters} → {num_filters * factor**2}", BLUE))
        steps.append((f"pixel shuffle\n×{factor}", GREEN))
    steps.append((f"conv 3×3\n{num_filters} → 3", BLUE))
    shortcuts = [(1, 4, "long skip", 0.95)]
    if global_skip:
        steps.append((ADD, None))
        shortcuts.append((0, len(steps) - 1, f"global skip: enlarged ×{scale}, bilinear", -1.1))
    steps.append((f"SR picture\n{scale}H × {scale}W × 3", GREY))
    draw_chain(steps, shortcuts, path)
