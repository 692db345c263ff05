"""Test sets: how they lie on disk, their pictures, and what was published about them."""

import re
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

import metrics
import utils

# Layouts as people have them: HR folder, and the folders where its LR pictures may be, with
# {s} for the scale. All names are below the folder of the test set.
LAYOUTS = (
    ("HR", ("LR/x{s}", "LR/X{s}", "LR_bicubic/X{s}", "LR_bicubic/x{s}")),  # ours; EDSR's
    ("GTmod12", ("LRbicx{s}",)),  # BasicSR's
    ("DIV2K_valid_HR", ("DIV2K_valid_LR_bicubic/X{s}",)),
    ("DIV2K_train_HR", ("DIV2K_train_LR_bicubic/X{s}",)),
)
IMAGE_SRF = "image_SRF_"  # SelfExSR's: img_001_SRF_2_HR.png beside img_001_SRF_2_LR.png

# The field's names of test sets, by the names of folders in lower case.
NAMES = {
    "set5": "Set5",
    "set14": "Set14",
    **dict.fromkeys(("b100", "bsd100", "bsds100"), "B100"),
    "urban100": "Urban100",
    "div2k_valid_hr": "DIV2K",
}
COUNTS = {"Set5": 5, "Set14": 14, "B100": 100, "Urban100": 100, "DIV2K": 100}
# Scale -> test set -> PSNR and SSIM on Y of EDSR-baseline and of EDSR. EDSR from Lim et al.,
# 2017, table 3; the baseline from Ahn et al. (CARN), 2018, who measured its weights.
PUBLISHED = {
    2: {
        "Set5": ((37.99, 0.9604), (38.11, 0.9601)),
        "Set14": ((33.57, 0.9175), (33.92, 0.9195)),
        "B100": ((32.16, 0.8994), (32.32, 0.9013)),
        "Urban100": ((31.98, 0.9272), (32.93, 0.9351)),
    },
    3: {
        "Set5": ((34.37, 0.9270), (34.65, 0.9282)),
        "Set14": ((30.28, 0.8417), (30.52, 0.8462)),
        "B100": ((29.09, 0.8052), (29.25, 0.8093)),
        "Urban100": ((28.15, 0.8527), (28.80, 0.8653)),
    },
    4: {
        "Set5": ((32.09, 0.8938), (32.46, 0.8968)),
        "Set14": ((28.58, 0.7813), (28.80, 0.7876)),
        "B100": ((27.57, 0.7357), (27.71, 0.7420)),
        "Urban100": ((26.04, 0.7849), (26.64, 0.8033)),
    },
}
# The same two on DIV2K's validation pictures: PSNR over RGB, inside a border of scale + 2
# pixels; from the authors' repository, EDSR-PyTorch.
PUBLISHED_RGB = {2: (34.61, 35.03), 3: (30.92, 31.26), 4: (28.95, 29.25)}
PUBLISHED_METHODS = ("EDSR-baseline", "EDSR")

HR_MARK = re.compile(r"(_SRF_\d+)?_(HR|GT)$")  # what some layouts append to a picture's name
SCALE_FOLDER = re.compile(r"[xX]\d+")


@dataclass(frozen=True)
class Pair:
    """A picture to be restored.

    Attributes:
        hr: path of the original.
        lr: path of its low-resolution picture; None where that is made.
        name: relative path under which it is known and its results are written.
    """

    hr: Path
    lr: Path | None
    name: Path


@dataclass(frozen=True)
class TestSet:
    """Pictures that are scored together.

    Attributes:
        name: the field's, where the folder's name is known; else the folder's.
        folder: where it is.
        layout: where in it the HR and the LR pictures are, in words.
        pairs: list of `Pair`.
    """

    name: str
    folder: Path
    layout: str
    pairs: list = field(repr=False)

    __test__ = False  # its name is not one of pytest's


def published(name, scale, count):
    """What others have published about a test set.

    Args:
        name: of the test set.
        scale: 2, 3 or 4.
        count: pictures that were scored.

    Returns:
        dict of method -> dict of psnr and ssim (on Y), or of rgb_psnr; empty when the name
        is not known, or when not all pictures of the set are there.
    """
    if COUNTS.get(name) != count:
        return {}
    if name == "DIV2K":
        scores = [{"rgb_psnr": value} for value in PUBLISHED_RGB.get(scale, ())]
    else:
        found = PUBLISHED.get(scale, {}).get(name, ())
        scores = [{"psnr": psnr, "ssim": ssim} for psnr, ssim in found]
    return dict(zip(PUBLISHED_METHODS, scores, strict=False))


def _lr_beside(folder, name, scale):
    """The LR picture of `name` in `folder`: of the same name, or with x2 behind its stem.

    Where there is none, the path of the same name.
    """
    same = folder / name
    stem = same.with_name(f"{same.stem}x{scale}{same.suffix}")
    return stem if stem.is_file() and not same.is_file() else same


def _pictures(folder):
    return [(path, path.relative_to(folder)) for path in utils.find_pictures(folder)]


