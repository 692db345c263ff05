"""Weights files, `.keras`: compressed, and read without running code in them."""

import bz2
import contextlib
import copy
import io
import json
import math
import re
import tempfile
import zipfile
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np

from superres.runtime.backend import keras
from superres.runtime.errors import InputError, RefusedWeights
from superres.runtime.files import replacing
from superres.upscaling import limits
from superres.upscaling.graph import Graph, input_names

# Members of a `.keras` file, and limits of their sizes. Weights get `BYTES_PER_NUMBER` more for
# each number of the network, or compressed byte if fewer: Adam's averages may be with them.
MEMBERS = {"metadata.json": 2**21, "config.json": 2**21, "model.weights.h5": 2**25}
BYTES_PER_NUMBER = 16
MAX_ARRAYS = 10_000  # and groups; enough for 200 residual blocks with attention and averages
MAX_NESTED = 100  # levels of config.json; a network in a network adds four
UNPACKERS = {
    zipfile.ZIP_STORED: lambda packed, most: packed,
    zipfile.ZIP_DEFLATED: lambda packed, most: zlib.decompressobj(-15).decompress(packed, most),
    zipfile.ZIP_BZIP2: lambda packed, most: bz2.BZ2Decompressor().decompress(packed, most),
}
# Classes that only compute, by module. Others of Keras load code (Lambda, TorchModuleWrapper,
# TFSMLayer), read files (StringLookup) or call functions.
MODELS = {"Functional", "Sequential"}
# fmt: off
ALLOWED_CLASSES = {
    None: {"__keras_tensor__", "__numpy__", "__tensor__"},  # values
    "keras": {*MODELS, "DTypePolicy"},
    "keras.constraints": {"MaxNorm", "MinMaxNorm", "NonNeg", "UnitNorm"},
    "keras.initializers": {
        "Constant", "GlorotNormal", "GlorotUniform", "HeNormal", "HeUniform", "Identity",
        "LecunNormal", "LecunUniform", "Ones", "Orthogonal", "RandomNormal", "RandomUniform",
        "TruncatedNormal", "VarianceScaling", "Zeros",
    },
    "keras.layers": {
        "Activation", "AdaptiveAveragePooling2D", "AdaptiveMaxPooling2D", "Add",
        "AdditiveAttention", "AlphaDropout", "Attention", "Average", "AveragePooling2D",
        "BatchNormalization", "Concatenate", "Conv1D", "Conv2D", "Conv2DTranspose", "Cropping2D",
        "Dense", "DepthwiseConv2D", "Dot", "Dropout", "ELU", "EinsumDense", "Flatten",
        "GaussianDropout", "GaussianNoise", "GlobalAveragePooling1D", "GlobalAveragePooling2D",
        "GlobalMaxPooling1D", "GlobalMaxPooling2D", "GroupNormalization", "GroupQueryAttention",
        "Identity", "InputLayer", "LayerNormalization", "LeakyReLU", "MaxPooling2D", "Maximum",
        "Minimum", "MultiHeadAttention", "Multiply", "Normalization", "PReLU", "Permute",
        "RMSNormalization", "ReLU", "RepeatVector", "Rescaling", "Reshape", "Resizing",
        "SeparableConv2D", "Softmax", "SpatialDropout2D", "SpectralNormalization", "Subtract",
        "UnitNormalization", "UpSampling2D", "ZeroPadding2D",
    },
    "keras.models": MODELS,
    "keras.src.models.functional": MODELS, "keras.src.models.sequential": MODELS,
    "keras.regularizers": {"L1", "L1L2", "L2", "OrthogonalRegularizer"},
    "keras.src.ops.core": {"Cast", "Slice", "StopGradient", "Unstack"},
}
# fmt: on
OPERATION_MODULES = {f"keras.src.ops.{name}" for name in ("image", "nn", "numpy")}  # only compute
VALUES, NUMBERS = {"__numpy__", "__tensor__"}, r"bool|bfloat16|(u?int|float)\d+"  # arrays; dtypes
# Names of groups in the HDF5 file, numbered from the second layer on: conv2d, conv2d_1, ...
STORED = {"BatchNormalization": "batch_normalization", "Conv2D": "conv2d", "PReLU": "p_re_lu"}


