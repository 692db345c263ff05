"""Enlarges pictures with trained weights.

`python output.py` enlarges every picture in inference/original and below into
inference/output, under the same name and in the same format. `python output.py SOURCE
TARGET` takes another file or folder. Pictures that are there already are skipped.

Exit code 0: every picture is there. 1: some were refused, each named with its reason.
2: nothing could start. 130: stopped by Ctrl-C or SIGTERM.
"""

import math
import signal
import sys
import zipfile
from pathlib import Path

import numpy as np
from tqdm import tqdm

import backend
import network
import settings
import utils
from backend import keras

# ------------------------------------------------------------------- settings ----
SOURCE = "inference/original"  # picture, or folder of pictures, searched recursively
TARGET = "inference/output"  # folder for the enlarged pictures
WEIGHTS = ""  # .keras file, which also says the scale; empty: the best one in weights/
TILE_SIZE = 512  # LR pixels a side computed at once; lower it when memory runs out
OVERWRITE = False  # make pictures again that are in TARGET already
# ---------------------------------------------------------------------------------

WEIGHTS_FOLDER = Path(__file__).parent / "weights"
BEST_FIRST = [f"edsr{size}_x{scale}.keras" for scale in network.SHUFFLES for size in ("", "_small")]


def best_weights(folder=WEIGHTS_FOLDER):
    """The weights to use when none are named: the best that are in `folder`.

    The names that the project ships come first, large before small networks, then one's
    own, the newest first.

    Raises:
        ValueError: there are none.
    """
    found = {path.name: path for path in Path(folder).glob("*.keras")}
    for name in BEST_FIRST:
        if name in found:
            return found[name]
    if not found:
        raise ValueError(f"{folder}: no .keras file in it; train one with python train.py")
    return max(found.values(), key=lambda path: path.stat().st_mtime)


