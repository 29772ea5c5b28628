"""A changed parameter repeats what depends on it and nothing before, and both tools agree on where it begins."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
import yaml

from im2hands.config.params import json_schema, validate_params
from im2hands.io.errors import ConfigError
from workflow.dvc_stages import stages
from workflow.parameters import READS, arguments

pytestmark = pytest.mark.xdist_group("stand-ins")  # one worker makes the finished checkout for all

ROOT = Path(__file__).parents[2]
RESULTS = {"reconstruct", "evaluate", "make_tables", "make_report"}
AFTER_REFINED = {"train_refined_occupancy", *RESULTS}
AFTER_INITIAL = {"train_initial_occupancy", "generate_anchors", "gather_anchors", *AFTER_REFINED}
AFTER_HALO = {"train_halo", *AFTER_INITIAL}


def shipped() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "params.yaml").read_text())


def leaves(content: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(content, dict):
        for key, value in content.items():
            yield from leaves(value, f"{place}.{key}" if place else key)
    else:
        yield place, content


def allowed_words(key: str) -> list[Any]:
    """The values of an enumeration, of a key or of its list's items; none for numbers and free text."""
    schema = json_schema()
    node = schema
    for part in key.split("."):
        node = node["properties"][part]
        if "$ref" in node:
            node = schema["$defs"][node["$ref"].rpartition("/")[2]]
    return node.get("enum") or node.get("items", {}).get("enum", [])


def other_value(key: str, value: Any) -> Any:
    """An allowed value that differs."""
    words = allowed_words(key)
    if isinstance(value, list) and not words:
        return [2 * number for number in value]
    if isinstance(value, list):
        return [word for word in words if word not in value][:1]
    if key.startswith("options."):
        return "published"
    if words:
        return next(word for word in words if word != value)
    if isinstance(value, bool):
        return not value
    if value is None or isinstance(value, str):
        return "elsewhere"
    return next(number for number in (value + 1, value * 0.5, 0.5) if is_allowed(key, number))


def with_value(key: str, value: Any) -> dict[str, Any]:
    """The shipped parameters with one leaf changed."""
    params = shipped()
    *path, last = key.split(".")
    reduce(lambda section, name: section[name], path, params)[last] = value
    return params


def is_allowed(key: str, value: Any) -> bool:
    try:
        validate_params(with_value(key, value))
    except ConfigError:
        return False
    return True


def dvc_root_causes(checkout) -> set[str]:
    """Stages whose parameters changed, from DVC's own report."""
    output = checkout.dvc("status", "--json")
    status = json.loads(output[output.index("{") :])
    return {
        stage for stage, entries in status.items() if any("params.yaml" in e.get("changed deps", {}) for e in entries)
    }


def test_learning_rate_repeats_training_and_what_follows(finished):
    finished.change("training.halo.lr", 0.5)
    jobs, causes = finished.plan_and_causes()
    assert set(jobs) == AFTER_HALO
    assert causes == {"train_halo"} == dvc_root_causes(finished)


def test_number_of_query_points_repeats_sampling_and_what_follows(finished):
    finished.change("sample_queries.near_surface", 7)
    jobs, causes = finished.plan_and_causes()
    assert set(jobs) == {"sample_queries", "gather_queries"} | AFTER_HALO
    assert causes == {"sample_queries"} == dvc_root_causes(finished)


def test_numbers_of_one_split_repeat_that_split(finished):
    """Evaluation points of val feed nothing in this configuration, those of test would feed the results."""
    finished.change("sample_evaluation_queries.uniform_hand.val", 7)
    assert finished.plan() == {"sample_evaluation_queries": 1, "gather_evaluation_queries": 1}


def test_changed_module_repeats_its_stage_and_a_touched_one_does_not(finished):
    module = finished.path / "stages/make_tables.py"
    module.touch()
    assert finished.plan() == {}
    module.write_text(module.read_text() + "\n# changed\n")
    assert set(finished.plan()) == {"make_tables", "make_report"}
    assert "make_tables" in finished.dvc("status")


