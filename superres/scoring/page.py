"""A page to look at: all pictures of an evaluation in one HTML file that needs no network."""

import base64
import html
import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from superres.images.resize import upscale_nearest
from superres.runtime.files import replacing
from superres.scoring import figures, tables

TEMPLATE = Path(__file__).with_name("page.html")
BUDGET = 42_000_000  # bytes of all pictures; a third more as text in the page
CROP_SIDE = 128  # pixels of the part that stays exact where the whole is compressed
CROP_SHARE = 0.5  # of a picture's budget, at most, for that part
THUMBNAIL = 144, 108  # pixels
# A picture compressed without loss rarely gets below this share of its bytes.
LOSSLESS_SHARE = 0.2
QUALITIES = (90, 75, 60, 45)  # of WebP, tried in turn
SMALLEST_SIDE = 64  # pixels; previews are not reduced below
LONGEST_SIDE = 16383  # pixels; WebP holds no more


def _webp(picture, **options):
    """uint8 (H, W[, 3]) as the bytes of a WebP file."""
    file = io.BytesIO()
    Image.fromarray(picture).convert("RGB").save(file, "WEBP", **options)
    return file.getvalue()


def _lossless(picture):
    return _webp(picture, lossless=True, quality=20, method=2)


def _reduced(picture, factor):
    """A picture made smaller, both sides by the same factor, at least 1 pixel long."""
    size = tuple(max(1, round(side / factor)) for side in picture.shape[1::-1])
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX))


def compress(pictures, factors, budget):
    """Packs pictures so that together they take no more than a number of bytes.

    Without loss where that fits; else with as little as fits, and then smaller.

    Args:
        pictures: list of uint8 (H, W) or (H, W, 3).
        factors: for each, how much more than the others it is reduced; one of 0.5 keeps
            its size until those of 1 are halved.
        budget: bytes. The smallest that can be made may still take more.

    Returns:
        List of the bytes of WebP files, and whether they are exact.
    """
    longest = max(max(picture.shape[:2]) for picture in pictures)
    fits = longest <= LONGEST_SIDE
    if fits and sum(picture.size for picture in pictures) * LOSSLESS_SHARE <= budget:
        files = [_lossless(picture) for picture in pictures]
        if sum(map(len, files)) <= budget:
            return files, True
    shortest = max(min(picture.shape[:2]) for picture in pictures)
    factor = max(1.0, longest / LONGEST_SIDE)
    while True:
        small = [
            _reduced(picture, factor * more) if factor * more > 1 else picture
            for picture, more in zip(pictures, factors, strict=True)
        ]
        for quality in QUALITIES:
            files = [_webp(picture, quality=quality, method=2) for picture in small]
            size = sum(map(len, files))
            if size <= budget:
                return files, False
            if size > 3 * budget:  # nor would it fit with the next ones
                break
        factor *= 2**0.5
        if shortest < factor * SMALLEST_SIDE:
            return files, False


def _address(file):
    return "data:image/webp;base64," + base64.b64encode(file).decode()


