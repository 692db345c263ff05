import functools
import importlib
import inspect
import io
import json
import re
import tracemalloc
import zipfile
from collections import Counter

import h5py
import numpy as np
import pytest

import network
import output
import train
import utils
from superres.images.quality import Condition
from superres.images.write import write_picture
from superres.runtime.backend import keras
from superres.runtime.errors import InputError, RefusedWeights
from superres.upscaling import weight_files
from superres.upscaling.networks import KerasNetwork
from superres.upscaling.upscaler import Upscaler
from support import small_network, smooth_picture

# ---- export ----


def test_rounding_to_half_keeps_11_significant_bits():
    values = np.float32([0, 1 + 2**-10, 1 + 2**-12, -3.14159274, 1e-30, 65520 * 4])
    rounded = weight_files.round_to_half(values)
    assert rounded.dtype == np.float32
    assert rounded[:3].tolist() == [0, 1 + 2**-10, 1]
    np.testing.assert_allclose(rounded, values, rtol=2**-11)
    assert not (rounded.view(np.uint32) & 0x1FFF).any()


@pytest.mark.parametrize("count", [1, 4])
def test_network_that_takes_a_condition_is_exported_and_read(tmp_path, count):
    model = small_network(conditions=count)
    weight_files.export(model, tmp_path / "photo.keras", 8)
    upscaler = utils.load(tmp_path / "photo.keras", "keras", precision="float32")
    assert upscaler.conditions == count
    lr = smooth_picture(12, 10)
    for condition in Condition(0.4, 8, 1), Condition():
        ours = Upscaler(KerasNetwork(model), precision="float32").enlarge(lr, condition=condition)
        np.testing.assert_array_equal(upscaler.enlarge(lr, condition=condition), ours)


@pytest.mark.parametrize("shape", [(None, None, 5), (1, 1, 2)])
def test_network_with_another_second_input_is_refused(tmp_path, shape):
    lr, other = keras.Input((None, None, 3)), keras.Input(shape)
    sr = keras.layers.Add()([lr, keras.layers.Conv2D(3, 1)(other)])
    keras.Model([lr, other], sr).save(tmp_path / "x.keras")
    with pytest.raises(InputError, match=r"that and a condition, \(N, 1, 1, 1\) or \(N, 1, 1, 4\)"):
        utils.load(tmp_path / "x.keras")


def test_exported_file_is_half_the_size_and_loads_the_same(tmp_path):
    model = network.edsr(2, 32, 2)
    model.set_weights([weight_files.round_to_half(weight) for weight in model.get_weights()])
    limits = {f"conv{n}": [0.123] * 256 for n in range(65)}  # as many as 32 blocks of 256 filters
    weight_files.export(model, tmp_path / "packed.keras", 3, limits)
    model.save(tmp_path / "plain.keras")
    plain, packed = ((tmp_path / f"{name}.keras").stat().st_size for name in ("plain", "packed"))
    assert packed < 0.55 * plain
    assert sorted(path.name for path in tmp_path.iterdir()) == ["packed.keras", "plain.keras"]
    assert utils.load(tmp_path / "packed.keras").scale == 2
    assert weight_files.stored_halo(tmp_path / "packed.keras") == 3
    assert weight_files.stored_halo(tmp_path / "plain.keras") == 0
    loaded = keras.models.load_model(tmp_path / "packed.keras")
    np.testing.assert_equal(loaded.get_weights(), model.get_weights())


# ---- hostile files ----


