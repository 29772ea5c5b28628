"""Ablations change what they say, repeat what depends on it, and write nothing of the run that they borrow from."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest
import yaml

from im2hands.config.options import Options
from im2hands.config.params import validate_params
from im2hands.io.errors import ConfigError
from tests.workflow.warm import WarmCheckout, WarmProcess
from workflow.ablations import ABLATIONS, CODE, FOLDER, MAKES, changed_params, prepare, require_scratch, text_of
from workflow.parameters import READS

ROOT = Path(__file__).parents[2]


def shipped():
    return yaml.safe_load((ROOT / "params.yaml").read_text())


def test_every_option_has_an_ablation():
    assert {ablation.option for ablation in ABLATIONS.values() if ablation.option} == set(Options.model_fields)


@pytest.mark.parametrize("name", ABLATIONS)
def test_parameters_are_valid_and_differ_in_what_is_read(name):
    """The changed keys are read by the first repeated stage, or by reconstruction where nothing is trained."""
    ablation, params = ABLATIONS[name], shipped()
    changed = changed_params(params, ablation)
    validate_params(changed)
    keys = {f"options.{ablation.option}"} if ablation.option else set(ablation.changes)
    for key in keys:
        section, _, rest = key.partition(".")
        before, after = params[section], changed[section]
        for part in rest.split("."):
            before, after = (content.get(part) if isinstance(content, dict) else None for content in (before, after))
        assert before != after, key
        readers = {stage for stage, read in READS.items() if any(f"{key}.".startswith(f"{one}.") for one in read)}
        assert readers & {*ablation.stages, "reconstruct"}, key
        assert readers <= {*ablation.stages, "reconstruct"}, f"{readers} read {key}, but are not repeated"
    assert {method for method, sources in changed["results"].items() if sources} == set(ablation.methods)
    assert text_of(name, params)


def test_weights_of_the_whole_network_are_no_start_for_a_part():
    params = shipped()
    for network in params["training"]:
        params["training"][network]["start"] = "scratch"
    params["training"]["refined_occupancy"]["start"] = "builtin"
    require_scratch(params, ABLATIONS["other_heat_maps"])
    with pytest.raises(
        ConfigError, match=r"training.refined_occupancy.start is builtin.*run `im2hands configure scratch`"
    ):
        require_scratch(params, ABLATIONS["no_context"])


@pytest.mark.parametrize("name", ABLATIONS)
def test_what_depends_on_a_repeated_stage_is_repeated(name):
    """By the deps of dvc.yaml, as far as the measured results need it: no stale network is evaluated."""
    ablation = ABLATIONS[name]
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    needed = {"im2hands": {"train_refined_occupancy"}, "initial": {"train_initial_occupancy"}, "halo": {"train_halo"}}
    used = set().union(*(needed.get(method, set()) for method in ablation.methods))
    waiting = list(used)
    while waiting:
        for dep in stages[waiting.pop()]["deps"]:
            for earlier in MAKES:
                if any(f"{dep}/".startswith(f"{out}/") for out in MAKES[earlier]) and earlier not in used:
                    used.add(earlier)
                    waiting.append(earlier)
    for stage in used - set(ablation.stages):
        made_of = {earlier for earlier in ablation.stages for out in MAKES[earlier]
                   if any(f"{dep}/".startswith(f"{out}/") for dep in stages[stage]["deps"])}  # fmt: skip
        assert made_of <= UNTOUCHED.get(stage, set()), f"{stage} is borrowed, but made of {made_of}"


UNTOUCHED = {
    "train_intaghand": {"fit_hands", "normalize_images"},
    "predict_keypoints": {"fit_hands", "normalize_images"},
    "train_keypoint_refinement": {"fit_hands", "normalize_images", "train_intaghand", "predict_keypoints"},
}
"""Borrowed although a file below them is made again: what they read of it (vertices, images, keypoints) stays the same."""


@pytest.fixture
def root(tmp_path):
    for part in CODE:
        (tmp_path / part).symlink_to(ROOT / part)
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    for folder in {*(out for outs in MAKES.values() for out in outs), "data/frames", "data/keypoints/perturbed_10mm"}:
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / "file").write_text(folder)
    return tmp_path


@pytest.mark.parametrize("name", ABLATIONS)
def test_the_folder_borrows_what_is_not_remade(root, name):
    folder = prepare(name, root)
    assert folder == root / FOLDER / name
    for outs in MAKES.values():
        for out in outs:
            assert (folder / out / "file").exists() == (out not in ABLATIONS[name].remade), out
    assert (folder / "data/frames/file").read_text() == "data/frames"
    assert (folder / "Snakefile").read_text() == (ROOT / "Snakefile").read_text()
    stamp = (folder / "params.yaml").stat().st_mtime_ns
    own = folder / "models/own"
    if (folder / "models").is_symlink():
        return
    own.mkdir()
    prepare(name, root)
    assert (folder / "params.yaml").stat().st_mtime_ns == stamp, "an unchanged file keeps its time"
    assert own.is_dir()


def test_links_are_relative_so_that_a_checkout_can_be_moved(root):
    prepare("no_context", root)
    links = [path for path in (root / FOLDER).rglob("*") if path.is_symlink()]
    assert links
    assert not [link for link in links if os.path.isabs(link.readlink())]


@pytest.mark.slow
@pytest.mark.xdist_group("borrowed")
def test_all_ablations_of_the_smallest_run(undisturbed, tmp_path):
    """Every ablation is trained and measured; the run's own files do not change."""
    checkout = undisturbed[0].copy(tmp_path / "checkout")
    before = hashes(checkout.path)
    with WarmProcess() as warm:
        WarmCheckout(checkout.path, warm).snakemake("--cores", "2", "--", "ablations")
    table = pd.read_parquet(checkout.path / "results/ablations/ablations.parquet")
    params = yaml.safe_load((checkout.path / "params.yaml").read_text())
    assert set(table.loc[table["trained for"] == "ablation", "variant"]) == {
        text_of(name, params) for name in ABLATIONS
    }
    assert hashes(checkout.path) == before
    assert checkout.plan("--", "ablations") == {}


def hashes(root: Path) -> dict[str, bytes]:
    files = (file for place in ("data", "models") for file in (root / place).rglob("*") if file.is_file())
    return {str(file.relative_to(root)): file.read_bytes() for file in files}
