"""Pictures of test sets: HR and LR as 8 bits without transparency."""

import cv2
import numpy as np

from superres.images.pixels import to_8bit
from superres.images.read import read_picture
from superres.images.resize import crop_to_multiple, downscale
from superres.runtime.errors import InputError
from superres.scoring import metrics


def read_noted(path, notes, what):
    """A picture as uint8, grey or RGB; adds what it changed to `notes`."""
    pixels, _ = read_picture(path)
    if pixels.dtype == np.uint16:
        notes.append(f"{what} of 16 bits, rounded to 8")
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4):
        notes.append(f"transparency of {what} left out")
    return to_8bit(pixels)


def in_colours_of(picture, hr, notes, what):
    """A picture as grey or RGB, like the original; adds what it changed to `notes`."""
    if picture.ndim == hr.ndim:
        return picture
    if hr.ndim == 3:
        notes.append(f"{what} is grey, the original is not")
        return np.repeat(picture[..., None], 3, axis=2)
    notes.append(f"{what} reduced to grey, as the original is")
    return cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)  # equal channels stay what they are


def read_pair(pair, scale):
    """HR, cropped to a multiple of the scale, LR, and a list of notes."""
    notes = []
    whole = read_noted(pair.hr, notes, "original")
    hr = crop_to_multiple(whole, scale)
    smallest = 2 * (scale + metrics.SSIM_RADIUS) + 1
    if min(hr.shape[:2]) < smallest:
        raise InputError(
            f"{hr.shape[1]}x{hr.shape[0]} in multiples of {scale}: expected at least "
            f"{smallest}x{smallest} to be scored"
        )
    if pair.lr is None:
        return hr, downscale(hr, scale), notes
    if not pair.lr.is_file():
        raise InputError(f"its LR picture is missing: expected {pair.lr}")
    lr = in_colours_of(read_noted(pair.lr, notes, "LR"), hr, notes, "LR")
    expected = (hr.shape[0] // scale, hr.shape[1] // scale)
    if lr.shape[:2] != expected:
        raise InputError(
            f"its LR picture {pair.lr} has {lr.shape[1]}x{lr.shape[0]} pixels: expected "
            f"{expected[1]}x{expected[0]}, the original's {whole.shape[1]}x{whole.shape[0]} "
            f"divided by {scale}"
        )
    return hr, lr, notes
