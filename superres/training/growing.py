"""Starts a network from trained weights: of another scale, of a smaller EDSR, or of any network.

At first a larger EDSR computes the same as the smaller one, whose channels become its first ones
(after Chen et al., "Net2Net", 2015). Weights from new channels into old ones begin at 0, into new
channels at random; added blocks begin with a second convolution of 0. Any other network takes the
weights of layers with the same name and shape.
"""

import math
import re
from collections import Counter
from math import isqrt
from pathlib import Path
from typing import NamedTuple

import numpy as np

from superres.runtime.backend import keras
from superres.runtime.errors import InputError
from superres.upscaling import weight_files
from superres.upscaling.graph import CONDITION_INPUTS

# Names and classes of the layers and operations of an EDSR; NEEDED are those that each one has.
NAMES = re.compile(
    r"lr|head|block\d+_(conv[12]|scale|add)|body|long_skip|upscale\d+|tail|bilinear|global_skip"
    r"|quality(_head)?|condition|told_quality|(depth_to_space|pad)(_\d+)?"
)
CLASSES = {"InputLayer", "Conv2D", "Rescaling", "Add", "DepthToSpace", "Pad"}
BLOCK, UPSCALE = re.compile(r"block\d+_conv1"), re.compile(r"upscale(\d+)")
NEEDED = {"block1_conv1", "block1_conv2", "block1_scale", "block1_add", "long_skip", "upscale1"}


class Architecture(NamedTuple):
    """The arguments of `network.edsr`, with its pixel shuffles' factors in place of `scale`."""

    num_filters: int
    residual_blocks: int
    residual_scaling: float
    global_skip: bool
    conditions: int
    shuffles: tuple


def is_edsr(model):
    """Whether `network.edsr` could have built a model, by its layers and operations."""

    def is_known(one):
        activation = "relu" if one.name.endswith("_conv1") else "linear"
        return (
            NAMES.fullmatch(one.name)
            and type(one).__name__ in CLASSES
            and getattr(getattr(one, "activation", None), "__name__", activation) == activation
            and (getattr(one, "kernel_size", (3, 3)) == (3, 3) or one.name == "quality_head")
        )

    operations = keras.Model(model.inputs, model.outputs).operations
    return {one.name for one in operations} >= NEEDED and all(map(is_known, operations))


def architecture_of(configs):
    """The `Architecture` of an EDSR, from a dict of its layers' configurations."""
    filters = configs["head"]["filters"]
    upscaling = sorted(filter(UPSCALE.fullmatch, configs))
    return Architecture(
        filters,
        len(list(filter(BLOCK.fullmatch, configs))),
        configs["block1_scale"]["scale"],
        "global_skip" in configs,
        next((n for n, name in CONDITION_INPUTS.items() if name in configs), 0),
        tuple(isqrt(configs[name]["filters"] // filters) for name in upscaling),
    )


def settings_of(path):
    """The arguments of `network.edsr` that build the network in a file; {} if it is another one."""
    layers = weight_files.check(Path(path))["config"]["layers"]
    configs = {layer["name"]: layer["config"] for layer in layers}
    if not configs.keys() >= NEEDED or "scale" not in configs["block1_scale"]:
        return {}
    settings = architecture_of(configs)._asdict()
    return {"scale": math.prod(settings.pop("shuffles"))} | settings


def start_from(model, path):
    """Puts the weights of a file into a network.

    In an EDSR of another scale, upscaling layers of another factor keep their random weights.
    InputError: it cannot be loaded, is a larger EDSR, or has no layer like those of `model`.
    """
    other = weight_files.read(path)
    ours = {layer.name: layer for layer in model.layers}
    theirs = {layer.name: layer for layer in other.layers}
    if is_edsr(model) and is_edsr(other):
        _grow(ours, theirs, path)
    else:
        _copy(_in_order(model), _in_order(other), path)


def _in_order(model):
    """Layers by (name without Keras's running number, index among layers of that name)."""
    counts, layers = Counter(), {}
    for layer in model.layers:
        name = re.sub(r"_\d+$", "", layer.name)
        layers[name, counts[name]] = layer
        counts[name] += 1
    return layers


def _copy(ours, theirs, path):
    copied = random = 0
    for name, layer in ours.items():
        weights = theirs[name].get_weights() if name in theirs else []
        if weights and [w.shape for w in weights] == [w.shape for w in layer.get_weights()]:
            layer.set_weights(weights)
            copied += 1
        else:
            random += bool(layer.get_weights())
    if not copied:
        raise InputError(
            f"START_FROM = {str(path)!r}: none of its layers has the name and shape of a new one"
        )
    print(f"starting from {path}: {copied} layers have its weights, {random} begin at random")


def _grow(ours, theirs, path):
    configs = [{n: one.get_config() for n, one in layers.items()} for layers in (ours, theirs)]
    large, small = map(architecture_of, configs)
    _check(large, small, path)
    for name, layer in ours.items():
        if not layer.trainable_weights:
            continue
        if name in theirs:
            factor = 1
            if upscale := UPSCALE.fullmatch(name):
                stage = int(upscale[1]) - 1
                factor = large.shuffles[stage]
                if small.shuffles[stage] != factor:
                    continue
            weights = theirs[name].get_weights()
            if name.endswith("_conv2"):
                weights = [w * (small.residual_scaling / large.residual_scaling) for w in weights]
            layer.set_weights(_widen(layer.get_weights(), weights, factor))
        elif name.endswith("_conv2"):
            layer.set_weights([np.zeros_like(weight) for weight in layer.get_weights()])
    print(
        f"starting from {path}, {small.residual_blocks} blocks of {small.num_filters} filters"
        + ("" if small.shuffles == large.shuffles else ", of another scale")
    )


def _check(large, small, path):
    """Raises InputError where an EDSR of one `Architecture` cannot grow into another."""
    start = f"START_FROM = {str(path)!r}"
    for name in ("num_filters", "residual_blocks", "conditions"):
        value, minimum = getattr(large, name), getattr(small, name)
        if value < minimum:
            raise InputError(
                f"{start}: {name.upper()} = {value}: expected at least the {minimum} that it has; "
                "a network cannot shrink"
            )
    skip, expected = large.global_skip, small.global_skip
    if skip != expected:
        raise InputError(f"{start}: GLOBAL_SKIP = {skip}: expected {expected}, as it was trained")


def _widen(large, small, factor):
    """Puts weights `small` of a layer into those of a wider one, both lists of arrays.

    Before a pixel shuffle by `factor`, output channel c of phase p is number p * channels + c.
    """
    phases = factor**2
    for wide, narrow in zip(large, small, strict=True):
        channels, old_channels = wide.shape[-1] // phases, narrow.shape[-1] // phases
        old = (np.arange(phases)[:, None] * channels + np.arange(old_channels)).ravel()
        if wide.ndim == 4:
            wide[..., old] = 0
            wide[:, :, : narrow.shape[2], old] = narrow
        else:
            wide[..., old] = narrow
    return large
