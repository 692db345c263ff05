import numpy as np
import pytest
from PIL import Image

from superres.images.jpeg_tables import quality_of, tables_in, tables_of
from superres.images.write import write_picture
from support import ROOT, smooth_picture


def jpeg_quality(path):
    with Image.open(path) as file:
        return quality_of(tables_in(file))


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_quality_is_that_which_a_file_was_saved_with(tmp_path, mode):
    picture = Image.fromarray(smooth_picture(24, 24)).convert(mode)
    for quality in range(1, 101):
        picture.save(tmp_path / "x.jpg", quality=quality)
        assert jpeg_quality(tmp_path / "x.jpg") == (quality, 0)


def test_tables_of_another_kind_get_the_nearest(tmp_path):
    """As cameras and Photoshop have them: near to those of a quality, and it is said how near."""
    random = np.random.default_rng(0)
    for quality in 40, 75, 92:
        other = np.clip(tables_of(quality) * random.uniform(0.9, 1.1, (2, 64)), 1, 255).round()
        found, distance = quality_of(other.astype(int).tolist())
        assert abs(found - quality) <= 1
        assert 0 < distance < 0.15
    flat = np.full((2, 64), 20).tolist()
    assert quality_of(flat)[1] > 0.4


def test_tables_in_a_file_are_read_in_their_order(tmp_path):
    """Not along the zigzag in which they are stored."""
    tables = tables_of(50).tolist()
    tables[0][1] += 3  # the first row's second: the lowest frequency of columns
    Image.fromarray(smooth_picture(24, 24)).save(tmp_path / "x.jpg", qtables=tables)
    quality, distance = jpeg_quality(tmp_path / "x.jpg")
    assert quality == 50
    assert distance == pytest.approx(np.log(14 / 11) / np.sqrt(128))


def test_what_output_writes_is_of_quality_97(tmp_path):
    write_picture(tmp_path / "x.jpg", smooth_picture(24, 24), {})
    assert jpeg_quality(tmp_path / "x.jpg") == (97, 0)
    assert jpeg_quality(ROOT / "inference/original/grace_hopper.jpg")[1] < 0.5
