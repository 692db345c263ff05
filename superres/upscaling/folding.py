"""The linear end of a network as one convolution.

From the first upscaling convolution on, EDSR is linear: convolution, pixel shuffle, convolution.
So each output pixel is a weighted sum of the feature maps around it, and the whole end is one
convolution at low resolution and one pixel shuffle. That is a fraction of the work: a network for
x4 gets twice as fast. It differs only along the picture's border, where convolutions pad.
"""

import math
from typing import NamedTuple

import numpy as np

from superres.upscaling.graph import reach

PIXELS = "pixels"  # in the names of nodes that only move pixels: node/pixels/number


class End(NamedTuple):
    nodes: list  # of `Node`: a convolution, then pairs of a pixel shuffle and a convolution
    factor: int  # of enlargement
    radius: int  # LR pixels that it looks at around one
    border: int  # LR pixels along the picture's border whose output depends on padding

    @property
    def within(self):
        """Names of the nodes whose results only the end needs."""
        return {node.name for node in self.nodes[:-1]}


def linear_end(graph):
    """The `End` of a `Graph`; `None` where one convolution would be no less work."""
    takers = {}
    for node in graph.nodes.values():
        for name in node.from_nodes:
            takers.setdefault(name, []).append(node.name)
    for last in (graph.nodes[name] for name in sorted(graph.emitting)):
        nodes = [last]
        while _is_plain(nodes[0]):
            shuffle = graph.nodes[nodes[0].from_nodes[0]]
            before = graph.nodes[shuffle.from_nodes[0]] if shuffle.from_nodes else None
            is_pair = shuffle.kind == "DepthToSpace" and before and _is_plain(before)
            if not is_pair or any(len(takers[node.name]) > 1 for node in (shuffle, before)):
                break
            nodes = [before, shuffle, *nodes]
        if len(nodes) > 1:
            end = _measure(nodes)
            if _work_as_one(graph, end) < _work(graph, end):
                return end
    return None


def _is_plain(node):
    """Whether a node is a linear convolution with an odd square kernel."""
    config = node.config
    return (
        node.kind == "Conv2D"
        and config["activation"] == "linear"
        and config["padding"] == "same"
        and config["groups"] == 1
        and set(config["dilation_rate"]) == {1}
        and len(set(config["kernel_size"])) == 1
        and config["kernel_size"][0] % 2 == 1
    )


def _measure(nodes):
    """Follows the output of one LR pixel back to the pixels that it depends on."""
    shuffles = [node.config["block_size"] for node in nodes if node.kind == "DepthToSpace"]
    factor = math.prod(shuffles)
    first, last = 0, factor - 1
    for node in reversed(nodes[1:]):
        if node.kind == "DepthToSpace":
            first, last = (n // node.config["block_size"] for n in (first, last))
        else:
            beyond = reach(node.config)[0] // 2
            first, last = first - beyond, last + beyond
    border = max(-first, last)
    return End(nodes, factor, border + reach(nodes[0].config)[0] // 2, border)


def _work(graph, end):
    """Multiplications per LR pixel by the separate convolutions."""
    nodes = (node for node in end.nodes if node.kind == "Conv2D")
    return sum(np.prod(graph.weights[node.layer][0]) * graph.pixels(node.name) for node in nodes)


def _work_as_one(graph, end):
    filters = end.nodes[-1].config["filters"] * end.factor**2
    channels = graph.weights[end.nodes[0].layer][0][2]
    return (2 * end.radius + 1) ** 2 * channels * filters


def fold(end, arrays):
    """[kernel (n, n, in, out), n = 2 * radius + 1, bias (out,)] of the convolution."""
    channels = arrays[end.nodes[0].layer][0].shape[2]
    # Weight of the input at (y, x) for each pixel (p, q) that a LR pixel has become so far.
    kernel = np.eye(channels)[None, None, :, None, None]  # y, x, in, p, q, out
    bias = np.zeros((1, 1, channels))  # p, q, out
    for node in end.nodes:
        if node.kind == "DepthToSpace":
            kernel, bias = (_shuffle(array, node.config["block_size"]) for array in (kernel, bias))
        else:
            kernel, bias = _convolve(kernel, bias, *arrays[node.layer])
    cut = (len(kernel) - 1) // 2 - end.radius  # rows and columns of zeros
    kernel = kernel[cut : len(kernel) - cut, cut : len(kernel) - cut]
    kernel = kernel.reshape(*kernel.shape[:3], -1)
    return [kernel.astype(np.float32), bias.reshape(-1).astype(np.float32)]


def _shuffle(array, factor):
    """(..., p, q, out) after a pixel shuffle by `factor`."""
    *rest, rows, columns, channels = array.shape
    array = array.reshape(*rest, rows, columns, factor, factor, channels // factor**2)
    array = np.moveaxis(array, -3, -4)
    return array.reshape(*rest, rows * factor, columns * factor, channels // factor**2)


def _convolve(kernel, bias, weights, shift=0.0):
    """`kernel` and `bias` after a convolution of the pixels (p, q)."""
    size, places, radius = len(kernel), kernel.shape[3], len(weights) // 2
    around = range(-radius, radius + 1)
    shape = (size + 2 * radius, size + 2 * radius, kernel.shape[2], places, places)
    made = np.zeros((*shape, weights.shape[3]))
    made_bias = np.zeros((places, places, weights.shape[3])) + shift
    for p, q, row, column in np.ndindex(places, places, len(around), len(around)):
        # A pixel further out belongs to a neighbouring LR pixel.
        (y, i), (x, j) = divmod(p + around[row], places), divmod(q + around[column], places)
        here = slice(radius + y, radius + y + size), slice(radius + x, radius + x + size)
        made[*here, :, p, q] += kernel[:, :, :, i, j] @ weights[row, column]
        made_bias[p, q] += bias[i, j] @ weights[row, column]
    return made, made_bias
