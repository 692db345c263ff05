"""A trained network that enlarges pictures of any size, exactly and in bounded memory."""

import math

import cv2
import numpy as np

from superres.images.pixels import to_network, to_pixels
from superres.runtime import backend, memory
from superres.runtime.backend import keras
from superres.upscaling import graph, tiling

PRECISIONS = ("auto", "float32", "bfloat16")
EXTRA_WORK = 0.15  # share of a picture's pixels that the halo may add, where memory allows
MEMORY_SHARE = 0.5  # of the free memory, for one tile's feature maps
# LR pixels a side, where the tile is chosen here: below 256 the network is slower, above
# 1024 nothing is gained, and some GPU kernels can no longer count in 32 bits.
SMALLEST_TILE, USUAL_TILE, LARGEST_TILE = 64, 256, 1024
WINDOW_STEP = 64  # under JAX, which compiles each size anew, windows are multiples of it


def in_precision(model, precision):
    """The same network with its feature maps in `precision`.

    The last convolution and what follows it stay in float32, as do all weights: pixels
    emitted in bfloat16 cost 0.03 dB.

    Args:
        model: network as `network.edsr` builds it; not changed.
        precision: "float32" or "bfloat16".

    Returns:
        `keras.Model` with weights of its own; `model` itself if it is in float32 and to
        remain so.
    """
    policies = {layer.dtype_policy.name for layer in model.layers}
    if precision == "float32" and policies == {"float32"}:
        return model
    producers = {id(operation.output): operation for operation in model.operations}
    emitting, behind = set(), [model.output]
    while behind:
        operation = producers[id(behind.pop())]
        emitting.add(operation.name)
        if not isinstance(operation, keras.layers.Conv2D):
            behind += keras.tree.flatten(operation.input)

    def clone(layer):
        config = layer.get_config()
        if isinstance(layer, keras.layers.Layer):
            in_float32 = precision == "float32" or layer.name in emitting
            config["dtype"] = "float32" if in_float32 else "mixed_bfloat16"
        return type(layer).from_config(config)

    copy = keras.models.clone_model(model, clone_function=clone)
    copy.set_weights(model.get_weights())
    return copy