def test_lost_file_is_noticed_by_both(finished):
    """A shard that nothing unfinished needs: the manifest above it is still there."""
    (finished.path / "data/queries/train/0001-of-0002.arrow").unlink()
    assert finished.plan()["sample_queries"] == 1
    assert "data/queries" in finished.dvc("status")


def test_arguments_do_not_depend_on_the_order_of_keys():
    config = shipped()
    turned = {key: dict(reversed(value.items())) if isinstance(value, dict) else value for key, value in config.items()}
    assert all(arguments(config, stage) == arguments(turned, stage) for stage in READS)


def test_a_leaf_changes_the_arguments_of_the_stages_that_watch_it_and_no_others():
    """So it is enough to try both tools with one leaf of every watched key."""
    original = shipped()
    calls = [(stage, split) for stage in READS for split in ("train", "val", "test", None)]
    for key, value in leaves(original):
        if key.startswith("results.") or key == "compat":
            continue  # asks for files; sets options that are not set themselves
        config = with_value(key, "elsewhere" if key.startswith("dataset.") else other_value(key, value))
        changed = {
            stage for stage, split in calls if arguments(config, stage, split) != arguments(original, stage, split)
        }
        assert changed == {stage for stage in READS if any(is_below(key, watched) for watched in READS[stage])}, key


@pytest.mark.slow
def test_both_tools_agree_on_every_watched_key(finished):
    """One leaf of each changed alone: work begins at the same stages for both, and whatever DVC names Snakemake repeats.

    DVC also names later stages that read the parameter themselves; Snakemake lists these as behind an updated input.
    """
    file = finished.path / "params.yaml"
    original = file.read_text()
    before = stages_before(yaml.safe_load((finished.path / "dvc.yaml").read_text())["stages"])
    disagreements = {}
    for key, value in one_leaf_of_every_watched_key():
        finished.change(key, other_value(key, value))
        jobs, causes = finished.plan_and_causes()
        causes = {rule for rule in causes if not rule.startswith("gather_")}
        named = dvc_root_causes(finished)
        if not causes or first(causes, before) != first(named, before) or not named <= set(jobs):
            disagreements[key] = causes, named
        file.write_text(original)
    assert disagreements == {}


def one_leaf_of_every_watched_key() -> list[tuple[str, Any]]:
    """Without another dataset, other results and given weights, which are other graphs (test_graph, test_drawn_crops)."""
    kept = {}
    for key, value in leaves(shipped()):
        if key.startswith(("dataset.", "results.")) or key.endswith((".weights", ".start")) or is_idle(key):
            continue
        if not any(is_below(key, watched) for stage in stages(shipped()) for watched in READS.get(stage, ())):
            continue
        for watched in {watched for stage in READS for watched in READS[stage]}:
            if is_below(key, watched):
                kept.setdefault(watched, (key, value))
    return list(kept.values())


def is_below(key: str, watched: str) -> bool:
    return f"{key}.".startswith(f"{watched}.")


def is_idle(key: str) -> bool:
    """A number for a split that has no shards: no job reads it, while DVC watches whole sections and would repeat one."""
    names = key.split(".")
    section = shipped()[names[0]]
    shards = section.get("shards") if isinstance(section, dict) else None
    return isinstance(shards, dict) and shards.get(names[-1]) == 0 and names[1] != "shards"


def stages_before(stages: dict[str, Any]) -> dict[str, set[str]]:
    """Stage -> all stages that it builds upon, from the deps and outs of dvc.yaml."""
    names = {"${dataset.root}": "data/raw/synthetic", "${dataset.hand_model}": "data/hand_model"}
    before: dict[str, set[str]] = {}
    for name, stage in stages.items():  # in the order of the data
        deps = [reduce(lambda path, item: path.replace(*item), names.items(), dep) for dep in stage["deps"]]
        direct = {
            earlier
            for earlier in before
            for out in stages[earlier]["outs"] + stages[earlier].get("metrics", [])
            if any(f"{dep}/".startswith(f"{out}/") or f"{out}/".startswith(f"{dep}/") for dep in deps)
        }
        before[name] = direct.union(*(before[earlier] for earlier in direct))
    return before


def first(stages: set[str], before: dict[str, set[str]]) -> set[str]:
    """Those that build upon none of the others."""
    return {stage for stage in stages if not before[stage] & stages}
