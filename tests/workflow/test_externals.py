"""External systems in the graph: what is read, what follows, and that their absence changes nothing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

from tests.workflow.conftest import add_externals
from tests.workflow.test_graph import PLAN
from workflow.dvc_stages import stages
from workflow.parameters import READS, arguments, dvc_params
from workflow.paths import content_of, results, shown

pytestmark = pytest.mark.xdist_group("externals")

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def finished_with_externals(finished_once, tmp_path_factory):
    """A finished run of stand-in stages to which external systems were added. Not to be changed."""
    checkout = finished_once[0].copy(tmp_path_factory.mktemp("finished_externals") / "checkout")
    add_externals(checkout)
    checkout.run(sys.executable, "-m", "workflow.dvc_stages")
    return checkout, checkout.snakemake()


def test_plan_with_external_systems(with_externals):
    """Two keypoint files, two refinements of them, two folders of meshes, halo with one source instead of three."""
    changed = {
        "import_keypoints": 2,
        "import_meshes": 2,
        "apply_keypoint_prior": 4,
        "refine_keypoints": 4,
        "evaluate_keypoints": 12,
    }
    assert with_externals.plan() == PLAN | changed | {"reconstruct": 7, "evaluate": 9}


def test_shipped_parameters_name_no_external_system():
    config = yaml.safe_load((ROOT / "params.yaml").read_text())
    assert config["external"] == {}
    assert not {"import_keypoints", "import_meshes"} & set(stages(config))


def test_external_meshes_stand_with_their_own_source_or_with_given_keypoints(with_externals):
    config = yaml.safe_load((with_externals.path / "params.yaml").read_text())
    assert results(config)[-2:] == [("external_both", "external_both"), ("external_meshes", "model")]
    assert shown(config) == ("im2hands", "model")


def test_tables_take_time_and_parameters_of_our_methods_only(with_externals):
    printed = with_externals.snakemake("--dry-run", "--printshellcmds", "--", "all_make_tables")
    (command,) = (line for line in printed.splitlines() if "python -m stages.make_tables" in line)
    assert "results/external_both/external_both/metrics/0000-of-0001.parquet" in command
    assert "results/external_both/external_both/timings" not in command
    assert "external" not in command.partition("--models")[2].partition("--output")[0]
    assert "external_both_refined=external_both" in command


def test_dvc_tracks_them(finished_with_externals):
    checkout, printed = finished_with_externals
    assert "Not recorded" not in printed
    found = yaml.safe_load((checkout.path / "dvc.yaml").read_text())["stages"]
    assert {name: stage.get("params", []) for name, stage in found.items()} == {
        name: dvc_params(name) for name in READS if name != "draw_crops"
    }
    assert "given/both.json" in found["import_keypoints"]["deps"]
    assert "data/keypoints/external_both/test.parquet" in found["import_meshes"]["deps"]
    assert checkout.plan() == {}
    assert "up to date" in checkout.dvc("status")


def test_another_mesh_repeats_the_import_of_its_folder_alone(finished_with_externals, tmp_path):
    checkout = finished_with_externals[0].copy(tmp_path / "copy")
    (checkout.path / "given/both/0_left.ply").write_text("another mesh\n")
    after = {"import_meshes": 1, "evaluate": 1, "make_tables": 1, "make_report": 1}
    assert checkout.plan() == after
    assert "given/both" in checkout.dvc("status")


def test_a_change_of_one_system_leaves_the_others_alone(finished_with_externals, tmp_path):
    checkout = finished_with_externals[0].copy(tmp_path / "copy")
    checkout.change("external.meshes.unit", "mm")
    assert checkout.plan() == {"import_meshes": 1, "evaluate": 1, "make_tables": 1, "make_report": 1}


def test_arguments_hold_the_part_of_one_system(with_externals):
    config = yaml.safe_load((with_externals.path / "params.yaml").read_text())
    assert "given/both.json" in arguments(config, "import_keypoints", external="both")
    assert "given/both.json" not in arguments(config, "import_keypoints", external="joints")
    config["reconstruct"]["frames_per_pose"] = None
    assert "--frames-per-pose" not in arguments(config, "import_meshes", external="both")


def test_digest_of_a_folder_follows_its_files(tmp_path):
    found = []
    for name, text in (("a/1.ply", "1"), ("a/2.ply", "2"), ("a/1.ply", "12")):
        (tmp_path / "a").mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
        content_of.cache_clear()
        found.append(content_of(str(tmp_path)))
    assert len(set(found)) == 3
