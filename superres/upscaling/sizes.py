"""The size that pictures are enlarged to: a box, a side or a factor.

A picture is enlarged by the next larger scale of a network, or by two scales one after the other,
and then reduced by `images.resize`.
"""

import math
import re
from fractions import Fraction
from typing import NamedTuple

from superres.runtime.errors import InputError

MIN_SIDE = 16  # pixels: "2x" means a factor
FORMS = '"2560x1440" (a box), "2560x" or "x1440" (a side), or a factor above 1 such as "1.5"'


class Route(NamedTuple):
    """How a picture gets its size."""

    scales: tuple  # of the networks, one after the other; empty: it is only reduced
    shape: tuple  # new height and width, in pixels


class Size(NamedTuple):
    """A box, a side or a factor; the others are 0. All 0: the network's own scale."""

    width: int = 0  # of the box that pictures are fitted into, in pixels
    height: int = 0
    factor: Fraction = 0  # a fraction, so that sizes are exact

    @classmethod
    def parse(cls, text):
        """A size from "2560x1440", "2560x", "x1440", "1.5" or ""; InputError: something else."""
        if not text:
            return cls()
        sides = re.fullmatch(r"([0-9]{1,9})?[xX×]([0-9]{1,9})?", text)
        if sides and any(sides.groups()):
            width, height = (int(side or 0) for side in sides.groups())
            if bool(width) != bool(height) and max(width, height) < MIN_SIDE:
                raise InputError(
                    f"SIZE = {text!r}: {width or height} pixels; for a factor write "
                    f'"{width or height}", for a side expected at least {MIN_SIDE}'
                )
            if all(side is None or int(side) for side in sides.groups()):
                return cls(width, height)
        elif re.fullmatch(r"[0-9]{1,9}(\.[0-9]{0,9})?", text) and Fraction(text) > 1:
            return cls(factor=Fraction(text))
        raise InputError(f"SIZE = {text!r}: expected {FORMS}")

    def fit(self, height, width):
        """The factor for a picture of this height and width, and its new ones."""
        if self.factor:
            factor = self.factor
        else:
            sides = ((self.width, width), (self.height, height))
            factor = min(Fraction(new, old) for new, old in sides if new)
        half = Fraction(1, 2)
        return factor, tuple(max(1, math.floor(side * factor + half)) for side in (height, width))

    def route(self, height, width, scales):
        """The `Route` of a picture by networks of `scales`; InputError: two are not enough."""
        if self == Size():
            (scale,) = scales
            return Route((scale,), enlarged_shape((height, width), scale))
        factor, shape = self.fit(height, width)
        if shape[0] <= height and shape[1] <= width:
            return Route((), shape)
        return Route(passes(factor, scales), shape)


def passes(factor, scales):
    """One or two scales that enlarge by at least `factor`; InputError: two are not enough.

    Of two the largest comes first: on Set5 and Set14 at x6, 4 and 2 have 0.08 and 0.04 dB more than
    2 and 3, for three times the work.
    """
    scales = sorted(scales)
    for before in (), (scales[-1],):
        for scale in scales:
            if math.prod((*before, scale)) >= factor:
                return (*before, scale)
    raise InputError(
        f"{float(factor):g} times as large: expected {scales[-1] ** 2} at most, in two passes of "
        f"the networks in use ({', '.join(f'x{scale}' for scale in scales)})"
    )


def enlarged_shape(shape, scale):
    """Shape (H, W[, C]) of a picture enlarged by a network of `scale`."""
    return (scale * shape[0], scale * shape[1], *shape[2:])