def members(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


class Lying(bytes):
    """Content of a member whose header says that it is short."""


def pack(path, parts, kind=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
            if isinstance(content, Lying):
                archive.getinfo(name).file_size = 1000


@pytest.fixture
def parts(tmp_path):
    """What a harmless file is made of, by name."""
    small_network(global_skip=True).save(tmp_path / "harmless.keras")
    return members(tmp_path / "harmless.keras")


@keras.saving.register_keras_serializable()
class Own(keras.layers.Layer):
    """A layer of one's own, as network.py might register it."""

    NAME = "Custom>Own"


def edited(change):
    """Changes the layers in config.json."""

    def make(parts, mark):
        whole = json.loads(parts["config.json"])
        change(whole["config"]["layers"])
        parts["config.json"] = json.dumps(whole)

    return make


def layer(class_name, config, module="keras.layers", registered=None, replaced="Conv2D"):
    """Puts another layer in the place of the first of the class `replaced`."""

    @edited
    def change(layers):
        old = next(x for x in layers if x["class_name"] == replaced)
        old |= {"class_name": class_name, "module": module, "registered_name": registered}
        old["config"] = config | {"name": old["config"]["name"], "trainable": True}

    return change


def changed(changes, class_name="Conv2D"):
    """Changes the configuration of the first layer of a class."""

    @edited
    def change(layers):
        next(x for x in layers if x["class_name"] == class_name)["config"] |= changes
        for layer in layers:
            layer.pop("build_config", None)

    return change


KERNEL = "layers/conv2d/vars/0"


def change_weights(change):
    """Changes the HDF5 file: a kernel is removed, or is what `change` returns."""

    def make(parts, mark):
        with h5py.File(buffer := io.BytesIO(parts["model.weights.h5"]), "r+") as file:
            shape = file[KERNEL].shape
            del file[KERNEL]
            made = change(file, shape, mark)
            if made is not None and KERNEL not in file:
                file[KERNEL] = made
        parts["model.weights.h5"] = buffer.getvalue()

    return functools.wraps(change)(make)


def lambda_layer(parts, mark):
    model = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Lambda(lambda x: x)])
    model.save(mark.parent / "lambda.keras")
    parts |= members(mark.parent / "lambda.keras")
    assert b"__lambda__" in parts["config.json"]


def secret_file(mark):
    """An HDF5 file of the user's, which no weights may read."""
    with h5py.File(mark.parent / "secret.h5", "w") as file:
        file["secret"] = np.ones(3)
    return str(mark.parent / "secret.h5")


@change_weights
def external_storage(file, shape, mark):
    (mark.parent / "secret").write_bytes(bytes(100_000))
    raw = [(str(mark.parent / "secret"), 0, 4 * int(np.prod(shape)))]
    file.create_dataset(KERNEL, shape, np.float32, external=raw)


@change_weights
def virtual_dataset(file, shape, mark):
    layout = h5py.VirtualLayout((3,), np.float64)
    layout[:] = h5py.VirtualSource(secret_file(mark), "secret", (3,))
    file.create_virtual_dataset(KERNEL, layout)


@change_weights
def zeros(file, shape, mark):
    """Much less than the 48 MB that it unpacks to."""
    file["more"] = np.zeros(12_000_000, np.float32)


@change_weights
def many_groups(file, shape, mark):
    for n in range(500):
        file.create_group(f"more/{n}")


@change_weights
def many_paths(file, shape, mark):
    """Groups that hold each other ten times: a billion paths to one array."""
    below = file["layers"]
    for level in range(9):
        group = file.create_group(f"level{level}")
        for n in range(10):
            group[str(n)] = below
        below = group


@change_weights
def group_in_itself(file, shape, mark):
    file["layers/conv2d/vars/again"] = file["layers"]


def zeros_as_described(parts, mark):
    """As `zeros`, and the network has so many numbers."""
    zeros(parts, mark)
    wide(parts, mark)


def short_by_its_header(parts, mark):
    zeros(parts, mark)
    parts["model.weights.h5"] = Lying(parts["model.weights.h5"])


def large_config(parts, mark):
    """Each empty list takes 64 bytes once it is read."""
    parts["config.json"] = b"[" + b"[]," * 2_000_000 + b"[]]"


def wide(parts, mark):
    """As many filters as would take gigabytes, by the configuration alone."""
    parts["config.json"] = parts["config.json"].replace(b'"filters": 8,', b'"filters": 60000,')
    changed({})(parts, mark)


@edited
def built_wide(layers):
    """The size of a layer that Keras does not take from its inputs."""
    for layer in layers:
        if layer["class_name"] == "Conv2D":
            layer["config"]["strides"] = [2, 2]  # unknown to OpenVINO
            layer["build_config"] = {"input_shape": [None, None, None, 10**9]}


