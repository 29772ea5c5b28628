"""The two evaluation protocols of a reconstructed hand, by name and with their constants.

`published`: HALO's mesh evaluation as the published code runs it. Works in palm units (1 unit = 0.4 m); intersection over
union at points of which half lie near the surface; the mesh's occupancy by ray parity; an empty mesh has IoU 0, distances
sqrt(3) and 3 (squared), normals -1 and no Chamfer distance, so the mean over hands skips it; a missing mesh has no values.
Departures, all stated on the protocol card: sampling is seeded per hand; stored points are rounded to 16 bits (4 micrometres)
instead of half precision, and the loader's noise of 0.04 mm is not added.

`ours`: intersection over union at points uniform in the true hand's bounding box plus a margin, once for the occupancy field at
its threshold and once for the mesh by winding number; Chamfer distances in millimetres; every failure counts, with a stated
penalty; the noise floor of the sampled metrics is recorded too.

Both sample the predicted surface once, with the same seed. Frames: meshes come in world metres and are taken to the palm frame
of the true hand, left hands mirrored, which changes no distance but the unit.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float

from im2hands.evaluation.metrics import SampledSurface, SurfaceDistances, intersection_over_union
from im2hands.evaluation.records import Failure
from im2hands.geometry.inside import InsideTest
from im2hands.geometry.mesh import Mesh, is_watertight
from im2hands.geometry.surface import sample_surface
from im2hands.hands.bone_frames import PALM_UNIT
from im2hands.hands.frames import PalmFrame
from im2hands.io.hashing import seed_of
from im2hands.reconstruction.failures import Reason, mesh_problem

MM = PALM_UNIT * 1e3
"""Millimetres of one palm unit."""
EMPTY_DISTANCE = 3**0.5
"""Completeness and accuracy of an empty mesh in the published protocol, palm units (its square is 3)."""
PUBLISHED_POINTS = 100_000
"""Query points and surface samples per hand in the published protocol."""
FAILURE_DISTANCE_MM = 100.0
"""Chamfer-L1 of a failed hand in our protocol; Chamfer-L2 is its square, IoU and normal consistency are 0."""


@dataclass(frozen=True)
class Metric:
    """A column of the records that appears in tables.

    factor: printed value = recorded value * factor.  better: direction of improvement; None for a description of the data.
    penalty: recorded value that a failed hand counts with; None: failed hands are skipped.  per_pair: one value per pair.
    """

    column: str
    protocol: Literal["published", "ours", "penetration"]
    label: str
    unit: str = ""
    factor: float = 1.0
    better: Literal["higher", "lower"] | None = None
    penalty: float | None = None
    per_pair: bool = False

    @property
    def name(self) -> str:
        """Name of the column in result tables; carries the unit."""
        return f"{self.column}_percent" if self.unit == "%" else self.column


METRICS = (
    Metric("published_iou", "published", "IoU", "%", 100, "higher"),
    Metric("published_field_iou", "published", "field IoU", "%", 100, "higher"),
    Metric("published_chamfer_l1_mm", "published", "Chamfer-L1", "mm", 1, "lower"),
    Metric("published_chamfer_l2_mm2", "published", "Chamfer-L2", "mm²", 1, "lower"),
    Metric("published_normals", "published", "normal consistency", "", 1, "higher"),
    Metric("mesh_iou", "ours", "mesh IoU", "%", 100, "higher", 0.0),
    Metric("field_iou", "ours", "field IoU", "%", 100, "higher", 0.0),
    Metric("chamfer_l1_mm", "ours", "Chamfer-L1", "mm", 1, "lower", FAILURE_DISTANCE_MM),
    Metric("chamfer_l2_mm2", "ours", "Chamfer-L2", "mm²", 1, "lower", FAILURE_DISTANCE_MM**2),
    Metric("normal_consistency", "ours", "normal consistency", "", 1, "higher", 0.0),
    Metric("floor_chamfer_l1_mm", "ours", "floor of Chamfer-L1", "mm"),
    Metric("floor_chamfer_l2_mm2", "ours", "floor of Chamfer-L2", "mm²"),
    Metric("floor_normal_consistency", "ours", "floor of normal consistency"),
    Metric("penetration_volume_cm3", "penetration", "volume", "cm³", 1, "lower", per_pair=True),
    Metric("penetration_depth_mm", "penetration", "depth", "mm", 1, "lower", per_pair=True),
    Metric("true_penetration_volume_cm3", "penetration", "true volume", "cm³", per_pair=True),
    Metric("true_penetration_depth_mm", "penetration", "true depth", "mm", per_pair=True),
)


@dataclass(frozen=True, eq=False)
class TrueHand:
    """What a reconstructed hand is compared with.

    frame: palm frame of the true keypoints.  sealed: closed mesh, world metres.
    published_*, uniform_*: evaluation points (palm units) and their labels.  surface: points and normals, palm units.
    """

    hand_id: str
    frame: PalmFrame
    sealed: Mesh
    published_points: Float[np.ndarray, "published 3"]
    published_labels: Bool[np.ndarray, " published"]
    uniform_points: Float[np.ndarray, "uniform 3"]
    uniform_labels: Bool[np.ndarray, " uniform"]
    surface: SampledSurface


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """A hand as a method made it.

    mesh: world metres; None if none was made.  reason: why it failed, as the method says.  *_field: labels of its field at the
    evaluation points; None if the method has no field.  evaluations: points at which the field was evaluated for the mesh.
    """

    mesh: Mesh | None
    reason: str | None = None
    published_field: Bool[np.ndarray, " published"] | None = None
    uniform_field: Bool[np.ndarray, " uniform"] | None = None
    evaluations: int | None = None

    @cached_property
    def failure(self) -> Failure | None:
        """Why this cannot count as a hand, if it cannot."""
        if self.mesh is None or mesh_problem(self.mesh) is not None:
            return "missing"
        if self.mesh.is_empty or not _area(self.mesh) > 0:
            return "empty"
        if self.reason == Reason.FULL:
            return "full"
        return None if is_watertight(self.mesh.faces) else "open"

    @property
    def detail(self) -> str | None:
        """The sentence that says why, see `reconstruction.failures`; None for a hand."""
        if self.failure is None or self.reason is not None:
            return self.reason
        if self.failure == "missing":
            return self.mesh and mesh_problem(self.mesh)
        return str({"empty": Reason.EMPTY if self.mesh.is_empty else Reason.NO_AREA, "open": Reason.OPEN}[self.failure])


@dataclass(frozen=True)
class MeasuredSurface:
    """A reconstructed surface in the true hand's palm frame (palm units). distances: from its samples to the true surface."""

    solid: InsideTest
    distances: SurfaceDistances


