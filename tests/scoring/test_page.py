"""The page: what it is made of, and how it behaves in Chromium where there is one."""

import io
import json
import os
import re
import shutil
from pathlib import Path
from urllib.parse import unquote_to_bytes

import numpy as np
import pytest
from PIL import Image

from superres.images.resize import upscale_nearest
from superres.scoring import figures, metrics, results, testsets
from superres.scoring.page import Page
from superres.scoring.restore import Restored
from support import smooth_picture

# ---- what it is made of ----


def views_of(original, shift=3):
    """Views of a picture for x2: its LR enlarged, two predictions that are off by some levels."""
    return {
        results.NEAREST: upscale_nearest(original[::2, ::2], 2),
        results.BICUBIC: (original.astype(int) + shift).clip(0, 255).astype(np.uint8),
        results.PREDICTION: (original.astype(int) + 1).clip(0, 255).astype(np.uint8),
        results.ORIGINAL: original,
    }


def restored_of(original, views, notes=()):
    """What `restore` would return of these views; those that are `None` are not there."""
    views = {name: view for name, view in views.items() if view is not None}
    scores = {
        name: metrics.score(original, view, 2)
        for name, view in views.items()
        if name != results.ORIGINAL
    }
    best = results.main_method(scores)
    box = figures.find_box(original, views[results.BICUBIC], views[best], 2)
    return Restored(views, scores, list(notes), {}, box, None)


def add(page, title, original, shift=3, place=None, notes=()):
    place = Path(place or title)
    page.add(place, title, restored_of(original, views_of(original, shift), notes))


NETWORK = {"pictures": "all pictures", "weights": "x.keras", "weights_sha256": "0" * 64}
NETWORK |= {"parameters": 1, "engine": "a test", "precision": "float32", "self_ensemble": False}
MADE_BY = {"scale": 2, "networks": [NETWORK], "compared": {}}


def write(page, name="Set5", methods=(results.BICUBIC, results.PREDICTION)):
    test_set = testsets.TestSet(name, Path(name), "HR", [])
    page.write(results.Results([test_set], list(methods), 2), MADE_BY)
    return page.path


def pictures_of(path):
    """What the page knows of its pictures."""
    text = path.read_text(encoding="utf-8")
    (index,) = re.findall(r'<script type="application/json" id="index">(.*?)</script>', text)
    return json.loads(index)["pictures"]


@pytest.mark.parametrize("colours", [1, 3])
def test_views_and_maps_of_their_errors_are_beside_the_page_exactly(tmp_path, colours):
    original = smooth_picture(300, 400, colours).squeeze()
    page = Page(tmp_path, results.PREDICTION)
    add(page, "a", original, place="Set 5/100%#?\udc80.png")
    (picture,) = pictures_of(write(page))
    views = views_of(original)
    maps = {name: figures.error_map(original, views[name]) for name in results.VIEWS[:-1]}
    for kind, pixels in ("views", views), ("errors", maps):
        assert list(picture[kind]) == list(pixels)
        for name, address in picture[kind].items():
            file = tmp_path / os.fsdecode(unquote_to_bytes(address))
            np.testing.assert_array_equal(np.asarray(Image.open(file)), pixels[name])


def test_page_of_an_earlier_run_goes_with_its_pictures_and_nothing_else(tmp_path):
    for place in "original/a.png", "results.json", "output/a.png":
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_text("kept")
    page = Page(tmp_path, results.PREDICTION)
    for name in "old.png", "both.png":
        add(page, name, smooth_picture(40, 40))
    write(page)
    page = Page(tmp_path, results.PREDICTION)
    assert page.path.is_file()  # until there is a picture for another one
    add(page, "both.png", smooth_picture(40, 40, seed=1))
    assert not page.path.exists()
    assert not list(tmp_path.glob("views/*/old.png"))
    assert len(list(tmp_path.glob("views/*/both.png"))) == 7
    assert len(list(tmp_path.rglob("*"))) == 7 * 2 + 1 + 5  # no half-written ones
    assert {path.read_text() for path in tmp_path.glob("*/a.png")} == {"kept"}


def test_names_cannot_end_the_script_or_become_tags(tmp_path):
    page = Page(tmp_path, results.PREDICTION)
    add(page, "</script><b>{{title}}", smooth_picture(40, 40), place="a.png", notes=["<i>"])
    path = write(page, name="<b>{{index}}")
    assert pictures_of(path)[0]["title"] == "</script><b>{{title}}"
    text = path.read_text(encoding="utf-8")
    assert "<title>&lt;b&gt;{{index}} ×2: x.keras</title>" in text


