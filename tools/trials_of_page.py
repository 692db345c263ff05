"""The trial of the page of `evaluate.py`, which `python -m tools.trials` runs."""

import shutil
import time
from pathlib import Path

import numpy as np

from superres.images.read import read_rgb
from superres.images.resize import downscale, imresize, upscale_bicubic, upscale_nearest
from superres.scoring import figures, metrics
from superres.scoring.page import Page
from superres.scoring.restore import Restored
from superres.scoring.results import Results

ROOT = Path(__file__).parent.parent


def make_photograph(side, chance):
    """Parts of the sample pictures, turned and flipped, side by side: uint8 (side, side, 3)."""
    samples = [
        ROOT / "evaluation/original/astronaut.png",
        ROOT / "inference/original/grace_hopper.jpg",
    ]
    samples = [read_rgb(path) for path in samples]
    half = side // 2
    rows = []
    for _ in range(2):
        row = []
        for _ in range(2):
            sample = samples[chance.integers(2)]
            top, left = (chance.integers(length - 256) for length in sample.shape[:2])
            part = np.rot90(sample[top : top + 256, left : left + 256], chance.integers(4))
            part = imresize(np.ascontiguousarray(part), half, half).astype(float)
            row.append(part + chance.normal(0, 3, part.shape))  # as of a sensor
        rows.append(np.concatenate(row, axis=1))
    return np.clip(np.concatenate(rows), 0, 255).astype(np.uint8)


def try_page(path, count, side):
    """Writes a page of pictures of `side` squared pixels; returns its size in bytes."""
    chance = np.random.default_rng(1)
    report = Page(count, "prediction")
    for number in range(count):
        original = make_photograph(side, chance)
        lr = downscale(original, 2)
        bicubic = upscale_bicubic(lr, 2)
        better = ((original.astype(int) + bicubic) // 2).astype(np.uint8)
        views = {"nearest": upscale_nearest(lr, 2), "bicubic": bicubic, "prediction": better}
        scores = {name: metrics.score(original, view, 2) for name, view in views.items()}
        box = figures.find_box(original, bicubic, better, 2)
        views["original"] = original
        report.add(f"{number}", Restored(views, scores, [], {}, box, None))
    results = Results([], ["bicubic", "prediction"], 2)
    report.write(path, results, {"scale": 2, "networks": [], "compared": {}})
    return path.stat().st_size


def opening_seconds(path):
    """Seconds until the first picture of a page can be looked at in Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page()
        began = time.monotonic()
        page.goto(path.as_uri())
        page.wait_for_selector("canvas[data-zoom]")
        return time.monotonic() - began
