"""Weights on disk: `.keras` files, packed tightly, and read without running what is in them."""

import importlib
import io
import json
import tempfile
import zipfile
from pathlib import Path

import h5py
import numpy as np

from superres.runtime.backend import keras
from superres.runtime.files import replacing
from superres.upscaling.graph import LAYERS

# What a `.keras` file is made of, and how many bytes of each are read.
MEMBERS = {"metadata.json": 2**20, "config.json": 2**26, "model.weights.h5": 2**32}
MOST_NESTED = 16
# Classes that a network may be made of, by module. Keras has others that load code
# (Lambda, TorchModuleWrapper, TFSMLayer), read files (StringLookup) or call functions.
MODELS = {"Functional", "Sequential"}
HARMLESS = {
    "keras": {*MODELS, "DTypePolicy"},
    "keras.layers": LAYERS,
    "keras.models": MODELS,
    "keras.src.models.functional": MODELS,
    "keras.src.models.sequential": MODELS,
}
# Modules of which all classes of a kind are harmless.
HARMLESS_KINDS = {
    "keras.initializers": keras.initializers.Initializer,
    "keras.regularizers": keras.regularizers.Regularizer,
    "keras.constraints": keras.constraints.Constraint,
    **dict.fromkeys(["keras.src.ops.nn", "keras.src.ops.numpy"], keras.Operation),
}
VALUES = {"__keras_tensor__", "__numpy__", "__tensor__"}


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
    with tempfile.TemporaryDirectory() as folder, replacing(path) as part:
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


def _forbidden_part(config):
    """The first object in a model's configuration that is not of a harmless kind, in words.

    Keras makes objects of the classes, and calls the functions, that a file names. Of
    ordinary networks only a few are needed.
    """
    if isinstance(config, list):
        values = config
    elif isinstance(config, dict):
        name = config.get("class_name")
        if name is not None and not _is_harmless(name, config.get("module"), config):
            return f"{config.get('module')}.{name}"
        values = config.values()
    else:
        return None
    return next(filter(None, map(_forbidden_part, values)), None)


def _is_harmless(name, module, config):
    """Whether Keras may make an object of the class `name` of `module`."""
    if module is None:
        return name in VALUES
    # What others have registered has a name like package>class.
    if config.get("registered_name") not in (None, name):
        return False
    if module in HARMLESS_KINDS:
        found = getattr(importlib.import_module(module), name, None)
        return isinstance(found, type) and issubclass(found, HARMLESS_KINDS[module])
    return name in HARMLESS.get(module, ())


def _check_arrays(group, depth=0):
    """Raises ValueError where an HDF5 group holds more than plain arrays of numbers.

    Returns:
        Bytes of all arrays in it.
    """
    if depth > MOST_NESTED:
        raise ValueError(f"its weights are nested more than {MOST_NESTED} deep")
    total = 0
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise ValueError(f"its weights hold a link to another place, {group.name}/{name}")
        item = group[name]
        if isinstance(item, h5py.Group):
            total += _check_arrays(item, depth + 1)
        elif item.external or item.is_virtual:
            raise ValueError(f"its weights hold a link to another file, {item.name}")
        elif item.dtype.kind not in "fiub":
            raise ValueError(f"its weights hold something else than numbers, {item.name}")
        else:
            total += item.nbytes
    return total


def check(path):
    """Looks into a `.keras` file without making anything of what it says.

    Raises:
        ValueError: it is no `.keras` file, a damaged one, or holds what could run code or read
            other files.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such weights file")
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path}: expected a .keras file; this is none, or a damaged one")
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {item.filename: item.file_size for item in archive.infolist()}
            if set(sizes) != set(MEMBERS) or len(archive.infolist()) != len(MEMBERS):
                held = ", ".join(sizes) or "nothing"
                raise ValueError(f"it holds {held}: expected {', '.join(MEMBERS)}")
            for name, most in MEMBERS.items():
                if sizes[name] > most:
                    raise ValueError(f"{name} in it has {sizes[name]:,} bytes: at most {most:,}")
            config = json.loads(archive.read("config.json"))
            # How it was trained is not loaded.
            config = {key: config[key] for key in config if key != "compile_config"}
            if found := _forbidden_part(config):
                raise ValueError(f"it holds {found}, which weights files may not hold")
            weights = archive.read("model.weights.h5")
        with h5py.File(io.BytesIO(weights)) as file:
            # Arrays that are stored in less than their size would fill the memory.
            if _check_arrays(file) > len(weights):
                raise ValueError("its weights are packed in a way that Keras does not use")
    except Exception as error:  # the libraries raise many kinds on damaged files
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path}: refused: {reason}") from error


def read(path):
    """Loads a network; code that is hidden in its file is not run, see `check`.

    Args:
        path: `.keras` file.

    Returns:
        `keras.Model`, not compiled.

    Raises:
        ValueError: no such file, not a Keras file, or refused.
    """
    path = Path(path)
    check(path)
    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises many kinds; each means the file is of no use
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path}: Keras cannot load it: {reason}") from error
