"""A page of details, each by every network and option, to choose by looking."""

import shlex
import sys

from superres.images.quality import condition_of_file
from superres.images.read import read_rgb
from superres.preview.versions import find_part
from superres.runtime import settings
from superres.runtime.errors import InputError
from superres.runtime.terminal import duration, print_line, progress, quoted
from superres.scoring.page import VersionsPage

MAX_PICTURES = 4


def write_page(path, jobs, find, versions, at, values):
    """Writes the page for the first few pictures that can be read; InputError: none can.

    Args:
        jobs: of a `Plan`.
        find: `route_of` as a function of a job.
        versions: `Versions`.
        at: "X,Y", the middle of the details, or empty.
        values: settings of output.py that differ from those in its file, for the commands.
    """
    page, views, after = VersionsPage(path), {}, ""
    details, megapixels = _details(jobs, find, at)
    head = ["version", "command", "seconds per megapixel", f"all {len(jobs)} take", "network"]
    with progress(total=len(details), unit="picture", desc="trying") as bar:
        for number, (job, scale, picture, box) in enumerate(details):
            rows, notes, made = [head], [], {}
            condition = condition_of_file(job.source, picture)
            for one in versions.of(picture, box, scale, condition):
                bar.set_postfix_str(one.name)
                if one.picture is None:
                    notes.append(f"{one.name}: {one.note}")
                    continue
                made[one.name] = views[one.name] = one.picture
                command = _command(values | ({} if one.is_default else one.settings))
                takes = [f"{one.seconds:.2f}", duration(one.seconds * megapixels)]
                cells = [command, *takes] if one.seconds else ["", "", ""]
                rows.append([one.name, *cells, one.note])
                after = one.name if one.is_default and not number else after
            left, top, width, height = box
            title = f"{quoted(job.source)} ×{scale}, {width}×{height} pixels at {left},{top}"
            page.add(f"{number}.png", title, made, rows, notes)
            bar.update()
    page.write(list(views), after)


def _details(jobs, find, at):
    """The first few pictures with their scales and details, and the megapixels of all jobs."""
    details, megapixels = [], 0
    for job in jobs:
        try:
            (scales, _), pixels = find(job)
            megapixels += pixels.total() / 1e6
            if scales and len(details) < MAX_PICTURES:
                picture = read_rgb(job.source)
                details.append((job, scales[0], picture, find_part(picture, at)))
        except (InputError, OSError) as error:
            print_line(f"refused {quoted(job.source)}: {error}", sys.stderr)
    if not details:
        raise InputError("TRY: no picture could be enlarged")
    return details, megapixels


def _command(values):
    values = {name: value for name, value in values.items() if name not in ("try", "at")}
    places = settings.check_texts("source", values.pop("source", []), may_be_empty=True)
    if len(places) == 1 and "target" in values:
        places.append(values.pop("target"))
    return shlex.join(["python", "output.py", *places, *settings.words(values)])