def _by_folders(folder, hr_name, lr_names, scale, name):
    """A test set whose HR and LR pictures are in folders of their own."""
    hr_folder = folder / hr_name
    places = [folder / lr.format(s=scale) for lr in lr_names]
    lr_folder = next((place for place in places if place.is_dir()), None)
    pairs = [
        Pair(hr, lr_folder and _lr_beside(lr_folder, path, scale), path)
        for hr, path in _pictures(hr_folder)
    ]
    lr_text = lr_folder.relative_to(folder).as_posix() if lr_folder else "made here"
    return TestSet(name, folder, f"HR in {hr_name}, LR {lr_text}", pairs)


def _by_marks(folder, scale, name):
    """A test set in SelfExSR's layout: HR and LR in one folder, told apart by their names."""
    place = folder / f"{IMAGE_SRF}{scale}"
    if not place.is_dir():
        there = ", ".join(sorted(path.name for path in folder.glob(IMAGE_SRF + "*")))
        raise ValueError(f"{folder}: expected {place.name} for x{scale} in it, found {there}")
    pairs = []
    for hr, path in _pictures(place):
        if hr.stem.endswith("_HR"):
            lr = hr.with_name(hr.stem.removesuffix("_HR") + "_LR" + hr.suffix)
            pairs.append(Pair(hr, lr, path))
    return TestSet(name, folder, f"*_HR and *_LR in {place.name}", pairs)


def _known_name(folder):
    """The field's name of a test set in a folder of this name, or None."""
    return NAMES.get(folder.name.lower())


def _recognised(folder, scale):
    """The test set in a folder whose layout is one of those known, or None."""
    name = _known_name(folder) or folder.name
    for hr_name, lr_names in LAYOUTS:
        is_div2k = hr_name.startswith("DIV2K")
        if folder.name == hr_name and is_div2k:  # the HR folder itself, its LR beside it
            return _by_folders(folder.parent, hr_name, lr_names, scale, name)
        if (folder / hr_name).is_dir():
            name = _known_name(folder / hr_name) or hr_name if is_div2k else name
            return _by_folders(folder, hr_name, lr_names, scale, name)
    if folder.name.startswith(IMAGE_SRF):
        parent = folder.parent
        if folder.name != f"{IMAGE_SRF}{scale}":
            raise ValueError(f"{folder}: expected {IMAGE_SRF}{scale} for x{scale}")
        return _by_marks(parent, scale, _known_name(parent) or parent.name)
    if any(path.is_dir() for path in folder.glob(IMAGE_SRF + "*")):
        return _by_marks(folder, scale, name)
    return None


