"""Networks that people write into network.py: trained, resumed, enlarged in tiles, scored."""

import inspect
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

import evaluate
import network
import train
import utils
from superres.images.write import write_picture
from superres.runtime.backend import keras
from superres.training import checkpoint, plots
from superres.upscaling import probe, weight_files
from superres.upscaling.networks import KerasNetwork
from superres.upscaling.upscaler import Upscaler
from support import ROOT, copy_program, smooth_picture, stopped_at
from tools import export

layers, ops = keras.layers, keras.ops


def conv(x, filters=8, size=3, **options):
    return layers.Conv2D(filters, size, padding="same", **options)(x)


def channel_attention(x):
    weights = layers.GlobalAveragePooling2D(keepdims=True)(conv(x, activation="relu"))
    weights = conv(conv(weights, 4, 1, activation="tanh"), 8, 1, activation="sigmoid")
    return layers.Multiply()([x, weights])


def depthwise(x):
    y = layers.LayerNormalization()(layers.DepthwiseConv2D(5, padding="same")(x))
    return conv(conv(y, 16, 1, activation="gelu"), 8, 1)


def u_net(x):
    half = conv(x, 12, strides=2, activation="relu")
    quarter = conv(half, 16, strides=2, activation="relu")
    up = layers.Conv2DTranspose(12, 2, strides=2, activation="relu")(quarter)
    up = layers.Concatenate()([half, up])
    return conv(layers.Concatenate()([x, layers.Conv2DTranspose(8, 2, strides=2)(up)]))


def operations(x):
    gate, value = ops.split(ops.tanh(conv(x) / 2), 2, axis=-1)
    return ops.concatenate([ops.sigmoid(gate) * value, ops.gelu(gate)], axis=-1)


def bilinear(x):
    """A layer that TensorFlow compiles only for pictures of a known size."""
    return layers.UpSampling2D(2, interpolation="bilinear")(layers.MaxPooling2D(2)(conv(x)))


def nested(x):
    block = [layers.SeparableConv2D(8, 3, padding="same"), layers.SpatialDropout2D(0.5)]
    return keras.Sequential([layers.Input((None, None, 8)), *block])(x)


@keras.saving.register_keras_serializable()
class Gain(layers.Layer):
    """A layer of one's own."""

    def build(self, shape):
        self.gain = self.add_weight(shape=(shape[-1],), initializer="ones", name="gain")

    def call(self, x):
        return x * self.gain


def with_block(block):
    """A function like `network.build`, of a network with this block."""

    def build(scale, **settings):
        lr = keras.Input((None, None, 3))
        head = conv(lr, name="head")
        x = head + 0.3 * block(head)
        return keras.Model(lr, conv(ops.depth_to_space(conv(x, 8 * scale**2), scale), 3))

    return build


def transposed(x):
    return layers.Conv2DTranspose(3, 4, strides=2, padding="same")(conv(x))


def of_pixels(make):
    """A function like `network.build`, of a network that makes something of pixels."""

    def build(scale=2, **settings):
        lr = keras.Input((None, None, 3))
        return keras.Model(lr, make(lr))

    return build


def with_shuffle(make):
    return of_pixels(lambda lr: ops.depth_to_space(make(conv(lr, 12)), 2))


# Of each: what its sides must be multiples of, and whether it looks at the whole picture.
NETWORKS = {
    "bilinear": (with_block(bilinear), 2, False),
    "channel attention": (with_block(channel_attention), 1, True),
    "depthwise": (with_block(depthwise), 1, False),
    "U-Net": (with_block(u_net), 4, False),
    "operations": (with_block(operations), 1, False),
    "nested": (with_block(nested), 1, False),
    "own layer": (with_block(lambda x: Gain()(x)), 1, False),
    "transposed tail": (of_pixels(transposed), 1, False),
}
WORDS = "--data data --name tiny --crop-size 32 --batch-size 2 --epochs 1 --steps-per-epoch 4"
WORDS += " --warmup-steps 1 --validation-crop 64 --cache"


