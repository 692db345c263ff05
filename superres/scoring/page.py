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
BUDGET = 60_000_000  # bytes of all pictures; a third more as text in the page
PREVIEW_BYTES = 0.25  # of a pixel of a photograph or of its errors in WebP of quality 90
SMALLEST_PREVIEW = 40_000  # pixels
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


def exact_files(pictures, budget):
    """Packs pictures without loss, where that fits.

    Args:
        pictures: list of uint8 (H, W) or (H, W, 3), all of one size.
        budget: bytes for all of them.

    Returns:
        List of the bytes of WebP files; `None` where they would take more.
    """
    is_hopeless = sum(picture.size for picture in pictures) * LOSSLESS_SHARE > budget
    if is_hopeless or max(pictures[0].shape[:2]) > LONGEST_SIDE:
        return None
    files = list(map(_exactly, pictures))
    return files if sum(map(len, files)) <= budget else None


def previews(pictures, budget):
    """Packs pictures with little loss, and reduced to what the budget is enough for.

    Args, Returns:
        As for `exact_files`; the files may take a little more than the budget.
    """
    height, width = pictures[0].shape[:2]
    pixels = max(SMALLEST_PREVIEW, budget / (len(pictures) * PREVIEW_BYTES))
    factor = min(1, (pixels / (height * width)) ** 0.5, LONGEST_SIDE / max(height, width))
    size = [max(1, round(factor * side)) for side in (width, height)]
    resized = (Image.fromarray(p).resize(size, Image.Resampling.BOX) for p in pictures)
    return [_webp(np.asarray(picture), quality=90, method=2) for picture in resized]


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
        box, crop, files = restored.box, None, exact_files(pictures, self._budget)
        is_exact = files is not None
        if not is_exact:
            box = left, top, size_x, size_y = _crop_place(box, width, height)
            inside = [_exactly(p[top : top + size_y, left : left + size_x]) for p in pictures]
            crop = {"box": box, **_stored(views, errors, inside)}
            files = previews(pictures, self._budget - sum(map(len, inside)))
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
        weights = [one["weights"] for one in made_by["networks"]]
        who = ", ".join([*(weights or [BICUBIC]), *made_by["compared"]])
        degraded = results.degradation and f" {results.degradation}"
        count, refusals = len(self._index), tables.refusals(results)
        more = len(refusals) - MOST_REFUSALS
        texts = [*tables.provenance(results, made_by), *refusals[:MOST_REFUSALS]]
        texts += [f"{more} more in results.md"] if more > 0 else []
        values = {
            "title": html.escape(f"{names} ×{results.scale}{degraded}: {who}"),
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
