"""The plot of a run."""

import numpy as np
from matplotlib.figure import Figure

from superres.runtime.files import replacing


def plot(rows, path):
    """Draws loss, PSNR and learning rate over steps and minutes into the file `path`."""
    steps = [row["step"] for row in rows]
    minutes = [row["seconds"] / 60 for row in rows]
    figure = Figure(figsize=(8, 8), layout="constrained")
    loss, psnr, rate = figure.subplots(3, sharex=True)
    loss.plot(steps, [row["loss"] for row in rows], marker=".")
    loss.set(ylabel="training loss")
    values, bicubic = [row["psnr"] for row in rows], rows[0]["bicubic_psnr"]
    psnr.plot(steps, values, marker=".", label=f"network (bicubic has {bicubic:.2f})")
    if min(values) - bicubic < max(values) - min(values):  # else it would flatten the curve
        psnr.axhline(bicubic, color="grey", linestyle="--", label="bicubic")
    psnr.set(ylabel="validation PSNR-Y (dB)")
    psnr.legend()
    rate.plot(steps, [row["learning_rate"] for row in rows], marker=".")
    rate.set(ylabel="learning rate", xlabel="step")
    for axes in (loss, psnr, rate):
        axes.grid(alpha=0.3)
    # Extend the mapping on both sides, since the axes have margins.
    known = [-steps[-1], 0, *steps, 2 * steps[-1]]
    passed = [-minutes[-1], 0, *minutes, 2 * minutes[-1]]
    functions = (lambda x: np.interp(x, known, passed), lambda x: np.interp(x, passed, known))
    loss.secondary_xaxis("top", functions=functions).set_xlabel("minutes of training")
    with replacing(path) as part:
        figure.savefig(part, dpi=100)
