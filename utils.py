"""What the scripts share and no room is for: choosing and loading a network."""

import functools
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
# In names of weights: edsr_small_x2_photo is the small network for x2 and for JPEGs. What ends
# otherwise, one's own weights also, is for clean pictures.
SIZES = {"large": "", "small": "_small"}
CONTENTS = {"auto": "", "clean": "", "photo": "_photo"}


def best_weights(folder, scale=0, size="auto", content="clean", engine="auto"):
    """The weights to use when none are named.

    Those that the project ships come first, by their names: for x2 before x3 before x4, the
    large or the small network. Without them, one's own, the newest first.

    Args:
        folder: where to look.
        scale: 2, 3 or 4: only files whose name ends in `_x` and the scale; 0: any.
        content: clean, or photo: only files whose name ends in `_photo`, behind the scale.
        size: large or small: only that one of those that the project ships, or for JPEGs the
            other where it is not there; auto: the large one where there is a GPU, else the small
            one; or the other where it is not there.
        engine: one of `ENGINES`: whether that computes on a GPU.

    Returns:
        Path, and why it was chosen.

    Raises:
        InputError: there are none.
    """
    there = {path.name: path for path in sorted(Path(folder).glob("*.keras"))}
    mark = CONTENTS[content]
    ending = f"_x{scale}{mark}" if scale else mark
    fitting = {
        name: path
        for name, path in there.items()
        if path.stem.endswith(ending) and (mark or not path.stem.endswith(CONTENTS["photo"]))
    }
    if not there:
        raise InputError(f"{folder}: no .keras file in it; train one with python train.py")
    if not fitting:
        recipe = f"{'photo' if mark else 'small'} --scale {scale or 2}"
        kind = ("JPEGs" if mark else "clean pictures") + (f" at x{scale}" if scale else "")
        raise InputError(
            f"{folder}: no weights for {kind} in it (*{ending}.keras), only {', '.join(there)}; "
            f"train them with python train.py --recipe {recipe}"
        )
    has_gpu = engines.resolve(engine) == "keras" and backend.has_gpu()
    wanted = ("large" if has_gpu else "small") if size == "auto" else size
    reason = f"NETWORK = {size!r}"
    if size == "auto":
        reason = "there is a GPU" if has_gpu else "there is no GPU"
    other = "small" if wanted == "large" else "large"
    for one in [scale] if scale else SCALES:
        names = {kind: f"edsr{of_size}_x{one}{mark}.keras" for kind, of_size in SIZES.items()}
        if names[wanted] in fitting:
            return fitting[names[wanted]], f"the {wanted} network, because {reason}"
        if (mark or size == "auto") and names[other] in fitting:
            return fitting[names[other]], f"the {other} network, because there is no {wanted} one"
    if size != "auto":
        ends = [f"_x{one}{mark}.keras" for one in ([scale] if scale else SCALES)]
        raise InputError(f"{reason}: no edsr{SIZES[size]}{' or '.join(ends)} in {folder}")
    return max(fitting.values(), key=lambda path: path.stat().st_mtime), "the newest"


def read_graph(path):
    """The `Graph` of a weights file, in which there may be layers that network.py registers."""
    return weight_files.read_graph(path, register=lambda: importlib.import_module("network"))


def load(path, engine="auto", **options):
    """Loads a trained network.

    Args:
        path: `.keras` file; code hidden in it is not run (`safe_mode`).
        engine: what computes, one of `ENGINES`.
        options: `precision`, `tile_size` and `self_ensemble` of `Upscaler`.

    Returns:
        `Upscaler`, with the halo that is stored in the file.

    Raises:
        InputError: no such file, not a Keras file, not a network that enlarges RGB, or of layers
            that the engine does not know.
    """
    graph = read_graph(path)
    if engine == "openvino" and graph.unknown:
        raise InputError(
            f"ENGINE = 'openvino': {path}: {graph.unknown} has no OpenVINO graph here: expected "
            "'keras', or 'auto'"
        )
    if engines.resolve(engine) == "openvino" and not graph.unknown:
        network = FileNetwork(path, CACHE)
    else:
        model = weight_files.read(path)
        with weight_files.reading_weights(path):
            network = KerasNetwork(model)
    halo = weight_files.stored_halo(path)
    if halo == 0 and graph.unknown:
        halo = Upscaler(network, precision="float32").measured_halo([probe.picture()])
    return Upscaler(network, halo or None, **options)


