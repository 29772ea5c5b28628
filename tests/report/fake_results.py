"""Everything that the report reads, made up in a moment: hands of the built-in model, photographs drawn from them, and
"reconstructions" that are the true hands with known damage. Nothing here was measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import torch

from im2hands.datasets.audit import AUDIT
from im2hands.datasets.frames import FRAMES
from im2hands.datasets.hands import HANDS
from im2hands.datasets.images import IMAGES, encode_jpeg, hands_crop
from im2hands.evaluation.comparisons import ablation_table, by_difficulty, paired_differences
from im2hands.evaluation.failure_table import failure_table
from im2hands.evaluation.protocol_card import EvaluationFacts, measuring_facts, protocol_card, write_card
from im2hands.evaluation.published_results import all_published
from im2hands.evaluation.records import read_records, write_records
from im2hands.evaluation.tables import summarize, write_plain_table, write_tables
from im2hands.geometry.cameras import Camera
from im2hands.hands.model_files import builtin_hand_models, write_hand_model_folder
from im2hands.hands.sides import Side
from im2hands.io.atomic import write_json, write_text
from im2hands.io.hashing import digest
from im2hands.io.manifest import write_manifest
from im2hands.io.tables import Provenance, ShardWriter, write_parquet
from im2hands.reconstruction.storage import MESHES
from im2hands.report.pictures import View, painted, render

DATASET = "two hands (synthetic stand-in)"
SKIN = (0.80, 0.62, 0.50)
CAPTURE = 900


@dataclass(frozen=True)
class FakeResults:
    """Paths of the made-up artifacts, by the names of the arguments of stages.make_report."""

    folder: Path
    pairs: int

    @property
    def arguments(self) -> dict[str, object]:

        def at(name: str) -> str:
            return str(self.folder / name)

        return {
            "method": "halo",
            "source": "model",
            "tables": at("results/tables"),
            "records": [at("results/halo/model/metrics/0000-of-0001.parquet")],
            "meshes": [at(f"results/{method}/model/meshes/0000-of-0001.arrow") for method in ("halo", "initial")],
            "hands": at("data/hands/test.parquet"),
            "frames": [at(f"data/frames/{split}.parquet") for split in ("train", "val", "test")],
            "frame_audits": [at(f"data/frames/audit_{split}.parquet") for split in ("train", "val", "test")],
            "hand_audits": [at(f"data/hands/audit_{split}.parquet") for split in ("train", "val", "test")],
            "images": at("data/images/test/manifest.json"),
            "hand_model": at("data/hand_model"),
            "models": [at("models/halo")],
            "graph": [("train_halo", "reconstruct"), ("reconstruct", "evaluate"), ("evaluate", "make_report")],
        }


def make_fake_results(folder: Path, pairs: int = 4, cameras: int = 2, subdivisions: int = 1) -> FakeResults:
    """Writes all artifacts below `folder`. The last pair's left hand has no mesh; errors grow with the pair's number."""
    random = np.random.default_rng(7)
    provenance = Provenance({"fake": True}, seed=7)
    posed = [_pair(random) for _ in range(pairs)]
    rig = [_camera(angle) for angle in np.linspace(-0.5, 0.6, cameras)]
    _write_frames(folder, posed, rig, provenance)
    _write_hands(folder, posed, provenance)
    _write_crops(folder, posed, rig, provenance)
    write_hand_model_folder(folder / "data/hand_model")
    for method, damage in (("halo", 0.002), ("initial", 0.006)):
        _write_meshes(folder, posed, random, subdivisions, method, damage)
    _write_records(folder, posed, random)
    _write_model(folder, random)
    return FakeResults(folder, pairs)


def frame_idx(pair: int) -> int:
    return 10 + 3 * pair


def _pair(random: np.random.Generator) -> dict[Side, np.ndarray]:
    """Vertices (m, world) of both hands, palms towards each other about the origin."""
    hands = {}
    turn = random.normal(0, 0.5, 3)
    for side, model in builtin_hand_models().items():
        pose = np.concatenate([[0, 0, 0], random.normal(0, 0.18, 45)])
        posed = model.pose(torch.from_numpy(pose)[None], torch.zeros(1, 10, dtype=torch.float64)).vertices[0].numpy()
        posed = (posed - posed.mean(0)) @ _rotation([0, 0, np.pi / 2 if side is Side.LEFT else -np.pi / 2]).T
        away = -1 if side is Side.LEFT else 1
        posed = posed @ _rotation([0, away * 0.5, away * 0.35]).T + [away * 0.055, 0, away * 0.02]
        hands[side] = posed @ _rotation(turn).T
    return hands


def _camera(angle: float) -> Camera:
    """A camera 0.9 m before the origin, turned about it."""
    rotation = np.diag([1.0, -1.0, -1.0]) @ _rotation([0, angle, 0])
    return Camera(np.array([[1250, 0, 167], [0, 1250, 256], [0, 0, 1.0]]), rotation, np.array([0, 0, 0.9]))


def _rotation(vector: list[float]) -> np.ndarray:
    vector = np.asarray(vector, np.float64)
    angle = np.linalg.norm(vector)
    x, y, z = vector / max(angle, 1e-12)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def _write_frames(folder: Path, posed: list, rig: list[Camera], provenance: Provenance) -> None:
    rows = []
    for pair in range(len(posed)):
        for number, camera in enumerate(rig):
            rows.append(
                {
                    "frame_id": len(rows),
                    "image_id": 100 + len(rows),
                    "annotation_id": 100 + len(rows),
                    "file_name": f"Capture{CAPTURE}/ROM01_Synthetic_Fake/cam{number:06d}/image{frame_idx(pair)}.jpg",
                    "split": "test",
                    "capture": CAPTURE,
                    "subject": 3,
                    "sequence": "ROM01_Synthetic_Fake",
                    "camera": f"{number:06d}",
                    "frame_idx": frame_idx(pair),
                    "width": 334,
                    "height": 512,
                    "K": camera.intrinsics.reshape(-1).tolist(),
                    "R": camera.rotation.reshape(-1).tolist(),
                    "t": camera.translation.tolist(),
                }
            )
    for split in ("train", "val", "test"):
        table = pa.Table.from_pylist([row | {"split": split} for row in rows], schema=FRAMES.schema)
        write_parquet(folder / f"data/frames/{split}.parquet", table, FRAMES, provenance)
        reasons = [("single_hand", "right", False), ("single_hand", "left", False), ("black_image", "mean 4.2", False)]
        audit = [
            {"image_id": i, "file_name": "x.jpg", "kept": kept, "reason": reason, "detail": detail}
            for i, (reason, detail, kept) in enumerate(reasons)
        ]
        table = pa.Table.from_pylist(audit, schema=AUDIT.schema)
        write_parquet(folder / f"data/frames/audit_{split}.parquet", table, AUDIT, provenance)
        far = [{"side": "left", "kept": True, "reason": "joints_far_from_model", "detail": "mm", "value": 23.0}]
        table = pa.Table.from_pylist(far if split == "train" else [], schema=AUDIT.schema)
        write_parquet(folder / f"data/hands/audit_{split}.parquet", table, AUDIT, provenance)


def _write_hands(folder: Path, posed: list, provenance: Provenance) -> None:
    rows = [
        {column.name: None for column in HANDS.schema}
        | {
            "hand_id": f"{CAPTURE}_{frame_idx(pair)}_{side.value}",
            "pair_id": f"{CAPTURE}_{frame_idx(pair)}",
            "capture": CAPTURE,
            "frame_idx": frame_idx(pair),
            "side": side.value,
            "subject": 3,
            "vertices": hands[side].astype(np.float32).reshape(-1).tolist(),
        }
        for pair, hands in enumerate(posed)
        for side in Side
    ]
    table = pa.Table.from_pylist(rows, schema=HANDS.schema)
    write_parquet(folder / "data/hands/test.parquet", table, HANDS, provenance)


def _write_crops(folder: Path, posed: list, rig: list[Camera], provenance: Provenance) -> None:
    models = builtin_hand_models()
    shard = folder / "data/images/test/0000-of-0001.arrow"
    rows, columns = np.mgrid[:256, :256] / 255
    with ShardWriter(shard, IMAGES, provenance) as writer:
        for pair, hands in enumerate(posed):
            for number, camera in enumerate(rig):
                affine, crop = hands_crop(camera, np.stack([hands[side] for side in Side]))
                meshes = [painted(camera.to_camera(hands[side]), models[side].faces, SKIN) for side in Side]
                picture = render(meshes, View(crop.intrinsics, 256))
                grey = (0.10 + 0.12 * rows + 0.05 * columns)[..., None] * (1 - picture[..., 3:])
                image = np.round(255 * (picture[..., :3] + grey)).astype(np.uint8)
                writer.append(
                    {
                        "frame_id": pair * len(rig) + number,
                        "jpeg": encode_jpeg(image[..., ::-1]),
                        "crop_affine": affine.reshape(-1),
                        "crop_K": crop.intrinsics.reshape(-1),
                        "R": camera.rotation.reshape(-1),
                        "t": camera.translation,
                        "quarantined": False,
                    }
                )
    write_manifest(shard.parent / "manifest.json", [shard])


def _write_meshes(
    folder: Path, posed: list, random: np.random.Generator, subdivisions: int, method: str, damage: float
) -> None:
    import trimesh

    models = builtin_hand_models()
    provenance = Provenance({"fake": True, "method": method, "source": "model"}, seed=7)
    with ShardWriter(folder / f"results/{method}/model/meshes/0000-of-0001.arrow", MESHES, provenance) as writer:
        for pair, hands in enumerate(posed):
            for side in Side:
                row = {
                    "pair_id": f"{CAPTURE}_{frame_idx(pair)}",
                    "hand_id": f"{CAPTURE}_{frame_idx(pair)}_{side.value}",
                    "frame_ids": [2 * pair],
                    "side": side.value,
                    "evaluations": 1000,
                }
                if pair == len(posed) - 1 and side is Side.LEFT:
                    writer.append(row | {"failure": "degenerate keypoints"})
                    continue
                vertices, faces = models[side].seal(hands[side]), models[side].sealed_faces
                for _ in range(subdivisions):
                    vertices, faces = trimesh.remesh.subdivide(vertices, faces)
                normals = trimesh.Trimesh(vertices, faces, process=False).vertex_normals
                waves = np.sin(vertices @ random.normal(0, 120, (3, 6)) + random.uniform(0, 6, 6)).mean(1)
                moved = vertices + normals * (damage * (1 + pair) * waves)[:, None]
                writer.append(
                    row
                    | {
                        "vertices": moved.astype(np.float32).tobytes(),
                        "faces": faces.astype(np.int32).tobytes(),
                    }
                )


def _write_records(folder: Path, posed: list, random: np.random.Generator) -> None:
    rows = []
    for pair in range(len(posed)):
        for side in Side:
            failed = pair == len(posed) - 1 and side is Side.LEFT
            row = {
                "pair_id": f"{CAPTURE}_{frame_idx(pair)}",
                "hand_id": f"{CAPTURE}_{frame_idx(pair)}_{side.value}",
                "capture": CAPTURE,
                "frame_idx": frame_idx(pair),
                "side": side.value,
                "subject": 3,
                "frame_id": 2 * pair,
                "camera": "000000",
                "true_hand_distance_mm": 4.0 - pair,
                "visible_fraction": 0.9 - 0.1 * pair,
                "method": "halo",
                "source": "model",
                "failure": "missing" if failed else None,
                "failure_detail": "degenerate keypoints" if failed else None,
                "penetration_volume_cm3": 0.04 * pair,
                "penetration_depth_mm": 0.3 * pair,
                "penetration_method": "grid",
            }
            if not failed:
                distance = 1.1 + 0.9 * pair + 0.2 * float(random.random())
                row |= {
                    "published_iou": 0.90 - 0.05 * pair,
                    "published_chamfer_l1_mm": distance,
                    "published_chamfer_l2_mm2": distance**2,
                    "published_normals": 0.95,
                    "mesh_iou": 0.88 - 0.05 * pair,
                    "field_iou": 0.88 - 0.05 * pair,
                    "chamfer_l1_mm": distance,
                    "chamfer_l2_mm2": distance**2,
                    "normal_consistency": 0.94,
                    "floor_chamfer_l1_mm": 0.4,
                }
            rows.append(row)
    queries = {"published": 100000, "uniform_hand": 100000, "hand_margin_mm": 8, "label_rule": "consistent"}
    measuring = measuring_facts(
        dataset=DATASET,
        split="test",
        frame_names=[f"image{i}.jpg" for i in range(2 * len(posed))],
        poses=len(posed),
        seed=7,
        surface_samples=100000,
        penetration="grid",
        penetration_cell_mm=2,
        queries=queries,
    )
    making = {"grid": "default", "resolution": 256, "threshold": 0.5}
    facts = EvaluationFacts("halo", "model", measuring, making)
    path = folder / "results/halo/model/metrics/0000-of-0001.parquet"
    write_records(path, rows, Provenance(facts.as_parameters(), seed=7))
    records = read_records([path])
    tables = folder / "results/tables"
    write_tables(tables, "shape_given_keypoints", summarize(records), "Shape given keypoints", "made up", 3)
    predicted = summarize(records.assign(source="perturbed_10mm"))
    write_tables(tables, "shape_predicted_keypoints", predicted, "Shape from predicted keypoints", "made up", 3)
    errors = pd.DataFrame(
        {
            "keypoints": ["perturbed_10mm_refined"],
            "refined from": ["perturbed_10mm"],
            "hands": [8],
            "MPJPE, knuckle (mm)": [9.1],
            "before: MPJPE, knuckle (mm)": [14.2],
        }
    )
    write_plain_table(tables, "keypoint_refinement", errors, "Keypoint refinement", "made up", 3)
    joints = pd.DataFrame({"joint": ["wrist", "thumb_tip"], "perturbed_10mm": [9.0, 15.5]})
    write_plain_table(tables, "keypoint_joints", joints, "Error of every joint", "made up", 3)
    no_keypoints = pd.DataFrame({"source": ["perturbed_10mm"], "reason": [None]})
    write_plain_table(tables, "failures", failure_table(records, no_keypoints), "Failed hands", "made up", 3)
    write_plain_table(tables, "shape_by_difficulty", by_difficulty(records), "By difficulty", "made up", 3)
    both = pd.concat([records, records.assign(method="initial")], ignore_index=True)
    write_plain_table(tables, "paired_differences", paired_differences(both, 1), "Paired", "made up", 3)
    write_plain_table(tables, "ablations", ablation_table(records, {}), "Ablations", "made up", 3)
    cost = pd.DataFrame({"method": ["halo"], "parameters": [91_000], "seconds per pair": [3.2]})
    write_plain_table(tables, "cost", cost, "Cost", "made up", 3)
    write_plain_table(tables, "published_results", all_published(), "Published", "made up", 3)
    write_card(tables, protocol_card(records, [path]))


def _write_model(folder: Path, random: np.random.Generator) -> None:
    lines = ["step,learning_rate,train_loss,val_loss,val_iou"]
    for step in range(1, 1201, 5):
        loss = (0.02 + 0.2 * np.exp(-step / 150)) * (1 + 0.1 * random.standard_normal())
        validated = step % 100 == 1
        iou = 0.86 * (1 - np.exp(-(step + 30) / 160))
        lines.append(f"{step},0.002,{loss:.6g}," + (f"{1.1 * loss:.6g},{iou:.6g}" if validated else ","))
    write_text(folder / "models/halo/curves.csv", "\n".join(lines) + "\n")
    card = {"network": "halo", "parameters": {"steps": 1200, "lr": 0.002}, "data": {"train": digest("train")}}
    write_json(folder / "models/halo/card.json", card)
    write_json(folder / "models/halo/metrics.json", {"val": {"iou": 0.85}})
