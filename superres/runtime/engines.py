"""Engines that compute a network without Keras: OpenVINO, on processors.

Training always is Keras's. For enlarging, an engine that keeps channels first is faster on
processors, and is there at once: Keras and TensorFlow take seconds to load.
"""

import importlib.util
import os

from superres.runtime import hardware

ENGINES = ("auto", "openvino", "keras")


def chosen(engine):
    """Which engine is meant: openvino or keras.

    Args:
        engine: one of `ENGINES`; auto is OpenVINO where it is installed, unless there is a GPU of
            NVIDIA's, which it cannot use, or KERAS_BACKEND names a backend.

    Raises:
        ValueError: it is not installed.
    """
    is_installed = importlib.util.find_spec("openvino") is not None
    if engine == "openvino" and not is_installed:
        raise ValueError("ENGINE = 'openvino': is not installed; pip install openvino")
    if engine != "auto":
        return engine
    is_wanted = not hardware.has_nvidia_gpu() and not os.environ.get("KERAS_BACKEND")
    return "openvino" if is_installed and is_wanted else "keras"


def compiled(write, exact, precision, cache, name):
    """`openvino_engine.compiled`."""
    from superres.runtime import openvino_engine  # here, since it loads OpenVINO

    return openvino_engine.compiled(write, exact, precision, cache, name)


def window_steps():
    """What height and width of pictures should be multiples of.

    AMX takes pixels of a row by 16; with rows of some other lengths it is half as fast.
    """
    return (1, 16) if hardware.has_amx() else (1, 1)


def has_fast_bfloat16():
    """Whether the engine is faster in bfloat16 than in float32 here."""
    return hardware.has_bfloat16()


def describe():
    """The engine and its device, for the first line of a command's output."""
    return "OpenVINO on CPU"