def check_network(chosen):
    """Raises InputError where a setting that says which network, and how, is not valid.

    Args:
        chosen: settings of the names in this file, as `settings.parse` returns them.
    """
    settings.check_text("weights", chosen.weights, may_be_empty=True)
    settings.check_choice("scale", chosen.scale, (0, *SCALES))
    settings.check_choice("network", chosen.network, ("auto", *SIZES))
    settings.check_choice("content", chosen.content, CONTENTS)
    settings.check_choice("engine", chosen.engine, ENGINES)
    settings.check_choice("precision", chosen.precision, PRECISIONS)
    settings.check_whole("tile_size", chosen.tile_size, 0)
    settings.check_flag("self_ensemble", chosen.self_ensemble)


def known_condition(chosen, unset):
    """The fields of `Condition` that settings set, as a dict; `unset`: their values that do not.

    Raises:
        InputError: one is out of its range.
    """
    known = {name: getattr(chosen, name) for name in unset if getattr(chosen, name) != unset[name]}
    for name, value in known.items():
        check = settings.check_whole if name == "quality" else settings.check_within
        check(name, value, *RANGES[name])
    return known | ({"quality": known["quality"] / 100} if "quality" in known else {})


def check_takes(known, chosen, path, conditions):
    """Raises InputError where a network takes fewer conditions than `known_condition` returns."""
    for name in known:
        if name not in Condition._fields[:conditions]:
            raise InputError(
                f"{name.upper()} = {getattr(chosen, name)}: {Path(path).name} takes no {name}; it "
                f"was trained with CONDITIONS = {conditions}"
            )


class Network(NamedTuple):
    """A network in use: its file, why that was chosen (perhaps empty), and its `Upscaler`."""

    path: Path
    why: str
    upscaler: Upscaler

    def __str__(self):
        why = self.why and f" ({self.why})"
        return f"{self.path.name}{why}: {describe(self.upscaler)}{self.note}"

    @property
    def note(self):
        """Why Keras computes it where OpenVINO might, as a line of its own; perhaps empty."""
        unknown = self.upscaler.network.graph.unknown
        whole = "; it looks at the whole picture, so pictures are not cut into tiles"
        return unknown and (
            f"\nnote: {self.path.name}: {unknown} has no OpenVINO graph here, so Keras computes"
            + whole * (self.upscaler.halo is None)
        )


class Networks(NamedTuple):
    """The networks of a run.

    Attributes:
        clean: `Network` for lossless pictures.
        photo: `Network` for the others; perhaps the same one.
        is_clean: whether all pictures are taken for lossless.
    """

    clean: Network
    photo: Network
    is_clean: bool

    @property
    def scale(self):
        return self.clean.upscaler.scale

    @property
    def conditions(self):
        """How many numbers of a picture's condition make a difference."""
        # The quality decides between two networks even where neither takes it.
        count = max(self.photo.upscaler.conditions, int(self.photo is not self.clean))
        return 0 if self.is_clean else count

    def of(self, condition):
        """The `Network` for a picture of this condition, and what of the condition it knows."""
        known = Condition(*condition[: self.conditions])
        return (self.clean if known == CLEAN else self.photo), known

    def kind_of(self, condition):
        """Which pictures are enlarged by the same network as one of this condition, in words."""
        if self.photo is self.clean:
            return "all pictures"
        return f"{'lossless' if condition == CLEAN else 'lossy'} pictures"

    def __str__(self):
        if self.photo is self.clean:
            return str(self.clean)
        photo = f"{self.photo.path.name}, {_halo(self.photo.upscaler)}"
        return f"{self.clean}; JPEGs and the like: {photo}{self.photo.note}"