@pytest.fixture(scope="module")
def compared_file(tmp_path_factory):
    """A page of programs 7 and 10, of which 7 restores one exactly, and lacks one."""
    page = Page(tmp_path_factory.mktemp("compared"), "7")

    def add(name, original, views):
        page.add(Path(f"{name}.png"), name, restored_of(original, views))

    for seed, name in enumerate(["exact", "near", "lacking"]):
        original = smooth_picture(80, 100, seed=seed)
        views = views_of(original)
        near = views.pop(results.PREDICTION)
        seven = {"exact": original, "near": near, "lacking": None}[name]
        add(name, original, {**views, "10": near, "7": seven})
    flat = np.full((80, 100, 3), 90, np.uint8)
    views = {**dict.fromkeys(results.VIEWS, flat), "7": flat // 2, "10": flat}
    del views[results.PREDICTION]
    add("flat", flat, views)
    return write(page, methods=[results.BICUBIC, "10", "7"])


def test_infinite_and_missing_scores_are_no_infinity_in_json(compared_file):
    pictures = pictures_of(compared_file)
    assert [p["title"] for p in pictures] == ["exact", "near", "lacking", "flat"]
    exact, flat = pictures[0]["scores"]["7"], pictures[3]["scores"]["7"]
    assert (exact["psnr"], exact["order"], exact["gainOrder"]) == ("inf", 1000, 1000)
    assert (flat["gain"], flat["gainOrder"]) == ("-inf", -1000)
    assert "7" not in pictures[2]["scores"]


# ---- in a browser ----


NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


@pytest.fixture(scope="module")
def chromium():
    """Chromium, driven by Playwright; the tests are skipped where it is absent."""
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt install chromium, or its path in CHROMIUM")
    playwright = pytest.importorskip("playwright.sync_api")
    flags = ("no-sandbox", "disable-gpu", "disable-background-networking", "disable-sync")
    flags += ("allow-file-access-from-files",)  # to read what was drawn
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=CHROMIUM, args=[f"--{flag}" for flag in flags]
        )
        yield browser
        browser.close()


