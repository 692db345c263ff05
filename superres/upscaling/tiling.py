"""Tiles of a picture, and their halo.

A tile is computed with a halo of its surroundings, to come out as from the whole picture. The graph
bounds the halo: `Graph.radius`. Far pixels count so little that a trained network needs much less:
`measure_halo`.
"""

import itertools
import math
from dataclasses import dataclass, replace

import numpy as np

HALO_TOLERANCE = 0.001  # grey levels by which a measured halo may change the result
MEASURED_SIDE = 64  # LR pixels of a picture that a halo is measured on
# Where the radius is not known: the largest halo, LR pixels a side of the centre, and pictures.
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

    It is at most `radius`, or where that is not known `FAR`; `None` where even `FAR` is too little.

    Args:
        run: the network in float32: (H, W, 3) to (scale * H, scale * W, 3).
        radius: `Traits.halo`: LR pixels beyond which nothing counts; `None`: not known.
        pictures: list of float32 (H, W, 3) in [0, 1], photographs, of which the middle is taken.
            Those not larger than 2 * `radius` are skipped; with none left the halo is `radius`.
        multiple_of: of the halo, and of height and width of pictures.
    """
    is_known = radius is not None
    reach = radius if is_known else rounded_up(2 * FAR, multiple_of)
    if not is_known:  # of few pictures, since it takes long, and with borders far away
        side = rounded_up(2 * reach + FAR_SIDE, multiple_of)
        pictures = [_fill(lr, side) for lr in pictures[:FAR_PICTURES]]
    pictures = [_middle(lr, 2 * reach + MEASURED_SIDE) for lr in pictures]
    pictures = [lr for lr in pictures if min(lr.shape[:2]) > 2 * reach]
    exact = [centre_with_halo(run, lr, reach, reach) for lr in pictures]

    def is_enough(halo):
        # With two halos, so that strides begin at different pixels.
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
    """Length of the windows, all equal, that a line of `length` pixels is computed by.

    Each new size costs an engine time. There are as many windows as tiles of `tile_size`, with
    `halo` pixels at both sides, of a multiple of `step`, or the whole line. A line that would be
    one window, and no multiple of `step`, is split if both are at most `most_split` times its
    length.
    """
    count = math.ceil(length / tile_size)

    def size_of(count):
        return rounded_up(math.ceil((length + 2 * halo * (count - 1)) / count), step)

    if count == 1 and length % step and 2 * size_of(2) <= most_split * length:
        count = 2
    return min(size_of(count), length)


def rounded_up(length, step):
    """The smallest multiple of `step` that is not below `length`."""
    return -(-length // step) * step


def cuts(length, tile_size, halo, step=1, most_split=math.inf):
    """Tiles (first, last + 1) of a line by windows of `window_length`; outer ones are longer."""
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
    tile_size: int  # LR pixels a side, at most, of tiles inside of the picture
    halo: int  # LR pixels around a tile that are computed with it, as far as the picture goes
    steps: tuple = (1, 1)  # height and width of windows, tile and halo, are multiples of these
    most_split: float = math.inf  # see `window_length`
    bytes_per_pixel: int = 0  # of a window, while it is computed

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
        """Pixels that are computed twice, as a share of the picture's."""
        return len(self) * math.prod(self.window_shape) / (self.height * self.width) - 1

    @property
    def memory(self):
        """Bytes for one tile."""
        return math.prod(self.window_shape) * self.bytes_per_pixel

    def smaller(self, at_least=1):
        """The same with tiles half as long, or of `at_least`; MemoryError: a tile is one pixel."""
        longest = min(self.tile_size, max(self.height, self.width))
        if longest < 2:
            raise MemoryError("not enough memory for a tile of one pixel")
        return replace(self, tile_size=max(at_least, math.ceil(longest / 2)))
