"""Whole files of every format that a command reads, each with the command that takes it."""

from __future__ import annotations

import json
import pickle
import shutil
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import trimesh

from im2hands.geometry.mesh import Mesh
from im2hands.geometry.mesh_files import write_mesh, write_scene
from im2hands.hands.model_files import builtin_hand_models, write_hand_model_folder
from im2hands.hands.sides import Side
from im2hands.io.tables import Provenance, ShardWriter, flat
from im2hands.networks.published import halo
from im2hands.networks.published.importing import import_weights
from im2hands.parity.weights_rule import rule_weights
from im2hands.reconstruction.storage import MESHES
from tests.datasets.made_up_interhand import made_up_interhand
from tests.datasets.preprocessed_folders import write_intaghand_folder
from tests.photographs.own_photograph import Scene

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Subject:
    """A whole file and the command that reads it.

    file: in the folder of whole files; damaged in a copy of its `place`.  place: file or folder that is copied.
    words: the command; `{file}`, `{place}` and `{out}` are replaced by paths.  kind: which rules apply.
    module: `im2hands` or `stages.NAME`.  traits: `report` where a list of findings is printed.
    """

    name: str
    kind: str
    file: str
    words: tuple[str, ...]
    place: str = ""
    module: str = "im2hands"
    traits: frozenset[str] = field(default_factory=frozenset)

    @property
    def whole_too(self) -> bool:
        """Whether the whole file is tried: of the commands that take seconds one is enough."""
        return self.words[0] != "reconstruct" or self.name in ("keypoints", "landmarks")


def write_whole_files(folder: Path) -> Scene:
    """Writes the files of all subjects below `folder`."""
    scene = Scene(folder / "scene")
    _keypoint_files(folder, scene)
    _meshes(folder)
    _weights(folder)
    (folder / "golden").mkdir()
    shutil.copy(ROOT / "tests/golden/mano_forward.npz", folder / "golden/mano_forward.npz")
    (folder / "checkout").mkdir()
    for name in ("params.yaml", "presets/demo.yaml"):
        target = folder / "checkout" / Path(name).name
        shutil.copy(ROOT / name, target)
    made_up_interhand(folder / "raw", poses=1, split="test")
    write_hand_model_folder(folder / "hand_model")
    text = (folder / "checkout/params.yaml").read_text().replace("data/hand_model", str(folder / "hand_model"))
    (folder / "prepared.yaml").write_text(text)
    write_intaghand_folder(folder / "intaghand", scene.data)
    return scene


def _keypoint_files(folder: Path, scene: Scene) -> None:
    hands = {side: np.array(points) for side, points in scene.hands.items()}
    (folder / "keypoints.json").write_text(json.dumps({side: points.tolist() for side, points in hands.items()}))
    (folder / "landmarks.json").write_text(json.dumps({"hands": scene.landmarks()}))
    (folder / "camera.json").write_text(json.dumps(scene.camera_content))
    np.save(folder / "keypoints.npy", np.stack([hands["left"], hands["right"]]))
    rows = {side: [points.ravel().tolist()] for side, points in hands.items()}
    pq.write_table(pa.table({"image": ["photograph.png"], **rows}), folder / "keypoints.parquet")
    (folder / "joints").mkdir()
    for side, points in hands.items():
        trimesh.PointCloud(points).export(folder / f"joints/photograph_{side}.ply")
    shutil.copy(scene.image, folder / "photograph.png")
    for suffix in ("jpg", "bmp", "tif", "webp"):
        cv2.imwrite(str(folder / f"photograph.{suffix}"), scene.pixels)
    shutil.copytree(scene.models, folder / "models")
    frames = scene.data.frame_table
    rows = [{"image": name, **scene.hands} for name in frames.table["file_name"].to_pylist()]
    (folder / "external.json").write_text(json.dumps(rows))
    shutil.copy(scene.data.frames, folder / "frames.parquet")
    shutil.copy(scene.data.images.parent / "0000-of-0001.arrow", folder / "shard.arrow")


def hand_mesh(side: Side = Side.RIGHT) -> Mesh:
    model = builtin_hand_models()[side]
    return Mesh(np.asarray(model.template, np.float64), np.asarray(model.faces, np.int64))


def _meshes(folder: Path) -> None:
    mesh = hand_mesh()
    for suffix in ("obj", "ply"):
        write_mesh(folder / f"hand.{suffix}", mesh)
    write_scene(folder / "hand.glb", {"left": hand_mesh(Side.LEFT), "right": mesh})
    (folder / "hand.off").write_text(trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).export(file_type="off"))
    made = folder / "made/photograph"
    made.mkdir(parents=True)
    for side in Side:
        write_mesh(made / f"{side.value}.ply", hand_mesh(side))
    (made / "result.json").write_text(json.dumps({"image": "a.png", "camera_of_crop": {"R": np.eye(3).tolist()}}))
    (folder / "stored/meshes").mkdir(parents=True)
    with ShardWriter(folder / "stored/meshes/0.arrow", MESHES, Provenance({"method": "x", "source": "y"})) as shard:
        for side in Side:
            one = hand_mesh(side)
            shard.append(
                {
                    "pair_id": "0_1",
                    "hand_id": f"0_1_{side.value}",
                    "frame_ids": [0],
                    "side": side.value,
                    "vertices": flat(one.vertices.astype(np.float32)).tobytes(),
                    "faces": flat(one.faces.astype(np.int32)).tobytes(),
                    "evaluations": 1,
                }
            )


