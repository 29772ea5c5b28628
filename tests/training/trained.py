"""Trainings of seconds: small sections of the parameters, and a training with some of them changed."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from im2hands.training.run import Recipe, Run, train

FILES = ("model.safetensors", "card.json", "metrics.json", "curves.csv")
LOOP = {
    "weights": None,
    "start": "scratch",
    "steps": 5,
    "validate_every": 2,
    "lr": 1e-3,
    "schedule": "cosine",
    "weight_average": 0.5,
    "gradient_clip": 0.0,
    "precision": "auto",
}
HALO = LOOP | {
    "steps": 25,
    "validate_every": 10,
    "lr": 5e-3,
    "weight_average": 0.9,
    "size_spread": 0.05,
    "batch_hands": 3,
    "points_per_hand": 128,
    "uniform_share": 0.5,
    "validation_points": 256,
    "width": 8,
    "loss": "mse",
    "initial_weights": "geometric",
}
KEYPOINT_PRIOR = LOOP | {
    "batch_pairs": 4,
    "width": 16,
    "blocks": 1,
    "largest_error_mm": 20.0,
    "validation_pairs": 8,
    "gradient_clip": 1.0,
}
IMAGES = LOOP | {"batch_frames": 2, "validation_frames": 2, "augmentation": False}
INTAGHAND = IMAGES | {
    "steps": 3,
    "encoder": "resnet10_narrow",
    "widths": [8, 8, 8, 8],
    "edge_loss_from": 0.5,
    "augmentation": True,
    "largest_turn": 20.0,
    "frozen_blocks": 0,
    "start_components": 3,
    "joint_width": 8,
    "dropout": 0.05,
    "decoder_from": 0.4,
    "maps_until": 0.2,
    "coarse_until": 0.2,
    "loss_weights": {
        "vertices": 100.0,
        "joints": 100.0,
        "vertices_2d": 50.0,
        "normals": 0.2,
        "edges": 2000.0,
        "coarse": 100.0,
        "coarse_2d": 50.0,
        "masks": 50.0,
        "dense_maps": 30.0,
        "heat_maps": 100.0,
    },
}
OCCUPANCY = IMAGES | {
    "points_per_hand": 64,
    "uniform_share": 0.5,
    "validation_points": 256,
    "image_encoder": "frozen",
}
INITIAL_OCCUPANCY = OCCUPANCY | {"image_attention": True}
SIZES = {"anchor_widths": [8, 12], "anchor_blocks": 1, "query_width": 8}
REFINED_OCCUPANCY = OCCUPANCY | {
    "lr": 2e-3,
    "initial_weights": "initial_field",
    "shared_statistics": True,
    "context": True,
    "weight_decay": 1e-5,
    "penetration_weight": 0.001,
    **SIZES,
}
KEYPOINT_REFINEMENT = IMAGES | {
    "lr": 3e-3,
    "validation_frames": 3,
    "image_encoder": "frozen",
    "initial_weights": "identity",
    "token_widths": [8],
    "image_channels": 4,
    "view_width": 8,
    "view_layers": 1,
    "predicted_share": 0.5,
    "noise_mm": 15.0,
    "draws_per_frame": 1,
}


def trained(
    recipe: Recipe, section: Mapping[str, Any], inputs: Mapping[str, Path], folder: Path, **changes: Any
) -> dict:
    """Trains in `folder`; returns the metrics. changes: of the section, of options, of inputs, or of the run."""

    def taken(kind: type) -> dict[str, Any]:
        return {field.name: changes.pop(field.name) for field in fields(kind) if field.name in changes}

    options, others, run = (taken(kind) for kind in (recipe.options, recipe.inputs, Run))
    paths = {name: path and str(path) for name, path in {**inputs, **others}.items()}
    return train(
        recipe,
        recipe.section(**{**section, **changes}),
        recipe.inputs(**{field.name: paths[field.name] for field in fields(recipe.inputs)}),
        Run(folder / "model", folder / "checkpoints", **{"seed": 1, "logs": folder / "logs", **run}),
        recipe.options(**options),
    )


def outputs(folder: Path) -> dict[str, bytes]:
    return {name: (folder / "model" / name).read_bytes() for name in FILES}


def curves(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "model/curves.csv").open()))


def balls_inputs(balls: Path) -> dict[str, Path]:
    files = {split: balls / f"queries/{split}/manifest.json" for split in ("train", "val")}
    return files | {f"{split}_hands": balls / f"{split}.parquet" for split in ("train", "val")}
