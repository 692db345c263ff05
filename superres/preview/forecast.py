"""What a run would make, by which networks, and about how long it takes."""

import contextlib
import time
from collections import Counter

import numpy as np

from superres.images.formats import check_storable
from superres.images.quality import condition_of_file
from superres.images.read import read_rgb
from superres.preview.versions import find_part, timed
from superres.runtime.errors import InputError
from superres.runtime.terminal import duration, print_line, quoted

FILES = 1.1  # reading and writing meanwhile; of 40 files from 0.01 to 1.5 megapixels, on an EPYC


def print_forecast(report, find, networks, overwrite):
    """Prints it for a `Report`.

    `find` is `route_of` as a function of a job, `networks` are those of utils.py, by scale.
    """
    pixels, areas, jobs = Counter(), {}, 0
    for job in report.to_do(overwrite):
        with report.recording_errors(job):
            (scales, (height, width)), more = find(job)
            check_storable(job.target, (height, width, 3), np.dtype(np.uint8))
            names = [networks[scale].clean.path.name for scale in scales]
            names[:1] = [networks[scale].names(job.source.suffix) for scale in scales[:1]]
            print_line(f"{quoted(job.target)}: {width}x{height}{', '.join(['', *names])}")
            pixels += more
            jobs += 1
            if scales:
                areas[job.source] = more[scales[0]]
    report.print_reasons()
    counts = f"{report.kept} already there, {len(report.refused)} refused"
    took = duration(_seconds(areas, networks, pixels)) if areas else "a moment"
    print(f"{jobs} to do, about {took}, {counts}; nothing was written")


def _seconds(areas, networks, pixels):
    """About how long it takes to look at `areas`, pixels by path, and to enlarge `pixels`."""
    for path in sorted(areas, key=areas.get, reverse=True):  # what is small tells little
        with contextlib.suppress(InputError, OSError):  # it will be refused
            began = time.perf_counter()
            picture = read_rgb(path)
            condition = condition_of_file(path, picture)
            seconds = (time.perf_counter() - began) * sum(areas.values()) / picture[..., 0].size
            break
    else:
        return 0
    left, top, width, height = find_part(picture)
    part = picture[top : top + height, left : left + width]
    for scale, more in pixels.items():
        network, known = networks[scale].select(condition)
        halos = [1 + network.upscaler.plan(one.shape).extra_work for one in (picture, part)]
        seconds += timed(network.upscaler, part, known)[1] * more / 1e6 * halos[0] / halos[1]
    return FILES * seconds