def round_to_half(array):
    """A float32 array rounded to the 11 significant bits of half precision."""
    mantissa, exponent = np.frexp(array)
    return np.ldexp(np.round(mantissa * 2**11) / 2**11, exponent).astype(np.float32)


def export(model, path, halo, feature_limits=None):
    """Saves a model, its halo and limits; weights of `round_to_half` take half the space."""
    with tempfile.TemporaryDirectory() as folder, replacing(path) as part:
        saved = Path(folder, "saved.keras")
        model.save(saved)
        with zipfile.ZipFile(saved) as old, zipfile.ZipFile(part, "w") as new:
            for name in old.namelist():
                content = old.read(name)
                if name == "metadata.json":
                    more = {"halo": halo, "limits": feature_limits or {}}
                    content = json.dumps(json.loads(content) | more)
                # LZMA would be no smaller, and take twelve times as long.
                new.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_BZIP2)


def stored_halo(path):
    """The halo in a weights file; `None`: the whole picture; 0: there is none."""
    halo = _metadata(path).get("halo", 0)
    return halo if halo is None or (isinstance(halo, int) and halo >= 1) else 0


def stored_limits(graph, *paths):
    """Node -> the larger `Limit` in weights files of one network; {}: a file has none."""
    with contextlib.suppress(RefusedWeights), _parsing():
        stored = [_metadata(path).get("limits", {}) for path in paths]
        return limits.larger([limits.from_metadata(one, graph) for one in stored])
    return {}


def _metadata(path):
    with contextlib.suppress(RefusedWeights), _parsing():
        return dict(json.loads(_member(path, "metadata.json")))
    return {}


def _member(path, name, numbers=0):
    """Decompresses a member of a `.keras` file within its limit."""
    with zipfile.ZipFile(path) as archive:
        item = archive.getinfo(name)
        kind, size, crc = item.compress_type, item.file_size, item.CRC
        most = MEMBERS[name] + BYTES_PER_NUMBER * min(numbers, item.compress_size)
        if size > most:
            raise RefusedWeights(f"{name} in it has {size:,} bytes: at most {most:,}")
        if kind not in UNPACKERS:
            raise RefusedWeights(f"{name} in it is packed in a way that Keras does not use")
        # Read it compressed: `zipfile` would decompress all, whatever the header says.
        item.compress_type, item.file_size, item.CRC = zipfile.ZIP_STORED, item.compress_size, None
        packed = archive.open(item).read()
    content = UNPACKERS[kind](packed, size + 1)
    if len(content) != size or zlib.crc32(content) != crc:
        raise RefusedWeights(f"{name} in it is damaged")
    return content


def _dicts(config):
    behind = [(config, 0)]
    while behind:
        value, depth = behind.pop()
        if depth > MAX_NESTED:
            raise RefusedWeights(f"its config.json is nested more than {MAX_NESTED} deep")
        if isinstance(value, dict):
            yield value
            behind += ((inner, depth + 1) for inner in value.values())
        elif isinstance(value, list):
            behind += ((inner, depth + 1) for inner in value)


def _objects(config):
    """Yields class, module and registered name of all that Keras would create."""
    for value in _dicts(config):
        if value.get("class_name") is not None:
            names = map(value.get, ("class_name", "module", "registered_name"))
            yield tuple(name if name is None else str(name) for name in names)


def own_layers(config):
    """The registered names of custom layers in a configuration."""
    return {own for *_, own in _objects(config) if own and ">" in own}


