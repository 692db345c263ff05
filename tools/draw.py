"""Draws the figures of the README and the docs: docs/figure_*.jpg, sharp.jpg and wild.jpg."""

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import output
import utils
from superres.images.degradation import Degradation, Encoding, degrade
from superres.images.panels import side_by_side
from superres.images.quality import condition_of
from superres.images.read import read_rgb
from superres.images.resize import crop_to_multiple, downscale, upscale_bicubic, upscale_nearest
from superres.scoring import figures, metrics
from superres.scoring.restore import restore, write_pictures
from superres.scoring.testsets import Pair

ROOT = Path(utils.__file__).parent
ASTRONAUT = ROOT / "evaluation/original/astronaut.png"
CLEAN = [ASTRONAUT, ASTRONAUT.with_name("chart.png"), ROOT / "inference/original/grace_hopper.jpg"]
PHOTO = ROOT / "inference/original/chelsea.jpg"
PHOTO_BOX = (300, 700, 112, 112)  # left, top, width, height of the detail in docs/figure_photo.jpg
# Degradations of real pictures, in docs/wild.jpg.
WILD = {
    "JPEG 50": Degradation(encodings=(Encoding(50),)),
    "from a larger JPEG": Degradation(
        "area", encodings=(Encoding(78),), factor=1.5, earlier=Encoding(80)
    ),
    "phone": Degradation(blur=0.5, noise=6.0, smoothing=0.4, encodings=(Encoding(90),)),
    "scan": Degradation(
        "lanczos", blur=0.8, noise=7.0, is_noise_grey=True, encodings=(Encoding(85),)
    ),
    "sharpened": Degradation("lanczos", amount=0.9, radius=0.7, encodings=(Encoding(82),)),
    "messenger": Degradation(
        "bilinear", encodings=(Encoding(45),), factor=2.0, earlier=Encoding(85)
    ),
}


def clean_figures():
    """Figures of evaluate.py, with the shipped weights: yields (name, picture)."""
    upscaler = utils.NetworkOptions().load(2).clean.upscaler
    with tempfile.TemporaryDirectory() as folder:
        for path in CLEAN:
            pair = Pair(path, None, Path(path.name))
            restoration = restore(pair, 2, lambda lr, condition: upscaler.enlarge(lr))
            write_pictures(Path(folder), f"{path.stem}.png", path.name, restoration)
            yield f"figure_{path.stem}", read_rgb(Path(folder, "figures", f"{path.stem}.png"))


def photo_figure():
    """A photograph from a phone, and the output of output.py."""

    def output_of(content):
        with tempfile.TemporaryDirectory() as folder:
            if output.main([str(PHOTO), folder, "--scale", "3", "--content", content]):
                raise SystemExit(1)
            return read_rgb(Path(folder, PHOTO.name))

    lr, sr = read_rgb(PHOTO), output_of("auto")
    panels = [
        ("the file", "", upscale_nearest(lr, 3)),
        ("bicubic", "", upscale_bicubic(lr, 3)),
        ("network for clean pictures", "", output_of("clean")),
        ("output.py", "", sr),
    ]
    return figures.paper_figure("451x300, JPEG of quality 75", sr, panels, PHOTO_BOX)


def wild_figure():
    """A detail after each degradation, enlarged by bicubic and by each network."""
    hr = read_rgb(ASTRONAUT)[24:184, 144:304]
    networks = utils.NetworkOptions(network="small").load(2)
    labels = "bicubic", "clean network", "photo network", "wild network"
    rows = []
    for label, degradation in WILD.items():
        lr = degrade(degradation, downscale(hr, 2), hr, 2, np.random.default_rng(1))
        condition = condition_of(lr, degradation.quality)
        enlarged = [one.upscaler.enlarge(lr, condition=condition) for one in networks[:3]]
        views = dict(zip(labels, (upscale_bicubic(lr, 2), *enlarged), strict=True))
        panels = [(label, upscale_nearest(lr, 2))]
        panels += [(f"{n}  {metrics.psnr(hr, v, 2):.2f} dB", v) for n, v in views.items()]
        rows.append(side_by_side([*panels, ("original", hr)]))
    return np.concatenate(rows)


def sharp_figure():
    """Details at x4, enlarged by bicubic and with SHARPNESS from 0 to 1; twice as large."""
    dial = (0, 0.5, 0.7, 1)
    options = [utils.NetworkOptions(network="small", sharpness=one) for one in dial]
    upscalers = [one.load(4).clean.upscaler for one in options]
    rows = []
    for path, left, top in (PHOTO, 100, 60), (ASTRONAUT, 148, 24):
        hr = crop_to_multiple(read_rgb(path), 4)
        lr = downscale(hr, 4)
        views = [("bicubic", upscale_bicubic(lr, 4))]
        views += [(f"{s:g}", one.enlarge(lr)) for s, one in zip(dial, upscalers, strict=True)]
        box = slice(top, top + 128), slice(left, left + 128)
        views = [(label, view[box]) for label, view in [*views, ("original", hr)]]
        rows.append(side_by_side([(n, upscale_nearest(view, 2)) for n, view in views]))
    return np.concatenate(rows)


if __name__ == "__main__":
    pictures = dict(clean_figures(), figure_photo=photo_figure())
    pictures |= {"wild": wild_figure(), "sharp": sharp_figure()}
    for name, picture in pictures.items():
        path = ROOT / "docs" / f"{name}.jpg"
        Image.fromarray(picture).save(path, quality=92, subsampling="4:4:4")
        print(path)
