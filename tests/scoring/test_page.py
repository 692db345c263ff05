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
from superres.scoring.page import Page, VersionsPage
from superres.scoring.restore import Restoration
from support import SETUP, smooth_picture

# ---- what it is made of ----


def views_of(original, shift=3):
    """Views of a picture for x2: its LR enlarged, and two that are off by some levels."""
    return {
        results.NEAREST: upscale_nearest(original[::2, ::2], 2),
        results.BICUBIC: (original.astype(int) + shift).clip(0, 255).astype(np.uint8),
        results.PREDICTION: (original.astype(int) + 1).clip(0, 255).astype(np.uint8),
        results.ORIGINAL: original,
    }


def restored_of(original, views, notes=()):
    """What `restore` would return of these views; those that are `None` are not there."""
    views = {name: view for name, view in views.items() if view is not None}
    others = {name: view for name, view in views.items() if name != results.ORIGINAL}
    scores = {name: metrics.score(original, view, 2) for name, view in others.items()}
    best = results.main_method(scores)
    box = figures.find_box(original, views[results.BICUBIC], views[best], 2)
    return Restoration(views, scores, list(notes), {}, box, None)


def add(page, title, original, shift=3, place=None, notes=()):
    place = Path(place or title)
    page.add(place, title, restored_of(original, views_of(original, shift), notes))


def write(page, name="Set5", methods=(results.BICUBIC, results.PREDICTION)):
    test_set = testsets.TestSet(name, Path(name), "HR", [])
    page.write(results.Results([test_set], list(methods), 2), SETUP)
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
    maps = {f"error of {v}": figures.error_map(original, views[v]) for v in results.VIEWS[:-1]}
    assert list(picture["images"]) == [*views, *maps]
    for name, address in picture["images"].items():
        file = tmp_path / os.fsdecode(unquote_to_bytes(address))
        np.testing.assert_array_equal(np.asarray(Image.open(file)), (views | maps)[name])


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
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(path.name for path in files) == ["a.png"] * 2 + ["both.png"] * 7 + [
        "results.json"
    ]
    assert {path.read_text() for path in files if path.name == "a.png"} == {"kept"}


def test_names_cannot_end_the_script_or_become_tags(tmp_path):
    page = Page(tmp_path, results.PREDICTION)
    add(page, "</script><b>{{title}}", smooth_picture(40, 40), place="a.png", notes=["<i>"])
    path = write(page, name="<b>{{index}}")
    assert pictures_of(path)[0]["title"] == "</script><b>{{title}}"
    title = "<title>&lt;b&gt;{{index}} ×2: x.keras, RCAN</title>"
    assert title in path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def compared_file(tmp_path_factory):
    """A page of programs 7 and 10, of which 7 restores one exactly, and lacks one."""
    page = Page(tmp_path_factory.mktemp("compared"), "7")

    def add(name, original, views):
        page.add(Path(f"{name}.png"), name, restored_of(original, views))

    for seed, name in enumerate(["exact", "near", "lacking"]):
        original = smooth_picture(160, 200, seed=seed)
        views = views_of(original)
        near = views.pop(results.PREDICTION)
        seven = {"exact": original, "near": near, "lacking": None}[name]
        add(name, original, {**views, "10": near, "7": seven})
    flat = np.full((160, 200, 3), 90, np.uint8)
    views = {**dict.fromkeys(results.VIEWS, flat), "7": flat // 2, "10": flat}
    del views[results.PREDICTION]
    add("flat", flat, views)
    return write(page, methods=[results.BICUBIC, "10", "7"])


def test_infinite_and_missing_scores_are_no_infinity_in_json(compared_file):
    pictures = pictures_of(compared_file)
    assert [p["title"] for p in pictures] == ["exact", "near", "lacking", "flat"]
    assert pictures[0]["scores"]["7"] == {"psnr": "inf", "order": 1000}
    assert "<td>+inf</td>" in pictures[0]["table"]
    assert "<td>-inf</td>" in pictures[3]["table"]
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
    # The last one, to read what was drawn.
    args = ["--no-sandbox", "--disable-gpu", "--disable-sync", "--allow-file-access-from-files"]
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=args)
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
        self.page.on("console", lambda m: m.type == "error" and self.faults.append(m.text))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(f"file://{file}")
        self.page.wait_for_selector(ready)

    def states(self):
        """Zoom, x, y and split of each pane."""
        return self.page.evaluate(
            "() => [...document.querySelectorAll('canvas')].map(c => "
            "['zoom', 'x', 'y', 'split'].map(name => Number(c.dataset[name])))"
        )

    def state(self):
        return self.states()[0]

    def zoom(self):
        return self.state()[0]

    def split(self):
        return self.state()[3]

    def set_split(self, percent):
        self.page.locator("#split").fill(str(percent))

    def click(self, name):
        self.page.get_by_role("button", name=name, exact=True).click()

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

    def at(self, x, y=0.5):
        """A place on the screen, by the parts of the canvas on its left and above."""
        box = self.box()
        return box["x"] + x * box["width"], box["y"] + y * box["height"]

    def drag(self, start, end):
        self.page.mouse.move(*self.at(start))
        self.page.mouse.down()
        self.page.mouse.move(*self.at(end))
        self.page.mouse.up()

    def press(self, *keys):
        for key in keys:
            self.page.keyboard.press(key)

    def choose(self, name):
        self.page.locator("#pictures button", has_text=name).click()
        self.wait_for(name)

    def wait_for(self, name):
        """Waits until a picture is shown."""
        self.page.locator("#name", has_text=name).wait_for()


