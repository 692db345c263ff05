"""The networks of `weights/`: which one a picture gets, and loading it."""

import importlib
from pathlib import Path
from typing import NamedTuple

from superres.images.quality import CLEAN, RANGES, Condition
from superres.runtime import backend, engines, settings
from superres.runtime.engines import ENGINES
from superres.runtime.errors import InputError
from superres.upscaling import probe, weight_files
from superres.upscaling.networks import FileNetwork, KerasNetwork
from superres.upscaling.upscaler import PRECISIONS, Upscaler

WEIGHTS_FOLDER = Path(__file__).parent / "weights"
CACHE = WEIGHTS_FOLDER / ".cache"  # of what engines make of weights
SCALES = (2, 3, 4)
# Parts of names: edsr_small_x2_photo is the small network for x2 and for JPEGs. Your own weights
# are for JPEGs if their names end in _photo, for noisy or sharpened pictures if in _wild.
SIZES = {"large": "", "small": "_small"}
SUFFIXES = {"clean": "", "photo": "_photo", "wild": "_wild"}  # by content
SHARP = "_sharp"  # at the end of a name: weights that SHARPNESS mixes into those without it


class Weights:
    """The weights files of a folder, or those with sharp ones beside, by scale, size, content."""

    def __init__(self, folder, is_sharp=False):
        self.folder, self.is_sharp = Path(folder), is_sharp
        paths = sorted(self.folder.glob("*.keras"), key=lambda path: -path.stat().st_mtime)
        files = {path.stem: path for path in paths}  # the newest first
        wanted = [stem for stem in files if stem + SHARP in files or not is_sharp]
        self.files = {stem: files[stem] for stem in wanted if not stem.endswith(SHARP)}

    def pick(self, scale=0, size="auto", content="clean", engine="auto"):
        """Path of the weights to use when none are named, and the reason; `None` without any.

        Shipped weights come first, x2 (or `scale`) before x3 before x4; of the wanted size, or of
        the other one if `size` is auto (large on a GPU), `content` is not clean, or SHARPNESS is
        set. Then, if `size` is auto, the newest of your own.
        """
        has_gpu = size == "auto" and engines.resolve(engine) == "keras" and backend.has_gpu()
        wanted = ("large" if has_gpu else "small") if size == "auto" else size
        reason = f"there is {'a' if has_gpu else 'no'} GPU"
        reason = reason if size == "auto" else f"NETWORK = {size!r}"
        other = "small" if wanted == "large" else "large"
        may_be_other = size == "auto" or content != "clean" or self.is_sharp
        for one in [scale] if scale else SCALES:
            for kind, why in (wanted, reason), (other, f"there is no {wanted} one"):
                path = self.files.get(f"edsr{SIZES[kind]}_x{one}{SUFFIXES[content]}")
                if path and (kind == wanted or may_be_other):
                    return path, f"the {kind} network, because {why}"
        ending = (f"_x{scale}" if scale else "") + SUFFIXES[content]
        others = tuple(filter(None, SUFFIXES.values())) if content == "clean" else ()
        for stem, path in self.files.items() if size == "auto" else ():
            if stem.endswith(ending) and not stem.endswith(others):
                return path, "the newest"
        return None

    def missing(self, scale, size, content):
        """The error where `pick` returns `None`."""
        kind = {"photo": "JPEGs", "wild": "noisy, blurred or sharpened pictures"}.get(content)
        kind = (kind or "clean pictures") + f" at x{scale}" * bool(scale)
        kind += f" and NETWORK = {size!r}" * (size != "auto")
        recipe = f"{'small' if content == 'clean' else 'photo'} --scale {scale or 2}"
        recipe += f" --name my_x{scale or 2}_wild" * (content == "wild")
        if self.is_sharp:
            kind, recipe = f"SHARPNESS and {kind}", f"sharp --scale {scale or 2}"
        there = f"only {', '.join(sorted(self.files))}" if self.files else "no .keras file at all"
        return InputError(
            f"{self.folder}: no weights for {kind} in it, {there}; train them with python train.py "
            f"--recipe {recipe}"
        )


def read_graph(path):
    """The `Graph` of a weights file, in which there may be layers that network.py registers."""
    return weight_files.read_graph(path, register=lambda: importlib.import_module("network"))


