"""Engines that compute a network without Keras: OpenVINO, on processors.

Training always is Keras's. For enlarging, an engine that keeps channels first is faster on
processors, and is there at once: Keras and TensorFlow take seconds to load.
"""

import importlib.util
import os

from superres.runtime import backend, hardware
from superres.runtime.errors import InputError

ENGINES = ("auto", "openvino", "keras")
NEEDED = ("openvino", "onnx")  # packages


def is_installed():
    """Whether there is an engine beside Keras."""
    return all(importlib.util.find_spec(name) for name in NEEDED)


def resolve(engine):
    """Which engine is meant: openvino or keras.

    Args:
        engine: one of `ENGINES`; auto is OpenVINO where it is installed, unless Keras has a GPU,
            or KERAS_BACKEND names its backend.

    Raises:
        InputError: it is not installed.
    """
    if engine == "openvino" and not is_installed():
        raise InputError(f"ENGINE = 'openvino': expected the packages {' and '.join(NEEDED)}")
    if engine != "auto":
        return engine
    if os.environ.get("KERAS_BACKEND") or not is_installed():
        return "keras"
    # Keras, which takes seconds to load, is asked only where there may be a GPU. Only enlarging
    # needs no Keras.
    may_be_keras = hardware.has_nvidia_gpu() and importlib.util.find_spec("keras")
    return "keras" if may_be_keras and backend.has_gpu() else "openvino"


def compiled(write, exact, precision, cache, name):
    """`openvino_engine.compiled`."""
    from superres.runtime import openvino_engine  # here, since it loads OpenVINO

    return openvino_engine.compiled(write, exact, precision, cache, name)


def ir(graph, exact):
    """`openvino_engine.ir`."""
    from superres.runtime import openvino_engine

    return openvino_engine.ir(graph, exact)


def has_fast_bfloat16():
    """Whether the engine is faster in bfloat16 than in float32 here."""
    from superres.runtime import openvino_engine

    return openvino_engine.has_fast_bfloat16()


def window_steps(precision):
    """What height and width of pictures should be multiples of.

    AMX takes pixels of a row by 16; with rows of some other lengths it is half as fast.
    """
    return (1, 16) if precision == "bfloat16" and hardware.has_amx() else (1, 1)


def describe():
    """The engine and its device, for the first line of a command's output."""
    return "OpenVINO on CPU"
