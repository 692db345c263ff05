"""The page: what is packed into it, and how it behaves in Chromium where there is one."""

import base64
import io
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from superres.images.resize import upscale_nearest
from superres.scoring import figures, metrics, results, testsets
from superres.scoring import page as page_module
from superres.scoring.page import Page, exact_files, previews
from superres.scoring.restore import Restored
from support import smooth_picture

# ---- what is packed ----


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def opened(file):
    return np.asarray(Image.open(io.BytesIO(file)))


def test_pictures_stay_exact_where_that_fits():
    pictures = [smooth_picture(40, 60), smooth_picture(40, 60, 1)[..., 0]]
    files = exact_files(pictures, 100_000)
    np.testing.assert_array_equal(opened(files[0]), pictures[0])
    np.testing.assert_array_equal(opened(files[1])[..., 0], pictures[1])
    assert exact_files(pictures, sum(map(len, files))) == files
    assert exact_files(pictures, sum(map(len, files)) - 1) is None
    assert exact_files([smooth_picture(40, 20_000)], 10_000_000) is None


def test_previews_are_as_large_as_the_budget_allows():
    pictures = [smooth_picture(800, 1600), smooth_picture(800, 1600, seed=1)]
    shapes = [opened(previews(pictures, budget)[0]).shape for budget in (10**6, 160_000, 1000)]
    assert shapes == [(800, 1600, 3), (400, 800, 3), (141, 283, 3)]


def test_picture_that_is_too_long_for_webp_is_reduced():
    assert opened(previews([smooth_picture(40, 20_000)], 10_000_000)[0]).shape == (33, 16_383, 3)


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


def add(page, title, original, shift=3, notes=()):
    page.add(title, restored_of(original, views_of(original, shift), notes))


NETWORK = {"pictures": "all pictures", "weights": "x.keras", "weights_sha256": "0" * 64}
NETWORK |= {"parameters": 1, "engine": "a test", "precision": "float32", "self_ensemble": False}
MADE_BY = {"scale": 2, "networks": [NETWORK], "compared": {}}


def write(page, path, name="Set5", methods=(results.BICUBIC, results.PREDICTION)):
    test_set = testsets.TestSet(name, Path(name), "HR", [])
    page.write(path, results.Results([test_set], list(methods), 2), MADE_BY)
    return path


def stored(path, name):
    text = path.read_text(encoding="utf-8")
    (found,) = re.findall(rf'<script type="application/json" id="{name}">(.*?)</script>', text)
    return json.loads(found)


def address_to_pixels(address):
    return opened(base64.b64decode(address.split(",")[1]))


def test_page_holds_every_view_and_the_part_of_the_largest_gain_exactly(tmp_path, monkeypatch):
    monkeypatch.setattr(page_module, "BUDGET", 1_000_000)
    original = noise(300, 400)
    page = Page(1, results.PREDICTION)
    add(page, "a", original)
    path = write(page, tmp_path / "report.html")
    (picture,) = stored(path, "index")["pictures"]
    kept = stored(path, "picture-0")
    assert not picture["is_exact"]
    assert list(kept["views"]) == list(results.VIEWS)
    assert list(kept["errors"]) == list(results.VIEWS[:-1])
    left, top, width, height = kept["crop"]["box"]
    assert (width, height) == (128, 128)
    for name, view in views_of(original).items():
        exact = view[top : top + height, left : left + width]
        np.testing.assert_array_equal(address_to_pixels(kept["crop"]["views"][name]), exact)
        assert address_to_pixels(kept["views"][name]).shape == original.shape


def test_budget_is_shared_among_the_pictures(monkeypatch):
    monkeypatch.setattr(page_module, "BUDGET", 1_000_000)
    for count, is_exact in (1, True), (10, False):
        page = Page(count, results.PREDICTION)
        add(page, "a", smooth_picture(300, 300))
        assert page._index[0]["is_exact"] == is_exact


def test_names_cannot_end_the_script_or_become_tags(tmp_path):
    page = Page(1, results.PREDICTION)
    add(page, "</script><b>{{title}}", smooth_picture(40, 40), notes=["<i>"])
    path = write(page, tmp_path / "report.html", name="<b>{{index}}")
    assert stored(path, "index")["pictures"][0]["title"] == "</script><b>{{title}}"
    text = path.read_text(encoding="utf-8")
    assert "<title>&lt;b&gt;{{index}} ×2: x.keras</title>" in text


