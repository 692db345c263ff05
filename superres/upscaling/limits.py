"""Limits of feature maps, so that eight-bit integers do for any picture.

A range that holds for noise and checkerboards is so wide that these come out 20 grey levels wrong.
So the inputs of the inner convolutions are clipped to what photographs reach, and their weights
rounded to eight bits, in float32 as well. Drawings even gain: it cuts the halos around lines.
"""

from collections import Counter
from typing import NamedTuple

import numpy as np

from superres.runtime.backend import keras
from superres.upscaling.folding import linear_end

MARGIN = 0.9  # of the largest values in photographs: costs 0.01 dB; 0.8 in edsr_x3 and edsr_x4
MIN_CHANNELS = 32  # of the input; convolutions of fewer would hardly be faster
SMALLEST = 0.01  # limit of a channel, as a share of the largest one's


class Limit(NamedTuple):
    most: np.ndarray  # float32 (channels,): the largest absolute values
    is_positive: bool  # whether there are no others

    @property
    def step(self):
        """One of the 255 or 127 levels: float32 (channels,)."""
        return self.most / np.float32(255 if self.is_positive else 127)

    @property
    def least(self):
        return 0 * self.most if self.is_positive else -128 * self.step

    def rounded(self, kernel):
        """A kernel (kh, kw, in, out) as int8 and the value of a level (out,), for inputs / step."""
        scaled = kernel * self.step[:, None]
        unit = np.maximum(np.abs(scaled).max((0, 1, 2)), np.float32(1e-12)) / 127
        return np.round(scaled / unit).astype(np.int8), unit

    def rounded_kernel(self, kernel):
        """The same as float32, for the inputs themselves."""
        levels, unit = self.rounded(kernel)
        return levels * unit / self.step[:, None]


def limited(graph):
    """The convolutions of a `Graph` whose inputs get limits: a list of nodes."""
    if graph.unknown:
        return []
    end = linear_end(graph)
    first = int(bool(end) and end.factor > 2)  # at x2 the end is a small part of the work
    others = {*graph.emitting, *(node.name for node in (end.nodes[first:] if end else ()))}
    uses = Counter(node.layer for node in graph.nodes.values())

    def is_inner(node):
        is_plain = node.kind == "Conv2D" and node.config["groups"] == 1 and uses[node.layer] == 1
        return is_plain and graph.weights[node.layer][0][2] >= MIN_CHANNELS

    return [node for node in graph.nodes.values() if node.name not in others and is_inner(node)]


def from_metadata(stored, graph):
    """Node -> `Limit`, of what `measure` returned; {} unless it fits the network."""
    found = {}
    for node in limited(graph):
        most = np.array(stored.get(node.name, ()), np.float32)
        channels = graph.weights[node.layer][0][2]
        if most.shape != (channels,) or not (np.isfinite(most) & (most > 0)).all():
            return {}
        before = graph.nodes[node.from_nodes[0]]
        is_positive = before.config.get("activation") == "relu" or before.kind == "ReLU"
        found[node.name] = Limit(most, is_positive)
    return found


def larger(found):
    """Node -> the larger `Limit`, of those that all have."""
    nodes = [node for node in found[0] if all(node in one for one in found)]
    most = {node: np.max([one[node].most for one in found], axis=0) for node in nodes}
    return {node: found[0][node]._replace(most=most[node]) for node in nodes}


def measure(model, graph, pictures):
    """Node -> list of limits, to be stored with the weights; {} where none are known.

    `pictures` are pairs of a photograph, float32 (H, W, 3), and its `Condition`.
    """
    nodes = limited(graph)
    if not nodes:
        return {}
    maps = (keras.ops.abs(model.get_layer(node.layer).input) for node in nodes)
    largest = keras.Model(model.inputs, [keras.ops.max(one, axis=(0, 1, 2)) for one in maps])
    limits, found = {}, []
    for lr, condition in pictures:
        values = condition.values(graph.conditions)[None, None, None]
        found += [largest.predict_on_batch([lr[None], values] if graph.conditions else lr[None])]
    for n, node in enumerate(nodes):
        most = MARGIN * np.max([one[n] for one in found], axis=0)
        most = np.maximum(most, max(SMALLEST * most.max(), 1e-6))
        limits[node.name] = [float(f"{value:.3g}") for value in most]
    return limits
