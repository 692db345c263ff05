import importlib
import inspect
import io
import json
import re
import zipfile

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
from superres.runtime.errors import InputError
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


@pytest.mark.parametrize("count", [1, 3])
def test_network_that_takes_a_condition_is_exported_and_read(tmp_path, count):
    model = small_network(conditions=count)
    weight_files.export(model, tmp_path / "photo.keras", 8)
    upscaler = utils.load(tmp_path / "photo.keras", "keras", precision="float32")
    assert upscaler.conditions == count
    lr = smooth_picture(12, 10)
    for condition in Condition(0.4, 8, 1), Condition():
        ours = Upscaler(KerasNetwork(model), precision="float32").enlarge(lr, condition=condition)
        np.testing.assert_array_equal(upscaler.enlarge(lr, condition=condition), ours)


def test_network_with_another_second_input_is_refused(tmp_path):
    lr, mask = keras.Input((None, None, 3)), keras.Input((None, None, 5))
    both = keras.layers.Concatenate()([lr, mask])
    sr = keras.layers.Conv2D(12, 3, padding="same")(both)
    keras.Model([lr, mask], keras.ops.depth_to_space(sr, 2)).save(tmp_path / "x.keras")
    with pytest.raises(ValueError, match=r"that and a condition, \(N, 1, 1, 1\) or \(N, 1, 1, 3\)"):
        utils.load(tmp_path / "x.keras")


def test_condition_of_two_numbers_is_refused(tmp_path):
    lr, condition = keras.Input((None, None, 3)), keras.Input((1, 1, 2))
    shift = keras.layers.Conv2D(3, 1)(condition)
    keras.Model([lr, condition], keras.layers.Add()([lr, shift])).save(tmp_path / "x.keras")
    with pytest.raises(InputError, match="and a condition"):
        utils.load(tmp_path / "x.keras")


def test_exported_file_is_half_the_size_and_loads_the_same(tmp_path):
    model = network.edsr(2, 32, 2)
    model.set_weights([weight_files.round_to_half(weight) for weight in model.get_weights()])
    weight_files.export(model, tmp_path / "packed.keras", 3)
    model.save(tmp_path / "plain.keras")
    plain, packed = ((tmp_path / f"{name}.keras").stat().st_size for name in ("plain", "packed"))
    assert packed < 0.55 * plain
    assert sorted(path.name for path in tmp_path.iterdir()) == ["packed.keras", "plain.keras"]
    assert utils.load(tmp_path / "packed.keras").scale == 2
    assert weight_files.stored_halo(tmp_path / "packed.keras") == 3
    assert weight_files.stored_halo(tmp_path / "plain.keras") == 0
    loaded = keras.models.load_model(tmp_path / "packed.keras")
    for ours, theirs in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


# ---- hostile files ----


def members(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pack(path, parts):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


@pytest.fixture
def parts(tmp_path):
    """What a harmless file is made of, by name."""
    small_network(global_skip=True).save(tmp_path / "harmless.keras")
    return members(tmp_path / "harmless.keras")


@keras.saving.register_keras_serializable()
class Own(keras.layers.Layer):
    """A layer of one's own, as network.py might register it."""

    NAME = "Custom>Own"


def lambda_layer(parts, mark):
    model = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Lambda(lambda x: x)])
    buffer = mark.parent / "lambda.keras"
    model.save(buffer)
    parts |= members(buffer)
    assert b"__lambda__" in parts["config.json"]


def lambda_by_name(parts, mark):
    """A function that is named, which safe_mode lets pass."""
    change_layer(parts, "Lambda", {"function": {"module": "os", "class_name": "function"}})


def torch_pickle(parts, mark):
    change_layer(parts, "TorchModuleWrapper", {"module": "gASVHgAAAAAAAACMBXBvc2l4lIw="})


def saved_model(parts, mark):
    change_layer(parts, "TFSMLayer", {"filepath": str(mark.parent)})


def file_reader(parts, mark):
    change_layer(parts, "StringLookup", {"vocabulary": "/etc/passwd"})


def foreign_class(parts, mark):
    change_layer(parts, "Popen", {"args": ["touch", str(mark)]}, module="subprocess")


def function_as_class(parts, mark):
    change_layer(parts, "deserialize", {}, module="keras.initializers")


def registered_class(parts, mark):
    change_layer(parts, "Conv2D", {}, registered="mine>Conv2D")