def reshaped_wide(parts, mark):
    """A layer whose size follows from what is done before it."""
    lr = keras.Input((None, None, 3))
    wide = keras.layers.Reshape((-1, 5, 4))(lr)
    made = keras.layers.Conv2D(12, 3, padding="same")(keras.layers.Dense(8)(wide))
    keras.Model(lr, keras.ops.depth_to_space(made, 2)).save(mark.parent / "reshaped.keras")
    parts |= members(mark.parent / "reshaped.keras")
    changed({"target_shape": [-1, 1, 4096]}, "Reshape")(parts, mark)


@edited
def no_input(layers):
    """What Keras computes while it loads."""
    one = {"args": [[[1.0]]], "kwargs": {}}
    layer = {"name": "tile", "class_name": "Tile", "module": "keras.src.ops.numpy"}
    layer |= {"config": {"name": "tile", "repeats": [10**6, 10**6]}, "inbound_nodes": [one]}
    layers.append(layer)


def nested_archive(parts, mark):
    pack(mark.parent / "inner.keras", parts)
    parts["model.weights.h5"] = (mark.parent / "inner.keras").read_bytes()


def pickle_weights(parts, mark):
    """NumPy arrays of objects, which are pickles, in place of HDF5."""
    np.savez(buffer := io.BytesIO(), a=np.array([{}], dtype=object))
    del parts["model.weights.h5"]
    parts["model.weights.npz"] = buffer.getvalue()


OPS, MEMBERS = "keras.src.ops", "expected metadata.json, config.json, model.weights.h5"
DEEP = functools.reduce(lambda inner, _: [inner], range(200), 1)
LONG_TEXTS = {"class_name": "__numpy__", "config": {"value": [1, 2], "dtype": "S2000000000"}}
DOWNLOAD = {"module": "keras.utils", "class_name": "function", "config": "get_file"}
OS_FUNCTION = {"module": "os", "class_name": "function"}  # which safe_mode lets pass
# What files may not hold, and what makes a file that does.
FORBIDDEN = {
    "keras.layers.Lambda": layer("Lambda", {"function": OS_FUNCTION}),
    "keras.layers.TorchModuleWrapper": layer("TorchModuleWrapper", {"module": "gASVHgAAAAAA"}),
    "keras.layers.TFSMLayer": layer("TFSMLayer", {"filepath": "."}),
    "keras.layers.StringLookup": layer("StringLookup", {"vocabulary": "/etc/passwd"}),
    "subprocess.Popen": layer("Popen", {"args": ["touch", "mark"]}, "subprocess"),
    "keras.initializers.deserialize": layer("deserialize", {}, "keras.initializers"),
    "keras.layers.Conv2D": layer("Conv2D", {}, registered="mine>Conv2D"),
    f"{OPS}.core.VectorizedMap": layer("VectorizedMap", {"function": "os.system"}, OPS + ".core"),
    f"{OPS}.numpy.np": layer("np", {}, OPS + ".numpy"),
    # Keras would call what `config` names in the module, if the registered name alone counted.
    "os.function": layer("function", {}, "os", Own.NAME),
    "keras.utils.function": changed({"activation": DOWNLOAD | {"registered_name": "get_file"}}),
}
# What makes a hostile file, and why it is refused: if two, by OpenVINO and by Keras.
HOSTILE = {
    "lambda": (lambda_layer, "keras.layers.Lambda, which weights files may not hold"),
    **{k: (make, f"{k}, which weights files may not hold") for k, make in FORBIDDEN.items()},
    "external link": (
        change_weights(lambda file, shape, mark: h5py.ExternalLink(secret_file(mark), "/secret")),
        f"its weights hold a link to another place, /{KERNEL}",
    ),
    "soft link": (change_weights(lambda *_: h5py.SoftLink("/layers")), "a link to another place"),
    "external storage": (external_storage, f"its weights hold a link to another file, /{KERNEL}"),
    "virtual dataset": (virtual_dataset, "its weights hold a link to another file"),
    "array bomb": (
        change_weights(lambda file, *_: file.create_dataset(KERNEL, (2**20, 2**18), chunks=True)),
        "its weights unpack to more than",
    ),
    "not finite": (
        change_weights(lambda file, shape, mark: np.full(shape, np.nan, np.float32)),
        "some of its weights are not finite numbers",
    ),
    "text": (
        change_weights(lambda *_: np.array([b"text"], h5py.string_dtype())),
        "its weights hold something else than numbers",
    ),
    "group in itself": (group_in_itself, "its weights hold a link to another place"),
    "many groups": (many_groups, "its weights hold more than 500 arrays"),
    "many paths": (many_paths, "its weights hold a link to another place"),
    "zeros": (zeros, "model.weights.h5 in it has 48,"),
    "zeros as described": (zeros_as_described, "model.weights.h5 in it has 48,"),
    "short by its header": (short_by_its_header, "model.weights.h5 in it is damaged"),
    "large config": (large_config, "config.json in it has 6,000,004 bytes: at most 2,097,152"),
    "deep config": (changed({"note": DEEP}), "its config.json is nested more than 100 deep"),
    "wide": (wide, "(3, 3, 3, 60000), (60000,)]", "needs an array of (3, 3, 60000, 60000)"),
    "half a filter": (
        changed({"filters": 8.5}),
        "layer 'head' (Conv2D): filters, groups, kernel size and dilation are (8.5, 1, 3, 3, 1, 1)",
        "could not be deserialized properly",
    ),
    "enlarged within, which fits for unknown sizes alone": (
        layer("UpSampling2D", {"size": [1000, 1000]}, replaced="Rescaling"),
        "Inputs have incompatible shapes",
    ),
    "built wide": (built_wide, "layer 'head' is incompatible with the layer: expected axis -1"),
    "reshaped wide": (reshaped_wide, "needs an array of (4096, 8), which it has not"),
    "no input": (no_input, "its layer 'tile' computes without an input"),
    "long texts": (changed({"note": LONG_TEXTS}), "values of type S2000000000: expected"),
    "nested archive": (nested_archive, "file signature not found"),
    "pickle": (pickle_weights, MEMBERS),
    "more files": (lambda parts, mark: parts.update({"../evil.py": "print()"}), MEMBERS),
    "text config": (lambda parts, mark: parts.update({"config.json": "import"}), "Expecting value"),
}


