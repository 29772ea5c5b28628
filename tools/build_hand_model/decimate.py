"""Decimation by half-edge collapses: the vertices that remain are a subset, so that all linear data carry over by indexing."""

from __future__ import annotations

import heapq
from collections import Counter

import numpy as np

LENGTH_COST = 0.03
"""Added to the quadric error: this times length cubed (mm), for even edges."""
SMALLEST_TURN_COSINE = 0.25
SMALLEST_SLIVER = 0.18
"""Twice the area over the longest edge squared."""
LARGEST_VALENCE = 9


def decimate(
    vertices: np.ndarray, faces: np.ndarray, vertex_count: int, boundary_count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the vertices that remain, and the triangles in these numbers' places.

    First the shortest boundary edges are collapsed until `boundary_count` remain, then the cheapest inner ones until
    `vertex_count` vertices remain; boundary vertices do not move then. A collapse is refused if it breaks the link condition,
    turns a normal by more than about 75 degrees, makes a sliver or a valence above 9.
    """
    mesh = _Mesh(vertices, faces)
    while len(boundary := mesh.boundary_edges()) > boundary_count:
        by_length = sorted((float(np.linalg.norm(vertices[a] - vertices[b])), a, b) for a, b in boundary)
        a, b = next((a, b) for _, a, b in by_length if len(mesh.neighbours(a) & mesh.neighbours(b)) == 1)
        mesh.collapse(a, b)
    fixed = {vertex for edge in mesh.boundary_edges() for vertex in edge}
    _collapse_inner(mesh, fixed, vertex_count)
    remaining = np.flatnonzero(mesh.alive_vertex)
    renumber = np.cumsum(mesh.alive_vertex) - 1
    kept = [face for face, alive in zip(mesh.faces, mesh.alive_face, strict=True) if alive]
    return remaining, renumber[np.array(kept)]


def _collapse_inner(mesh: _Mesh, fixed: set[int], vertex_count: int) -> None:
    version = [0] * len(mesh.vertices)
    queue: list[tuple[float, int, int, int, int]] = []

    def push(vertex: int, onto: int) -> None:
        if vertex not in fixed:
            heapq.heappush(queue, (mesh.cost(vertex, onto), vertex, onto, version[vertex], version[onto]))

    for vertex in np.flatnonzero(mesh.alive_vertex).tolist():
        for onto in mesh.neighbours(vertex):
            push(vertex, onto)
    count = int(mesh.alive_vertex.sum())
    while count > vertex_count:
        if not queue:
            raise SystemExit(f"decimation stopped at {count} vertices: every further collapse is refused.")
        _, vertex, onto, first, second = heapq.heappop(queue)
        stale = (version[vertex], version[onto]) != (first, second)
        if stale or not mesh.alive_vertex[vertex] or not mesh.alive_vertex[onto] or not mesh.may_collapse(vertex, onto):
            continue
        mesh.collapse(vertex, onto)
        count -= 1
        version[onto] += 1
        for neighbour in mesh.neighbours(onto):
            push(onto, neighbour)
            push(neighbour, onto)


class _Mesh:
    """Triangles with their neighbourhoods and the quadrics of Garland and Heckbert (1997), area weighted."""

    def __init__(self, vertices: np.ndarray, faces: np.ndarray) -> None:
        self.vertices = vertices
        self.faces = [tuple(face) for face in faces.tolist()]
        self.alive_face = [True] * len(self.faces)
        self.alive_vertex = np.ones(len(vertices), dtype=bool)
        self.faces_at: list[set[int]] = [set() for _ in vertices]
        self.quadrics = np.zeros((len(vertices), 4, 4))
        for number, face in enumerate(self.faces):
            a, b, c = vertices[list(face)]
            normal = np.cross(b - a, c - a)
            twice_area = np.linalg.norm(normal)
            plane = np.append(normal, -normal @ a) / max(twice_area, 1e-12)
            for vertex in face:
                self.faces_at[vertex].add(number)
                self.quadrics[vertex] += np.outer(plane, plane) * twice_area

    def neighbours(self, vertex: int) -> set[int]:
        return {other for face in self.faces_at[vertex] for other in self.faces[face]} - {vertex}

    def boundary_edges(self) -> list[tuple[int, int]]:
        edges = Counter(
            (min(a, b), max(a, b))
            for (x, y, z), alive in zip(self.faces, self.alive_face, strict=True)
            if alive
            for a, b in ((x, y), (y, z), (z, x))
        )
        return [edge for edge, uses in edges.items() if uses == 1]

    def cost(self, vertex: int, onto: int) -> float:
        place = np.append(self.vertices[onto], 1.0)
        length = np.linalg.norm(self.vertices[vertex] - self.vertices[onto])
        return float(place @ self.quadrics[vertex] @ place) + LENGTH_COST * length**3

    def may_collapse(self, vertex: int, onto: int) -> bool:
        around_vertex, around_onto = self.neighbours(vertex), self.neighbours(onto)
        if onto not in around_vertex:
            return False
        common, shared = around_vertex & around_onto, self.faces_at[vertex] & self.faces_at[onto]
        if len(common) != len(shared) or len(around_vertex | around_onto) - len(common) - 2 > LARGEST_VALENCE:
            return False
        return all(self._stays_sound(face, vertex, onto) for face in self.faces_at[vertex] - shared)

    def _stays_sound(self, face: int, vertex: int, onto: int) -> bool:
        corners = self.faces[face]
        before = self.vertices[list(corners)]
        after = self.vertices[[onto if corner == vertex else corner for corner in corners]]
        old, new = (np.cross(points[1] - points[0], points[2] - points[0]) for points in (before, after))
        area = np.linalg.norm(new)
        if old @ new <= SMALLEST_TURN_COSINE * np.linalg.norm(old) * area:
            return False
        longest = max(np.linalg.norm(after[k] - after[k - 1]) for k in range(3))
        return area >= SMALLEST_SLIVER * longest * longest

    def collapse(self, vertex: int, onto: int) -> None:
        for face in self.faces_at[vertex] & self.faces_at[onto]:
            self.alive_face[face] = False
            for corner in self.faces[face]:
                self.faces_at[corner].discard(face)
        for face in self.faces_at[vertex]:
            self.faces[face] = tuple(onto if corner == vertex else corner for corner in self.faces[face])
            self.faces_at[onto].add(face)
        self.faces_at[vertex] = set()
        self.quadrics[onto] += self.quadrics[vertex]
        self.alive_vertex[vertex] = False
