"""Weights on disk: `.keras` files, packed tightly, and read without running what is in them."""

import bz2
import contextlib
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
from superres.upscaling.graph import Graph, tensors

# What a `.keras` file is made of, and how many bytes of each are unpacked at most. Weights may take
# `MORE` for each number of the network, since Adam's averages may lie beside them, or for each
# packed byte, if those are fewer: trained weights do not pack to less than a half.
MEMBERS = {"metadata.json": 2**16, "config.json": 2**21, "model.weights.h5": 2**25}
MORE = 16
MOST_ARRAYS = 10_000  # and groups; 200 residual blocks with attention, and Adam's averages, have
MOST_NESTED = 100  # a network in a network adds four
UNPACKERS = {
    zipfile.ZIP_STORED: lambda packed, most: packed,
    zipfile.ZIP_DEFLATED: lambda packed, most: zlib.decompressobj(-15).decompress(packed, most),
    zipfile.ZIP_BZIP2: lambda packed, most: bz2.BZ2Decompressor().decompress(packed, most),
}
# Classes that a network may be made of, by module: those that only compute. Keras has others that
# load code (Lambda, TorchModuleWrapper, TFSMLayer), read files (StringLookup) or call functions.
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
    "keras.regularizers": {"L1", "L1L2", "L2", "OrthogonalRegularizer"},
    "keras.src.models.functional": MODELS,
    "keras.src.models.sequential": MODELS,
    "keras.src.ops.core": {"Cast", "Slice", "StopGradient", "Unstack"},
}
# fmt: on
# Every operation of these modules only computes.
OPERATION_MODULES = {"keras.src.ops.image", "keras.src.ops.nn", "keras.src.ops.numpy"}
# Values that Keras makes an array of, and the types that they may have.
VALUES = {"__numpy__", "__tensor__"}
NUMBERS = r"bool|bfloat16|(u?int|float)\d+"
# How Keras names the place of a layer's weights in the file: conv2d, conv2d_1, ...
STORED = {
    "BatchNormalization": "batch_normalization",
    "Conv2D": "conv2d",
    "PReLU": "p_re_lu",
}


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
    tiles with (`None`: not into tiles), is stored in it beside Keras's own metadata.
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
    """The halo that was measured for a weights file and stored in it: `None` for a network that
    looks at the whole picture; 0 where none is stored."""
    try:
        with _parsing():
            halo = json.loads(_member(path, "metadata.json")).get("halo", 0)
    except RefusedWeights:
        return 0
    return halo if halo is None or (isinstance(halo, int) and halo >= 1) else 0


def _member(path, name, numbers=0):
    """Unpacks a member of a `.keras` file: what `MEMBERS` allows, whatever its header says."""
    with zipfile.ZipFile(path) as archive:
        item = archive.getinfo(name)
        kind, size, crc = item.compress_type, item.file_size, item.CRC
        most = MEMBERS[name] + MORE * min(numbers, item.compress_size)
        if size > most:
            raise RefusedWeights(f"{name} in it has {size:,} bytes: at most {most:,}")
        if kind not in UNPACKERS:
            raise RefusedWeights(f"{name} in it is packed in a way that Keras does not use")
        # As it is packed: `zipfile` would unpack all of it, and then cut off what is too much.
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
        if depth > MOST_NESTED:
            raise RefusedWeights(f"its config.json is nested more than {MOST_NESTED} deep")
        if isinstance(value, dict):
            yield value
            behind += ((inner, depth + 1) for inner in value.values())
        elif isinstance(value, list):
            behind += ((inner, depth + 1) for inner in value)


def _objects(config):
    """Class, module and registered name of all that Keras would make by a configuration."""
    for value in _dicts(config):
        if value.get("class_name") is not None:
            names = map(value.get, ("class_name", "module", "registered_name"))
            yield tuple(name if name is None else str(name) for name in names)


def own_layers(config):
    """The registered names in a model's configuration: of layers that are not Keras's."""
    return {own for *_, own in _objects(config) if own and ">" in own}  # as Keras registers them


