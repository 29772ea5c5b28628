"""Which words a test says, in itself and in the helpers and fixtures that it reaches: by its text, not by running it.

Names of keyword arguments and of entries count as options: `keypoints=...` says `--keypoints`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]


@cache
def words_of_test(file: str, function: str) -> frozenset[str]:
    """Every word in a string that the test, or what it reaches, holds. file: relative to the project."""
    words: set[str] = set()
    seen: set[tuple[Path, str]] = set()
    waiting = [(ROOT / file, function)]
    while waiting:
        place = waiting.pop()
        if place in seen:
            continue
        seen.add(place)
        defined, imported = _names(place[0])
        node = defined.get(place[1])
        if node is None:
            waiting += [(home, original) for home, original in imported.get(place[1], ())]
            continue
        for name in _used(node):
            waiting += [(place[0], name)] if name in defined else imported.get(name, _fixture(place[0], name))
        words.update(word for text in _texts(node) for word in text.split())
    return frozenset(words)


def _used(node: ast.AST) -> Iterator[str]:
    """Names and attributes that a definition uses, and the fixtures that it asks for."""
    for child in ast.walk(node):
        if isinstance(child, ast.Name):
            yield child.id
        elif isinstance(child, ast.Attribute):
            yield child.attr
        elif isinstance(child, ast.arg):
            yield child.arg


def _texts(node: ast.AST) -> Iterator[str]:
    docstrings = {
        ast.get_docstring(child, clean=False)
        for child in ast.walk(node)
        if isinstance(child, ast.FunctionDef | ast.ClassDef)
    }
    for child in ast.walk(node):
        if isinstance(child, ast.Constant) and isinstance(child.value, str) and child.value not in docstrings:
            yield child.value
        names = [child.arg] if isinstance(child, ast.keyword) and child.arg else []
        if isinstance(child, ast.Dict):
            names += [key.value for key in child.keys if isinstance(key, ast.Constant) and isinstance(key.value, str)]
        yield from (f"--{name.replace('_', '-')}" for name in names)


@cache
def _names(file: Path) -> tuple[dict[str, ast.AST], dict[str, list[tuple[Path, str]]]]:
    """What a module defines (functions, methods, classes, constants) and what it imports from other tests or the workflow."""
    defined: dict[str, ast.AST] = {}
    imported: dict[str, list[tuple[Path, str]]] = {}
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            defined.setdefault(node.name, node)
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    defined.setdefault(target.id, node.value)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("tests", "workflow")):
            home = ROOT / (node.module.replace(".", "/") + ".py")
            if home.is_file():
                for alias in node.names:
                    imported.setdefault(alias.asname or alias.name, []).append((home, alias.name))
    return defined, imported


def _fixture(file: Path, name: str) -> list[tuple[Path, str]]:
    """The definition of a fixture in the conftest files above a test."""
    folders = [folder for folder in file.parents if folder.is_relative_to(ROOT / "tests")]
    files = [folder / "conftest.py" for folder in folders if (folder / "conftest.py").is_file()]
    return [(home, name) for home in files if name in _names(home)[0] and home != file]
