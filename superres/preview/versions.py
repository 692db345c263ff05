"""Versions of a detail, each by another network or option, to choose by looking."""

import time
from typing import NamedTuple

import cv2
import numpy as np

from superres.images.quality import CLEAN, RANGES, Condition, describe
from superres.images.resize import upscale_bicubic
from superres.runtime.errors import InputError

SIDE, MARGIN = 384, 64  # LR pixels of a detail, and of what is computed around it
# By how much the stronger versions differ from the estimate.
LESS_QUALITY, MORE_NOISE, MORE_BLUR = 25, 3, 0.4


class Version(NamedTuple):
    """A detail, enlarged in one way."""

    name: str
    settings: dict  # of output.py, by name in lower case, that make it
    picture: np.ndarray | None = None  # uint8 (H, W, 3); `None`: see `note`
    seconds: float = 0.0  # per megapixel of the input
    note: str = ""
    is_default: bool = False  # made without any option


def settings_to_try(condition):
    """Settings by names, for a picture of this `Condition`."""
    quality = max(RANGES["quality"][0], round(100 * condition.quality) - LESS_QUALITY)
    return {
        "clean": {"content": "clean"},
        "photo": {"content": "photo"},
        "wild": {"content": "wild"},
        "cleaner": {"quality": quality},
        "smoother": {"noise": min(RANGES["noise"][1], round(condition.noise + MORE_NOISE))},
        "crisper": {"blur": min(RANGES["blur"][1], round(condition.blur + MORE_BLUR, 1))},
        "large": {"network": "large"},
        "self-ensemble": {"self_ensemble": True},
        "sharp": {"sharpness": 0.7},
        "very sharp": {"sharpness": 1.0},
    }


def find_part(picture, middle=""):
    """Left, top, width and height of a detail, around `middle` or where gradients are largest.

    `picture` is uint8 (H, W, 3), `middle` "X,Y" in pixels.
    """
    height, width = (min(SIDE, length) for length in picture.shape[:2])
    if middle:
        sides = zip(map(int, middle.split(",")), picture.shape[1::-1], (width, height), strict=True)
        left, top = (min(max(0, at - side // 2), length - side) for at, length, side in sides)
    else:
        grey = picture.astype(np.float32).mean(axis=2)
        total = cv2.integral(np.hypot(cv2.Sobel(grey, -1, 1, 0), cv2.Sobel(grey, -1, 0, 1)))
        rows = total[height:] - total[: len(total) - height]
        sums = rows[:, width:] - rows[:, : total.shape[1] - width]
        top, left = map(int, np.unravel_index(np.argmax(sums), sums.shape))
    return left, top, width, height


def timed(upscaler, picture, condition):
    """A picture, enlarged, and the seconds that it takes per megapixel of the input."""
    upscaler.enlarge(picture, condition=condition)  # compiles
    began = time.perf_counter()
    enlarged = upscaler.enlarge(picture, condition=condition)
    return enlarged, (time.perf_counter() - began) * 1e6 / picture[..., 0].size


class Versions:
    """Makes the versions of details.

    Args:
        options: `NetworkOptions` of utils.py; each version changes one of them.
        known: fields of `Condition` for all pictures.
    """

    def __init__(self, options, known):
        self._options, self._known, self._loaded = options, known, {}

    def select(self, changes, scale, condition):
        """The `Network` of changed settings, and what that takes of a picture's `Condition`."""
        units = {"quality": 100}
        fields = {n: value / units.get(n, 1) for n, value in changes.items() if n in RANGES}
        known = self._known | fields
        others = {name: value for name, value in changes.items() if name not in RANGES}
        options = self._options._replace(**others).for_known(known)
        if (options, scale) not in self._loaded:
            self._loaded[options, scale] = options.load(scale)
        network, known = self._loaded[options, scale].select(condition._replace(**known))
        return network, Condition(*known[: network.upscaler.conditions])

    def of(self, picture, box, scale, condition):
        """Yields the `Version`s of the detail `box` of a picture, uint8 (H, W, 3)."""
        x, y, width, height = box
        left, top = max(0, x - MARGIN), max(0, y - MARGIN)
        part = picture[top : y + height + MARGIN, left : x + width + MARGIN]
        rows, columns = (
            slice(scale * start, scale * (start + length))
            for start, length in ((y - top, height), (x - left, width))
        )
        yield Version("bicubic", {}, upscale_bicubic(part, scale)[rows, columns])
        made, default = {}, _key(*self.select({}, scale, condition))
        condition = condition._replace(**self._known)
        for name, settings in settings_to_try(condition).items():
            try:
                network, known = self.select(settings, scale, condition)
            except InputError as error:
                yield Version(name, settings, note=str(error))
                continue
            if settings.keys() & set(Condition._fields[network.upscaler.conditions :]):
                continue  # the network does not take it
            key = _key(network, known)
            if (same := made.setdefault(key, name)) != name:
                yield Version(name, settings, note=f"the same as {same}")
                continue
            enlarged, seconds = timed(network.upscaler, part, known)
            note = network.path.name + f", {describe(known)}" * (known != CLEAN)
            note += f", sharpness {network.mix[1]:g}" if network.mix else ""
            note += ", the default" * (key == default)
            yield Version(name, settings, enlarged[rows, columns], seconds, note, key == default)


def _key(network, condition):
    return network.path, network.mix, network.upscaler.self_ensemble, condition
