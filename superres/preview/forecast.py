"""What a run would make, by which networks, and about how long it takes."""

from collections import Counter

from superres.images.quality import CLEAN
from superres.images.read import read_rgb
from superres.preview.versions import find_part, timed
from superres.runtime.terminal import duration, print_line, quoted
from superres.upscaling.batch import route_of


def print_forecast(report, networks, size, overwrite, max_pixels):
    """Prints it for a `Report`; `networks` are those of utils.py, by scale."""
    pixels, jobs = Counter(), []
    for job in report.to_do(overwrite):
        with report.recording_errors(job):
            (scales, (height, width)), more = route_of(job, size, networks.scales, max_pixels)
            names = [networks[scale].names(job.source.suffix) for scale in scales]
            print_line(f"{quoted(job.target)}: {width}x{height}{', '.join(['', *names])}")
            pixels += more
            jobs.append(job)
    report.print_reasons()
    seconds = 0
    for scale, count in pixels.items():
        picture = read_rgb(jobs[len(jobs) // 2].source)
        left, top, width, height = find_part(picture)
        part = picture[top : top + height, left : left + width]
        seconds += timed(networks[scale].photo.upscaler, part, CLEAN)[1] * count / 1e6
    counts = f"{report.kept} already there, {len(report.refused)} refused"
    print(f"{len(jobs)} to do, about {duration(seconds)}, {counts}; nothing was written")
