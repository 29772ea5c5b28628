"""The drawn pictures follow the code."""

from __future__ import annotations

import pytest

from tools.draw_docs import IMAGES, ROOT, pictures, room_edges


@pytest.mark.parametrize("name", ["data-flow.svg", "rooms.svg"])
def test_picture_is_that_of_the_code(name):
    """Draw them again with `python -m tools.draw_docs`."""
    assert (ROOT / IMAGES / name).read_text() == pictures()[name]


def test_rooms_are_joined_as_their_imports_say():
    found = room_edges()
    assert ("io", "training") in found and ("networks", "photographs") in found
    assert ("training", "reconstruction") not in found
