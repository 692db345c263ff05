"""Tiles of a picture, and their halo.

A tile is computed with a halo of surrounding pixels, so that it is as if the whole picture were
computed. `Graph.radius` bounds the halo. Far pixels count so little that a trained network needs a
much smaller one: `measure_halo`.
"""

import itertools
import math
from dataclasses import dataclass, replace

import numpy as np

HALO_TOLERANCE = 0.001  # grey levels by which a measured halo may change the result
MEASURED_SIDE = 64  # LR pixels of a picture that a halo is measured on
# For networks of unknown radius: the largest halo, side of the centre, and number of pictures.
FAR, FAR_SIDE, FAR_PICTURES = 64, 16, 2


def centre_with_halo(run, lr, halo, radius):
    """The centre of `lr`, all but `radius` pixels a side, computed with `halo` pixels around it."""
    cut = radius - halo
    window = lr[cut : lr.shape[0] - cut, cut : lr.shape[1] - cut]
    sr = run(window)
    margin = halo * (sr.shape[0] // window.shape[0])
    return sr[margin : sr.shape[0] - margin, margin : sr.shape[1] - margin]


def measure_halo(run, radius, pictures, multiple_of=1):
    """The smallest halo that changes none of `pictures` by more than `HALO_TOLERANCE`.

    At most `radius`; if that is `None`, at most `FAR`, or `None` if even `FAR` is too small.

    Args:
        run: the network in float32: (H, W, 3) to (scale * H, scale * W, 3).
        radius: `Traits.halo`.
        pictures: list of float32 (H, W, 3) in [0, 1], photographs, of which the middle is taken.
            Those of at most 2 * `radius` pixels are skipped; without any the halo is `radius`.
        multiple_of: of the halo, and of height and width of pictures.
    """
    is_known = radius is not None
    reach = radius if is_known else rounded_up(2 * FAR, multiple_of)
    if not is_known:  # few pictures, since it takes long, and far borders
        side = rounded_up(2 * reach + FAR_SIDE, multiple_of)
        pictures = [_fill(lr, side) for lr in pictures[:FAR_PICTURES]]
    pictures = [_middle(lr, 2 * reach + MEASURED_SIDE) for lr in pictures]
    pictures = [lr for lr in pictures if min(lr.shape[:2]) > 2 * reach]
    exact = [centre_with_halo(run, lr, reach, reach) for lr in pictures]

    def is_enough(halo):
        # Two halos, so that strides begin at different pixels.
        return all(
            255 * np.abs(centre_with_halo(run, lr, some, reach) - sr).max() <= HALO_TOLERANCE
            for lr, sr in zip(pictures, exact, strict=True)
            for some in ((halo,) if is_known else (halo, halo + multiple_of))
        )

    too_small, enough = 0, (radius if is_known else rounded_up(FAR, multiple_of)) // multiple_of
    if not is_known and not is_enough(enough * multiple_of):
        return None
    while pictures and enough - too_small > 1:
        halo = (too_small + enough) // 2
        if is_enough(halo * multiple_of):
            enough = halo
        else:
            too_small = halo
    return enough * multiple_of


def _fill(lr, side):
    """A picture mirrored at its borders until it has `side` pixels a side."""
    missing = [max(0, side - length) for length in lr.shape[:2]]
    return np.pad(lr, [(0, n) for n in missing] + [(0, 0)], mode="symmetric")[:side, :side]


def _middle(lr, size):
    top, left = (max(0, length - size) // 2 for length in lr.shape[:2])
    return lr[top : top + size, left : left + size]


def window_length(length, tile_size, halo, step=1, most_split=math.inf):
    """Length of the windows, tiles with halos, into which a line of `length` pixels is cut.

    All are equal, since each size costs an engine time: a multiple of `step`, or the whole line.
    A line that would be one window, but no multiple of `step`, is split if both windows together
    are at most `most_split` times as long.
    """
    count = math.ceil(length / tile_size)

    def size_of(count):
        return rounded_up(math.ceil((length + 2 * halo * (count - 1)) / count), step)

    if count == 1 and length % step and 2 * size_of(2) <= most_split * length:
        count = 2
    return min(size_of(count), length)


def rounded_up(length, step):
    return -(-length // step) * step


def cuts(length, tile_size, halo, step=1, most_split=math.inf):
    """Tiles (first, last + 1) of a line in windows of `window_length`; outer ones are longer."""
    size = window_length(length, tile_size, halo, step, most_split)
    if size == length:
        return [(0, length)]
    ends = [*range(size - halo, length - halo, size - 2 * halo), length]
    return list(itertools.pairwise([0, *ends]))


def window(tile, length, halo, size=0):
    """The window (first, last + 1) of a tile, widened to `size`."""
    first, end = max(tile[0] - halo, 0), min(tile[1] + halo, length)
    size = min(max(end - first, size), length)
    first = min(first, length - size)
    return first, first + size


@dataclass(frozen=True)
class TilePlan:
    """How a picture of `height` and `width` LR pixels is cut into tiles."""

    height: int
    width: int
    tile_size: int  # largest side of inner tiles, in LR pixels
    halo: int  # LR pixels around a tile that are computed with it, within the picture
    steps: tuple = (1, 1)  # height and width of windows are multiples of these
    most_split: float = math.inf  # see `window_length`
    bytes_per_pixel: int = 0  # memory for each LR pixel of a window

    def rows(self, done=0):
        """Rows (first, last + 1) of the tiles below the first `done` rows."""
        tiles = cuts(self.height - done, self.tile_size, self.halo, self.steps[0], self.most_split)
        return [(done + first, done + end) for first, end in tiles]

    def columns(self):
        return cuts(self.width, self.tile_size, self.halo, self.steps[1], self.most_split)

    def window(self, rows, columns):
        """Rows and columns of a tile with its halo."""
        height, width = self.window_shape
        return (
            window(rows, self.height, self.halo, height),
            window(columns, self.width, self.halo, width),
        )

    @property
    def window_shape(self):
        """Height and width of all windows."""
        return tuple(
            window_length(length, self.tile_size, self.halo, step, self.most_split)
            for length, step in zip((self.height, self.width), self.steps, strict=True)
        )

    def __len__(self):
        return len(self.rows()) * len(self.columns())

    @property
    def extra_work(self):
        """Pixels computed more than once, as a share of the picture."""
        return len(self) * math.prod(self.window_shape) / (self.height * self.width) - 1

    @property
    def memory(self):
        """Bytes that one window takes."""
        return math.prod(self.window_shape) * self.bytes_per_pixel

    def smaller(self, at_least=1):
        """A plan with tiles half as long; MemoryError: a tile is one pixel."""
        longest = min(self.tile_size, max(self.height, self.width))
        if longest < 2:
            raise MemoryError("not enough memory for a tile of one pixel")
        return replace(self, tile_size=max(at_least, math.ceil(longest / 2)))
