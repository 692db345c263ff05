import math
from pathlib import Path

import numpy as np
import pytest

from superres.images.resize import downscale
from superres.images.write import write_picture
from superres.scoring import compare, reading, testsets
from superres.scoring.published import published
from support import smooth_picture

NAMES = ("baby", "bird")


def write(path, picture):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_picture(path, picture, {})


def lay_out(folder, hr="HR/{}.png", lr="", names=NAMES, scale=2):
    """Writes pictures of 40x52 and, where `lr` says a place, LR pictures that are not bicubic's."""
    for seed, name in enumerate(names):
        picture = smooth_picture(40, 52, seed=seed)
        write(folder / hr.format(name), picture)
        if lr:
            write(folder / lr.format(name), picture[::scale, ::scale])
    return folder


LAYOUTS = {
    "ours": ("Set5", "HR/{}.png", "LR/x2/{}.png"),
    "EDSR's": ("Set5", "HR/{}.png", "LR_bicubic/X2/{}x2.png"),
    "BasicSR's": ("Set5", "GTmod12/{}.png", "LRbicx2/{}.png"),
    "DIV2K's": ("DIV2K", "DIV2K_valid_HR/{}.png", "DIV2K_valid_LR_bicubic/X2/{}x2.png"),
    # They vary in the case of letters, in the formats, and in folders for each scale.
    "in other letters": ("Set5", "hr/{}.png", "lr/X2/{}.png"),
    "of one scale": ("Set5", "HR/{}.png", "LR/{}.png"),
    "of bitmaps": ("Set5", "HR/{}.png", "LR/x2/{}.bmp"),
    "BasicSR's in other letters": ("Set5", "gtmod12/{}.png", "LRbicX2/{}.png"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("is_inside", [False, True])
def test_layout_is_recognised_and_its_lr_used(tmp_path, monkeypatch, layout, is_inside):
    """Also in its folder of originals, and in the current folder."""
    name, hr, lr = LAYOUTS[layout]
    place = lay_out(tmp_path / "set5", hr, lr) / (hr.split("/")[0] if is_inside else "")
    (found,) = testsets.find(place, 2)
    assert (found.name, found.benchmark) == (name, name)
    assert [pair.name.as_posix() for pair in found.pairs] == [f"{one}.png" for one in NAMES]
    for pair in found.pairs:
        hr, lr, notes = reading.read_pair(pair, 2)
        np.testing.assert_array_equal(lr, hr[::2, ::2])
        assert not notes
    for current, folder in (place, "."), (place.parent, place.name):
        monkeypatch.chdir(current)
        assert [one.name for one in testsets.find(folder, 2)] == [name]


@pytest.mark.parametrize("scale", [3, 4])
def test_lr_of_another_scale_is_made(tmp_path, scale):
    lay_out(tmp_path, *LAYOUTS["ours"][1:])
    (found,) = testsets.find(tmp_path, scale)
    assert [pair.lr for pair in found.pairs] == [None, None]
    original, (hr, lr, _) = smooth_picture(40, 52), reading.read_pair(found.pairs[0], scale)
    np.testing.assert_array_equal(hr, original[: 40 // scale * scale, : 52 // scale * scale])
    np.testing.assert_array_equal(lr, downscale(hr, scale))


def test_plain_folder_is_one_test_set(tmp_path):
    lay_out(tmp_path / "mine", "{}.png")
    lay_out(tmp_path / "mine", "more/{}.png")
    (found,) = testsets.find(tmp_path / "mine", 2)
    assert (found.name, found.layout) == ("mine", "HR pictures, LR made here")
    names = [pair.name.as_posix() for pair in found.pairs]
    assert names == ["baby.png", "bird.png", "more/baby.png", "more/bird.png"]


def test_folder_of_lr_pictures_alone_is_scored_as_any_other(tmp_path):
    lay_out(tmp_path, "HR/{}.png", "LR/x2/{}.png")
    (found,) = testsets.find(tmp_path / "LR", 2)
    assert [pair.name.as_posix() for pair in found.pairs] == ["x2/baby.png", "x2/bird.png"]
    assert found.layout.endswith(", though by its name it is a part of a test set")


def test_folder_of_test_sets(tmp_path):
    """By layouts and by known names; what is neither is left out, and it is said."""
    lay_out(tmp_path / "BSDS100" / "original", "{}.png")
    lay_out(tmp_path / "Set14", "HR/{}.png")
    lay_out(tmp_path / "Set5", *LAYOUTS["BasicSR's"][1:])
    lay_out(tmp_path / "Set5", "RCAN/x2/{}.png")
    lay_out(tmp_path / "a", "HR/{}.png")
    lay_out(tmp_path / "plain", "{}.png")
    lay_out(tmp_path / ".hidden" / "Urban100", "{}.png")
    lay_out(tmp_path / "further" / "down" / "Manga109", *LAYOUTS["ours"][1:])
    (tmp_path / "empty").mkdir()
    found = testsets.find(tmp_path, 2)
    names = [(one.name, len(one.pairs)) for one in found]
    assert names == [("Set5", 2), ("Set14", 2), ("B100", 2), ("Manga109", 2), ("a", 2)]
    assert all(pair.lr for one in (found[0], found[3]) for pair in one.pairs)
    # What lies beside a part of a test set is not searched.
    (found_inside,) = testsets.find(tmp_path / "Set14" / "HR", 2)
    assert (found_inside.folder, len(found_inside.pairs)) == (tmp_path / "Set14", 2)
    names = [pair.name.as_posix() for pair in found[2].pairs]
    assert names == ["original/baby.png", "original/bird.png"]
    notes = [one.layout for one in found if "left out" in one.layout]
    assert notes == [f"HR in HR, LR made here; 2 other pictures in {tmp_path} left out"]
    # DIV2K beside others.
    lay_out(tmp_path / "both", *LAYOUTS["DIV2K's"][1:])
    for place in "DIV2K_train_HR/{}.png", "DIV2K_valid_LR_unknown/X2/{}.png", "Set5/HR/{}.png":
        lay_out(tmp_path / "both", place)
    found = testsets.find(tmp_path / "both", 2)
    assert [(one.name, len(one.pairs)) for one in found] == [("Set5", 2), ("DIV2K", 2)]


def test_single_pictures_are_a_test_set(tmp_path):
    for places in ("bird.png", "baby.png"), ("a/baby.png", "b/baby.png"):
        found = testsets.of_pictures([tmp_path / place for place in places])
        assert [pair.name.as_posix() for pair in found.pairs] == list(places)
    with pytest.raises(ValueError, match=r"baby.png.*expected different names"):
        testsets.of_pictures([tmp_path / "baby.png"] * 2)


def test_names_of_test_sets_never_clash_and_an_empty_one_is_refused(tmp_path):
    folders = [lay_out(tmp_path / place, "{}.png") for place in ("c/p-2", "b/p", "d/p", "e/p")]
    assert [one.name for one in testsets.find_all(folders, 2)] == ["p-2", "p", "p-3", "p-4"]
    (tmp_path / "Set5" / "HR").mkdir(parents=True)
    with pytest.raises(ValueError, match="no pictures found in it"):
        testsets.find(tmp_path / "Set5", 2)


def test_published_figures_are_those_of_the_known_pictures():
    bicubic = {"psnr": 33.67, "ssim": 0.93, "rgb_psnr": 26.6}
    assert published("Set5", 2, bicubic)["EDSR"] == {"psnr": 38.11, "ssim": 0.9601}
    assert published("DIV2K", 4, bicubic)["EDSR-baseline"] == {"rgb_psnr": 28.95}
    assert published("DIV2K", 3, bicubic) == published("Set5", 3, bicubic) == {}
    assert published("Set5", 2, bicubic | {"psnr": math.inf}) == {}


def pair(tmp_path, hr, lr=None):
    write(tmp_path / "hr.png", hr)
    if lr is None:
        return testsets.Pair(tmp_path / "hr.png", None, Path("hr.png"))
    write(tmp_path / "lr.png", lr)
    return testsets.Pair(tmp_path / "hr.png", tmp_path / "lr.png", Path("hr.png"))


def test_lr_of_another_size_is_refused(tmp_path):
    one = pair(tmp_path, smooth_picture(41, 52), smooth_picture(20, 25))
    message = r"lr.png has 25x20 pixels: expected 26x20, the original's 52x41 divided by 2"
    with pytest.raises(ValueError, match=message):
        reading.read_pair(one, 2)


def test_grey_original_stays_grey(tmp_path):
    grey = smooth_picture(20, 22, 1)[..., 0]
    hr, lr, notes = reading.read_pair(pair(tmp_path, grey), 2)
    assert (hr.shape, lr.shape, notes) == ((20, 22), (10, 11), [])
    small = np.repeat(grey[::2, ::2, None], 3, axis=2)
    hr, lr, notes = reading.read_pair(pair(tmp_path, grey, small), 2)
    np.testing.assert_array_equal(lr, grey[::2, ::2])
    assert notes == ["LR reduced to grey, as the original is"]


def test_16_bits_are_rounded_to_8_and_transparency_left_out_and_it_is_said(tmp_path):
    picture = smooth_picture(20, 20, 4, dtype=np.uint16)
    hr, _, notes = reading.read_pair(pair(tmp_path, picture), 2)
    np.testing.assert_array_equal(hr, np.round(picture[..., :3] / 257).astype(np.uint8))
    assert notes == ["original of 16 bits, rounded to 8", "transparency of original left out"]


@pytest.mark.parametrize(
    ("names", "results"),
    [
        ("baby.bmp", {"baby.bmp": "baby.png"}),
        ("baby.png", {"baby.png": "baby_x2.png"}),
        ("baby.png", {"baby.png": "baby_RCAN_x2.png"}),
        ("baby.png", {"baby.png": "x2/baby_x2_SR.png"}),
        ("baby.png", {"baby.png": "X2/baby.png"}),
        ("baby.png", {"baby.png": "Set5/baby.png"}),
        ("baby.png", {"baby.png": "set5/x2/baby_x2.png"}),
        ("a/baby.png", {"a/baby.png": "a/baby.png"}),
        ("baby.png", {"baby.png": "BABY.PNG"}),
        ("Baby.png", {"Baby.png": "baby.jpg"}),
        # The very name comes first, and then the longest.
        ("baby.png", {"baby.png": "baby.png", None: "baby_small.png"}),
        ("baby.png", {"baby.png": "BABY.png", None: "baby.jpg"}),
        ("cat.png CAT_2.png", {"CAT_2.png": "cat_2_x2.png"}),
        ("cat.png cat_2.png", {"cat_2.png": "cat_2_x2.png", "cat.png": "cat_x2.png"}),
        ("deep.png deep.tif", {"deep.png": "deep.png", "deep.tif": "deep.tif"}),
    ],
)
def test_results_are_found_by_their_names(tmp_path, names, results):
    for result in *results.values(), "x3/baby.png":  # of another scale
        write(tmp_path / result, smooth_picture(4, 4))
    pairs = [testsets.Pair(Path("hr") / name, None, Path(name)) for name in names.split()]
    test_set = testsets.TestSet("Set5", tmp_path, "", pairs)
    found = compare.find_results(tmp_path, test_set, 2)
    expected = {Path(name): tmp_path / place for name, place in results.items() if name}
    assert found == expected


def test_what_is_no_result_is_not_taken(tmp_path):
    """The originals and LR pictures themselves, and results of another scale."""
    paths = [tmp_path / name for name in ("baby.png", "baby_LR.png", "baby_RCAN.png")]
    for path in *paths, tmp_path / "x3" / "baby.png":
        write(path, smooth_picture(4, 4))
    one = testsets.Pair(*paths[:2], Path("baby.png"))
    test_set = testsets.TestSet("Set5", tmp_path, "", [one])
    assert compare.find_results(tmp_path, test_set, 2) == {one.name: paths[2]}
    write(tmp_path / "baby_A.png", smooth_picture(4, 4))
    with pytest.raises(ValueError, match=r"baby_A.png, .*baby_RCAN.png all fit baby.png"):
        compare.find_results(tmp_path, test_set, 2)
    test_sets = testsets.find(lay_out(tmp_path / "Set5", "{}.png"), 2)
    with pytest.raises(ValueError, match="these are the originals themselves"):
        compare.find_programs([str(tmp_path / "Set5")], test_sets, 2)
    with pytest.raises(ValueError, match=r"x3: expected pictures of x2$"):
        compare.find_programs([tmp_path / "x3"], test_sets, 2)
    for place in "RCAN", "RCAN/x2", "RCAN/Set5/x2", "RCAN/bsd100":  # named by its folder
        assert compare.label(tmp_path / place) == "RCAN"


def test_result_in_other_colours_or_size(tmp_path):
    grey = smooth_picture(20, 20, 1)[..., 0]
    write(tmp_path / "sr.png", np.repeat(grey[..., None], 3, axis=2))
    notes = []
    read = compare.read_result(tmp_path / "sr.png", grey, notes)
    np.testing.assert_array_equal(read, grey)
    assert notes == ["sr.png reduced to grey, as the original is"]
    with pytest.raises(ValueError, match=r"^20x20 pixels, expected 22x20"):
        compare.read_result(tmp_path / "sr.png", smooth_picture(20, 22), notes)
    assert len(notes) == 1
