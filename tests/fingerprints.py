"""Whether all still computes what it did: SHA-256 of crops, graphs, files, pixels, scores, states.

`python tests/fingerprints.py [FILE]` computes them and compares them with FILE, by default
fingerprints.json beside it; exit code 1 where something differs. With `--write` it records them.
"""

import argparse
import contextlib
import hashlib
import io
import json
import os
import platform
import shutil
import sys
import tempfile
import time
import zlib
from importlib.metadata import version
from pathlib import Path
from unittest import mock

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent))
import evaluate
import output
import train
import utils
from superres.dataset.folder import open_dataset
from superres.dataset.options import DataOptions
from superres.images.write import write_picture
from superres.training import checkpoint
from superres.upscaling import weight_files
from superres.upscaling.folding import linear_end
from superres.upscaling.graph import Graph
from superres.upscaling.onnx_graph import onnx_graph

RECORD = Path(__file__).with_suffix(".json")
ROOT = RECORD.parent.parent
LR, HR = ROOT / "inference/original", ROOT / "evaluation/original"
SMALL = "--network small --precision float32 --tile-size 192"  # in several tiles
TINY = "--num-filters 8 --residual-blocks 2 --data photos --crop-size 48 --batch-size 4 --epochs 1"
TINY += " --steps-per-epoch 5 --validation-crop 64 --learning-rate 1e-3 --name tiny --optimizer "
KINDS = "muon", "adam", *(f"{o} --degradation wild --conditions 1" for o in ("muon", "adam"))


def run(main, *paths, words, code=0):
    if (ended := main([*map(str, paths), *words.split()])) != code:
        sys.exit(f"{main.__module__}.py {words}: exit code {ended}")


def crops():
    """As train.py cuts them, of photographs just decoded and of those in the cache."""
    for scale, kind in (2, "bicubic"), (2, "wild"), (3, "bicubic"), (3, "wild"):
        options = DataOptions("photos", "", "cache", scale, 96, 8, 512, 1, kind)
        with open_dataset(options) as data:
            for step in 0, 1, 999:
                (lr, condition), hr = data.batch(step)
                # Noise and blur are estimated in floats, which differ between processors.
                parts = {"lr": lr, "hr": hr}
                parts |= {"quality": condition[..., 0]} if kind == "wild" else {}
                yield from ((f"x{scale} {kind} {step} {name}", a) for name, a in parts.items())


def graphs():
    """ONNX of the shipped weights."""
    for path in sorted((ROOT / "weights").glob("edsr_*.keras")):
        graph = Graph(weight_files.read_config(path))
        arrays = weight_files.read_arrays(path, graph)
        for name, end in ("folded", linear_end(graph)), ("plain", None):
            yield f"{path.stem} {name}", onnx_graph(graph, arrays, end).SerializeToString()


def files():
    """Lossless files with metadata; of 16 bits they have several strips."""
    with Image.open(HR / "astronaut.png") as image:
        rgb, icc = np.asarray(image), image.info["icc_profile"]
    deep = np.random.default_rng(1).integers(256, size=(*rgb.shape[:2], 4), dtype=np.uint16)
    deep[..., :3] += np.uint16(256) * rgb
    exif = Image.Exif()
    exif[0x010E], exif.get_ifd(0x8769)[0x9003] = "a description", "2026:01:02 03:04:05"
    for name, picture in ("8", rgb), ("16", deep[..., :3]), ("16 alpha", deep):
        for path in Path("x.png"), Path("x.tif"):
            write_picture(path, picture, {"icc_profile": icc, "exif": exif.tobytes()})
            yield f"{name} {path.suffix}", path.read_bytes()


def pixels():
    """Of what output.py makes of the samples."""
    ways = [f"{engine} --scale {scale}" for engine in ("openvino", "keras") for scale in (2, 3, 4)]
    for way in [*ways, "openvino --size 1.5"]:
        run(output.main, LR, way, words=f"{SMALL} --engine {way}")
        for path in sorted(Path(way).iterdir()):
            yield f"{way} {path.name}", np.asarray(Image.open(path))


def scores():
    """In results.json."""
    run(evaluate.main, HR, words=f"{SMALL} --engine openvino --scale 2 --no-pictures")
    results = json.loads(Path("evaluation/results.json").read_text())
    for row in [*results["images"], results["mean"] | {"name": "mean"}]:
        numbers = {key: value for key, value in row.items() if isinstance(value, float)}
        yield row["name"], json.dumps(numbers, sort_keys=True).encode()


