"""Paths used by both the rules and dvc.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from im2hands.config.choices import DRAWN, SPLITS
from im2hands.config.options import resolve_option
from im2hands.io import hand_model_folder
from im2hands.io.errors import DataError
from im2hands.io.hashing import digest
from im2hands.networks.catalogue import METHODS, NETWORKS

SYNTHETIC = "data/raw/synthetic"
BUILT_IN_HAND = "data/hand_model"
NETWORK_OF = {name: method.network for name, method in METHODS.items()}
"""Method -> the network whose weights it uses."""
WEIGHTS = ("model.safetensors", "card.json")
"""What other stages need of a trained network."""
MODEL_FILES = (*WEIGHTS, "metrics.json", "curves.csv")
TRUE_KEYPOINTS = "model"
PERTURBED = "perturbed_10mm"
REFINED_FROM = {"refined": "intaghand", f"{PERTURBED}_refined": PERTURBED}
"""Keypoint source that keypoint refinement makes -> the source that it begins with; those of external ones: `refined_from`."""
PRIOR = "_prior"
"""What the keypoint prior adds to the name of a source."""
EXTERNAL = "external_"
"""What the method and the keypoint source of another system begin with."""
TABLES = (
    "shape_given_keypoints",
    "shape_predicted_keypoints",
    "keypoint_refinement",
    "keypoint_joints",
    "failures",
    "shape_by_difficulty",
    "paired_differences",
    "ablations",
    "cost",
    "published_results",
)

Config = Mapping[str, Any]

STARTS = ("builtin", "scratch", "photographs")
"""Values of `training.<network>.start` that are no folder."""
SHIPPED = {
    "halo": ("halo",),
    "keypoint_prior": ("keypoint_prior",),
    "intaghand": ("intaghand",),
    "initial_occupancy": ("initial_occupancy", "intaghand"),
    "keypoint_refinement": ("keypoint_refinement", "intaghand"),
    "refined_occupancy": ("refined_occupancy", "intaghand"),
}
"""Networks whose weights come with the package -> the folders that store them; three have IntagHand's image encoder."""


def annotation_folder(config: Config) -> str:
    """The folder `annotations` below dataset.root, with or without a top folder such as InterHand2.6M_5fps_batch1."""
    root = config["dataset"]["root"]
    own = f"{root}/annotations"
    nested = [] if root == SYNTHETIC or Path(own).is_dir() else sorted(Path(root).glob("InterHand2.6M*/annotations"))
    return nested[0].as_posix() if nested else own


def annotations(config: Config, *kinds: str) -> list[str]:
    """Patterns of the dataset's annotation files with the wildcard {split}. kinds: data, camera, joint_3d, MANO_NeuralAnnot."""
    return [f"{annotation_folder(config)}/{{split}}/InterHand2.6M_{{split}}_{kind}.json" for kind in kinds]


def is_drawn(config: Config) -> bool:
    """Whether crops are drawn directly, so that there are no photographs to index and to cut."""
    return config["dataset"]["root"] == DRAWN


def image_lists(config: Config) -> list[str]:
    """Patterns of files that change when an image does: the manifest of the synthetic dataset, none for a user's dataset."""
    root = config["dataset"]["root"]
    return [f"{root}/manifest_{{split}}.json"] if root == SYNTHETIC else []


def hand_model_files(config: Config) -> list[str]:
    """Both hand model files: those of the built-in hand, or MANO's as the user has them."""
    folder = config["dataset"]["hand_model"]
    if folder != BUILT_IN_HAND:
        try:
            return [file.as_posix() for file in hand_model_folder.hand_model_files(folder)]
        except DataError:  # Snakemake then says which file is missing, `im2hands check-data` says why
            pass
    return [f"{folder}/MANO_{side}.npz" for side in ("RIGHT", "LEFT")]


def shard_names(count: int) -> list[str]:
    """0000-of-0002, 0001-of-0002."""
    return [f"{shard:04d}-of-{count:04d}" for shard in range(count)]


def splits_of(config: Config, stage: str) -> list[str]:
    """The splits for which a sharded stage makes files: those with at least one shard."""
    return [split for split in SPLITS if config[stage]["shards"][split] > 0]


def results(config: Config) -> list[tuple[str, str]]:
    """(method, keypoint source) of all meshes that are evaluated."""
    return [*reconstructed(config), *imported(config)]


def reconstructed(config: Config) -> list[tuple[str, str]]:
    """(method, keypoint source) of the meshes that the workflow makes.

    Where the keypoint prior is not used, a source that it would make stands for the one that it would correct.
    """
    pairs = [(method, source) for method, sources in config["results"].items() for source in sources]
    if not uses_prior(config):
        pairs = [(method, source.removesuffix(PRIOR)) for method, source in pairs]
    return list(dict.fromkeys(pairs))


