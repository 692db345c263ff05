"""An RGB network on grey and transparent pictures, and on the eight flips and rotations."""

import cv2
import numpy as np


def self_ensemble(network):
    """A function like `network`, averaged over the eight flips and rotations of its input."""

    def averaged(lr):
        total = 0.0
        for turns in range(4):
            turned = np.rot90(lr, turns)
            for flip in (slice(None), slice(None, None, -1)):
                total = total + np.rot90(network(turned[flip])[flip], -turns)
        return total / 8

    return averaged


def enlarge(network, lr, scale, most_alpha=1.0):
    """Runs an RGB network on float32 (H, W, C) in [0, 1], grey or RGB, perhaps with alpha.

    Colours are multiplied by alpha before and divided by it after, so that colours hidden under
    transparent pixels do not bleed out as a fringe. Alpha stays in the range of the LR pixels
    around it, so that opaque and empty pixels remain so. Colours do too where alpha changes: the
    two overshoot differently there, and their quotient would have a line. The network gets alpha
    relative to `most_alpha`, the largest of the whole picture, so that a faint one is not dark.
    """

    def of_grey(grey):
        return network(np.repeat(grey, 3, axis=2)).mean(axis=2, keepdims=True)

    of_colours = of_grey if lr.shape[2] < 3 else network
    if lr.shape[2] in (1, 3):
        return of_colours(lr)
    colours, alpha = lr[..., :-1], lr[..., -1:] / np.float32(most_alpha or 1)
    visible = alpha > 0
    hidden = _nearest(colours, scale)
    if not visible.any():
        return np.concatenate([hidden, np.zeros_like(hidden[..., :1])], axis=2)
    sr_alpha = _nearest(alpha, scale) if np.ptp(alpha) == 0 else of_grey(alpha)
    sr_alpha = np.clip(sr_alpha, *_range(alpha, alpha, 3, scale))
    sr = of_colours(colours * alpha) / np.maximum(sr_alpha, 1e-6)
    least, most = _range(alpha, alpha, 5, scale)
    low, high = _range(np.where(visible, colours, 1), np.where(visible, colours, 0), 3, scale)
    sr = np.where((least < most) & (low <= high), np.clip(sr, low, high), sr)
    sr = np.where(sr_alpha > 0, sr, hidden)
    return np.concatenate([sr, sr_alpha * np.float32(most_alpha)], axis=2)


def _nearest(lr, scale):
    return lr.repeat(scale, axis=0).repeat(scale, axis=1)


def _range(for_low, for_high, size, scale):
    """Smallest and largest value among `size` x `size` LR pixels, enlarged."""
    window = np.ones((size, size), np.uint8)
    extremes = cv2.erode(for_low, window), cv2.dilate(for_high, window)
    return [_nearest(extreme.reshape(for_low.shape), scale) for extreme in extremes]