def check_config(config, register=lambda: None):
    """Looks at all that Keras would make by a model's configuration.

    Args:
        config: as `config.json` of a file has it.
        register: called where it names layers of one's own, to register them with Keras.

    Raises:
        RefusedWeights: something could run code or read other files, or is not registered.
    """
    ours = own_layers(config)
    for name, module, own in _objects(config):
        if own not in ours and not (own in (None, name) and _is_allowed(name, module)):
            raise RefusedWeights(f"it holds {module}.{name}, which weights files may not hold")
    if ours:
        register()
    for name, module, own in _objects(config):
        if own in ours and not _is_own(name, own):
            raise RefusedWeights(
                f"it holds {module}.{name}, which weights files may not hold; layers of one's own "
                "are registered in network.py"
            )
    for value in _dicts(config):
        calls, inner = value.get("inbound_nodes"), value.get("config")
        # Keras would compute at once what takes no tensor, such as a number that is repeated.
        if isinstance(calls, list) and not all(map(_takes_tensor, calls)):
            raise RefusedWeights(f"its layer {value.get('name')!r} computes without an input")
        dtype = inner.get("dtype") if isinstance(inner, dict) else None
        if value.get("class_name") in VALUES and not re.fullmatch(NUMBERS, str(dtype)):
            raise RefusedWeights(f"it holds values of type {dtype}: expected numbers")


def _takes_tensor(call):
    is_call = isinstance(call, dict)
    values = [*call.get("args", ()), *call.get("kwargs", {}).values()] if is_call else []
    return any(isinstance(name, str) for name in tensors(values))


def _is_allowed(name, module):
    if module in OPERATION_MODULES:
        return name.isidentifier() and name[0].isupper()
    return name in ALLOWED_CLASSES.get(module, ())


def _is_own(name, registered):
    """Whether a layer is registered; by its own name, or Keras might call a function instead."""
    layer = keras.saving.get_registered_object(registered)
    is_layer = isinstance(layer, type) and issubclass(layer, keras.layers.Layer)
    return is_layer and layer.__name__ == name


def _shapes_needed(config):
    """Counts the shapes of the arrays that Keras would make by a configuration; makes none."""
    scope = keras.StatelessScope(initialize_variables=False)

    def count():
        with scope:
            model = keras.saving.deserialize_keras_object(config, safe_mode=True)
            # Its layers may fit for unknown sizes alone.
            sizes = [[side or 64 for side in one.shape] for one in model.inputs]
            model.compute_output_spec([keras.KerasTensor(size) for size in sizes])
        return Counter(tuple(variable.shape) for variable in model.weights)

    # In a thread that ends: in this one Keras would make them when it is used next.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(count).result()


def _shapes_there(file):
    """Counts the shapes of the arrays in an HDF5 file, and their bytes; refuses anything else."""
    shapes, size, groups, seen = Counter(), 0, [file], set()
    while groups:
        group = groups.pop()
        for name in group:
            is_link = not isinstance(group.get(name, getlink=True), h5py.HardLink)
            item = None if is_link else group[name]
            address = item and h5py.h5o.get_info(item.id).addr
            if is_link or address in seen:
                place = f"{group.name}/{name}"
                raise RefusedWeights(f"its weights hold a link to another place, {place}")
            seen.add(address)
            if len(seen) > MOST_ARRAYS:
                raise RefusedWeights(f"its weights hold more than {MOST_ARRAYS:,} arrays")
            if isinstance(item, h5py.Group):
                groups.append(item)
            elif item.external or item.is_virtual:
                raise RefusedWeights(f"its weights hold a link to another file, {item.name}")
            elif item.dtype.kind not in "fiub":
                raise RefusedWeights(f"its weights hold something else than numbers, {item.name}")
            else:
                shapes[item.shape] += 1
                size += item.nbytes
    return shapes, size


@contextlib.contextmanager
def reading_weights(path):
    """Names the file in what is refused within."""
    try:
        yield
    except InputError as error:
        raise RefusedWeights(f"{path}: refused: {error}") from error


@contextlib.contextmanager
def _parsing():
    """Within, only what the libraries do with a file: whatever they raise, it is damaged."""
    try:
        yield
    except RefusedWeights:
        raise
    except Exception as error:  # they raise many kinds
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise RefusedWeights(reason) from error


