"""Facts about this machine and program, without loading a library that computes."""

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path


def has_nvidia_gpu():
    """Whether there is an NVIDIA GPU that is not hidden from this process."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0") in ("", "-1"):
        return False
    # Linux's driver; the program that comes with it on every system.
    return Path("/dev/nvidiactl").exists() or shutil.which("nvidia-smi") is not None


def has_bfloat16():
    return bool(_flags() & {"avx512_bf16", "amx_bf16"})


def has_amx():
    return "amx_bf16" in _flags()


def has_vnni():
    """Whether it multiplies eight-bit integers faster than other numbers."""
    return bool(_flags() & {"avx512_vnni", "avx_vnni"})


def describe():
    """The processor and its number of cores."""
    path = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.+)", path.read_text()) if path.exists() else None
    return f"{found[1] if found else platform.processor()}, {os.cpu_count()} cores"


def commit():
    """The project's git commit, with "+" where files differ; empty without git."""
    command = ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+"]
    try:
        return subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _flags():
    """Features of the processor; none where the system is not Linux."""
    path = Path("/proc/cpuinfo")
    return set(path.read_text().split()) if path.exists() else set()
