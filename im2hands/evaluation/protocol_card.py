"""The protocol card: everything that must be known about a number before it can be compared with another.

Evaluation files carry the facts of their making (`EvaluationFacts`); the card joins those of all files, refuses to put
differently measured methods into one table, and adds the split and the failures.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from im2hands import __version__
from im2hands.datasets.frames import FrameTable
from im2hands.datasets.queries import EvaluationQueries
from im2hands.evaluation.protocols import EMPTY_DISTANCE, FAILURE_DISTANCE_MM, MM, PUBLISHED_POINTS
from im2hands.evaluation.records import FAILURES, read_facts
from im2hands.io.atomic import write_json, write_text
from im2hands.io.errors import DataError
from im2hands.io.hashing import digest
from im2hands.io.tables import file_card
from im2hands.reconstruction.storage import SurfaceShard

KEYPOINT_SOURCES = {"model": "true keypoints: kinematic joints and tips of the fitted hand model"}


@dataclass(frozen=True)
class EvaluationFacts:
    """How the numbers of one evaluation file were made.

    measuring: what must agree between methods in one table.  making: what belongs to the method.
    """

    method: str
    source: str
    measuring: Mapping[str, Any]
    making: Mapping[str, Any]

    def as_parameters(self) -> dict[str, Any]:
        """For the provenance block of an evaluation file."""
        return asdict(self)

    @classmethod
    def read(cls, path: str | os.PathLike) -> EvaluationFacts:
        """Raises DataError if the file does not contain them."""
        facts = read_facts(path)
        try:
            return cls(**{name: facts[name] for name in ("method", "source", "measuring", "making")})
        except KeyError as missing:
            raise DataError(f"{path}: {missing} is missing in the evaluation file; run evaluate again.") from None


def measuring_facts(
    *,
    dataset: str,
    split: str,
    frame_names: Sequence[str],
    poses: int,
    seed: int,
    surface_samples: int,
    penetration: str,
    penetration_cell_mm: float,
    queries: Mapping[str, Any],
) -> dict[str, Any]:
    """What must agree between methods in one table.

    frame_names: file names of the split's kept frames, in order.  poses: two-hand poses that they show.
    queries: what the evaluation points were made with, see `query_parameters`.
    """
    return {
        "dataset": dataset,
        "split": split,
        "split_hash": digest(list(frame_names)),
        "frames": len(frame_names),
        "poses": poses,
        "seed": seed,
        "surface_samples": surface_samples,
        "penetration": penetration,
        "penetration_cell_mm": penetration_cell_mm,
        "queries": dict(queries),
    }


def split_facts(frames: FrameTable, path: str | os.PathLike) -> dict[str, Any]:
    """The arguments of `measuring_facts` that come from a frame table and its file."""
    return {
        "dataset": file_card(path)["provenance"]["parameters"].get("dataset", "not stated by the frame table"),
        "split": frames.table["split"][0].as_py(),
        "frame_names": frames.table["file_name"].to_pylist(),
        "poses": len(frames.pairs()),
    }


def query_parameters(queries: EvaluationQueries) -> dict[str, Any]:
    """What evaluation points were made with. Raises DataError if it differs between shards."""
    made = [reader.metadata["provenance"]["parameters"] for reader in queries.shards.readers]
    if any(other != made[0] for other in made):
        raise DataError(f"{queries.path}: its shards were made with different settings; run their stage again for all.")
    return made[0]


def making_facts(surfaces: SurfaceShard) -> dict[str, Any]:
    """What a method's meshes were made with: settings of the reconstruction and the checksum of the weights."""
    provenance = surfaces.reader.metadata["provenance"]
    settings = {name: value for name, value in provenance["parameters"].items() if name not in ("method", "source")}
    weights = provenance["sources"].get("model")
    return settings | ({} if weights is None else {"weights_sha256": weights})


def protocol_card(records: pd.DataFrame, paths: Sequence[str | os.PathLike]) -> dict[str, Any]:
    """The card of the table made from these records. paths: the evaluation files they were read from.

    Raises DataError if files were measured differently, or a method's shards were made differently.
    """
    facts = [EvaluationFacts.read(path) for path in paths]
    measuring = facts[0].measuring
    for path, other in zip(paths, facts, strict=True):
        names = {*measuring, *other.measuring}
        differing = sorted(name for name in names if other.measuring.get(name) != measuring.get(name))
        if differing:
            raise DataError(
                f"{path}: was evaluated with another {', '.join(differing)} than {paths[0]}; numbers of different "
                "protocols must not be in one table: run evaluate again for both."
            )
    queries, hands = measuring["queries"], int(records["hand_id"].nunique())
    return {
        "software": f"im2hands {__version__}",
        "dataset": measuring["dataset"],
        "split": measuring["split"],
        "split_hash": measuring["split_hash"],
        "frames": measuring["frames"],
        "poses": measuring["poses"],
        "evaluated_poses": int(records["pair_id"].nunique()),
        "evaluated_hands": hands,
        "hands_not_evaluated": 2 * measuring["poses"] - hands,
        "methods": _methods(records, facts),
        "evaluated_frames": int(records["frame_id"].nunique()),
        "mean": "plain mean over hands in photographs, penetration over pairs; a pose counts as often as it has evaluated "
        "photographs, for every method the same ones",
        "units": {
            "distances": "mm",
            "squared distances": "mm²",
            "volumes": "cm³",
            "IoU": "% in tables, 0..1 in records",
        },
        "seed": {
            "master": measuring["seed"],
            "rule": "every sample is drawn with a seed made of the master seed, its purpose and the hand's name",
        },
        "published": _published(measuring, queries),
        "ours": _ours(measuring, queries),
        "penetration": _penetration(measuring, records),
    }