def find(folder, scale):
    """The test sets in a folder.

    Args:
        folder: a folder of HR pictures, searched recursively; or one in a layout of
            `LAYOUTS` or of SelfExSR; or a folder of several such, or of folders named as
            test sets are.
        scale: how far the pictures are reduced.

    Returns:
        List of `TestSet`, at least one, each with at least one picture.

    Raises:
        ValueError: no such folder, no pictures in it, or none for this scale.
        OSError: it cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"FOLDER = {str(folder)!r}: no such folder")
    found = [_recognised(folder.resolve() if not folder.name else folder, scale)]
    if not found[0]:
        order = list(NAMES.values())
        inside = sorted(
            (path for path in folder.iterdir() if path.is_dir()),
            key=lambda path: (order.index(_known_name(path) or order[-1]), path),
        )
        found = [_recognised(path, scale) or _plain(path) for path in inside]
        is_several = any(_known_name(path) or _recognised(path, scale) for path in inside)
        found = [one for one in found if one.pairs] if is_several else [_plain(folder)]
    for one in found:
        if not one.pairs:
            endings = " ".join(sorted(utils.SUFFIXES))
            raise ValueError(
                f"FOLDER = {str(folder)!r}: no pictures found in it ({one.layout}; {endings})"
            )
    return found


def _plain(folder):
    """A folder of HR pictures as a test set."""
    pairs = [Pair(hr, None, path) for hr, path in _pictures(folder)]
    name = _known_name(folder) or folder.resolve().name
    return TestSet(name, folder, "HR pictures, LR made here", pairs)


def _read_8bit(path, notes, what):
    """Pixels as `utils.read_8bit` gives them; what was changed is added to the list `notes`."""
    pixels, _ = utils.read(path)
    if pixels.dtype == np.uint16:
        notes.append(f"{what} of 16 bits, rounded to 8")
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4):
        notes.append(f"transparency of {what} left out")
    return utils.to_8bit(pixels)


def _in_colours_of(picture, hr, notes, what):
    """A picture as grey or RGB, as the original is."""
    if picture.ndim == hr.ndim:
        return picture
    if hr.ndim == 3:
        notes.append(f"{what} is grey, the original is not")
        return np.repeat(picture[..., None], 3, axis=2)
    notes.append(f"{what} reduced to grey, as the original is")
    return cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)  # equal channels stay what they are


def read_pair(pair, scale):
    """The HR picture, cropped to a multiple of the scale, and its LR picture, read or made.

    Args:
        pair: `Pair`.
        scale: how far the LR picture is reduced.

    Returns:
        uint8 (H, W, 3), or (H, W) of a grey original; uint8 (H/scale, W/scale[, 3]); list of
        texts: what had to be changed.

    Raises:
        ValueError: unreadable, too small to be scored, without its LR picture, or with one
            of another size.
    """
    notes = []
    whole = _read_8bit(pair.hr, notes, "original")
    hr = utils.crop_to_multiple(whole, scale)
    smallest = 2 * (scale + metrics.SSIM_RADIUS) + 1
    if min(hr.shape[:2]) < smallest:
        raise ValueError(
            f"{hr.shape[1]}x{hr.shape[0]} in multiples of {scale}: expected at least "
            f"{smallest}x{smallest} to be scored"
        )
    if pair.lr is None:
        return hr, utils.downscale(hr, scale), notes
    if not pair.lr.is_file():
        raise ValueError(f"its LR picture is missing: expected {pair.lr}")
    lr = _in_colours_of(_read_8bit(pair.lr, notes, "LR"), hr, notes, "LR")
    expected = (hr.shape[0] // scale, hr.shape[1] // scale)
    if lr.shape[:2] != expected:
        raise ValueError(
            f"its LR picture {pair.lr} has {lr.shape[1]}x{lr.shape[0]} pixels: expected "
            f"{expected[1]}x{expected[0]}, the original's {whole.shape[1]}x{whole.shape[0]} "
            f"divided by {scale}"
        )
    return hr, lr, notes


def read_result(path, hr, notes):
    """A picture that another program restored, in the size and the colours of the original.

    Args:
        path: its file.
        hr: the original as `read_pair` returns it.
        notes: list to which is added what had to be changed.

    Returns:
        uint8, of the shape of `hr`.

    Raises:
        ValueError: unreadable, or of another size.
    """
    picture = _read_8bit(path, notes, path.name)
    if picture.shape[:2] != hr.shape[:2]:
        raise ValueError(
            f"{path}: {picture.shape[1]}x{picture.shape[0]} pixels, expected "
            f"{hr.shape[1]}x{hr.shape[0]}"
        )
    return _in_colours_of(picture, hr, notes, path.name)


def label(folder):
    """The name of a program whose pictures are in `folder`: the folder's, or that above an x2."""
    folder = Path(folder).resolve()
    return folder.parent.name if SCALE_FOLDER.fullmatch(folder.name) else folder.name


def find_results(folder, test_set, scale):
    """Pictures that another program made of those of a test set, by their names.

    They may lie in the folder itself, in x2, in one named as the test set, or in x2 in that.
    A name fits when it is the original's, with another ending, or with more behind it:
    `baby.png`, `baby_x2.png`, `babyx2_SR.png`.

    Args:
        folder: where to look.
        test_set: `TestSet`.
        scale: of the pictures.

    Returns:
        dict of `Pair.name` -> path, with those that were found.

    Raises:
        ValueError: no such folder, or several pictures whose names fit one original.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"COMPARE = {str(folder)!r}: no such folder")
    named = [
        place
        for place in sorted(folder.iterdir())
        if place.is_dir() and (_known_name(place) or place.name) == test_set.name
    ]
    for place in [*named, folder]:
        for inner in (place / f"x{scale}", place / f"X{scale}", place):
            if inner.is_dir() and (found := _match(inner, test_set.pairs)):
                return found
    return {}


def _match(folder, pairs):
    """Pictures in a folder that belong to pairs: dict of name -> path."""
    files = {path.relative_to(folder): path for path in utils.find_pictures(folder)}

    bases = {pair.name: pair.name.with_name(HR_MARK.sub("", pair.name.stem)) for pair in pairs}

    def is_same(path, name):
        return path == name

    def is_same_but_its_ending(path, name):
        return path.with_suffix("") in (name.with_suffix(""), bases[name])

    def begins(path, base):
        more = re.compile(re.escape(base.name) + r"([_\-. ]|x\d).*", re.DOTALL)
        return path.parent == base.parent and more.fullmatch(path.stem) is not None

    def begins_the_same(path, name):
        # Of cat and cat_2, cat_2_x2 belongs to cat_2: the longest that it begins with.
        fitting = [base for base in bases.values() if begins(path, base)]
        return bases[name] in fitting and bases[name] == max(fitting, key=lambda b: len(b.name))

    found = {}
    # What fits one original best is not there for another any more.
    for fits in (is_same, is_same_but_its_ending, begins_the_same):
        for pair in pairs:
            near = [] if pair.name in found else [p for p in files if fits(p, pair.name)]
            if len(near) > 1:
                names = ", ".join(sorted(str(files[path]) for path in near))
                raise ValueError(f"COMPARE: {names} all fit {pair.name}: expected one of them")
            if near:
                found[pair.name] = files.pop(near[0])
    return found