def scales_there(chosen, content):
    """The scales for which `load_chosen` finds networks in the project's folder.

    Args:
        chosen, content: as for `load_chosen`, without WEIGHTS.

    Raises:
        InputError: there are none.
    """
    errors = []

    def has_weights(scale, kind):
        try:
            best_weights(WEIGHTS_FOLDER, scale, chosen.network, kind, chosen.engine)
        except InputError as error:
            errors.append(error)
            return False
        return True

    for kind in _kinds(content):  # those for JPEGs are for clean pictures only where there are none
        wanted = [chosen.scale] if chosen.scale else SCALES
        if scales := tuple(scale for scale in wanted if has_weights(scale, kind)):
            return scales
    raise errors[0]


def _kinds(content):
    return ("clean", "photo") if content == "auto" else (content,)


def load_chosen(chosen, content, scale=0):
    """Loads the networks that the settings say.

    Args:
        chosen: as `check_network` takes it.
        content: one of `CONTENTS`.
        scale: of the networks, where SCALE says none.

    Returns:
        `Networks`, which are in words the first line of what is printed.

    Raises:
        InputError: there is none, or it is of another scale.
    """

    def loaded(path, why=""):
        upscaler = load(
            path,
            chosen.engine,
            precision=chosen.precision,
            tile_size=chosen.tile_size,
            self_ensemble=chosen.self_ensemble,
        )
        wanted = chosen.scale or scale
        if wanted not in (0, upscaler.scale):
            raise InputError(f"SCALE = {wanted}: {path} enlarges by {upscaler.scale}")
        return Network(Path(path), why, upscaler)

    if chosen.weights:
        network = loaded(chosen.weights)
        return Networks(network, network, content == "clean")
    networks, errors = [], []
    for kind in _kinds(content):
        wanted = networks[0].upscaler.scale if networks else chosen.scale or scale
        try:
            best = best_weights(WEIGHTS_FOLDER, wanted, chosen.network, kind, chosen.engine)
        except InputError as error:
            errors.append(error)
        else:
            networks.append(loaded(*best))
    if not networks:
        raise errors[0]
    return Networks(networks[0], networks[-1], content == "clean")


class AnyScale:
    """The networks of a run for pictures of any size, each loaded when it is first needed.

    Args:
        chosen, content: as `load_chosen` takes them.
        on_load: called with each `Networks` when it is loaded.
        is_one: only those of one scale, of SCALE or of the weights.

    Attributes:
        scales: for which there are some.

    Raises:
        InputError: there are none.
    """

    def __init__(self, chosen, content, on_load, is_one=False):
        self._load = functools.partial(load_chosen, chosen, content)
        self._on_load, self._loaded = on_load, {}
        if is_one or chosen.weights:
            self.scales = (self._take(self._load()),)
        else:
            self.scales = scales_there(chosen, content)

    def _take(self, networks):
        self._on_load(networks)
        self._loaded[networks.scale] = networks
        return networks.scale

    def __getitem__(self, scale):
        """`Networks` of a scale."""
        if scale not in self._loaded:
            self._take(self._load(scale))
        return self._loaded[scale]


def describe(upscaler):
    """The network and how it computes, in words, for the first line of a command's output."""
    traits = upscaler.network.traits
    return (
        f"x{upscaler.scale}, {traits.parameters:,} parameters, {upscaler.network}, "
        f"{upscaler.precision}"
        + (", self-ensemble" if upscaler.self_ensemble else "")
        + f", {_halo(upscaler)}"
    )


def _halo(upscaler):
    return "whole pictures" if upscaler.halo is None else f"halo {upscaler.halo}"
