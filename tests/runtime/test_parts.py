from collections import Counter
from pathlib import PurePosixPath, PureWindowsPath

import pytest

from superres.runtime.parts import WHOLE, Part, parse_part

SLURM = {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_MIN": "5", "SLURM_ARRAY_TASK_COUNT": "16"}
SRUN = {"SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "4"}
AWS = {"AWS_BATCH_JOB_ARRAY_INDEX": "0", "AWS_BATCH_JOB_ARRAY_SIZE": "16"}


@pytest.mark.parametrize(
    ("text", "environ", "part"),
    [
        ("", SLURM, WHOLE),
        ("3/16", {}, Part(3, 16)),
        ("5/16", SLURM, Part(5, 16)),
        ("auto", SLURM, Part(3, 16)),
        ("auto", SRUN, Part(4, 4)),
        ("auto", SLURM | SRUN | {"SLURM_STEP_NUM_TASKS": "1"}, Part(3, 16)),
        # In a batch script, outside of srun, these alone say nothing.
        ("auto", SLURM | {"SLURM_PROCID": "0", "SLURM_NTASKS": "4"}, Part(3, 16)),
        ("auto", AWS, Part(1, 16)),
        ("auto/16", {"JOB_COMPLETION_INDEX": "15"}, Part(16, 16)),
    ],
)
def test_parse_part(text, environ, part):
    assert parse_part(text, environ) == part


@pytest.mark.parametrize(
    ("text", "environ", "message"),
    [
        ("3", {}, 'expected "3/16", "auto" or "auto/16"'),
        ("3/", {}, 'expected "3/16"'),
        ("0/16", {}, "no part 0 of 16: expected 1 to 16"),
        ("17/16", {}, "no part 17 of 16"),
        ("1/0", {}, "no part 1 of 0"),
        ("auto/16", {}, "the variables of a SLURM array or srun or"),
        ("auto", {"SLURM_JOB_ID": "1", "SLURM_PROCID": "0"}, "the variables of a SLURM array"),
        ("auto", {"JOB_COMPLETION_INDEX": "0"}, 'expected "auto/16"'),
        ("auto/16", {"JOB_COMPLETION_INDEX": "16"}, "no part 17 of 16"),
        ("auto", SLURM | SRUN, "one process in each task of a SLURM array"),
        ("auto", SLURM | {"SLURM_ARRAY_TASK_ID": "21"}, "no part 17 of 16"),  # --array=5-19,21
    ],
)
def test_part_that_makes_no_sense_is_refused(text, environ, message):
    with pytest.raises(ValueError, match=rf"PART = '{text}': .*{message}"):
        parse_part(text, environ)


def test_parts_are_the_whole_and_alike_in_size():
    paths = [PurePosixPath(f"{n % 7}", f"{n}.jpg") for n in range(1600)]
    found = Counter()
    for number in range(1, 17):
        mine = [path for path in paths if Part(number, 16).has(path)]
        assert 60 < len(mine) < 140
        found.update(mine)
    assert found == Counter(paths)
    alike = [PurePosixPath(folder, "1.jpg") for folder in "abcdefgh"]  # the folder counts, too
    assert 0 < sum(Part(1, 2).has(path) for path in alike) < 8


def test_a_part_is_the_same_on_every_system():
    """Also next year: machines of one job may have several versions of this program."""
    for path in (
        PurePosixPath("ä/b c.jpg"),
        PureWindowsPath("ä\\b c.jpg"),
        PurePosixPath("a\N{COMBINING DIAERESIS}/b c.jpg"),
    ):
        assert [n for n in range(1, 6) if Part(n, 5).has(path)] == [2]
    assert Part(1, 1).has(PurePosixPath("\udcff.jpg"))  # a name that is no UTF-8