class Upscaler:
    """Enlarges pictures with one network.

    Args:
        model: network from RGB (N, H, W, 3) in [0, 1] to (N, scale * H, scale * W, 3).
        halo: LR pixels around a tile that are computed with it, see `tiling.measured_halo`;
            `None` for all that the network looks at.
        precision: "float32", "bfloat16", or "auto" for bfloat16 where it is faster; then
            pictures of 16 bits, which are finer than it, are still computed in float32.
        tile_size: LR pixels a side, at least 1; 0 chooses one for each picture, by the halo
            and the free memory.
        self_ensemble: average the results of the eight flips and turns of the picture:
            a little better, eight times slower.

    Attributes:
        scale, radius, halo, precision, self_ensemble: as they came out.
        largest_tile: LR pixels a side; less while memory is short, or once it ran out.
        model: the network in its precision.
        parameters: number of weights.
        step: what the windows' sides are multiples of.

    Raises:
        ValueError: the network does not enlarge RGB, or cannot be cut into tiles.
    """

    def __init__(self, model, halo=None, precision="auto", tile_size=0, self_ensemble=False):
        self._is_auto = precision == "auto"
        if self._is_auto:
            precision = "bfloat16" if backend.has_fast_bfloat16() else "float32"
        self.scale = graph.scale_of(model)
        self.radius = graph.receptive_radius(model)
        # Alpha's edges are looked for two pixels around.
        self.halo = self.radius if halo is None else min(max(halo, 2), self.radius)
        self.precision = precision
        self.self_ensemble = self_ensemble
        self.parameters = model.count_params()
        self.step = 1 if backend.is_free_of_sizes() else WINDOW_STEP
        self.model = in_precision(model, precision)
        self._run = backend.compiled(self.model)
        self._original, self._for_deep = model, None
        self._is_fixed = tile_size > 0
        self.largest_tile = self._limit = tile_size or self._fitting_tile()

    def _in_float32(self):
        """An `Upscaler` like this one, but in float32."""
        if self._for_deep is None:
            self._for_deep = Upscaler(
                self._original, self.halo, "float32", self._limit, self.self_ensemble
            )
            self._for_deep._is_fixed = self._is_fixed
        self._for_deep.largest_tile = min(self._for_deep._limit, self.largest_tile)
        return self._for_deep

    def _fitting_tile(self):
        """The largest tile that memory allows."""
        pixels = MEMORY_SHARE * memory.free_device_memory() / graph.bytes_per_pixel(self.model)
        return max(1, min(math.isqrt(int(pixels)) - 2 * self.halo, LARGEST_TILE))

    def tile_for(self, height, width):
        """The smallest tile whose halo costs this picture little, up to the largest allowed."""
        if not self._is_fixed:
            for size in range(USUAL_TILE, self.largest_tile, 16):
                if self._extra_work(height, width, size) <= EXTRA_WORK:
                    return size
        return self.largest_tile

    def _extra_work(self, height, width, tile_size):
        return tiling.extra_work(height, width, tile_size, self.halo, self.step)

    def extra_work(self, height, width):
        """Pixels computed beyond the picture's own, as a share of them."""
        return self._extra_work(height, width, self.tile_for(height, width))

    def grid(self, height, width):
        """The tiles of a picture: lists of (first, last + 1) of rows, and of columns."""
        size = self.tile_for(height, width)
        return [tiling.cuts(length, size, self.halo, self.step) for length in (height, width)]

    def fit(self, height, width, free):
        """Makes the tiles small enough for one to take `free` bytes; tells whether it does."""
        self.largest_tile = self._limit
        while self.memory_for(height, width) > free and self.largest_tile > SMALLEST_TILE:
            self.largest_tile = max(SMALLEST_TILE, self.largest_tile // 2)
        return self.memory_for(height, width) <= free

    def memory_for(self, height, width):
        """Bytes that one tile of a picture takes while it is computed."""
        size = self.tile_for(height, width)
        pixels = math.prod(min(size + 2 * self.halo, length) for length in (height, width))
        return pixels * graph.bytes_per_pixel(self.model)

    def measured_halo(self, pictures):
        """`tiling.measured_halo` of this network, which must be in float32."""
        return tiling.measured_halo(self._run, self.radius, pictures)

    def _colours(self, lr):
        """The network on float32 RGB (H, W, 3), or on its eight flips and turns."""
        if not self.self_ensemble:
            return self._run(np.ascontiguousarray(lr)[None])[0]
        total = 0.0
        for turns in range(4):
            turned = np.rot90(lr, turns)
            for flip in (slice(None), slice(None, None, -1)):
                sr = self._run(np.ascontiguousarray(turned[flip])[None])[0]
                total = total + np.rot90(sr[flip], -turns)
        return total / 8

    def _grey(self, lr):
        """The network on one channel: float32 (H, W, 1) to (scale * H, scale * W, 1)."""
        return self._colours(np.repeat(lr, 3, axis=2)).mean(axis=2, keepdims=True)

    def enlarge_whole(self, lr, most_alpha=1.0):
        """Runs the network on all of a small picture at once.

        Colours are multiplied by alpha before and divided by it after, so that what lies
        hidden under transparent pixels does not bleed out of them as a fringe. Alpha stays
        in the range of the LR pixels around it, so what is opaque or empty remains so. So do
        the colours where alpha changes: there the two overshoot differently, which their
        quotient would show as a line.

        Args:
            lr: float32 (H, W, C) in [0, 1]: grey, grey and alpha, RGB, or RGB and alpha.
            most_alpha: largest alpha of the whole picture, to which the network sees alpha
                scaled: a faint picture is not a dark one.

        Returns:
            float32 (scale * H, scale * W, C), not clipped.
        """
        enlarge = self._grey if lr.shape[2] < 3 else self._colours
        if lr.shape[2] in (1, 3):
            return enlarge(lr)
        colours, alpha = lr[..., :-1], lr[..., -1:] / np.float32(most_alpha or 1)
        visible = alpha > 0
        hidden = self._nearest(colours)
        if not visible.any():
            return np.concatenate([hidden, np.zeros_like(hidden[..., :1])], axis=2)
        sr_alpha = self._nearest(alpha) if np.ptp(alpha) == 0 else self._grey(alpha)
        sr_alpha = np.clip(sr_alpha, *self._range(alpha, alpha, 3))
        sr = enlarge(colours * alpha) / np.maximum(sr_alpha, 1e-6)
        least, most = self._range(alpha, alpha, 5)
        low, high = self._range(np.where(visible, colours, 1), np.where(visible, colours, 0), 3)
        sr = np.where((least < most) & (low <= high), np.clip(sr, low, high), sr)
        sr = np.where(sr_alpha > 0, sr, hidden)
        return np.concatenate([sr, sr_alpha * np.float32(most_alpha)], axis=2)

    def _nearest(self, lr):
        return lr.repeat(self.scale, axis=0).repeat(self.scale, axis=1)

    def _range(self, for_low, for_high, size):
        """Smallest and largest value among `size` x `size` LR pixels, enlarged."""
        window = np.ones((size, size), np.uint8)
        extremes = cv2.erode(for_low, window), cv2.dilate(for_high, window)
        return [self._nearest(extreme.reshape(for_low.shape)) for extreme in extremes]

    def _tile(self, picture, rows, columns, most_alpha):
        """One tile of a picture, enlarged, in the picture's dtype.

        When memory runs out, this tile and all later ones are made in smaller parts.
        """
        height, width = (end - first for first, end in (rows, columns))
        if max(height, width) <= self.largest_tile:
            try:
                return self._exact(picture, rows, columns, most_alpha)
            except Exception as error:  # each backend has its own kind for this
                if not memory.is_out_of_memory(error):
                    raise
                if max(height, width) < 2:
                    raise MemoryError("not enough memory for a tile of one pixel") from error
                self.largest_tile = self._limit = math.ceil(max(height, width) / 2)
        parts = [tiling.cuts(length, self.largest_tile, self.halo) for length in (height, width)]
        return np.concatenate(
            [
                np.concatenate(
                    [
                        self._tile(
                            picture,
                            (rows[0] + top, rows[0] + bottom),
                            (columns[0] + left, columns[0] + right),
                            most_alpha,
                        )
                        for left, right in parts[1]
                    ],
                    axis=1,
                )
                for top, bottom in parts[0]
            ]
        )

    def _exact(self, picture, rows, columns, most_alpha):
        """One tile from its window: the tile with the halo, as far as the picture goes."""
        (top, bottom), (left, right) = (
            tiling.window(tile, length, self.halo, self.step)
            for tile, length in zip((rows, columns), picture.shape[:2], strict=True)
        )
        sr = self.enlarge_whole(to_network(picture[top:bottom, left:right]), most_alpha)
        inner = [
            slice((tile[0] - start) * self.scale, (tile[1] - start) * self.scale)
            for tile, start in ((rows, top), (columns, left))
        ]
        return to_pixels(sr[*inner], picture.dtype)

    def bands(self, picture, on_tile=lambda: None):
        """Enlarges a picture tile by tile, without seams, in bands from top to bottom.

        In float32 the bands are those of the picture computed at once, to 0.01 grey levels
        before rounding. Memory beyond the picture depends on the tile and its width alone.

        Args:
            picture: uint8 or uint16 (H, W) or (H, W, C) with C = 2, 3 or 4, as `read_picture`
                returns it.
            on_tile: called after each tile.

        Yields:
            Arrays of the same dtype and channels, (rows, scale * W[, C]), which make up
            the enlarged picture.

        Raises:
            MemoryError: no tile is small enough.
        """
        if self._is_auto and picture.dtype == np.uint16 and self.precision != "float32":
            yield from self._in_float32().bands(picture, on_tile)
            return
        lr = picture[..., None] if picture.ndim == 2 else picture
        has_alpha = lr.shape[2] in (2, 4)
        most_alpha = float(to_network(lr[..., -1].max())) if has_alpha else 1.0
        all_rows, all_columns = self.grid(*lr.shape[:2])
        for rows in all_rows:
            band = []
            for columns in all_columns:
                band.append(self._tile(lr, rows, columns, most_alpha))
                on_tile()
            band = np.concatenate(band, axis=1)
            yield band[..., 0] if picture.ndim == 2 else band

    def enlarge(self, picture, on_tile=lambda: None):
        """As `bands`, but returns the enlarged picture whole: (scale * H, scale * W[, C])."""
        height, width, *channels = picture.shape
        sr = np.empty((self.scale * height, self.scale * width, *channels), picture.dtype)
        done = 0
        for band in self.bands(picture, on_tile):
            sr[done : done + len(band)] = band
            done += len(band)
        return sr