@pytest.fixture(scope="module")
def compared_file(tmp_path_factory):
    """A page of programs 7 and 10, of which 7 restores one exactly, and lacks one."""
    page = Page(3, "7")
    for seed, name in enumerate(["exact", "near", "lacking"]):
        original = smooth_picture(80, 100, seed=seed)
        views = views_of(original)
        near = views.pop(results.PREDICTION)
        seven = {"exact": original, "near": near, "lacking": None}[name]
        page.add(name, restored_of(original, {**views, "10": near, "7": seven}))
    flat = np.full((80, 100, 3), 90, np.uint8)
    views = {**dict.fromkeys(results.VIEWS, flat), "7": flat // 2, "10": flat}
    del views[results.PREDICTION]
    page.add("flat", restored_of(flat, views))
    path = tmp_path_factory.mktemp("compared") / "report.html"
    return write(page, path, methods=[results.BICUBIC, "10", "7"])


def test_infinite_and_missing_scores_are_told_without_infinity_in_json(compared_file):
    pictures = stored(compared_file, "index")["pictures"]
    assert [p["title"] for p in pictures] == ["exact", "near", "lacking", "flat"]
    exact, flat = pictures[0]["scores"]["7"], pictures[3]["scores"]["7"]
    assert (exact["psnr"], exact["order"], exact["gainOrder"]) == ("inf", 1000, 1000)
    assert (flat["gain"], flat["gainOrder"]) == ("-inf", -1000)
    assert "7" not in pictures[2]["scores"]


def test_page_asks_for_nothing_from_elsewhere(tmp_path):
    page = Page(1, results.PREDICTION)
    add(page, "a", smooth_picture(40, 40))
    text = write(page, tmp_path / "report.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    assert not re.findall(r"(?:src|href)\s*=\s*[\"'](?!data:)", text)
    assert "http://" not in text
    assert "https://" not in text


# ---- in a browser ----


@pytest.fixture(scope="module")
def chromium():
    """Chromium, driven by Playwright; the tests are skipped where it is absent."""
    names = ("chromium", "chromium-browser", "google-chrome")
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip("needs Chromium: apt install chromium, or its path in CHROMIUM")
    playwright = pytest.importorskip("playwright.sync_api")
    flags = ("no-sandbox", "disable-gpu", "disable-background-networking", "disable-sync")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=[f"--{flag}" for flag in flags])
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
    page = Page(3, results.PREDICTION)
    add(page, "ramp.png", ramp(), shift=20)
    add(page, "small.png", smooth_picture(90, 70), shift=3)
    add(page, "wide.png", smooth_picture(100, 700), shift=60)
    return write(page, tmp_path_factory.mktemp("page") / "report.html")


class Opened:
    """A page in a browser, and what went wrong in it."""

    def __init__(self, browser, file, **options):
        options = {"viewport": {"width": 1200, "height": 900}, **options}
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.faults, self.requests = [], []
        self.page.on("console", self.note)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(f"file://{file}")
        self.page.wait_for_selector("canvas[data-zoom]")

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
    assert "each as it was scored" in page.locator("#exactness").text_content()


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


def test_compressed_page_says_so_and_frames_what_is_exact(chromium, tmp_path, monkeypatch):
    monkeypatch.setattr(page_module, "BUDGET", 400_000)
    original = noise(600, 800)
    page = Page(1, results.PREDICTION)
    add(page, "a", original)
    found = Opened(chromium, write(page, tmp_path / "report.html"))
    assert (
        "compressed here, except inside the frame"
        in found.page.locator("#exactness").text_content()
    )
    found.page.keyboard.press("g")
    found.page.locator("#split").fill("0")
    found.page.keyboard.down("o")
    zoom, x, y, _ = found.state()[0]
    box = found.box()
    column, row = round(box["width"] / 2), round(box["height"] / 2)
    (seen,) = found.pixels(column + 2, row + 2)
    at = [int(p + 2.5 / zoom) for p in (y, x)]
    np.testing.assert_array_equal(seen[0, 0], original[at[0], at[1]])
    found.context.close()
