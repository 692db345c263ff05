"""A page of details, each by every network and option, to choose by looking."""

import shlex

from superres.images.quality import condition_of_file
from superres.images.read import read_rgb
from superres.preview.versions import find_part
from superres.runtime import settings
from superres.runtime.terminal import duration, quoted
from superres.scoring.page import VersionsPage
from superres.upscaling.batch import pixels_of

MAX_PICTURES = 4


def write_page(path, jobs, size, versions, at, values):
    """Writes the page for the first few jobs.

    Args:
        jobs: of a `Plan`.
        size: `Size` of the results; the page shows what the first network makes of it.
        versions: `Versions`.
        at: "X,Y", the middle of the details, or empty.
        values: settings of output.py that differ from those in its file, for the commands.
    """
    page, views, after = VersionsPage(path), {}, ""
    megapixels = sum(pixels_of(jobs, size, versions.scales).values()) / 1e6
    count = f"{len(jobs)} picture{'s' * (len(jobs) != 1)}"
    head = ["version", "command", "seconds per megapixel", count, "network"]
    for number, job in enumerate(jobs[:MAX_PICTURES]):
        picture, rows, notes, made = read_rgb(job.source), [head], [], {}
        box, condition = find_part(picture, at), condition_of_file(job.source, picture)
        scale = (size.route(*picture.shape[:2], versions.scales).scales or versions.scales)[0]
        for one in versions.of(picture, box, scale, condition):
            if one.picture is None:
                notes.append(f"{one.name}: {one.note}")
                continue
            made[one.name] = views[one.name] = one.picture
            cells = ["", "", ""]
            if one.seconds:
                command = _command(values | ({} if one.is_default else one.settings))
                cells = [command, f"{one.seconds:.2f}", duration(one.seconds * megapixels)]
            rows.append([one.name, *cells, one.note])
            after = one.name if one.is_default and not number else after
        page.add(f"{number}.png", quoted(job.source), made, rows, notes)
    page.write(list(views), after)


def _command(values):
    values = {name: value for name, value in values.items() if name not in ("try", "at")}
    places = settings.check_texts("source", values.pop("source", []), may_be_empty=True)
    if len(places) == 1 and "target" in values:
        places.append(values.pop("target"))
    return shlex.join(["python", "output.py", *places, *settings.words(values)])
