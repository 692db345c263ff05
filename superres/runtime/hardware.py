"""What this machine has, found without loading what would compute on it."""

import os
import shutil
from pathlib import Path


def has_nvidia_gpu():
    """Whether a GPU of NVIDIA's may be used: it is there, and not hidden from this process."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0") in ("", "-1"):
        return False
    # The first is where Linux has its driver; the program comes with it on every system.
    return Path("/dev/nvidiactl").exists() or shutil.which("nvidia-smi") is not None


def has_bfloat16():
    """Whether the processor computes in bfloat16: by AVX512-BF16 or AMX."""
    return bool(_flags() & {"avx512_bf16", "amx_bf16"})


def has_amx():
    """Whether it multiplies matrices of bfloat16, by AMX."""
    return "amx_bf16" in _flags()


def _flags():
    """What Linux says that the processor can do; empty on other systems."""
    path = Path("/proc/cpuinfo")
    return set(path.read_text().split()) if path.exists() else set()
