"""Trained weights as the beginning of another network: of another scale, or a larger one.

A network that grows computes at first what the small one computes (after Chen et al.,
"Net2Net", 2015): its first channels are those of the small one, and what is new adds nothing to
them yet. Weights from new channels into old ones begin at 0, weights into new channels at random;
added blocks begin with a second convolution of 0.
"""

import re
from math import isqrt
from typing import NamedTuple

import numpy as np

from superres.upscaling import weight_files

OF_QUALITY = ("quality", "quality_head", "told_quality")  # layers, whose weights begin at 0


class Shape(NamedTuple):
    """How a network of `network.edsr` is built, read from its layers.

    Attributes:
        filters, blocks: as NUM_FILTERS and RESIDUAL_BLOCKS.
        residual_scaling, global_skip, told_quality: likewise.
        shuffles: factor of each pixel shuffle, such as (2, 2) for x4.
        kinds: what its layers are, whichever block they are in; without those of the quality.
    """

    filters: int
    blocks: int
    residual_scaling: float
    global_skip: bool
    told_quality: bool
    shuffles: tuple
    kinds: frozenset


def shape_of(layers):
    """The shape of a network.

    Args:
        layers: dict of its layers by name.

    Raises:
        KeyError, AttributeError: it is none of `network.edsr`.
    """
    filters = layers["head"].filters
    upscaling = sorted(name for name in layers if re.fullmatch(r"upscale\d+", name))
    return Shape(
        filters,
        sum(re.fullmatch(r"block\d+_conv1", name) is not None for name in layers),
        getattr(layers.get("block1_scale"), "scale", 1.0),
        "global_skip" in layers,
        "told_quality" in layers,
        tuple(isqrt(layers[name].filters // filters) for name in upscaling),
        frozenset(_kind_of(layer) for name, layer in layers.items() if name not in OF_QUALITY),
    )


def _kind_of(layer):
    activation = getattr(getattr(layer, "activation", None), "__name__", "")
    name = re.sub(r"^(block|upscale)\d+", r"\1#", layer.name)
    return name, type(layer).__name__, activation


def start_from(model, path):
    """Puts the weights of a file into a network; one that is larger computes the same then.

    Where the scale is another, the convolutions before a pixel shuffle of another factor begin
    anew.

    Args:
        model: network that is about to be trained, as `network.edsr` builds it.
        path: `.keras` file of another one.

    Raises:
        ValueError: it cannot be loaded, or is no smaller network of the same kind.
    """
    ours = {layer.name: layer for layer in model.layers}
    theirs = {layer.name: layer for layer in weight_files.read(path).layers}
    try:
        large, small = shape_of(ours), shape_of(theirs)
    except (KeyError, AttributeError) as error:
        raise ValueError(
            f"START_FROM = {str(path)!r}: has no layer {error}, or the new network has none; "
            "expected networks of network.py"
        ) from error
    _check(large, small, path)
    for name, layer in ours.items():
        if not layer.trainable_weights:
            continue
        if name in theirs:
            factor = 1
            if upscale := re.fullmatch(r"upscale(\d+)", name):
                stage = int(upscale[1]) - 1
                factor = large.shuffles[stage]
                if small.shuffles[stage] != factor:
                    continue
            weights = theirs[name].get_weights()
            if name.endswith("_conv2"):
                weights = [w * (small.residual_scaling / large.residual_scaling) for w in weights]
            layer.set_weights(_widened(layer.get_weights(), weights, factor))
        elif name.endswith("_conv2"):
            layer.set_weights([np.zeros_like(weight) for weight in layer.get_weights()])
    print(
        f"starting from {path}, {small.blocks} blocks of {small.filters} filters"
        + ("" if small.shuffles == large.shuffles else ", of another scale")
    )


def _check(large, small, path):
    """Raises ValueError where a network of one shape cannot grow into one of another."""
    for setting, value, least in (
        ("NUM_FILTERS", large.filters, small.filters),
        ("RESIDUAL_BLOCKS", large.blocks, small.blocks),
    ):
        if value < least:
            raise ValueError(
                f"START_FROM = {str(path)!r}: {setting} = {value}: expected at least the {least} "
                "that it has; a network cannot shrink"
            )
    if large.global_skip != small.global_skip:
        raise ValueError(
            f"START_FROM = {str(path)!r}: GLOBAL_SKIP = {large.global_skip}: expected "
            f"{small.global_skip}, as it was trained"
        )
    if small.told_quality and not large.told_quality:
        raise ValueError(
            f"START_FROM = {str(path)!r}: TOLD_QUALITY = False: expected True, as it was trained"
        )
    if other := sorted(name for name, *_ in large.kinds ^ small.kinds):
        raise ValueError(
            f"START_FROM = {str(path)!r}: is of another kind; {', '.join(dict.fromkeys(other))} "
            "differ (# for numbers)"
        )


def _widened(large, small, factor):
    """Weights `small` of a layer within those of a wider one.

    Args:
        large: list of arrays whose last axis are the channels: kernels (kh, kw, I, O) at random,
            biases (O,) and others without input channels.
        small: those of the narrower layer, (kh, kw, i, o) and (o,).
        factor: of the pixel shuffle behind it, 1 without: channel c of phase p is number
            p * channels + c.
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
