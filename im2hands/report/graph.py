"""The picture of the workflow as inline SVG: stages in layers, with arrows from a stage to those that use its output.

A small layered layout: every stage is one layer below the deepest one that it needs; arrows implied by other arrows are
left out; arrows over several layers get their own place in each; layers are ordered by the means of their neighbours.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from html import escape
from itertools import pairwise

Edge = tuple[str, str]

BOX_WIDTH, BOX_HEIGHT, PASSAGE = 172, 32, 26
GAP, LAYER_HEIGHT, MARGIN = 16, 66, 6
SWEEPS = 12


def graph_svg(edges: Sequence[Edge], words: str = "The {} stages of the workflow and what each of them needs.") -> str:
    """The graph of (maker, user) pairs as an SVG element. Raises ValueError if they form a circle.

    words: what the picture shows, with a place for the number of boxes.
    """
    layer_of = _layers(edges)
    reduced = _reduced(edges)
    layers, links = _with_passages(layer_of, reduced)
    layers = _ordered(layers, links)
    places, width = _places(layers)
    height = 2 * MARGIN + (len(layers) - 1) * LAYER_HEIGHT + BOX_HEIGHT
    parts = [
        f'<svg class="graph" viewBox="0 0 {width:.0f} {height}" role="img" aria-label="{words.format(len(layer_of))}">'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path class="tip" d="M0 0L8 4L0 8z"/></marker></defs>'
    ]
    for link in links:
        parts.append(f'<path class="link" marker-end="url(#tip)" d="{_curve([places[node] for node in link])}"/>')
    for name in layer_of:
        x, y = places[name]
        parts.append(
            f'<rect class="box {escape(name.split("_")[0], quote=True)}" x="{x - BOX_WIDTH / 2:.1f}" y="{y:.1f}" '
            f'width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="9"/>'
            f'<text x="{x:.1f}" y="{y + BOX_HEIGHT / 2 + 4:.1f}" text-anchor="middle">{escape(name.replace("_", " "))}</text>'
        )
    return "".join([*parts, "</svg>"])


def _layers(edges: Sequence[Edge]) -> dict[str, int]:
    """Stage -> its layer, the deepest maker's plus one; in the order of layers and names."""
    makers = defaultdict(set)
    for maker, user in edges:
        makers[user].add(maker)
        makers[maker] |= set()
    layers: dict[str, int] = {}
    while len(layers) < len(makers):
        ready = sorted(name for name in makers if name not in layers and makers[name] <= layers.keys())
        if not ready:
            raise ValueError(f"the workflow's graph has a circle among {sorted(set(makers) - set(layers))}")
        layers |= {name: 1 + max((layers[maker] for maker in makers[name]), default=-1) for name in ready}
    return dict(sorted(layers.items(), key=lambda item: (item[1], item[0])))


def _reduced(edges: Sequence[Edge]) -> list[Edge]:
    """The arrows that no longer way implies."""
    users = defaultdict(set)
    for maker, user in edges:
        users[maker].add(user)

    def reached(name: str) -> set[str]:
        found, waiting = set(), list(users[name])
        while waiting:
            one = waiting.pop()
            if one not in found:
                found.add(one)
                waiting.extend(users[one])
        return found

    below = {name: reached(name) for name in list(users)}
    return [
        (maker, user)
        for maker, user in sorted(set(edges))
        if not any(user in below.get(other, ()) for other in users[maker] if other != user)
    ]


Node = str | tuple[str, int]
"""A stage, or (maker, layer) where its arrows pass a layer."""


def _with_passages(layer_of: dict[str, int], edges: Sequence[Edge]) -> tuple[list[list[Node]], list[list[Node]]]:
    """The nodes of every layer, and each arrow as its nodes from maker to user."""
    layers: list[list[Node]] = [[] for _ in range(1 + max(layer_of.values(), default=0))]
    for name, layer in layer_of.items():
        layers[layer].append(name)
    links = []
    for maker, user in edges:
        passages = [(maker, layer) for layer in range(layer_of[maker] + 1, layer_of[user])]
        for passage in passages:
            if passage not in layers[passage[1]]:
                layers[passage[1]].append(passage)
        links.append([maker, *passages, user])
    return layers, links


def _ordered(layers: list[list[Node]], links: Sequence[Sequence[Node]]) -> list[list[Node]]:
    """Each layer sorted by the mean place of its neighbours, down and up again, which untangles most arrows."""
    above, below = defaultdict(set), defaultdict(set)
    for link in links:
        for first, second in pairwise(link):
            below[first].add(second)
            above[second].add(first)
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        neighbours = above if down else below
        for layer in layers if down else layers[::-1]:
            place = {node: (index + 0.5) / len(one) for one in layers for index, node in enumerate(one)}
            layer.sort(
                key=lambda node: (
                    sum(place[other] for other in sorted(neighbours[node], key=str)) / len(neighbours[node])
                    if neighbours[node]
                    else place[node]
                )
            )
    return layers


def _places(layers: Sequence[Sequence[Node]]) -> tuple[dict[Node, tuple[float, float]], float]:
    """Middle of the upper edge of every node, and the width of the picture."""

    def breadth(node: Node) -> int:
        return BOX_WIDTH if isinstance(node, str) else PASSAGE

    widths = [sum(breadth(node) + GAP for node in layer) - GAP for layer in layers]
    whole, places = max(widths) + 2 * MARGIN, {}
    for number, (layer, width) in enumerate(zip(layers, widths, strict=True)):
        x = (whole - width) / 2
        for node in layer:
            places[node] = (x + breadth(node) / 2, MARGIN + number * LAYER_HEIGHT)
            x += breadth(node) + GAP
    return places, whole


def _curve(points: Sequence[tuple[float, float]]) -> str:
    """From the lower edge of the first node, through the passages, to the upper edge of the last."""
    x, y = points[0][0], points[0][1] + BOX_HEIGHT
    path = f"M{x:.1f} {y:.1f}"
    for number, (next_x, top) in enumerate(points[1:]):
        middle = (y + top) / 2
        path += f"C{x:.1f} {middle:.1f} {next_x:.1f} {middle:.1f} {next_x:.1f} {top:.1f}"
        x, y = next_x, top
        if number < len(points) - 2:
            y += BOX_HEIGHT
            path += f"V{y:.1f}"
    return path
