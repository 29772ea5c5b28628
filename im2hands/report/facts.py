"""The numbers of the report as plain values for its template: result tables with their cards, audit, provenance."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from im2hands import __version__
from im2hands.datasets.audit import AUDIT, Reason
from im2hands.datasets.frames import FRAMES
from im2hands.evaluation.protocols import METRICS, Metric
from im2hands.evaluation.tables import ARROWS, PROTOCOL_TITLES
from im2hands.io.atomic import read_json
from im2hands.io.errors import DamagedFileError
from im2hands.io.hashing import sha256_file
from im2hands.io.limits import readable_file
from im2hands.io.tables import file_card, read_parquet
from im2hands.networks.catalogue import TITLES

PACKAGES = (
    "torch",
    "lightning",
    "numpy",
    "scipy",
    "numba",
    "opencv-python-headless",
    "pandas",
    "pyarrow",
    "trimesh",
    "PyMCubes",
)
SHARED_FACTS = (
    "dataset",
    "split",
    "split_hash",
    "frames",
    "poses",
    "evaluated_poses",
    "evaluated_frames",
    "evaluated_hands",
    "mean",
    "seed",
)
COUNTS = {"published": "hands in IoU / Chamfer", "ours": "failed / hands", "penetration": "pairs"}
"""What the last column of a protocol's table counts."""
SYNTHETIC = "synthetic stand-in"
"""Words in the name of the built-in dataset."""


@dataclass(frozen=True)
class Column:
    """label: with unit.  better: "higher", "lower" or None."""

    label: str
    arrow: str
    better: str | None


@dataclass(frozen=True)
class ResultTable:
    """The means of one protocol. rows: cells as text: method, keypoints, numbers, and what `count_label` says.

    card: facts of this protocol.
    """

    protocol: str
    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    count_label: str
    card: Sequence[tuple[str, Any]]


@dataclass(frozen=True)
class AuditLine:
    """How often a reason was given, per split."""

    reason: str
    kept: bool
    counts: Mapping[str, int]


@dataclass(frozen=True)
class SplitCounts:
    split: str
    frames: int
    poses: int
    subjects: int
    cameras: int


@dataclass(frozen=True)
class Source:
    """A file that the report was made of. made_by: software; parameters, sources: as JSON text, empty if unknown."""

    path: str
    kind: str
    sha256: str
    made_by: str
    parameters: str
    sources: str


def read_summary(tables: str | os.PathLike, name: str = "shape_given_keypoints") -> pd.DataFrame:
    """A result table as numbers. Raises DataError if it is missing."""
    path = Path(tables) / f"{name}.parquet"
    readable_file(path, "result table", remedy="run make_tables")
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DamagedFileError(f"{path}: not a readable result table ({error}); run make_tables again.") from None


def read_card(tables: str | os.PathLike) -> dict[str, Any]:
    """The protocol card of the result tables."""
    return read_json(Path(tables) / "protocol_card.json", "protocol card")


def result_tables(summary: pd.DataFrame, card: Mapping[str, Any]) -> list[ResultTable]:
    """A table per protocol with the metrics of which some method has a value."""
    tables = []
    for protocol, title in PROTOCOL_TITLES.items():
        metrics = [metric for metric in METRICS if metric.protocol == protocol and summary[metric.name].notna().any()]
        if not metrics or summary.empty:
            continue
        rows = []
        for row in summary.to_dict("records"):
            numbers = [number(row[metric.name], decimals(metric)) for metric in metrics]
            name = TITLES.get(row["method"], row["method"])
            rows.append([name, row["source"], *numbers, _count(protocol, row)])
        columns = [Column(_label(metric), ARROWS[metric.better], metric.better) for metric in metrics]
        tables.append(ResultTable(protocol, title, columns, rows, COUNTS[protocol], card_facts(card.get(protocol, {}))))
    return tables


@dataclass(frozen=True)
class PlainTable:
    """A table as text: headings and cells. texts: how many columns, from the left, are words.

    folded: long, opened on demand.  foreign: numbers of others, to be kept visibly apart.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    texts: int
    folded: bool = False
    foreign: bool = False


PLAIN_TABLES = {
    "keypoint_refinement": "Keypoint refinement",
    "keypoint_joints": "Error of every joint (mm, about the middle knuckle, unscaled)",
    "failures": "Failed hands, by reason",
    "shape_by_difficulty": "Errors by hand distance and occlusion",
    "paired_differences": "Paired differences between methods, with 95 % intervals",
    "ablations": "Ablations",
    "cost": "Cost",
    "published_results": "Published by the authors",
}
"""Tables that are shown unchanged: name of the file -> heading."""
FOLDED_ROWS = 12
"""Tables with more rows open on demand."""


def plain_tables(folder: str | os.PathLike) -> list[PlainTable]:
    """The tables of PLAIN_TABLES."""
    return [plain_table(read_summary(folder, name), title, name) for name, title in PLAIN_TABLES.items()]


def plain_table(rows: pd.DataFrame, title: str, name: str = "") -> PlainTable:
    """A table whose columns are what is to be shown, words first, then numbers."""
    words = sum(not pd.api.types.is_numeric_dtype(rows[column]) for column in rows.columns)
    cells = [
        [
            value if isinstance(value, str) else str(value) if isinstance(value, int) else number(value, 2)
            for value in row
        ]
        for row in rows.astype(object).itertuples(index=False)
    ]
    columns = [str(column) for column in rows.columns]
    return PlainTable(title, columns, cells, words, len(rows) > FOLDED_ROWS, name == "published_results")


def card_facts(facts: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Facts of a card as (name in words, text or list of texts)."""
    return [(name.replace("_", " "), _fact(value)) for name, value in facts.items()]


