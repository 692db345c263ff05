"""A loss that makes pictures look sharp: L1, features, agreement, grid, excess, adversary.

- features: L1 between layers of VGG-16, each divided by the mean of the original's (Johnson et al.,
  2016, https://arxiv.org/abs/1603.08155);
- agreement: L1 between the reduced result and the reduced original: detail is added, not changed;
- grid: dots with the period of the scale, the cheapest texture for a network that ends in a pixel
  shuffle. Without this term they grow along edges within 300 steps;
- excess: how far the finest detail goes beyond the original's nearby, so that smooth ground beside
  edges and letters stays smooth;
- adversary: a small discriminator of the high band, relativistic (Jolicoeur-Martineau, 2018,
  https://arxiv.org/abs/1807.00734). Its gradient is scaled to a share of that of L1, features and
  agreement.
"""

import numpy as np

from superres.images.resize import imresize
from superres.runtime import backend
from superres.runtime.backend import keras
from superres.runtime.errors import InputError

L1, AGREEMENT, GRID, EXCESS = 8.0, 10.0, 1.0, 40.0
ADVERSARY = 0.1  # of the others' gradient at the pixels: about 0.4 at the last convolution's kernel
ADVERSARY_FROM = 40  # steps before the adversary, in which the others remove the worst blur
LAYERS = ("conv2_2", "conv3_3", "conv4_3")
MEAN = (103.939, 116.779, 123.68)  # of blue, green and red in VGG-16's training, 0 to 255
WINDOW = 7  # LR pixels, of the windows in which the grid is measured
NEARBY = 3  # pixels, side of the square whose largest detail of the original is allowed
HIGH, FINEST = 1.5, 0.75  # pixels, standard deviation of the blur that is subtracted for a band
ops = keras.ops


def vgg16(path=""):
    """VGG-16 from RGB in [0, 1] to the activations of `LAYERS`; frozen.

    `path` is an .npz file with `conv1_1_kernel`, `conv1_1_bias` and so on; if it is empty, Keras
    downloads them. InputError: they cannot be downloaded, or the file is none of these.
    """
    arrays, dtype = _arrays(path), backend.fastest_precision()
    rgb, outputs = keras.Input((None, None, 3)), []
    x = ops.flip(rgb, axis=-1) * 255.0 - np.float32(MEAN)
    for block, count in enumerate((2, 2, 3, 3), 1):
        for n in range(1, count + 1):
            name = f"conv{block}_{n}"
            kernel, bias = arrays[name]
            layer = keras.layers.Conv2D(
                len(bias), 3, padding="same", activation="relu", name=name, dtype=dtype
            )
            x = layer(x)
            layer.set_weights([kernel, bias])
            outputs += [x] if name in LAYERS else []
        x = keras.layers.MaxPooling2D(2, padding="same", dtype=dtype)(x)
    model = keras.Model(rgb, outputs, name="vgg16")
    model.trainable = False
    return model


def _arrays(path):
    """Kernel and bias of each convolution, by name."""
    if not path:
        try:
            layers = keras.applications.VGG16(include_top=False).layers
        except Exception as error:  # Keras' own kind for a failed download
            if "fetch failure" not in str(error):
                raise
            raise InputError(f"FEATURES = '': VGG-16 could not be downloaded: {error}") from None
        names = (layer.name.replace("block", "conv").replace("_conv", "_") for layer in layers)
        return dict(zip(names, (layer.get_weights() for layer in layers), strict=True))
    try:
        with np.load(path, allow_pickle=False) as file:
            names = {name.rsplit("_", 1)[0] for name in file.files}
            return {n: [file[f"{n}_{part}"] for part in ("kernel", "bias")] for n in names}
    except (OSError, ValueError, KeyError):
        raise InputError(f"FEATURES = {path!r}: expected VGG-16 as an .npz file") from None


def discriminator():
    """From the high band (N, H, W, 3) to how real it looks, for each 4x4 pixels."""
    band = keras.Input((None, None, 3))
    x = band
    for filters, strides in (32, 1), (64, 2), (64, 1), (96, 2):
        x = keras.layers.Conv2D(filters, 3, strides, padding="same")(x)
        x = keras.layers.LeakyReLU(0.2)(x)
    x = keras.layers.Conv2D(1, 3, padding="same")(x)
    return keras.Model(band, x, name="discriminator")


def _fork(x):
    """Two copies of `x`; the gradient of the second gets ADVERSARY times the norm of the first's.

    So ADVERSARY is a ratio of gradient norms. With a fixed weight of its loss, the adversary would
    have no effect, or drown the others.
    """

    @ops.custom_gradient
    def fork(x):
        def grad(*args, upstream=None):
            first, second = ops.unstack(args[0] if upstream is None else upstream, 2)
            norms = [ops.sqrt(ops.sum(one**2) + 1e-20) for one in (first, second)]
            return first + ADVERSARY * norms[0] / norms[1] * second

        return ops.stack([x, x]), grad

    return ops.unstack(fork(x), 2)


