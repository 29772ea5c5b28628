"""JSON into a temporary place that the caller renames."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def write_plain_json(path: Path, content: Any) -> None:
    """JSON without NaN and with a final newline."""
    path.write_text(json.dumps(content, allow_nan=False) + "\n")