def _weights(folder: Path) -> None:
    weights = OrderedDict(rule_weights(halo.LAYOUT.shapes, seed=3))
    torch.save({"model": weights, "it": 5, "loss_val_best": np.float64(0.5)}, folder / "halo.pt")
    list(import_weights([folder / "halo.pt"], folder / "halo_model"))


def read_pickle(path: Path) -> dict:
    """A pickle that `write_whole_files` wrote."""
    return pickle.loads(path.read_bytes())


IMPORT = ("import-preprocessed", "{place}", "--to", "{out}", "--split", "test", "--params", "{whole}/prepared.yaml")
EXTERNAL = (
    '{{"meshes": null, "keypoints": "a.json", "order": "standard", "unit": "m", "frame": "world", '
    '"given_keypoints": false, "alignment": "wrist"}}'
)
VIEW = ("view", "{file}", "-o", "{out}/page.html")
RECONSTRUCT = ("reconstruct", "{whole}/photograph.png", "-o", "{out}", "--resolution", "16", "--formats", "ply")
SUBJECTS = (
    *(
        Subject(name, kind, file, (*RECONSTRUCT, "--model", "{whole}/models", "--keypoints", given, *camera), place)
        for name, kind, file, given, place in (
            ("keypoints", "json", "keypoints.json", "{file}", ""),
            ("landmarks", "json", "landmarks.json", "{file}", ""),
            ("keypoint-array", "npy", "keypoints.npy", "{file}", ""),
            ("keypoint-rows", "parquet", "keypoints.parquet", "{file}", ""),
            ("joints", "ply", "joints/photograph_left.ply", "{place}", "joints"),
        )
        for camera in [("--camera", "{whole}/camera.json")]
    ),
    Subject(
        "camera",
        "json",
        "camera.json",
        (*RECONSTRUCT, "--model", "{whole}/models", "--keypoints", "{whole}/keypoints.json", "--camera", "{file}"),
    ),
    *(
        Subject(
            f"model-{kind}",
            kind,
            f"models/refined_occupancy/{file}",
            (
                *(*RECONSTRUCT, "--model", "{place}", "--keypoints", "{whole}/keypoints.json"),
                *("--camera", "{whole}/camera.json"),
            ),
            "models",
        )
        for kind, file in (("json", "card.json"), ("safetensors", "model.safetensors"))
    ),
    *(Subject(f"mesh-{suffix}", suffix, f"hand.{suffix}", VIEW) for suffix in ("obj", "ply", "glb", "off")),
    Subject("result", "json", "made/photograph/result.json", ("view", "{place}", "-o", "{out}/page.html"), "made"),
    Subject("surfaces", "arrow", "stored/meshes/0.arrow", ("view", "{place}", "-o", "{out}/page.html"), "stored"),
    Subject("weights", "pt", "halo.pt", ("import-weights", "{file}", "--to", "{out}/halo")),
    Subject(
        "exported", "json", "halo_model/card.json", ("export-weights", "{place}", "--to", "{out}/a.pt"), "halo_model"
    ),
    Subject(
        "given-weights",
        "safetensors",
        "halo_model/model.safetensors",
        ("--weights", "{place}", "--network", "halo", "--output", "{out}/halo"),
        "halo_model",
        "stages.use_given_weights",
    ),
    Subject(
        "params",
        "yaml",
        "checkout/params.yaml",
        ("configure", "{whole}/checkout/demo.yaml", "--params", "{file}"),
        "checkout",
    ),
    Subject(
        "preset", "yaml", "checkout/demo.yaml", ("configure", "{file}", "--params", "{place}/params.yaml"), "checkout"
    ),
    Subject("checked-params", "yaml", "checkout/params.yaml", ("check-data", "--params", "{file}"), "checkout"),
    Subject("golden", "npz", "golden/mano_forward.npz", ("parity", "{place}"), "golden", traits=frozenset({"report"})),
    *(
        Subject(
            f"dataset-{kind}",
            "json",
            f"raw/annotations/test/InterHand2.6M_test_{kind}.json",
            (
                *(
                    "--root",
                    "{place}",
                    "--split",
                    "test",
                    "--output",
                    "{out}/frames.parquet",
                    "--audit",
                    "{out}/audit.parquet",
                ),
                *("--params", '{{"max_unreadable_fraction": 0.0, "min_image_mean": 10}}'),
            ),
            "raw",
            "stages.index_frames",
        )
        for kind in ("data", "camera", "MANO_NeuralAnnot")
    ),
    *(
        Subject(
            f"external-{kind}",
            kind,
            file,
            (
                *("--frames", frames, "--keypoints", keypoints, "--output", "{out}/external/test.parquet"),
                *("--params", EXTERNAL),
            ),
            "",
            "stages.import_keypoints",
        )
        for kind, file, frames, keypoints in (
            ("json", "external.json", "{whole}/frames.parquet", "{file}"),
            ("table", "frames.parquet", "{file}", "{whole}/external.json"),
        )
    ),
    Subject(
        "shard",
        "arrow",
        "shard.arrow",
        ("--shards", "{file}", "--output", "{out}/manifest.json"),
        "",
        "stages.gather_shards",
    ),
    Subject(
        "prepared-annotations",
        "pickle",
        "intaghand/test/anno/0.pkl",
        (*IMPORT, "--kind", "intaghand"),
        "intaghand",
    ),
)
