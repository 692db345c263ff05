from collections import Counter
from pathlib import PurePosixPath, PureWindowsPath

import pytest

from superres.runtime.parts import WHOLE, Part, chosen_part

SLURM = {
    "SLURM_ARRAY_TASK_ID": "7",
    "SLURM_ARRAY_TASK_MIN": "5",
    "SLURM_ARRAY_TASK_MAX": "20",
    "SLURM_ARRAY_TASK_COUNT": "16",
}
SRUN = {"SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "4"}


@pytest.mark.parametrize(
    ("text", "environment", "part"),
    [
        ("", {}, WHOLE),
        ("", SLURM, WHOLE),
        ("3/16", SLURM, Part(3, 16)),
        ("auto", SLURM, Part(3, 16)),
        ("auto/16", SLURM, Part(3, 16)),
        # --array=1-7:2, and one task alone
        (
            "auto",
            SLURM
            | {"SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_MAX": "7"}
            | {"SLURM_ARRAY_TASK_COUNT": "4"},
            Part(4, 4),
        ),
        (
            "auto",
            SLURM
            | {"SLURM_ARRAY_TASK_MIN": "7", "SLURM_ARRAY_TASK_MAX": "7"}
            | {"SLURM_ARRAY_TASK_COUNT": "1"},
            Part(1, 1),
        ),
        ("auto", SRUN, Part(4, 4)),
        ("auto", SLURM | SRUN, Part(12, 64)),
        # In a batch script, outside of srun, these alone say nothing.
        ("auto", SLURM | {"SLURM_PROCID": "0", "SLURM_NTASKS": "4"}, Part(3, 16)),
        (
            "auto",
            {"AWS_BATCH_JOB_ARRAY_INDEX": "0", "AWS_BATCH_JOB_ARRAY_SIZE": "16"},
            Part(1, 16),
        ),
        ("auto/16", {"JOB_COMPLETION_INDEX": "15"}, Part(16, 16)),
    ],
)
def test_chosen_part(text, environment, part):
    assert chosen_part(text, environment) == part


@pytest.mark.parametrize(
    ("text", "environment", "message"),
    [
        ("3", {}, 'expected "3/16", "auto" or "auto/16"'),
        ("3/", {}, 'expected "3/16"'),
        ("0/16", {}, "no part 0 of 16: they count from 1"),
        ("17/16", {}, "no part 17 of 16"),
        ("1/0", {}, "no part 1 of 0"),
        ("auto", {}, "the variables of an array of SLURM or .*; there are none"),
        ("auto", {"SLURM_JOB_ID": "1", "SLURM_PROCID": "0"}, "there are none"),
        ("auto", {"JOB_COMPLETION_INDEX": "0"}, 'expected "auto/16"'),
        ("auto/16", {"JOB_COMPLETION_INDEX": "16"}, "no part 17 of 16"),
        ("auto/8", SLURM, "the job says that it has 16 parts"),
        ("auto", SLURM | {"SLURM_ARRAY_TASK_COUNT": ""}, "a number in the variable SLURM_ARRAY_T"),
        ("auto", {"AWS_BATCH_JOB_ARRAY_INDEX": "0"}, "AWS_BATCH_JOB_ARRAY_SIZE: not set"),
        # --array=5,7,20; and what cannot be
        ("auto", SLURM | {"SLURM_ARRAY_TASK_COUNT": "3"}, "numbers are equally far apart"),
        ("auto", SLURM | {"SLURM_ARRAY_TASK_COUNT": "99"}, "numbers are equally far apart"),
        ("auto", SLURM | {"SLURM_ARRAY_TASK_MAX": "5"}, "numbers are equally far apart"),
    ],
)
def test_part_that_makes_no_sense_is_refused(text, environment, message):
    with pytest.raises(ValueError, match=rf"PART = '{text}': .*{message}"):
        chosen_part(text, environment)


def test_parts_are_the_whole_and_alike_in_size():
    paths = [PurePosixPath(f"{n % 7}", f"{n}.jpg") for n in range(1600)]
    found = Counter()
    for number in range(1, 17):
        mine = [path for path in paths if Part(number, 16).has(path)]
        assert 60 < len(mine) < 140
        found.update(mine)
    assert found == Counter(paths)


def test_the_folder_counts_too():
    alike = [PurePosixPath(folder, "1.jpg") for folder in "abcdefgh"]
    assert 0 < sum(Part(1, 2).has(path) for path in alike) < 8


def test_a_part_is_the_same_on_every_system():
    """Also next year: machines of one job may have several versions of this program."""
    assert [Part(n, 5).has(PurePosixPath("ä/b c.jpg")) for n in range(1, 6)].index(True) == 1
    for n in range(1, 6):
        is_mine = Part(n, 5).has(PurePosixPath("ä/b c.jpg"))
        assert is_mine == Part(n, 5).has(PureWindowsPath("ä\\b c.jpg"))
        assert is_mine == Part(n, 5).has(PurePosixPath("a\N{COMBINING DIAERESIS}/b c.jpg"))
    assert Part(1, 1).has(PurePosixPath("\udcff.jpg"))  # a name that is no UTF-8