def operation_that_calls(parts, mark):
    change_layer(parts, "VectorizedMap", {"function": "os.system"}, module="keras.src.ops.core")


def library_in_a_module_of_operations(parts, mark):
    change_layer(parts, "np", {}, module="keras.src.ops.numpy")


def function_by_the_name_of_an_own_layer(parts, mark):
    """Keras would call what `config` names in the module, if the registered name alone counted."""
    change_layer(parts, "function", {}, module="os", registered=Own.NAME)


def keras_function(parts, mark):
    """A gadget: a harmless layer with a function of Keras that fetches or reads files."""
    config = json.loads(parts["config.json"])
    for layer in config["config"]["layers"]:
        if layer["class_name"] == "Conv2D":
            layer["config"]["activation"] = {
                "module": "keras.utils",
                "class_name": "function",
                "config": "get_file",
                "registered_name": "get_file",
            }
    parts["config.json"] = json.dumps(config)


def change_layer(parts, class_name, config, module="keras.layers", registered=None):
    """Puts another layer in the place of the first convolution."""
    whole = json.loads(parts["config.json"])
    layer = next(x for x in whole["config"]["layers"] if x["class_name"] == "Conv2D")
    layer |= {"class_name": class_name, "module": module, "registered_name": registered}
    layer["config"] = config | {"name": layer["config"]["name"], "trainable": True}
    parts["config.json"] = json.dumps(whole)


def change_weights(parts, change):
    """Changes the HDF5 file of the weights: `change(file, name)` of a kernel that is removed."""
    buffer = io.BytesIO(parts["model.weights.h5"])
    with h5py.File(buffer, "r+") as file:
        name = "layers/conv2d/vars/0"
        shape = file[name].shape
        del file[name]
        change(file, name, shape)
    parts["model.weights.h5"] = buffer.getvalue()


def secret_file(mark):
    """An HDF5 file of the user's, which no weights may read."""
    with h5py.File(mark.parent / "secret.h5", "w") as file:
        file["secret"] = np.ones(3)
    return str(mark.parent / "secret.h5")


def external_link(parts, mark):
    def change(file, name, shape):
        file[name] = h5py.ExternalLink(secret_file(mark), "/secret")

    change_weights(parts, change)


def soft_link(parts, mark):
    def change(file, name, shape):
        file[name] = h5py.SoftLink("/layers")

    change_weights(parts, change)


def external_storage(parts, mark):
    (mark.parent / "secret").write_bytes(bytes(100_000))

    def change(file, name, shape):
        size = 4 * int(np.prod(shape))
        raw = [(str(mark.parent / "secret"), 0, size)]
        file.create_dataset(name, shape, np.float32, external=raw)

    change_weights(parts, change)


def virtual_dataset(parts, mark):
    def change(file, name, shape):
        layout = h5py.VirtualLayout((3,), np.float64)
        layout[:] = h5py.VirtualSource(secret_file(mark), "secret", (3,))
        file.create_virtual_dataset(name, layout)

    change_weights(parts, change)


def array_bomb(parts, mark):
    def change(file, name, shape):
        file.create_dataset(name, (2**20, 2**18), np.float32, chunks=(64, 64))

    change_weights(parts, change)


def text_array(parts, mark):
    def change(file, name, shape):
        file.create_dataset(name, shape, h5py.string_dtype())

    change_weights(parts, change)


def group_in_itself(parts, mark):
    def change(file, name, shape):
        file["layers/conv2d/vars/again"] = file["layers"]

    change_weights(parts, change)


def pickle_weights(parts, mark):
    """NumPy arrays of objects, which are pickles, in place of HDF5."""
    buffer = io.BytesIO()
    np.savez(buffer, a=np.array([{}], dtype=object))
    del parts["model.weights.h5"]
    parts["model.weights.npz"] = buffer.getvalue()


def more_files(parts, mark):
    parts["assets/../../../../tmp/evil.py"] = "print()"


def text_config(parts, mark):
    parts["config.json"] = "import os"


