"""What this machine and program are, found without loading what would compute here."""

import os
import platform
import re
import shutil
import subprocess
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


def describe():
    """The processor and how many cores of it may be used."""
    path = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.+)", path.read_text()) if path.exists() else None
    return f"{found[1] if found else platform.processor()}, {os.cpu_count()} cores"


def commit():
    """The project's git commit, "+" behind it where files differ; empty without git."""
    command = ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+"]
    try:
        return subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _flags():
    """What Linux says that the processor can do; empty on other systems."""
    path = Path("/proc/cpuinfo")
    return set(path.read_text().split()) if path.exists() else set()