def load(path, engine="auto", mix=None, **options):
    """The `Upscaler` of a `.keras` file, with the halo that is stored in it.

    `engine` is one of `ENGINES`; `mix`, of `FileNetwork`, another file and its share; `options` are
    `precision`, `tile_size` and `self_ensemble` of `Upscaler`.
    InputError: not a network that enlarges RGB, or the engine does not know its layers.
    """
    graph, paths = read_graph(path), [path, *(mix or ())[:1]]
    if engine == "openvino" and graph.unknown:
        raise InputError(
            f"ENGINE = 'openvino': {path}: {graph.unknown} has no OpenVINO graph here: expected "
            "'keras', or 'auto'"
        )
    if engines.resolve(engine) == "openvino" and not graph.unknown:
        network = FileNetwork(path, CACHE, mix=mix)
    else:
        model = weight_files.read(path)
        if mix:
            others = weight_files.read(mix[0]).get_weights()
            model.set_weights(weight_files.mix(model.get_weights(), others, mix[1]))
        with weight_files.errors_naming(path):
            network = KerasNetwork(model, True, weight_files.stored_limits(graph, *paths))
    halos = [weight_files.stored_halo(one) for one in paths]
    halo = None if None in halos else max(halos) * all(halos)
    if halo == 0 and graph.unknown:
        halo = Upscaler(network, precision="float32").measure_halo([probe.picture()])
    return Upscaler(network, halo or None, **options)


def condition_fields(values, unset):
    """The fields of `Condition` in the settings `values` that differ from `unset`, both dicts.

    The quality is from 0 to 1. InputError: one is out of its range.
    """
    known = {name: values[name] for name in unset if values[name] != unset[name]}
    for name, value in known.items():
        check = settings.check_whole if name == "quality" else settings.check_within
        check(name, value, *RANGES[name])
    return known | ({"quality": known["quality"] / 100} if "quality" in known else {})


def check_accepts(known, path, conditions):
    """Raises InputError where a network takes fewer conditions than `condition_fields` returns."""
    for name in known:
        if name not in Condition._fields[:conditions]:
            raise InputError(
                f"{name.upper()}: {Path(path).name} takes no {name}; it was trained with "
                f"CONDITIONS = {conditions}"
            )


class Network(NamedTuple):
    """A network in use."""

    path: Path
    why: str  # the reason for it; perhaps empty
    upscaler: Upscaler
    mix: tuple | None = None  # of `FileNetwork`

    def __str__(self):
        why = self.why and f" ({self.why})"
        why += f", sharpness {self.mix[1]:g}" if self.mix else ""
        traits = self.upscaler.network.traits
        ensemble = ", self-ensemble" * self.upscaler.self_ensemble
        return (
            f"{self.path.name}{why}: x{traits.scale}, {traits.parameters:,} parameters, "
            f"{self.upscaler.network}, {self.upscaler.precision}{ensemble}, {self.reach}{self.note}"
        )

    @property
    def reach(self):
        halo = self.upscaler.halo
        return "whole pictures" if halo is None else f"halo {halo}"

    @property
    def note(self):
        """Why OpenVINO does not compute it, as a line of its own; empty if it could."""
        unknown = self.upscaler.network.graph.unknown
        whole = "; it looks at the whole picture, so pictures are not cut into tiles"
        return unknown and (
            f"\nnote: {self.path.name}: {unknown} has no OpenVINO graph here, so Keras computes"
            + whole * (self.upscaler.halo is None)
        )


class Networks(NamedTuple):
    """The networks of one scale."""

    clean: Network  # for lossless pictures
    photo: Network  # for the others; perhaps the same one
    wild: Network  # for those of them with noise, blur or sharpening; perhaps the same one
    is_clean: bool  # whether all pictures are taken for lossless

    @property
    def scale(self):
        return self.clean.upscaler.scale

    @property
    def conditions(self):
        """How many numbers of a picture's `Condition` are needed."""
        # They decide between networks even if none takes them.
        count = len(CLEAN) if self.wild is not self.photo else int(self.photo is not self.clean)
        return 0 if self.is_clean else max(self.photo.upscaler.conditions, count)

    def select(self, condition):
        """The `Network` for a picture of this condition, and as much of it as that takes."""
        known = Condition(*condition[: self.conditions])
        other = self.wild if known.is_altered else self.photo
        return (self.clean if known == CLEAN else other), known

    def names(self, suffix):
        """The files that may enlarge a picture of a format; what is lossless may look lossy."""
        is_lossy = suffix.lower() in (".jpg", ".jpeg", ".avif")
        return " or ".join(dict.fromkeys(one.path.name for one in self[is_lossy:3]))

    def kind_of(self, condition):
        """The pictures that share a network with one of this condition, in words."""
        if self.wild is self.clean:
            return "all pictures"
        lossy = "altered" if condition.is_altered and self.wild is not self.photo else "lossy"
        return f"{'lossless' if condition == CLEAN else lossy} pictures"

    def __str__(self):
        text, before = str(self.clean), self.clean
        kinds = "JPEGs and the like", "noisy, blurred or sharpened"
        for kind, one in zip(kinds, self[1:3], strict=True):
            if one is not before:
                how = f"{one.upscaler.precision}, {one.reach}{one.note}"
                text += f"; {kind}: {one.path.name}, {how}"
            before = one
        return text


