"""Draws what follows from the code in the documents: pictures of the stages and the rooms, and the tables of keypoint formats.

    python -m tools.draw_docs

Run it after a change of the stages, of what rooms import from each other, or of keypoint layouts; tests compare the files.
"""

from __future__ import annotations

import ast
from pathlib import Path

import yaml

from im2hands.io.atomic import write_text
from im2hands.report.graph import Edge, graph_svg
from tools.format_table import PAGE, filled
from workflow.dvc_stages import edges

ROOT = Path(__file__).parents[1]
IMAGES = Path("docs/images")
STYLE = (
    "<style>text{font:12px system-ui,sans-serif;fill:#1c2733}.box{fill:#eef3f8;stroke:#7d93a8}"
    ".train{fill:#fdeccf;stroke:#c79a45}.evaluate,.make{fill:#e2f2e4;stroke:#6a9f71}"
    ".link{fill:none;stroke:#9aa9b7;stroke-width:1.3}.tip{fill:#9aa9b7}</style>"
)


def pictures() -> dict[str, str]:
    """Name of a file below docs/images -> its text."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    flow = [tuple(pair.split(":")) for pair in edges(params)]
    return {
        "data-flow.svg": _picture(
            flow, "The {} stages of the workflow; arrows go from what makes a file to what reads it."
        ),
        "rooms.svg": _picture(
            room_edges(), "The {} rooms of the package; arrows go from a room to those that import it."
        ),
    }


def room_edges() -> list[Edge]:
    """(imported room, importing room) of every import between the rooms of the package."""
    package, found = ROOT / "im2hands", set()
    rooms = {path.name for path in package.iterdir() if (path / "__init__.py").is_file()}
    for room in rooms:
        for file in (package / room).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                parts = (node.module or "").split(".") if isinstance(node, ast.ImportFrom) else []
                if parts[:1] == ["im2hands"] and len(parts) > 1 and parts[1] in rooms - {room}:
                    found.add((parts[1], room))
    return sorted(found)


def _picture(pairs: list[Edge], words: str) -> str:
    svg = graph_svg(pairs, words).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    head, end, body = svg.partition("</defs>")
    return f"{head}{end}{STYLE}{body}\n"


def main() -> None:
    for name, text in pictures().items():
        write_text(ROOT / IMAGES / name, text)
    write_text(ROOT / PAGE, filled((ROOT / PAGE).read_text()))


if __name__ == "__main__":
    main()