def allowed_classes():
    """Every layer and operation that files may have, as the installed Keras has them."""
    for name in weight_files.ALLOWED_CLASSES["keras.layers"]:
        yield getattr(keras.layers, name), keras.layers.Layer
    for module in weight_files.OPERATION_MODULES:
        for name, value in vars(importlib.import_module(module)).items():
            if name[0].isupper() and name not in ("KerasTensor", "Operation"):
                yield value, keras.Operation
    core = importlib.import_module("keras.src.ops.core")
    for name in weight_files.ALLOWED_CLASSES["keras.src.ops.core"]:
        yield getattr(core, name), keras.Operation


def test_what_files_may_hold_takes_neither_functions_nor_paths():
    names = set()
    for one, kind in allowed_classes():
        assert issubclass(one, kind), one
        names |= set(inspect.signature(one).parameters)
    assert len(names) > 150
    suspicious = r"fn|func|callable|path$|file|vocab|module|dir\b|url|lambda"
    assert not [name for name in names if re.search(suspicious, name)]


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_file_is_refused_before_keras_sees_it(tmp_path, monkeypatch, capsys, parts, kind):
    path, mark = tmp_path / "hostile.keras", tmp_path / "mark"
    make, *reasons = HOSTILE[kind]
    make(parts, mark)
    pack(path, parts)
    monkeypatch.setattr(keras.models, "load_model", lambda *a, **k: pytest.fail("Keras saw it"))
    (tmp_path / "data").mkdir()
    write_picture(tmp_path / "data" / "a.png", smooth_picture(20, 20), {})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(train, "WEIGHTS_FOLDER", tmp_path / "weights")
    monkeypatch.setattr(weight_files, "MAX_ARRAYS", 500)
    for engine in "auto", "keras":
        assert output.main(["data", "out", "--weights", str(path), "--engine", engine]) == 2
    assert train.main(["--start-from", str(path)]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 3
    for line in errors:
        assert f"{path}: refused: " in line
        assert any(reason in line for reason in reasons), line
    assert not mark.exists()


@pytest.mark.parametrize("make", [zeros, zeros_as_described, short_by_its_header, large_config])
def test_bomb_is_refused_before_it_is_unpacked(tmp_path, parts, make):
    make(parts, tmp_path / "mark")
    pack(tmp_path / "bomb.keras", parts, zipfile.ZIP_BZIP2)
    del parts
    tracemalloc.start()
    try:
        with pytest.raises(RefusedWeights, match=r"bomb\.keras: refused: "):
            weight_files.check(tmp_path / "bomb.keras")
        assert tracemalloc.get_traced_memory()[1] < 2**23
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["weights.h5", "weights.keras"])
def test_hdf5_is_refused_whatever_its_name(tmp_path, monkeypatch, parts, name):
    """Keras would load it by older rules, which follow the name; one of these is both kinds."""
    monkeypatch.setattr(keras.models, "load_model", lambda *a, **k: pytest.fail("Keras saw it"))
    pack(tmp_path / "inner.keras", parts)
    inside = (tmp_path / "inner.keras").read_bytes() * name.endswith("h5")
    (tmp_path / name).write_bytes(parts["model.weights.h5"] + inside)
    with pytest.raises(RefusedWeights, match="this is none, or a damaged one"):
        utils.load(tmp_path / name, "keras")


