"""How much memory is free, of the machine, a container or a GPU."""

import contextlib
from pathlib import Path

import psutil

from superres.runtime import backend
from superres.runtime.backend import keras

# Where Linux says which control group (of version 2) this process is in, and where the groups are.
OWN_GROUP, GROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
GPU_MEMORY = 4 * 2**30  # bytes taken for free where TensorFlow cannot tell


def free_memory():
    """Bytes of main memory that can be had without swapping, also inside a container."""
    return max(0, min([psutil.virtual_memory().available, *_free_in_groups()]))


def _free_in_groups():
    """What is left of the memory limits of this process's control group and of those above."""
    lines = OWN_GROUP.read_text().splitlines() if OWN_GROUP.exists() else []
    for place in (line.removeprefix("0::/") for line in lines if line.startswith("0::")):
        for folder in (GROUPS / place, *(GROUPS / place).parents[: len(Path(place).parts)]):
            with contextlib.suppress(OSError, ValueError, KeyError):  # no limit, or not ours
                limit, used = (
                    int((folder / f"memory.{n}").read_text()) for n in ("max", "current")
                )
                statistics = dict(text.split() for text in (folder / "memory.stat").open())
                # What is cached of files gives way.
                yield limit - used + int(statistics["inactive_file"])


def free_device_memory():
    """Bytes that can be had on the device that computes: the GPU's, else main memory."""
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
    return isinstance(error, MemoryError) or any(
        sign in words
        for sign in (
            *("resource_exhausted", "resourceexhausted", "out of memory"),
            *("bad_alloc", "failed to allocate", "can't alloc"),  # OpenVINO
        )
    )
