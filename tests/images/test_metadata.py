"""What a file says of its picture is kept, but for orientation, sizes and thumbnails."""

import struct

import numpy as np
import pytest
from PIL import Image, PngImagePlugin, TiffImagePlugin

from superres.images.metadata import EXIF_IFD, ORIENTATION
from superres.images.read import read_picture
from superres.images.write import write_picture
from support import smooth_picture

TEXT = "Straße © 足球".encode()  # EXIF says ASCII; cameras and programs write UTF-8
NOTE = b"a maker note, which holds offsets from the start of EXIF"
XMP = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"
 dc:title="\xc3\x84"
 tiff:ImageWidth='12'><exif:PixelYDimension> 8</exif:PixelYDimension></rdf:Description>"""
PICTURE = smooth_picture(8, 12)
DIRECTORY_END = 8 + 2 + 12 * 3 + 4


def camera_exif(order="<"):
    """EXIF with a text, a turn, sizes, a maker note and a thumbnail's directory."""
    exif = Image.Exif()
    exif.endian = order
    exif[0x010E], exif[ORIENTATION] = "x" * len(TEXT), 6
    exif.get_ifd(EXIF_IFD).update({0x927C: NOTE, 0xA002: 12, 0xA003: 8})
    content = exif.tobytes()[6:].replace(b"x" * len(TEXT), TEXT)
    head = content[: DIRECTORY_END - 4] + struct.pack(order + "L", len(content))
    thumbnail = struct.pack(order + "HHHLLL", 1, 259, 4, 1, 6, 0)
    return head + content[DIRECTORY_END:] + thumbnail


def saved(tmp_path, suffix, **options):
    Image.fromarray(PICTURE).save(tmp_path / f"x{suffix}", **options)
    return tmp_path / f"x{suffix}"


def enlarged(path):
    """The file of an enlarged picture, opened by Pillow, and what is noted."""
    pixels, metadata = read_picture(path)
    target = path.with_stem(f"y-{path.stem}")
    write_picture(target, pixels.repeat(3, 0).repeat(2, 1), metadata)
    with Image.open(target) as file:
        file.load()
        return file, metadata.get("lost", [])


@pytest.mark.parametrize(
    ("suffix", "order"), [(".jpg", "<"), (".png", ">"), (".webp", "<"), (".avif", ">")]
)
def test_exif_keeps_its_bytes(tmp_path, suffix, order):
    exif = camera_exif(order)
    if suffix == ".avif":  # or Pillow would encode it anew
        turn, other = (struct.pack(order + "HH", tag, 3) for tag in (ORIENTATION, 0x0110))
        exif = exif.replace(turn, other)
    file, lost = enlarged(saved(tmp_path, suffix, exif=b"Exif\0\0" + exif))
    made = file.info["exif"].removeprefix(b"Exif\0\0")
    changed = [a != b for a, b in zip(made, exif, strict=True)][DIRECTORY_END:]
    assert sum(changed) <= 2 * 6  # type and number of two sizes
    assert TEXT in made
    assert made.index(NOTE) == exif.index(NOTE)
    read = file.getexif()
    assert ORIENTATION not in read
    assert read._info.next == 0  # no thumbnail
    assert tuple(read.get_ifd(EXIF_IFD)[tag] for tag in (0xA002, 0xA003)) == file.size
    assert not lost


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".avif", ".tif"])
def test_xmp_is_kept_but_for_orientation_and_sizes(tmp_path, suffix):
    options = {"tiffinfo": {700: XMP, ORIENTATION: 1}} if suffix == ".tif" else {"xmp": XMP}
    if suffix == ".png":
        options = {"pnginfo": PngImagePlugin.PngInfo()}
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", XMP.decode())
    file, lost = enlarged(saved(tmp_path, suffix, **options))
    width, height = file.size
    expected = XMP.replace(b'tion="6"', b'tion="1"').replace(b"'12'", b"'%d'" % width)
    assert file.info["xmp"] == expected.replace(b"> 8<", b"> %d<" % height)
    assert not lost


def segment(content, marker):
    return struct.pack(">BBH", 255, marker, len(content) + 2) + content


def resource(number, content):
    return b"8BIM" + struct.pack(">H2xL", number, len(content)) + content + bytes(len(content) % 2)


def test_texts_of_a_png_are_kept(tmp_path):
    texts = PngImagePlugin.PngInfo()
    texts.add_text("parameters", "a cat, by a lake")
    texts.add_text("Comment", "x" * 2000, zip=True)
    texts.add_itxt("Title", TEXT.decode())
    texts.add_text("Raw profile type exif", "\nexif\n 2\n0000")
    texts.add_text("Raw profile type iptc", "\niptc\n 2\n0000", zip=True)
    file, _ = enlarged(saved(tmp_path, ".png", pnginfo=texts))
    expected = {"parameters": "a cat, by a lake", "Comment": "x" * 2000, "Title": TEXT.decode()}
    assert file.text == expected | {"Raw profile type iptc": "\niptc\n 2\n0000"}


def test_iptc_and_long_xmp_of_a_jpeg_are_kept(tmp_path):
    photoshop = b"Photoshop 3.0\0" + resource(0x0404, b"\x1c\x02\x19\0\3key") + b"unknown"
    extended = segment(b"http://ns.adobe.com/xmp/extension/\0" + bytes(40), 0xE1)
    extra = extended + segment(photoshop, 0xED)
    enlarged(saved(tmp_path, ".jpg", extra=extra))
    made = (tmp_path / "y-x.jpg").read_bytes()
    assert extra in made


