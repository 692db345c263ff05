import numpy as np
import pytest

from superres.runtime.backend import keras
from superres.scoring import metrics
from superres.training.losses import LOSSES, mean_absolute_error, ssim, ssim_and_absolute_error
from support import smooth_picture


def to_numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


def test_l1_is_the_mean_absolute_error_in_units_of_full_scale():
    hr = np.array([[[[255, 0, 51]]]], np.uint8)
    loss = mean_absolute_error(keras.ops.convert_to_tensor(hr), np.float32([[[[0.5] * 3]]]))
    assert to_numpy(loss).tolist() == pytest.approx([(0.5 + 0.5 + 0.3) / 3])


def test_l1_in_ycbcr_weighs_luma_four_times_as_much_as_chroma():
    def loss(change):
        sr = np.float32([[[[0.4, 0.5, 0.6]]]])
        hr = 255 * (sr + np.float32(change))
        return to_numpy(LOSSES["l1_ycbcr"](hr, sr)).item()

    assert loss([0, 0, 0]) == pytest.approx(0, abs=1e-6)
    # A change of grey is one of Y alone.
    assert loss([0.1, 0.1, 0.1]) == pytest.approx(0.1 * 2 / 3, rel=1e-3)
    # What changes Cb alone: by 1 / 1.772 of the blue that comes back from it.
    assert loss([0, -0.0344136, 0.1772]) == pytest.approx(0.1 * 0.5 / 3, rel=1e-3)


@pytest.mark.parametrize("noise", [1, 10, 60])
def test_ssim_is_that_of_the_metric(noise):
    random = np.random.default_rng(noise)
    pictures = [smooth_picture(40, 56, seed=n)[..., 0] for n in range(3)]
    noisy = [
        np.clip(p + random.normal(0, noise, p.shape), 0, 255).astype(np.uint8) for p in pictures
    ]
    # Grey pictures are scored as they are, so one channel is what the metric sees.
    expected = [metrics.ssim(p, n, 0) for p, n in zip(pictures, noisy, strict=True)]
    x, y = (np.stack(p)[..., None].astype(np.float32) / 255 for p in (pictures, noisy))
    assert to_numpy(ssim(x, y)).tolist() == pytest.approx(expected, abs=2e-5)


def test_ssim_of_colours_is_the_mean_of_the_channels_and_084_of_the_mixed_loss():
    x, y = (np.float32(smooth_picture(20, 24, seed=n))[None] / 255 for n in (1, 2))
    channels = [to_numpy(ssim(x[..., n : n + 1], y[..., n : n + 1]))[0] for n in range(3)]
    assert to_numpy(ssim(x, y))[0] == pytest.approx(np.mean(channels), abs=1e-6)
    l1 = to_numpy(mean_absolute_error(255 * x, y))[0]
    mixed = to_numpy(ssim_and_absolute_error(255 * x, y))[0]
    assert mixed == pytest.approx(0.84 * (1 - np.mean(channels)) + 0.16 * l1, rel=1e-5)
    for value in 0, 0.5, 1:  # equal, flat and dark
        flat = np.full((1, 16, 16, 3), value, np.float32)
        assert to_numpy(ssim(flat, flat))[0] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_a_picture_can_be_restored_by_descending_the_loss(name):
    hr = smooth_picture(24, 24, seed=1)
    layer = keras.layers.Add()
    pixels = keras.Input((24, 24, 3))
    free = keras.layers.EinsumDense("nabc,abc->nabc", (24, 24, 3), kernel_initializer="ones")
    model = keras.Model(pixels, layer([pixels, free(pixels)]))
    start = np.float32(smooth_picture(24, 24, seed=2) // 4 + 60)[None] / 255
    model.compile(keras.optimizers.Adam(0.02), LOSSES[name])
    first = model.train_on_batch(start, hr[None])
    for _ in range(150):
        last = model.train_on_batch(start, hr[None])
    assert last < first / 5
    assert np.isfinite(model.get_weights()[0]).all()