def read_config(path, register=lambda: None):
    """The configuration of the network in a `.keras` file, as `Graph` takes it; nothing is made.

    Raises:
        RefusedWeights: it is no `.keras` file, a damaged one, or as `check_config`, whose
            `register` it takes.
    """
    path = Path(path)
    if not path.is_file():
        raise RefusedWeights(f"{path}: no such weights file")
    if path.suffix != ".keras" or not zipfile.is_zipfile(path):
        raise RefusedWeights(f"{path}: expected a .keras file; this is none, or a damaged one")
    with reading_weights(path):
        with _parsing(), zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        if sorted(names) != sorted(MEMBERS):
            held = ", ".join(names) or "nothing"
            raise RefusedWeights(f"it holds {held}: expected {', '.join(MEMBERS)}")
        with _parsing():
            config = json.loads(_member(path, "config.json"))
        if not isinstance(config, dict):
            raise RefusedWeights("its config.json is damaged")
        # How it was trained is not loaded.
        config.pop("compile_config", None)
        check_config(config, register)
    return config


def read_graph(path, register=lambda: None):
    """The `Graph` of the network in a `.keras` file; arguments and errors as `read_config`."""
    config = read_config(path, register)
    with reading_weights(path):
        return Graph(config)


@contextlib.contextmanager
def _arrays_of(path, numbers):
    """The HDF5 file of the weights of a network of so many numbers, and the shapes in it."""
    with _parsing():
        weights = _member(path, "model.weights.h5", numbers)
        file = h5py.File(io.BytesIO(weights))
    with file:
        with _parsing():
            shapes, size = _shapes_there(file)
        # Arrays that are stored in less than their size would fill the memory.
        if size > len(weights):
            raise RefusedWeights("its weights unpack to more than the file can hold")
        with _parsing():
            file.visititems(_check_finite)
        yield file, shapes


def _check_finite(name, item):
    if isinstance(item, h5py.Dataset) and not np.isfinite(item[()]).all():
        raise RefusedWeights("some of its weights are not finite numbers")


def check(path):
    """As `read_config`, and compares the arrays with those that Keras is about to make."""
    config, needed, numbers = read_config(path), Counter(), math.inf
    with reading_weights(path):
        # A layer of one's own may make arrays in a way that cannot be followed.
        with contextlib.suppress(Exception) if own_layers(config) else _parsing():
            needed = _shapes_needed(config)
            numbers = sum(math.prod(shape) * count for shape, count in needed.items())
        with _arrays_of(path, numbers) as (_, there):
            if missing := needed - there:
                shape = max(missing, key=math.prod)
                raise RefusedWeights(f"its network needs an array of {shape}, which it has not")
    return config


def read_arrays(path, graph):
    """The weights in a `.keras` file, without Keras.

    Args:
        path: `.keras` file.
        graph: `graph.Graph` of its configuration.

    Returns:
        dict of layer -> list of float32 arrays, in Keras's order.

    Raises:
        RefusedWeights: it is damaged, holds more than arrays, or not those of the graph.
    """
    arrays, counts = {}, Counter()
    with reading_weights(path), _arrays_of(path, graph.parameters) as (file, _):
        for layer, kind in graph.layers.items():
            number, counts[kind] = counts[kind], counts[kind] + 1
            if layer not in graph.weights:
                continue
            place = STORED[kind] + (f"_{number}" if number else "")
            with _parsing():
                found = file[f"layers/{place}/vars"]
                arrays[layer] = [np.asarray(found[str(n)], np.float32) for n in range(len(found))]
            shapes = [array.shape for array in arrays[layer]]
            if shapes != graph.weights[layer]:
                expected = graph.weights[layer]
                raise RefusedWeights(
                    f"layer {layer!r} has weights of {shapes}, expected {expected}"
                )
    return arrays


def read(path):
    """Loads a network with Keras; code that is hidden in its file is not run.

    Returns:
        `keras.Model`, not compiled.

    Raises:
        RefusedWeights: as `check`.
    """
    path = Path(path)
    # A fault in a layer of one's own is none of the file.
    reading = contextlib.nullcontext() if own_layers(check(path)) else _parsing()
    with reading_weights(path), reading:
        return keras.models.load_model(path, compile=False, safe_mode=True)
