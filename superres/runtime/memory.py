"""How much memory is free, of the machine, a container or a GPU."""

import contextlib
from pathlib import Path

import psutil

from superres.runtime import backend
from superres.runtime.backend import keras

# Linux's name of this process's control group, of version 2, and the folder of all groups.
OWN_GROUP, GROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
GPU_MEMORY = 4 * 2**30  # bytes assumed free on TensorFlow's GPU, which does not say

SIGNS = "resource_exhausted", "resourceexhausted", "out of memory"  # of errors, by Keras's backends
SIGNS += "bad_alloc", "failed to allocate", "can't alloc"  # by OpenVINO


def free_memory():
    """Free bytes of main memory, also inside a container."""
    return max(0, min([psutil.virtual_memory().available, *_free_in_groups()]))


def _free_in_groups():
    """Free bytes in each control group of this process that has a limit."""
    lines = OWN_GROUP.read_text().splitlines() if OWN_GROUP.exists() else []
    for place in (line.removeprefix("0::/") for line in lines if line.startswith("0::")):
        for group in (GROUPS / place, *(GROUPS / place).parents[: len(Path(place).parts)]):
            with contextlib.suppress(OSError, ValueError, KeyError):  # no limit, or not ours
                limit, used = (int((group / f"memory.{n}").read_text()) for n in ("max", "current"))
                statistics = dict(text.split() for text in (group / "memory.stat").open())
                yield limit - used + int(statistics["inactive_file"])  # cached files give way


def free_device_memory():
    """Free bytes of the GPU, or without one of main memory."""
    name = keras.backend.backend()
    if not backend.has_gpu():
        return free_memory()
    if name == "torch":
        import torch

        return torch.cuda.mem_get_info()[0]
    if name == "jax":
        import jax

        statistics = jax.devices()[0].memory_stats()
        return statistics["bytes_limit"] - statistics["bytes_in_use"]
    return GPU_MEMORY


def is_out_of_memory(error):
    """Whether an exception of any backend or engine says that memory ran out."""
    words = f"{type(error).__name__} {error}".lower()
    return isinstance(error, MemoryError) or any(sign in words for sign in SIGNS)
