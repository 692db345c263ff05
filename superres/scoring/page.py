"""Web pages of pictures in several views, and the pictures, which lie in views/."""

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
SCORES = """<h2>Scores</h2>
<div class="tables" role="region" aria-label="Scores of the test sets" tabindex="0">{table}</div>
<h2>How these numbers were made</h2>
{provenance}"""


class _Page:
    """Writes views of pictures one by one, and the page at the end.

    Args:
        path: of the page; the first picture removes it and views/, of an earlier run.
    """

    def __init__(self, path):
        self.path, self._views, self._pictures = path, path.parent / "views", []

    def _add(self, place, title, views, **more):
        """Writes views, pictures of one size by name, each as `place` in a folder."""
        if not self._pictures:
            self.path.unlink(missing_ok=True)
            shutil.rmtree(self._views, ignore_errors=True)
        height, width = next(iter(views.values())).shape[:2]
        images = {name: self._write(name, place, view) for name, view in views.items()}
        about = {"title": title, "width": width, "height": height, "images": images}
        self._pictures.append({"box": (0, 0, width, height), "scores": {}, **about, **more})

    def _write(self, kind, place, picture):
        """Writes a picture; returns its URL."""
        path = self._views / kind / place
        make_folder(path.parent)
        write_picture(path, picture, {})
        return quote(os.fsencode(path.relative_to(self.path.parent).as_posix()))

    def _fill_in(self, index, **values):
        script = json.dumps(
            index | {"pictures": self._pictures}, ensure_ascii=False, allow_nan=False
        )
        values |= {"max_error": str(figures.MAX_ERROR)}
        values |= {"index": script.replace("<", "\\u003c")}  # </script> would end it
        text = re.sub(r"{{(\w+)}}", lambda match: values[match[1]], TEMPLATE.read_text("utf-8"))
        with replacing(self.path) as file:
            file.write_text(text, encoding="utf-8", errors="backslashreplace")


class VersionsPage(_Page):
    """The page of details, each in several versions, to choose by looking."""

    def add(self, place, title, views, rows, notes):
        """Adds a detail; `views` as above; `rows` of a table, the head first, commands second."""
        self._add(place, title, views, table=tables.as_html(rows), notes=notes)

    def write(self, views, after):
        """Writes the page; `views` are the names of all, `after` is shown beside the first."""
        count = len(self._pictures)
        subtitle = "The same detail by each network and option; click a command to select it."
        title = f"{count} picture{'s' * (count != 1)} in every version"
        index = {"views": views, "before": views[0], "after": after}
        self._fill_in(index, title=title, subtitle=subtitle, footer="")


class Page(_Page):
    """The page of scored pictures, report.html in a folder.

    `method` is the one whose gain over bicubic is shown first.
    """

    def __init__(self, folder, method):
        super().__init__(folder / "report.html")
        self._method = method

    def add(self, place, title, restoration):
        """Adds the views and error maps of a `Restoration`."""
        views, scores, original = restoration.views, restoration.scores, restoration.views[ORIGINAL]
        maps = {f"error of {v}": figures.error_map(original, views[v]) for v in scores}
        more = {
            "box": restoration.box,
            "scores": {name: _psnr(one["psnr"]) for name, one in scores.items()},
            "table": tables.as_html(_score_table(scores)),
            "notes": restoration.notes,
        }
        self._add(place, title, views | maps, **more)

    def write(self, results, setup):
        """Writes the page for `Results` and their `setup_of`."""
        before = BICUBIC if self._method != BICUBIC else NEAREST
        index = {"views": [NEAREST, *results.methods, ORIGINAL]}
        index |= {"before": before, "after": self._method}
        names = ", ".join(one.name for one in results.test_sets)
        weights = [one["weights"] for one in setup["networks"]]
        methods = ", ".join([*(weights or [BICUBIC]), *setup["compared"]])
        degraded = results.degradation and f" {results.degradation}"
        refusals = tables.shortened(tables.refusals(results))
        texts = [*tables.provenance(results, setup), *refusals]
        count = len(self._pictures)
        title = html.escape(f"{names} ×{results.scale}{degraded}: {methods}")
        subtitle = f"{count} picture{'s' * (count != 1)}, enlarged {results.scale} times"
        footer = SCORES.format(
            table=tables.as_html(tables.summary_table(results)),
            provenance="\n".join(f"<p>{html.escape(text)}</p>" for text in texts),
        )
        self._fill_in(index, title=title, subtitle=subtitle, footer=footer)


def _psnr(psnr):
    """PSNR as text, and as a number to sort by; infinity, which JSON lacks, becomes 1000."""
    return {"psnr": f"{psnr:.2f}", "order": min(psnr, 1000)}


def _score_table(scores):
    table = [["", "PSNR (Y)", "SSIM (Y)", "PSNR (RGB)", "gain"]]
    for name, score in scores.items():
        psnr, ssim, rgb = (score[key] for key in KEYS)
        more = gain(psnr, scores[BICUBIC]["psnr"])
        table.append([name, f"{psnr:.2f}", f"{ssim:.4f}", f"{rgb:.2f}", f"{more:+.2f}"])
    return table
