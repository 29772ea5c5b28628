"""Writes dvc.yaml: one stage per logical rule, each of which calls Snakemake for that rule only.

    python -m workflow.dvc_stages            write it
    python -m workflow.dvc_stages --check    exit code 1 if it differs

Write it again after a change of a stage's imports, of the table below, or of which splits and folders params.yaml names. The
Snakefile remains the one graph that schedules work; a test compares this projection with it.

It is a table and not computed: on a fresh checkout, `snakemake --detailed-summary` (9.27.1) lists no inputs for files that are
still to be made.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import yaml

from im2hands.config.choices import SPLITS
from im2hands.io.atomic import write_text
from im2hands.io.sources import sources
from workflow.parameters import dvc_params
from workflow.paths import (
    BUILT_IN_HAND,
    MODEL_FILES,
    NETWORK_OF,
    PERTURBED,
    SYNTHETIC,
    TABLES,
    WEIGHTS,
    annotations,
    corrected_from,
    external_sources,
    external_wrists,
    given_weights,
    image_lists,
    imported,
    is_drawn,
    is_trained,
    keypoint_files,
    keypoint_sources,
    model_files,
    networks,
    reconstructed,
    refined_from,
    results,
    splits_of,
    start_files,
    uses_prior,
)
from workflow.trainings import TRAININGS

DVC_YAML = "dvc.yaml"
HEAD = "# Made by `python -m workflow.dvc_stages`; edit that file or the rules. How it works: docs/workflow.md\n"


@dataclass(frozen=True)
class Stage:
    """A DVC stage.

    rules: further Snakemake rules that it may run.  deps: data (code is added).  file: its stage file, if
    that has another name.
    """

    deps: list[str]
    outs: list[str]
    rules: tuple[str, ...] = ()
    file: str | None = None
    metrics: list[str] = field(default_factory=list)


def stages(config: Mapping[str, Any]) -> dict[str, Stage]:
    """All stages for the parameters in `config`, each below those whose files it reads."""
    table = _table(config)
    return {name: table[name] for name in TopologicalSorter(_makers(config, table)).static_order()}


def _table(config: Mapping[str, Any]) -> dict[str, Stage]:
    built_in_data = config["dataset"]["root"] == SYNTHETIC
    built_in_hand = config["dataset"]["hand_model"] == BUILT_IN_HAND
    hand_model = "${dataset.hand_model}"
    images = _of_all_splits(config, image_lists(config))
    found: dict[str, Stage] = {}
    if built_in_hand:
        found["write_hand_model"] = Stage([], [BUILT_IN_HAND])
    if built_in_data:
        found["synthesize_dataset"] = Stage([hand_model], [SYNTHETIC])
    if is_drawn(config):
        found["draw_crops"] = Stage([], ["data/frames", "data/hands", "data/images"])
    else:
        found |= _cut_from_photographs(config, hand_model, images)
    found["sample_queries"] = Stage(
        [*_tables(config, "sample_queries", "hands"), hand_model], ["data/queries"], ("gather_queries",)
    )
    found["sample_evaluation_queries"] = Stage(
        [*_tables(config, "sample_evaluation_queries", "hands"), hand_model],
        ["data/queries_eval"],
        ("gather_evaluation_queries",),
    )
    keypoints = keypoint_files(config)
    found["predict_keypoints"] = Stage(
        [
            *_frames(*(Path(file).stem for file in keypoints["predict_keypoints"])),
            hand_model,
            *model_files("intaghand"),
        ],
        ["data/keypoints/intaghand"],
    )
    found["perturb_keypoints"] = Stage(
        ["data/frames/test.parquet", "data/hands/test.parquet"], [f"data/keypoints/{PERTURBED}"]
    )
    if external_sources(config):
        given = [one["keypoints"] for one in config["external"].values() if one["keypoints"]]
        found["import_keypoints"] = Stage(
            ["data/frames/test.parquet", *dict.fromkeys(given)], _folders(keypoints["import_keypoints"])
        )
    if corrected_from(config):
        found["apply_keypoint_prior"] = Stage(
            [
                "data/frames/test.parquet",
                *(f"data/keypoints/{source}/test.parquet" for source in corrected_from(config).values()),
                *model_files("keypoint_prior"),
            ],
            _folders(keypoints["apply_keypoint_prior"]),
        )
    found["refine_keypoints"] = Stage(
        [
            *_frames("test"),
            *(
                f"data/keypoints/{refined_from(config)[Path(file).parent.name]}/test.parquet"
                for file in keypoints["refine_keypoints"]
            ),
            *model_files("keypoint_refinement"),
            *(model_files("keypoint_prior") if uses_prior(config) else []),
        ],
        _folders(keypoints["refine_keypoints"]),
    )
    if is_trained(config, "refined_occupancy"):
        splits = splits_of(config, "generate_anchors")
        found["generate_anchors"] = Stage(
            [*_frames(*splits), *model_files("initial_occupancy")], ["data/anchors"], ("gather_anchors",)
        )
    found |= {f"train_{network}": _training(config, network) for network in networks(config)}
    for_results, made_here, made_elsewhere = (
        [f"results/{method}/{source}" for method, source in chosen(config)]
        for chosen in (results, reconstructed, imported)
    )
    measured = [f"data/keypoints/{source}/test.parquet" for source in keypoint_sources(config)]
    used = [f"data/keypoints/{source}/test.parquet" for _, source in reconstructed(config)]
    weights = [file for method in dict(reconstructed(config)) for file in model_files(NETWORK_OF[method])]
    found["reconstruct"] = Stage(
        [
            *_frames("test"),
            "data/queries_eval/test",
            hand_model,
            *(file for file in measured if file in used),
            *weights,
        ],
        [f"{folder}/{kind}" for folder in made_here for kind in ("meshes", "timings", "glb")],
    )
    if made_elsewhere:
        found["import_meshes"] = Stage(
            [
                *_frames("test"),
                "data/queries_eval/test",
                hand_model,
                *dict.fromkeys(one["meshes"] for one in config["external"].values() if one["meshes"]),
                *(
                    file
                    for name, one in config["external"].items()
                    if one["meshes"]
                    for file in external_wrists(config, name)
                ),
            ],
            [f"{folder}/{kind}" for folder in made_elsewhere for kind in ("meshes", "glb")],
        )
    found["evaluate_keypoints"] = Stage(
        ["data/frames/test.parquet", "data/hands/test.parquet", *measured],
        [f"results/keypoints/{source}.parquet" for source in keypoint_sources(config)],
    )
    found["evaluate"] = Stage(
        [
            "data/frames/test.parquet",
            "data/hands/test.parquet",
            "data/images/test",
            "data/queries_eval/test",
            hand_model,
            *(f"{folder}/meshes" for folder in for_results),
        ],
        [f"{folder}/metrics" for folder in for_results],
    )
    found["make_tables"] = Stage(
        [
            *(f"{folder}/metrics" for folder in for_results),
            *(f"{folder}/timings" for folder in made_here),
            *(f"results/keypoints/{source}.parquet" for source in keypoint_sources(config)),
            *weights,
        ],
        [
            *(f"results/tables/{name}.{suffix}" for name in TABLES for suffix in ("csv", "md", "tex", "parquet")),
            "results/tables/protocol_card.json",
            "results/tables/protocol_card.md",
        ],
        metrics=["results/tables/metrics.json"],
    )
    found["make_report"] = Stage(
        [
            *(f"results/tables/{name}.parquet" for name in TABLES),
            "results/tables/protocol_card.json",
            *(f"{folder}/metrics" for folder in for_results),
            *(f"{folder}/meshes" for folder in for_results),
            *(f"models/{network}/{name}" for network in networks(config) for name in ("card.json", "curves.csv")),
            "data/frames",
            "data/hands",
            "data/images/test",
            hand_model,
        ],
        ["results/report.html"],
    )
    return found


def _cut_from_photographs(config: Mapping[str, Any], hand_model: str, images: list[str]) -> dict[str, Stage]:
    """The stages from a dataset's photographs to crops."""
    return {
        "index_frames": Stage([*_annotations(config, "data", "camera", "MANO_NeuralAnnot"), *images], ["data/frames"]),
        "fit_hands": Stage(
            ["data/frames", hand_model, *_annotations(config, "joint_3d", "MANO_NeuralAnnot")], ["data/hands"]
        ),
        "normalize_images": Stage(
            [*_tables(config, "normalize_images", "frames", "hands"), hand_model, *images],
            ["data/images"],
            ("gather_images",),
        ),
    }


