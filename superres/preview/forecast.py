"""What a run would make, by which networks, and about how long it takes."""

import time
from collections import Counter

from superres.images.quality import condition_of_file
from superres.images.read import read_rgb
from superres.preview.versions import find_part, timed
from superres.runtime.terminal import duration, print_line, quoted
from superres.upscaling.batch import route_of


def print_forecast(report, networks, size, overwrite, max_pixels):
    """Prints it for a `Report`; `networks` are those of utils.py, by scale."""
    pixels, jobs, count = Counter(), [], 0
    for job in report.to_do(overwrite):
        with report.recording_errors(job):
            (scales, (height, width)), more = route_of(job, size, networks.scales, max_pixels)
            names = [networks[scale].names(job.source.suffix) for scale in scales]
            print_line(f"{quoted(job.target)}: {width}x{height}{', '.join(['', *names])}")
            pixels += more
            count += more[scales[0]] if scales else 0
            jobs.append(job)
    report.print_reasons()
    seconds = _seconds(jobs[len(jobs) // 2].source, networks, pixels, count) if count else 0
    counts = f"{report.kept} already there, {len(report.refused)} refused"
    print(f"{len(jobs)} to do, about {duration(seconds)}, {counts}; nothing was written")


def _seconds(path, networks, pixels, count):
    """About how long it takes to look at `count` pixels, and to enlarge `pixels`, by scale.

    `path` is a picture that is a sample.
    """
    began = time.perf_counter()
    picture = read_rgb(path)
    condition = condition_of_file(path, picture)
    seconds = (time.perf_counter() - began) * count / picture[..., 0].size
    left, top, width, height = find_part(picture)
    part = picture[top : top + height, left : left + width]
    for scale, more in pixels.items():
        network, known = networks[scale].select(condition)
        halos = [1 + network.upscaler.plan(one.shape).extra_work for one in (picture, part)]
        seconds += timed(network.upscaler, part, known)[1] * more / 1e6 * halos[0] / halos[1]
    return seconds
