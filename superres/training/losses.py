"""Losses of HR pixels, uint8 (N, H, W, 3), and the network's output, float32 about in [0, 1]."""

import numpy as np

from superres.runtime.backend import keras

SSIM_WINDOW = 11  # pixels a side of the Gaussian window
SSIM_SHARE = 0.84  # of 1 - SSIM in the mixed loss; the rest is L1
# From RGB to JPEG's Y, Cb and Cr, one a column; and the weights of these three.
YCBCR = np.float32(
    [[0.299, -0.168736, 0.5], [0.587, -0.331264, -0.418688], [0.114, 0.5, -0.081312]]
)
YCBCR_SHARES = np.float32([2, 0.5, 0.5])


def mean_absolute_error(hr, sr):
    """L1."""
    hr = keras.ops.cast(hr, "float32") / 255
    return keras.ops.mean(keras.ops.abs(hr - sr), axis=(1, 2, 3))


def luma_and_chroma_error(hr, sr):
    """L1 in YCbCr; Y counts four times as much as Cb or Cr.

    JPEGs have lost most of their chroma, so in RGB most of the error cannot be restored.
    """
    error = keras.ops.matmul(keras.ops.cast(hr, "float32") / 255 - sr, YCBCR)
    return keras.ops.mean(keras.ops.abs(error) * YCBCR_SHARES, axis=(1, 2, 3))


def ssim(x, y):
    """Structural similarity of two float32 batches in [0, 1], mean of the channels.

    Wang et al., 2004, as in `metrics.ssim`: Gaussian window of 11x11 with sigma 1.5, K1 = 0.01,
    K2 = 0.03, over the pixels around which the window fits.
    """
    channels = x.shape[-1]
    offsets = np.arange(SSIM_WINDOW) - SSIM_WINDOW // 2
    window = np.exp(-(offsets**2) / (2 * 1.5**2))
    window = np.tile((window / window.sum())[:, None, None, None], (1, 1, 5 * channels, 1))
    column = keras.ops.convert_to_tensor(window, "float32")  # (11, 1, 5 C, 1)
    row = keras.ops.transpose(column, (1, 0, 2, 3))
    # All five means in one pass. Values around 0 lose fewer digits in the differences below,
    # and the moments about any point give the same variances.
    u, v = x - 0.5, y - 0.5
    means = keras.ops.concatenate([u, v, u * u, v * v, u * v], axis=-1)
    for kernel in (column, row):
        means = keras.ops.depthwise_conv(means, kernel, data_format="channels_last")
    mean_u, mean_v, uu, vv, uv = keras.ops.split(means, 5, axis=-1)
    var_x, var_y, covariance = uu - mean_u**2, vv - mean_v**2, uv - mean_u * mean_v
    mean_x, mean_y = mean_u + 0.5, mean_v + 0.5
    c1, c2 = 0.01**2, 0.03**2
    similarity = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / (
        (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
    )
    return keras.ops.mean(similarity, axis=(1, 2, 3))


def ssim_and_absolute_error(hr, sr):
    """0.84 (1 - SSIM) + 0.16 L1, after Zhao et al., "Loss Functions for Image Restoration with
    Neural Networks", 2017, with SSIM of one scale.
    """
    similarity = ssim(keras.ops.cast(hr, "float32") / 255, sr)
    return SSIM_SHARE * (1 - similarity) + (1 - SSIM_SHARE) * mean_absolute_error(hr, sr)


PERCEPTUAL = "perceptual"
LOSSES = {
    "l1": mean_absolute_error,
    "l1_ycbcr": luma_and_chroma_error,
    "ssim_l1": ssim_and_absolute_error,
}


def for_trainer(name, scale, features):
    """What `Trainer` takes: a name in `LOSSES` as it is, for "perceptual" a `PerceptualLoss`."""
    if name != PERCEPTUAL:
        return name
    from superres.training.perceptual import PerceptualLoss  # here, since importing it loads Keras

    return PerceptualLoss(scale, features)