def check_config(config, register=lambda: None):
    """Refuses a configuration that could run code or read files; `register` adds custom layers."""
    ours = own_layers(config)
    refused = [one for one in _objects(config) if one[2] not in ours and not _is_allowed(*one)]
    if ours and not refused:
        register()
        refused = [one for one in _objects(config) if one[2] in ours and not _is_own(*one)]
    if refused:
        name, module, own = refused[0]
        hint = "; layers of one's own are registered in network.py" if own in ours else ""
        raise RefusedWeights(f"it holds {module}.{name}, which weights files may not hold{hint}")
    for value in _dicts(config):
        calls, inner = value.get("inbound_nodes"), value.get("config")
        # Keras would compute a layer without an input while it loads, such as Tile of a number.
        if isinstance(calls, list) and not all(map(_takes_tensor, calls)):
            raise RefusedWeights(f"its layer {value.get('name')!r} computes without an input")
        dtype = inner.get("dtype") if isinstance(inner, dict) else None
        if value.get("class_name") in VALUES and not re.fullmatch(NUMBERS, str(dtype)):
            raise RefusedWeights(f"it holds values of type {dtype}: expected numbers")


def _takes_tensor(call):
    call = call if isinstance(call, dict) else {}
    values = [*call.get("args", ()), *call.get("kwargs", {}).values()]
    return any(isinstance(name, str) for name in input_names(values))


def _is_allowed(name, module, registered):
    is_operation = module in OPERATION_MODULES and name.isidentifier() and name[0].isupper()
    return registered in (None, name) and (is_operation or name in ALLOWED_CLASSES.get(module, ()))


def _is_own(name, module, registered):
    """Whether a layer is registered by its own name; else Keras might call a function."""
    one = keras.saving.get_registered_object(registered)
    return isinstance(one, type) and issubclass(one, keras.layers.Layer) and one.__name__ == name


def _shapes_needed(config):
    """Counts the shapes of a network's arrays, without creating them."""
    scope = keras.StatelessScope(initialize_variables=False)

    def count():
        with scope:
            # Keras empties the configuration that it gets.
            model = keras.saving.deserialize_keras_object(copy.deepcopy(config), safe_mode=True)
            # Some layers fit only unknown sizes.
            sizes = [[side or 64 for side in one.shape] for one in model.inputs]
            model.compute_output_spec([keras.KerasTensor(size) for size in sizes])
        return Counter(tuple(variable.shape) for variable in model.weights)

    # In a thread of its own; in this one the next use of Keras would create them.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(count).result()


def _arrays_in(file):
    """The arrays in an HDF5 file; refuses everything else."""
    arrays, groups, seen = [], [file], set()
    while groups:
        group = groups.pop()
        for name in group:
            is_link = not isinstance(group.get(name, getlink=True), h5py.HardLink)
            if is_link or (address := h5py.h5o.get_info(group[name].id).addr) in seen:
                link = f"{group.name}/{name}"
                raise RefusedWeights(f"its weights hold a link to another place, {link}")
            item = group[name]
            seen.add(address)
            if len(seen) > MAX_ARRAYS:
                raise RefusedWeights(f"its weights hold more than {MAX_ARRAYS:,} arrays")
            if isinstance(item, h5py.Group):
                groups.append(item)
            elif item.external or item.is_virtual:
                raise RefusedWeights(f"its weights hold a link to another file, {item.name}")
            elif item.dtype.kind not in "fiub":
                raise RefusedWeights(f"its weights hold something else than numbers, {item.name}")
            else:
                arrays.append(item)
    return arrays


@contextlib.contextmanager
def errors_naming(path):
    """Names the file in every InputError within."""
    try:
        yield
    except InputError as error:
        raise RefusedWeights(f"{path}: refused: {error}") from error


@contextlib.contextmanager
def _parsing():
    """Turns errors of the libraries within into `RefusedWeights`."""
    try:
        yield
    except RefusedWeights:
        raise
    except Exception as error:  # they raise many kinds
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise RefusedWeights(reason) from error


