"""Keras, and the hardware that its backend computes on.

TensorFlow's C++ libraries write half a dozen lines about themselves when they load, among
them an alarming error where there is no GPU. They are kept from the terminal, unless
TF_CPP_MIN_LOG_LEVEL is set: `TF_CPP_MIN_LOG_LEVEL=0 python output.py` shows all of them.
"""

import contextlib
import os


@contextlib.contextmanager
def _quiet_libraries():
    """Sends what C++ code writes to standard error to nowhere; Python's errors still rise."""
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        yield
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(nowhere)
        os.close(kept)


with _quiet_libraries():
    import keras


def has_gpu():
    """Whether the backend sees a GPU."""
    return bool(keras.distribution.list_devices("gpu"))


def wants_xla():
    """Whether compiling with XLA pays: not with TensorFlow on a processor.

    There its own kernels take 0.26 s for a training step of the small network in bfloat16,
    and XLA's 0.58 s.
    """
    return keras.backend.backend() != "tensorflow" or has_gpu()


def describe():
    """Backend and device in words, for the first line of a command's output."""
    return f"{keras.backend.backend()} on {'GPU' if has_gpu() else 'CPU'}"
