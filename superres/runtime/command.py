"""Runs a command: its settings, signals, errors and exit code.

It imports nothing but Python, so that `--help` and errors in settings do not wait for libraries.
"""

import contextlib
import io
import os
import signal
import sys
import threading
from pathlib import Path

from superres.runtime import settings
from superres.runtime.errors import Failed, InputError, Stopped, is_machine_error

# Signals that end a command: Ctrl-C, a request to end, a closed terminal.
SIGNALS = [signal.SIGINT, signal.SIGTERM]
SIGNALS += [signal.SIGHUP] if hasattr(signal, "SIGHUP") else []  # not on Windows


class Stop(threading.Event):
    """An event that the first signal sets. Signals also interrupt, within `deferring` only later
    ones: a library may swallow an interrupt, so the work asks for the event where it can end well.
    """

    def __init__(self):
        super().__init__()
        self._defers = False
        self._before = {number: signal.getsignal(number) for number in SIGNALS}

    def __enter__(self):
        for number, before in self._before.items():
            if before != signal.SIG_IGN:  # as background jobs and nohup ignore some
                signal.signal(number, self.handle)
        return self

    def __exit__(self, *error):
        for number, before in self._before.items():
            signal.signal(number, before)

    def check(self):
        """Raises KeyboardInterrupt where a signal has come."""
        if self.is_set():
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def deferring(self):
        """Within, the first signal does not interrupt."""
        self._defers = True
        self.__enter__()  # again: JAX takes SIGTERM when several processes train together
        try:
            yield
        finally:
            self._defers = False

    def handle(self, number, frame):
        """Handles a signal."""
        is_first = not self.is_set()
        self.set()
        if not (is_first and self._defers):
            raise KeyboardInterrupt


def run(work, scripts, arguments=None, hint="", **options):
    """Runs the work of a command, and says in one line why it failed or stopped.

    Args:
        work: function of the settings and a `Stop`; returns the exit code.
        scripts: names of the modules with a settings block; the last one is the command's, and its
            docstring describes it.
        arguments: words of the command line; `None` for the process's own.
        hint: how to resume after a signal, where `Stopped` says nothing else.
        options: `positional`, `several` and `presets` of `settings.parse`.

    Returns:
        The exit code: that of the work; 1 after `Failed`; 2 after `InputError` or an error of the
        machine; 130 after a signal.
    """
    name = Path(sys.modules[scripts[-1]].__file__).name
    sys.stdout = sys.stdout or io.StringIO()  # where it is closed
    sys.stderr = sys.stderr or io.StringIO()
    for stream in sys.stdout, sys.stderr:
        if hasattr(stream, "reconfigure"):  # names of files need not be valid text
            stream.reconfigure(errors="backslashreplace")
    with Stop() as stop:
        try:
            code = work(settings.parse(scripts, arguments, **options), stop)
            print(end="", flush=True)
            return code
        except BrokenPipeError:  # `| head` has enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except (Stopped, KeyboardInterrupt) as error:
            return _say_stopped(name, str(error) or hint)
        except Exception as error:
            if stop.is_set():  # a library turned the interrupt into an error
                return _say_stopped(name, hint)
            if not (isinstance(error, Failed | InputError) or is_machine_error(error)):
                raise
            print(f"{name}: {error}", file=sys.stderr)
            return 1 if isinstance(error, Failed) else 2


def _say_stopped(name, hint):
    print(f"\n{name}: stopped{hint and f'; {hint}'}", file=sys.stderr)
    return 130