def raw_tags(path):
    """Type and bytes of a TIFF's tags, with those of its EXIF."""
    with Image.open(path) as file:
        tags = file.tag_v2
        raw = {tag: (tags.tagtype[tag], tags._tagdata[tag]) for tag in tags}
        return raw | {EXIF_IFD: file.getexif().get_ifd(EXIF_IFD)}, tags.offset


@pytest.mark.parametrize("order", [b"II", b"MM"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tags_of_a_tiff_keep_their_bytes(tmp_path, order, dtype):
    tags = TiffImagePlugin.ImageFileDirectory_v2(prefix=order)
    tags[0x010E], tags[EXIF_IFD] = "x" * len(TEXT), {0x829A: 0.004, 0xA002: 12, 0x927C: NOTE}
    tags[282], tags[33723], tags[37724] = 300.5, b"\x1c\x02\x19\0\3key", b"layers"
    tags[34377], tags[330] = resource(1034, b"\1"), 8
    pixels = np.zeros((4, 6), dtype)
    place = 8
    tags[256], tags[257], tags[258], tags[259], tags[262] = 6, 4, 8 * pixels.itemsize, 1, 1
    tags[273], tags[277], tags[278], tags[279] = 0, 1, 4, pixels.nbytes
    content = struct.pack(("<" if order == b"II" else ">") + "2sHL", order, 42, place)
    content += tags.tobytes(place).replace(b"x" * len(TEXT), TEXT) + pixels.tobytes()
    (tmp_path / "x.tif").write_bytes(content)
    _, lost = enlarged(tmp_path / "x.tif")
    assert sorted(lost) == ["layers", "maker note"]
    (before, _), (after, _) = (raw_tags(tmp_path / name) for name in ("x.tif", "y-x.tif"))
    for tag in 0x010E, 282, 33723:
        assert after[tag] == before[tag]
    assert after[34377][1] == resource(1034, b"\1")
    assert after[EXIF_IFD] == {0x829A: before[EXIF_IFD][0x829A], 0xA002: 12}
    assert not {330, 37724} & after.keys()


@pytest.mark.parametrize(
    "text", ["ImageJ=1.11a\nimages=2\n", '{"shape": [8, 12, 3]}', "<?xml?>\n<OME xmlns='x'>"]
)
def test_descriptions_that_count_pages_are_left_out(tmp_path, text):
    file, lost = enlarged(saved(tmp_path, ".tif", tiffinfo={270: text, 305: "a program"}))
    assert lost == ["description by ImageJ, OME or tifffile"]
    assert 270 not in file.tag_v2
    assert file.tag_v2[305] == "a program"


def test_tags_of_a_geotiff_are_scaled(tmp_path):
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    matrix = [10, 1, 0, 500, 2, -10, 0, 4600, 0, 0, 0, 0, 0, 0, 0, 1]
    for tag, numbers in (33550, (10, 12, 0)), (33922, (3, 4, 0, 500, 4600, 0) * 2), (34264, matrix):
        tags.tagtype[tag], tags[tag] = 12, tuple(map(float, numbers))
    file, _ = enlarged(saved(tmp_path, ".tif", tiffinfo=tags))  # 2 columns for one, 3 rows
    assert file.tag_v2[33550] == (5, 4, 0)
    assert file.tag_v2[33922] == (6, 12, 0, 500, 4600, 0) * 2
    assert file.tag_v2[34264] == pytest.approx(
        (5, 1 / 3, 0, 500, 1, -10 / 3, 0, 4600, 0, 0, 0, 0, 0, 0, 0, 1)
    )


@pytest.mark.parametrize(
    "flag", [b' GCamera:MotionPhoto="1">', b"><GCamera:MicroVideo>1</GCamera:MicroVideo>"]
)
def test_gain_map_and_video_are_noted_and_xmp_no_longer_speaks_of_them(tmp_path, flag):
    plain = b'<rdf:Description dc:title="x"></rdf:Description>'
    xmp = plain.replace(b" dc", b' hdrgm:Version="1.0" dc').replace(b"></", flag + b"</")
    xmp = xmp.replace(b"></", b"><Container:Directory>\n</Container:Directory></")
    second = Image.fromarray(PICTURE[::2, ::2])
    path = saved(tmp_path, ".jpg", format="MPO", save_all=True, append_images=[second], xmp=xmp)
    file, lost = enlarged(path)
    assert sorted(lost) == ["gain map", "video"]
    assert file.info["xmp"] == plain


def test_face_regions_go_where_the_picture_is_turned(tmp_path):
    xmp = b"<rdf:Description><mwg-rs:Regions>\n<rdf:li/></mwg-rs:Regions></rdf:Description>"
    for turn, kept, note in (1, xmp, []), (6, b"<rdf:Description></rdf:Description>", ["face "]):
        exif = Image.Exif()
        exif[ORIENTATION] = turn
        file, lost = enlarged(saved(tmp_path, ".jpg", xmp=xmp, exif=exif))
        assert file.info["xmp"] == kept
        assert [one[:5] for one in lost] == note


def test_what_cannot_be_stored_costs_no_picture(tmp_path):
    exif = Image.Exif()
    exif[0x010E] = "x" * 70_000
    path = saved(tmp_path, ".png", exif=exif).rename(tmp_path / "x.jpg")
    assert "exif" not in enlarged(path)[0].info  # above 64 KB
    _, lost = enlarged(saved(tmp_path, ".tif", big_tiff=True))
    assert lost == ["tags such as EXIF (in a BigTIFF's form)"]
