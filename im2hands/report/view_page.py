"""The page of `im2hands view`: panels side by side with a common camera, as a self-contained HTML file.

Space of the page: millimetres, x right, y up, z towards the viewer; every frame is centred on its own hands.
"""

from __future__ import annotations

import json
import webbrowser
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from im2hands.geometry.inside import InsideTest
from im2hands.geometry.mesh import Mesh, is_watertight
from im2hands.geometry.surface_distance import distance_to_surface
from im2hands.hands.sides import Side
from im2hands.io.errors import DataError
from im2hands.io.progress import progress
from im2hands.report.colours import ERROR_STOPS, PENETRATION, PREDICTION, TRUTH, scale_limit
from im2hands.report.page import environment, static
from im2hands.report.pairs import halved
from im2hands.report.pictures import vertex_normals
from im2hands.report.simplify import simplify, unfolded
from im2hands.report.view_files import Panel, Part, ViewFrame
from im2hands.report.viewer import UNKNOWN_DISTANCE, as_base64, packed, packed_distances

ADDRESS = "127.0.0.1"
BYTES_OF_MESHES = 18_000_000
"""Binary size of all meshes of a page; base64 adds a third, the page itself some 1.5 MB."""
BYTES_PER_FACE = 14
MOST_FACES, FEWEST_FACES = 12_000, 800
UNKNOWN_COLOUR = (0.55, 0.57, 0.60)
OTHER_COLOURS = ((0.71, 0.55, 0.78), (0.55, 0.70, 0.44), (0.85, 0.72, 0.42), (0.47, 0.60, 0.80))
"""Of meshes whose name says no side."""


def view_page(panels: Sequence[Panel], most_frames: int) -> str:
    """The page. most_frames: evenly chosen ones are shown where there are more.

    Raises DataError if the frames cannot be shown in BYTES_OF_MESHES, or nothing is to be shown.
    """
    data = view_data(panels, most_frames)
    context = {
        "title": " and ".join(panel.title for panel in panels),
        "data": data,
        "json": json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"),
        **static(),
    }
    return environment().get_template("view.html.j2").render(context)


def view_data(panels: Sequence[Panel], most_frames: int) -> dict[str, Any]:
    """What the page's script reads; see `view_page`."""
    if most_frames < 1:
        raise DataError(f"--frames {most_frames}: give at least 1.")
    leading = max(panels, key=lambda panel: len(panel.frames))
    count = len(leading.frames)
    chosen = [
        leading.frames[i] for i in np.unique(np.linspace(0, count - 1, min(most_frames, count)).round().astype(int))
    ]
    rows = [[frame if panel is leading else _same(frame, panel) for panel in panels] for frame in chosen]
    meshes = _Frame(panels, rows[0]).meshes
    faces = int(min(BYTES_OF_MESHES / len(rows) / meshes / BYTES_PER_FACE, MOST_FACES))
    if faces < FEWEST_FACES:
        most = int(BYTES_OF_MESHES / meshes / BYTES_PER_FACE / FEWEST_FACES)
        raise DataError(f"--frames {most_frames}: too many for one page; give at most {most}.")
    frames = [_Frame(panels, row).packed(faces) for row in progress(rows, "view", len(rows), "frames")]
    errors = np.concatenate([np.zeros(0), *(frame.pop("errors") for frame in frames)])
    return {
        "panels": [panel.title for panel in panels],
        "frames": frames,
        "found": count,
        "faces": faces,
        "simplified": sum(frame.pop("simplified") for frame in frames),
        "truth": any(frame["truth"] for frame in frames),
        "errors": len(errors) > 0,
        "penetration": any("inside" in part for frame in frames for parts in frame["panels"] for part in parts),
        "limit": scale_limit(errors),
        "stops": ERROR_STOPS,
        "unknown": UNKNOWN_COLOUR,
        "unknownDistance": UNKNOWN_DISTANCE,
        "inside": PENETRATION,
    }


def distances_mm(
    points: Float[np.ndarray, "n 3"], side: Side | None, truth: Sequence[Part]
) -> Float[np.ndarray, " n"] | None:
    """Distance (mm) of points (m) to the true surface of a side, of either if the side is not known; None without one."""
    fitting = [part.mesh for part in truth if side is None or part.side in (None, side)]
    if not fitting:
        return None
    return 1e3 * np.min([distance_to_surface(points, mesh.vertices, mesh.faces) for mesh in fitting], axis=0)


def inside_others(points: Float[np.ndarray, "n 3"], own: Part, parts: Sequence[Part]) -> Bool[np.ndarray, " n"]:
    """Which points lie inside another mesh of the panel (one of another side, where sides are known); all must be closed."""
    inside = np.zeros(len(points), bool)
    for other in parts:
        if other is not own and (own.side is None or other.side is not own.side):
            inside |= InsideTest(other.mesh.vertices, other.mesh.faces, name=other.name).contains(points)
    return inside