class NetworkOptions(NamedTuple):
    """Which networks to use, and how: the settings of these names, in lower case."""

    weights: str = ""
    scale: int = 0
    network: str = "auto"
    content: str = "auto"
    engine: str = "auto"
    precision: str = "auto"
    tile_size: int = 0
    self_ensemble: bool = False
    sharpness: float = 0.0

    def check(self):
        """Raises InputError where one is out of range."""
        settings.check_text("weights", self.weights, may_be_empty=True)
        settings.check_choice("scale", self.scale, (0, *SCALES))
        settings.check_choice("network", self.network, ("auto", *SIZES))
        settings.check_choice("content", self.content, ("auto", *SUFFIXES))
        settings.check_choice("engine", self.engine, ENGINES)
        settings.check_choice("precision", self.precision, PRECISIONS)
        settings.check_whole("tile_size", self.tile_size, 0)
        settings.check_flag("self_ensemble", self.self_ensemble)
        settings.check_within("sharpness", self.sharpness, 0, 1)

    def for_known(self, known):
        """These options where fields of `Condition` are `known` for all pictures; or InputError."""
        if known and self.content == "clean":
            raise InputError(f"{', '.join(known).upper()}: not possible with CONTENT = 'clean'")
        if not known or self.content != "auto":
            return self
        return self._replace(content="wild" if known.keys() - {"quality"} else "photo")

    @property
    def kinds(self):
        """Of networks: values of CONTENT."""
        if self.content == "auto":
            return tuple(SUFFIXES)
        # Sharp ones are trained from those for all kinds of pictures, JPEGs too.
        return ("wild" if self.sharpness and self.content == "photo" else self.content,)

    def load(self, scale=0):
        """The `Networks` of these options; `scale` counts where SCALE is 0.

        InputError: there are none, or they are of another scale.
        """
        scale = self.scale or scale
        if self.weights:
            network = self._load(self.weights, "", scale)
            return Networks(network, network, network, self.content == "clean")
        found, weights = {}, Weights(WEIGHTS_FOLDER, bool(self.sharpness))
        for kind in self.kinds:
            if pick := weights.pick(scale, self.network, kind, self.engine):
                found[kind] = self._load(*pick, scale)
                scale = found[kind].upscaler.scale
        if not found:
            raise weights.missing(scale, self.network, self.kinds[0])
        # In place of a missing one, the next that knows such pictures.
        clean = found.get("clean") or next(iter(found.values()))
        photo = found.get("photo") or found.get("wild") or clean
        return Networks(clean, photo, found.get("wild") or photo, self.content == "clean")

    def _load(self, path, why, scale):
        names = "precision", "tile_size", "self_ensemble"
        options = {name: getattr(self, name) for name in names}
        mix = self._mix(path)
        upscaler = load(path, self.engine, mix, **options)
        if scale not in (0, upscaler.scale):
            raise InputError(f"SCALE = {scale}: {path} enlarges by {upscaler.scale}")
        return Network(Path(path), why, upscaler, mix)

    def _mix(self, path):
        """The sharp weights beside those in `path`, and their share; `None` without SHARPNESS."""
        if not self.sharpness:
            return None
        sharp = Path(path).with_stem(Path(path).stem + SHARP)
        if not sharp.is_file():
            raise InputError(
                f"SHARPNESS = {self.sharpness:g}: needs {sharp.name} beside {path}; "
                'docs/training.md, "Sharp pictures", says how to train it'
            )
        return sharp, self.sharpness

    def scales(self):
        """The scales for which there are networks, where WEIGHTS is empty; InputError: none."""
        weights = Weights(WEIGHTS_FOLDER, bool(self.sharpness))
        for kind in self.kinds:  # those for JPEGs only where there are no others
            wanted = [self.scale] if self.scale else SCALES
            picks = {one: weights.pick(one, self.network, kind, self.engine) for one in wanted}
            if scales := tuple(one for one, pick in picks.items() if pick):
                return scales
        raise weights.missing(self.scale, self.network, self.kinds[0])


class NetworksByScale:
    """The `Networks` of `NetworkOptions` by scale, each loaded when it is first needed.

    `on_load` is called with each. With `one_scale` there is one alone, that of SCALE or of the
    weights. InputError: there are none.
    """

    def __init__(self, options, on_load, one_scale=False):
        self._options, self._on_load, self._loaded = options, on_load, {}
        one_scale = one_scale or options.weights
        self.scales = (self._add(options.load()),) if one_scale else options.scales()

    def _add(self, networks):
        self._on_load(networks)
        self._loaded[networks.scale] = networks
        return networks.scale

    def __getitem__(self, scale):
        """`Networks` of a scale."""
        if scale not in self._loaded:
            self._add(self._options.load(scale))
        return self._loaded[scale]
