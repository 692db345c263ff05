"""What `tests/corpus.py` does not try: other kinds of pictures are rows there."""

import numpy as np
import pytest
from PIL import Image, ImageFile

import corpus
from superres.images import read
from superres.images.formats import find_pictures
from superres.images.read import read_picture, read_rgb
from superres.images.write import write_picture
from superres.runtime.errors import UnreadablePicture
from support import smooth_picture


def test_find_pictures_is_recursive_sorted_and_leaves_the_rest(tmp_path):
    for name in "b.PNG", "a.jpg", "deep/er/c.tiff", "notes.txt", ".hidden.png", ".git/d.png":
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "deep" / "link").symlink_to(tmp_path / "deep" / "er")
    (tmp_path / "deep" / "round").symlink_to(tmp_path)
    found = [path.relative_to(tmp_path).as_posix() for path in find_pictures(tmp_path)]
    assert found in (["a.jpg", "b.PNG", f"deep/{place}/c.tiff"] for place in ("er", "link"))
    with pytest.raises(ValueError, match="nowhere: no such folder"):
        find_pictures(tmp_path / "nowhere")


def save(tmp_path, mode):
    """Saves a small picture in a Pillow mode and returns its path."""
    Image.fromarray(smooth_picture(8, 6)).convert(mode).save(tmp_path / "x.png")
    return tmp_path / "x.png"


def test_read_rgb_makes_three_channels_of_everything(tmp_path):
    for mode in "1", "L", "LA", "RGBA":
        assert read_rgb(save(tmp_path, mode)).shape == (8, 6, 3)
    write_picture(tmp_path / "deep.png", np.full((3, 4), 32768, np.uint16), {})
    assert (read_rgb(tmp_path / "deep.png") == 128).all()


def test_error_of_any_kind_in_a_decoder_is_a_refusal(tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise RuntimeError("Failed to decode frame 0")

    path = save(tmp_path, "P")
    for owner, method in (Image, "open"), (Image.Image, "convert"), (ImageFile.ImageFile, "load"):
        with monkeypatch.context() as patch:
            patch.setattr(owner, method, fail)
            with pytest.raises(UnreadablePicture, match="PNG: damaged"):
                read_picture(path)


def test_fault_of_ours_in_reading_is_no_refusal(tmp_path, monkeypatch):
    path = save(tmp_path, "RGB")
    for function in "_check_pixel_count", "_png_chunks", "_read_shallow", "_add_exif":
        with monkeypatch.context() as patch:
            patch.setattr(read, function, lambda: None)  # which takes no arguments
            with pytest.raises(TypeError):
                read_picture(path)


def test_memory_limit_is_checked_before_decoding(tmp_path):
    path = save(tmp_path, "RGB")
    with pytest.raises(UnreadablePicture, match="6x8 pixels: decoding takes up to"):
        read_picture(path, max_bytes=500)
    read_picture(path, max_bytes=1000)


def test_colour_code_points_of_a_png_are_kept(tmp_path):
    chunk = (b"cICP", bytes([9, 16, 0, 1]))
    (tmp_path / "x.png").write_bytes(corpus.png(2, 1, 8, 2, [bytes(6)], chunk))
    write_picture(tmp_path / "y.png", *read_picture(tmp_path / "x.png"))
    assert corpus.png_chunk(*chunk) in (tmp_path / "y.png").read_bytes()