def shared_facts(card: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The facts that hold for all protocols, and how every method's meshes were made."""
    shared = card_facts({name: card[name] for name in SHARED_FACTS if name in card})
    return [*shared, *((_method_name(one), _fact(one)) for one in card.get("methods", ()))]


def decimals(metric: Metric) -> int:
    """Decimals that are worth reading in a metric's unit."""
    return 1 if metric.unit == "%" else 3 if metric.unit == "" else 2


def number(value: float | None, places: int) -> str:
    """A number as text; a dash if it is undefined."""
    return "–" if value is None or pd.isna(value) else f"{value:.{places}f}"


def audit_lines(paths: Sequence[str | os.PathLike]) -> list[AuditLine]:
    """Counts of all audit files (named `audit_<split>.parquet`), the most frequent reason first."""
    counts: dict[str, Counter[str]] = {}
    for path in paths:
        split = Path(path).stem.removeprefix("audit_")
        for reason in read_parquet(path, AUDIT, ["reason"])["reason"].to_pylist():
            counts.setdefault(reason, Counter())[split] += 1
    order = sorted(counts, key=lambda reason: (-counts[reason].total(), reason))
    known = {reason.value: reason for reason in Reason}
    return [
        AuditLine(reason.replace("_", " "), reason in known and known[reason].keeps, dict(counts[reason]))
        for reason in order
    ]


def split_counts(paths: Sequence[str | os.PathLike]) -> list[SplitCounts]:
    """What the frame tables (one per split) contain."""
    splits = []
    for path in paths:
        table = read_parquet(path, FRAMES, ["capture", "frame_idx", "subject", "camera"]).to_pandas()
        poses = len(table[["capture", "frame_idx"]].drop_duplicates())
        cameras = len(table[["capture", "camera"]].drop_duplicates())
        splits.append(SplitCounts(Path(path).stem, len(table), poses, table["subject"].nunique(), cameras))
    return splits


def software() -> list[tuple[str, str]]:
    """Versions of this package, of Python and of the packages whose results may depend on their version; machine, commit."""
    versions = [("im2hands", __version__), ("Python", platform.python_version())]
    for name in PACKAGES:
        try:
            versions.append((name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            versions.append((name, "not installed"))
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return [*versions, ("machine of this page", machine), ("commit", commit())]


def commit() -> str:
    """The commit of the working folder, with a note if it was changed since; "unknown" without git."""
    try:
        head, changes = (
            subprocess.run(["git", *words], capture_output=True, text=True, check=True, timeout=20).stdout.strip()
            for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return head[:12] + (", changed since" if changes else "")


def sources(paths: Sequence[str | os.PathLike]) -> list[Source]:
    """Where the report's numbers and pictures come from, file by file."""
    return [_source(Path(path)) for path in paths]


def _source(path: Path) -> Source:
    card = file_card(path, foreign=True) if path.suffix in (".parquet", ".arrow") else {}
    provenance = card.get("provenance", {})
    kind = f"{card['layout']}, version {card['version']}" if "layout" in card else path.suffix.lstrip(".").upper()
    return Source(
        str(path),
        kind,
        sha256_file(path),
        provenance.get("software", ""),
        _json(provenance.get("parameters")),
        _json(provenance.get("sources")),
    )


def _count(protocol: str, row: Mapping[str, Any]) -> str:
    if protocol == "published":
        return f"{row['published_hands']} / {row['published_chamfer_hands']}"
    return f"{row['failures']} / {row['hands']}" if protocol == "ours" else str(row["penetration_pairs"])


def _json(content: Any) -> str:
    return json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) if content else ""


def _label(metric: Metric) -> str:
    return f"{metric.label} ({metric.unit})" if metric.unit else metric.label


def _method_name(method: Mapping[str, Any]) -> str:
    return f"method {method.get('method')}, {method.get('keypoint_source')} keypoints"


def _fact(value: Any) -> Any:
    if isinstance(value, Mapping):
        return [f"{str(key).replace('_', ' ')}: {_flat(item)}" for key, item in value.items()]
    return [_flat(item) for item in value] if isinstance(value, (list, tuple)) else _flat(value)


def _flat(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{str(key).replace('_', ' ')} {_flat(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(_flat(item) for item in value)
    return str(value)
