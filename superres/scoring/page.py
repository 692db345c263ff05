"""A page to look at: report.html, and beside it the folder views/ with every pixel it shows."""

import html
import json
import os
import re
import shutil
from pathlib import Path
from urllib.parse import quote

from superres.images.write import write_picture
from superres.runtime.files import make_folder, replacing
from superres.scoring import figures, tables
from superres.scoring.results import BICUBIC, NEAREST, ORIGINAL, gain

TEMPLATE = Path(__file__).with_name("page.html")


class Page:
    """Writes pictures as they come, and the page at the end.

    Args:
        folder: for report.html and views/; the first picture removes those of an earlier run.
        method: the one whose gain over bicubic the page is about.
    """

    def __init__(self, folder, method):
        self.path, self._views = folder / "report.html", folder / "views"
        self._method, self._pictures = method, []

    def add(self, place, title, restored):
        """Writes the views of a `Restored`, and error maps, each as `place` in a folder."""
        if not self._pictures:
            self.path.unlink(missing_ok=True)
            shutil.rmtree(self._views, ignore_errors=True)
        views, bicubic = restored.views, restored.scores[BICUBIC]["psnr"]
        original = views[ORIGINAL]
        errors = {name: figures.error_map(original, views[name]) for name in restored.scores}
        self._pictures.append(
            {
                "title": title,
                "width": original.shape[1],
                "height": original.shape[0],
                "box": restored.box,
                "views": {name: self._write(name, place, one) for name, one in views.items()},
                "errors": {n: self._write(f"error of {n}", place, errors[n]) for n in errors},
                "scores": {name: _texts(one, bicubic) for name, one in restored.scores.items()},
                "notes": restored.notes,
            }
        )

    def _write(self, kind, place, picture):
        """Writes a picture; returns its address for the page."""
        path = self._views / kind / place
        make_folder(path.parent)
        write_picture(path, picture, {})
        return quote(os.fsencode(path.relative_to(self.path.parent).as_posix()))

    def write(self, results, made_by):
        """Writes the page, of the pictures in `Results`; `made_by` as `how_made` returns it."""
        before = BICUBIC if self._method != BICUBIC else NEAREST
        index = {"pictures": self._pictures, "views": [NEAREST, *results.methods, ORIGINAL]}
        index |= {"before": before, "after": self._method}
        names = ", ".join(one.name for one in results.test_sets)
        weights = [one["weights"] for one in made_by["networks"]]
        who = ", ".join([*(weights or [BICUBIC]), *made_by["compared"]])
        degraded = results.degradation and f" {results.degradation}"
        refusals = tables.shortened(tables.refusals(results))
        texts = [*tables.provenance(results, made_by), *refusals]
        count = len(self._pictures)
        script = json.dumps(index, ensure_ascii=False, allow_nan=False)
        values = {
            "title": html.escape(f"{names} ×{results.scale}{degraded}: {who}"),
            "subtitle": f"{count} picture{'s' * (count != 1)}, enlarged {results.scale} times",
            "tables": tables.as_html(tables.summary_table(results)),
            "provenance": "\n".join(f"<p>{html.escape(text)}</p>" for text in texts),
            "largest_error": str(figures.MAX_ERROR),
            "index": script.replace("<", "\\u003c"),  # could end the script
        }
        text = re.sub(r"{{(\w+)}}", lambda match: values[match[1]], TEMPLATE.read_text("utf-8"))
        with replacing(self.path) as file:
            file.write_text(text, encoding="utf-8", errors="backslashreplace")


def _texts(score, bicubic):
    """A score as the page shows and sorts it; JSON has no infinity, and no PSNR reaches 200 dB."""
    gained = gain(score["psnr"], bicubic)
    return {
        "psnr": f"{score['psnr']:.2f}",
        "ssim": f"{score['ssim']:.4f}",
        "rgb_psnr": f"{score['rgb_psnr']:.2f}",
        "gain": f"{gained:+.2f}",
        "order": min(score["psnr"], 1000),
        "gainOrder": max(-1000, min(gained, 1000)),
    }