def load(path):
    """Loads a trained network and its scale.

    Args:
        path: `.keras` file; code hidden in it is not run (`safe_mode`).

    Returns:
        The `keras.Model`, and by how much it enlarges height and width.

    Raises:
        ValueError: no such file, not a Keras file, or not a network that enlarges RGB.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such weights file")
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path}: expected a .keras file; this is none, or a damaged one")
    try:
        model = keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises many kinds; each means the file is of no use
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path}: Keras cannot load it: {reason}") from error
    try:
        _, height, width, channels = model.compute_output_shape((1, 8, 8, 3))
    except Exception as error:
        raise ValueError(f"{path}: expected a network that takes (N, H, W, 3)") from error
    if channels != 3 or height != width or height % 8 or height < 8:
        raise ValueError(
            f"{path}: expected a network that enlarges RGB pictures by a whole number; "
            f"it makes (8, 8, 3) into ({height}, {width}, {channels})"
        )
    model.jit_compile = backend.wants_xla()
    return model, height // 8


def receptive_radius(model):
    """Distance in LR pixels over which a pixel of the input can change the output.

    The sum of how far each convolution reaches, at low resolution: at most two pixels too
    large for our networks, never too small.
    """
    reach = [
        layer.kernel_size[0] // 2
        for layer in model.layers
        if isinstance(layer, keras.layers.Conv2D)
    ]
    return sum(reach)


def windows(length, tile_size, halo):
    """Cuts a line of `length` pixels into tiles and widens each by its surroundings.

    The tiles are made about equally long, at most `tile_size`, so that none is a small rest
    in a large window. All windows have one size, so that the network is compiled once: at
    the ends of the line they are moved inwards.

    Returns:
        List of (start, stop) of the window, (start, stop) of the tile in it; the tiles
        cover the line once, and only the ends of the line are nearer to a tile than `halo`
        without being in its window.
    """
    tile_size = math.ceil(length / math.ceil(length / tile_size))
    size = min(tile_size + 2 * halo, length)
    starts = [min(max(first - halo, 0), length - size) for first in range(0, length, tile_size)]
    return [
        ((start, start + size), (first, min(first + tile_size, length)))
        for start, first in zip(starts, range(0, length, tile_size), strict=True)
    ]


def tiles(shape, tile_size, halo):
    """Windows and tiles of a picture of `shape` (H, W, ...), row by row.

    Returns:
        List of two pairs of slices: where the window lies, and where the tile lies.
    """
    return [
        (
            (slice(*window_rows), slice(*window_columns)),
            (slice(*rows), slice(*columns)),
        )
        for window_rows, rows in windows(shape[0], tile_size, halo)
        for window_columns, columns in windows(shape[1], tile_size, halo)
    ]


def enlarge_whole(model, lr):
    """Runs the network on grey, RGB or either with alpha.

    The colours are multiplied by alpha before and divided by it after, so that what lies
    hidden under transparent pixels does not bleed out of them as a fringe.

    Args:
        lr: float32 (H, W, C) in [0, 1] with C = 1, 2, 3 or 4.

    Returns:
        float32 (scale * H, scale * W, C), not clipped.
    """

    def run(colours):
        colours = np.broadcast_to(colours, (*colours.shape[:2], 3))
        return np.asarray(model.predict_on_batch(np.ascontiguousarray(colours)[None])[0])

    channels = lr.shape[2]
    grey = channels < 3
    if channels in (1, 3):
        sr = run(lr)
        return sr.mean(axis=2, keepdims=True) if grey else sr
    colours, alpha = lr[..., :-1], lr[..., -1:]
    sr_alpha = np.clip(run(alpha).mean(axis=2, keepdims=True), 0, 1)
    sr = run(colours * alpha)
    sr = sr.mean(axis=2, keepdims=True) if grey else sr
    scale = sr.shape[0] // lr.shape[0]
    hidden = colours.repeat(scale, axis=0).repeat(scale, axis=1)
    visible = sr_alpha > 1 / 512
    sr = np.where(visible, sr / np.maximum(sr_alpha, 1 / 512), hidden)
    return np.concatenate([sr, sr_alpha], axis=2)


def enlarge(model, picture, scale, tile_size, on_tile=lambda: None):
    """Enlarges a picture, tile by tile, without seams.

    Each tile is computed together with all surroundings that the network looks at, so the
    result is that of the whole picture at once, and memory beyond input and output depends
    on `tile_size` alone.

    Args:
        model, scale: as `load` returns them.
        picture: uint8 or uint16 (H, W) or (H, W, C) with C = 2, 3 or 4, as `utils.read`
            returns it.
        tile_size: LR pixels a side, at least 1.
        on_tile: called after each tile.

    Returns:
        The enlarged picture: same dtype, same channels, (scale * H, scale * W[, C]).
    """
    lr = picture[..., None] if picture.ndim == 2 else picture
    height, width, channels = lr.shape
    sr = np.empty((height * scale, width * scale, channels), picture.dtype)
    for window, tile in tiles(lr.shape, tile_size, receptive_radius(model)):
        enlarged = enlarge_whole(model, utils.to_network(lr[window]))
        # The tile as it lies in the enlarged picture, and in its enlarged window.
        there = tuple(slice(t.start * scale, t.stop * scale) for t in tile)
        here = tuple(
            slice((t.start - w.start) * scale, (t.stop - w.start) * scale)
            for t, w in zip(tile, window, strict=True)
        )
        sr[there] = utils.to_pixels(enlarged[here], picture.dtype)
        on_tile()
    return sr[..., 0] if picture.ndim == 2 else sr


def plan(source, target):
    """Which pictures are made into which files.

    Returns:
        List of (input, output) paths. A folder's pictures keep their places below `target`;
        pictures that lie in `target` itself are not inputs.

    Raises:
        ValueError: nothing to enlarge, or outputs would replace their inputs.
    """
    source, target = Path(source), Path(target)
    if source.is_file():
        if source.parent.resolve() == target.resolve():
            raise ValueError(f"TARGET = {str(target)!r}: expected another folder than the input's")
        return [(source, target / utils.output_name(source.name))]
    if not source.exists():
        raise ValueError(f"SOURCE = {str(source)!r}: no such file or folder")
    if source.resolve() == target.resolve():
        raise ValueError(f"TARGET = {str(target)!r}: expected another folder than SOURCE")
    pairs = []
    for path in utils.find_pictures(source):
        if not path.resolve().is_relative_to(target.resolve()):
            place = path.relative_to(source)
            pairs.append((path, target / place.with_name(utils.output_name(place.name))))
    if not pairs:
        endings = " ".join(sorted(utils.SUFFIXES))
        raise ValueError(f"SOURCE = {str(source)!r}: no pictures found in it ({endings})")
    return pairs


def enlarge_file(model, scale, source, target, tile_size):
    """Enlarges one file into another, with a progress bar over its tiles.

    Raises:
        ValueError: the picture cannot be read, or not be stored in this format.
        OSError: the output cannot be written.
    """
    picture, metadata = utils.read(source)
    pieces = len(tiles(picture.shape, tile_size, receptive_radius(model)))
    with tqdm(total=pieces, desc=source.name, unit="tile", leave=False, delay=1) as bar:
        enlarged = enlarge(model, picture, scale, tile_size, on_tile=bar.update)
    target.parent.mkdir(parents=True, exist_ok=True)
    utils.write(target, enlarged, metadata)


def enlarge_all(model, scale, pairs, tile_size, overwrite):
    """Enlarges many files; one that cannot be done is left out and the rest go on.

    Args:
        pairs: (input, output) paths.
        overwrite: whether outputs that are there already are made again.

    Returns:
        How many were done, how many were there already, and a dict of refused input ->
        reason.
    """
    done, there, refused = 0, 0, {}
    outputs = {}
    with tqdm(pairs, "pictures", unit="picture") as bar:
        for source, target in bar:
            if target in outputs:  # a.gif, which becomes a.gif.png, beside an a.gif.png
                refused[source] = f"{target} is the output of {outputs[target]}"
                continue
            outputs[target] = source
            if target.exists() and not overwrite:
                there += 1
                continue
            try:
                enlarge_file(model, scale, source, target, tile_size)
                done += 1
            except (ValueError, OSError) as error:
                refused[source] = " ".join(str(error).split())
                bar.write(f"refused {source}: {refused[source]}", file=sys.stderr)
    return done, there, refused


def main(arguments=None):
    """Runs the command; returns its exit code."""
    # A batch that is told to stop leaves by the same door as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        chosen = settings.parse([sys.modules[__name__]], arguments, ("SOURCE", "TARGET"))
        for name in ("source", "target"):
            settings.check_text(name, getattr(chosen, name))
        settings.check_text("weights", chosen.weights, may_be_empty=True)
        settings.check_flag("overwrite", chosen.overwrite)
        settings.check_whole("tile_size", chosen.tile_size, 1)
        pairs = plan(chosen.source, chosen.target)
        weights = Path(chosen.weights) if chosen.weights else best_weights()
        model, scale = load(weights)
        Path(chosen.target).mkdir(parents=True, exist_ok=True)
        print(
            f"{weights.name}: x{scale}, {model.count_params():,} parameters, "
            f"{backend.describe()}, float32"
        )
        done, there, refused = enlarge_all(model, scale, pairs, chosen.tile_size, chosen.overwrite)
    except (ValueError, OSError) as error:
        print(f"output.py: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\noutput.py: stopped; the same command goes on with what is left", file=sys.stderr)
        return 130
    print(f"{done} done, {there} already there, {len(refused)} refused, in {chosen.target}")
    for path, reason in refused.items():
        print(f"  {path}: {reason}")
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
