"""Engines that enlarge without Keras: OpenVINO, on processors.

An engine with channels first is faster there, and loads at once: Keras and TensorFlow take seconds.
"""

import importlib.util
import os

from superres.runtime import backend, hardware
from superres.runtime.errors import InputError

ENGINES = ("auto", "openvino", "keras")
NEEDED = ("openvino", "onnx")  # packages


def is_installed():
    return all(importlib.util.find_spec(name) for name in NEEDED)


def resolve(engine):
    """openvino or keras, of `ENGINES`; InputError: it is not installed.

    auto is OpenVINO where it is installed, unless Keras has a GPU or KERAS_BACKEND is set.
    """
    if engine == "openvino" and not is_installed():
        raise InputError(f"ENGINE = 'openvino': expected the packages {' and '.join(NEEDED)}")
    if engine != "auto":
        return engine
    if os.environ.get("KERAS_BACKEND") or not is_installed():
        return "keras"
    # Keras takes seconds to load, and need not be installed to enlarge.
    may_be_keras = hardware.has_nvidia_gpu() and importlib.util.find_spec("keras")
    return "keras" if may_be_keras and backend.has_gpu() else "openvino"


def openvino():
    """The module `openvino_engine`, loaded when it is needed."""
    from superres.runtime import openvino_engine

    return openvino_engine


def window_steps(precision):
    """Numbers that height and width of windows should be multiples of."""
    # AMX takes pixels of a row by 16; rows of some other lengths are half as fast.
    return (1, 16) if precision == "bfloat16" and hardware.has_amx() else (1, 1)


def describe():
    return "OpenVINO on CPU"
