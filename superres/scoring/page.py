"""A page to look at: all pictures of an evaluation in one HTML file that needs no network."""

import base64
import html
import io
import json
import re
from pathlib import Path

import numpy as np
from PIL import Image

from superres.runtime.files import replacing
from superres.scoring import figures, tables
from superres.scoring.results import BICUBIC, NEAREST, ORIGINAL, gain

TEMPLATE = Path(__file__).with_name("page.html")
BUDGET = 42_000_000  # bytes of all pictures; a third more as text in the page
PREVIEW_SIDE = 1024  # pixels of the longer side, where the whole picture takes too much
CROP_SIDE = 128  # pixels of the part that stays exact where the whole is compressed
THUMBNAIL = 144, 108  # pixels
# A picture compressed without loss rarely gets below this share of its bytes.
LOSSLESS_SHARE = 0.2
LONGEST_SIDE = 16383  # pixels; WebP holds no more
MOST_REFUSALS = 40  # that are listed


def _webp(picture, **options):
    """uint8 (H, W[, 3]) as the bytes of a WebP file."""
    file = io.BytesIO()
    Image.fromarray(picture).convert("RGB").save(file, "WEBP", **options)
    return file.getvalue()


def _exactly(picture):
    return _webp(picture, lossless=True, quality=20, method=2)


def _closely(picture):
    return _webp(picture, quality=90, method=2)


def _preview(picture, side=PREVIEW_SIDE):
    """A picture made smaller, so that the longer side is `side` pixels long."""
    image = Image.fromarray(picture)
    image.thumbnail((side, side), Image.Resampling.BOX)
    return np.asarray(image)


def compress(pictures, budget):
    """Packs pictures of one size: without loss where that fits, else with little, else smaller.

    Args:
        pictures: list of uint8 (H, W) or (H, W, 3).
        budget: bytes for all of them. Previews may take more.

    Returns:
        List of the bytes of WebP files, and whether they are exact.
    """
    if max(pictures[0].shape[:2]) <= LONGEST_SIDE:
        if sum(picture.size for picture in pictures) * LOSSLESS_SHARE <= budget:
            files = list(map(_exactly, pictures))
            if sum(map(len, files)) <= budget:
                return files, True
        files = list(map(_closely, pictures))
        if sum(map(len, files)) <= budget:
            return files, False
    return [_closely(_preview(picture)) for picture in pictures], False


def _address(file):
    return "data:image/webp;base64," + base64.b64encode(file).decode()


def _script_json(value):
    """JSON that can stand inside a <script>: with no < that could end it."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")


class Page:
    """Collects pictures, compressed, and writes the page.

    Args:
        count: how many pictures there will be, among which the budget is shared.
        method: the one whose gain over bicubic the page is about.
    """

    def __init__(self, count, method):
        self._method = method
        self._budget = BUDGET / max(1, count)
        self._index = []
        self._pictures = []

    def add(self, title, restored):
        """Adds a picture.

        Args:
            title: text that names it.
            restored: `Restored`: its views, their scores, and what to look at.
        """
        views, scores = restored.views, restored.scores
        original = views[ORIGINAL]
        height, width = original.shape[:2]
        errors = {name: figures.error_map(original, views[name]) for name in scores}
        pictures = [*views.values(), *errors.values()]
        files, is_exact = compress(pictures, self._budget)
        box, crop = restored.box, None
        if not is_exact:
            box = left, top, size_x, size_y = _crop_place(box, width, height)
            inside = [p[top : top + size_y, left : left + size_x] for p in pictures]
            crop = {"box": box, **_stored(views, errors, map(_exactly, inside))}
        self._pictures.append({**_stored(views, errors, files), "crop": crop})
        bicubic = scores[BICUBIC]["psnr"]
        thumbnail = Image.fromarray(original).convert("RGB")
        thumbnail.thumbnail(THUMBNAIL)
        self._index.append(
            {
                "title": title,
                "width": width,
                "height": height,
                "box": box,
                "is_exact": is_exact,
                "thumbnail": _address(_webp(np.asarray(thumbnail), quality=70)),
                "scores": {
                    name: {
                        # JSON has no infinity; no finite PSNR of 8-bit pictures reaches 200 dB.
                        "order": min(score["psnr"], 1000),
                        "gainOrder": max(-1000, min(gain(score["psnr"], bicubic), 1000)),
                        "psnr": f"{score['psnr']:.2f}",
                        "ssim": f"{score['ssim']:.4f}",
                        "rgb_psnr": f"{score['rgb_psnr']:.2f}",
                        "gain": f"{gain(score['psnr'], bicubic):+.2f}",
                    }
                    for name, score in scores.items()
                },
                "notes": restored.notes,
            }
        )

    def write(self, path, results, made_by):
        """Writes the page.

        Args:
            path: its file.
            results: `Results` of these pictures.
            made_by: as `Results.as_json` takes it.
        """
        before = BICUBIC if self._method != BICUBIC else NEAREST
        views = [NEAREST, *results.methods, ORIGINAL]
        index = {"pictures": self._index, "views": views, "before": before, "after": self._method}
        scripts = (
            f'<script type="application/json" id="picture-{n}">{_script_json(picture)}</script>'
            for n, picture in enumerate(self._pictures)
        )
        names = ", ".join(one.name for one in results.test_sets)
        who = ", ".join([made_by["weights"] or BICUBIC, *made_by["compared"]])
        count, refusals = len(self._index), tables.refusals(results)
        more = len(refusals) - MOST_REFUSALS
        texts = [*tables.provenance(results, made_by), *refusals[:MOST_REFUSALS]]
        texts += [f"{more} more in results.md"] if more > 0 else []
        values = {
            "title": html.escape(f"{names} ×{results.scale}: {who}"),
            "subtitle": f"{count} picture{'s' * (count != 1)}, enlarged {results.scale} times",
            "tables": tables.as_html(tables.summary_table(results)),
            "provenance": "\n".join(f"<p>{html.escape(text)}</p>" for text in texts),
            "largest_error": str(figures.LARGEST_ERROR),
            "index": _script_json(index),
            "pictures": "\n".join(scripts),
        }
        page = TEMPLATE.read_text(encoding="utf-8")
        text = re.sub(r"{{(\w+)}}", lambda match: values[match[1]], page)
        with replacing(path) as file:
            file.write_text(text, encoding="utf-8", errors="backslashreplace")


def _stored(views, errors, files):
    """Files in the order of views and errors as what the page reads."""
    addresses = map(_address, files)
    return {
        "views": dict(zip(views, addresses, strict=False)),
        "errors": dict(zip(errors, addresses, strict=True)),
    }


def _crop_place(box, width, height):
    """The part of CROP_SIDE pixels around a box: left, top, width and height."""
    place = []
    for start, side, length in ((box[0], box[2], width), (box[1], box[3], height)):
        size = min(CROP_SIDE, length)
        place.append((max(0, min(start + side // 2 - size // 2, length - size)), size))
    (left, width), (top, height) = place
    return left, top, width, height
