"""Draws the project's own pictures: the samples, and the figures of the README.

`python -m tools.draw` draws the samples, `python -m tools.draw figures` docs/figure_*.jpg and
docs/wild.jpg.
"""

import argparse
import math
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

FIGURE_QUALITY = 50  # of the JPEG in docs/figure_jpeg.jpg
PHOTO_BOX = (300, 700, 112, 112)  # left, top, width, height of the detail in docs/figure_photo.jpg
# Seeds of random degradations in docs/wild.jpg, by what happens in them.
WILD = {
    "clean": 3,
    "JPEG 45": 45,
    "JPEG 67, then 30": 25,
    "larger JPEG, then JPEG": 19,
    "the same, sharpened": 27,
    "sharpened, JPEG": 13,
    "blur": 10,
    "noise, JPEG": 7,
    "blur, grain": 50,
    "larger, noise, WebP": 32,
}
FINE = 4  # everything is drawn this much larger and then reduced, for smooth edges


def draw_chart(path):
    """A test chart: a star of rays, rings, lines, text and a colour ramp; 384x256."""
    chart = Image.new("RGB", (384 * FINE, 256 * FINE), "white")
    draw = ImageDraw.Draw(chart)

    def scaled(*numbers):
        return [number * FINE for number in numbers]

    for n in range(36):
        draw.pieslice(scaled(12, 12, 132, 132), n * 10, n * 10 + 5, fill="black")
    for n in range(15):
        radius, colour = 60 - 4 * n, ("navy", "gold")[n % 2]
        draw.ellipse(scaled(204 - radius, 72 - radius, 204 + radius, 72 + radius), fill=colour)
    x = 276.0
    for n in range(12):
        width = 6 * 0.85**n
        draw.rectangle(scaled(x, 12, x + width, 132), fill="darkred")
        x += 2 * width
    for n in range(9):
        angle = math.radians(10 * n)
        end = (352 - 62 * math.cos(angle), 240 - 62 * math.sin(angle))
        draw.line(scaled(352, 240, *end), fill="black", width=FINE)
    sizes = (20, 15, 11, 8)
    for size, y in zip(sizes, (146, 172, 192, 208), strict=True):
        font = ImageFont.load_default(size * FINE)
        draw.text(scaled(12, y), "Sphinx of black quartz, judge my vow", "black", font)
    for column in range(240):
        colour = tuple(round(255 * (0.5 + 0.5 * math.sin(column / 40 + n * 2.1))) for n in range(3))
        draw.rectangle(scaled(12 + column, 224, 13 + column, 244), fill=colour)
    chart.reduce(FINE).save(path, optimize=True)


def draw_badge(path):
    """A badge with a transparent ground and a soft shadow; 160x160, RGBA."""
    size = 160 * FINE
    rows, columns = np.mgrid[:size, :size] / FINE
    distance = np.hypot(rows - 84, columns - 84)
    shadow = np.clip((76 - distance) / 12, 0, 1) * 0.5
    alpha = Image.fromarray((255 * shadow).astype(np.uint8))
    badge = Image.new("RGBA", (size, size), (40, 40, 60, 0))
    badge.putalpha(alpha)
    draw = ImageDraw.Draw(badge)
    draw.ellipse([8 * FINE, 8 * FINE, 148 * FINE, 148 * FINE], fill="#1c4587")
    draw.ellipse([16 * FINE, 16 * FINE, 140 * FINE, 140 * FINE], fill="#cfe2f3")
    centre = (78 * FINE, 78 * FINE)
    draw.text(centre, "SR", "#1c4587", ImageFont.load_default(66 * FINE), anchor="mm")
    badge.reduce(FINE).save(path, optimize=True)


def draw_figures(folder):
    """What `evaluate.py` draws of three pictures by the shipped weights, for the README."""
    import utils
    from superres.scoring.restore import restore, write_pictures
    from superres.scoring.testsets import Pair

    upscaler = utils.load(utils.best_weights(utils.WEIGHTS_FOLDER)[0])
    originals = [
        ROOT / "evaluation/original/astronaut.png",
        ROOT / "evaluation/original/chart.png",
        ROOT / "inference/original/grace_hopper.jpg",
    ]
    with tempfile.TemporaryDirectory() as results:
        for path in originals:
            pair = Pair(path, None, Path(path.name))
            restored = restore(pair, upscaler.scale, lambda lr, condition: upscaler.enlarge(lr))
            write_pictures(Path(results), f"{path.stem}.png", path.name, restored)
            with Image.open(Path(results, "figures", f"{path.stem}.png")) as picture:
                name = f"figure_{path.stem}.jpg"
                picture.save(folder / name, quality=92, subsampling="4:4:4")


