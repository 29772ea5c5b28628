"""A room of the package imports only the rooms above it, so that a newcomer can read the code in one direction."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = (
    "io",
    "config",
    "geometry",
    "rendering",
    "hands",
    "datasets",
    "networks",
    "training",
    "reconstruction",
    "evaluation",
    "parity",
    "report",
    "photographs",
    "films",
)
BESIDE = {"reconstruction": {"training"}, "photographs": {"training", "parity"}, "films": {"training", "parity"}}
"""Rooms further up that a room does not enter all the same: whoever uses networks needs no trainer."""
MODULES = {"doctor": ("io", "config", "networks"), "cli": (*ROOMS, "doctor")}


def imported_rooms(file: Path) -> set[str]:
    """Second part of every `im2hands.x...` name that a module imports, wherever the import is."""
    rooms = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import; write the full module name"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        rooms |= {name.split(".")[1] for name in names if name.startswith("im2hands.")}
    return rooms - {"__version__"}


def test_rooms_import_only_rooms_above_them():
    wrong = []
    for place, room in enumerate(ROOMS):
        for file in (ROOT / "im2hands" / room).rglob("*.py"):
            forbidden = imported_rooms(file) - (set(ROOMS[: place + 1]) - BESIDE.get(room, set()))
            if forbidden:
                wrong.append(f"{file.relative_to(ROOT)} imports {sorted(forbidden)}")
    assert not wrong


def test_top_level_modules_import_what_they_may():
    for name, allowed in MODULES.items():
        file = ROOT / "im2hands" / f"{name}.py"
        assert imported_rooms(file) <= set(allowed), file


def test_every_file_of_the_package_belongs_to_a_room():
    entries = {path.stem for path in (ROOT / "im2hands").iterdir() if not path.name.startswith(("_", "."))}
    assert entries == {*ROOMS, *MODULES, "weights"}


def test_library_never_imports_stages_or_workflow():
    for file in (ROOT / "im2hands").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert not (node.module or "").startswith(("stages", "workflow")), file


def test_package_files_only_hold_a_docstring():
    """Names have one home; the DAG computes code dependencies from imports."""
    for file in (ROOT / "im2hands").rglob("__init__.py"):
        if file.parent == ROOT / "im2hands":
            continue
        body = ast.parse(file.read_text()).body
        assert len(body) == 1, file
        assert isinstance(body[0], ast.Expr), file


def test_files_stay_readable():
    """A file of more than 400 lines wants to be two."""
    long = {
        str(file.relative_to(ROOT)): count
        for folder in ("im2hands", "stages", "workflow")
        for file in (ROOT / folder).rglob("*.py")
        if (count := len(file.read_text().splitlines())) > 400
    }
    assert not long