def card_markdown(card: Mapping[str, Any]) -> str:
    """The card as a Markdown list, for files and the report."""
    lines = ["# Protocol card", ""]
    lines += _lines(card, 0)
    return "\n".join(lines) + "\n"


def write_card(folder: str | os.PathLike, card: Mapping[str, Any]) -> None:
    """Writes protocol_card.json and protocol_card.md."""
    write_json(Path(folder, "protocol_card.json"), card)
    write_text(Path(folder, "protocol_card.md"), card_markdown(card))


def note(card: Mapping[str, Any]) -> str:
    """One line that says what the numbers were measured on."""
    return (
        f"Dataset: {card['dataset']}, split {card['split']} ({card['evaluated_hands']} hands of {card['evaluated_poses']} "
        f"poses in {card['evaluated_frames']} of {card['frames']} frames, list {card['split_hash'][:12]}). "
        "Protocol card: protocol_card.md."
    )


def _methods(records: pd.DataFrame, facts: Iterable[EvaluationFacts]) -> list[dict[str, Any]]:
    making: dict[tuple[str, str], Mapping[str, Any]] = {}
    for one in facts:
        if making.setdefault((one.method, one.source), one.making) != one.making:
            raise DataError(
                f"the shards of {one.method}/{one.source} were made with different settings or weights; "
                "run reconstruct and evaluate again for all of them."
            )
    methods = []
    for (method, source), hands in records.groupby(["method", "source"], sort=True):
        failures = hands["failure"].value_counts()
        methods.append(
            {
                "method": method,
                "keypoint_source": source,
                "keypoints": KEYPOINT_SOURCES.get(source, "predicted or imported keypoints"),
                "hands": len(hands),
                "failures": {reason: int(failures.get(reason, 0)) for reason in FAILURES},
                **making.get((method, source), {}),
            }
        )
    return methods


def _published(measuring: Mapping[str, Any], queries: Mapping[str, Any]) -> dict[str, Any]:
    departures = [
        "surface sampling is seeded per hand, the published script's is not",
        "stored points are rounded to 16 bits over their range, the published ones to half precision",
        "the loader's noise of 0.04 mm is not added to the points",
    ]
    if queries.get("label_rule") != "published":
        departures.append("labels of the points are winding numbers, the published ones ray parity")
    for name, count in (("query", queries.get("published")), ("surface", measuring["surface_samples"])):
        if count != PUBLISHED_POINTS:
            departures.append(f"{count} {name} points per hand instead of {PUBLISHED_POINTS}")
    return {
        "source": "HALO's mesh evaluation",
        "frame": f"palm frame of the true hand; 1 unit = {MM:g} mm",
        "points": f"{queries.get('published')} per hand, half uniform in the cube around the wrist, half near the surface",
        "occupancy_of_meshes": "ray parity",
        "threshold": 0.5,
        "surface_samples": measuring["surface_samples"],
        "chamfer": "L1 mean of both mean distances, L2 of both mean squared distances",
        "normals": "mean absolute cosine of nearest neighbours, both directions",
        "field_iou": "the field at the same points, as Im2Hands validates",
        "empty_mesh": f"IoU 0, distances {EMPTY_DISTANCE * MM:.1f} mm, normals -1, Chamfer skipped by the mean",
        "missing_mesh": "skipped by the mean",
        "departures": departures,
    }


def _ours(measuring: Mapping[str, Any], queries: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "points": f"{queries.get('uniform_hand')} per hand, uniform in the true hand's box plus "
        f"{queries.get('hand_margin_mm')} mm",
        "occupancy_of_meshes": "winding number other than 0",
        "labels": "winding number" if queries.get("label_rule") != "published" else "ray parity",
        "surface_samples": measuring["surface_samples"],
        "failures": "no mesh, no surface, a field that fills the searched box, or a mesh that is not closed; their reasons "
        "stand in the table failures",
        "penalty": f"IoU 0, normal consistency 0, Chamfer-L1 {FAILURE_DISTANCE_MM:g} mm, Chamfer-L2 "
        f"{FAILURE_DISTANCE_MM**2:g} mm²",
        "noise_floor": "the same distances between two independent samplings of the true surface",
    }


def _penetration(measuring: Mapping[str, Any], records: pd.DataFrame) -> dict[str, Any]:
    used = records.drop_duplicates(["method", "source", "pair_id"])["penetration_method"].value_counts()
    cell = measuring["penetration_cell_mm"]
    return {
        "volume": "exact boolean of the triangles"
        if measuring["penetration"] == "boolean"
        else f"cells of {cell:g} mm",
        "pairs_by_method": {method: int(count) for method, count in used.items()},
        "depth": "largest distance of a vertex inside the other hand to that hand's surface, exact to its triangles",
        "hands": "both reconstructed hands of a pair as placed in the world; the true hands are sealed at the wrist",
    }


def _lines(content: Any, depth: int) -> list[str]:
    indent = "  " * depth
    lines = []
    items = content.items() if isinstance(content, Mapping) else enumerate(content, start=1)
    for key, value in items:
        label = f"{indent}- " if isinstance(content, list) else f"{indent}- {str(key).replace('_', ' ')}: "
        if isinstance(value, (Mapping, list)):
            lines += [(f"{indent}- {key}:" if isinstance(content, list) else label.rstrip()), *_lines(value, depth + 1)]
        else:
            lines.append(f"{label}{value}")
    return lines
