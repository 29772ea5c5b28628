"""The picture of the workflow holds every stage once, leaves out only implied arrows and covers no box with another."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from im2hands.report.graph import BOX_HEIGHT, BOX_WIDTH, graph_svg

EDGES = [("a", "b"), ("b", "c"), ("a", "c"), ("a", "d_e"), ("d_e", "f"), ("c", "f"), ("x", "f"), ("x", "c")]


def boxes(svg):
    return [(float(x), float(y)) for x, y in re.findall(r'<rect [^>]*?x="([\d.]+)" y="([\d.]+)"', svg)]


def test_every_stage_stands_once_and_implied_arrows_are_left_out():
    svg = graph_svg(EDGES)
    names = [element.text for element in ET.fromstring(svg).iter("text")]
    assert sorted(names) == ["a", "b", "c", "d e", "f", "x"]
    assert svg.count('class="link"') == 6  # a-c goes by b, x-f by c


def test_users_stand_below_their_makers_and_no_boxes_overlap():
    svg = graph_svg(EDGES)
    names = [element.text.replace(" ", "_") for element in ET.fromstring(svg).iter("text")]
    place = dict(zip(names, boxes(svg), strict=True))
    assert all(place[maker][1] + BOX_HEIGHT < place[user][1] for maker, user in EDGES)
    for one, (x, y) in place.items():
        assert not any(
            abs(x - u) < BOX_WIDTH and abs(y - v) < BOX_HEIGHT for two, (u, v) in place.items() if two != one
        )


def test_same_edges_in_another_order_same_picture():
    assert graph_svg(EDGES[::-1]) == graph_svg(EDGES)


def test_a_circle_is_refused():
    with pytest.raises(ValueError, match="circle"):
        graph_svg([("a", "b"), ("b", "a")])
