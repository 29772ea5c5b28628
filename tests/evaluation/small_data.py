"""A few pairs of the built-in hand, written as the stages before reconstruction write them. Nothing here was measured."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from im2hands.datasets.frames import FRAMES, FrameTable, hand_id, pair_id
from im2hands.datasets.hands import HANDS, SHAPES, HandTable
from im2hands.datasets.images import IMAGES, encode_jpeg, hands_crop
from im2hands.datasets.queries import EvaluationQueries
from im2hands.datasets.query_sampling import Sampling, palm_meshes, write_evaluation_shard
from im2hands.geometry.cameras import Camera
from im2hands.geometry.inside import InsideTest
from im2hands.hands.bone_frames import canonical_frames
from im2hands.hands.model_files import builtin_hand_models, write_hand_model_folder
from im2hands.hands.sides import Side
from im2hands.io.manifest import write_manifest
from im2hands.io.tables import Provenance, ShardWriter, write_parquet

CAPTURE, CAMERAS = 5, 2
COUNTS = {"published": 4000, "uniform_hand": 3000, "surface": 3000}
DATASET = "two hands (synthetic stand-in)"


@dataclass(frozen=True)
class SmallData:
    """Paths and readers of the test split."""

    folder: Path
    pairs: int

    @property
    def hands(self) -> Path:
        return self.folder / "hands.parquet"

    @property
    def frames(self) -> Path:
        return self.folder / "frames.parquet"

    @property
    def images(self) -> Path:
        return self.folder / "images" / "manifest.json"

    @property
    def queries(self) -> Path:
        return self.folder / "queries_eval" / "manifest.json"

    @property
    def hand_model(self) -> Path:
        return self.folder / "hand_model"

    @cached_property
    def hand_table(self) -> HandTable:
        return HandTable.read(self.hands)

    @cached_property
    def evaluation(self) -> EvaluationQueries:
        return EvaluationQueries.read(self.queries)

    @cached_property
    def frame_table(self) -> FrameTable:
        return FrameTable.read(self.frames)


def make_small_data(folder: Path, pairs: int) -> SmallData:
    """Writes frames, hands, evaluation queries and the hand model. The hands of a pair overlap a little."""
    data = SmallData(folder, pairs)
    provenance = Provenance({"dataset": DATASET})
    write_hand_model_folder(data.hand_model)
    rows = [row for pair in range(pairs) for row in _hands_of_pair(pair)]
    write_parquet(data.hands, pa.Table.from_pylist(rows, schema=HANDS.schema), HANDS, provenance)
    cameras = [camera_of(i, rows) for i in range(CAMERAS * pairs)]
    frames = [
        {
            "frame_id": i,
            "file_name": f"image{i}.jpg",
            "split": "test",
            "capture": CAPTURE,
            "frame_idx": i // CAMERAS,
            "camera": f"cam{i % CAMERAS}",
            "K": camera.intrinsics.ravel(),
            "R": camera.rotation.ravel(),
            "t": camera.translation,
        }
        for i, camera in enumerate(cameras)
    ]
    write_parquet(data.frames, pa.Table.from_pylist(frames, schema=FRAMES.schema), FRAMES, provenance)
    _write_crops(data.images, rows, provenance)
    shard = data.queries.parent / "0000-of-0001.arrow"
    meshes, _ = palm_meshes(data.hands, builtin_hand_models(), 0, 1)
    sampling = Sampling.of_params(4, 8, "consistent", 1)
    settings = COUNTS | {"near_surface_sigma_mm": 4, "hand_margin_mm": 8, "label_rule": "consistent"}
    write_evaluation_shard(shard, meshes, COUNTS, sampling, Provenance(settings))
    write_manifest(data.queries, [shard])
    return data


def camera_of(frame: int, hands: list[dict]) -> Camera:
    """The camera of a frame: straight on or from the side, a metre away. hands: rows of all pairs."""
    rotation = [np.eye(3), np.array([[0, 0, 1.0], [0, 1, 0], [-1, 0, 0]])][frame % CAMERAS]
    translation = np.array([0, 0, 1]) - rotation @ _vertices(frame, hands).mean((0, 1))
    return Camera(np.diag([1000.0, 1000, 1]), rotation, translation)


def _vertices(frame: int, hands: list[dict]) -> np.ndarray:
    return np.array([hand["vertices"] for hand in hands[frame // CAMERAS * 2 :][:2]]).reshape(2, -1, 3)


def _write_crops(manifest: Path, hands: list[dict], provenance: Provenance) -> None:
    """Grey crops around both hands of every pair."""
    shard = manifest.parent / "0000-of-0001.arrow"
    with ShardWriter(shard, IMAGES, provenance) as writer:
        for frame in range(CAMERAS * len(hands) // 2):
            camera = camera_of(frame, hands)
            affine, crop = hands_crop(camera, _vertices(frame, hands))
            writer.append(
                {
                    "frame_id": frame,
                    "jpeg": encode_jpeg(np.full((256, 256, 3), 90, np.uint8)),
                    "crop_affine": affine.reshape(-1),
                    "crop_K": crop.intrinsics.reshape(-1),
                    "R": camera.rotation.reshape(-1),
                    "t": camera.translation,
                    "quarantined": False,
                }
            )
    write_manifest(manifest, [shard])


def _hands_of_pair(pair: int) -> list[dict]:
    models, rng = builtin_hand_models(), np.random.default_rng(pair)
    pose = np.concatenate([rng.normal(0, 0.3, 3), rng.normal(0, 0.15, 45)])
    rows = []
    for side in Side:
        angles = side.mirror_axis_angles(pose.reshape(16, 3)).ravel()
        place = np.array([0.012, 0.004, 1.0]) if side is Side.RIGHT else np.array([-0.012, 0.0, 1.0])
        posed = models[side].pose(angles[None], np.zeros((1, 10)), place[None])
        vertices, keypoints = posed.vertices[0].numpy(), posed.keypoints[0].numpy()
        used = canonical_frames(keypoints[None], side)
        arrays = {name: np.zeros(shape) for name, shape in SHAPES.items()} | {
            "vertices": vertices.astype(np.float32),
            "keypoints_model": keypoints,
            "wrist": used.wrist[0].numpy(),
            "palm_rotation": used.palm_rotation[0].numpy(),
            "bone_from_palm": used.bone_from_palm[0].numpy(),
            "bone_lengths": used.bone_lengths[0].numpy(),
            "annotation_valid": np.zeros(21, bool),
        }
        rows.append(
            {
                "hand_id": hand_id(CAPTURE, pair, side),
                "pair_id": pair_id(CAPTURE, pair),
                "capture": CAPTURE,
                "frame_idx": pair,
                "side": side.value,
                "subject": 1,
                **{name: np.ravel(array).tolist() for name, array in arrays.items()},
            }
        )
    return rows


@dataclass(frozen=True)
class TrueFields:
    """The true hands as occupancy fields: 1 inside the sealed mesh, 0 outside. hands: path of the hand table."""

    hands: str

    def __call__(self, hands):
        meshes = {mesh.hand_id: mesh for mesh in palm_meshes(self.hands, builtin_hand_models(), 0, 1)[0]}
        tests = [InsideTest(meshes[hand.hand_id].vertices, meshes[hand.hand_id].faces) for hand in hands]

        def field(items, points):
            values = np.empty(len(points), np.float32)
            for item in np.unique(items):
                values[items == item] = tests[item].contains(points[items == item])
            return values

        return field
