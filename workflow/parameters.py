"""Which parameters every stage reads: the one table behind the rules' `params:` and the `params` of dvc.yaml.

Nothing about the machine (device, cores) is included, because it must never re-run a stage.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from im2hands.config.choices import SPLITS
from im2hands.config.options import resolve_option
from workflow.trainings import TRAININGS

READS: dict[str, tuple[str, ...]] = {
    "write_hand_model": (),
    "synthesize_dataset": ("dataset.hand_model", "synthesize_dataset", "seed"),
    "draw_crops": ("draw_crops", "seed"),
    "index_frames": ("dataset.root", "index_frames"),
    "fit_hands": ("dataset.root", "dataset.hand_model", "fit_hands", "options.angle_clamp", "options.degenerate_hands"),
    "normalize_images": ("dataset.root", "dataset.hand_model", "normalize_images"),
    "sample_queries": ("dataset.hand_model", "sample_queries", "options.label_rule", "seed"),
    "sample_evaluation_queries": ("dataset.hand_model", "sample_evaluation_queries", "options.label_rule", "seed"),
    "predict_keypoints": ("dataset.hand_model",),
    "perturb_keypoints": ("perturb_keypoints", "seed"),
    "apply_keypoint_prior": (),
    "refine_keypoints": (),
    "evaluate_keypoints": (),
    "generate_anchors": ("generate_anchors", "seed"),
    "import_keypoints": ("external",),
    "import_meshes": (
        "dataset.hand_model",
        "external",
        "reconstruct.frames_per_pose",
        "reconstruct.formats",
    ),
    "reconstruct": ("dataset.hand_model", "reconstruct", "options.angle_clamp", "options.query_frame", "seed"),
    "evaluate": ("dataset.hand_model", "evaluate", "seed"),
    "make_tables": ("make_tables", "seed"),
    "make_report": ("dataset.hand_model", "make_report"),
    **{f"train_{network}": training.parameters(network) for network, training in TRAININGS.items()},
}
"""Stage -> keys of params.yaml: a section becomes `--params JSON`, an option `--name behaviour`, a value `--name value`,
and null no argument."""

SPLITS_TOGETHER = {"synthesize_dataset"}
"""Stages whose splits depend on each other's numbers: subjects are numbered through all splits."""


def arguments(config: Mapping[str, Any], stage: str, split: str | None = None, external: str | None = None) -> str:
    """The command line arguments that carry a stage's parameters, quoted for the shell.

    split: for a stage that runs per split, its split: numbers of other splits are given as 0, so that changing them does not
    re-run this one (except where splits depend on each other).  external: for a stage that runs per external system, its
    name: only its part of the section `external` is given.  Equal parameters give equal text.
    Raises KeyError for an unknown stage or key.
    """
    split = None if stage in SPLITS_TOGETHER else split
    words = []
    for key in READS[stage]:
        section, _, name = key.partition(".")
        value = config[section][name] if name else config[section]
        if key == "external" and external is not None:
            value = value[external]
        if section == "options":
            words += [_flag(name), resolve_option(config, name)]
        elif isinstance(value, Mapping):
            words += ["--params", json.dumps(_of_split(value, split), sort_keys=True)]
        elif isinstance(value, list):
            words += [_flag(name), *map(str, value)]
        elif value is not None:
            words += [_flag(name or section), str(value)]
    return shlex.join(words)


def dvc_params(stage: str) -> list[str]:
    """The keys of params.yaml that DVC watches for a stage; an option brings `compat`, which may set it."""
    keys = READS[stage]
    return (["compat"] if any(key.startswith("options.") for key in keys) else []) + list(keys)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _of_split(value: Any, split: str | None) -> Any:
    if not isinstance(value, Mapping):
        return value
    if split is not None and set(value) == set(SPLITS):
        return {name: number if name == split else 0 for name, number in value.items()}
    return {key: _of_split(item, split) for key, item in value.items()}
