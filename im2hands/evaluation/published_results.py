"""Numbers that the authors published, printed in a separate block next to ours. None of them was measured here.

They are in published_results.json with their source and what is unknown about them. Only numbers read from the authors' own
artefacts are kept.
"""

from __future__ import annotations

import json
from importlib import resources

import pandas as pd

from im2hands.evaluation.tables import Beside

HEADING = "Published by the authors, not measured here"
COLUMNS = {"iou_percent": "IoU (%)", "chamfer_mm": "Chamfer (mm)", "mpjpe_mm": "MPJPE (mm)"}
DIGITS = {"iou_percent": ".1f", "chamfer_mm": ".2f", "mpjpe_mm": ".3f"}
"""As the sources print them."""


def published_rows(table: str) -> pd.DataFrame:
    """Method, inputs and published numbers for one of our tables; no rows if nothing is known for it."""
    rows = pd.DataFrame(_content()["tables"].get(table, []))
    return _as_printed(rows.drop(columns="source", errors="ignore"))


def published_note(table: str) -> str:
    """Where the numbers come from, and what is not known of them."""
    content = _content()
    sources = {row.get("source", content["source"]) for row in content["tables"].get(table, [])}
    return (
        f"Source: {'; '.join(sorted(sources))}. Comparable with rows of this run only as far as the protocol card says so. "
        f"Unknown: {content['unknown']}."
    )


def beside(table: str) -> Beside:
    """The published numbers that belong below a table of ours."""
    return Beside(HEADING, published_rows(table), published_note(table))


def notes_of_all() -> str:
    """What is to be said of all of them."""
    return f"None of these numbers was measured here. Unknown: {_content()['unknown']}."


def all_published() -> pd.DataFrame:
    """Every row with its table and its source, for files that programs read."""
    content = _content()
    rows = [
        {"table": table, **row, "source": row.get("source", content["source"])}
        for table, known in content["tables"].items()
        for row in known
    ]
    return _as_printed(pd.DataFrame(rows)[["table", "method", "inputs", "source", *COLUMNS]])


def _as_printed(rows: pd.DataFrame) -> pd.DataFrame:
    """Numbers as texts with the digits that were published: no digit is added, none rounded away."""
    known = {name: heading for name, heading in COLUMNS.items() if name in rows}
    texts = {name: ["" if pd.isna(value) else f"{value:{DIGITS[name]}}" for value in rows[name]] for name in known}
    return rows.assign(**texts).rename(columns=known)


def _content() -> dict:
    return json.loads(resources.files("im2hands.evaluation").joinpath("published_results.json").read_text())
