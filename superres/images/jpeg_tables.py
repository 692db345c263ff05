"""The quality of a JPEG, by its quantisation tables."""

import numpy as np

# The tables for luma and chroma of quality 50, from annex K of the JPEG standard (ITU-T T.81);
# libjpeg scales them for the others.
# fmt: off
LUMA = np.array([
    16, 11, 10, 16,  24,  40,  51,  61,
    12, 12, 14, 19,  26,  58,  60,  55,
    14, 13, 16, 24,  40,  57,  69,  56,
    14, 17, 22, 29,  51,  87,  80,  62,
    18, 22, 37, 56,  68, 109, 103,  77,
    24, 35, 55, 64,  81, 104, 113,  92,
    49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103,  99,
])
CHROMA = np.array([
    17, 18, 24, 47, 99, 99, 99, 99,
    18, 21, 26, 66, 99, 99, 99, 99,
    24, 26, 56, 99, 99, 99, 99, 99,
    47, 66, 99, 99, 99, 99, 99, 99,
    *[99] * 32,
])
# fmt: on


def tables_of(quality):
    """libjpeg's tables for luma and chroma: (2, 64) whole numbers from 1 to 255."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    return np.clip((np.stack([LUMA, CHROMA]) * percent + 50) // 100, 1, 255)


STANDARD = np.stack([tables_of(quality) for quality in range(1, 101)])  # (100, 2, 64)


def quality_of(tables):
    """The quality, 1 to 100, whose tables are nearest to `tables`, luma first; and the distance:
    root mean square of the logarithms of their quotients, so 0.1 is about ten per cent.
    """
    tables = np.maximum(tables[:2], 1)  # a damaged file may have zeros
    distances = (np.log(tables) - np.log(STANDARD[:, : len(tables)])) ** 2
    distances = np.sqrt(distances.mean(axis=(1, 2)))
    nearest = int(np.argmin(distances))
    return nearest + 1, float(distances[nearest])


def tables_in(file):
    """The tables of an open JPEG, in the order of their numbers, (64,) each."""
    return [file.quantization[key] for key in sorted(file.quantization)]