def edges(config: Mapping[str, Any]) -> list[str]:
    """`maker:user` for every stage that reads what another one makes."""
    return [f"{maker}:{user}" for user, makers in _makers(config, stages(config)).items() for maker in makers]


def _makers(config: Mapping[str, Any], table: Mapping[str, Stage]) -> dict[str, list[str]]:
    """Stage -> the stages that make what it reads."""
    names = {"${dataset.hand_model}": config["dataset"]["hand_model"], "${dataset.root}": config["dataset"]["root"]}
    found: dict[str, list[str]] = {}
    for user, stage in table.items():
        needs = stage.deps
        for written, real in names.items():
            needs = [dep.replace(written, real) for dep in needs]
        found[user] = [
            maker
            for maker, other in table.items()
            if maker != user and any(_touch(dep, out) for dep in needs for out in (*other.outs, *other.metrics))
        ]
    return found


def _touch(dep: str, out: str) -> bool:
    return dep == out or dep.startswith(f"{out}/") or out.startswith(f"{dep}/")


def dvc_yaml(config: Mapping[str, Any]) -> str:
    """The text of dvc.yaml for the parameters in `config`."""
    content = {
        "stages": {name: _entry(name, stage) for name, stage in stages(config).items()},
        "plots": [{f"models/{network}/curves.csv": {"x": "step", "y": ["train_loss"]}} for network in networks(config)],
    }
    return HEAD + yaml.safe_dump(content, sort_keys=False, width=120)


