"""Scores trained weights by the protocol of the super-resolution literature.

`python evaluate.py` reduces every picture in evaluation/original, restores it, prints PSNR
and SSIM beside those of bicubic enlargement, and writes
  evaluation/results.json   all scores
  evaluation/output         the restored pictures
  evaluation/Combined       original, nearest neighbour and prediction side by side

The protocol: HR cropped to a multiple of the scale; LR by MATLAB's bicubic `imresize`; the
prediction rounded to uint8; scores on Y of YCbCr, not rounded; `scale` pixels shaved from
each border; the mean of the pictures' scores.

Exit code 0: every picture is scored. 1: some were refused, each named with its reason.
2: nothing could start. 130: stopped by Ctrl-C.
"""

import json
import math
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

import output
import settings
import utils
from upscaler import PRECISIONS

# ------------------------------------------------------------------- settings ----
FOLDER = "evaluation/original"  # HR pictures, or HR/ and LR/x2/ with pictures of the same names
WEIGHTS = ""  # .keras file, which also says the scale; empty: the best one in weights/
SELF_ENSEMBLE = False  # average over eight flips and turns: a little better, 8 times slower
PRECISION = "float32"  # or bfloat16, or auto: bfloat16 where the hardware has it
TILE_SIZE = 0  # LR pixels a side computed at once; 0: by the memory that is free
# ---------------------------------------------------------------------------------

RESULTS = Path("evaluation")
SSIM_RADIUS = 5  # of the 11x11 Gaussian window


def luma(picture):
    """Y of YCbCr (ITU-R BT.601) as MATLAB's `rgb2ycbcr` gives it, but not rounded.

    Args:
        picture: uint8 RGB (H, W, 3), or grey (H, W), which is taken as it is.

    Returns:
        float64 (H, W): in [16, 235] for RGB, in [0, 255] for grey.
    """
    if picture.ndim == 2:
        return picture.astype(np.float64)
    return 16 + picture @ (np.array([65.481, 128.553, 24.966]) / 255)


def _scored_area(reference, picture, border):
    """Y of both pictures without `border` pixels on each side."""
    for image in (reference, picture):
        if image.dtype != np.uint8:
            raise ValueError(f"dtype {image.dtype}: expected uint8")
    if reference.shape != picture.shape:
        raise ValueError(f"shape {picture.shape}: expected the reference's, {reference.shape}")
    if min(reference.shape[:2]) <= 2 * border:
        raise ValueError(f"shape {reference.shape}: nothing left inside a border of {border}")
    inner = tuple(slice(border, length - border) for length in reference.shape[:2])
    return luma(reference)[inner], luma(picture)[inner]


def psnr(reference, picture, border):
    """Peak signal-to-noise ratio on Y.

    Args:
        reference, picture: uint8 RGB (H, W, 3) or grey (H, W), of the same shape.
        border: pixels left out on each side; the scale, by the field's custom.

    Returns:
        Decibels, with a peak of 255; infinity for equal pictures.

    Raises:
        ValueError: the pictures do not fit each other, or are all border.
    """
    reference, picture = _scored_area(reference, picture, border)
    error = np.mean((reference - picture) ** 2)
    return math.inf if error == 0 else float(10 * np.log10(255**2 / error))


def _blur(picture):
    """Gaussian mean over 11x11 pixels with sigma 1.5, where the window fits (H-10, W-10)."""
    window = np.exp(-(np.arange(-SSIM_RADIUS, SSIM_RADIUS + 1) ** 2) / (2 * 1.5**2))
    window /= window.sum()
    for _ in range(2):  # along the rows' axis, then, transposed, along the other
        inside = len(picture) - 2 * SSIM_RADIUS
        picture = sum(w * picture[n : n + inside] for n, w in enumerate(window)).T
    return picture


