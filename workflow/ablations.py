"""Ablations: the same workflow with one thing changed, in a folder of its own that borrows everything unaffected.

    snakemake ablations                                all of them, and their table
    snakemake results/ablations/no_context.parquet     one

`ablations/<name>/` is a checkout made of links: the code, and of data/ and models/ what the change does not touch. In it runs
the same Snakefile with changed parameters, allowed only the rules whose outputs the change affects, so that nothing borrowed is
ever written. It resumes like any run.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from im2hands.config.options import resolve_option
from im2hands.config.params import validate_params
from im2hands.io.atomic import atomic_path, write_text
from im2hands.io.errors import ConfigError
from workflow.paths import PERTURBED, REFINED_FROM, TRUE_KEYPOINTS, shard_names

FOLDER = "ablations"
CODE = ("im2hands", "stages", "workflow", "profiles", "Snakefile")
MAKES = {
    "fit_hands": ("data/hands",),
    "normalize_images": ("data/images",),
    "sample_queries": ("data/queries",),
    "sample_evaluation_queries": ("data/queries_eval",),
    "train_halo": ("models/halo",),
    "train_keypoint_prior": ("models/keypoint_prior",),
    "train_intaghand": ("models/intaghand",),
    "predict_keypoints": ("data/keypoints/intaghand",),
    "train_keypoint_refinement": ("models/keypoint_refinement",),
    "apply_keypoint_prior": tuple(f"data/keypoints/{source}_prior" for source in REFINED_FROM.values()),
    "refine_keypoints": tuple(f"data/keypoints/{source}" for source in REFINED_FROM),
    "train_initial_occupancy": ("models/initial_occupancy",),
    "generate_anchors": ("data/anchors",),
    "train_refined_occupancy": ("models/refined_occupancy",),
}
"""Stage -> the folders that it makes."""
GATHERED = {
    "normalize_images": "gather_images",
    "sample_queries": "gather_queries",
    "sample_evaluation_queries": "gather_evaluation_queries",
    "generate_anchors": "gather_anchors",
}
REFINED = ("train_refined_occupancy",)
INITIAL = ("train_initial_occupancy", "generate_anchors", *REFINED)
OCCUPANCY = ("train_halo", *INITIAL)
ALL_FIELDS = ("halo", "initial", "im2hands")


@dataclass(frozen=True)
class Ablation:
    """One thing changed.

    text: what, for the table.  stages: those that are repeated.  methods, sources: whose results are measured; by default with
    the given keypoints, where nothing but the ablated part differs.  changes: key of params.yaml -> value.  option: an option
    whose other behaviour is taken.
    """

    text: str
    stages: tuple[str, ...]
    methods: tuple[str, ...]
    sources: tuple[str, ...] = (TRUE_KEYPOINTS,)
    changes: Mapping[str, Any] = field(default_factory=dict)
    option: str | None = None

    @property
    def remade(self) -> set[str]:
        return {folder for stage in self.stages for folder in MAKES[stage]}

    @property
    def rules(self) -> list[str]:
        gathered = [GATHERED[stage] for stage in self.stages if stage in GATHERED]
        return [*self.stages, *gathered, "reconstruct", "evaluate"]


def _other(option: str, stages: tuple[str, ...], methods: tuple[str, ...], **more: Any) -> tuple[str, Ablation]:
    return f"other_{option}", Ablation(f"{option}: other behaviour", stages, methods, option=option, **more)


HANDS = ("fit_hands", "normalize_images", "sample_queries", "sample_evaluation_queries", *OCCUPANCY)
FROM_REFINED = {"sources": (f"{PERTURBED}_refined",)}
ABLATIONS: dict[str, Ablation] = {
    "no_image_attention": Ablation(
        "without query-image attention",
        INITIAL,
        ("initial", "im2hands"),
        changes={"training.initial_occupancy.image_attention": False},
    ),
    "no_context": Ablation(
        "without context vector", REFINED, ("im2hands",), changes={"training.refined_occupancy.context": False}
    ),
    "no_penetration_term": Ablation(
        "without penetration term",
        REFINED,
        ("im2hands",),
        changes={"training.refined_occupancy.penetration_weight": 0.0},
    ),
    **dict(
        (
            _other("depth_reference", INITIAL, ("initial", "im2hands")),
            _other("penetration_frame", INITIAL, ("initial", "im2hands")),
            _other("penetration_context", REFINED, ("im2hands",)),
            _other("penetration_reduction", REFINED, ("im2hands",)),
            _other("fps_dead_ball", REFINED, ("im2hands",)),
            _other("feature_lookup", REFINED, ("im2hands",)),
            _other("label_rule", ("sample_queries", "sample_evaluation_queries", *OCCUPANCY), ALL_FIELDS),
            _other("angle_clamp", HANDS, ALL_FIELDS),
            _other("degenerate_hands", HANDS, ALL_FIELDS),
            _other("query_frame", (), ("halo", "im2hands"), **FROM_REFINED),
            *(
                _other(option, ("train_keypoint_refinement", "refine_keypoints"), ("im2hands",), **FROM_REFINED)
                for option in ("joint_regressors", "joint_views")
            ),
            _other(
                "keypoint_prior",
                ("train_keypoint_prior", "apply_keypoint_prior", "train_keypoint_refinement", "refine_keypoints"),
                ("halo", "im2hands"),
                **FROM_REFINED,
            ),
            *(
                _other(option, ("train_intaghand", "predict_keypoints"), ("intaghand",), sources=("intaghand",))
                for option in ("heat_maps", "hand_axes")
            ),
        )
    ),
}
"""Name -> ablation. Without refinement is the method `initial`, without the image is `halo`: rows of every run."""


def text_of(name: str, params: Mapping[str, Any]) -> str:
    """What is different, in words."""
    ablation = ABLATIONS[name]
    if ablation.option is None:
        return ablation.text
    return f"{ablation.option}: {_flipped(params, ablation.option)}"


def changed_params(params: Mapping[str, Any], ablation: Ablation) -> dict[str, Any]:
    """The parameters of an ablation: its changes, its trainings done here, and only the results that it is measured by."""
    content = yaml.safe_load(yaml.safe_dump(dict(params)))
    changes = dict(ablation.changes)
    if ablation.option is not None:
        changes[f"options.{ablation.option}"] = _flipped(params, ablation.option)
    changes |= {
        f"training.{stage.removeprefix('train_')}.weights": None
        for stage in ablation.stages
        if stage.startswith("train_")
    }
    for key, value in changes.items():
        *sections, last = key.split(".")
        place = content
        for section in sections:
            place = place[section]
        place[last] = value
    content["results"] = {
        method: list(ablation.sources) if method in ablation.methods else [] for method in content["results"]
    }
    content["external"] = {}
    validate_params(content)
    return content


def require_scratch(params: Mapping[str, Any], ablation: Ablation) -> None:
    """Raises ConfigError if a repeated training starts from weights that have seen what the ablation leaves out."""
    for stage in ablation.stages:
        network = stage.removeprefix("train_")
        if stage != "train_keypoint_prior" and network != stage and params["training"][network]["start"] != "scratch":
            raise ConfigError(
                f"ablations: training.{network}.start is {params['training'][network]['start']}, weights of a network with "
                "all its parts, so what a part is worth would not show; run `im2hands configure scratch` first."
            )


def _flipped(params: Mapping[str, Any], option: str) -> str:
    return "published" if resolve_option(params, option) == "consistent" else "consistent"


def prepare(name: str, root: Path = Path()) -> Path:
    """Makes or completes the folder of an ablation; what is there already stays. Returns it."""
    ablation, folder = ABLATIONS[name], root / FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    for part in CODE:
        _link(root / part, folder / part)
    for place in ("data", "models"):
        _borrow(root, folder, place, ablation.remade)
    text = yaml.safe_dump(changed_params(yaml.safe_load((root / "params.yaml").read_text()), ablation), sort_keys=False)
    file = folder / "params.yaml"
    if not file.is_file() or file.read_text() != text:
        write_text(file, text)
    return folder


def _borrow(root: Path, folder: Path, place: str, remade: set[str]) -> None:
    """Links what is not remade; a folder is entered only where a part of it is."""
    if place in remade or not (root / place).exists():
        return
    if (root / place).is_dir() and any(part.startswith(f"{place}/") for part in remade):
        (folder / place).mkdir(parents=True, exist_ok=True)
        for child in sorted((root / place).iterdir()):
            _borrow(root, folder, f"{place}/{child.name}", remade)
    else:
        _link(root / place, folder / place)


def _link(target: Path, link: Path) -> None:
    target = Path(os.path.relpath(target.resolve(), link.parent.resolve()))
    if link.is_symlink() and link.readlink() == target:
        return
    link.unlink(missing_ok=True)
    link.symlink_to(target)


def records(name: str, shards: int) -> list[str]:
    """The evaluation files of an ablation, within its folder. shards: shards per result."""
    ablation = ABLATIONS[name]
    return [
        f"results/{method}/{source}/metrics/{shard}.parquet"
        for method in ablation.methods
        for source in ablation.sources
        for shard in shard_names(shards)
    ]


def gather(files: list[Path], text: str, output: Path) -> None:
    """The records of an ablation as one file, with the column `variant`."""
    from im2hands.evaluation.records import read_records

    with atomic_path(output) as temporary:
        read_records(files).assign(variant=text).to_parquet(temporary, index=False)


def main() -> None:
    parser = argparse.ArgumentParser(description="Run the workflow with one thing changed.")
    parser.add_argument("name", choices=ABLATIONS)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--cores", default="all")
    parser.add_argument("--gpus", default="0")
    arguments = parser.parse_args()
    params = yaml.safe_load(Path("params.yaml").read_text())
    try:
        require_scratch(params, ABLATIONS[arguments.name])
    except ConfigError as error:
        sys.exit(str(error))
    folder = prepare(arguments.name)
    targets = records(arguments.name, params["reconstruct"]["shards"])
    command = [sys.executable, "-m", "snakemake", "--nolock", "--rerun-incomplete", "--cores", arguments.cores]
    command += [
        "--resources",
        f"gpu={arguments.gpus}",
        "--allowed-rules",
        *ABLATIONS[arguments.name].rules,
        "--",
        *targets,
    ]
    done = subprocess.run(command, cwd=folder, env={**os.environ, "IM2HANDS_RECORD": "0"}, check=False)
    if done.returncode:
        sys.exit(done.returncode)
    gather([folder / target for target in targets], text_of(arguments.name, params), arguments.output)


if __name__ == "__main__":
    main()
