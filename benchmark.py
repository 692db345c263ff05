"""Measures how fast this machine enlarges pictures, beside its matrix products.

`python benchmark.py` prints, for the large and the small network at x2 in both precisions,
low-resolution megapixels a second, the arithmetic that they are, and its share of what
the machine's own matrix product of that precision reaches in the same run. Weights are
random, which makes no difference to the time.
"""

import sys
import time

import numpy as np

import backend
import network
import settings
import tiling
from backend import keras
from upscaler import Upscaler

# ------------------------------------------------------------------- settings ----
SIDE = 256  # LR pixels a side of the picture that is enlarged
MATRIX = 2048  # rows and columns of the matrices; 8192 on a GPU
ROUNDS = 5  # each is measured so often, in turn; the best counts
# ---------------------------------------------------------------------------------

NETWORKS = {  # num_filters, residual_blocks
    "24 blocks of 128 filters": (128, 24),
    "9 blocks of 64 filters": (64, 9),
}
PRECISIONS = ("float32", "bfloat16")


def seconds(run):
    """Time of one call."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def matrix_product(size, dtype):
    """Function that multiplies two square matrices, and how many operations that is."""
    values = np.random.default_rng(0).random((size, size), np.float32)
    matrix = keras.ops.cast(keras.ops.convert_to_tensor(values), dtype)

    def run():
        product = keras.ops.matmul(matrix, matrix)
        keras.ops.convert_to_numpy(product[:1, :1])  # waits until it is computed

    return run, 2 * size**3


def enlargement(num_filters, residual_blocks, precision, side):
    """Function that enlarges a picture of noise, and how many operations that is."""
    upscaler = Upscaler(
        network.edsr(2, num_filters, residual_blocks), precision=precision, tile_size=side
    )
    picture = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    return lambda: upscaler.enlarge(picture), side**2 * tiling.flop_per_pixel(upscaler.model)


def measure(side, matrix, rounds):
    """Runs everything in turn.

    Returns:
        dict of (what, precision) -> (best seconds, operations).
    """
    runs = {
        ("matrix product", precision): matrix_product(matrix, precision) for precision in PRECISIONS
    }
    for name, size in NETWORKS.items():
        for precision in PRECISIONS:
            runs[name, precision] = enlargement(*size, precision, side)
    best = {}
    for n in range(rounds + 1):  # the first one compiles
        for key, (run, _) in runs.items():
            taken = seconds(run)
            if n:
                best[key] = min(best.get(key, taken), taken)
    return {key: (best[key], operations) for key, (_, operations) in runs.items()}


def table(measured, side):
    """The measurements as lines of Markdown."""
    lines = [
        "| | precision | LR megapixels/s | GFLOP/s | of the matrix product |",
        "|---|---|---|---|---|",
    ]
    for (what, precision), (taken, operations) in measured.items():
        product, product_operations = measured["matrix product", precision]
        share = operations / taken / (product_operations / product)
        pixels = f"{side**2 / taken / 1e6:.3f}" if what in NETWORKS else ""
        rate = operations / taken / 1e9
        lines.append(f"| {what} | {precision} | {pixels} | {rate:.0f} | {share:.0%} |")
    return "\n".join(lines)


def main(arguments=None):
    """Runs the command; returns its exit code."""
    try:
        chosen = settings.parse([sys.modules[__name__]], arguments)
        for name in "side", "matrix", "rounds":
            settings.check_whole(name, getattr(chosen, name), 1)
    except ValueError as error:
        print(f"benchmark.py: {error}", file=sys.stderr)
        return 2
    chosen_here = "bfloat16" if backend.has_fast_bfloat16() else "float32"
    print(f"{backend.describe()}; output.py computes in {chosen_here} here")
    print(table(measure(chosen.side, chosen.matrix, chosen.rounds), chosen.side))
    return 0


if __name__ == "__main__":
    sys.exit(main())
