"""The page in a real browser without a network: it draws, every control works, nothing goes wrong on the way."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

pytestmark = pytest.mark.browser
MODES = ("truth", "prediction", "overlay", "compare", "error", "missed")
SIZES = [(1280, 900, False, False), (1280, 900, True, False), (390, 844, False, True)]


def problems(browser):
    """Errors that the browser reports or that the page noted itself."""
    noted = browser.evaluate("document.documentElement.dataset.errors")
    return browser.problems + ([] if noted == "0" else [f"{noted} errors in the page"])


def picture_of_the_view(browser) -> np.ndarray:
    """What the canvas shows, as the page's reader sees it."""
    browser.evaluate("document.documentElement.style.scrollBehavior = 'auto'")
    browser.evaluate("document.querySelector('.stage').scrollIntoView({block: 'center'})")
    browser.frames()
    left, top, width, height = browser.evaluate(
        "(r => [r.left, r.top, r.width, r.height].map(Math.round))(document.querySelector('.stage').getBoundingClientRect())"
    )
    picture = cv2.imdecode(np.frombuffer(browser.screenshot(), np.uint8), cv2.IMREAD_COLOR)
    return picture[max(top, 0) : top + height, max(left, 0) : left + width].astype(int)


def colourful(picture: np.ndarray) -> float:
    """Share of pixels that are not grey."""
    return float((np.ptp(picture, axis=-1) > 45).mean())


@pytest.mark.parametrize(("width", "height", "dark", "phone"), SIZES)
def test_page_opens_offline_and_fits_the_window(browser, page, width, height, dark, phone):
    browser.requests.clear()
    browser.open(page, width, height, dark=dark, phone=phone)
    assert browser.evaluate("document.documentElement.dataset.viewer") == "ready"
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.evaluate(
        "[...document.images].forEach(image => image.loading = 'eager');"
        "Promise.all([...document.images].map(image => image.decode().then(() => true, () => false)))"
        ".then(all => all.length > 10 && all.every(Boolean))"
    )
    assert browser.evaluate("document.fonts.ready.then(() => document.fonts.check('1rem Inter'))")
    assert [address for address in browser.requests if not address.startswith("data:")] == [page.resolve().as_uri()]
    assert problems(browser) == []
    back = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(int(x) for x in back[4:-1].split(",")) < 200) == dark


def test_every_mode_shows_another_picture(browser, page):
    browser.open(page, 1280, 900)
    pictures = {}
    for mode in MODES:
        browser.evaluate(f"document.querySelector('input[name=viewer-mode][value={mode}]').click()")
        pictures[mode] = picture_of_the_view(browser)
    for i, first in enumerate(MODES):
        for second in MODES[i + 1 :]:
            assert (np.abs(pictures[first] - pictures[second]).max(-1) > 20).mean() > 0.004, (first, second)
    assert colourful(pictures["prediction"]) > 0.05
    teal, orange = pictures["truth"], pictures["prediction"]
    assert (teal[..., 0] - teal[..., 2] > 30).sum() > 10 * (orange[..., 0] - orange[..., 2] > 30).sum()
    assert problems(browser) == []


@pytest.mark.parametrize("mode", ["prediction", "error", "missed"])
def test_another_method_shows_other_hands_and_the_truth_stays(browser, page, mode):
    browser.open(page, 1280, 900)
    pictures = {}
    for method in ("halo/model", "initial/model"):
        choose = f"choice => {{choice.value = '{method}'; choice.dispatchEvent(new Event('change'))}}"
        browser.evaluate(f"({choose})(document.querySelector('select[name=viewer-method]'))")
        for shown in (mode, "truth"):
            browser.evaluate(f"document.querySelector('input[name=viewer-mode][value={shown}]').click()")
            pictures[method, shown] = picture_of_the_view(browser)
    difference = {
        shown: (np.abs(pictures["halo/model", shown] - pictures["initial/model", shown]).max(-1) > 20).mean()
        for shown in (mode, "truth")
    }
    assert difference[mode] > 0.004
    assert difference["truth"] < 0.001
    assert problems(browser) == []


def test_dragging_turns_the_hands(browser, page):
    browser.open(page, 1280, 900)
    before = picture_of_the_view(browser)
    browser.drag(".stage", 150)
    assert (np.abs(picture_of_the_view(browser) - before).max(-1) > 20).mean() > 0.02
    assert problems(browser) == []


def test_pairs_keys_and_buttons_change_the_view(browser, page):
    browser.open(page, 1280, 900)
    start = picture_of_the_view(browser)
    browser.evaluate("document.querySelector('input[name=viewer-pair][value=\"1\"]').click()")
    other = picture_of_the_view(browser)
    assert (np.abs(start - other).max(-1) > 20).mean() > 0.02
    press = "document.querySelector('.stage canvas').dispatchEvent(new KeyboardEvent('keydown', {key: '%s', bubbles: true}))"
    for _ in range(4):
        browser.evaluate(press % "ArrowLeft")
    turned = picture_of_the_view(browser)
    assert (np.abs(turned - other).max(-1) > 20).mean() > 0.02
    browser.evaluate("document.querySelector('[data-act=reset]').click()")
    browser.frames(20)
    assert (np.abs(picture_of_the_view(browser) - other).max(-1) > 20).mean() < 0.01
    browser.evaluate("document.querySelector('[data-act=turn]').click()")
    assert browser.evaluate("document.querySelector('[data-act=turn]').ariaPressed") == "true"
    assert problems(browser) == []


def test_the_pointer_reads_off_a_distance(browser, page):
    browser.open(page, 1280, 900)
    browser.evaluate("document.querySelector('input[name=viewer-mode][value=error]').click()")
    picture = picture_of_the_view(browser)
    outside = np.abs(picture - picture[5, 5]).sum(-1)
    rows, columns = np.nonzero(outside > 150)
    middle = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
    left, top = browser.evaluate("(r => [r.left, r.top])(document.querySelector('.stage').getBoundingClientRect())")
    browser.call(
        "Input.dispatchMouseEvent", type="mouseMoved", x=left + columns[middle].item(), y=top + rows[middle].item()
    )
    browser.frames(4)
    text = browser.evaluate("document.querySelector('.readout').textContent")
    assert text.endswith(" mm")
    assert 0 <= float(text.split()[0]) < 20


def test_without_webgl_the_page_says_so(browser, page, tmp_path):
    blind = tmp_path / "blind.html"
    script = "<script>HTMLCanvasElement.prototype.getContext = () => null;</script>"
    blind.write_text(page.read_text().replace("<body>", "<body>" + script))
    browser.problems.clear()
    browser.open(blind, 800, 600)
    assert browser.evaluate("document.documentElement.dataset.viewer") == "unavailable"
    assert browser.evaluate("getComputedStyle(document.querySelector('.fallback')).display") != "none"
    browser.problems.clear()  # three.js itself complains about the missing context
