"""Finds the files of this project that a stage uses, by a static walk along its imports.

The files are inputs of the stage's rule and dependencies of its DVC stage, so that a changed algorithm re-runs what it
made. Nothing is executed or imported; an import inside a function counts, one under `if TYPE_CHECKING` does not.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGES = ("im2hands", "stages")
NO_DATA = {".py", ".pyc", ".md", ""}
# Modules whose content reaches no output: parameters arrive by value through the rules, the others only talk to people.
WITHOUT_EFFECT = (
    "im2hands/config/",
    "im2hands/__init__.py",  # version and the names that users import; no stage takes anything from it
    "im2hands/io/errors.py",
    "im2hands/io/progress.py",
    "im2hands/io/sources.py",
)


def sources(stage: str, root: Path | str = ".") -> list[str]:
    """Sorted paths, relative to `root`, of a stage file, all project modules that it imports, and the data files with them.

    stage: e.g. "stages/sample_queries.py".  Raises FileNotFoundError if it does not exist.
    """
    root = Path(root).resolve()
    if not (root / stage).is_file():
        raise FileNotFoundError(f"{stage}: no such file under {root}")
    found, waiting = set(), [stage]
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting.extend(_imported_files(root, file))
    folders = {str(Path(file).parent) for file in found if file.startswith("im2hands/")} - {"im2hands"}
    data = {file for folder in folders for file in _package_data(root, folder)}
    return sorted({file for file in found if not file.startswith(WITHOUT_EFFECT)} | data)


@cache
def _package_data(root: Path, folder: str) -> tuple[str, ...]:
    """Data files of a package: in its folder and in folders below that contain no modules."""
    files = []
    for path in sorted((root / folder).iterdir()):
        if path.is_file() and path.suffix not in NO_DATA:
            files.append(f"{folder}/{path.name}")
        elif path.is_dir() and path.name != "__pycache__" and not any(path.glob("*.py")):
            files += _package_data(root, f"{folder}/{path.name}")
    return tuple(files)


@cache
def _imported_files(root: Path, file: str) -> tuple[str, ...]:
    tree = ast.parse((root / file).read_text(), filename=file)
    files = {path for name in _imported_names(tree) for path in _files_of(root, name)}
    return tuple(sorted(files))


def _imported_names(node: ast.AST) -> Iterator[str]:
    """Dotted names that may be modules: `from a import b` gives both `a` and `a.b`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            yield from _imported_names(ast.Module(child.orelse, []))
        elif isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            if child.level:
                raise SyntaxError(f"line {child.lineno}: relative import; write the full module name")
            yield child.module
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        else:
            yield from _imported_names(child)


def _files_of(root: Path, name: str) -> Iterator[str]:
    """The module of a dotted name, and the `__init__.py` files above it that contain more than a docstring."""
    parts = name.split(".")
    if parts[0] not in PACKAGES:
        return
    module = "/".join(parts) + ".py"
    if (root / module).is_file():
        yield module
    for depth in range(1, len(parts) + 1):
        package = "/".join(parts[:depth]) + "/__init__.py"
        if (root / package).is_file() and _does_something(root, package):
            yield package


@cache
def _does_something(root: Path, package: str) -> bool:
    body = ast.parse((root / package).read_text()).body
    return any(not _is_constant(statement) for statement in body)


def _is_constant(statement: ast.stmt) -> bool:
    """A docstring, or a name such as `__version__` bound to a literal."""
    if isinstance(statement, ast.Assign):
        return isinstance(statement.value, ast.Constant)
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