@pytest.fixture
def opening(chromium, page_file):
    """Function that opens a page, in which nothing may go wrong, at a picture."""
    pages = []

    def opened(picture=None, file=page_file, **options):
        pages.append(Opened(chromium, file, **options))
        if picture:
            pages[-1].choose(picture)
        return pages[-1]

    yield opened
    for one in pages:
        assert not one.faults
        assert all(url.startswith(("file://", "data:")) for url in one.requests)
        one.context.close()


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
    found.set_split(100)
    zoom, x, y, _ = found.state()
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


def test_divider_is_dragged_and_moved_by_keys_and_left_by_double_clicks(opening):
    found = opening("ramp.png")
    zoom = found.zoom()
    found.drag(0.5, 0.75)
    found.page.mouse.dblclick(*found.at(0.3))
    assert found.zoom() > zoom
    found.page.mouse.dblclick(*found.at(0.3))
    assert found.state() == pytest.approx([zoom, 160, 120, 0.75], abs=0.01)
    found.press("ArrowLeft")
    assert found.split() == pytest.approx(0.73, abs=0.01)
    found.set_split(25)
    assert found.split() == pytest.approx(0.25)
    # Keys work the same while the range has the focus.
    for key, split in {"ArrowLeft": 0.23, "ArrowRight": 0.25, "ArrowUp": 0.27}.items():
        found.press(key)
        assert found.split() == pytest.approx(split, abs=1e-6)
    found.press("+")
    assert found.zoom() > zoom
    found.press("0")
    assert found.zoom() == zoom
    found.page.get_by_role("region", name="Scores of the test sets").focus()
    found.press("ArrowRight")  # scrolls the table
    assert found.split() == pytest.approx(0.27, abs=1e-6)


