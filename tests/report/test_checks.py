"""The expectations of the report are judged by the run's own numbers."""

import json

import pandas as pd
import pytest

from im2hands.report.checks import checks

TRAININGS = {"halo": [4.0, 3.0, 2.0, 1.0, 1.0], "refined_occupancy": [1.0, 1.0, 1.0, 2.0, 3.0]}


@pytest.fixture
def models(tmp_path):
    for name, losses in TRAININGS.items():
        (tmp_path / name).mkdir()
        log = pd.DataFrame({"step": range(1, 6), "train_loss": losses, "val_loss": [None] * 5})
        log.to_csv(tmp_path / name / "curves.csv", index=False)
    return [tmp_path / name for name in TRAININGS]


def shapes(**percent: float) -> pd.DataFrame:
    rows = [{"method": method, "source": "model", "mesh_iou_percent": value} for method, value in percent.items()]
    return pd.DataFrame(rows, columns=["method", "source", "mesh_iou_percent"])


def keypoints(after: float, before: float) -> pd.DataFrame:
    columns = ("keypoints", "refined from", "MPJPE, knuckle (mm)", "before: MPJPE, knuckle (mm)")
    rows = [
        ("perturbed_10mm", "", before, float("nan")),
        ("perturbed_10mm_prior", "perturbed_10mm", 7.0, before),
        ("perturbed_10mm_refined", "perturbed_10mm_prior", after, before),
        ("refined", "intaghand", 50.0, 40.0),
    ]
    return pd.DataFrame(rows, columns=columns)


def test_numbers_decide(models):
    found = checks(shapes(halo=76.0, initial=73.5, im2hands=70.0), shapes(), keypoints(9.0, 12.0), models)
    assert [one.met for one in found] == [True, True, False, False, True, True, True, False]
    assert found[2].found == "70.0 % after 73.5 %"
    assert found[4].expectation.startswith("The keypoint prior lowers the error of perturbed_10mm ")
    assert found[5].expectation.startswith("Keypoint refinement lowers the error of perturbed_10mm_prior ")
    assert found[5].found == "9.0 mm after 12.0 mm"
    assert not checks(shapes(halo=74.9), shapes(), keypoints(12.0, 12.0), [])[0].met
    assert not checks(shapes(halo=74.9), shapes(), keypoints(12.0, 12.0), [])[2].met


def test_the_order_of_the_papers_tables_is_judged():
    """Im2Hands' keypoints are refined from those that HALO is given, and IntagHand's mesh is the third of the three."""
    rows = [
        ("halo", "perturbed_10mm_prior", 60.0),
        ("halo", "perturbed_10mm_refined", 70.0),
        ("im2hands", "perturbed_10mm_refined", 66.0),
        ("halo", "intaghand_prior", 45.0),
        ("intaghand", "intaghand", 48.5),
        ("im2hands", "refined", 48.0),
    ]
    predicted = pd.DataFrame(rows, columns=["method", "source", "mesh_iou_percent"])
    table = keypoints(5.0, 7.0)
    table.loc[table["keypoints"] == "refined", "refined from"] = "intaghand_prior"
    found = [
        one
        for one in checks(shapes(halo=90.0, im2hands=91.0), predicted, table, [])
        if "better mesh IoU" in one.expectation
    ]
    assert [(one.expectation, one.found, one.met) for one in found] == [
        ("Im2Hands with keypoints model: better mesh IoU than HALO with keypoints model", "91.0 and 90.0 %", True),
        (
            "Im2Hands with keypoints perturbed_10mm_refined: better mesh IoU than HALO with keypoints perturbed_10mm_prior",
            "66.0 and 60.0 %",
            True,
        ),
        (
            "Im2Hands with keypoints refined: better mesh IoU than HALO with keypoints intaghand_prior",
            "48.0 and 45.0 %",
            True,
        ),
        ("Im2Hands with keypoints refined: better mesh IoU than IntagHand", "48.0 and 48.5 %", False),
    ]


def test_nothing_is_said_of_what_was_not_run(models):
    found = checks(shapes(initial=60.0), shapes(), keypoints(1.0, 2.0).iloc[:1], models[:1])
    assert [one.expectation for one in found] == ["HALO: the training loss falls"]


@pytest.mark.parametrize(("start", "judged"), [("builtin", False), ("scratch", True)])
def test_a_loss_need_not_fall_from_weights_that_were_trained(models, start, judged):
    (models[1] / "card.json").write_text(json.dumps({"parameters": {"start": start}}))
    found = checks(shapes(), shapes(), keypoints(1.0, 2.0).iloc[:1], models[1:])
    assert [one.met for one in found] == ([False] if judged else [])


def test_an_undefined_number_meets_nothing(models):
    assert not checks(shapes(halo=float("nan")), shapes(), keypoints(1.0, 2.0), [])[0].met
