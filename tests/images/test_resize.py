import numpy as np
import pytest

from superres.images.pixels import to_network, to_pixels
from superres.images.read import read_rgb
from superres.images.resize import (
    crop_to_multiple,
    downscale,
    imresize,
    resize_bands,
    upscale_bicubic,
)
from support import smooth_picture


def slow_imresize(line, new_length):
    """One line by MATLAB's imresize, written down tap by tap from its definition."""
    ratio = new_length / len(line)
    shrink = min(ratio, 1)

    def kernel(x):
        x = abs(x)
        if x <= 1:
            return 1.5 * x**3 - 2.5 * x**2 + 1
        return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x <= 2 else 0

    resized = []
    for n in range(new_length):
        centre = (n + 0.5) / ratio - 0.5
        total = weight_sum = 0
        for k in range(int(centre - 2 / shrink) - 3, int(centre + 2 / shrink) + 4):
            weight = kernel(shrink * (centre - k))
            mirrored = k % (2 * len(line))
            value = line[min(mirrored, 2 * len(line) - 1 - mirrored)]
            total += weight * value
            weight_sum += weight
        resized.append(int(min(255, max(0, total / weight_sum)) + 0.5))
    return resized


@pytest.mark.parametrize(("length", "new_length"), [(24, 12), (24, 8), (24, 6), (7, 14), (5, 20)])
def test_imresize_follows_the_definition_on_a_line(length, new_length):
    line = np.random.default_rng(length).integers(0, 256, length, dtype=np.uint8)
    expected = slow_imresize([int(v) for v in line], new_length)
    assert imresize(line[:, None], new_length, 1)[:, 0].tolist() == expected
    assert imresize(line[None, :, None], 1, new_length)[0, :, 0].tolist() == expected


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_downscale_is_the_published_set5_bit_for_bit(benchmarks, scale):
    folder = benchmarks / "Set5"
    names = sorted(path.name for path in (folder / "HR").iterdir())
    assert len(names) == 5
    for name in names:
        hr = crop_to_multiple(read_rgb(folder / "HR" / name), scale)
        lr = read_rgb(folder / "LR" / f"x{scale}" / name)
        np.testing.assert_array_equal(downscale(hr, scale), lr, err_msg=name)


def test_resizing_keeps_flat_pictures_and_dtype():
    flat = np.full((12, 18, 3), 40_000, np.uint16)
    assert (downscale(flat, 3) == 40_000).all()
    assert (upscale_bicubic(flat, 2) == 40_000).all()
    assert downscale(flat, 3).shape == (4, 6, 3)
    with pytest.raises(ValueError, match="size 18x12: expected multiples of the scale 5"):
        downscale(flat, 5)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(("height", "width"), [(131, 89), (1, 1), (67, 300), (300, 50), (200, 160)])
def test_picture_in_bands_is_resized_as_a_whole_one(dtype, height, width):
    random = np.random.default_rng(0)
    picture = random.integers(0, np.iinfo(dtype).max + 1, (200, 160, 3), np.uint32).astype(dtype)
    for one in picture, picture[..., 0]:
        bands = np.split(one, [1, 70, 71, 150])
        resized = list(resize_bands(bands, one.shape, height, width))
        np.testing.assert_array_equal(np.concatenate(resized), imresize(one, height, width))
        assert {band.dtype for band in resized} == {np.dtype(dtype)}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("colours", [1, 3])
def test_hidden_colours_do_not_bleed_into_visible_ones(dtype, colours):
    top = np.iinfo(dtype).max
    picture = np.zeros((90, 90, colours + 1), dtype)  # black where it is transparent
    picture[20:70, 20:70, :-1], picture[20:70, 20:70, -1] = top // 2, top
    resized = np.concatenate(list(resize_bands([picture], picture.shape, 61, 53)))
    alpha = resized[..., -1]
    assert 0 in alpha
    assert top in alpha
    assert ((alpha > 0) & (alpha < top)).any()
    assert (resized[alpha > 0][:, :-1] == top // 2).all()
    assert (resized[alpha == 0][:, :-1] <= top // 2).all()


def test_alpha_is_resized_like_any_channel_and_opaque_colours_too():
    picture = smooth_picture(80, 70, 4)
    (resized,) = resize_bands([picture[:60]], (60, 70, 4), 40, 50)
    assert np.abs(resized[..., 3].astype(int) - imresize(picture[:60, :, 3], 40, 50)).max() <= 1
    picture[..., 3] = 255
    (resized,) = resize_bands([picture[:60]], (60, 70, 4), 40, 50)
    assert (resized[..., 3] == 255).all()
    plain = imresize(picture[:60, :, :3], 40, 50).astype(int)
    assert np.abs(resized[..., :3] - plain).max() <= 1  # which is rounded twice


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_pixel_value_survives_the_network_and_back(dtype):
    pixels = np.arange(np.iinfo(dtype).max + 1).astype(dtype)
    np.testing.assert_array_equal(to_pixels(to_network(pixels), dtype), pixels)
    most = pixels[-1]
    values = np.array([-0.2, 0, 0.4 / most, 0.5 / most, 1 - 0.5 / most, 1, 7])
    assert to_pixels(values, dtype).tolist() == [0, 0, 0, 1, most, most, most]
