"""Shares of a folder, for several machines or processes that do not know each other."""

import hashlib
import os
import re
import unicodedata
from typing import NamedTuple

from superres.runtime.errors import InputError

JOBS = {  # environment variables: index of a part, index of the first one, number of parts
    "a SLURM array": ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_COUNT"),
    "srun": ("SLURM_PROCID", None, "SLURM_STEP_NUM_TASKS"),
    "an AWS Batch array": ("AWS_BATCH_JOB_ARRAY_INDEX", None, "AWS_BATCH_JOB_ARRAY_SIZE"),
    "an indexed Kubernetes job": ("JOB_COMPLETION_INDEX", None, None),
}


class Part(NamedTuple):
    """One of `count` shares; `number` counts from 1."""

    number: int
    count: int

    def has(self, path):
        """Whether a file is in it: by a hash of its path below the folder, alike everywhere."""
        name = unicodedata.normalize("NFC", path.as_posix())  # macOS decomposes it
        digest = hashlib.sha256(os.fsencode(name)).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.number - 1

    def __str__(self):
        return f"part {self.number} of {self.count}"


WHOLE = Part(1, 1)


def parse_part(text, environ):
    """The part in a setting: "3/16"; "auto" or "auto/16": that of a cluster's job; or empty."""
    if not text:
        return WHOLE
    if not re.fullmatch(r"\d+/\d+|auto(/\d+)?", text):
        raise InputError(f'PART = {text!r}: expected "3/16", "auto" or "auto/16"')
    number, _, count = text.partition("/")
    if number == "auto":
        number, count = _part_of_job(text, environ, count)
    if not count:
        raise InputError(f'PART = {text!r}: expected "auto/16": the job does not say how many')
    if not 1 <= int(number) <= int(count):
        raise InputError(f"PART = {text!r}: no part {number} of {count}: expected 1 to {count}")
    return Part(int(number), int(count))


def _part_of_job(text, environ, count):
    """Number of a part, and how many parts a job has, or `count` where it does not say it."""
    jobs = [names for names in JOBS.values() if set(names) - {None} <= environ.keys()]
    if not jobs:
        raise InputError(f"PART = {text!r}: expected the variables of {' or '.join(JOBS)}")
    index, first, job_count = (int(environ[name]) if name else 0 for name in jobs[0])
    if len(jobs) > 1 and environ["SLURM_STEP_NUM_TASKS"] != "1":
        raise InputError(f"PART = {text!r}: expected one process in each task of a SLURM array")
    return index - first + 1, job_count or count
