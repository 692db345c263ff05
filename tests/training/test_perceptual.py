from pathlib import Path

import cv2
import numpy as np
import pytest

import train
import utils
from superres.images.read import read_rgb
from superres.images.resize import downscale, imresize
from superres.images.write import write_picture
from superres.runtime.backend import keras
from superres.scoring import metrics, tables
from superres.scoring.results import Results, setup_of
from superres.training import perceptual, plots
from superres.upscaling import weight_files
from support import ROOT, small_network, smooth_picture, stopped_at

tf = pytest.importorskip("tensorflow")
CONVOLUTIONS = {"conv1_1": 3, "conv1_2": 4, "conv2_1": 4, "conv2_2": 4, "conv3_1": 4, "conv3_2": 4}
CONVOLUTIONS |= {"conv3_3": 4, "conv4_1": 4, "conv4_2": 4, "conv4_3": 4}  # and their channels in
WORDS = "--data data --name tiny --loss perceptual --features vgg.npz --optimizer adam --scale 2"
WORDS += " --num-filters 8 --residual-blocks 1 --crop-size 32 --batch-size 2 --warmup-steps 0"
WORDS += " --epochs 2 --steps-per-epoch 3 --validation-crop 64 --cache="


@pytest.fixture
def features(tmp_path):
    """A VGG-16 of four random filters a layer."""
    random, arrays = np.random.default_rng(0), {}
    for name, channels in CONVOLUTIONS.items():
        arrays[f"{name}_kernel"] = random.normal(0, 0.3, (3, 3, channels, 4)).astype(np.float16)
        arrays[f"{name}_bias"] = np.full(4, 0.5, np.float16)
    np.savez(tmp_path / "vgg.npz", **arrays)
    return str(tmp_path / "vgg.npz")


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_reduction_is_matlabs(scale):
    hr = smooth_picture(12 * scale, 10 * scale).astype(np.float32)
    expected = imresize(hr.astype(np.float64), 12, 10)[2:-2, 2:-2]
    reduced = keras.ops.convert_to_numpy(perceptual.reduced(hr[None], scale))[0]
    np.testing.assert_allclose(reduced, expected, atol=1e-3)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_grid_measures_dots_of_the_scales_period(scale):
    random = np.random.default_rng(0)
    noise = random.normal(0, 0.02, (1, 96, 96, 3)).astype(np.float32)
    dots = noise.copy()
    dots[:, ::scale, ::scale] += 0.05
    others = noise.copy()
    others[:, ::5, ::5] += 0.05
    opposed = noise.copy()  # bright dots on the left, dark ones on the right
    opposed[:, ::scale, :48:scale] += 0.05
    opposed[:, ::scale, 48::scale] -= 0.05
    small, large, other, opposite = (
        float(keras.ops.mean(perceptual.grid(one, scale))) for one in (noise, dots, others, opposed)
    )
    assert large > 1.8 * small
    assert other < 0.7 * large
    assert opposite > 0.85 * large


def test_excess_is_detail_that_the_original_has_nowhere_near():
    noise = np.random.default_rng(0).normal(0, 0.05, (2, 64, 64, 3)).astype(np.float32)
    theirs = noise * (np.arange(64) < 32)[:, None]  # texture beside smooth ground
    another, everywhere = theirs[::-1], noise

    def measured(ours):
        return keras.ops.convert_to_numpy(perceptual.excess(ours, theirs))

    assert measured(theirs).max() == 0
    assert measured(another).max() < 0.1 * measured(everywhere).min()


def pictures():
    hr = np.stack([smooth_picture(32, 32, seed=n) for n in range(2)]) / np.float32(255)
    return tf.constant(hr * np.float32(0.9)), tf.constant(hr)


def test_the_adversarys_gradient_is_a_share_of_the_others(features):
    layer, (sr, hr) = perceptual.PerceptualLoss(2, features), pictures()
    layer([sr, hr])

    def gradient(function):
        with tf.GradientTape() as tape:
            tape.watch(sr)
            loss = tf.reduce_sum(function())
        return tape.gradient(loss, sr)

    faithful = gradient(lambda: layer._faithful(sr, hr))
    band, theirs = perceptual.high_band, perceptual.grid(perceptual.high_band(hr), 2)
    others = faithful + gradient(lambda: tf.nn.relu(perceptual.grid(band(sr), 2) - theirs))
    others += gradient(lambda: perceptual.EXCESS * perceptual.excess(sr, hr))
    off = gradient(lambda: layer([sr, hr]))  # as it is at first
    np.testing.assert_allclose(off, others, rtol=1e-3, atol=1e-5)
    layer.steps.assign(perceptual.ADVERSARY_FROM)
    adverse = gradient(lambda: layer([sr, hr])) - off
    norms = [float(tf.norm(one)) for one in (adverse, faithful)]
    assert norms[0] == pytest.approx(perceptual.ADVERSARY * norms[1], rel=1e-3)