def ssim(reference, picture, border):
    """Structural similarity on Y.

    Wang et al., "Image quality assessment: from error visibility to structural similarity",
    2004: Gaussian window of 11x11 with sigma 1.5, K1 = 0.01, K2 = 0.03, L = 255, averaged
    over the pixels around which the window fits.

    Args, Raises:
        As for `psnr`; also ValueError when no window fits.

    Returns:
        Number in [-1, 1]; 1 for equal pictures.
    """
    x, y = _scored_area(reference, picture, border)
    if min(x.shape) <= 2 * SSIM_RADIUS:
        raise ValueError(f"shape {reference.shape}: too small for SSIM's window of 11x11")
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mean_x, mean_y = _blur(x), _blur(y)
    var_x = _blur(x * x) - mean_x**2
    var_y = _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    similarity = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / (
        (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
    )
    return float(similarity.mean())


def find_pairs(folder, scale):
    """HR pictures of a folder, each with its LR file where the folder brings them.

    Returns:
        List of (HR path, LR path or None, name: the place below the HR folder).

    Raises:
        ValueError: no pictures, or an HR picture without its LR.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"FOLDER = {str(folder)!r}: no such folder")
    hr_folder = folder / "HR" if (folder / "HR").is_dir() else folder
    lr_folder = folder / "LR" / f"x{scale}"
    given = hr_folder != folder and lr_folder.is_dir()
    pairs = []
    for hr in utils.find_pictures(hr_folder):
        name = hr.relative_to(hr_folder)
        lr = lr_folder / name if given else None
        if given and not lr.is_file():
            raise ValueError(f"{lr}: no such file; expected the LR picture of {hr}")
        pairs.append((hr, lr, name))
    if not pairs:
        raise ValueError(f"FOLDER = {str(folder)!r}: no pictures found in {hr_folder}")
    return pairs


def read_pair(hr_path, lr_path, scale):
    """The HR picture, cropped to a multiple of the scale, and its LR picture, read or made.

    Raises:
        ValueError: unreadable, too small to be scored, or sizes that do not belong together.
    """
    hr = utils.crop_to_multiple(utils.read_8bit(hr_path), scale)
    smallest = 2 * (scale + SSIM_RADIUS) + 1
    if min(hr.shape[:2]) < smallest:
        raise ValueError(
            f"{hr.shape[1]}x{hr.shape[0]}: expected at least {smallest}x{smallest} to be scored"
        )
    if lr_path is None:
        return hr, utils.downscale(hr, scale)
    lr = utils.read_8bit(lr_path)
    expected = (hr.shape[0] // scale, hr.shape[1] // scale, *hr.shape[2:])
    if lr.shape != expected:
        raise ValueError(f"{lr_path} has shape {lr.shape}: expected {expected}")
    return hr, lr


def side_by_side(panels, gap=6):
    """Pictures beside each other, each under its label, on white.

    Args:
        panels: list of (label, uint8 (H, W) or (H, W, 3)), all of one size.
        gap: pixels between them.

    Returns:
        uint8 (H', W', 3).
    """
    height, width = panels[0][1].shape[:2]
    size = max(11, min(28, width // 16))
    font = ImageFont.load_default(size)
    longest = max(int(font.getlength(label)) for label, _ in panels)
    step = max(width, longest + 2 * gap) + gap
    strip = round(1.6 * size)
    sheet = Image.new("RGB", (len(panels) * step - gap, height + strip), "white")
    draw = ImageDraw.Draw(sheet)
    for n, (label, picture) in enumerate(panels):
        draw.text((n * step + gap, strip // 2), label, "black", font, anchor="lm")
        sheet.paste(Image.fromarray(picture).convert("RGB"), (n * step, strip))
    return np.array(sheet)


def evaluate(upscaler, pairs, results):
    """Scores a network, and bicubic enlargement through the same code; writes pictures.

    Args:
        upscaler: as `output.load` returns it.
        pairs: as `find_pairs` returns them.
        results: folder; the restored pictures go to `output` in it, comparisons to
            `Combined`, each as PNG.

    Returns:
        List of dicts with name, psnr, ssim, bicubic_psnr and bicubic_ssim, and a dict of
        refused path -> reason.
    """
    rows, refused = [], {}
    scale = upscaler.scale
    with tqdm(pairs, "scoring", unit="picture", leave=False) as bar:
        for hr_path, lr_path, name in bar:
            try:
                hr, lr = read_pair(hr_path, lr_path, scale)
            except ValueError as error:
                refused[hr_path] = str(error)
                continue
            sr = upscaler.enlarge(lr)
            bicubic = utils.upscale_bicubic(lr, scale)
            row = {
                "name": name.as_posix(),
                "psnr": psnr(hr, sr, scale),
                "ssim": ssim(hr, sr, scale),
                "bicubic_psnr": psnr(hr, bicubic, scale),
                "bicubic_ssim": ssim(hr, bicubic, scale),
            }
            rows.append(row)
            nearest = lr.repeat(scale, axis=0).repeat(scale, axis=1)
            combined = side_by_side(
                [
                    ("original", hr),
                    (f"nearest neighbour  {psnr(hr, nearest, scale):.2f} dB", nearest),
                    (f"prediction  {row['psnr']:.2f} dB", sr),
                ]
            )
            for folder, picture in (("output", sr), ("Combined", combined)):
                ending = "" if name.suffix.lower() == ".png" else ".png"
                path = results / folder / name.with_name(name.name + ending)
                path.parent.mkdir(parents=True, exist_ok=True)
                utils.write(path, picture, {})
    return rows, refused


def means(rows):
    """Mean of each score over the pictures; a picture restored exactly has no finite PSNR
    and is left out of that mean.
    """
    scores = {
        key: [row[key] for row in rows if math.isfinite(row[key])]
        for key in ("psnr", "ssim", "bicubic_psnr", "bicubic_ssim")
    }
    return {key: float(np.mean(values)) if values else math.inf for key, values in scores.items()}


def as_json(results):
    """JSON text; an infinite PSNR, for which JSON has no word, becomes null."""

    def finite(value):
        if isinstance(value, dict):
            return {key: finite(item) for key, item in value.items()}
        if isinstance(value, list):
            return [finite(item) for item in value]
        return None if isinstance(value, float) and math.isinf(value) else value

    return json.dumps(finite(results), indent=2, allow_nan=False) + "\n"


def table(rows):
    """The scores as lines of text, with the mean below."""
    width = max(7, *(len(row["name"]) for row in rows))
    lines = [f"{'':{width}}  {'bicubic':>14}  {'network':>14}  {'gain':>6}"]
    for row in [*rows, {"name": "mean of " + str(len(rows))} | means(rows)]:
        lines.append(
            f"{row['name']:{width}}  {row['bicubic_psnr']:7.3f} {row['bicubic_ssim']:.4f}"
            f"  {row['psnr']:7.3f} {row['ssim']:.4f}  {row['psnr'] - row['bicubic_psnr']:+6.3f}"
        )
    return "\n".join(lines)


def main(arguments=None):
    """Runs the command; returns its exit code."""
    try:
        chosen = settings.parse([sys.modules[__name__]], arguments, ("FOLDER",))
        settings.check_text("folder", chosen.folder)
        settings.check_text("weights", chosen.weights, may_be_empty=True)
        settings.check_flag("self_ensemble", chosen.self_ensemble)
        settings.check_choice("precision", chosen.precision, PRECISIONS)
        settings.check_whole("tile_size", chosen.tile_size, 0)
        weights = Path(chosen.weights) if chosen.weights else output.best_weights()
        upscaler = output.load(
            weights,
            precision=chosen.precision,
            tile_size=chosen.tile_size,
            self_ensemble=chosen.self_ensemble,
        )
        scale = upscaler.scale
        pairs = find_pairs(chosen.folder, scale)
        print(f"{weights.name}: {output.describe(upscaler)}")
        print("PSNR (dB) and SSIM on Y, border of", scale, "pixels left out, LR by", end=" ")
        print("MATLAB's bicubic" if pairs[0][1] is None else f"{pairs[0][1].parent}")
        rows, refused = evaluate(upscaler, pairs, RESULTS)
        for path, reason in refused.items():
            print(f"refused {path}: {reason}", file=sys.stderr)
        if not rows:
            raise ValueError(f"FOLDER = {chosen.folder!r}: no picture in it could be scored")
        results = {
            "scale": scale,
            "weights": weights.name,
            "precision": upscaler.precision,
            "self_ensemble": upscaler.self_ensemble,
            "images": rows,
            "mean": means(rows),
        }
        with utils.replacing(RESULTS / "results.json") as part:
            part.write_text(as_json(results), encoding="utf-8")
    except (ValueError, OSError) as error:
        print(f"evaluate.py: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nevaluate.py: stopped", file=sys.stderr)
        return 130
    print(table(rows))
    print(f"Pictures in {RESULTS / 'output'} and {RESULTS / 'Combined'}")
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
