"""The size that pictures are enlarged to: a box, a side or a factor, by networks of whole scales.

A network enlarges by its scale alone. So a picture is enlarged by the next larger one, or by two
in turn, and what they make is reduced, by `images.resize`.
"""

import math
import re
from fractions import Fraction
from typing import NamedTuple

from superres.runtime.errors import InputError

LEAST_SIDE = 16  # pixels that SIZE may name alone: "2x" is meant for a factor
FORMS = '"2560x1440" (a box), "2560x" or "x1440" (a side), or a factor above 1 such as "1.5"'


class Way(NamedTuple):
    """How a picture gets its size.

    Attributes:
        scales: by which networks enlarge it, one after another; none where it is only reduced.
        shape: its new height and width, in pixels.
    """

    scales: tuple
    shape: tuple


class Size(NamedTuple):
    """What was asked for, each 0 where it was not; if nothing was, it is the network's own scale.

    Attributes:
        width, height: of the box, in pixels, into which a picture is fitted.
        factor: of both sides, as a fraction, so that sizes are exact.
    """

    width: int = 0
    height: int = 0
    factor: Fraction = 0

    @classmethod
    def parse(cls, text):
        """Reads a size: "2560x1440", "2560x", "x1440" or "1.5"; an empty text is none.

        Raises:
            InputError: it is none of these.
        """
        if not text:
            return cls()
        sides = re.fullmatch(r"([0-9]{1,9})?[xX×]([0-9]{1,9})?", text)
        if sides and any(sides.groups()):
            width, height = (int(side or 0) for side in sides.groups())
            if bool(width) != bool(height) and max(width, height) < LEAST_SIDE:
                raise InputError(
                    f"SIZE = {text!r}: {width or height} pixels; for a factor write "
                    f'"{width or height}", for a side expected at least {LEAST_SIDE}'
                )
            if all(side is None or int(side) for side in sides.groups()):
                return cls(width, height)
        elif re.fullmatch(r"[0-9]{1,9}(\.[0-9]{0,9})?", text) and Fraction(text) > 1:
            return cls(factor=Fraction(text))
        raise InputError(f"SIZE = {text!r}: expected {FORMS}")

    def of(self, height, width):
        """The factor for a picture of this size, and its new height and width."""
        if self.factor:
            factor = self.factor
        else:
            sides = ((self.width, width), (self.height, height))
            factor = min(Fraction(new, old) for new, old in sides if new)
        half = Fraction(1, 2)
        return factor, tuple(max(1, math.floor(side * factor + half)) for side in (height, width))

    def way(self, height, width, scales):
        """How a picture gets this size.

        Args:
            height, width: of the picture.
            scales: of the networks that there are.

        Returns:
            `Way`.

        Raises:
            InputError: two networks do not enlarge so much.
        """
        if self == Size():
            (scale,) = scales
            return Way((scale,), enlarged_shape((height, width), scale))
        factor, shape = self.of(height, width)
        if shape[0] <= height and shape[1] <= width:
            return Way((), shape)
        return Way(passes(factor, scales), shape)


def passes(factor, scales):
    """By which scales to enlarge in turn, so that the result is at least `factor` times as large.

    One where one is enough. Else the largest first and the smallest that is enough behind it: on
    Set5 and Set14, made six times as large, 4 and 2 have 0.08 and 0.04 dB more than 2 and 3, for
    three times the work.

    Raises:
        InputError: two are not enough.
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
    """Of a picture (H, W[, C]) that a network has enlarged."""
    return (scale * shape[0], scale * shape[1], *shape[2:])
