"""The commands that README.md and docs/ show: in fenced blocks, and as code in running text."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PROGRAMS = ("im2hands", "snakemake", "dvc", "make", "pip", "pytest", "mkdocs", "python -m")
REGISTER = ROOT / "docs/commands.md"
"""The table of all commands and the tests that run them."""
NEEDS_DATA = "needs data"


def commands(page: Path) -> list[str]:
    """Without comments and line ends, in the order of the page."""
    text = page.read_text()
    fenced = re.findall(r"^ *```(\w*)\n(.*?)^ *```$", text, re.DOTALL | re.MULTILINE)
    shown = [block for language, block in fenced if language in ("", "sh")]
    lines = [line for block in shown for line in block.replace("\\\n", " ").splitlines()]
    prose = re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE)
    found = [" ".join(shlex.split(line, comments=True)) for line in lines if is_command(line.strip())]
    codes = [code for code in re.findall(r"`([^`\n]+)`", prose) if is_command(code) and " " in code]
    return found + [" ".join(shlex.split(code)) for code in codes]


def is_command(text: str) -> bool:
    return any(text.startswith(f"{program} ") or text == program for program in PROGRAMS)


def register() -> dict[str, str]:
    """Command -> what runs it: `path::test`, or NEEDS_DATA."""
    rows = re.findall(r"^\| `([^`]+)` \| `?([^`|]+?)`? \|$", REGISTER.read_text(), re.MULTILINE)
    assert len(rows) == len(dict(rows)), "a command stands twice"
    return dict(rows)
