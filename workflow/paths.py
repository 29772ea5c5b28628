"""Where things are: the names that both the rules and dvc.yaml are made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from im2hands.config import SPLITS

SYNTHETIC = "data/raw/synthetic"
BUILT_IN_HAND = "data/hand_model"
METHODS = {"halo": ("model",)}
"""Method -> keypoint sources."""

Config = Mapping[str, Any]


def annotation_folder(config: Config) -> str:
    """The folder `annotations` below dataset.root, with or without a top folder such as InterHand2.6M_5fps_batch1."""
    root = config["dataset"]["root"]
    nested = [] if root == SYNTHETIC else sorted(Path(root).glob("InterHand2.6M_*/annotations"))
    return nested[0].as_posix() if nested else f"{root}/annotations"


def annotations(config: Config, *kinds: str) -> list[str]:
    """Patterns of the dataset's annotation files with the wildcard {split}. kinds: data, camera, joint_3d, MANO_NeuralAnnot."""
    return [f"{annotation_folder(config)}/{{split}}/InterHand2.6M_{{split}}_{kind}.json" for kind in kinds]


def image_lists(config: Config) -> list[str]:
    """Patterns of files that change when an image does: the manifest of the synthetic dataset, none for a user's dataset."""
    root = config["dataset"]["root"]
    return [f"{root}/manifest_{{split}}.json"] if root == SYNTHETIC else []


def hand_model_files(config: Config) -> list[str]:
    """Both hand model files: those of the built-in hand, or MANO's as the user has them."""
    folder = config["dataset"]["hand_model"]
    pickled = folder != BUILT_IN_HAND and Path(folder, "MANO_RIGHT.pkl").is_file()
    return [f"{folder}/MANO_{side}.{'pkl' if pickled else 'npz'}" for side in ("RIGHT", "LEFT")]


def shard_names(count: int) -> list[str]:
    """0000-of-0002, 0001-of-0002."""
    return [f"{shard:04d}-of-{count:04d}" for shard in range(count)]


def splits_of(config: Config, stage: str) -> list[str]:
    """The splits for which a sharded stage makes files: those with at least one shard."""
    return [split for split in SPLITS if config[stage]["shards"][split] > 0]


def results() -> Iterator[tuple[str, str]]:
    """(method, keypoint source) of everything that is reconstructed."""
    return ((method, source) for method, sources in METHODS.items() for source in sources)