def ramp(height=240, width=320):
    """A picture whose red and green say where a pixel is."""
    rows, columns = np.mgrid[:height, :width]
    blue = (rows // 8 + columns // 8) % 2 * 255
    return np.dstack([columns * 255 // width, rows * 255 // height, blue]).astype(np.uint8)


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    """A page of three pictures: the ramp, and two of less and of more gain."""
    page = Page(tmp_path_factory.mktemp("page"), results.PREDICTION)
    add(page, "ramp.png", ramp(), shift=20)
    add(page, "small.png", smooth_picture(90, 70), shift=3)
    add(page, "wide.png", smooth_picture(100, 700), shift=60)
    return write(page)


class Opened:
    """A page in a browser, and what went wrong in it."""

    def __init__(self, browser, file, ready="canvas[data-zoom]", **options):
        options = {"viewport": {"width": 1200, "height": 900}, **options}
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.faults, self.requests = [], []
        self.page.on("console", self.note)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(f"file://{file}")
        self.page.wait_for_selector(ready)

    def note(self, message):
        if message.type == "error":
            self.faults.append(message.text)

    def state(self):
        """Zoom, x, y and split of each pane."""
        return self.page.evaluate(
            "() => [...document.querySelectorAll('canvas')].map(c => "
            "['zoom', 'x', 'y', 'split'].map(name => Number(c.dataset[name])))"
        )

    def pixels(self, x, y, width=1, height=1):
        """RGB around a place of each pane, in CSS pixels: list of (height, width, 3)."""
        values = self.page.evaluate(
            "([x, y, w, h]) => [...document.querySelectorAll('canvas')].map(c => "
            "[...c.getContext('2d').getImageData(x, y, w, h).data])",
            [x, y, width, height],
        )
        return [np.array(v).reshape(height, width, 4)[..., :3] for v in values]

    def box(self):
        return self.page.locator("canvas").first.bounding_box()

    def choose(self, name):
        self.page.locator("#pictures button", has_text=name).click()
        self.wait_for(name)

    def wait_for(self, name):
        """Waits until a picture is shown."""
        self.page.locator("#name", has_text=name).wait_for()


@pytest.fixture
def opened_page(chromium, page_file):
    found = Opened(chromium, page_file)
    yield found
    assert not found.faults
    assert [url for url in found.requests if not url.startswith(("file://", "data:"))] == []
    found.context.close()


def test_page_opens_from_disk_with_the_largest_gain_first(opened_page):
    page = opened_page.page
    assert page.locator("#name").text_content() == "wide.png"
    assert page.locator("#pictures button").count() == 3
    assert page.locator("#scores tr").count() == 4
    assert "700×100 pixels, each as it was scored" in page.locator("#size").text_content()


@pytest.mark.parametrize("width", [1440, 390])
def test_every_pixel_is_exact_on_the_screen(chromium, tmp_path, width):
    """Also without what lets the other tests read a canvas, and under an odd name."""
    flags = ["--no-sandbox", "--disable-gpu", "--force-color-profile=srgb"]
    browser = chromium.browser_type.launch(executable_path=CHROMIUM, args=flags)
    original = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    page = Page(tmp_path, results.PREDICTION)
    add(page, "a", original, place="Set 5/100%#?\udc80.png")
    found = Opened(browser, write(page), viewport={"width": width, "height": 1000})
    found.page.add_style_tag(content=".tag, .divider { display: none }")
    found.page.locator("#split").fill("100")
    zoom, x, y, _ = found.state()[0]
    box = found.box()
    left, top = (
        round(box[start] + round(box[side] / 2 - centre * zoom))
        for start, side, centre in (("x", "width", x), ("y", "height", y))
    )
    assert zoom == {1440: 2, 390: 1}[width]
    for name, view in views_of(original).items():
        found.page.locator("#before").select_option(name)
        seen = np.asarray(Image.open(io.BytesIO(found.page.screenshot())).convert("RGB"))
        seen = seen[top : top + round(240 * zoom), left : left + round(320 * zoom)]
        np.testing.assert_array_equal(seen, upscale_nearest(view, round(zoom)))
    assert not found.faults
    browser.close()


def test_page_without_its_pictures_says_where_they_belong(chromium, tmp_path):
    page = Page(tmp_path, results.PREDICTION)
    add(page, "a.png", smooth_picture(40, 40))
    shutil.move(write(page), tmp_path / "elsewhere.html")
    shutil.rmtree(tmp_path / "views")
    found = Opened(chromium, tmp_path / "elsewhere.html", ready="#size:not(:empty)")
    assert "in the folder views" in found.page.locator("#size").text_content()
    found.page.keyboard.press("0")
    assert all("ERR_FILE_NOT_FOUND" in text for text in found.faults)
    found.context.close()


def test_divider_is_dragged_and_moved_by_keys(opened_page):
    opened_page.choose("ramp.png")
    page, box = opened_page.page, opened_page.box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.75 * box["width"], middle)
    page.mouse.up()
    assert opened_page.state()[0][3] == pytest.approx(0.75, abs=0.01)
    page.keyboard.press("ArrowLeft")
    assert opened_page.state()[0][3] == pytest.approx(0.73, abs=0.01)
    page.locator("#split").focus()
    page.locator("#split").fill("25")
    assert opened_page.state()[0][3] == pytest.approx(0.25)


def test_divider_has_before_on_its_left_and_after_on_its_right(opened_page):
    opened_page.choose("ramp.png")
    box = opened_page.box()
    x, y = box["width"] / 2 - 30, box["height"] / 2 - 40
    seen = {}
    for split in "100", "0":
        opened_page.page.locator("#split").fill(split)
        (seen[split],) = opened_page.pixels(x, y)
    # Bicubic is brighter by 20 levels than the original, the prediction by 1.
    np.testing.assert_array_equal(seen["100"][..., :2] - seen["0"][..., :2], 19)
    opened_page.page.keyboard.down("o")
    (original,) = opened_page.pixels(x, y)
    np.testing.assert_array_equal(seen["0"][..., :2] - original[..., :2], 1)
    opened_page.page.keyboard.up("o")
    np.testing.assert_array_equal(opened_page.pixels(x, y)[0], seen["0"])


def test_zoom_holds_the_same_spot_in_all_views(opened_page):
    opened_page.choose("ramp.png")
    page = opened_page.page
    page.keyboard.press("a")
    box = opened_page.box()
    x, y = round(0.6 * box["width"]), round(0.4 * box["height"])
    before = opened_page.pixels(x, y)
    assert len(before) == 4
    page.mouse.move(box["x"] + x, box["y"] + y)
    for _ in range(12):
        page.mouse.wheel(0, -200)
    page.wait_for_selector('canvas[data-zoom="8"]')
    places = opened_page.state()
    assert all(place == places[0] for place in places)
    after = opened_page.pixels(x, y)
    nearest, bicubic, prediction, original = (pane[0, 0, :2].astype(int) for pane in after)
    np.testing.assert_array_equal(bicubic - original, 20)
    np.testing.assert_array_equal(prediction - original, 1)
    assert np.abs(nearest - original).max() <= 1
    for earlier, now in zip(before, after, strict=True):
        assert np.abs(earlier[..., :2].astype(int) - now[..., :2]).max() <= 2


def test_pixels_stay_sharp_at_eight_times(opened_page):
    opened_page.choose("ramp.png")
    page = opened_page.page
    page.get_by_role("button", name="8×").click()
    page.locator("#split").fill("0")
    (seen,) = opened_page.pixels(200, 200, 64, 64)
    changes = [
        np.nonzero(np.abs(np.diff(seen, axis=axis)).any(axis=(2, 1 - axis)))[0] for axis in (0, 1)
    ]
    for places in changes:  # a pixel is a square of 8x8
        assert len(places) >= 4
        assert len(set(places % 8)) == 1


def test_zoom_ends_at_eight_times_and_at_the_whole(opened_page):
    opened_page.choose("wide.png")
    page = opened_page.page
    for _ in range(12):
        page.keyboard.press("+")
    assert opened_page.state()[0][0] == 8
    for _ in range(20):
        page.keyboard.press("-")
    assert opened_page.state()[0][0] <= 1
    page.keyboard.press("g")
    assert opened_page.state()[0][0] > 1
    page.keyboard.press("0")
    zoom, x, y, _ = opened_page.state()[0]
    assert (x, y) == (350, 50)
    assert 700 * zoom <= opened_page.box()["width"]


def test_pictures_are_sorted_and_chosen_by_keys(opened_page):
    page = opened_page.page

    def order():
        return page.locator("#pictures button > span > span:first-child").all_text_contents()

    assert order() == ["wide.png", "ramp.png", "small.png"]
    page.locator("#sort").select_option("name")
    assert order() == ["ramp.png", "small.png", "wide.png"]
    page.locator("#sort").select_option("-gain")
    assert order() == ["small.png", "ramp.png", "wide.png"]
    page.locator("h1").click()
    page.keyboard.press("p")
    opened_page.wait_for("ramp.png")
    page.keyboard.press("n")
    opened_page.wait_for("wide.png")


def test_error_map_is_of_the_view(opened_page):
    opened_page.choose("ramp.png")
    page = opened_page.page
    page.keyboard.press("a")
    page.keyboard.press("e")
    assert page.locator("#legend").is_visible()
    captions = page.locator("figcaption").all_text_contents()
    assert [text.split(",")[0] for text in captions] == [
        "error of nearest",
        "error of bicubic",
        "error of prediction",
        "original",
    ]
    box = opened_page.box()
    seen = opened_page.pixels(box["width"] // 2, box["height"] // 2)
    assert seen[1].sum() > seen[2].sum() + 100
    assert page.locator("figcaption").nth(1).text_content().endswith("dB")


def test_programs_stay_in_their_order_and_what_has_no_score_comes_last(chromium, compared_file):
    found = Opened(chromium, compared_file)
    for order in ("gain", "-gain", "psnr"):
        found.page.locator("#sort").select_option(order)
        last = found.page.locator("#pictures button").last
        assert last.text_content().startswith("lacking")
    assert last.text_content().endswith(" → –")
    found.page.locator("#sort").select_option("gain")
    assert found.page.locator("#summary").text_content() == "PSNR of bicubic → 7"
    found.page.locator("#after").select_option("10")
    assert found.page.locator("#summary").text_content() == "PSNR of bicubic → 10"
    shown = found.page.locator("#pictures button", has_text="lacking").text_content()
    assert re.search(r" → [\d.]+ dB$", shown)
    assert not found.page.locator("#pictures button").last.text_content().startswith("lacking")
    found.page.locator("#after").select_option("7")
    found.choose("near")
    names = found.page.locator("#scores tbody th").all_text_contents()
    assert names == ["nearest", "bicubic", "10", "7"]
    found.choose("lacking")
    assert "7: none of this picture" in found.page.locator(".tag.right").text_content()
    assert not found.faults
    found.context.close()


def test_keys_work_the_same_while_the_range_is_focused(opened_page):
    opened_page.choose("ramp.png")
    page = opened_page.page
    page.locator("#split").focus()
    for key, split in {"ArrowLeft": 0.48, "ArrowRight": 0.5, "ArrowUp": 0.52}.items():
        page.keyboard.press(key)
        assert opened_page.state()[0][3] == pytest.approx(split, abs=1e-6)
    zoom = opened_page.state()[0][0]
    page.keyboard.press("+")
    assert opened_page.state()[0][0] > zoom
    page.keyboard.press("0")
    assert opened_page.state()[0][0] == zoom


def test_shift_and_arrows_go_to_another_place(opened_page):
    opened_page.choose("ramp.png")
    page = opened_page.page
    page.get_by_role("button", name="8×").click()
    _, x, y, split = opened_page.state()[0]
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowUp")
    box = opened_page.box()
    expected = [8, x + box["width"] / 8 / 8, y - box["height"] / 8 / 8, split]
    assert opened_page.state()[0] == pytest.approx(expected)


def test_arrows_scroll_a_focused_table(opened_page):
    page = opened_page.page
    page.get_by_role("region", name="Scores of the test sets").focus()
    split = opened_page.state()[0][3]
    page.keyboard.press("ArrowRight")
    assert opened_page.state()[0][3] == split


def test_double_click_zooms_and_leaves_the_divider(opened_page):
    opened_page.choose("ramp.png")
    page, box = opened_page.page, opened_page.box()
    zoom, _, _, split = opened_page.state()[0]
    page.mouse.dblclick(box["x"] + 0.3 * box["width"], box["y"] + 0.5 * box["height"])
    assert opened_page.state()[0][0] > zoom
    assert opened_page.state()[0][3] == split
    page.mouse.dblclick(box["x"] + 0.3 * box["width"], box["y"] + 0.5 * box["height"])
    assert opened_page.state()[0] == [zoom, 160, 120, split]
    # But what was dragged just before stays where it is.
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.75 * box["width"], middle)
    page.mouse.up()
    page.mouse.dblclick(box["x"] + 0.3 * box["width"], middle)
    assert opened_page.state()[0][3] == pytest.approx(0.75, abs=0.01)


def test_place_is_kept_among_pictures_of_one_size(chromium, compared_file):
    found = Opened(chromium, compared_file)
    found.choose("near")
    found.page.get_by_role("button", name="8×").click()
    for _ in range(2):
        found.page.keyboard.press("Shift+ArrowRight")
    place = found.state()
    found.choose("exact")
    assert found.state() == place
    found.context.close()


@pytest.mark.parametrize("ratio", [1, 1.5, 2, 2.625])
def test_pixels_are_squares_of_one_size_on_any_screen(chromium, page_file, ratio):
    found = Opened(chromium, page_file, device_scale_factor=ratio)
    found.choose("ramp.png")
    for press in ("0", "g", "+", "+", "-", *(f"{n}×" for n in (1, 2, 4, 8))):
        if press.endswith("×"):
            found.page.get_by_role("button", name=press).click()
        else:
            found.page.keyboard.press(press)
        zoom = found.state()[0][0]
        assert zoom <= 8
        assert zoom * ratio == pytest.approx(round(zoom * ratio))
    side = round(8 * ratio)
    found.page.locator("#split").fill("0")
    (seen,) = found.pixels(200, 200, 8 * side, 1)
    places = np.nonzero(np.abs(np.diff(seen[0], axis=0)).any(axis=1))[0]
    assert len(places) >= 4
    assert len(set(places % side)) == 1
    found.context.close()


def test_whole_picture_fits_again_after_the_window_changes(opened_page):
    opened_page.choose("wide.png")
    page = opened_page.page
    for width in (700, 500, 1200):
        page.set_viewport_size({"width": width, "height": 700})
        page.wait_for_function(
            "() => { const c = document.querySelector('canvas');"
            " return c.width === c.clientWidth && 700 * c.dataset.zoom <= c.clientWidth; }"
        )
    page.get_by_role("button", name="4×").click()
    page.set_viewport_size({"width": 800, "height": 700})
    assert opened_page.state()[0][0] == 4


def test_original_is_let_go_when_the_window_loses_the_keys(opened_page):
    page = opened_page.page
    page.keyboard.down("o")
    assert page.locator("#original").get_attribute("aria-pressed") == "true"
    page.evaluate("window.dispatchEvent(new Event('blur'))")
    assert page.locator("#original").get_attribute("aria-pressed") == "false"
    page.keyboard.up("o")


def test_original_that_is_chosen_stays_when_its_key_is_let_go(opened_page):
    page = opened_page.page
    page.locator("#original").click()
    page.keyboard.press("o")
    assert page.locator("#original").get_attribute("aria-pressed") == "true"


def test_keys_are_the_pages_after_a_list_was_chosen_from(opened_page):
    page = opened_page.page
    page.locator("#before").focus()
    page.locator("#before").dispatch_event("pointerdown")
    page.locator("#before").select_option("nearest")
    page.keyboard.press("n")
    opened_page.wait_for("ramp.png")
    page.locator("#before").focus()
    page.keyboard.press("ArrowDown")  # by keys the list is gone through
    assert page.locator("#before").evaluate("list => list === document.activeElement")
    page.keyboard.press("Escape")
    page.keyboard.press("n")
    opened_page.wait_for("small.png")


def test_ends_of_the_list_are_marked(opened_page):
    page = opened_page.page

    def marks():
        return [
            page.locator(name).get_attribute("aria-disabled") for name in ("#previous", "#next")
        ]

    assert marks() == ["true", "false"]
    opened_page.choose("small.png")
    assert marks() == ["false", "true"]
    page.locator("#sort").select_option("-gain")
    assert marks() == ["true", "false"]


PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


def test_phone_goes_through_the_pictures_and_shows_all_of_their_scores(chromium, page_file):
    found = Opened(chromium, page_file, device_scale_factor=3, **PHONE)
    page = found.page
    page.locator("#next").tap()
    found.wait_for("ramp.png")
    page.locator("#pictures button", has_text="small.png").tap()
    found.wait_for("small.png")
    page.wait_for_function("() => document.getElementById('viewer').getBoundingClientRect().y > -1")
    assert page.locator("canvas").bounding_box()["y"] < 844 / 2
    is_cut = (
        "() => [...document.querySelectorAll('.tables')].map(t => t.scrollWidth > t.clientWidth)"
    )
    assert page.evaluate(is_cut) == [False, False]
    small = "button, select, input"
    heights = [
        box.bounding_box()["height"] for box in page.locator(small).all() if box.is_visible()
    ]
    assert min(heights) >= 44
    assert not found.faults
    found.context.close()


def test_fingers_move_the_divider_and_pinch(chromium, page_file):
    found = Opened(chromium, page_file, **PHONE)
    found.choose("ramp.png")
    page = found.page
    page.locator("canvas").scroll_into_view_if_needed()
    box = found.box()
    fingers = found.context.new_cdp_session(page)

    def touch(kind, *points):
        places = [
            {"x": box["x"] + x, "y": box["y"] + y, "id": n} for n, (x, y) in enumerate(points)
        ]
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})

    touch("touchStart", (180, 150))
    for x in range(180, 90, -10):
        touch("touchMove", (x, 150))
    touch("touchEnd")
    split = found.state()[0][3]
    assert split < 0.35
    touch("touchStart", (180, 150))
    for y in range(150, 30, -10):  # scrolls the page
        touch("touchMove", (178, y))
    touch("touchEnd")
    assert found.state()[0][3] == split
    box = found.box()
    zoom = found.state()[0][0]
    touch("touchStart", (160, 150))
    touch("touchStart", (160, 150), (200, 150))
    for n in range(1, 9):
        touch("touchMove", (160 - 10 * n, 150), (200 + 10 * n, 150))
    touch("touchEnd")
    assert found.state()[0][0] > 2 * zoom
    place = found.state()[0][1:3]
    touch("touchStart", (300, 150))
    for x in range(300, 220, -10):
        touch("touchMove", (x, 150))
    touch("touchEnd")
    assert found.state()[0][1] > place[0] + 5
    assert not found.faults
    found.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1200, 900), (390, 844)])
def test_page_has_no_serious_accessibility_fault(chromium, page_file, scheme, width, height):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    found = Opened(
        chromium, page_file, viewport={"width": width, "height": height}, color_scheme=scheme
    )
    for keys in ("", "e", "a"):  # as it opens, with error maps, with all views
        if keys:
            found.page.keyboard.press(keys)
        faults = axe.run(found.page).response["violations"]
        assert [f for f in faults if f["impact"] in ("serious", "critical")] == []
    # Nothing has to be scrolled sideways, but for wide tables in themselves.
    assert found.page.evaluate("document.documentElement.scrollWidth") <= width
    ground = found.page.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = sum(map(int, re.findall(r"\d+", ground)[:3]))
    assert (brightness > 384) == (scheme == "light")
    found.context.close()
