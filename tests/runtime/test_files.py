import os
import time

import pytest

from superres.runtime import files
from superres.runtime.errors import InputError
from superres.runtime.files import TEMPORARY, replacing


def test_leftovers_of_killed_runs_alone_are_removed_once_they_are_a_day_old(tmp_path):
    names = ["novel.txt", "0123456.png", "01234567.png.txt", "0123456z.png", "fedcba98.png"]
    old, new, *others = (
        tmp_path / f"{TEMPORARY}{n}" for n in ("01234567.png", "89abcdef.png", *names)
    )
    others += [tmp_path / "mine.png"]
    os.mkfifo(tmp_path / f"{TEMPORARY}fedcba98.png")  # which nobody may wait for
    for path in old, new, *others:
        path.touch()
        os.utime(path, (0, time.time() - 3600 * (23 if path == new else 25)))
    files.remove_stale_files(tmp_path)
    assert {*tmp_path.iterdir()} == {new, *others}
    files.remove_stale_files(tmp_path / "nowhere")


def test_check_writable_leaves_nothing_and_needs_a_folder(tmp_path):
    files.check_writable(tmp_path)
    assert not list(tmp_path.iterdir())
    with pytest.raises(OSError, match="nowhere"):
        files.check_writable(tmp_path / "nowhere")


def test_replacing_leaves_the_old_file_after_an_error(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("old")

    def fail_half_way():
        with replacing(path) as part:
            part.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert path.read_text() == "old"
    with replacing(path) as part:
        part.write_text("new")
        number = part.stat().st_ino
    assert path.read_text() == "new"
    assert path.stat().st_ino == number  # moved, not copied
    assert list(tmp_path.iterdir()) == [path]


def test_place_that_cannot_be_written_is_wrong_input_and_named(tmp_path):
    """As `FILE` of the export in a missing folder, below a file, or in a folder's place."""
    (tmp_path / "file").touch()
    (tmp_path / "folder.txt").mkdir()
    (tmp_path / "dangling").symlink_to("nowhere")
    for place in "nowhere/x.txt", "file/x.txt", "folder.txt":
        with (
            pytest.raises(InputError, match=rf"\[Errno \d+\] .*: '{tmp_path / place}'"),
            replacing(tmp_path / place) as part,
        ):
            part.write_text("new")
    for place in "file", "file/deeper", "dangling", "dangling/deeper":
        with pytest.raises(InputError, match=r"\[Errno \d+\] "):
            files.make_folder(tmp_path / place)
    assert len(list(tmp_path.iterdir())) == 3
