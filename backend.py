"""Keras, and the hardware that its backend computes on.

TensorFlow's C++ libraries write half a dozen lines about themselves when they load, among
them an alarming error where there is no GPU. They are kept from the terminal, unless
TF_CPP_MIN_LOG_LEVEL is set: `TF_CPP_MIN_LOG_LEVEL=0 python output.py` shows all of them.
"""

import contextlib
import os
import sys


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


try:
    with _quiet_libraries():
        import keras
except KeyboardInterrupt:
    raise SystemExit(130) from None
except (ImportError, ValueError) as error:  # not installed; no such backend
    chosen = os.environ.get("KERAS_BACKEND", "tensorflow")
    print(f"Keras cannot load its backend {chosen!r}, see README: {error}", file=sys.stderr)
    raise SystemExit(2) from error


def has_gpu():
    """Whether the backend sees a GPU."""
    if keras.backend.backend() == "torch":  # Keras cannot list its devices
        import torch

        return torch.cuda.is_available()
    return any(name.startswith("gpu") for name in keras.distribution.list_devices())


def wants_xla():
    """Whether compiling with XLA pays: with JAX always, with TensorFlow on a GPU only.

    On a processor TensorFlow's own kernels take 0.26 s for a training step of the small
    network in bfloat16, and XLA's 0.58 s. PyTorch has no XLA; what Keras would do in its
    place, `torch.compile`, costs more time per size of picture than it saves.
    """
    name = keras.backend.backend()
    return name == "jax" or (name == "tensorflow" and has_gpu())


def describe():
    """Backend and device in words, for the first line of a command's output."""
    return f"{keras.backend.backend()} on {'GPU' if has_gpu() else 'CPU'}"
