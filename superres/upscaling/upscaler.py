"""Enlarges pictures of any size by a network, exactly and in bounded memory."""

import math
from dataclasses import replace

import numpy as np

from superres.images.pixels import as_grey, join_bands, to_network, to_pixels
from superres.images.quality import CLEAN, LOSSLESS, QUALITY_RANGE, Condition
from superres.images.resize import upscale_nearest
from superres.runtime import memory
from superres.upscaling import channels, tiling
from superres.upscaling.tiling import TilePlan

PRECISIONS = ("auto", "float32", "bfloat16", "int8")
# LR pixels by which the halo is smaller in bfloat16. Its rounding changes pixels by up to a grey
# level, these three, in six networks, by 0.04 at most.
LESS_IN_BFLOAT16 = 3
MEMORY_SHARE = 0.5  # of the free memory, for one tile's feature maps
# In LR pixels. Tiles below 256 are slower, above 1024 no faster, and some GPU kernels count in 32
# bits.
MIN_TILE, USUAL_TILE, MAX_TILE = 64, 256, 1024
# Conditions that halos are measured at.
HALO_CONDITIONS = (CLEAN, Condition(QUALITY_RANGE[0] / 100), Condition(0.5, 8.0, 1.0, 0.5))


class Upscaler:
    """Enlarges pictures with one network.

    Args:
        network: `KerasNetwork` or `FileNetwork`.
        halo: as `measure_halo` returns it; `None`: that of the network's traits. If that is `None`
            too, pictures are only cut into tiles when memory is short.
        precision: one of `PRECISIONS`; auto: the fastest; for 16-bit pictures float32.
        tile_size: LR pixels; 0: by each picture, the halo and the free memory.
        self_ensemble: average over the eight flips and rotations.

    Attributes:
        scale, radius, halo, precision, self_ensemble: as resolved.
        conditions: how many numbers of a picture's `Condition` the network takes: 0, 1 or 4.
    """

    def __init__(self, network, halo=None, precision="auto", tile_size=0, self_ensemble=False):
        self._is_auto = precision == "auto"
        precision = network.fastest_precision() if self._is_auto else precision
        self.network = network
        self.scale, self.conditions, _, self.radius, self._multiple = network.traits
        self._measured_halo = halo
        self.precision = precision
        self.halo = self._halo_in(precision)
        self.self_ensemble = self_ensemble
        self._compiled = {}
        self._is_fixed = tile_size > 0
        # Smaller once memory ran out.
        self._max_tile = tile_size or self._fitting_tile()
        self._run(self.precision)

    def _run(self, precision):
        if precision not in self._compiled:
            self._compiled[precision] = self.network.compile(precision)
        return self._compiled[precision]

    def _halo_in(self, precision):
        if self._measured_halo is None or self.radius is None:
            return self._measured_halo or self.radius
        halo = self._measured_halo - (LESS_IN_BFLOAT16 if precision == "bfloat16" else 0)
        return min(max(halo, 2), self.radius)  # alpha needs two

    def _precision_for(self, dtype):
        return "float32" if self._is_auto and dtype == np.uint16 else self.precision

    def _fitting_tile(self):
        free = MEMORY_SHARE * self.network.free_memory()
        pixels = free / self.network.bytes_per_pixel(self.precision)
        step = max(self._steps(self.precision))
        window = math.isqrt(int(pixels)) // step * step
        return max(1, min(window - 2 * (self.halo or tiling.FAR), MAX_TILE))

    def _steps(self, precision):
        return tuple(math.lcm(step, self._multiple) for step in self.network.steps(precision))

    def plan(self, shape, dtype=np.uint8, free=math.inf):
        """The `TilePlan` of a picture: the smallest tiles whose halos add little work.

        They cover its sides rounded up to what the network takes. If even small tiles need more
        than `free` bytes, the plan exceeds it.
        """
        precision = self._precision_for(dtype)
        halo, bytes_per_pixel = self._halo_in(precision), self.network.bytes_per_pixel(precision)
        sides = [tiling.rounded_up(side, self._multiple) for side in shape[:2]]
        margin = tiling.rounded_up(halo or tiling.FAR, self._multiple)
        options = self._steps(precision), self.network.most_split, bytes_per_pixel

        def tiles_of(size):
            return TilePlan(*sides, size, margin, *options)

        if halo is None and not self._is_fixed:
            whole = replace(tiles_of(max(sides)), steps=(self._multiple, self._multiple))
            if whole.memory <= min(free, MEMORY_SHARE * self.network.free_memory()):
                return whole
        sizes = () if self._is_fixed else range(USUAL_TILE, self._max_tile, 16)
        plans = map(tiles_of, sizes)
        cheap = (tiles for tiles in plans if tiles.extra_work <= self.network.extra_work)
        tiles = next(cheap, None) or tiles_of(self._max_tile)
        while tiles.memory > free and tiles.tile_size > MIN_TILE:
            tiles = tiles.smaller(MIN_TILE)
        return tiles

    def measure_halo(self, pictures):
        """The halo of this network, in float32, by `tiling.measure_halo`."""

        options = self.radius, pictures, self._multiple

        def measured(condition):
            run = self._network(condition)
            return tiling.measure_halo(lambda lr: run(lr).copy(), *options)

        halos = list(map(measured, HALO_CONDITIONS[: 1 + self.conditions]))
        return None if None in halos else max(halos)

    def _network(self, condition, dtype=np.uint8):
        """The function for one condition: float32 (H, W, 3) to float32."""
        values = condition.values(self.conditions).reshape(1, 1, 1, -1)
        inputs = [values] if self.conditions else []
        run = self._run(self._precision_for(dtype))
        return lambda lr: run(np.ascontiguousarray(lr)[None], *inputs)[0]

    def _tile(self, picture, tiles, rows, columns, most_alpha, condition):
        network = self._network(condition, picture.dtype)
        network = channels.self_ensemble(network) if self.self_ensemble else network
        (top, bottom), (left, right) = tiles.window(rows, columns)
        lr = to_network(picture[top:bottom, left:right])
        sr = channels.enlarge(network, lr, self.scale, most_alpha)
        inner = [
            slice((tile[0] - start) * self.scale, (tile[1] - start) * self.scale)
            for tile, start in ((rows, top), (columns, left))
        ]
        return to_pixels(sr[*inner], picture.dtype)

    def bands(self, picture, tiles=None, on_tile=lambda: None, condition=CLEAN):
        """Enlarges a picture tile by tile, in float32 to 0.01 grey levels as if at once.

        When memory runs out, the rest of this picture, and later ones, get smaller tiles.

        Args:
            picture: uint8 or uint16 (H, W) or (H, W, C) with C = 2, 3 or 4, see `read_picture`.
            tiles: of `plan`.
            on_tile: called after each tile.
            condition: the picture's `Condition`.

        Yields:
            Bands from top to bottom: (rows, scale * W[, C]) of the same dtype.

        Raises:
            MemoryError: no tile is small enough.
        """
        if (grey := as_grey(picture)) is not None:
            yield from self._grey_bands(picture, grey, tiles, on_tile, condition)
            return
        lr = picture[..., None] if picture.ndim == 2 else picture
        has_alpha = lr.shape[2] in (2, 4)
        most_alpha = float(to_network(lr[..., -1].max())) if has_alpha else 1.0
        tiles = tiles or self.plan(picture.shape, picture.dtype)
        height, width = lr.shape[:2]
        beyond = ((0, tiles.height - height), (0, tiles.width - width), (0, 0))
        lr = np.pad(lr, beyond, mode="symmetric") if np.any(beyond) else lr
        remaining = tiles.rows()
        while remaining:
            rows, band = remaining[0], []
            try:
                for columns in tiles.columns():
                    band.append(self._tile(lr, tiles, rows, columns, most_alpha, condition))
                    on_tile()
            except Exception as error:  # each backend has its own kind for this
                if not memory.is_out_of_memory(error):
                    raise
                self._compiled.clear()  # and the memory that it holds
                tiles = tiles.smaller()
                self._max_tile = tiles.tile_size
                remaining = tiles.rows(done=rows[0])
                continue
            band = np.concatenate(band, axis=1)[: self.scale * (height - rows[0])]
            band = band[:, : self.scale * width]
            yield band[..., 0] if picture.ndim == 2 else band
            remaining = remaining[1:]

    def _grey_bands(self, picture, grey, tiles, on_tile, condition):
        """Bands of RGB[A] from the grey channel alone."""
        channels_of, done = [0, 0, 0, 1][: picture.shape[2]], 0
        for band in self.bands(grey, tiles, on_tile, condition):
            band = band.reshape(*band.shape[:2], -1)[..., channels_of]
            if condition.quality >= LOSSLESS:  # a faint tint is no artefact then
                lr = picture[done : done + len(band) // self.scale, :, :3].astype(np.int32)
                colours = band[..., :3] + upscale_nearest(lr - lr[..., 1:2], self.scale)
                band[..., :3] = np.clip(colours, 0, np.iinfo(band.dtype).max)
            done += len(band) // self.scale
            yield band

    def enlarge(self, picture, tiles=None, on_tile=lambda: None, condition=CLEAN):
        """As `bands`, but returns the whole picture: (scale * H, scale * W[, C])."""
        height, width, *colours = picture.shape
        shape = (self.scale * height, self.scale * width, *colours)
        return join_bands(self.bands(picture, tiles, on_tile, condition), shape, picture.dtype)
