"""The schema of params.yaml follows the classes, describes every key, and stops a run before any job."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from im2hands.config.params import json_schema
from workflow.params_schema import SCHEMA, schema_text

ROOT = Path(__file__).parents[2]


def sections():
    schema = json_schema()
    return [("params.yaml", schema), *schema["$defs"].items()]


def test_committed_schema_is_that_of_the_classes():
    assert SCHEMA.read_text() == schema_text()


def test_the_schema_can_be_written_again(tmp_path):
    for folder in ("im2hands", "workflow"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    copy = tmp_path / SCHEMA.relative_to(ROOT)
    copy.unlink()
    subprocess.run([sys.executable, "-m", "workflow.params_schema"], cwd=tmp_path, check=True)
    assert copy.read_text() == SCHEMA.read_text()


@pytest.mark.parametrize(("name", "section"), sections(), ids=lambda value: value if isinstance(value, str) else "")
def test_every_key_is_described_required_and_no_other_allowed(name, section):
    assert section["additionalProperties"] is False
    assert set(section["required"]) == set(section["properties"])
    for key, value in section["properties"].items():
        assert value.get("description"), f"{name}.{key}"


def test_shipped_parameters_fit():
    jsonschema.validate(yaml.safe_load((ROOT / "params.yaml").read_text()), json_schema())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda params: params.update(sede=1), "sede"),
        (lambda params: params.pop("evaluate"), "evaluate"),
        (lambda params: params["training"]["halo"].update(lr="fast"), "fast"),
    ],
    ids=["unknown key", "missing section", "wrong type"],
)
def test_mistakes_do_not_fit(change, message):
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    change(params)
    with pytest.raises(jsonschema.ValidationError, match=message):
        jsonschema.validate(params, json_schema())


def test_mistake_stops_the_run_before_any_job(empty, tmp_path):
    checkout = empty.copy(tmp_path / "copy")
    with (checkout.path / "params.yaml").open("a") as file:
        file.write("sede: 1\n")
    output = checkout.snakemake("--dry-run", check=False)
    assert "Error validating config file" in output
    assert "'sede' was unexpected" in output
    assert "Job stats" not in output
