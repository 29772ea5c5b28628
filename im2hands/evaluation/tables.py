"""Result tables: one row per method and keypoint source, the means of every metric of both protocols.

Means are plain means over hands in photographs (pairs for penetration): a pose counts as often as it has evaluated photographs,
as published, also for a method that makes it without one. A failed hand
counts with the stated penalty in our protocol; in the published one an empty mesh counts with its published values and
what is undefined is skipped, as there. Percent, millimetres, square millimetres, cubic centimetres; the names contain the
units.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from im2hands.evaluation.protocols import METRICS, Metric
from im2hands.evaluation.records import FAILURES
from im2hands.io.atomic import atomic_path, write_json, write_text
from im2hands.io.errors import DataError

PROTOCOL_TITLES = {"published": "Published protocol", "ours": "Our protocol", "penetration": "Penetration, per pair"}
ARROWS = {"higher": "↑", "lower": "↓", None: ""}
TEX_ARROWS = {"higher": r" $\uparrow$", "lower": r" $\downarrow$", None: ""}


def summarize(records: pd.DataFrame) -> pd.DataFrame:
    """Means over the records (see records.py), one row per method and source.

    Besides the metrics: pairs, hands, frames; failures (all), failed_<reason>; published_chamfer_hands, the hands that the
    published Chamfer mean does not skip. Raises DataError if methods were evaluated on different hands.
    """
    _check_same_hands(records)
    rows = []
    for (method, source), hands in records.groupby(["method", "source"], sort=True):
        pairs = hands.groupby(["pair_id", "frame_id"], sort=False, dropna=False).first()
        failures = hands["failure"].value_counts()
        row: dict[str, Any] = {
            "method": method,
            "source": source,
            "poses": hands["pair_id"].nunique(),
            "frames": len(pairs),
            "hands": len(hands),
            "failures": int(failures.sum()),
            **{f"failed_{reason}": int(failures.get(reason, 0)) for reason in FAILURES},
            "published_hands": int(hands["published_iou"].notna().sum()),
            "published_chamfer_hands": int(hands["published_chamfer_l1_mm"].notna().sum()),
            "penetration_pairs": int(pairs["penetration_volume_cm3"].notna().sum()),
        }
        row |= {metric.name: _mean(metric, pairs if metric.per_pair else hands) for metric in METRICS}
        rows.append(row)
    return pd.DataFrame(rows)


def flat_metrics(summary: pd.DataFrame) -> dict[str, float]:
    """`<method>.<source>.<column>` -> number, for comparing runs; what is undefined is left out."""
    return {
        f"{row['method']}.{row['source']}.{column}": value
        for row in summary.to_dict("records")
        for column, value in row.items()
        if not isinstance(value, str) and not pd.isna(value)
    }


def markdown(summary: pd.DataFrame, title: str, note: str, decimals: int) -> str:
    """A table per protocol, each with its heading. note: what the numbers were measured on, printed first."""
    parts = [f"# {title}", note]
    for protocol, heading in PROTOCOL_TITLES.items():
        metrics = _shown(summary, protocol)
        head = ["method", "keypoints", *(_label(metric, ARROWS) for metric in metrics), _count_label(protocol)]
        body = [_cells(row, metrics, protocol, decimals, undefined="–") for row in summary.to_dict("records")]
        align = ["---", "---", *["---:"] * (len(head) - 2)]
        lines = ["| " + " | ".join(cells) + " |" for cells in [head, align, *body]]
        parts += [f"## {heading}", "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


def latex(summary: pd.DataFrame, title: str, note: str, decimals: int) -> str:
    """A `tabular` in booktabs style per protocol; the last line of each is `note`, so that no number appears without it."""
    parts = [f"% {title}. Needs the package booktabs."]
    for protocol, heading in PROTOCOL_TITLES.items():
        metrics = _shown(summary, protocol)
        head = ["method", "keypoints", *(_tex_label(metric) for metric in metrics), _tex(_count_label(protocol))]
        width = len(head)
        rows = [
            [_tex(cell) for cell in _cells(row, metrics, protocol, decimals, undefined="--")]
            for row in summary.to_dict("records")
        ]
        lines = [
            rf"\begin{{tabular}}{{ll{'r' * (width - 2)}}}",
            r"\toprule",
            rf"\multicolumn{{{width}}}{{l}}{{{_tex(heading)}}} \\",
            rf"\cmidrule(lr){{1-{width}}}",
            " & ".join(head) + r" \\",
            r"\midrule",
            *(" & ".join(cells) + r" \\" for cells in rows),
            r"\midrule",
            rf"\multicolumn{{{width}}}{{l}}{{\footnotesize {_tex(note)}}} \\",
            r"\bottomrule",
            r"\end{tabular}",
        ]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


@dataclass(frozen=True)
class Beside:
    """Numbers of other authors, shown below a table and clearly separated. rows: texts first, then numbers."""

    heading: str
    rows: pd.DataFrame
    note: str


def write_tables(
    folder: str | os.PathLike,
    name: str,
    summary: pd.DataFrame,
    title: str,
    note: str,
    decimals: int,
    beside: Beside | None = None,
) -> None:
    """Writes <name>.csv, .parquet (all digits), .md and .tex (rounded to `decimals`) into `folder`."""
    texts = {"md": markdown(summary, title, note, decimals), "tex": latex(summary, title, note, decimals)}
    write_forms(folder, name, summary, _with(texts, beside, decimals))


def write_plain_table(
    folder: str | os.PathLike,
    name: str,
    rows: pd.DataFrame,
    title: str,
    note: str,
    decimals: int,
    beside: Beside | None = None,
) -> None:
    """The same four files of a table whose columns are what is to be printed, texts first, then numbers."""
    texts = _plain_texts(rows, f"# {title}", f"% {title}. Needs the package booktabs.", note, decimals)
    write_forms(folder, name, rows, _with(texts, beside, decimals))


def _with(texts: dict[str, str], beside: Beside | None, decimals: int) -> dict[str, str]:
    """The texts of a table and of the block of published numbers; files for programs contain only our numbers."""
    if beside is None or beside.rows.empty:
        return texts
    block = _plain_texts(beside.rows, f"---\n\n## {beside.heading}", f"% {beside.heading}.", beside.note, decimals)
    return {suffix: f"{text}\n{block[suffix]}" for suffix, text in texts.items()}


def _plain_texts(rows: pd.DataFrame, md_title: str, tex_title: str, note: str, decimals: int) -> dict[str, str]:
    cells = [[_plain(value, decimals, "–") for value in row] for row in rows.to_numpy(dtype=object)]
    head = [str(column) for column in rows.columns]
    align = ["---:" if pd.api.types.is_numeric_dtype(rows[column]) else "---" for column in rows.columns]
    lines = ["| " + " | ".join(each) + " |" for each in [head, align, *cells]]
    width = len(head)
    tex = [
        tex_title,
        rf"\begin{{tabular}}{{{''.join('r' if mark.endswith(':') else 'l' for mark in align)}}}",
        r"\toprule",
        " & ".join(map(_tex, head)) + r" \\",
        r"\midrule",
        *(" & ".join(_tex(cell) for cell in each) + r" \\" for each in cells),
        r"\midrule",
        rf"\multicolumn{{{width}}}{{l}}{{\footnotesize {_tex(note)}}} \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return {"md": "\n\n".join([md_title, note, "\n".join(lines)]) + "\n", "tex": "\n".join(tex) + "\n"}


def write_forms(folder: str | os.PathLike, name: str, rows: pd.DataFrame, texts: dict[str, str]) -> None:
    """Writes <name>.csv and .parquet (all digits), and every text under its suffix."""
    folder, text = Path(folder), io.StringIO()
    rows.to_csv(text, index=False)
    write_text(folder / f"{name}.csv", text.getvalue())
    with atomic_path(folder / f"{name}.parquet") as temporary:
        rows.to_parquet(temporary, index=False)
    for suffix, content in texts.items():
        write_text(folder / f"{name}.{suffix}", content)


def write_metrics(folder: str | os.PathLike, metrics: dict[str, float]) -> None:
    """Writes metrics.json, flat numbers that `dvc metrics diff` compares."""
    write_json(Path(folder) / "metrics.json", metrics)


def _plain(value: Any, decimals: int, undefined: str) -> str:
    if isinstance(value, str):
        return value
    if pd.isna(value):
        return undefined
    return str(value) if isinstance(value, int) else f"{value:.{decimals}f}"


def _mean(metric: Metric, rows: pd.DataFrame) -> float:
    values = rows[metric.column].astype(float)
    if metric.penalty is not None and values.notna().any():
        values = values.mask(rows["failure"].notna(), metric.penalty)
    elif metric.penalty is not None and rows["failure"].notna().all():
        return metric.penalty * metric.factor
    return float(values.mean() * metric.factor)


def _check_same_hands(records: pd.DataFrame) -> None:
    shown = records.assign(frame_id=records["frame_id"].fillna(-1))
    hands = {
        key: frozenset(zip(rows["hand_id"], rows["frame_id"], strict=True))
        for key, rows in shown.groupby(["method", "source"])
    }
    if not hands:
        raise DataError("the evaluation files contain no hands; was the split empty?")
    (first, expected), *others = hands.items()
    for key, found in others:
        if found != expected:
            raise DataError(
                f"{'/'.join(first)} was evaluated on {len(expected)} hands and {'/'.join(key)} on {len(found)}, of which "
                f"{len(expected & found)} are the same; run reconstruct and evaluate again for both."
            )


def _shown(summary: pd.DataFrame, protocol: str) -> Sequence[Metric]:
    """Metrics of a protocol of which some method has a value."""
    return [m for m in METRICS if m.protocol == protocol and summary[m.name].notna().any()]


def _label(metric: Metric, arrows: dict[str | None, str]) -> str:
    unit = f" ({metric.unit})" if metric.unit else ""
    return f"{metric.label}{unit} {arrows[metric.better]}".strip()


def _tex_label(metric: Metric) -> str:
    unit = f" ({metric.unit})" if metric.unit else ""
    return _tex(metric.label + unit) + TEX_ARROWS[metric.better]


def _count_label(protocol: str) -> str:
    return {"published": "hands in IoU / Chamfer", "ours": "failed / hands", "penetration": "pairs"}[protocol]


def _count(row: dict[str, Any], protocol: str) -> str:
    if protocol == "published":
        return f"{row['published_hands']} / {row['published_chamfer_hands']}"
    return f"{row['failures']} / {row['hands']}" if protocol == "ours" else str(row["penetration_pairs"])


def _cells(row: dict[str, Any], metrics: Sequence[Metric], protocol: str, decimals: int, undefined: str) -> list[str]:
    values = (row[metric.name] for metric in metrics)
    numbers = [undefined if pd.isna(value) else f"{value:.{decimals}f}" for value in values]
    return [row["method"], row["source"], *numbers, _count(row, protocol)]


TEX_ESCAPES = {
    "&": r"\&",
    "%": r"\%",
    "_": r"\_",
    "#": r"\#",
    "$": r"\$",
    "{": r"\{",
    "}": r"\}",
    "²": "$^2$",
    "³": "$^3$",
}


def _tex(text: str) -> str:
    return "".join(TEX_ESCAPES.get(letter, letter) for letter in text)
