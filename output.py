"""core"""
import keras
import numpy as np

import utils


def receptive_radius(model):
    """Distance in LR pixels from which a pixel of the input can still change the output.

    The sum over all convolutions of how far each one reaches: exact for a chain with
    shortcuts such as ours, never too small for any network of 3x3 convolutions and
    upscaling.
    """
    return 1 + sum(
        layer.kernel_size[0] // 2
        for layer in model.layers
        if isinstance(layer, keras.layers.Conv2D)
    )


def has_gpu():
    """Whether the backend sees a GPU."""
    return bool(keras.distribution.list_devices("gpu"))


def model_scale(model):
    return model.compute_output_shape((1, 8, 8, 3))[1] // 8


def windows(length, tile, halo):
    """Cuts a line of `length` pixels into windows of one size that overlap by their halos.

    Yields:
        (start, stop) of the window, (start, stop) of the part that it answers for.
    """
    size = min(tile + 2 * halo, length)
    for first in range(0, length, tile):
        start = min(max(first - halo, 0), length - size)
        yield (start, start + size), (first, min(first + tile, length))


def enlarge(model, picture, tile_size=512, on_tile=lambda: None):
    """(H, W, 3) -> (sH, sW, 3)"""
    scale = model_scale(model)
    halo = receptive_radius(model)
    height, width = picture.shape[:2]
    enlarged = np.empty((height * scale, width * scale, 3), picture.dtype)
    for (top, bottom), (first_row, last_row) in windows(height, tile_size, halo):
        for (left, right), (first_column, last_column) in windows(width, tile_size, halo):
            lr = utils.to_network(picture[None, top:bottom, left:right])
            sr = keras.ops.convert_to_numpy(model.predict_on_batch(lr))[0]
            rows = slice((first_row - top) * scale, (last_row - top) * scale)
            columns = slice((first_column - left) * scale, (last_column - left) * scale)
            enlarged[
                first_row * scale : last_row * scale, first_column * scale : last_column * scale
            ] = utils.to_pixels(sr[rows, columns], picture.dtype)
            on_tile()
    return enlarged