def test_divider_has_before_on_its_left_and_after_on_its_right(opening):
    found = opening("ramp.png")
    box = found.box()
    x, y = box["width"] / 2 - 30, box["height"] / 2 - 40
    seen = {}
    for split in 100, 0:
        found.set_split(split)
        (seen[split],) = found.pixels(x, y)
    # Bicubic is brighter by 20 levels than the original, the prediction by 1.
    np.testing.assert_array_equal(seen[100][..., :2] - seen[0][..., :2], 19)
    found.page.keyboard.down("o")
    (original,) = found.pixels(x, y)
    np.testing.assert_array_equal(seen[0][..., :2] - original[..., :2], 1)
    found.page.evaluate("window.dispatchEvent(new Event('blur'))")  # as if another had the key
    np.testing.assert_array_equal(found.pixels(x, y)[0], seen[0])
    found.page.keyboard.up("o")
    found.page.locator("#original").click()  # which stays
    found.press("o")
    np.testing.assert_array_equal(found.pixels(x, y)[0], original)


def test_zoom_holds_the_same_spot_in_all_views(opening):
    found = opening("ramp.png")
    found.press("a")
    box = found.box()
    x, y = round(0.6 * box["width"]), round(0.4 * box["height"])
    before = found.pixels(x, y)
    assert len(before) == 4
    found.page.mouse.move(box["x"] + x, box["y"] + y)
    for _ in range(12):
        found.page.mouse.wheel(0, -200)
    found.page.wait_for_selector('canvas[data-zoom="8"]')
    places = found.states()
    assert all(place == places[0] for place in places)
    after = found.pixels(x, y)
    nearest, bicubic, prediction, original = (pane[0, 0, :2].astype(int) for pane in after)
    np.testing.assert_array_equal(bicubic - original, 20)
    np.testing.assert_array_equal(prediction - original, 1)
    assert np.abs(nearest - original).max() <= 1
    for earlier, now in zip(before, after, strict=True):
        assert np.abs(earlier[..., :2].astype(int) - now[..., :2]).max() <= 2


def test_zoom_ends_at_eight_times_and_at_the_whole(opening):
    found = opening("wide.png")
    found.press(*12 * "+")
    assert found.zoom() == 8
    found.press(*20 * "-")
    assert found.zoom() <= 1
    found.press("g")
    assert found.zoom() > 1
    found.press("0")
    assert found.state()[1:3] == [350, 50]
    for width in 700, 500, 1200:  # the whole fits again
        found.page.set_viewport_size({"width": width, "height": 700})
        found.page.wait_for_function(
            "() => { const c = document.querySelector('canvas');"
            " return c.width === c.clientWidth && 700 * c.dataset.zoom <= c.clientWidth; }"
        )
    found.click("4×")
    found.page.set_viewport_size({"width": 800, "height": 700})
    assert found.zoom() == 4


def test_pictures_are_sorted_and_followed_by_keys_to_both_ends(opening):
    found = opening()
    assert found.page.locator("#scores tr").count() == 4
    assert "700×100 pixels, each as it was scored" in found.page.locator("#size").text_content()

    def order():
        return found.page.locator("#pictures .title").all_text_contents()

    def ends():
        buttons = [found.page.locator(name) for name in ("#previous", "#next")]
        return [button.get_attribute("aria-disabled") for button in buttons]

    assert found.page.locator("#name").text_content() == "wide.png"  # of the largest gain
    assert order() == ["wide.png", "ramp.png", "small.png"]
    assert ends() == ["true", "false"]
    found.page.locator("#sort").select_option("name")
    assert order() == ["ramp.png", "small.png", "wide.png"]
    assert ends() == ["false", "true"]
    found.page.locator("#sort").select_option("-gain")
    assert order() == ["small.png", "ramp.png", "wide.png"]
    found.page.locator("h1").click()
    for key, name in ("p", "ramp.png"), ("n", "wide.png"):
        found.press(key)
        found.wait_for(name)