def states():
    """Weights and optimizer after 5 steps of training, at once or killed after 3 and resumed."""
    save = checkpoint.States.save

    def save_and_die(*arguments):
        save(*arguments)
        if any(train.WEIGHTS_FOLDER.glob("*.state-*3.npz")):
            raise KeyboardInterrupt

    for kind in KINDS:
        for way in "at once", "resumed":
            with mock.patch.object(train, "WEIGHTS_FOLDER", Path(kind, way).absolute()) as folder:
                folder.mkdir(parents=True)
                if way == "resumed":
                    with mock.patch.object(checkpoint.States, "save", save_and_die):
                        run(train.main, words=f"{TINY} {kind} --save-minutes 1e-9", code=130)
                run(train.main, words=f"{TINY} {kind}")
                arrays = checkpoint.States(folder, "tiny").newest().arrays
                yield f"{kind} {way}", b"".join(arrays[name].tobytes() for name in sorted(arrays))


PACKAGES = ("numpy", "pillow", "opencv-python-headless", "h5py", "onnx", "protobuf")
PACKAGES += ("keras", "tensorflow", "openvino")
# What each group depends on beside the code, by its name in `machine`; (): on all of it.
NEEDS = {crops: PACKAGES[:3], graphs: ("numpy", "h5py", "onnx", "protobuf")}
NEEDS |= {files: (*PACKAGES[:3], "zlib"), pixels: (), scores: (), states: ()}


def machine():
    path = Path("/proc/cpuinfo")  # of Linux
    lines = path.read_text().splitlines() if path.exists() else []
    cpu = {key.strip(): value for key, _, value in (line.partition(": ") for line in lines)}
    return {
        "processor": cpu.get("model name", platform.platform()),
        "its flags": hashlib.sha256(cpu.get("flags", "").encode()).hexdigest(),
        "number of cores": os.cpu_count(),
        "zlib": zlib.ZLIB_RUNTIME_VERSION,
    } | {name: version(name) for name in PACKAGES}


def digest(value):
    about = f"{value.dtype}{value.shape}" if isinstance(value, np.ndarray) else ""
    return hashlib.sha256(about.encode() + bytes(value)).hexdigest()


def digests(group):
    """SHA-256 of each value of a group, by name; what is printed shows only where it fails."""
    said = io.StringIO()
    try:
        with contextlib.ExitStack() as held:
            folder = held.enter_context(tempfile.TemporaryDirectory())
            held.enter_context(contextlib.chdir(folder))
            held.enter_context(contextlib.redirect_stdout(said))
            held.enter_context(contextlib.redirect_stderr(said))
            held.enter_context(mock.patch.object(utils, "CACHE", Path(folder, "engines")))
            shutil.copytree(LR, "photos/lr")
            shutil.copytree(HR, "photos/hr")
            return {name: digest(value) for name, value in group()}
    except BaseException:
        print(said.getvalue(), file=sys.stderr)
        raise


def compare(group, record):
    """What of the machine is other than where `record` was made, and, if nothing, what differs."""
    here, there = machine(), record["machine"]
    if others := [name for name in NEEDS[group] or here if here[name] != there.get(name)]:
        return others, []
    here, there = digests(group), record[group.__name__]
    return [], [name for name in here | there if here.get(name) != there.get(name)]


def main():
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", type=Path, default=RECORD)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    # Sums depend on what computes them, and by how many threads.
    os.environ |= {"KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1"}
    os.environ["TF_NUM_INTRAOP_THREADS"] = "2"
    if options.write:
        record = {"machine": machine()} | {group.__name__: digests(group) for group in NEEDS}
        options.file.write_text(json.dumps(record, indent=1) + "\n")
        return 0
    record, is_equal = json.loads(options.file.read_text()), True
    for group in NEEDS:
        began = time.monotonic()
        others, differing = compare(group, record)
        result = f"differs: {', '.join(differing)}" if differing else "equal"
        result = f"not comparable here: other {', '.join(others)}" if others else result
        print(f"{group.__name__}: {result} ({time.monotonic() - began:.0f} s)", flush=True)
        is_equal = is_equal and not differing
    return 0 if is_equal else 1


if __name__ == "__main__":
    sys.exit(main())
