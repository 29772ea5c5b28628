"""The page of `im2hands view` in a real browser without a network: linked panels, frames, colours, and nothing goes wrong."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from im2hands.geometry.mesh import Mesh
from im2hands.geometry.mesh_files import write_mesh
from im2hands.hands.sides import Side
from im2hands.io.atomic import write_text
from im2hands.report.view_files import read_panels
from im2hands.report.view_page import view_page
from tests.report.test_view import sphere

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Long shapes, so that turning shows; the second method is off by some millimetres."""
    folder = tmp_path_factory.mktemp("view")
    for name, shift in (("first", 0.0), ("second", 0.006), ("true", 0.0)):
        (folder / name).mkdir()
        for frame in range(3):
            for side, sign in ((Side.LEFT, 1), (Side.RIGHT, -1)):
                ball = sphere(0.0)
                vertices = ball.vertices * [0.5, 1.3, 0.8] + [sign * (0.015 + 0.02 * frame) + shift, 0, 0]
                write_mesh(folder / name / f"f{frame}_{side.value}.ply", Mesh(vertices, ball.faces))
    panels = read_panels([folder / "first", folder / "second"], folder / "true")
    write_text(folder / "page.html", view_page(panels, 60))
    return folder / "page.html"


def panels_shown(browser) -> list[np.ndarray]:
    browser.frames()
    picture = cv2.imdecode(np.frombuffer(browser.screenshot(), np.uint8), cv2.IMREAD_COLOR).astype(int)
    places = browser.evaluate(
        "[...document.querySelectorAll('.cell')].map(cell => cell.getBoundingClientRect())"
        ".map(r => [r.left, r.top, r.width, r.height].map(Math.round))"
    )
    return [picture[top + 40 : top + height - 4, left + 4 : left + width - 4] for left, top, width, height in places]


def changed(before: np.ndarray, after: np.ndarray) -> float:
    return float((np.abs(before - after).max(-1) > 20).mean())


@pytest.mark.parametrize(("width", "height", "phone"), [(1280, 900, False), (390, 844, True)])
def test_panels_turn_together_and_every_control_works(browser, page, width, height, phone):
    browser.requests.clear()
    browser.open(page, width, height, phone=phone)
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    start = panels_shown(browser)
    browser.drag(".cell", 100)
    turned = panels_shown(browser)
    assert all(changed(a, b) > 0.01 for a, b in zip(start, turned, strict=True))
    browser.evaluate("document.querySelector('[data-act=reset]').click()")
    browser.frames(20)
    seen = [panels_shown(browser)]
    assert all(changed(a, b) < 0.005 for a, b in zip(start, seen[0], strict=True))
    for act in (
        "document.querySelector('input[name=colour][value=error]').click()",
        "document.querySelector('input[name=colour][value=inside]').click()",
        "document.querySelector('input[name=truth]').click()",
        "(s => {s.value = '2'; s.dispatchEvent(new Event('input'))})(document.querySelector('input[name=frame]'))",
    ):
        browser.evaluate(act)
        seen.append(panels_shown(browser))
        assert all(changed(a, b) > 0.004 for a, b in zip(*seen[-2:], strict=True)), act
    plain, _, inside = (shown[0] for shown in seen[:3])
    blue = [(shown[..., 0] - shown[..., 2] > 60).sum() for shown in (plain, inside)]
    assert blue[1] > 10 * (blue[0] + 1)
    pale, dark = (shown.min(-1)[shown.min(-1) < 150] for shown in seen[1])
    assert dark.size > 3 * (pale.size + 1)  # the first method is exact, the second is off
    assert browser.evaluate("document.querySelector('.frame-name').textContent") == "f2 (3 of 3)"
    assert [address for address in browser.requests if not address.startswith("data:")] == [page.resolve().as_uri()]
    assert browser.problems == [] and browser.evaluate("document.documentElement.dataset.errors") == "0"


def test_hands_fill_the_panel_although_one_frame_has_them_far_apart(browser, tmp_path):
    """And after a reset that frame fits too."""
    ball = sphere(0.0)
    long = ball.vertices * [0.8, 2.6, 0.8]
    for frame in range(8):
        for side, sign in ((Side.LEFT, -1), (Side.RIGHT, 1)):
            shift = 0.4 if frame == 5 else 0.045
            write_mesh(tmp_path / f"f{frame}_{side.value}.ply", Mesh(long + np.array([sign * shift, 0, 0]), ball.faces))
    write_text(tmp_path / "page.html", view_page(read_panels([tmp_path]), 60))
    browser.open(tmp_path / "page.html", 1280, 900)

    def size() -> tuple[float, float]:
        """Share of the panel's height and width that has the hands' colours: orange, so red is far above blue."""
        (shown,) = panels_shown(browser)
        orange = shown[..., 2] - shown[..., 0] > 60
        rows, columns = np.flatnonzero(orange.any(axis=1)), np.flatnonzero(orange.any(axis=0))
        return np.ptp(rows) / shown.shape[0], np.ptp(columns) / shown.shape[1]

    assert max(size()) > 0.5
    browser.evaluate(
        "(s => {s.value = '5'; s.dispatchEvent(new Event('input'))})(document.querySelector('input[name=frame]'))"
    )
    browser.evaluate("document.querySelector('[data-act=reset]').click()")
    browser.frames(20)
    assert 0.5 < size()[1] < 0.95
