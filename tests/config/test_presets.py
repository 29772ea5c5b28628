"""`im2hands configure` changes what a preset says, keeps the rest of the file, and refuses what params.yaml would not allow."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from im2hands.cli import app
from im2hands.config.params import read_params
from im2hands.config.presets import configure_params
from im2hands.io.errors import ConfigError

ROOT = Path(__file__).parents[2]
PRESETS = sorted(path.stem for path in (ROOT / "presets").glob("*.yaml"))


@pytest.fixture
def params(tmp_path):
    shutil.copytree(ROOT / "presets", tmp_path / "presets")
    return Path(shutil.copy(ROOT / "params.yaml", tmp_path))


def preset(params, text):
    path = params.parent / "own.yaml"
    path.write_text(text)
    return str(path)


def test_shipped_parameters_are_the_demo_preset(params):
    before = params.read_text()
    assert "already has the values" in configure_params("demo", params)[0]
    assert params.read_text() == before


@pytest.mark.parametrize("name", PRESETS)
def test_presets_give_valid_parameters(params, name):
    result = CliRunner().invoke(app, ["configure", name, "--params", str(params)])
    assert result.exit_code == 0, result.output
    read_params(params)


@pytest.mark.parametrize("first", PRESETS)
@pytest.mark.parametrize("then", PRESETS)
def test_result_does_not_depend_on_the_preset_before(params, first, then):
    """Except for the numbers of a dataset that is not made."""
    alone = params.parent / "alone.yaml"
    shutil.copy(params, alone)
    configure_params(then, alone)
    configure_params(first, params)
    configure_params(then, params)
    one, other = (yaml.safe_load(file.read_text()) for file in (alone, params))
    for root, section in (("data/raw/synthetic", "synthesize_dataset"), ("drawn", "draw_crops")):
        if one["dataset"]["root"] != root:
            del one[section], other[section]
    assert one == other


def test_only_named_lines_change_and_comments_stay(params):
    before = params.read_text().splitlines()
    old = read_params(params).training.halo.lr
    lines = configure_params(preset(params, "training: {halo: {lr: 1.0e-5}}\nseed: 7\n"), params)
    after = params.read_text().splitlines()
    changed = [line for line, old in zip(after, before, strict=True) if line != old]
    assert [line.split()[0] for line in changed] == ["seed:", "lr:"]
    assert f"training.halo.lr: {old} -> 1e-05" in lines
    assert yaml.safe_load(params.read_text())["training"]["halo"]["lr"] == 1e-5


def test_a_preset_may_name_external_systems(params):
    system = (
        "{meshes: m, keypoints: null, unit: m, frame: world, order: standard, given_keypoints: false, alignment: wrist}"
    )
    own = preset(params, f"external: {{other: {system}}}")
    assert any(line.startswith("external.other: ") for line in configure_params(own, params))
    assert read_params(params).external["other"].meshes == "m"
    configure_params("synthetic-full", params)
    assert set(read_params(params).external) == {"other"}


def test_dry_run_only_tells(params):
    before = params.read_text()
    assert "would change" in configure_params(preset(params, "seed: 7"), params, dry_run=True)[-1]
    assert params.read_text() == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sede: 7", "no key `sede`"),
        ("training: {halo: {lrr: 1}}", "no key `training.halo.lrr`"),
        ("training: {halo: {lr: -1}}", "training.halo.lr"),
        ("training: 3", "`training` must be a section or a value in both"),
        ("seed: {a: 1}", "`seed` must be a section or a value in both"),
        ("seed: [", "not valid YAML"),
        ("- 1", "keys and values"),
    ],
)
def test_mistakes_change_nothing(params, text, message):
    before = params.read_text()
    with pytest.raises(ConfigError, match=message):
        configure_params(preset(params, text), params)
    assert params.read_text() == before


def test_unknown_preset_names_the_known_ones(params):
    with pytest.raises(ConfigError, match=r"demo, paper, paper-order, pretrain, pretrain-gpu, scratch, synthetic-full"):
        configure_params("papre", params)


def test_missing_parameter_file_is_one_sentence(tmp_path):
    shutil.copytree(ROOT / "presets", tmp_path / "presets")
    with pytest.raises(ConfigError, match="missing"):
        configure_params("demo", tmp_path / "params.yaml")