@pytest.fixture
def photographs(tmp_path, monkeypatch):
    """A working folder with data/ of three photographs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(train, "WEIGHTS_FOLDER", tmp_path / "weights")
    monkeypatch.setattr(plots, "plot", lambda rows, path: None)
    (tmp_path / "data").mkdir()
    for n in range(3):
        write_picture(tmp_path / "data" / f"{n}.png", smooth_picture(96, 101, seed=n), {})
    return tmp_path


def run(*more):
    return train.main([*WORDS.split(), "", *more])


SLOW = {"operations", "transposed tail"}  # or minutes would add up


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in NETWORKS],
)
def test_network_trains_resumes_enlarges_and_is_scored(name, photographs, monkeypatch, capsys):
    build, multiple_of, is_whole = NETWORKS[name]
    monkeypatch.setattr(network, "build", build)
    with stopped_at(3):
        assert run() == 130
    assert run() == 0
    assert "resuming after step 3" in capsys.readouterr().out
    if name == "nested":  # with its dropout, as if it had not been interrupted
        state = checkpoint.States("weights", "tiny").newest().arrays
        assert run("--restart") == 0
        np.testing.assert_equal(checkpoint.States("weights", "tiny").newest().arrays, state)

    path = "weights/tiny.keras"
    upscaler = utils.load(path, precision="float32")
    assert isinstance(upscaler.network, KerasNetwork)
    assert upscaler.network.traits.multiple_of == multiple_of
    assert (weight_files.stored_halo(path) is None) == (upscaler.halo is None) == is_whole
    picture = smooth_picture(101, 77, dtype=np.uint16)
    whole = upscaler.enlarge(picture).astype(int)
    assert whole.shape == (202, 154, 3)
    if not is_whole:
        in_tiles = Upscaler(upscaler.network, upscaler.halo, "float32", tile_size=24)
        assert len(in_tiles.plan(picture.shape)) > 4
        # 0.01 grey levels before rounding.
        assert np.abs(in_tiles.enlarge(picture) - whole).max() <= 0.01 * 257 + 1
    arguments = ["data/0.png", "--weights", path, "--no-pictures"]
    assert evaluate.main(arguments) == 0
    scores = json.loads((photographs / "evaluation/results.json").read_text())
    assert scores["mean"]["psnr"] > 5
    assert ("so pictures are not cut into tiles" in capsys.readouterr().out) == is_whole


def saved(name, folder):
    keras.utils.set_random_seed(1)
    NETWORKS[name][0](scale=2).save(folder / "any.keras")
    return folder / "any.keras"


def test_a_stride_that_is_hidden_in_a_network_is_noticed():
    """It takes any size, but not every tile."""

    @keras.saving.register_keras_serializable()
    class Hidden(layers.Layer):
        def call(self, x):
            height, width = ops.shape(x)[1], ops.shape(x)[2]
            x = ops.repeat(ops.repeat(x[:, ::2, ::2], 2, axis=1), 2, axis=2)
            return x[:, :height, :width]

        def compute_output_shape(self, shape):
            return shape

    model = of_pixels(lambda lr: ops.depth_to_space(conv(Hidden()(lr), 12), 2))()
    upscaler = Upscaler(KerasNetwork(model), precision="float32")
    assert upscaler.network.traits.multiple_of == 1
    assert upscaler.measure_halo([probe.picture()]) is None


def test_picture_that_is_too_large_for_memory_is_cut_all_the_same(tmp_path, monkeypatch):
    upscaler = utils.load(saved("channel attention", tmp_path), precision="float32")
    assert len(upscaler.plan((500, 400))) == 1
    memory = 2 * 200**2 * upscaler.network.bytes_per_pixel("float32")
    monkeypatch.setattr(KerasNetwork, "free_memory", lambda self: memory)
    short = Upscaler(upscaler.network, None, "float32")
    tiles = short.plan((500, 400))
    assert len(tiles) > 1
    assert tiles.halo == 64
    assert short.enlarge(smooth_picture(300, 270)).shape == (600, 540, 3)


def test_own_layer_by_the_name_of_a_layer_of_keras_is_not_taken_for_it(tmp_path):
    @keras.saving.register_keras_serializable()
    class ReLU(layers.Layer):
        def call(self, x):
            return 0.5 * x

    with_shuffle(ReLU())().save(tmp_path / "own.keras")
    upscaler = utils.load(tmp_path / "own.keras", precision="float32")
    assert isinstance(upscaler.network, KerasNetwork)
    assert upscaler.network.graph.unknown.endswith("(Custom>ReLU)")


def test_halo_of_a_file_without_one_is_measured_and_openvino_refused_with_the_reason(tmp_path):
    assert utils.load(saved("channel attention", tmp_path)).halo is None
    path = saved("U-Net", tmp_path)
    assert utils.load(path, precision="float32").halo in range(4, 33, 4)
    with pytest.raises(ValueError, match=r"ENGINE = 'openvino': .*Conv2D with strides \[2, 2\]"):
        utils.load(path, "openvino")


def test_bfloat16_that_is_asked_for_is_close(tmp_path):
    path = saved("nested", tmp_path)
    lr = smooth_picture(40, 30)
    exact = utils.load(path, "keras", precision="float32").enlarge(lr).astype(int)
    upscaler = utils.load(path, "keras", precision="bfloat16")
    assert 0 < np.abs(upscaler.enlarge(lr) - exact).max() <= 12
    assert utils.load(path, "keras").precision == "float32"


@pytest.mark.parametrize(
    ("build", "words", "message"),
    [
        (lambda **settings: network.edsr(3, 4, 1), [], "SCALE = 2: the network enlarges by 3"),
        (of_pixels(lambda lr: conv(lr, 3, strides=2)), [], "enlarges RGB pictures by a whole n"),
        (with_shuffle(layers.Lambda(lambda x: x)), [], "refused: it holds keras.layers.Lambda"),
        (lambda **settings: None, [], "build returns None: expected a keras.Model"),
        (
            with_shuffle(lambda x: x + layers.Conv2D(12, 3)(x)),
            [],
            "(Add): its inputs differ in size, H x W and H-2 x W-2",
        ),
        (NETWORKS["U-Net"][0], ["--crop-size", "36"], "CROP_SIZE = 36: expected a multiple of 8"),
    ],
)
def test_network_that_does_not_fit_is_refused_before_photographs_are_decoded(
    build, words, message, photographs, monkeypatch, capsys
):
    monkeypatch.setattr(network, "build", build)
    monkeypatch.setattr(train, "open_dataset", lambda *given: pytest.fail("decoded"))
    assert run(*words) == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_export_says_of_which_sizes_pictures_must_be(tmp_path, capsys):
    path = saved("U-Net", tmp_path)
    assert export.main([str(path), str(tmp_path / "any.onnx")]) == 2
    assert "has no ONNX graph here: expected a name that ends in .tflite" in capsys.readouterr().err
    if keras.backend.backend() == "tensorflow":
        assert export.main([str(path), str(tmp_path / "any.tflite")]) == 0
        assert "in [0, 1]; H and W must be multiples of 4" in capsys.readouterr().out


OWN_LAYER = inspect.getsource(Gain).replace("layers.Layer", "keras.layers.Layer")
OWN_LAYER += """