def test_error_map_is_of_the_view(opening):
    found = opening("ramp.png")
    found.press("a", "e")
    assert found.page.locator("#legend").is_visible()
    captions = found.page.locator("figcaption").all_text_contents()
    names = [f"error of {name}" for name in results.VIEWS[:3]] + ["original"]
    assert [text.split(",")[0] for text in captions] == names
    assert captions[1].endswith("dB")
    _, bicubic, prediction, _ = found.pixels(found.box()["width"] // 2, found.box()["height"] // 2)
    assert bicubic.sum() > prediction.sum() + 100


def test_programs_stay_in_their_order_and_what_has_no_score_comes_last(opening, compared_file):
    found = opening(file=compared_file)
    page, last = found.page, found.page.locator("#pictures button").last
    for order in ("gain", "-gain", "psnr"):
        page.locator("#sort").select_option(order)
        assert last.text_content().startswith("lacking")
    assert last.text_content().endswith(" → –")
    page.locator("#sort").select_option("gain")
    assert page.locator("#summary").text_content() == "PSNR of bicubic → 7"
    page.locator("#after").select_option("10")
    assert page.locator("#summary").text_content() == "PSNR of bicubic → 10"
    lacking = page.locator("#pictures button", has_text="lacking").text_content()
    assert re.search(r" → [\d.]+ dB$", lacking)
    assert not last.text_content().startswith("lacking")
    page.locator("#after").select_option("7")
    found.choose("near")
    names = page.locator("#scores tbody th").all_text_contents()
    assert names == ["nearest", "bicubic", "10", "7"]
    found.choose("lacking")
    assert "7: none of this picture" in page.locator(".tag.right").text_content()


def test_place_moves_by_shift_and_arrows_and_stays_in_pictures_of_one_size(opening, compared_file):
    found = opening("near", compared_file)
    found.click("8×")
    box, (_, x, y, split) = found.box(), found.state()
    found.press("Shift+ArrowLeft", "Shift+ArrowUp")
    place = pytest.approx([8, x - box["width"] / 64, y - box["height"] / 64, split])
    assert found.state() == place
    found.choose("exact")
    assert found.state() == place


@pytest.mark.parametrize("ratio", [1, 1.5, 2.625])
def test_pixels_are_squares_of_one_size_on_any_screen(opening, ratio):
    found = opening("ramp.png", device_scale_factor=ratio)
    names = ["Whole", "Largest gain", "Zoom in", "Zoom in", "Zoom out"]
    for name in [*names, *(f"{n}×" for n in (1, 2, 4, 8))]:
        found.click(name)
        zoom = found.zoom()
        assert zoom <= 8
        assert zoom * ratio == pytest.approx(round(zoom * ratio))
    side = round(8 * ratio)
    found.set_split(0)
    for width, height in (8 * side, 1), (1, 8 * side):
        (seen,) = found.pixels(200, 200, width, height)
        changes = np.abs(np.diff(seen.reshape(-1, 3), axis=0)).any(axis=1)
        (places,) = np.nonzero(changes)
        assert len(places) >= 4
        assert len(set(places % side)) == 1


def test_keys_are_the_pages_after_a_list_was_used_by_pointer(opening):
    found = opening()
    before = found.page.locator("#before")
    before.focus()
    before.dispatch_event("pointerdown")
    before.select_option("nearest")
    found.press("n")
    found.wait_for("ramp.png")
    before.focus()
    found.press("ArrowDown")  # goes through the list
    assert before.evaluate("list => list === document.activeElement")
    found.press("Escape", "n")
    found.wait_for("small.png")


PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


def test_phone_goes_through_the_pictures_and_shows_all_of_their_scores(opening):
    found = opening(device_scale_factor=3, **PHONE)
    page = found.page
    page.locator("#next").tap()
    found.wait_for("ramp.png")
    page.locator("#pictures button", has_text="small.png").tap()
    found.wait_for("small.png")
    page.wait_for_function("() => document.getElementById('viewer').getBoundingClientRect().y > -1")
    assert found.box()["y"] < 844 / 2
    is_cut = (
        "() => [...document.querySelectorAll('.tables')].map(t => t.scrollWidth > t.clientWidth)"
    )
    assert page.evaluate(is_cut) == [False, False]
    controls = page.locator("button, select, input").all()
    assert min(one.bounding_box()["height"] for one in controls if one.is_visible()) >= 44


def test_fingers_move_the_divider_and_pinch(opening):
    found = opening("ramp.png", **PHONE)
    found.page.locator("canvas").scroll_into_view_if_needed()
    devtools = found.context.new_cdp_session(found.page)

    def touch(*moves):
        """Moves fingers: each move is a list of their places on the canvas; returns the state."""
        box = found.box()
        places = [
            [{"x": box["x"] + x, "y": box["y"] + y, "id": n} for n, (x, y) in enumerate(move)]
            for move in moves
        ]
        down = 0
        for points in [*places, []]:
            kind = "touchStart" if len(points) > down else "touchMove" if points else "touchEnd"
            devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
            down = len(points)
        return found.state()

    zoom, *_, split = touch(*([(x, 150)] for x in range(180, 80, -10)))
    assert split < 0.35
    # Up and down, it scrolls the page.
    assert touch([(180, 150)], *([(178, y)] for y in range(150, 30, -10)))[3] == split
    apart = [[(160 - n, 150), (200 + n, 150)] for n in range(0, 90, 10)]
    zoomed, x, *_ = touch([(160, 150)], *apart)
    assert zoomed > 2 * zoom
    assert touch(*([(x, 150)] for x in range(300, 210, -10)))[1] > x + 5


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1200, 900), (390, 844)])
def test_page_has_no_serious_accessibility_fault(opening, scheme, width, height):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = opening(viewport={"width": width, "height": height}, color_scheme=scheme).page
    for keys in ("", "e", "a"):  # as it opens, with error maps, with all views
        if keys:
            page.keyboard.press(keys)
        faults = axe.run(page).response["violations"]
        assert [f for f in faults if f["impact"] in ("serious", "critical")] == []
    # Nothing has to be scrolled sideways, but for wide tables in themselves.
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = sum(map(int, re.findall(r"\d+", ground)[:3]))
    assert (brightness > 384) == (scheme == "light")


