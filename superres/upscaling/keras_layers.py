"""Keras layers that compute a network as the engine without Keras does."""

from superres.runtime.backend import keras
from superres.upscaling.folding import fold


class FoldedEnd(keras.layers.Layer):
    """A linear end as one convolution in float32; along the border its own layers."""

    def __init__(self, end, model, limit=None):
        super().__init__(dtype="float32", name=end.nodes[-1].layer, trainable=False)
        self.end, kinds = end, {node.layer: node.kind for node in end.nodes}
        convolutions = [layer for layer, kind in kinds.items() if kind == "Conv2D"]
        self.arrays = {layer: model.get_layer(layer).get_weights() for layer in convolutions}
        self.folded, self.limit = fold(end, self.arrays), limit
        if limit:
            for arrays in self.folded, self.arrays[end.nodes[0].layer]:
                arrays[0] = limit.rounded_kernel(arrays[0])

    def call(self, x):
        end, deep = self.end, self.end.border + self.end.radius
        x = _clipped(x, self.limit)
        folded = _shuffled(_convolved(x, *self.folded), end.factor)
        if not end.border:
            return folded
        width = end.border * end.factor
        inner = slice(width, -width)
        left = self._unfolded(x[:, :, :deep])[:, inner, :width]
        right = self._unfolded(x[:, :, -deep:])[:, inner, -width:]
        middle = keras.ops.concatenate([left, folded[:, inner, inner], right], axis=2)
        top = self._unfolded(x[:, :deep])[:, :width]
        bottom = self._unfolded(x[:, -deep:])[:, -width:]
        return keras.ops.concatenate([top, middle, bottom], axis=1)

    def _unfolded(self, x):
        for node in self.end.nodes:
            is_shuffle = node.kind == "DepthToSpace"
            values = [node.config["block_size"]] if is_shuffle else self.arrays[node.layer]
            x = (_shuffled if is_shuffle else _convolved)(x, *values)
        return x


class LimitedConv2D(keras.layers.Conv2D):
    """A convolution whose input is clipped to a `Limit`."""

    def __init__(self, limit, **config):
        super().__init__(**config)
        self.limit = limit

    def call(self, x):
        return super().call(_clipped(x, self.limit))


def _clipped(x, limit):
    if not limit:
        return x
    return keras.ops.clip(x, *(keras.ops.cast(one, x.dtype) for one in (limit.least, limit.most)))


def _convolved(x, kernel, bias=0.0):
    return keras.ops.conv(x, kernel, padding="same", data_format="channels_last") + bias


def _shuffled(x, factor):
    return keras.ops.depth_to_space(x, factor, data_format="channels_last")
