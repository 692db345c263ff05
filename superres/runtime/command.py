"""The frame of a command: what Ctrl-C and SIGTERM do."""

import signal
import threading


def stopping_at_signals():
    """Makes Ctrl-C and SIGTERM raise KeyboardInterrupt, and remembers that they came.

    Returns:
        `threading.Event` that is set from then on: libraries may turn the exception into
        another or lose it.
    """
    is_stopping = threading.Event()

    def stop(number, frame):
        is_stopping.set()
        raise KeyboardInterrupt

    for number in signal.SIGINT, signal.SIGTERM:
        if signal.getsignal(number) != signal.SIG_IGN:  # as background jobs have it
            signal.signal(number, stop)
    return is_stopping
