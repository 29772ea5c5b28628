"""The pages docs/adding-*.md, followed word for word in a copy of a finished run: what they add works and fits the house."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from im2hands.hands.model_files import builtin_hand_models, load_hand_models
from im2hands.hands.sides import Side
from im2hands.networks.model_folder import read_model
from tests.documents.steps import Command, steps
from tests.photographs.hands import two_hands
from tests.workflow.checkout import ROOT, Checkout
from tests.workflow.conftest import FINISHED

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("pages")]

AROUND = ("docs", "tests", "tools", "README.md", "mkdocs.yml", "pyproject.toml")
"""What a clone holds beside the parts of a checkout."""
STRUCTURE = ("tests/structure", "tests/documents/test_pictures.py", "tests/workflow/test_params_schema.py")


@pytest.fixture
def clone(undisturbed, tmp_path) -> Checkout:
    return whole_clone(undisturbed[0], tmp_path / "clone")


def whole_clone(finished: Checkout, path: Path) -> Checkout:
    """A copy of a finished run, with everything that a clone of the project holds."""
    checkout = finished.copy(path)
    for part in AROUND:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, checkout.path / part, ignore=shutil.ignore_patterns("golden", "__pycache__"))
        else:
            shutil.copy2(ROOT / part, checkout.path / part)
    return checkout


def follow(page: str, clone: Checkout) -> dict[str, str]:
    """Takes every step of a page; returns what each command printed. Its runs are not recorded in DVC, to save time."""
    printed = {}
    for step in steps(ROOT / "docs" / page):
        if isinstance(step, Command):
            printed[" ".join(step.words)] = own(clone, *step.words, IM2HANDS_RECORD="0")
        else:
            step.take(clone.path)
    return printed


def own(clone: Checkout, *command: str, **environment: str) -> str:
    """Runs a command on the code of the clone, also where the command is a script of the environment."""
    return clone.run(*command, PYTHONPATH=str(clone.path), OMP_NUM_THREADS="1", **environment).stdout


def passes(clone: Checkout, *arguments: str) -> None:
    own(clone, sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments)


def test_the_pages_add_a_stage_and_a_network(clone):
    """One after the other: what is added runs, and nothing else but the report, which shows it; then the house is in order."""
    printed = follow("adding-a-stage.md", clone)
    assert printed["snakemake -- all_measure_hands"].count(FINISHED) == planned(clone, "measure_hands") + 1
    assert clone.plan() == {"make_report": 1}
    sizes = json.loads((clone.path / "data/hand_sizes/test.json").read_text())
    assert len(sizes["palm_mm"]) == 3 and 50 < sizes["palm_mm"][1] < 130
    clone.change("measure_hands.quantiles", [0.5])
    assert clone.plan() == {"measure_hands": 3, "make_report": 1}

    printed = follow("adding-a-network.md", clone)
    assert printed["snakemake -- all_train_ball"].count(FINISHED) == planned(clone, "train_ball") + 1
    weights, card = read_model(clone.path / "models/ball", "ball")
    assert weights["ball.weight"].any() and card.parameters["steps"] == 60 and card.metrics["val_iou"] > 0.1
    loading = "from im2hands.networks.ball import load_ball; print(load_ball('models/ball')[0].architecture)"
    assert "{'radius': 0.2}" in own(clone, sys.executable, "-c", loading)
    assert clone.plan() == {"measure_hands": 3, "make_report": 1}
    printed = own(clone, "snakemake")
    assert printed.count(FINISHED) == 5
    assert re.search(r"^Recorded in dvc.lock: .*measure_hands.*train_ball", printed, re.MULTILINE)
    assert "Ball" in (clone.path / "results/report.html").read_text()
    assert clone.plan() == {}

    passes(clone, "-k", "not explains", *STRUCTURE)
    passes(clone, "tests/training/test_every_training.py", "-k", "ball and (stopped or passes)")
    own(clone, sys.executable, "-m", "workflow.dvc_stages", "--check")
    own(clone, sys.executable, "-m", "snakefmt", "--check", "Snakefile", "workflow")
    well_written(clone)


def planned(clone: Checkout, rule: str) -> int:
    """The number of its jobs in the plan that the tests of the clone know."""
    return int(own(clone, sys.executable, "-c", f"from tests.workflow.test_graph import PLAN; print(PLAN['{rule}'])"))


def well_written(clone: Checkout) -> None:
    for words in (["check"], ["format", "--check"]):
        own(clone, "ruff", *words, "im2hands", "stages", "workflow", "tests")


READ = """
import json, sys
from im2hands.photographs.keypoint_files import read_keypoints
found = read_keypoints(sys.argv[1])
hands = {name: pair.tolist() for name, pair in found.hands.items()}
print(json.dumps([found.format, found.unit, found.order, hands]))
"""


def test_the_page_adds_keypoint_formats(clone):
    """Files of both new formats give the hands that were written, in metres; a bad line is named."""
    follow("adding-a-keypoint-format.md", clone)
    hands = two_hands(3)
    lines = [
        f"p.jpg,{side.value},{joint},{','.join(map(repr, (1000 * point).tolist()))}\n"
        for side in Side
        for joint, point in enumerate(hands[side.index])
    ]
    (clone.path / "k.csv").write_text("picture,side,joint,x,y,z\n" + "".join(lines))
    (clone.path / "k.json").write_text(json.dumps({"p.jpg": {"joints": hands.tolist()}}))
    for file, expected in (("k.csv", ["csv", "mm"]), ("k.json", ["joints", "m"])):
        *said, order, read = json.loads(own(clone, sys.executable, "-c", READ, file))
        assert (said, order, list(read)) == (expected, "standard", ["p.jpg"])
        np.testing.assert_allclose(read["p.jpg"], hands, atol=1e-9)
    (clone.path / "k.csv").write_text("picture,side,joint,x,y,z\np.jpg,left,0,a,1,2\n")
    done = clone.run(sys.executable, "-c", READ, "k.csv", check=False, PYTHONPATH=str(clone.path))
    assert done.returncode and "line 2 is no keypoint" in done.stdout
    passes(clone, "tests/structure/test_import_graph.py", "tests/documents/test_pictures.py")
    passes(clone, "tests/photographs/test_keypoint_layouts.py", "-k", "table or maps")
    well_written(clone)


def test_the_page_adds_a_hand_model(clone):
    """check-data accepts it and says its size; with the built-in dataset, all that depends on the hand is made again."""
    printed = follow("adding-a-hand-model.md", clone)
    models = load_hand_models(clone.path / "hand_models/large")
    for side, model in builtin_hand_models().items():
        np.testing.assert_allclose(models[side].template, 1.1 * model.template, rtol=1e-6)
    assert "hand_models/large/MANO_RIGHT.npz" in printed["im2hands check-data"]
    assert "everything is in place" in printed["im2hands check-data"]
    plan = clone.plan()
    assert "write_hand_model" not in plan
    assert plan["synthesize_dataset"] == 3
    own(clone, sys.executable, "-m", "workflow.dvc_stages", "--check")