def _entry(name: str, stage: Stage) -> dict[str, Any]:
    gather_code = sources("stages/gather_shards.py") if stage.rules else []
    code = sorted({*sources(f"stages/{stage.file or name}.py"), *gather_code})
    entry: dict[str, Any] = {
        "desc": f"see stages/{stage.file or name}.py",
        "cmd": f"snakemake --allowed-rules {' '.join([name, *stage.rules, f'all_{name}'])} -- all_{name}",
        "deps": [*stage.deps, *code],
        "params": dvc_params(name),
        "outs": stage.outs,
        "metrics": stage.metrics,
    }
    return {key: value for key, value in entry.items() if value}


def _training(config: Mapping[str, Any], network: str) -> Stage:
    """The stage that trains a network, or takes the weights that were given for it."""
    given, training = given_weights(config, network), TRAININGS[network]
    read = [file.removesuffix("/manifest.json") for file in training.files().values()]
    starts = [file for start in training.starts(config).values() for file in model_files(start)]
    hand_model = ["${dataset.hand_model}"] if training.hand_model else []
    return Stage(
        [*read, *hand_model, *starts, *start_files(config, network)]
        if given is None
        else [f"{given}/{name}" for name in WEIGHTS],
        [f"models/{network}/{name}" for name in MODEL_FILES if name != "metrics.json"],
        file=None if given is None else "use_given_weights",
        metrics=[f"models/{network}/metrics.json"],
    )


def _frames(*splits: str) -> list[str]:
    """What every stage needs that looks at frames."""
    patterns = ("data/frames/{}.parquet", "data/hands/{}.parquet", "data/images/{}")
    return [pattern.format(split) for pattern in patterns for split in splits]


def _folders(files: list[str]) -> list[str]:
    return sorted({str(Path(file).parent) for file in files})


def _annotations(config: Mapping[str, Any], *kinds: str) -> list[str]:
    return _of_all_splits(config, annotations(config, *kinds))


def _of_all_splits(config: Mapping[str, Any], patterns: list[str]) -> list[str]:
    """Files of the dataset for every split, with dataset.root left to DVC to fill in."""
    patterns = [pattern.replace(config["dataset"]["root"], "${dataset.root}", 1) for pattern in patterns]
    return [pattern.replace("{split}", split) for split in SPLITS for pattern in patterns]


def _tables(config: Mapping[str, Any], stage: str, *folders: str) -> list[str]:
    return [f"data/{folder}/{split}.parquet" for folder in folders for split in splits_of(config, stage)]


def main() -> None:
    parser = argparse.ArgumentParser(description="Write dvc.yaml from the table of stages.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if dvc.yaml differs")
    check = parser.parse_args().check
    text = dvc_yaml(yaml.safe_load(Path("params.yaml").read_text()))
    if not check:
        write_text(DVC_YAML, text)
    elif Path(DVC_YAML).read_text() != text:
        sys.exit(f"{DVC_YAML} does not match the rules and params.yaml; write it again: python -m workflow.dvc_stages")


if __name__ == "__main__":
    main()
