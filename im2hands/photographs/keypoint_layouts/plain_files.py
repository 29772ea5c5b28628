"""Files in a temporary place that the caller renames, and their names."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any


def file_name(picture: str, otherwise: str) -> str:
    """A name for the files of a picture, which cannot lead out of their folder. otherwise: of a picture without name."""
    return "_".join(part for part in re.split(r"[/\\\0]+", picture) if part not in ("", ".", "..")) or otherwise


def write_plain_json(path: Path, content: Any) -> None:
    """JSON without NaN and with a final newline."""
    path.write_text(json.dumps(content, allow_nan=False) + "\n")
