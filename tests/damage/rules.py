"""Which rules damage which kind of file. Each names what it breaks."""

from __future__ import annotations

import numpy as np

from tests.damage.array_rules import ARROW, CARD, NPY, NPZ, PARQUET, PICKLE, PT, ROWS, SAFETENSORS, TABLE, diverged
from tests.damage.document_rules import ANY, JSON, NUMBERS, YAML, Rule, changed_json
from tests.damage.mesh_rules import GLB, OBJ, OFF, PLY, SURFACE_PLY, counted_ply

RULES: dict[str, dict[str, Rule]] = {
    "json": JSON,
    "yaml": YAML,
    "npy": NPY,
    "npz": NPZ,
    "parquet": PARQUET | ROWS,
    "table": PARQUET | TABLE,
    "arrow": ARROW,
    "pt": PT,
    "safetensors": SAFETENSORS,
    "pickle": PICKLE,
    "obj": OBJ,
    "ply": PLY,
    "off": OFF,
    "glb": GLB,
}
"""Kind of a file -> its rules in addition to those of any file."""
OF_SUBJECT: dict[str, dict[str, Rule]] = {
    **dict.fromkeys(("keypoints", "landmarks", "camera"), NUMBERS),
    **dict.fromkeys(("model-json", "exported"), CARD),
    **{name: {"NaN": diverged} for name in ("model-safetensors", "given-weights")},
    "mesh-ply": SURFACE_PLY,
    "joints": {"another count": counted_ply(b"element vertex ", 20)},
    "result": {
        "R with NaN": changed_json(lambda result: {**result, "camera_of_crop": {"R": [[float("nan")] * 3] * 3}}),
        "R of text": changed_json(lambda result: {**result, "camera_of_crop": {"R": "x"}}),
        "R no rotation": changed_json(
            lambda result: {**result, "camera_of_crop": {"R": [[2, 0, 0], [0, 2, 0], [0, 0, 2]]}}
        ),
        "camera a list": changed_json(lambda result: {**result, "camera_of_crop": [1]}),
    },
    "camera": NUMBERS
    | {
        "R with NaN": changed_json(lambda camera: {**camera, "R": [[float("nan")] * 3] * 3}),
        "R a mirror": changed_json(lambda camera: {**camera, "R": [[-1, 0, 0], [0, 1, 0], [0, 0, 1]]}),
        "K transposed": changed_json(lambda camera: {**camera, "K": np.transpose(camera["K"]).tolist()}),
    },
    "landmarks": NUMBERS
    | {
        "left twice": changed_json(lambda content: {"hands": [content["hands"][0], content["hands"][0]]}),
        "no side": changed_json(lambda content: {"hands": [{**hand, "side": None} for hand in content["hands"]]}),
        "a pixel true": changed_json(
            lambda content: {
                "hands": [{**hand, "pixels": [[True, 1.0], *hand["pixels"][1:]]} for hand in content["hands"]]
            }
        ),
    },
}
"""Rules of single subjects."""
WHOLE_STILL = {
    ("mesh-obj", "two thirds"),
    *(("dataset-data", rule) for rule in ("last byte gone", "a comma more", "half a character", "a key twice")),
    ("dataset-MANO_NeuralAnnot", "a key twice"),
    ("external-table", "no rows"),
}
"""Subject and rule that do not change what the command reads: a list of triangles may end anywhere; files of gigabytes are
read as a stream up to the last entry that is needed; of a table without frames the file that names them is said not to fit."""


def rules_of(name: str, kind: str) -> dict[str, Rule]:
    every = ANY | RULES[kind] | OF_SUBJECT.get(name, {})
    return {rule: change for rule, change in every.items() if (name, rule) not in WHOLE_STILL}