def names_this_machine(host: str) -> bool:
    """Whether the Host of a request is this machine, at any port (of a tunnel, say).

    A foreign name that was made to point here would read the page for a foreign site.
    """
    name = host.lower() if host.endswith("]") else host.lower().rpartition(":")[0] or host.lower()
    return name in ("localhost", ADDRESS, "[::1]")


def serve(page: str, opened: bool, say: Callable[[str], None], port: int = 0) -> None:
    """Serves the page on 127.0.0.1 until it is interrupted. opened: open it in the browser.  port: 0 for any free one."""
    content = page.encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if not names_this_machine(self.headers.get("Host", "")):
                self.send_error(403, "This page can be opened only on this machine")
                return
            found = self.path in ("/", "/index.html")
            body = content if found else b"not here"
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8" if found else "text/plain")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Says nothing of every request."""

    try:
        server = ThreadingHTTPServer((ADDRESS, port), Handler)
    except OSError as error:
        raise DataError(f"--port {port}: cannot be used ({error}); give another port, or 0 for any free one.") from None
    with server:
        address = f"http://{ADDRESS}:{server.server_address[1]}/"
        say(f"{address} (stop with Ctrl-C)")
        if opened:
            webbrowser.open(address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            say("ended")


def _same(frame: ViewFrame, panel: Panel) -> ViewFrame | None:
    """The frame of another panel with the most names in common; the first by place if names say nothing."""
    best = max(panel.frames, key=lambda one: len(one.names & frame.names))
    if best.names & frame.names or len(panel.frames) == 1:
        return best
    return None


class _Frame:
    """The meshes of one frame in all panels, in metres and in the axes of the page."""

    def __init__(self, panels: Sequence[Panel], row: Sequence[ViewFrame | None]) -> None:
        present = [(panel, frame) for panel, frame in zip(panels, row, strict=True) if frame is not None]
        self.label = next(frame.label for _, frame in present)
        self.parts = [[] if frame is None else frame.parts() for frame in row]
        self.truth = next((found for panel, frame in present if (found := panel.truth(frame))), [])
        rotation = next((frame.rotation for _, frame in present if frame.rotation is not None), np.eye(3))
        self._turn = np.diag([1.0, -1.0, -1.0]) @ rotation
        reference = self.truth or [part for parts in self.parts for part in parts]
        self._centre = np.zeros(3)
        if reference:
            together = np.concatenate([part.mesh.vertices for part in reference]) @ self._turn.T
            self._centre = (together.min(0) + together.max(0)) / 2

    @property
    def meshes(self) -> int:
        return max(len(self.truth) + sum(map(len, self.parts)), 1)

    def packed(self, faces: int) -> dict[str, Any]:
        errors, simplified, panels = [np.zeros(0)], 0, []
        for parts in self.parts:
            shown, closed = [], all(is_watertight(part.mesh.faces) for part in parts)
            for number, part in enumerate(parts):
                mesh, content = self._mesh(part, faces)
                simplified += len(mesh.faces) < len(part.mesh.faces)
                distances = distances_mm(mesh.vertices, part.side, self.truth)
                if distances is not None:
                    errors.append(distances)
                    content["distances"] = packed_distances(distances)
                if len(parts) > 1 and closed:
                    content["inside"] = as_base64(inside_others(mesh.vertices, part, parts).astype(np.uint8))
                other = OTHER_COLOURS[number % len(OTHER_COLOURS)]
                colour = other if part.side is None else PREDICTION[part.side]
                shown.append(content | {"colour": colour})
            panels.append(shown)
        truth = []
        for part in self.truth:
            fine = part if len(part.mesh.faces) > 4000 else Part(part.name, part.side, halved(part.mesh))
            truth.append(self._mesh(fine, faces)[1] | {"colour": TRUTH[part.side or Side.RIGHT]})
        return {
            "label": self.label,
            "panels": panels,
            "truth": truth,
            "errors": np.concatenate(errors),
            "simplified": simplified,
        }

    def _mesh(self, part: Part, faces: int) -> tuple[Mesh, dict[str, Any]]:
        mesh, kept = simplify(part.mesh, faces)
        normals = vertex_normals(part.mesh.vertices, part.mesh.faces)[kept]
        mesh = Mesh(np.asarray(mesh.vertices, np.float64), unfolded(mesh, normals))
        content = packed(1e3 * (mesh.vertices @ self._turn.T - self._centre), mesh.faces)
        content |= {"name": part.name, "normals": as_base64(np.round(127 * normals @ self._turn.T).astype(np.int8))}
        return mesh, content
