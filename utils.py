"""What the scripts share and no room is for: choosing and loading a network."""

from pathlib import Path

from superres.runtime import backend, settings
from superres.upscaling import weight_files
from superres.upscaling.upscaler import PRECISIONS, Upscaler

WEIGHTS_FOLDER = Path(__file__).parent / "weights"
SCALES = (2, 3, 4)
SIZES = {"large": "", "small": "_small"}  # in names of the weights that the project ships


def best_weights(folder, scale=0, size="auto"):
    """The weights to use when none are named.

    Those that the project ships come first, by their names: for x2 before x3 before x4, the
    large or the small network. Without them, one's own, the newest first.

    Args:
        folder: where to look.
        scale: 2, 3 or 4: only files whose name ends in `_x` and the scale; 0: any.
        size: large or small: only that one of those that the project ships; auto: the
            large one where there is a GPU, else the small one; or the other where it is not there.

    Returns:
        Path, and why it was chosen.

    Raises:
        ValueError: there are none.
    """
    there = {path.name: path for path in sorted(Path(folder).glob("*.keras"))}
    fitting = {name: p for name, p in there.items() if not scale or p.stem.endswith(f"_x{scale}")}
    if not there:
        raise ValueError(f"{folder}: no .keras file in it; train one with python train.py")
    if not fitting:
        raise ValueError(
            f"{folder}: no weights for x{scale} in it (*_x{scale}.keras), only {', '.join(there)}; "
            f"train them with python train.py --recipe small_x{scale}"
        )
    has_gpu = backend.has_gpu()
    wanted = ("large" if has_gpu else "small") if size == "auto" else size
    reason = f"NETWORK = {size!r}"
    if size == "auto":
        reason = "there is a GPU" if has_gpu else "there is no GPU"
    other = "small" if wanted == "large" else "large"
    for one in [scale] if scale else SCALES:
        names = {kind: f"edsr{mark}_x{one}.keras" for kind, mark in SIZES.items()}
        if names[wanted] in fitting:
            return fitting[names[wanted]], f"the {wanted} network, because {reason}"
        if size == "auto" and names[other] in fitting:
            return fitting[names[other]], f"the {other} network, because there is no {wanted} one"
    if size != "auto":
        ends = f"_x{scale}" if scale else "_x2, _x3 or _x4"
        raise ValueError(f"{reason}: no edsr{SIZES[size]}{ends}.keras in {folder}")
    return max(fitting.values(), key=lambda path: path.stat().st_mtime), "the newest"


def load(path, **options):
    """Loads a trained network.

    Args:
        path: `.keras` file; code hidden in it is not run (`safe_mode`).
        options: `precision`, `tile_size` and `self_ensemble` of `Upscaler`.

    Returns:
        `Upscaler`, with the halo that is stored in the file.

    Raises:
        ValueError: no such file, not a Keras file, or not a network that enlarges RGB.
    """
    model = weight_files.read(path)
    try:
        return Upscaler(model, weight_files.stored_halo(path), **options)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def check_network(chosen):
    """Raises ValueError where a setting that says which network, and how, is not valid.

    Args:
        chosen: settings of the names in this file, as `settings.parse` returns them.
    """
    settings.check_text("weights", chosen.weights, may_be_empty=True)
    settings.check_choice("scale", chosen.scale, (0, *SCALES))
    settings.check_choice("network", chosen.network, ("auto", *SIZES))
    settings.check_choice("precision", chosen.precision, PRECISIONS)
    settings.check_whole("tile_size", chosen.tile_size, 0)
    settings.check_flag("self_ensemble", chosen.self_ensemble)


def load_chosen(chosen):
    """Loads the network that the settings say.

    Args:
        chosen: as `check_network` takes it.

    Returns:
        Path of its file, `Upscaler`, and both in words, for the first line of what is printed.

    Raises:
        ValueError: there is none, or it is of another scale.
    """
    path, why = Path(chosen.weights), ""
    if not chosen.weights:
        path, why = best_weights(WEIGHTS_FOLDER, chosen.scale, chosen.network)
    upscaler = load(
        path,
        precision=chosen.precision,
        tile_size=chosen.tile_size,
        self_ensemble=chosen.self_ensemble,
    )
    if chosen.scale not in (0, upscaler.scale):
        raise ValueError(f"SCALE = {chosen.scale}: {path} enlarges by {upscaler.scale}")
    return path, upscaler, f"{path.name}{why and f' ({why})'}: {describe(upscaler)}"


def describe(upscaler):
    """The network and how it computes, in words, for the first line of a command's output."""
    return (
        f"x{upscaler.scale}, {upscaler.parameters:,} parameters, {backend.describe()}, "
        f"{upscaler.precision}"
        + (", self-ensemble" if upscaler.self_ensemble else "")
        + f", halo {upscaler.halo}"
    )
