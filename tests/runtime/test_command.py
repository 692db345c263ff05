import os
import signal
import subprocess
import sys

import pytest

from superres.runtime import command
from superres.runtime.errors import Failed, InputError, Stopped
from support import FAULTS, ROOT


@pytest.fixture
def script(make_script):
    return make_script("# ----\nCOUNT = 3  # of things\n# ----\n")


def fails(error):
    def work(config, stop):
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (InputError("COUNT = 3: expected 4"), 2, "script.py: COUNT = 3: expected 4\n"),
        (PermissionError(13, "Denied", "x"), 2, "script.py: [Errno 13] Denied: 'x'\n"),
        (Failed("the disk is full"), 1, "script.py: the disk is full\n"),
        (Stopped("go on"), 130, "\nscript.py: stopped; go on\n"),
        (KeyboardInterrupt(), 130, "\nscript.py: stopped; begin anew\n"),
    ],
)
def test_error_ends_in_one_line_and_its_code(script, capsys, error, code, said):
    assert command.run(fails(error), [script], [], hint="begin anew") == code
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("error", FAULTS, ids=repr)
def test_fault_of_ours_is_shown(script, capsys, error):
    with pytest.raises(type(error)):
        command.run(fails(error), [script], [])
    assert capsys.readouterr().err == ""


def test_code_and_settings_are_those_of_the_work(script):
    assert command.run(lambda config, stop: config.count, [script], ["--count", "7"]) == 7


@pytest.mark.parametrize("number", command.SIGNALS)
def test_signal_interrupts_at_once(script, number):
    assert command.run(lambda config, stop: signal.raise_signal(number), [script], []) == 130


def test_within_gently_the_first_signal_is_asked_for_and_the_second_interrupts(script):
    done = []

    def work(config, stop):
        with stop.deferring():
            done.append(stop.is_set())
            signal.raise_signal(signal.SIGTERM)
            done.append(stop.is_set())
            if config.count:
                signal.raise_signal(signal.SIGINT)
                done.append("not reached")
        return 5

    assert command.run(work, [script], []) == 130
    assert command.run(work, [script], ["--count", "0"]) == 5
    assert done == [False, True, False, True]


def test_interrupt_that_a_library_turns_into_another_error_stops(script, capsys):
    def work(config, stop):
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt as error:
            raise RuntimeError("graph execution error") from error

    assert command.run(work, [script], []) == 130
    assert capsys.readouterr().err == "\nscript.py: stopped\n"


def test_handlers_are_as_before_and_what_is_ignored_stays_so(script):
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def work(config, stop):
        signal.raise_signal(signal.SIGINT)
        return int(stop.is_set())

    assert command.run(work, [script], []) == 0
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN


@pytest.mark.parametrize(
    ("closed", "code"), [("| true", 1), ("> /dev/full", 2), (">&-", 4), ("2>&-", 4)]
)
def test_work_ends_quietly_where_nobody_reads(tmp_path, closed, code):
    path = tmp_path / "script.py"
    path.write_text(
        f"""import sys, time
from pathlib import Path
sys.path.insert(0, {str(ROOT)!r})
from superres.runtime import command
# ----
COUNT = 3  # of things
# ----
def work(config, stop):
    for n in range(20):
        print("x" * 10000, flush=True)
        print("x", file=sys.stderr)
    Path("done").touch()
    return 4
sys.exit(command.run(work, [__name__]))
"""
    )
    words = f"{sys.executable} script.py {closed}; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", words], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    assert (tmp_path / "done").exists() == (code == 4)
    assert "Traceback" not in done.stderr + done.stdout
    assert os.path.exists(path)
