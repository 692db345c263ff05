"""Weights on disk: `.keras` files, packed tightly, and read without running what is in them."""

import json
import tempfile
import zipfile
from pathlib import Path

import numpy as np

import utils
from backend import keras


def round_to_half(array):
    """Rounds a float32 array to the 11 significant bits of half precision, keeping float32."""
    mantissa, exponent = np.frexp(array)
    return np.ldexp(np.round(mantissa * 2**11) / 2**11, exponent).astype(np.float32)


def export(model, path, halo):
    """Saves `model` as a `.keras` file, packed tighter than Keras does.

    Of weights that `round_to_half` rounded, the low bits are zeros and pack away: the file
    has half the size of the float32 weights and is still an ordinary `.keras` file. A file
    at `path` is replaced only when the new one is complete. `halo`, which `output.py` cuts
    pictures into tiles with, is stored in it beside Keras's own metadata.
    """
    with tempfile.TemporaryDirectory() as folder, utils.replacing(path) as part:
        saved = Path(folder, "saved.keras")
        model.save(saved)
        with zipfile.ZipFile(saved) as old, zipfile.ZipFile(part, "w") as new:
            for name in old.namelist():
                content = old.read(name)
                if name == "metadata.json":
                    content = json.dumps(json.loads(content) | {"halo": halo})
                new.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_LZMA)


def stored_halo(path):
    """The halo that was measured for a weights file and stored in it; `None` without one."""
    try:
        with zipfile.ZipFile(path) as archive:
            halo = json.loads(archive.read("metadata.json")).get("halo")
    except (KeyError, ValueError, AttributeError):
        return None
    return halo if isinstance(halo, int) and halo >= 1 else None


def read(path):
    """Loads a network.

    Args:
        path: `.keras` file; code hidden in it is not run (`safe_mode`).

    Returns:
        `keras.Model`, not compiled.

    Raises:
        ValueError: no such file, or not a Keras file.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such weights file")
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path}: expected a .keras file; this is none, or a damaged one")
    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises many kinds; each means the file is of no use
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path}: Keras cannot load it: {reason}") from error
