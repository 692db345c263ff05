"""Weights on disk: `.keras` files, packed tightly, and read without running what is in them."""

import contextlib
import io
import json
import tempfile
import zipfile
from collections import Counter
from pathlib import Path

import h5py
import numpy as np

from superres.runtime.backend import keras
from superres.runtime.files import replacing
from superres.upscaling.graph import LAYERS, OPERATIONS

# What a `.keras` file is made of, and how many bytes of each are read.
MEMBERS = {"metadata.json": 2**20, "config.json": 2**26, "model.weights.h5": 2**32}
MOST_NESTED = 16
# Classes that a network may be made of, by module. Keras has others that load code
# (Lambda, TorchModuleWrapper, TFSMLayer), read files (StringLookup) or call functions.
MODELS = {"Functional", "Sequential"}
# fmt: off
HARMLESS = {
    "keras": {*MODELS, "DTypePolicy"},
    "keras.constraints": {"MaxNorm", "MinMaxNorm", "NonNeg", "UnitNorm"},
    "keras.initializers": {
        "Constant", "GlorotNormal", "GlorotUniform", "HeNormal", "HeUniform", "Identity",
        "LecunNormal", "LecunUniform", "Ones", "Orthogonal", "RandomNormal", "RandomUniform",
        "TruncatedNormal", "VarianceScaling", "Zeros",
    },
    "keras.layers": LAYERS,
    "keras.models": MODELS,
    "keras.regularizers": {"L1", "L1L2", "L2", "OrthogonalRegularizer"},
    "keras.src.models.functional": MODELS,
    "keras.src.models.sequential": MODELS,
    **OPERATIONS,
}
# fmt: on
# How Keras names the place of a layer's weights in the file: conv2d, conv2d_1, ...
STORED = {
    "BatchNormalization": "batch_normalization",
    "Conv2D": "conv2d",
    "PReLU": "p_re_lu",
}
VALUES = {"__keras_tensor__", "__numpy__", "__tensor__"}


def round_to_half(array):
    """Rounds a float32 array to the 11 significant bits of half precision, keeping float32."""
    mantissa, exponent = np.frexp(array)
    return np.ldexp(np.round(mantissa * 2**11) / 2**11, exponent).astype(np.float32)


def export(model, path, halo):
    """Saves `model` as a `.keras` file, packed tighter than Keras does.

    Of weights that `round_to_half` rounded, the low bits are zeros and pack away: the file
    has half the size of the float32 weights and is still an ordinary `.keras` file. LZMA would
    pack no tighter, and take twelve times as long: 44 s for the large network. A file at `path`
    is replaced only when the new one is complete. `halo`, which `output.py` cuts pictures into
    tiles with, is stored in it beside Keras's own metadata.
    """
    with tempfile.TemporaryDirectory() as folder, replacing(path) as part:
        saved = Path(folder, "saved.keras")
        model.save(saved)
        with zipfile.ZipFile(saved) as old, zipfile.ZipFile(part, "w") as new:
            for name in old.namelist():
                content = old.read(name)
                if name == "metadata.json":
                    content = json.dumps(json.loads(content) | {"halo": halo})
                new.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_BZIP2)


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


@contextlib.contextmanager
def refusing(path):
    """Within, whatever fails means that a file is no weights file: ValueError that names it."""
    try:
        yield
    except Exception as error:  # the libraries raise many kinds on damaged files
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path}: refused: {reason}") from error


def read_config(path):
    """The configuration of the network in a `.keras` file, of which nothing is made.

    Returns:
        dict, as `graph.Graph` takes it.

    Raises:
        ValueError: it is no `.keras` file, a damaged one, or names what could run code or read
            other files.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such weights file")
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path}: expected a .keras file; this is none, or a damaged one")
    with refusing(path), zipfile.ZipFile(path) as archive:
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
    return config


@contextlib.contextmanager
def _arrays_of(path):
    """The HDF5 file of the weights in a `.keras` file, after a look into it."""
    with zipfile.ZipFile(path) as archive:
        weights = archive.read("model.weights.h5")
    with h5py.File(io.BytesIO(weights)) as file:
        # Arrays that are stored in less than their size would fill the memory.
        if _check_arrays(file) > len(weights):
            raise ValueError("its weights are packed in a way that Keras does not use")
        yield file


def check(path):
    """Looks into a `.keras` file without making anything of what it says.

    Raises:
        ValueError: it is no `.keras` file, a damaged one, or holds what could run code or read
            other files.
    """
    read_config(path)
    with refusing(path), _arrays_of(path):
        pass


def read_arrays(path, graph):
    """The weights in a `.keras` file, without Keras.

    Args:
        path: `.keras` file.
        graph: `graph.Graph` of its configuration.

    Returns:
        dict of layer -> list of float32 arrays, in Keras's order.

    Raises:
        ValueError: it is damaged, holds more than arrays, or not those of the graph.
    """
    arrays, counts = {}, Counter()
    with refusing(path), _arrays_of(path) as file:
        for layer, kind in graph.layers.items():
            number, counts[kind] = counts[kind], counts[kind] + 1
            if layer not in graph.weights:
                continue
            place = STORED[kind] + (f"_{number}" if number else "")
            found = file[f"layers/{place}/vars"]
            arrays[layer] = [np.asarray(found[str(n)], np.float32) for n in range(len(found))]
            shapes = [array.shape for array in arrays[layer]]
            if shapes != graph.weights[layer]:
                expected = graph.weights[layer]
                raise ValueError(f"layer {layer!r} has weights of {shapes}, expected {expected}")
    return arrays


def read(path):
    """Loads a network with Keras; code that is hidden in its file is not run, see `check`.

    Args:
        path: `.keras` file.

    Returns:
        `keras.Model`, not compiled.

    Raises:
        ValueError: no such file, not a Keras file, or refused.
    """
    path = Path(path)
    check(path)
    with refusing(path):
        return keras.models.load_model(path, compile=False, safe_mode=True)