def evaluate_hand(true: TrueHand, made: Reconstruction, surface_samples: int, seed: int) -> dict[str, Any]:
    """All metrics of one hand, by column of the records.

    surface_samples: points on the predicted surface and on the second true one.  seed: master seed; samples depend on it and
    on the hand's name only.
    """
    failure = made.failure
    row: dict[str, Any] = {
        "hand_id": true.hand_id,
        "side": true.frame.side.value,
        "failure": failure,
        "failure_detail": made.detail,
        "evaluations": made.evaluations,
        "true_volume_cm3": true.sealed.volume * 1e6,
        **noise_floor(true, surface_samples, seed),
    }
    if failure != "missing":
        row |= {"vertices": len(made.mesh.vertices), "faces": len(made.mesh.faces)}
    if failure is None:
        row["volume_cm3"] = made.mesh.volume * 1e6
    surface = _measured_surface(true, made, surface_samples, seed)
    return row | published_metrics(true, made, surface) | our_metrics(true, made, surface)


def published_metrics(true: TrueHand, made: Reconstruction, surface: MeasuredSurface | None) -> dict[str, float | None]:
    """The published protocol; `surface` is None if there is none. An open mesh is measured like any other."""
    if made.failure == "missing":
        return {}
    row = {"published_field_iou": _iou(made.published_field, true.published_labels)}
    if surface is None:
        return row | {
            "published_iou": 0.0,
            "published_completeness_mm": EMPTY_DISTANCE * MM,
            "published_accuracy_mm": EMPTY_DISTANCE * MM,
            "published_normals": -1.0,
        }
    inside = surface.solid.contains(true.published_points, rule="parity")
    distances = surface.distances
    return row | {
        "published_iou": _iou(inside, true.published_labels),
        "published_completeness_mm": distances.completeness * MM,
        "published_accuracy_mm": distances.accuracy * MM,
        "published_chamfer_l1_mm": distances.chamfer_l1 * MM,
        "published_chamfer_l2_mm2": distances.chamfer_l2 * MM**2,
        "published_normals": distances.normals,
    }


def our_metrics(true: TrueHand, made: Reconstruction, surface: MeasuredSurface | None) -> dict[str, float | None]:
    """Our protocol; nothing for a failed hand, which the tables count with the penalty."""
    if made.failure is not None or surface is None:
        return {}
    distances = surface.distances
    return {
        "mesh_iou": _iou(surface.solid.contains(true.uniform_points, rule="winding"), true.uniform_labels),
        "field_iou": _iou(made.uniform_field, true.uniform_labels),
        "completeness_mm": distances.completeness * MM,
        "accuracy_mm": distances.accuracy * MM,
        "chamfer_l1_mm": distances.chamfer_l1 * MM,
        "chamfer_l2_mm2": distances.chamfer_l2 * MM**2,
        "normal_consistency": distances.normals,
    }


def noise_floor(true: TrueHand, surface_samples: int, seed: int) -> dict[str, float]:
    """The sampled metrics between two independent samplings of the true surface: what a perfect method would get."""
    second = sampled(
        true.frame.mesh_to_palm(true.sealed), surface_samples, seed_of(seed, "second true surface", true.hand_id)
    )
    distances = second.distances_to(true.surface)
    return {
        "floor_chamfer_l1_mm": distances.chamfer_l1 * MM,
        "floor_chamfer_l2_mm2": distances.chamfer_l2 * MM**2,
        "floor_normal_consistency": distances.normals,
    }


def sampled(mesh: Mesh, count: int, seed: list[int]) -> SampledSurface:
    """Area-uniform points of a mesh with the normals of their faces, rounded to single precision as published."""
    points, normals, _ = sample_surface(mesh.vertices, mesh.faces, count, np.random.default_rng(seed))
    return SampledSurface(points.astype(np.float32), normals)


def _measured_surface(true: TrueHand, made: Reconstruction, surface_samples: int, seed: int) -> MeasuredSurface | None:
    if made.failure in ("missing", "empty"):
        return None
    mesh = true.frame.mesh_to_palm(made.mesh)
    samples = sampled(mesh, surface_samples, seed_of(seed, "predicted surface", true.hand_id))
    return MeasuredSurface(InsideTest(mesh.vertices, mesh.faces), samples.distances_to(true.surface))


def _iou(values: np.ndarray | None, labels: np.ndarray) -> float | None:
    """IoU, or None where the method has no values; NaN of an empty union becomes None too."""
    if values is None:
        return None
    iou = float(intersection_over_union(values, labels))
    return None if np.isnan(iou) else iou


def _area(mesh: Mesh) -> float:
    a, b, c = (np.asarray(mesh.vertices, np.float64)[mesh.faces[:, corner]] for corner in range(3))
    return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)
