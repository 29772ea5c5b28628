"""The drawn pictures and the tables of keypoint formats follow the code."""

from __future__ import annotations

import pytest

from tools.draw_docs import IMAGES, ROOT, pictures, room_edges
from tools.format_table import PAGE, filled


@pytest.mark.parametrize("name", ["data-flow.svg", "rooms.svg"])
def test_picture_is_that_of_the_code(name):
    """Draw them again with `python -m tools.draw_docs`."""
    assert (ROOT / IMAGES / name).read_text() == pictures()[name]


def test_tables_of_keypoint_formats_are_those_of_the_code():
    """Write them again with `python -m tools.draw_docs`."""
    page = (ROOT / PAGE).read_text()
    assert page == filled(page)


def test_rooms_are_joined_as_their_imports_say():
    found = room_edges()
    assert ("io", "training") in found and ("networks", "photographs") in found
    assert ("training", "reconstruction") not in found