def build(**settings):
    model = edsr(**settings)
    return keras.Model(model.input, Gain()(model.output))
"""


@pytest.mark.slow
def test_own_layer_is_loaded_from_network_py_alone(photographs):
    """By the scripts as they are started; a file of it is refused where it is not registered."""
    copy_program(photographs)
    shutil.copytree(ROOT / "tools", photographs / "tools")
    script = photographs / "network.py"
    plain = script.read_text()
    script.write_text(plain.replace("\n\ndef main(", f"\n\n{OWN_LAYER}\n\ndef main("))

    def python(*words, code=0):
        done = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=300)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    small = ["--num-filters", "8", "--residual-blocks", "1"]
    python("train.py", *WORDS.split(), "", *small)
    enlarge = ["output.py", "data", "out", "--weights", "weights/tiny.keras"]
    words = "layer 'gain' (Custom>Gain) has no OpenVINO graph here, so Keras computes"
    assert words in python(*enlarge)
    printed = python("-m", "tools.export", "weights/tiny.keras", "tiny.onnx", code=2)
    assert "layer 'gain' (Custom>Gain) has no ONNX graph here" in printed
    assert "The diagrams in docs/ are EDSR's" in python("network.py", *small)
    script.write_text(plain)
    printed = python(*enlarge, "--overwrite", code=2)
    assert "it holds network.Gain, which weights files may not hold; layers of one's own" in printed
