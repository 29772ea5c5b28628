"""Converts folders of HALO's preparation into our shards of training queries.

    <folder>/<split>/points/<capture>_<frame>_<side>.npz   points (float16), occupancies (bits), first half uniform in the cube
                                                           around the wrist, second half near the surface; palm units
    <folder>/<split>/meta/<capture>_<frame>_<side>.npz     root_xyz (m, world, mirrored for left hands), root_rot_mat

Labels were made before the points were rounded to half precision (at most 0.1 mm), by the rule that the option `label_rule`
calls `published`; our own stage labels the stored points. The points must be in the frame of the hand table; this is checked
with meta.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from im2hands.datasets.frames import shard_range
from im2hands.datasets.hands import HandTable
from im2hands.datasets.queries import QUERIES, Quantisation
from im2hands.hands.sides import Side
from im2hands.io.arrays import read_npz
from im2hands.io.errors import DataError
from im2hands.io.progress import progress
from im2hands.io.tables import Provenance, ShardWriter

COLUMNS = ["wrist", "palm_rotation"]
LARGEST_OFFSET, LARGEST_TURN = 1e-3, 1e-3
"""Metres and entries of the rotation: how far a hand's frame may be from that of the hand table."""


def hands_with_points(folder: str | os.PathLike, split: str, hands: HandTable) -> list[str]:
    """Names of the hands of a table that have points, in its order. Raises DataError if there is none."""
    place = Path(folder, split, "points")
    found = [name for name in hands.hand_ids if (place / f"{name}.npz").is_file()]
    if not found:
        first = f", such as {hands.hand_ids[0]}.npz" if len(hands) else ""
        raise DataError(
            f"{place}: has no points for the {len(hands)} hands of {split}; give the folder that contains the splits, with "
            f"files <capture>_<frame>_<side>.npz{first}."
        )
    return found


def write_query_shard(
    output: str | os.PathLike,
    folder: str | os.PathLike,
    split: str,
    names: Sequence[str],
    hands: HandTable,
    shard: int,
    shards: int,
    provenance: Provenance,
) -> int:
    """Writes part `shard` of `shards` of the points of some hands (QUERIES); the number of hands.

    hands: with COLUMNS.  Raises DataError for a damaged or unsuitable file, or one that belongs to other fits.
    """
    place, quantisation = Path(folder, split), Quantisation()
    wrists, rotations = (hands.array(name) for name in COLUMNS)
    part = names[slice(*shard_range(len(names), shard, shards))]
    with ShardWriter(output, QUERIES, provenance, {"range": [quantisation.low, quantisation.high]}) as writer:
        for name in progress(part, f"read points of {split}"):
            row = hands.rows[name]
            _check_frame(place / "meta" / f"{name}.npz", hands.sides[row], wrists[row], rotations[row])
            writer.append(_row(place / "points" / f"{name}.npz", name, hands.sides[row], quantisation))
    return len(part)


def _row(path: Path, name: str, side: Side, quantisation: Quantisation) -> dict[str, Any]:
    content = _arrays(path, ("points", "occupancies"))
    points, packed = content["points"].astype(np.float64), content["occupancies"]
    if points.ndim != 2 or points.shape[1] != 3 or len(points) % 16 or packed.shape != (len(points) // 8,):
        raise DataError(
            f"{path}: points {points.shape} and occupancies {packed.shape} are not what HALO's preparation writes "
            "(100000 x 3 and 12500); make the file again."
        )
    if not np.isfinite(points).all() or np.abs(points).max() > quantisation.high:
        raise DataError(
            f"{path}: points must be finite and within {quantisation.high} palm units (0.4 m) of the wrist; are they in metres "
            "or not relative to the wrist? Make the file again."
        )
    half = len(points) // 2
    return {
        "hand_id": name,
        "side": side.value,
        "points": quantisation.stored(np.concatenate([points[half:], points[:half]])).tobytes(),
        "labels": np.concatenate([packed[half // 8 :], packed[: half // 8]]).astype(np.uint8).tobytes(),
        "near_surface_start": 0,
        "near_surface_stop": half,
        "uniform_cube_start": half,
        "uniform_cube_stop": 2 * half,
        "uniform_hand_start": 2 * half,
        "uniform_hand_stop": 2 * half,
        "label_rule": "published",
    }


def _check_frame(path: Path, side: Side, wrist: Float[np.ndarray, "3"], rotation: Float[np.ndarray, "3 3"]) -> None:
    content = _arrays(path, ("root_xyz", "root_rot_mat"))
    root = side.mirror_points(np.asarray(content["root_xyz"], np.float64).reshape(3))
    offset = np.abs(root - wrist).max()
    turn = np.abs(np.asarray(content["root_rot_mat"], np.float64)[:3, :3] - rotation).max()
    if not (offset <= LARGEST_OFFSET and turn <= LARGEST_TURN):
        raise DataError(
            f"{path}: its wrist differs by {1000 * offset:.3g} mm and its rotation by {turn:.3g} from the hand table, so the "
            "folder was made from other fits; import the IntagHand folder of the same release first, or sample new points."
        )


def _arrays(path: Path, names: Sequence[str]) -> Mapping[str, np.ndarray]:
    return read_npz(path, "array file", names)