def test_the_discriminator_gets_the_gradient_of_its_own_loss(features):
    layer, (sr, hr) = perceptual.PerceptualLoss(2, features), pictures()
    layer([sr, hr])
    layer.steps.assign(perceptual.ADVERSARY_FROM)
    variables = layer.discriminator.trainable_variables
    with tf.GradientTape(persistent=True) as tape:
        loss = tf.reduce_sum(layer([sr, hr]))
        fake, real = (layer.discriminator(4 * perceptual.high_band(one)) for one in (sr, hr))
        own = tf.reduce_sum(tf.reduce_mean(tf.math.softplus(fake - real), axis=(1, 2, 3)))
    found, expected = (tape.gradient(one, variables) for one in (loss, own))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-6)


@pytest.fixture
def folder(tmp_path, features, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(train, "WEIGHTS_FOLDER", tmp_path / "weights")
    monkeypatch.setattr(plots, "plot", lambda rows, path: None)
    Path("data").mkdir()
    for n in range(3):
        write_picture(f"data/{n}.png", smooth_picture(100, 110, seed=n), {})
    return tmp_path


def test_training_resumes_and_keeps_the_last_epoch(folder):
    def trained(code=0, *words):
        assert train.main([*WORDS.split(), *words]) == code
        return weight_files.read(Path("weights/tiny.keras")).get_weights()

    whole = trained()
    assert Path("weights/tiny.details.png").is_file()
    rows = Path("weights/tiny.csv").read_text().splitlines()
    with stopped_at(4):
        first = trained(130, "--restart")
    np.testing.assert_equal(trained(), whole)
    assert len(rows) == 3
    assert any(np.any(one != other) for one, other in zip(first, whole, strict=True))


def test_features_that_are_missing_are_named(folder, capsys):
    np.savez("other.npz", a=np.zeros(3))
    for name in "none.npz", "other.npz":
        assert train.main([*WORDS.split(), "--features", name]) == 2
        assert f"FEATURES = '{name}': expected VGG-16" in capsys.readouterr().err


@pytest.mark.parametrize("engine", ["openvino", "keras"])
def test_dial_mixes_the_weights(tmp_path, engine):
    paths = [tmp_path / f"my_x2_photo{ending}.keras" for ending in ("", "_sharp")]
    for seed, path in enumerate(paths):
        weight_files.export(small_network(2, seed), path, 5 + seed)
    lr = downscale(smooth_picture(60, 80), 2)

    def enlarged(path, **options):
        options = {"engine": engine, "precision": "float32", "scale": 2} | options
        networks = utils.NetworkOptions(str(path), **options).load()
        return networks.photo.upscaler, networks.photo.upscaler.enlarge(lr)

    np.testing.assert_array_equal(enlarged(paths[0], sharpness=0)[1], enlarged(paths[0])[1])
    np.testing.assert_array_equal(enlarged(paths[0], sharpness=1)[1], enlarged(paths[1])[1])
    ours, theirs = (weight_files.read(path).get_weights() for path in paths)
    middle = small_network(2)
    middle.set_weights([0.7 * a + 0.3 * b for a, b in zip(ours, theirs, strict=True)])
    weight_files.export(middle, tmp_path / "middle.keras", 6)
    upscaler, mixed = enlarged(paths[0], sharpness=0.3)
    difference = mixed.astype(int) - enlarged(tmp_path / "middle.keras")[1]
    assert np.abs(difference).max() <= 1
    assert upscaler.halo == 6
    options = {"engine": engine, "precision": "float32", "sharpness": 0.3}
    mixture = utils.NetworkOptions(str(paths[0]), **options).load().photo
    assert "my_x2_photo.keras, sharpness 0.3: x2, " in str(mixture)
    setup = setup_of(2, {"all pictures": mixture}, {})
    assert len(setup["networks"][0]["sharp_sha256"]) == 64
    assert "), sharpness 0.3, " in " ".join(tables.provenance(Results([], [], 2), setup))
    with pytest.raises(ValueError, match=r"SHARPNESS = 0\.3: needs middle_sharp\.keras beside"):
        enlarged(tmp_path / "middle.keras", sharpness=0.3)


@pytest.mark.parametrize(
    ("content", "scale", "least"),
    [("clean", 2, 50), ("clean", 4, 48), ("wild", 2, 40), ("wild", 4, 40)],
)
def test_shipped_networks_add_detail_that_agrees_with_the_input(content, scale, least):
    hr = read_rgb(ROOT / "evaluation/original/astronaut.png")[:256, 100:356]
    lr, detail, scores = downscale(hr, scale), [], []
    for sharpness in 0, 0.7, 1:
        options = utils.NetworkOptions(network="small", content=content, sharpness=sharpness)
        sr = options.load(scale).clean.upscaler.enlarge(lr)
        assert metrics.psnr_rgb(lr, downscale(sr, scale), 2) > least
        detail.append(np.abs(cv2.Laplacian(sr, cv2.CV_32F)).mean())
        scores.append(metrics.psnr(hr, sr, scale))
    assert detail[0] < 0.95 * detail[1] < 0.85 * detail[2]
    assert scores[0] > scores[1] > scores[2] > scores[0] - 1.5