def read_config(path, register=lambda: None):
    """The configuration of the network in a `.keras` file, as `check_config` allows it."""
    path = Path(path)
    if not path.is_file():
        raise RefusedWeights(f"{path}: no such weights file")
    if path.suffix != ".keras" or not zipfile.is_zipfile(path):
        raise RefusedWeights(f"{path}: expected a .keras file; this is none, or a damaged one")
    with errors_naming(path):
        with _parsing(), zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if sorted(names) != sorted(MEMBERS):
                held = ", ".join(names) or "nothing"
                raise RefusedWeights(f"it holds {held}: expected {', '.join(MEMBERS)}")
            config = json.loads(_member(path, "config.json"))
        if not isinstance(config, dict):
            raise RefusedWeights("its config.json is damaged")
        config.pop("compile_config", None)  # optimizer and loss
        check_config(config, register)
    return config


def read_graph(path, register=lambda: None):
    """The `Graph` of the network in a `.keras` file, as `read_config` reads it."""
    config = read_config(path, register)
    with errors_naming(path):
        return Graph(config)


@contextlib.contextmanager
def _arrays_of(path, numbers):
    """The HDF5 file with the weights, limited by the network's `numbers`, and their shapes."""
    with _parsing():
        weights = _member(path, "model.weights.h5", numbers)
        file = h5py.File(io.BytesIO(weights))
    with file:
        with _parsing():
            arrays = _arrays_in(file)
            if sum(array.nbytes for array in arrays) > len(weights):  # they would fill the memory
                raise RefusedWeights("its weights unpack to more than the file can hold")
            if not all(np.isfinite(array[()]).all() for array in arrays):
                raise RefusedWeights("some of its weights are not finite numbers")
        yield file, Counter(array.shape for array in arrays)


def check(path):
    """As `read_config`; also refuses a file that lacks an array of the network."""
    config, needed, numbers = read_config(path), Counter(), math.inf
    with errors_naming(path):
        # A custom layer may create arrays in a way that cannot be followed.
        with contextlib.suppress(Exception) if own_layers(config) else _parsing():
            needed = _shapes_needed(config)
            numbers = sum(math.prod(shape) * count for shape, count in needed.items())
        with _arrays_of(path, numbers) as (_, there):
            if missing := needed - there:
                shape = max(missing, key=math.prod)
                raise RefusedWeights(f"its network needs an array of {shape}, which it has not")
    return config


def read_arrays(path, graph):
    """The weights of a `Graph`, without Keras: layer -> list of float32 arrays, in its order."""
    arrays, counts = {}, Counter()
    with errors_naming(path), _arrays_of(path, graph.parameters) as (file, _):
        for layer, kind in graph.layers.items():
            number, counts[kind] = counts[kind], counts[kind] + 1
            if layer not in graph.weights:
                continue
            place = STORED[kind] + (f"_{number}" if number else "")
            with _parsing():
                found = file[f"layers/{place}/vars"]
                arrays[layer] = [np.asarray(found[str(n)], np.float32) for n in range(len(found))]
            shapes, needed = [array.shape for array in arrays[layer]], graph.weights[layer]
            if shapes != needed:
                raise RefusedWeights(f"layer {layer!r} has weights of {shapes}, expected {needed}")
    return arrays


def read(path):
    """The `keras.Model` in a `.keras` file, not compiled; raises RefusedWeights as `check`."""
    parsing = contextlib.nullcontext() if own_layers(check(path)) else _parsing()
    with errors_naming(path), parsing:  # an error in a custom layer is no damage
        return keras.models.load_model(path, compile=False, safe_mode=True)


def mix(arrays, others, share):
    """Weights, (1 - share) * arrays + share * others: lists of arrays."""
    pairs = zip(arrays, others, strict=True)
    return [np.float32(1 - share) * a + np.float32(share) * b for a, b in pairs]