def test_network_that_makes_huge_feature_maps_is_refused(tmp_path):
    lr = keras.Input((None, None, 3))
    keras.Model(lr, keras.layers.UpSampling2D(1000)(lr)).save(tmp_path / "large.keras")
    with pytest.raises(InputError, match="it takes 12,000,012 bytes for each pixel: at most 262,1"):
        utils.load(tmp_path / "large.keras")


def test_what_keras_would_make_is_counted_for_all_layers_with_weights(tmp_path):
    """One that could not be counted without making it would be refused."""
    x = lr = keras.Input((None, None, 4))
    kl = keras.layers
    for one in [
        *(kl.BatchNormalization(), kl.LayerNormalization(), kl.RMSNormalization()),
        *(kl.GroupNormalization(2), kl.SpectralNormalization(kl.Conv2D(4, 1)), kl.Normalization()),
        *(kl.Conv2DTranspose(4, 1), kl.DepthwiseConv2D(1), kl.SeparableConv2D(4, 1), kl.Dense(4)),
        *(kl.EinsumDense("nhwc,cd->nhwd", (None, None, 4)), kl.PReLU(shared_axes=[1, 2])),
        *(kl.Dropout(0.1), kl.GaussianNoise(0.1)),
    ]:
        x = one(x)
    rows = kl.Reshape((-1, 4))(x)
    rows = kl.MultiHeadAttention(2, 2)(rows, rows)
    rows = kl.GroupQueryAttention(2, 2, 1)(rows, rows)
    rows = kl.Attention(use_scale=True)([rows, rows])
    rows = kl.AdditiveAttention()([rows, rows])
    model = keras.Model(lr, kl.Conv1D(3, 1)(rows))
    model.save(tmp_path / "all.keras")
    weight_files.check(tmp_path / "all.keras")
    needed = weight_files._shapes_needed(json.loads(model.to_json()))
    assert needed == Counter(tuple(variable.shape) for variable in model.weights)


def test_harmless_file_is_loaded_also_when_it_was_compiled_and_a_damaged_one_refused(
    tmp_path, parts
):
    path, model = tmp_path / "a.keras", small_network()
    model.compile("adam", "mae")
    model.save(path)
    assert weight_files.read(path).count_params()
    pack(path, parts)
    assert weight_files.read(path).count_params()
    whole = path.read_bytes()
    for content in whole[:5000], b"", whole[:900] + bytes(50) + whole[950:]:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"a\.keras: "):
            weight_files.read(path)
