"""A web page of the results: report.html, and the pictures that it shows in views/."""

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
from superres.scoring.results import BICUBIC, KEYS, NEAREST, ORIGINAL, gain

TEMPLATE = Path(__file__).with_name("page.html")


class Page:
    """Writes views of pictures one by one, and the page at the end.

    Args:
        folder: for report.html and views/; the first picture removes those of an earlier run.
        method: its gain over bicubic is shown first.
    """

    def __init__(self, folder, method):
        self.path, self._views = folder / "report.html", folder / "views"
        self._method, self._pictures = method, []

    def add(self, place, title, restoration):
        """Writes the views and error maps of a `Restoration`, each as `place` in a folder."""
        if not self._pictures:
            self.path.unlink(missing_ok=True)
            shutil.rmtree(self._views, ignore_errors=True)
        views, scores, original = restoration.views, restoration.scores, restoration.views[ORIGINAL]
        maps = {f"error of {v}": figures.error_map(original, views[v]) for v in scores}
        self._pictures.append(
            {
                "title": title,
                "width": original.shape[1],
                "height": original.shape[0],
                "box": restoration.box,
                "images": {n: self._write(n, place, one) for n, one in (views | maps).items()},
                "scores": {name: _psnr(one["psnr"]) for name, one in scores.items()},
                "table": tables.as_html(_score_table(scores)),
                "notes": restoration.notes,
            }
        )

    def _write(self, kind, place, picture):
        """Writes a picture; returns its URL."""
        path = self._views / kind / place
        make_folder(path.parent)
        write_picture(path, picture, {})
        return quote(os.fsencode(path.relative_to(self.path.parent).as_posix()))

    def write(self, results, setup):
        """Writes the page for `Results` and their `setup_of`."""
        before = BICUBIC if self._method != BICUBIC else NEAREST
        index = {"pictures": self._pictures, "views": [NEAREST, *results.methods, ORIGINAL]}
        index |= {"before": before, "after": self._method}
        names = ", ".join(one.name for one in results.test_sets)
        weights = [one["weights"] for one in setup["networks"]]
        methods = ", ".join([*(weights or [BICUBIC]), *setup["compared"]])
        degraded = results.degradation and f" {results.degradation}"
        refusals = tables.shortened(tables.refusals(results))
        texts = [*tables.provenance(results, setup), *refusals]
        count = len(self._pictures)
        script = json.dumps(index, ensure_ascii=False, allow_nan=False)
        values = {
            "title": html.escape(f"{names} ×{results.scale}{degraded}: {methods}"),
            "subtitle": f"{count} picture{'s' * (count != 1)}, enlarged {results.scale} times",
            "tables": tables.as_html(tables.summary_table(results)),
            "provenance": "\n".join(f"<p>{html.escape(text)}</p>" for text in texts),
            "max_error": str(figures.MAX_ERROR),
            "index": script.replace("<", "\\u003c"),  # </script> would end it
        }
        text = re.sub(r"{{(\w+)}}", lambda match: values[match[1]], TEMPLATE.read_text("utf-8"))
        with replacing(self.path) as file:
            file.write_text(text, encoding="utf-8", errors="backslashreplace")


def _psnr(psnr):
    """PSNR as text, and as a number to sort by: JSON has no infinity, no other reaches 200 dB."""
    return {"psnr": f"{psnr:.2f}", "order": min(psnr, 1000)}


def _score_table(scores):
    table = [["", "PSNR (Y)", "SSIM (Y)", "PSNR (RGB)", "gain"]]
    for name, score in scores.items():
        psnr, ssim, rgb = (score[key] for key in KEYS)
        more = gain(psnr, scores[BICUBIC]["psnr"])
        table.append([name, f"{psnr:.2f}", f"{ssim:.4f}", f"{rgb:.2f}", f"{more:+.2f}"])
    return table
