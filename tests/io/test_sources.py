"""A stage's code is found by a static walk along its imports."""

from __future__ import annotations

from pathlib import Path

import pytest

from im2hands.io.sources import WITHOUT_EFFECT, sources

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path):
    def write(**files: str) -> Path:
        for name, text in files.items():
            path = tmp_path / (name.replace("__", "/") + ".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        for folder in {path.parent for path in tmp_path.rglob("*.py")}:
            init = folder / "__init__.py"
            if not init.exists():
                init.write_text('"""Only a docstring."""\n')
        return tmp_path

    return write


def test_imports_are_followed_in_every_form(project):
    root = project(
        stages__work="from im2hands.a.one import f\nimport im2hands.a.two as two\nfrom im2hands.a import three\nimport numpy\n",
        im2hands__a__one="def f():\n    from im2hands.b.late import g\n    return g\n",
        im2hands__a__two="if True:\n    import im2hands.b.deep\n",
        im2hands__a__three="",
        im2hands__a__unused="",
        im2hands__b__late="",
        im2hands__b__deep="",
    )
    found = sources("stages/work.py", root=root)
    names = ["a/one", "a/three", "a/two", "b/deep", "b/late"]
    assert found == [f"im2hands/{name}.py" for name in names] + ["stages/work.py"]


def test_imports_for_type_checkers_do_not_count(project):
    root = project(
        stages__work="import typing\nif typing.TYPE_CHECKING:\n    import im2hands.a.one\nelse:\n    import im2hands.a.two\n",
        im2hands__a__one="",
        im2hands__a__two="",
    )
    assert sources("stages/work.py", root=root) == ["im2hands/a/two.py", "stages/work.py"]


def test_circles_end(project):
    root = project(stages__work="import im2hands.a", im2hands__a="import im2hands.b", im2hands__b="import im2hands.a")
    assert sources("stages/work.py", root=root) == ["im2hands/a.py", "im2hands/b.py", "stages/work.py"]


def test_package_file_counts_only_if_it_does_something(project):
    root = project(stages__work="import im2hands.a.one", im2hands__a__one="")
    (root / "im2hands/__init__.py").write_text('"""Doc."""\n__version__ = "1"\n')
    assert sources("stages/work.py", root=root) == ["im2hands/a/one.py", "stages/work.py"]
    root = project(stages__work2="import im2hands.c.one", im2hands__c__one="")
    (root / "im2hands/c/__init__.py").write_text("import os\n")
    assert sources("stages/work2.py", root=root) == ["im2hands/c/__init__.py", "im2hands/c/one.py", "stages/work2.py"]


def test_data_beside_imported_modules_counts(project):
    root = project(stages__work="import im2hands.a.one", im2hands__a__one="", im2hands__a__sub__two="")
    for name in ("a/table.json", "a/NOTICE", "a/asset/hand.npz", "a/sub/other.json", "a/__pycache__/one.pyc"):
        path = root / "im2hands" / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert sources("stages/work.py", root=root) == [
        "im2hands/a/asset/hand.npz",
        "im2hands/a/one.py",
        "im2hands/a/table.json",
        "stages/work.py",
    ]


def test_missing_stage_is_named(project):
    with pytest.raises(FileNotFoundError, match=r"stages/gone\.py"):
        sources("stages/gone.py", root=project())


def test_relative_imports_are_refused(project):
    root = project(stages__work="from . import other")
    with pytest.raises(SyntaxError, match="write the full module name"):
        sources("stages/work.py", root=root)


@pytest.mark.parametrize("stage", sorted((ROOT / "stages").glob("[a-z]*.py")), ids=lambda path: path.stem)
def test_real_stages_are_made_of_existing_files(stage):
    found = sources(f"stages/{stage.name}", root=ROOT)
    assert f"stages/{stage.name}" in found
    assert "im2hands/io/stage.py" in found
    assert not [file for file in found if file.startswith(WITHOUT_EFFECT)]
    assert all((ROOT / file).is_file() for file in found)