def high_band(pictures, sigma=HIGH):
    """What a blur takes from pictures (N, H, W, 3); four `sigma` less on each side."""
    radius = round(4 * sigma)
    offsets = np.arange(-radius, radius + 1)
    line = np.exp(-(offsets**2) / (2 * sigma**2))
    kernel = np.tile((line / line.sum())[:, None, None, None], (1, 1, 3, 1)).astype(np.float32)
    blurred = pictures
    for one in kernel, kernel.swapaxes(0, 1):
        blurred = ops.depthwise_conv(blurred, one, data_format="channels_last")
    return pictures[:, radius:-radius, radius:-radius] - blurred


def reduced(pictures, scale):
    """MATLAB's bicubic reduction of (N, H, W, 3), without two pixels along the border."""
    line = imresize(np.eye(8 * scale), 8, 8 * scale)[3]  # the kernel of LR pixel 3
    first, last = np.flatnonzero(line)[[0, -1]]
    line = line[first : last + 1]
    kernel = np.tile(np.outer(line, line)[..., None, None], (1, 1, 3, 1)).astype(np.float32)
    inner = pictures[:, first - scale :, first - scale :]  # from LR pixel 2 on
    return ops.depthwise_conv(inner, kernel, strides=scale, data_format="channels_last")


def grid(band, scale):
    """How much a high band (N, H, W, 3) repeats with the period of the scale, in each window.

    Windows are of `WINDOW` x `WINDOW` cells of `scale` x `scale` pixels: in larger ones, dots of
    opposite phase along two edges would cancel.
    """
    magnitudes = ops.mean(_cells(ops.abs(band), scale), axis=-1)  # (N, H', W', scale, scale)
    # A grey level more: else the gradient of a flat window exceeds that of all other terms.
    magnitude = ops.mean(magnitudes, axis=(3, 4), keepdims=True) + 1 / 255
    means = ops.abs(_cells(band, scale)) / magnitude[..., None]
    uneven = ops.mean(ops.abs(magnitudes / magnitude - 1), axis=(3, 4))
    return uneven + 4 * ops.mean(means, axis=(3, 4, 5))


def _cells(band, scale):
    """The mean of all cells of each window: (N, H', W', scale, scale, 3)."""
    sides = ops.shape(band)[1:3]
    window = min(WINDOW, *(length // scale for length in sides))
    rows, columns = (length // (window * scale) for length in sides)
    band = band[:, : rows * window * scale, : columns * window * scale]
    cells = ops.reshape(band, (-1, rows, window, scale, columns, window, scale, 3))
    return ops.transpose(ops.mean(cells, axis=(2, 5)), (0, 1, 3, 2, 4, 5))


def excess(sr, hr):
    """How far the finest band of `sr` goes beyond the largest of `hr` nearby: (N,)."""
    ours, theirs = (ops.abs(high_band(one, FINEST)) for one in (sr, hr))
    allowed = ops.max_pool(theirs, NEARBY, 1, "same", "channels_last")
    return _mean(ops.relu(ours - allowed))


class PerceptualLoss(keras.layers.Layer):
    """The loss (N,) of a list of a result and its original, float32 (N, H, W, 3) in [0, 1].

    The same backward pass trains the discriminator: terms whose values cancel keep the network's
    part of the loss out of the discriminator's gradient.
    """

    def __init__(self, scale, features=""):
        super().__init__(dtype="float32", name="perceptual")
        self.scale = scale
        self.features, self.discriminator = vgg16(features), discriminator()
        self.steps = self.add_weight(shape=(), initializer="zeros", trainable=False, name="steps")

    def compute_output_shape(self, input_shape):
        return input_shape[0][:1]

    def call(self, inputs):
        sr, hr = inputs
        self.steps.assign(self.steps + 1)
        faithful, adverse = _fork(sr)
        loss = self._faithful(faithful, hr) + self._adversary(adverse, hr)
        ours, theirs = (grid(high_band(one), self.scale) for one in (sr, hr))
        loss += GRID * ops.mean(ops.relu(ours - theirs), axis=(1, 2))
        return loss + EXCESS * excess(sr, hr)

    def _faithful(self, sr, hr):
        loss = L1 * _mean(ops.abs(sr - hr))
        for ours, theirs in zip(self.features(sr), self.features(hr), strict=True):
            ours, theirs = ops.cast(ours, "float32"), ops.cast(theirs, "float32")
            loss = loss + _mean(ops.abs(ours - theirs)) / (ops.mean(theirs) + 1e-6)
        difference = ops.abs(reduced(sr, self.scale) - reduced(hr, self.scale))
        return loss + AGREEMENT * _mean(difference)

    def _adversary(self, sr, hr):
        real, fake = 4 * high_band(hr), 4 * high_band(sr)
        real_score, fake_score = self.discriminator(real), self.discriminator(fake)
        detached_score = self.discriminator(ops.stop_gradient(fake))
        # The same value twice: only the gradient for the network remains.
        network_loss = _softplus(ops.stop_gradient(real_score) - fake_score)
        network_loss -= _softplus(ops.stop_gradient(real_score) - detached_score)
        is_on = ops.cast(self.steps > ADVERSARY_FROM, "float32")
        return is_on * network_loss + _softplus(detached_score - real_score)


def _mean(values):
    return ops.mean(values, axis=(1, 2, 3))


def _softplus(values):
    return _mean(ops.softplus(values))
