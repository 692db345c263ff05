import numpy as np
import pytest

from superres.images.pixels import to_network, to_pixels


def test_to_pixels_clips_rounds_and_casts():
    values = np.array([-0.2, 0.0, 0.4 / 255, 0.5 / 255, 254.5 / 255, 1.0, 7.0])
    assert to_pixels(values).tolist() == [0, 0, 0, 1, 255, 255, 255]
    assert to_pixels(np.array([1.0, 0.5]), np.uint16).tolist() == [65535, 32768]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_pixel_value_survives_the_network_and_back(dtype):
    pixels = np.arange(np.iinfo(dtype).max + 1).astype(dtype)
    np.testing.assert_array_equal(to_pixels(to_network(pixels), dtype), pixels)
