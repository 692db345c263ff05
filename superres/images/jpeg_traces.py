"""Finds in a lossless file that its pixels come from a JPEG, and of which quality.

JPEG stores the cosine transform of blocks of 8x8 pixels in multiples of its quantisation tables.
Decoded pixels are still near to such multiples. After Fan and de Queiroz, "Identification of bitmap
compression history", 2003.
"""

import numpy as np

from superres.images.jpeg_tables import tables_of
from superres.images.pixels import to_8bit

CENTRE_SIDE, MAX_BLOCKS = 1024, 512  # only the centre is used; in it blocks of the largest variance
MIN_UNCLIPPED = 100  # blocks without a clipped channel; if fewer, those whose luma is unclipped
# At least 16 coefficients per frequency, and 8 such frequencies; smooth colour ramps have fewer.
MIN_OF_FREQUENCY, MIN_FREQUENCIES = 16, 8
MIN_MATCH = 0.5  # how near coefficients are to multiples: 1 on them, 0 at random
# Tables for luma, upright and rotated by 90°. At better qualities too many steps are 1.
TABLES = {q: [tables_of(q)[0].reshape(8, 8).ravel(order) for order in "CF"] for q in range(20, 97)}
LUMA_WEIGHTS = np.float32([0.299, 0.587, 0.114])
FREQUENCIES = np.arange(8)[:, None]
COSINES = np.cos(np.pi * FREQUENCIES * (np.arange(8) + 0.5) / 8)
DCT = (np.where(FREQUENCIES == 0, 1, 2) / 8) ** 0.5 * COSINES


def former_quality(picture):
    """The quality of the JPEG that a picture came from; `None` without traces of one."""
    if picture.dtype != np.uint8:
        return None
    start = [(length - min(length, CENTRE_SIDE)) // 16 * 8 for length in picture.shape[:2]]
    centre = to_8bit(picture)[*(slice(first, first + CENTRE_SIDE) for first in start)]
    channels = centre if centre.ndim == 3 else centre[..., None]
    luma = channels @ LUMA_WEIGHTS[: channels.shape[2]] / LUMA_WEIGHTS[: channels.shape[2]].sum()
    is_clipped = ((channels == 0) | (channels == 255)).any(axis=2)
    for rows, columns in dict.fromkeys([(0, 0), _grid(luma)]):
        coefficients = _coefficients(luma[rows:, columns:], is_clipped[rows:, columns:])
        matches = {q: max(_match(coefficients, one) for one in TABLES[q]) for q in TABLES}
        best = max(matches, key=matches.get)
        if matches[best] >= MIN_MATCH:
            return best
    return None


def _grid(luma):
    """Rows and columns before the first whole block, found by the jumps where blocks meet."""
    first = []
    # Element i of the third differences is about the edge between lines i + 1 and i + 2.
    for lines in luma, luma.T:
        steps = np.abs(np.diff(lines, 3, axis=0)).mean(axis=1)
        steps = steps[: len(steps) // 8 * 8].reshape(-1, 8)
        first.append((int(np.median(steps, axis=0).argmax()) + 2) % 8 if len(steps) else 0)
    return tuple(first)


def _blocks(pixels):
    """(H, W) cut into whole blocks: (N, 8, 8)."""
    height, width = (length // 8 for length in pixels.shape)
    blocks = pixels[: 8 * height, : 8 * width].reshape(height, 8, width, 8).swapaxes(1, 2)
    return blocks.reshape(-1, 8, 8)


def _coefficients(luma, is_clipped):
    """Cosine transform of the blocks of the largest variance: (N, 64)."""
    blocks = _blocks(luma)
    # Where the decoder had to clip, the multiples are lost.
    unclipped = ~_blocks(is_clipped).any(axis=(1, 2))
    if unclipped.sum() < MIN_UNCLIPPED:
        unclipped = (blocks.min(axis=(1, 2)) > 0) & (blocks.max(axis=(1, 2)) < 255)
    blocks = blocks[unclipped]
    blocks = blocks[np.argsort(-blocks.var(axis=(1, 2)))[:MAX_BLOCKS]]
    blocks = np.unique(blocks, axis=0)  # repeated blocks count once
    return (DCT @ blocks @ DCT.T).reshape(-1, 64)


def _match(coefficients, table):
    """How near coefficients are to multiples of a table."""
    table = np.where(np.arange(64) > 0, table, 0)  # leaves out DC
    counted = (np.abs(coefficients) > table / 2) & (table > 1)  # those about 0 say nothing
    of_frequency = counted.sum(axis=0)
    is_used = of_frequency >= MIN_OF_FREQUENCY
    if is_used.sum() < MIN_FREQUENCIES:
        return 0.0
    nearness = np.cos(2 * np.pi * coefficients[:, is_used] / table[is_used])
    return float(np.median((nearness * counted[:, is_used]).sum(axis=0) / of_frequency[is_used]))
