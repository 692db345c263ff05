"""Test sets: how they lie on disk, their pictures, and what was published about them."""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np

from superres.images.formats import SUFFIXES, find_pictures, is_picture
from superres.images.pixels import to_8bit
from superres.images.read import read_picture
from superres.images.resize import crop_to_multiple, downscale
from superres.scoring import metrics

# Layouts as people have them: HR folder, and the folders where its LR pictures may be, with
# {s} for the scale. All names are below the folder of the test set, in upper or lower case.
LAYOUTS = (
    ("HR", ("LR/x{s}", "LR_bicubic/X{s}", "LR")),  # ours; EDSR's
    ("GT", ("LR/x{s}", "LR_bicubic/X{s}", "LR")),
    ("GTmod12", ("LRbicx{s}",)),  # BasicSR's
    ("DIV2K_valid_HR", ("DIV2K_valid_LR_bicubic/X{s}",)),
    ("DIV2K_train_HR", ("DIV2K_train_LR_bicubic/X{s}",)),  # where there are no others
)
IMAGE_SRF = "image_SRF_"  # SelfExSR's: img_001_SRF_2_HR.png beside img_001_SRF_2_LR.png
DIV2K = "DIV2K_"  # what all its folders begin with
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
SOURCES = {
    "EDSR-baseline": "Ahn et al., CARN, ECCV 2018 (on DIV2K: the authors' EDSR-PyTorch)",
    "EDSR": "Lim et al., CVPR workshops 2017, table 3 (on DIV2K: the authors' EDSR-PyTorch)",
}
# Bicubic enlargement's PSNR, from Lim et al. too: other pictures in a folder of a test set's
# name have another.
PUBLISHED_BICUBIC = {
    2: {"Set5": 33.66, "Set14": 30.24, "B100": 29.56, "Urban100": 26.88, "DIV2K": 31.01},
    3: {"Set5": 30.39, "Set14": 27.55, "B100": 27.21, "Urban100": 24.46, "DIV2K": 28.22},
    4: {"Set5": 28.42, "Set14": 26.00, "B100": 25.96, "Urban100": 23.14, "DIV2K": 26.66},
}
BICUBIC_MARGIN = 0.25  # dB, for differences of border, rounding and cropping
# A folder of LR pictures, by its name: LR, lr_x2, LRbicx2, LRBI, DIV2K_valid_LR_bicubic.
LR_FOLDER = re.compile(r"(?:^|[_\-. ])LR(?![a-z])|^LR(?:BI|BD|DN)", re.IGNORECASE)


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
        known: the field's name; empty where the folder has another.
    """

    name: str
    folder: Path
    layout: str
    pairs: list = field(repr=False)
    known: str = ""

    __test__ = False  # its name is not one of pytest's


def published(name, scale, bicubic):
    """What others have published about a test set, all of whose pictures were scored.

    Args:
        name: the field's, as in `COUNTS`.
        scale: 2, 3 or 4.
        bicubic: mean scores of bicubic enlargement, as `metrics.score` has them.

    Returns:
        dict of method -> dict of psnr and ssim (on Y), or of rgb_psnr; empty when the
        pictures are others, as the PSNR of bicubic enlargement shows.
    """
    key = "rgb_psnr" if name == "DIV2K" else "psnr"
    if not abs(bicubic[key] - PUBLISHED_BICUBIC[scale][name]) <= BICUBIC_MARGIN:
        return {}
    if name == "DIV2K":
        scores = [{"rgb_psnr": value} for value in PUBLISHED_RGB[scale]]
    else:
        scores = [{"psnr": psnr, "ssim": ssim} for psnr, ssim in PUBLISHED[scale][name]]
    return dict(zip(PUBLISHED_METHODS, scores, strict=True))


def _lr_beside(folder, name, scale):
    """The LR picture of `name` in `folder`: of the same name, or with x2 or _x2 behind its stem.

    It may have another ending. Where there is none, the path of the same name.
    """
    same = folder / name
    for mark in ("", *(f"{before}{x}{scale}" for before in ("", "_") for x in "xX")):
        for suffix in (same.suffix, *sorted(SUFFIXES)):
            if (found := same.with_name(same.stem + mark + suffix)).is_file():
                return found
    return same


def _folder_in(folder, path):
    """The folder at a relative path in another, in upper or lower case; None: there is none."""
    for name in path.split("/"):
        same = [one for one in folder.iterdir() if one.name.lower() == name.lower()]
        fitting = sorted(filter(Path.is_dir, same), key=lambda one: (one.name != name, one.name))
        if not fitting:
            return None
        folder = fitting[0]
    return folder


def _pictures(folder):
    return [(path, path.relative_to(folder)) for path in find_pictures(folder)]


def _is_div2k(folder):
    return folder.name.upper().startswith(DIV2K)


def known_name(folder):
    """The field's name of a test set in a folder of this name, or an empty text."""
    return NAMES.get(folder.absolute().name.lower(), "")


