"""Parameters are complete, described, and refused with the key's name when they are wrong."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import yaml

from im2hands.config.options import Options, resolve_option
from im2hands.config.params import Params, read_params, validate_params
from im2hands.io.errors import ConfigError

PARAMS = Path(__file__).parents[2] / "params.yaml"


@pytest.fixture
def content():
    return yaml.safe_load(PARAMS.read_text())


def leaves(tree, path=()):
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key)


def put(tree, path, value):
    for key in path[:-1]:
        tree = tree[key]
    tree[path[-1]] = value


def remove(tree, path):
    for key in path[:-1]:
        tree = tree[key]
    del tree[path[-1]]


def test_shipped_parameters_are_valid_and_complete(content):
    assert read_params(PARAMS) == Params.model_validate(content)
    for path in leaves(content):
        damaged = copy.deepcopy(content)
        remove(damaged, path)
        with pytest.raises(ConfigError, match=path[-1]):
            validate_params(damaged)


def test_unknown_keys_and_wrong_types_are_refused_by_name(content):
    for path in leaves(content):
        damaged = copy.deepcopy(content)
        put(damaged, (*path[:-1], "no_such_key"), 1)
        with pytest.raises(ConfigError, match="no_such_key"):
            validate_params(damaged)
        damaged = copy.deepcopy(content)
        put(damaged, path, {"not": "a value"})
        with pytest.raises(ConfigError, match=path[-1]):
            validate_params(damaged)


def external(**changes):
    """A valid section of another system, changed."""
    plain = {"meshes": "m", "keypoints": "k.json", "unit": "m", "frame": "world", "order": "standard"}
    return plain | {"given_keypoints": False, "alignment": "wrist"} | changes


def test_external_systems_are_methods_and_keypoint_sources(content):
    content["external"] = {"other": external(), "two_words": external(keypoints=None)}
    content["results"]["halo"] += ["external_other", "external_other_refined"]
    assert validate_params(content).external["other"].alignment == "wrist"


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("Other", {}, "external.Other"),
        ("x_refined", {}, "reserved for refined keypoints"),
        ("other", {"meshes": None, "keypoints": None}, "a folder of meshes, a keypoint file, or both"),
        ("other", {"unit": "cm"}, "external.other.unit"),
        ("other", {"given_keypoints": True}, "set alignment to camera"),
    ],
)
def test_wrong_external_systems_are_refused(content, name, changes, message):
    content["external"] = {name: external(**changes)}
    with pytest.raises(ConfigError, match=message):
        validate_params(content)


@pytest.mark.parametrize("source", ["external_other", "external_other_refined", "external_unknown"])
def test_a_result_needs_the_external_keypoints_that_it_names(content, source):
    content["external"] = {"other": external(keypoints=None)}
    content["results"]["initial"] = [source]
    with pytest.raises(ConfigError, match=r"results.initial: external_\w+ needs a keypoint file in external"):
        validate_params(content)


def test_missing_and_broken_files_are_one_sentence(tmp_path):
    with pytest.raises(ConfigError, match="missing"):
        read_params(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("seed: [1")
    with pytest.raises(ConfigError, match="not valid YAML"):
        read_params(tmp_path / "params.yaml")


@pytest.mark.parametrize("name", Options.model_fields)
def test_options_follow_compat_unless_set(content, name):
    content["options"][name] = "compat"
    for behaviour in ("published", "consistent"):
        content["compat"] = behaviour
        assert resolve_option(content, name) == behaviour
    content["options"][name] = "published"
    assert resolve_option(content, name) == "published"
    with pytest.raises(ConfigError, match="nonsense"):
        resolve_option(content, "nonsense")