# ---- the page of versions ----


@pytest.fixture(scope="module")
def versions_file(tmp_path_factory):
    page = VersionsPage(tmp_path_factory.mktemp("try") / "index.html")
    head = ["version", "by", "seconds per megapixel", "2 pictures", "command"]
    for name, picture in ("a.png", ramp()), ("b.png", smooth_picture(60, 80)):
        rows = [
            head,
            ["bicubic", "", "", "", ""],
            ["photo", "output.py <a>", "1", "9 seconds", "x"],
        ]
        page.add(
            f"{name}", name, {"bicubic": picture, "photo": 255 - picture}, rows, ["large: none"]
        )
    page.write(["bicubic", "photo"], "photo")
    return page.path


@pytest.mark.parametrize("width", [1440, 390])
def test_page_of_versions_has_the_slider_and_no_scores(opening, versions_file, width):
    page = opening("a.png", versions_file, viewport={"width": width, "height": 900})
    assert (
        page.page.locator("canvas").get_attribute("aria-label") == "bicubic, left, and photo, right"
    )
    for name in "Original", "Error map", "Largest gain":
        assert page.page.get_by_text(name, exact=True).is_hidden()
    assert page.page.locator("select:visible").count() == 2
    assert "output.py <a>" in page.page.locator("#scores").inner_text()
    before = page.zoom()
    page.press("n", "+")
    page.wait_for("b.png")
    assert page.zoom() != before
    states = page.states()
    page.press("e", "g")  # which need an original
    page.page.keyboard.down("o")
    assert (
        page.page.locator("canvas").get_attribute("aria-label") == "bicubic, left, and photo, right"
    )
    page.page.keyboard.up("o")
    assert page.states() == states
    assert page.page.locator("#legend").is_hidden()
    page.set_split(100)
    assert page.split() == 1
    assert page.page.evaluate("document.documentElement.scrollWidth") <= width
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    assert axe.run(page.page).response["violations"] == []