def _test_set(folder, named, layout, pairs):
    """The test set of some pairs; `named` is the folder whose name it bears."""
    known = known_name(named)
    return TestSet(known or named.absolute().name, folder, layout, pairs, known)


def _lr_made_here(scale, unused):
    """Why LR pictures are made, in words; `unused` are names of folders that have others."""
    why = f", for there is none for x{scale} in {', '.join(unused)}" if unused else ""
    return f"LR made here{why}"


def _by_folders(folder, hr_folder, lr_names, scale):
    """A test set whose HR and LR pictures are in folders of their own."""
    places = ((name, _folder_in(folder, name.format(s=scale))) for name in lr_names)
    lr_folder = next(
        # LR holds the pictures, or a folder of them for each scale.
        (p for name, p in places if p and ("{s}" in name or any(map(is_picture, p.iterdir())))),
        None,
    )
    pairs = [
        Pair(hr, lr_folder and _lr_beside(lr_folder, path, scale), path)
        for hr, path in _pictures(hr_folder)
    ]
    if lr_folder:
        lr_text = f"LR in {lr_folder.relative_to(folder).as_posix()}"
    else:
        starts = tuple(name.split("/")[0].format(s="").lower() for name in lr_names)
        inside = (path for path in folder.iterdir() if path.is_dir())
        unused = sorted(path.name for path in inside if path.name.lower().startswith(starts))
        lr_text = _lr_made_here(scale, unused)
    named = hr_folder if _is_div2k(hr_folder) else folder
    return _test_set(folder, named, f"HR in {hr_folder.name}, {lr_text}", pairs)


def _by_names(folder, scale):
    """Test sets in RCAN's layout, HR/Set5/x2/*_HR_x2.png and LR/LRBI/Set5/x2/*_LRBI_x2.png.

    Returns:
        List, empty where `folder` has no such ones.
    """
    found = []
    hr_folder = _folder_in(folder, "HR")
    for named in sorted(filter(Path.is_dir, hr_folder.iterdir())) if hr_folder else []:
        if place := _folder_in(named, f"x{scale}"):
            lr_folder = _folder_in(folder, f"LR/LRBI/{named.name}/x{scale}")
            pairs = []
            for hr, path in _pictures(place):
                lr = path.with_name(path.name.replace(f"_HR_x{scale}", f"_LRBI_x{scale}"))
                pairs.append(Pair(hr, lr_folder and _lr_beside(lr_folder, lr, scale), path))
            where = f"in {lr_folder.relative_to(folder).as_posix()}" if lr_folder else "made here"
            layout = f"HR in {place.relative_to(folder).as_posix()}, LR {where}"
            found.append(_test_set(folder, named, layout, pairs))
    return found


def _by_marks(folder, scale):
    """A test set in SelfExSR's layout: HR and LR in one folder, told apart by their names."""
    there = [path.name for path in folder.glob(IMAGE_SRF + "*") if path.is_dir()]
    there.sort(key=lambda name: (len(name), name))
    own = f"{IMAGE_SRF}{scale}"
    # The originals are cut to multiples of a scale: least in the first.
    place = folder / (own if own in there else there[0])
    pairs = []
    for hr, path in _pictures(place):
        if hr.stem.endswith("_HR"):
            lr = hr.with_name(hr.stem.removesuffix("_HR") + "_LR" + hr.suffix)
            pairs.append(Pair(hr, lr if place.name == own else None, path))
    layout = f"*_HR and *_LR in {own}"
    if place.name != own:
        layout = f"*_HR in {place.name}, {_lr_made_here(scale, there)}"
    return _test_set(folder, folder, layout, pairs)


def _recognised(folder, scale):
    """The test set in a folder whose layout is one of those known, or None.

    The folder may also be that of the originals itself.
    """
    for hr_name, lr_names in LAYOUTS:
        if folder.name.lower() == hr_name.lower():
            return _by_folders(folder.parent, folder, lr_names, scale)
        if hr_folder := _folder_in(folder, hr_name):
            return _by_folders(folder, hr_folder, lr_names, scale)
    if folder.name.startswith(IMAGE_SRF):
        if folder.name != f"{IMAGE_SRF}{scale}":
            raise ValueError(f"{folder}: expected {IMAGE_SRF}{scale} for x{scale}")
        return _by_marks(folder.parent, scale)
    if any(path.is_dir() for path in folder.glob(IMAGE_SRF + "*")):
        return _by_marks(folder, scale)
    return None


def _plain(folder, pictures=None):
    """A folder of HR pictures as a test set: all, or some of them.

    What lies below in folders of LR pictures, as their names say, is left out.
    """
    where = "HR pictures beside test sets" if pictures else "HR pictures"
    found = [(path, Path(path.name)) for path in pictures] if pictures else _pictures(folder)
    left_out = {part for _, path in found for part in path.parts[:-1] if LR_FOLDER.search(part)}
    pairs = [Pair(hr, None, path) for hr, path in found if left_out.isdisjoint(path.parts[:-1])]
    layout = f"{where}, LR made here{_left_out(left_out)}"
    if LR_FOLDER.search(folder.absolute().name):
        layout += ", though the folder is named as one of LR pictures"
    return _test_set(folder, folder, layout, pairs)