def _script_json(value):
    """JSON that can stand inside a <script>: with no < that could end it."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")


class Report:
    """Collects pictures, compressed, and writes the page.

    Args:
        count: how many pictures there will be, among which the budget is shared.
        method: the one whose gain over bicubic the page is about.
        budget: bytes for all of them; None for `BUDGET`.
    """

    def __init__(self, count, method, budget=None):
        self._method = method
        self._budget = (BUDGET if budget is None else budget) / max(1, count)
        self._index = []
        self._pictures = []

    def add(self, title, restored, scale):
        """Adds a picture.

        Args:
            title: text that names it.
            restored: `evaluate.Restored`: its views, their scores, and what to look at.
            scale: of its LR picture.
        """
        views, scores, box = restored.views, restored.scores, restored.box
        original = views[tables.ORIGINAL]
        height, width = original.shape[:2]
        whole = {**views, tables.NEAREST: upscale_nearest(views[tables.NEAREST], scale)}
        errors = {name: figures.error_map(original, whole[name]) for name in scores}
        thumbnail = Image.fromarray(original).convert("RGB")
        thumbnail.thumbnail(THUMBNAIL)
        thumbnail = _webp(np.asarray(thumbnail), quality=70)
        both = [*views.values(), *errors.values()]
        # Nearest shows LR pixels, and keeps them as long as others have as many; maps of
        # errors are looked at as a whole.
        factors = [1 / scale if name == tables.NEAREST else 1 for name in views] + [2] * len(errors)
        files, is_exact = compress(both, factors, self._budget - len(thumbnail))
        crop = None
        if not is_exact:
            place = _crop_place(box, width, height, scale)
            left, top, size_x, size_y = place

            def cut(name, picture):
                by = scale if name == tables.NEAREST else 1
                return picture[top // by : (top + size_y) // by, left // by : (left + size_x) // by]

            inside = [
                *(_lossless(cut(name, picture)) for name, picture in views.items()),
                *(_lossless(cut("", picture)) for picture in errors.values()),
            ]
            taken = len(thumbnail) + sum(map(len, inside))
            if taken <= CROP_SHARE * self._budget:
                crop = {"box": place, **_stored(views, errors, inside)}
                files, _ = compress(both, factors, self._budget - taken)
        self._pictures.append({**_stored(views, errors, files), "crop": crop})
        bicubic = scores[tables.BICUBIC]["psnr"]
        self._index.append(
            {
                "title": title,
                "width": width,
                "height": height,
                "box": crop["box"] if crop else box,
                "is_exact": is_exact,
                "thumbnail": _address(thumbnail),
                "scale": scale,
                "scores": {
                    name: {
                        # JSON has no infinity; no finite PSNR of 8-bit pictures reaches 200 dB.
                        "order": min(score["psnr"], 1000),
                        "gainOrder": max(-1000, min(tables.gain(score["psnr"], bicubic), 1000)),
                        "psnr": tables.number(score["psnr"], 2),
                        "ssim": tables.number(score["ssim"], 4),
                        "rgb_psnr": tables.number(score["rgb_psnr"], 2),
                        "gain": tables.number(tables.gain(score["psnr"], bicubic), 2, "+"),
                    }
                    for name, score in scores.items()
                },
                "notes": restored.notes,
            }
        )

    def write(self, path, title, subtitle, scores, provenance, views):
        """Writes the page.

        Args:
            path: its file.
            title, subtitle: text.
            scores: HTML of the tables of scores.
            provenance: list of texts that say how the numbers were made.
            views: names of all views, in their order.
        """
        before = tables.BICUBIC if self._method != tables.BICUBIC else tables.NEAREST
        index = {"pictures": self._index, "views": views, "before": before, "after": self._method}
        scripts = (
            f'<script type="application/json" id="picture-{n}">{_script_json(picture)}</script>'
            for n, picture in enumerate(self._pictures)
        )
        values = {
            "title": html.escape(title),
            "subtitle": html.escape(subtitle),
            "tables": scores,
            "provenance": "\n".join(f"<p>{html.escape(text)}</p>" for text in provenance),
            "largest_error": str(figures.LARGEST_ERROR),
            "index": _script_json(index),
            "pictures": "\n".join(scripts),
        }
        page = TEMPLATE.read_text(encoding="utf-8")
        parts = page.split("{{")
        texts = [parts[0]]
        for part in parts[1:]:
            name, rest = part.split("}}", 1)
            texts += [values[name], rest]
        with replacing(path) as file:
            file.write_text("".join(texts), encoding="utf-8", errors="backslashreplace")


def _stored(views, errors, files):
    """Files in the order of views and errors as what the page reads."""
    addresses = [_address(file) for file in files]
    return {
        "views": dict(zip(views, addresses, strict=False)),
        "errors": dict(zip(errors, addresses[len(views) :], strict=True)),
    }


def _crop_place(box, width, height, scale):
    """The part of CROP_SIDE pixels around a box that begins and ends between LR pixels."""
    place = []
    for start, side, length in ((box[0], box[2], width), (box[1], box[3], height)):
        size = min(CROP_SIDE, length) // scale * scale
        first = start + side // 2 - size // 2
        place.append((max(0, min(first, length - size)) // scale * scale, size))
    (left, width), (top, height) = place
    return left, top, width, height
