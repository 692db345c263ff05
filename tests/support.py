"""What tests share: synthetic pictures, tiny networks, folders outside the repository."""

import contextlib
import copy
import hashlib
import io
import os
import shutil
import signal
from pathlib import Path
from unittest import mock

import numpy as np
from PIL import Image

import network
from superres.dataset.crops import Photograph
from superres.images.quality import CLEAN
from superres.images.resize import downscale
from superres.runtime.backend import keras
from superres.training.trainer import _Hook

ROOT = Path(__file__).parent.parent
# What a programmer's mistake raises; a wrong value of the user's is an `InputError`.
FAULTS = [
    ValueError("ours"),
    KeyError("ours"),
    FileNotFoundError(2, "No such file or directory", "ours"),
    ZeroDivisionError("ours"),
]
# As `results.setup_of` returns it.
NETWORK = {"pictures": "all pictures", "weights": "x.keras", "parameters": 1234}
NETWORK |= {"weights_sha256": "0123456789abcdef0123", "precision": "float32"}
NETWORK |= {"engine": "tensorflow on CPU", "self_ensemble": False}
SETUP = {"scale": 2, "networks": [NETWORK], "compared": {"RCAN": "rcan/x2"}}


def failing_twice(function, error):
    """A function that raises `error` at its first two calls, and then does what `function` does."""
    calls = []

    def fail_twice(*arguments):
        calls.append(arguments)
        if len(calls) <= 2:
            raise copy.copy(error)
        return function(*arguments)

    return fail_twice


def smooth_picture(height, width, channels=3, seed=0, dtype=np.uint8):
    """A picture of random soft shapes: something that a network can learn to enlarge."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    picture = np.zeros((height, width, channels))
    for _ in range(12):
        fy, fx = random.uniform(-0.5, 0.5, 2)
        phase = random.uniform(0, 7, channels)
        picture += np.sin((fy * y + fx * x)[..., None] + phase)
    picture = (picture - picture.min()) / np.ptp(picture)
    return np.round(picture * np.iinfo(dtype).max).astype(dtype)


def photograph(height, width, seed=0):
    """Of a smooth picture, for x2."""
    hr = smooth_picture(height, width, seed=seed)
    return Photograph(downscale(hr, 2), hr)


def small_network(scale=2, seed=0, filters=8, **options):
    """An untrained network of two blocks, with weights large enough to be seen."""
    keras.utils.set_random_seed(seed)
    model = network.edsr(scale, num_filters=filters, residual_blocks=2, **options)
    random = np.random.default_rng(seed)
    for layer in model.layers:
        if layer.trainable_weights:
            layer.set_weights([w + random.normal(0, 0.05, w.shape) for w in layer.get_weights()])
    return model


def bilinear_network():
    """A network that enlarges bilinearly, whatever its other weights would do."""
    model = network.edsr(2, 4, 1, global_skip=True)
    model.get_layer("tail").set_weights([np.zeros((3, 3, 4, 3)), np.zeros(3)])
    return model


def trainer_of(model, optimizer="adam"):
    from superres.training.trainer import Trainer  # here, since it loads Keras

    how = {"loss": "l1", "learning_rate": 1e-3, "clip_norm": 1.0, "ema_decay": 0.9}
    return Trainer(model, optimizer=optimizer, **how)


def as_jpeg(picture, **options):
    """Pixels of a picture that Pillow saved as JPEG."""
    Image.fromarray(picture).save(file := io.BytesIO(), "JPEG", **options)
    return np.asarray(Image.open(file))


def batch_of(lr, hr, condition=CLEAN):
    """A function that returns the same batch for each step, as `Trainer.fit` takes it."""
    return lambda step: ((lr, np.tile(condition.values(), (len(lr), 1, 1, 1))), hr)


def copy_program(place):
    """Copies the scripts and their package, so that weights/ lies beside the copies."""
    for script in ROOT.glob("*.py"):
        shutil.copy(script, place)
    shutil.copytree(ROOT / "superres", place / "superres", ignore=shutil.ignore_patterns("*.pyc"))


def contents(folder):
    """Digest of every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@contextlib.contextmanager
def at_step(step, do):
    """Within, `do` happens after a step of the training."""
    before = _Hook.on_train_batch_end

    def after(self, batch, logs=None):
        if self.trainer.step + 1 == step:
            do()
        before(self, batch, logs)

    with mock.patch.object(_Hook, "on_train_batch_end", after):
        yield


def stopped_at(step, number=signal.SIGTERM):
    """Within, a signal comes after a step of the training."""
    return at_step(step, lambda: os.kill(os.getpid(), number))