def imported(config: Config) -> list[tuple[str, str]]:
    """(method, keypoint source) of the meshes of other systems."""
    return [
        (f"{EXTERNAL}{name}", TRUE_KEYPOINTS if one["given_keypoints"] else f"{EXTERNAL}{name}")
        for name, one in config["external"].items()
        if one["meshes"]
    ]


def external_wrists(config: Config, name: str) -> list[str]:
    """The imported keypoints whose wrists place an external method's meshes; none if they are not needed."""
    one = config["external"][name]
    moved = one["keypoints"] and one["alignment"] == "wrist"
    return [f"data/keypoints/{EXTERNAL}{name}/test.parquet"] if moved else []


@lru_cache
def content_of(folder: str) -> str:
    """A digest of what lies in a user's folder, by names, sizes and times: Snakemake looks at the folder itself only."""
    found = [(path.relative_to(folder).as_posix(), path.stat()) for path in Path(folder).rglob("*") if path.is_file()]
    return digest(sorted([name, stat.st_size, stat.st_mtime_ns] for name, stat in found))[:16]


def shown(config: Config) -> tuple[str, str]:
    """(method, keypoint source) whose meshes the report shows: the last of our methods that is given the true keypoints."""
    given = [method for method, source in reconstructed(config) if source == TRUE_KEYPOINTS]
    return (given[-1], TRUE_KEYPOINTS) if given else results(config)[-1]


def refined_from(config: Config) -> dict[str, str]:
    """Source that keypoint refinement makes -> the source that it reads; the prior comes first unless its option forbids it."""
    first = REFINED_FROM | {f"{source}_refined": source for source in external_sources(config)}
    return {made: f"{source}{PRIOR}" if uses_prior(config) else source for made, source in first.items()}


def networks(config: Config) -> list[str]:
    """The networks that the workflow trains or is given: all but the prior where it is not used."""
    return [name for name in NETWORKS if name != "keypoint_prior" or uses_prior(config)]


def corrected_from(config: Config) -> dict[str, str]:
    """Source that the keypoint prior makes -> the source that it corrects."""
    read = refined_from(config).values()
    return {source: source.removesuffix(PRIOR) for source in read if source.endswith(PRIOR)}


def uses_prior(config: Config) -> bool:
    """Whether the keypoint prior comes before keypoint refinement."""
    return resolve_option(config, "keypoint_prior") == "consistent"


def external_sources(config: Config) -> list[str]:
    """Keypoint sources of other systems."""
    return [f"{EXTERNAL}{name}" for name, one in config["external"].items() if one["keypoints"]]


def keypoint_files(config: Config) -> dict[str, list[str]]:
    """Stage -> the keypoint files that it makes: for the results of the test split, and for training where that is done."""
    splits = SPLITS if is_trained(config, "keypoint_refinement") else ("test",)
    files = {
        "predict_keypoints": [f"data/keypoints/intaghand/{split}.parquet" for split in splits],
        "perturb_keypoints": [f"data/keypoints/{PERTURBED}/test.parquet"],
        "import_keypoints": [f"data/keypoints/{source}/test.parquet" for source in external_sources(config)],
        "apply_keypoint_prior": [f"data/keypoints/{source}/test.parquet" for source in corrected_from(config)],
        "refine_keypoints": [f"data/keypoints/{source}/test.parquet" for source in refined_from(config)],
    }
    return {stage: made for stage, made in files.items() if made}


def keypoint_sources(config: Config) -> list[str]:
    """Keypoint sources whose errors are measured: every predicted one of the test split."""
    files = [file for made in keypoint_files(config).values() for file in made]
    return [Path(file).parent.name for file in files if file.endswith("/test.parquet")]


def model_files(network: str) -> list[str]:
    """What other stages need of a trained network."""
    return [f"models/{network}/{name}" for name in WEIGHTS]


def start_files(config: Config, network: str) -> list[str]:
    """The weights that a training with the key `start` in params.yaml may start from.

    With `scratch` these are those of the package all the same, so that dvc.yaml does not depend on it; a network that does not
    come with the package has none.
    """
    start = config["training"][network].get("start")
    if start is None or (start in STARTS and network not in SHIPPED):
        return []
    folders = [f"im2hands/weights/{stored}" for stored in SHIPPED[network]] if start in STARTS else [start]
    return [f"{folder}/{name}" for folder in folders for name in WEIGHTS]


def is_trained(config: Config, network: str) -> bool:
    """Whether the DAG trains a network, or takes weights that were given in params.yaml."""
    return given_weights(config, network) is None


def given_weights(config: Config, network: str) -> str | None:
    """The folder of imported weights that takes the place of a network's training."""
    return config["training"][network]["weights"]