HOSTILE = {
    lambda_layer: "keras.layers.Lambda, which weights files may not hold",
    lambda_by_name: "keras.layers.Lambda, which weights files may not hold",
    torch_pickle: "keras.layers.TorchModuleWrapper, which weights files may not hold",
    saved_model: "keras.layers.TFSMLayer, which weights files may not hold",
    file_reader: "keras.layers.StringLookup, which weights files may not hold",
    foreign_class: "subprocess.Popen, which weights files may not hold",
    function_as_class: "keras.initializers.deserialize, which weights files may not hold",
    registered_class: "keras.layers.Conv2D, which weights files may not hold; layers of one's own",
    operation_that_calls: "keras.src.ops.core.VectorizedMap, which weights files may not hold",
    library_in_a_module_of_operations: "keras.src.ops.numpy.np, which weights files may not hold",
    function_by_the_name_of_an_own_layer: "os.function, which weights files may not hold",
    keras_function: "keras.utils.function, which weights files may not hold",
    external_link: "its weights hold a link to another place, /layers/conv2d/vars/0",
    soft_link: "its weights hold a link to another place",
    external_storage: "its weights hold a link to another file, /layers/conv2d/vars/0",
    virtual_dataset: "its weights hold a link to another file",
    array_bomb: "its weights are packed in a way that Keras does not use",
    text_array: "its weights hold something else than numbers",
    group_in_itself: "its weights are nested more than 16 deep",
    pickle_weights: "expected metadata.json, config.json, model.weights.h5",
    more_files: "expected metadata.json, config.json, model.weights.h5",
    text_config: "Expecting value",
}


def allowed_classes():
    """Every layer and operation that files may have, as the installed Keras has them."""
    for name in weight_files.HARMLESS["keras.layers"]:
        yield getattr(keras.layers, name), keras.layers.Layer
    for module in weight_files.OPERATION_MODULES:
        for name, value in vars(importlib.import_module(module)).items():
            if name[0].isupper() and name not in ("KerasTensor", "Operation"):
                yield value, keras.Operation
    core = importlib.import_module("keras.src.ops.core")
    for name in weight_files.HARMLESS["keras.src.ops.core"]:
        yield getattr(core, name), keras.Operation


def test_what_files_may_hold_takes_neither_functions_nor_paths():
    names = set()
    for one, kind in allowed_classes():
        assert issubclass(one, kind), one
        names |= set(inspect.signature(one).parameters)
    assert len(names) > 150
    suspicious = r"fn|func|callable|path$|file|vocab|module|dir\b|url|lambda"
    assert not [name for name in names if re.search(suspicious, name)]


@pytest.mark.parametrize("make", HOSTILE)
def test_hostile_file_is_refused_before_keras_sees_it(tmp_path, monkeypatch, capsys, parts, make):
    path, mark = tmp_path / "hostile.keras", tmp_path / "mark"
    make(parts, mark)
    pack(path, parts)
    monkeypatch.setattr(keras.models, "load_model", lambda *a, **k: pytest.fail("Keras saw it"))
    (tmp_path / "data").mkdir()
    write_picture(tmp_path / "data" / "a.png", smooth_picture(20, 20), {})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(train, "WEIGHTS_FOLDER", tmp_path / "weights")
    assert output.main(["data", "out", "--weights", str(path)]) == 2
    assert train.main(["--start-from", str(path)]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2
    for line in errors:
        assert f"{path}: refused: " in line
        assert HOSTILE[make] in line
    assert not mark.exists()


def test_a_member_of_lying_size_is_refused(tmp_path, monkeypatch, parts):
    pack(tmp_path / "large.keras", parts)
    monkeypatch.setitem(weight_files.MEMBERS, "config.json", 100)
    with pytest.raises(ValueError, match=r"config.json in it has [\d,]+ bytes: at most 100"):
        weight_files.check(tmp_path / "large.keras")


def test_harmless_file_is_loaded_also_when_it_was_compiled(tmp_path, parts):
    pack(tmp_path / "packed.keras", parts)
    assert weight_files.read(tmp_path / "packed.keras").count_params()
    model = small_network()
    model.compile("adam", "mae")
    model.save(tmp_path / "compiled.keras")
    assert weight_files.read(tmp_path / "compiled.keras").count_params()


def test_damaged_files_are_refused(tmp_path, parts):
    pack(tmp_path / "whole.keras", parts)
    whole = (tmp_path / "whole.keras").read_bytes()
    for n, content in enumerate([whole[:5000], b"", whole[:900] + bytes(50) + whole[950:]]):
        path = tmp_path / f"{n}.keras"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"{n}\.keras: "):
            weight_files.read(path)