def _left_out(names):
    """In words, which folders were left out."""
    return f"; {', '.join(sorted(names))}, by the name LR pictures, left out" if names else ""


def _search(folder, scale, above=()):
    """Test sets in a folder and below: list, empty where no layout or name in it is known.

    Beside test sets, any other folder is a test set too, and so are pictures. Links to what
    is `above` are not followed.
    """
    above = (*above, folder.resolve())
    if several := _by_names(folder, scale):
        return several
    own = _recognised(folder, scale)
    # Only DIV2K's folders have names that say whose they are: others may stand beside them.
    if own and not (DIV2K in own.layout.upper() and own.folder == folder):
        return [own]
    inside = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    # What begins with DIV2K_ belongs to it: its training pictures, and LR of other kinds.
    below = [path for path in inside if path.is_dir() and not _is_div2k(path)]
    left_out = {path.name for path in below if LR_FOLDER.search(path.name)}
    below = [path for path in below if path.name not in left_out]
    found = {path: _search(path, scale, above) for path in below if path.resolve() not in above}
    if not own and not any(found.values()):
        return [_plain(folder)] if known_name(folder) else []
    sets = [own] if own else []
    for path, those in found.items():
        sets += those or [_plain(path)]
    if loose := [path for path in inside if path.is_file() and is_picture(path)]:
        sets.append(_plain(folder, loose))
    sets = [one for one in sets if one.pairs or one is own]
    if sets and left_out:
        sets[0] = replace(sets[0], layout=sets[0].layout + _left_out(left_out))
    return sets


def find(folder, scale):
    """The test sets in a folder.

    Args:
        folder: a folder of HR pictures, searched recursively; or one in a layout of
            `LAYOUTS`, of SelfExSR or of RCAN, or its folder of originals; or one in which there are
            such ones, or folders named as test sets are.
        scale: how far the pictures are reduced.

    Returns:
        List of `TestSet`, at least one, each with at least one picture.

    Raises:
        ValueError: no such folder, no pictures in it, or none for this scale.
        OSError: it cannot be read.
    """
    path = Path(folder)
    if not path.is_dir():
        raise ValueError(f"FOLDER = {str(folder)!r}: no such folder")
    if path.name in ("", ".."):
        path = path.resolve()
    found = _search(path, scale) or [_plain(path)]
    for one in found:
        if not one.pairs:
            endings = " ".join(sorted(SUFFIXES))
            raise ValueError(
                f"FOLDER = {str(folder)!r}: no pictures found in it ({one.layout}; {endings})"
            )
    order = list(NAMES.values())
    return sorted(found, key=lambda one: order.index(one.known) if one.known else len(order))


def of_pictures(paths):
    """Single pictures as a test set.

    Args:
        paths: list of their files.

    Raises:
        ValueError: two of them cannot be told apart by their names and those of their folders.
    """
    paths = [Path(path) for path in paths]
    names = [Path(path.name) for path in paths]
    if len(set(names)) < len(names):
        names = [Path(path.absolute().parent.name, path.name) for path in paths]
    pairs = [Pair(path, None, name) for path, name in zip(paths, names, strict=True)]
    if len(set(names)) < len(names):
        raise ValueError(f"FOLDER = {', '.join(map(str, paths))!r}: expected different names")
    return TestSet("pictures", paths[0].parent, "single pictures, LR made here", pairs)


def read_noted(path, notes, what):
    """Pixels as `utils.read_8bit` gives them; what was changed is added to the list `notes`."""
    pixels, _ = read_picture(path)
    if pixels.dtype == np.uint16:
        notes.append(f"{what} of 16 bits, rounded to 8")
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4):
        notes.append(f"transparency of {what} left out")
    return to_8bit(pixels)


def in_colours_of(picture, hr, notes, what):
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
    whole = read_noted(pair.hr, notes, "original")
    hr = crop_to_multiple(whole, scale)
    smallest = 2 * (scale + metrics.SSIM_RADIUS) + 1
    if min(hr.shape[:2]) < smallest:
        raise ValueError(
            f"{hr.shape[1]}x{hr.shape[0]} in multiples of {scale}: expected at least "
            f"{smallest}x{smallest} to be scored"
        )
    if pair.lr is None:
        return hr, downscale(hr, scale), notes
    if not pair.lr.is_file():
        raise ValueError(
            f"its LR picture is missing: expected {pair.lr}, or with x{scale} or _x{scale} behind "
            "its name"
        )
    lr = in_colours_of(read_noted(pair.lr, notes, "LR"), hr, notes, "LR")
    expected = (hr.shape[0] // scale, hr.shape[1] // scale)
    if lr.shape[:2] != expected:
        raise ValueError(
            f"its LR picture {pair.lr} has {lr.shape[1]}x{lr.shape[0]} pixels: expected "
            f"{expected[1]}x{expected[0]}, the original's {whole.shape[1]}x{whole.shape[0]} "
            f"divided by {scale}"
        )
    return hr, lr, notes
