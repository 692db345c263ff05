"""How much memory is free, of the machine, a container or a GPU."""

import contextlib
from pathlib import Path

import psutil

from superres.runtime import backend
from superres.runtime.backend import keras

GPU_MEMORY = 4 * 2**30  # bytes taken for free where TensorFlow cannot tell


def free_memory():
    """Bytes of main memory that can be had without swapping, also inside a container."""
    return max(0, min([psutil.virtual_memory().available, *_free_in_groups()]))


def _free_in_groups():
    """What is left of the memory limits of this process's Linux control groups."""
    places = Path("/proc/self/cgroup")
    for line in places.read_text().splitlines() if places.exists() else []:
        _, kinds, place = line.split(":", 2)
        if kinds and "memory" not in kinds.split(","):
            continue
        # Version 1, or 2, which names no kinds.
        root = Path("/sys/fs/cgroup/memory" if kinds else "/sys/fs/cgroup")
        names = ("limit_in_bytes", "usage_in_bytes") if kinds else ("max", "current")
        cached = "total_inactive_file" if kinds else "inactive_file"  # used, but gives way
        group = root / place.lstrip("/")
        for folder in (group, *group.parents):
            with contextlib.suppress(OSError, ValueError, KeyError):  # no limit, or not ours
                limit, used = (int((folder / f"memory.{name}").read_text()) for name in names)
                statistics = dict(text.split() for text in (folder / "memory.stat").open())
                yield limit - used + int(statistics[cached])
            if folder == root:
                break


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
    """Whether an exception of any backend says that memory ran out."""
    words = f"{type(error).__name__} {error}".lower()
    return isinstance(error, MemoryError) or any(
        sign in words for sign in ("resource_exhausted", "resourceexhausted", "out of memory")
    )
