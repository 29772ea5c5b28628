"""Tables that compare methods, against plain loops over made-up records."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from im2hands.evaluation.comparisons import (
    DISTANCE_NAMES,
    VISIBLE_NAMES,
    ablation_table,
    bootstrap,
    by_difficulty,
    paired_differences,
)
from im2hands.evaluation.cost import cost_table, parameter_count
from im2hands.evaluation.protocols import FAILURE_DISTANCE_MM
from im2hands.evaluation.published_results import HEADING, all_published, published_note, published_rows
from im2hands.evaluation.records import RECORDS
from im2hands.evaluation.tables import Beside, write_plain_table
from im2hands.geometry.mesh import Mesh
from im2hands.hands.sides import Side
from im2hands.io.errors import CheckpointError, DataError
from im2hands.io.tables import Provenance
from im2hands.reconstruction.storage import write_surfaces
from im2hands.reconstruction.surfaces import HandSurface


def records(method, ious, source="model", failed=()):
    """Two hands per pose and one photograph; the gap grows with the pose, the visible share with the hand."""
    rows = []
    for place, iou in enumerate(ious):
        pose, side = divmod(place, 2)
        failure = "missing" if place in failed else None
        rows.append(
            {name: None for name in RECORDS.column_names()}
            | {
                "pair_id": f"3_{pose}",
                "hand_id": f"3_{pose}_{'left' if side else 'right'}",
                "frame_id": 5 * pose,
                "method": method,
                "source": source,
                "failure": failure,
                "mesh_iou": None if failure else iou,
                "chamfer_l1_mm": None if failure else 10 * (1 - iou),
                "true_hand_distance_mm": (-3.0, 0.0, 5.0, 40.0)[pose % 4],
                "visible_fraction": (0.3, 0.5, 0.79, 0.8, 1.0)[place % 5],
                "penetration_volume_cm3": 0.5 * pose,
            }
        )
    return pd.DataFrame(rows)


IOUS = [0.9, 0.8, 0.7, 0.95, 0.6, 0.5, 0.85, 0.4]


def test_classes_hold_their_lower_limit_and_every_hand_once():
    table = by_difficulty(records("halo", IOUS, failed=[3]))
    distance = table[table["split by"].str.startswith("distance")].set_index("class")
    assert list(distance.index) == list(DISTANCE_NAMES)
    assert (distance["hands"] == 2).all()
    assert distance["failed"].tolist() == [0, 1, 0, 0]
    assert distance["mesh IoU (%)"].tolist() == pytest.approx([85, 35, 55, 62.5])
    assert distance["Chamfer-L1 (mm)"].iloc[1] == pytest.approx((3 + FAILURE_DISTANCE_MM) / 2)
    visible = table[table["split by"].str.startswith("visible")].set_index("class")["hands"]
    assert visible.to_dict() == dict(zip(VISIBLE_NAMES, (2, 4, 2), strict=True))


def test_hands_without_a_class_are_counted():
    rows = records("halo", IOUS[:4])
    rows.loc[0, ["true_hand_distance_mm", "visible_fraction"]] = None
    table = by_difficulty(rows)
    assert table.groupby("split by")["hands"].sum().tolist() == [4, 4]
    assert (table[table["class"] == "not known"]["hands"] == 1).all()


def test_empty_classes_are_left_out():
    table = by_difficulty(records("halo", IOUS[:2]))
    assert table["class"].tolist() == [DISTANCE_NAMES[0], VISIBLE_NAMES[0], VISIBLE_NAMES[1]]


def test_differences_are_hand_by_hand_with_penalties():
    worse = records("a", IOUS, failed=[0])
    better = records("b", [iou + 0.02 for iou in IOUS])
    table = paired_differences(pd.concat([better.iloc[::-1], worse]), 7).set_index("metric")
    row = table.loc["mesh IoU (%)"]
    assert (row["first"], row["second"], row["hands"], row["poses"]) == ("a / model", "b / model", 8, 4)
    assert row["second - first"] == pytest.approx((7 * 2 + 92) / 8)
    assert row["95 % from"] <= row["second - first"] <= row["95 % to"]
    assert row["second better (% of hands)"] == 100
    assert table.loc["Chamfer-L1 (mm)", "second - first"] < 0
    again = paired_differences(pd.concat([worse, better]), 7).set_index("metric")
    pd.testing.assert_frame_equal(table, again)
    none = paired_differences(worse, 7)
    assert none.empty
    joined = pd.concat([none, table.reset_index()])
    assert joined["second - first"].dtype == float
    with pytest.raises(DataError, match="a/model and b/model were evaluated on different hands"):
        paired_differences(pd.concat([worse, better.iloc[1:]]), 7)


def naive_bootstrap(values, clusters, seed, draws):
    names = sorted(set(clusters))
    means = []
    for chosen in np.random.default_rng(seed).integers(len(names), size=(draws, len(names))):
        drawn = [
            value for place in chosen for value, name in zip(values, clusters, strict=True) if name == names[place]
        ]
        means.append(np.mean(drawn))
    return np.mean(values), *np.quantile(means, [0.025, 0.975])


@settings(max_examples=20)
@given(st.lists(st.tuples(st.floats(-5, 5), st.integers(0, 4)), min_size=1, max_size=12), st.integers(0, 9))
def test_bootstrap_is_that_of_whole_clusters(items, seed):
    values, clusters = (np.array(column) for column in zip(*items, strict=True))
    found = bootstrap(values, clusters, seed, draws=40)
    expected = naive_bootstrap(values, clusters, seed, 40)
    np.testing.assert_allclose([found.mean, found.low, found.high], expected, atol=1e-9)


def test_interval_covers_the_true_mean_about_as_often_as_it_says():
    """200 data sets of 40 clusters: 95 % nominal; between 88 and 99 % allowed."""
    covered = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        values = np.repeat(rng.normal(size=40), 2) + 0.2 * rng.normal(size=80)
        found = bootstrap(values, np.repeat(np.arange(40), 2), seed, draws=300)
        covered += found.low <= 0 <= found.high
    assert 176 <= covered <= 198


def test_ablations_hold_the_methods_of_the_run_then_the_variants():
    run = pd.concat([records("halo", IOUS), records("im2hands", IOUS), records("halo", IOUS, source="refined")])
    table = ablation_table(run, {"without penetration term": records("im2hands", [0.5] * 8)})
    assert table["variant"].tolist() == [
        "without image and other hand (HALO)",
        "whole method",
        "without penetration term",
    ]
    assert table["trained for"].tolist() == ["this run", "this run", "ablation"]
    assert table["penetration (cm³)"].tolist() == [0.75] * 3
    assert table["mesh IoU (%)"].iloc[2] == 50


def test_published_numbers_stand_apart_in_text_and_not_in_our_files(tmp_path):
    ours = pd.DataFrame({"method": ["halo"], "IoU (%)": [91.0]})
    table = "shape_given_keypoints"
    write_plain_table(tmp_path, "t", ours, "T", "n", 1, Beside(HEADING, published_rows(table), published_note(table)))
    text, tex = (tmp_path / "t.md").read_text(), (tmp_path / "t.tex").read_text()
    ours_then_theirs = ["| halo | 91.0 |", f"## {HEADING}", "| Im2Hands | image, keypoints | 77.8 | 2.30 |"]
    places = [text.index(part) for part in ours_then_theirs]
    assert places == sorted(places)
    assert "Unknown: number of test samples" in text
    assert tex.count(r"\begin{tabular}") == tex.count(r"\end{tabular}") == 2
    for block in tex.split(r"\begin{tabular}{")[1:]:
        columns = len(block.split("}")[0])
        lines = [line for line in block.splitlines() if "&" in line and "multicolumn" not in line]
        assert lines
        assert {line.replace(r"\&", "").count("&") + 1 for line in lines} == {columns}
    assert "77.8" not in (tmp_path / "t.csv").read_text()
    assert len(pd.read_parquet(tmp_path / "t.parquet")) == 1
    assert set(all_published()["table"]) == {table, "shape_predicted_keypoints", "keypoint_refinement"}
    assert published_rows("cost").empty


def test_hands_that_were_set_aside_cost_nothing(tmp_path):
    sides = (Side.RIGHT, Side.LEFT)
    made = [
        HandSurface("3_0", f"3_0_{s.value}", s, Mesh(), "empty", 100, extraction_s=4, evaluation_points_s=1)
        for s in sides
    ]
    aside = [HandSurface("3_1", f"3_1_{s.value}", s, None, "no keypoints") for s in sides]
    facts = Provenance({"method": "halo", "source": "refined"})
    machine = {"device": "CPU", "threads": 2}
    write_surfaces(tmp_path / "m.arrow", tmp_path / "t.parquet", tmp_path / "s", [made, aside], facts, (), machine)
    row = cost_table([tmp_path / "t.parquet"], {}).iloc[0]
    assert (row["hand pairs"], row["seconds per pair"], row["field evaluations per hand"]) == (1, 10, 100)
    assert (row["device"], row["threads"]) == ("CPU", "2")
    assert pd.isna(row["parameters"])


def test_a_source_that_gave_no_hand_has_no_time_per_pair(tmp_path):
    aside = [HandSurface("3_1", f"3_1_{side.value}", side, None, "no keypoints") for side in Side]
    facts, machine = Provenance({"method": "halo", "source": "refined"}), {"device": "CPU", "threads": 2}
    write_surfaces(tmp_path / "m.arrow", tmp_path / "t.parquet", tmp_path / "s", [aside], facts, (), machine)
    row = cost_table([tmp_path / "t.parquet"], {}).iloc[0]
    assert row["hand pairs"] == 0
    assert pd.isna(row[["seconds per pair", "field evaluations per hand"]]).all()


def test_cost_of_files_that_do_not_say_what_they_timed(tmp_path):
    write_surfaces(tmp_path / "m.arrow", tmp_path / "t.parquet", tmp_path / "s", [], Provenance({"fake": True}))
    with pytest.raises(DataError, match=r"t\.parquet: does not state what was timed"):
        cost_table([tmp_path / "t.parquet"], {})
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(CheckpointError, match=r"model\.safetensors: not a readable weight file"):
        parameter_count(tmp_path)
