"""Shares of a folder, for several machines or processes that do not know each other."""

import hashlib
import os
import re
import unicodedata
from typing import NamedTuple

from superres.runtime.errors import InputError


class Part(NamedTuple):
    """One of `count` shares; `number` counts from 1."""

    number: int
    count: int

    def has(self, path):
        """Whether a file is in it: by a hash of its path below the folder, alike everywhere."""
        name = unicodedata.normalize("NFC", path.as_posix())  # which macOS takes apart
        digest = hashlib.sha256(os.fsencode(name)).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.number - 1

    def __str__(self):
        return f"part {self.number} of {self.count}"


WHOLE = Part(1, 1)


def chosen_part(text, environment):
    """The part that a setting says.

    Args:
        text: "3/16" for the third of 16; "auto" for what SLURM or AWS Batch say in their
            variables; "auto/16" where they say which but not of how many, as Kubernetes does; empty
            for the whole.
        environment: dict of variables.

    Raises:
        InputError: it is none of these, or the variables are missing or make no sense.
    """
    if not text:
        return WHOLE
    asked = re.fullmatch(r"(\d+)/(\d+)|auto(?:/(\d+))?", text)
    if not asked:
        raise InputError(f'PART = {text!r}: expected "3/16", "auto" or "auto/16"')
    number, count, count_of_auto = (int(group or 0) for group in asked.groups())
    if text.startswith("auto"):
        try:
            number, count = _of_job(environment)
        except InputError as error:
            raise InputError(f"PART = {text!r}: {error}") from None
        if count_of_auto and count not in (0, count_of_auto):
            raise InputError(f"PART = {text!r}: the job says that it has {count} parts")
        count = count or count_of_auto
        if not count:
            raise InputError(f'PART = {text!r}: expected "auto/16": the job does not say how many')
    if not 1 <= number <= count:
        raise InputError(f"PART = {text!r}: no part {number} of {count}: they count from 1")
    return Part(number, count)


def _of_job(environment):
    """Which part a job's variables say, from 1, and of how many; 0 where they do not say it."""

    def value(name):
        text = environment.get(name, "not set")
        if not text.isdecimal():
            raise InputError(f"expected a number in the variable {name}: {text}")
        return int(text)

    is_array, is_step = "SLURM_ARRAY_TASK_ID" in environment, "SLURM_STEP_NUM_TASKS" in environment
    if is_array or is_step:
        index, count = 0, 1
        if is_array:
            count = value("SLURM_ARRAY_TASK_COUNT")
            first, last = value("SLURM_ARRAY_TASK_MIN"), value("SLURM_ARRAY_TASK_MAX")
            step, gap = divmod(last - first, count - 1) if count > 1 else (1, 0)
            index, odd = divmod(value("SLURM_ARRAY_TASK_ID") - first, max(step, 1))
            if gap or odd or not step:
                raise InputError(
                    "expected an array of tasks whose numbers are equally far apart; for some of "
                    'them alone name the part, as "3/16"'
                )
        if is_step:  # one of several processes that srun has started
            tasks = value("SLURM_STEP_NUM_TASKS")
            index, count = index * tasks + value("SLURM_PROCID"), count * tasks
        return index + 1, count
    if "AWS_BATCH_JOB_ARRAY_INDEX" in environment:
        return value("AWS_BATCH_JOB_ARRAY_INDEX") + 1, value("AWS_BATCH_JOB_ARRAY_SIZE")
    if "JOB_COMPLETION_INDEX" in environment:
        return value("JOB_COMPLETION_INDEX") + 1, 0
    raise InputError(
        "expected the variables of an array of SLURM or of its srun, of an array job of AWS Batch, "
        "or of an indexed job of Kubernetes; there are none"
    )