def draw_jpeg_figure(path):
    """A JPEG, enlarged by bicubic, and by the shipped weights for clean pictures and for JPEGs."""
    import utils
    from superres.images.degradation import degrade, named
    from superres.images.read import read_rgb
    from superres.images.resize import downscale, upscale_bicubic, upscale_nearest
    from superres.scoring import figures, metrics

    def by(content):
        best, _ = utils.best_weights(utils.WEIGHTS_FOLDER, 2, content=content)
        return utils.load(best).enlarge(lr, condition=degradation.condition)

    degradation = named(f"jpeg{FIGURE_QUALITY}")
    hr = read_rgb(ROOT / "evaluation/original/astronaut.png")
    lr = degrade(degradation, downscale(hr, 2), hr, 2)
    views = {
        "the JPEG": upscale_nearest(lr, 2),
        "bicubic": upscale_bicubic(lr, 2),
        "network for clean pictures": by("clean"),
        "network for JPEGs": by("photo"),
    }
    panels = [
        (name, f"{metrics.psnr(hr, picture, 2):.2f} dB", picture) for name, picture in views.items()
    ]
    box = figures.find_box(hr, views["bicubic"], views["network for JPEGs"], 2)
    title = f"reduced by 2, saved as JPEG of quality {FIGURE_QUALITY}"
    figure = figures.paper_figure(title, hr, panels, box)
    Image.fromarray(figure).save(path, quality=92, subsampling="4:4:4")


def draw_photo_figure(path):
    """A photograph as it comes from a phone, and what `output.py` makes of it."""
    import output
    from superres.images.read import read_rgb
    from superres.images.resize import upscale_bicubic, upscale_nearest
    from superres.scoring import figures

    source = ROOT / "inference/original/chelsea.jpg"

    def enlarged(content):
        with tempfile.TemporaryDirectory() as folder:
            words = [str(source), folder, "--scale", "3", "--content", content]
            if output.main(words):
                raise SystemExit(1)
            return read_rgb(Path(folder, source.name))

    lr, made = read_rgb(source), enlarged("auto")
    panels = [
        ("the file", "", upscale_nearest(lr, 3)),
        ("bicubic", "", upscale_bicubic(lr, 3)),
        ("network for clean pictures", "", enlarged("clean")),
        ("output.py", "", made),
    ]
    figure = figures.paper_figure("451x300, JPEG of quality 75", made, panels, PHOTO_BOX)
    Image.fromarray(figure).save(path, quality=92, subsampling="4:4:4")


def draw_degradations(path):
    """A crop after ten of the random degradations."""
    from superres.images.degradation import degrade, draw
    from superres.images.drawing import side_by_side
    from superres.images.read import read_rgb
    from superres.images.resize import downscale, upscale_nearest

    hr = read_rgb(ROOT / "evaluation/original/astronaut.png")[24:184, 144:304]
    lr, panels = downscale(hr, 2), []
    for label, seed in WILD.items():
        random = np.random.default_rng(seed)
        degraded = degrade(draw(random), lr, hr, 2, random)
        panels.append((label, upscale_nearest(degraded, 3)))
    lines = [side_by_side(panels[:5]), side_by_side(panels[5:])]
    Image.fromarray(np.concatenate(lines)).save(path, quality=92, subsampling="4:4:4")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="tools.draw", description=__doc__.split("\n")[0])
    parser.add_argument("what", nargs="?", choices=("samples", "figures"), default="samples")
    if parser.parse_args().what == "figures":
        draw_figures(ROOT / "docs")
        draw_jpeg_figure(ROOT / "docs/figure_jpeg.jpg")
        draw_photo_figure(ROOT / "docs/figure_photo.jpg")
        draw_degradations(ROOT / "docs/wild.jpg")
    else:
        draw_chart(ROOT / "evaluation/original/chart.png")
        draw_badge(ROOT / "inference/original/badge.png")
        with Image.open(ROOT / "evaluation/original/astronaut.png") as astronaut:
            astronaut.crop((96, 0, 352, 256)).save(ROOT / "inference/original/astronaut.png")
