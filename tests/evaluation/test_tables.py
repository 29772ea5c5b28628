"""Means, penalties and formats of the result tables; the protocol card and what it refuses."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from im2hands.evaluation.protocol_card import (
    EvaluationFacts,
    card_markdown,
    measuring_facts,
    note,
    protocol_card,
    write_card,
)
from im2hands.evaluation.protocols import FAILURE_DISTANCE_MM, METRICS
from im2hands.evaluation.records import RECORDS, describe, read_records, write_records
from im2hands.evaluation.tables import flat_metrics, latex, markdown, summarize, write_metrics, write_tables
from im2hands.io.errors import DamagedFileError, DataError
from im2hands.io.tables import Provenance

TITLE = "Hand shape given keypoints"


def row(pair, side, method="halo", **values):
    name = f"3_{pair}"
    shared = {"pair_id": name, "hand_id": f"{name}_{side}", "capture": 3, "frame_idx": pair, "side": side, "subject": 1}
    return shared | {"frame_id": pair, "method": method, "source": "model"} | values


def good(iou, distance, **values):
    return {
        "published_iou": iou,
        "published_field_iou": iou,
        "published_chamfer_l1_mm": distance,
        "published_chamfer_l2_mm2": distance**2,
        "published_normals": 0.9,
        "mesh_iou": iou,
        "field_iou": iou,
        "chamfer_l1_mm": distance,
        "chamfer_l2_mm2": distance**2,
        "normal_consistency": 0.9,
    } | values


def records(method="halo"):
    """Pair 0 (one frame) is well, of pair 1 (two frames) the left hand is empty and the right one missing."""
    shared = {"penetration_volume_cm3": 2.0, "penetration_depth_mm": 3.0, "penetration_method": "grid"}
    empty = {"published_iou": 0.0, "published_normals": -1.0, "published_field_iou": 0.0, "failure": "empty"}
    truth = {"true_penetration_volume_cm3": 4.0, "true_penetration_depth_mm": 1.0}
    return [
        row(0, "left", method, **good(0.9, 1.0), **shared, **truth),
        row(0, "right", method, **good(0.7, 3.0), **shared, **truth),
        row(1, "left", method, **empty, **truth | {"true_penetration_volume_cm3": 0.0}),
        row(1, "right", method, failure="missing", **truth | {"true_penetration_volume_cm3": 0.0}),
    ]


def facts(method="halo", **changes):
    measured = measuring_facts(
        **{
            "dataset": "two hands (synthetic stand-in)",
            "split": "test",
            "frame_names": ["a.jpg", "b.jpg", "c.jpg"],
            "poses": 2,
            "seed": 4,
            "surface_samples": 100_000,
            "penetration": "grid",
            "penetration_cell_mm": 2.0,
            "queries": {"published": 100_000, "uniform_hand": 5000, "hand_margin_mm": 8, "label_rule": "consistent"},
            **changes,
        }
    )
    return EvaluationFacts(method, "model", measured, {"threshold": 0.5, "alignment": "wrist"})


def written(path, rows, evaluation_facts):
    write_records(path, rows, Provenance(evaluation_facts.as_parameters()))
    return path


@pytest.fixture
def file(tmp_path):
    return written(tmp_path / "0.parquet", records(), facts())


def test_means_and_penalties(file):
    """Ours: two of four hands count with the penalty. Published: empty counts 0 in IoU, undefined values are skipped."""
    (mean,) = summarize(read_records([file])).to_dict("records")
    assert mean["mesh_iou_percent"] == pytest.approx(100 * (0.9 + 0.7) / 4)
    assert mean["field_iou_percent"] == pytest.approx(40)
    assert mean["chamfer_l1_mm"] == pytest.approx((1 + 3 + 2 * FAILURE_DISTANCE_MM) / 4)
    assert mean["chamfer_l2_mm2"] == pytest.approx((1 + 9 + 2 * FAILURE_DISTANCE_MM**2) / 4)
    assert mean["normal_consistency"] == pytest.approx(0.45)
    assert mean["published_iou_percent"] == pytest.approx(100 * (0.9 + 0.7 + 0) / 3)
    assert mean["published_chamfer_l1_mm"] == pytest.approx(2)
    assert mean["published_normals"] == pytest.approx((0.9 + 0.9 - 1) / 3)
    assert mean["penetration_volume_cm3"] == 2
    assert mean["true_penetration_volume_cm3"] == 2  # one value per pair, failed or not
    assert (mean["hands"], mean["poses"], mean["frames"]) == (4, 2, 2)
    assert (mean["failures"], mean["failed_empty"], mean["failed_missing"], mean["failed_open"]) == (2, 1, 1, 0)
    assert (mean["published_hands"], mean["published_chamfer_hands"], mean["penetration_pairs"]) == (3, 2, 1)


def test_metrics_without_values_stay_undefined(tmp_path):
    """A method without an occupancy field has no field IoU, also if one of its hands failed."""
    rows = [one | {"field_iou": None, "published_field_iou": None} for one in records()]
    summary = summarize(read_records([written(tmp_path / "0.parquet", rows, facts())]))
    assert summary["field_iou_percent"].isna().all()
    assert "halo.model.field_iou_percent" not in flat_metrics(summary)
    assert "field IoU" not in markdown(summary, TITLE, "note", 2)


def test_all_hands_failed(tmp_path):
    rows = [row(0, side, failure="missing") for side in ("left", "right")]
    (mean,) = summarize(read_records([written(tmp_path / "0.parquet", rows, facts())])).to_dict("records")
    assert mean["mesh_iou_percent"] == 0
    assert mean["chamfer_l1_mm"] == FAILURE_DISTANCE_MM
    assert math.isnan(mean["published_iou_percent"])


def test_order_of_files_does_not_matter(tmp_path):
    first = written(tmp_path / "0.parquet", records()[:2], facts())
    second = written(tmp_path / "1.parquet", records()[2:], facts())
    pd.testing.assert_frame_equal(read_records([first, second]), read_records([second, first]))


def test_a_hand_in_two_files_is_refused(file, tmp_path):
    twice = written(tmp_path / "1.parquet", records()[:1], facts())
    with pytest.raises(DataError, match="for example 3_0_left, are in two"):
        read_records([file, twice])


def test_unknown_column_and_no_files_are_refused(tmp_path):
    with pytest.raises(DataError, match="no column"):
        write_records(tmp_path / "x.parquet", [{"accuracy": 1}], Provenance())
    with pytest.raises(DataError, match="no evaluation files"):
        read_records([])
    (tmp_path / "x.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DamagedFileError, match=r"x\.parquet"):
        read_records([tmp_path / "x.parquet"])


def test_methods_on_different_hands_are_refused(file, tmp_path):
    other = written(tmp_path / "1.parquet", records("intaghand")[:2], facts("intaghand"))
    with pytest.raises(DataError, match="halo/model was evaluated on 4 hands and intaghand/model on 2, of which 2"):
        summarize(read_records([file, other]))


def test_formats_agree(file, tmp_path):
    """CSV and Parquet hold all digits of the same numbers, Markdown and LaTeX rounded ones, metrics.json flat ones."""
    summary = summarize(read_records([file]))
    write_tables(tmp_path / "tables", "shape", summary, TITLE, "Dataset: stand-in & more", 2)
    folder = tmp_path / "tables"
    pd.testing.assert_frame_equal(pd.read_parquet(folder / "shape.parquet"), summary)
    pd.testing.assert_frame_equal(pd.read_csv(folder / "shape.csv"), summary, check_exact=False, rtol=1e-15)
    text, tex = (folder / "shape.md").read_text(), (folder / "shape.tex").read_text()
    for content in (text, tex):
        assert "51.00" in content  # mean of our Chamfer-L1 with the penalty
        assert "53.33" in content  # published IoU
    assert "| halo | model |" in text
    assert "Dataset: stand-in & more" in text
    for word in (r"\toprule", r"\midrule", r"\bottomrule", r"\cmidrule(lr){1-8}", r"stand-in \& more", r"mm$^2$"):
        assert word in tex
    write_metrics(folder, flat_metrics(summary))
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["halo.model.published_iou_percent"] == summary["published_iou_percent"][0]
    assert metrics["halo.model.failures"] == 2
    assert all(isinstance(value, (int, float)) for value in metrics.values())


def test_tex_columns_are_as_many_as_declared(file):
    """In each of the three tables, and each says what it was measured on."""
    tables = latex(summarize(read_records([file])), TITLE, "the note", 1).split(r"\begin{tabular}{")[1:]
    assert len(tables) == 3
    for table in tables:
        declared = table.split("}")[0]
        assert r"\footnotesize the note" in table
        (line,) = [line for line in table.splitlines() if line.startswith("halo")]
        assert line.count("&") + 1 == len(declared)


def test_units_stand_in_names_and_labels(file):
    summary = summarize(read_records([file]))
    text = markdown(summary, TITLE, "note", 3)
    assert "IoU (%) ↑" in text
    assert "Chamfer-L1 (mm) ↓" in text
    assert all(metric.name in summary for metric in METRICS)


def test_protocol_card(file, tmp_path):
    rows = read_records([file])
    card = protocol_card(rows, [file])
    assert card["dataset"] == "two hands (synthetic stand-in)"
    assert (card["split"], card["frames"], card["poses"], card["evaluated_hands"]) == ("test", 3, 2, 4)
    assert card["hands_not_evaluated"] == 0
    (method,) = card["methods"]
    assert method["failures"] == {"missing": 1, "empty": 1, "full": 0, "open": 0}
    assert method["alignment"] == "wrist"
    assert "true keypoints" in method["keypoints"]
    assert card["penetration"]["pairs_by_method"] == {"grid": 1}
    departures = " ".join(card["published"]["departures"])
    assert "winding" in departures
    assert "instead of 100000" not in departures
    write_card(tmp_path, card)
    assert json.loads((tmp_path / "protocol_card.json").read_text()) == card
    text = (tmp_path / "protocol_card.md").read_text()
    assert "- dataset: two hands (synthetic stand-in)" in text
    assert text == card_markdown(card)
    assert "synthetic stand-in" in note(card)
    assert card["split_hash"][:12] in note(card)


def test_card_names_every_departure_in_numbers(tmp_path):
    few = facts(surface_samples=500, queries={"published": 400, "uniform_hand": 10, "label_rule": "published"})
    path = written(tmp_path / "0.parquet", records(), few)
    departures = " ".join(protocol_card(read_records([path]), [path])["published"]["departures"])
    assert "400 query points per hand instead of 100000" in departures
    assert "500 surface points per hand instead of 100000" in departures
    assert "winding" not in departures


def test_split_hash_follows_the_frame_list():
    first, second = facts(), facts(frame_names=["a.jpg", "c.jpg", "b.jpg"])
    assert first.measuring["split_hash"] != second.measuring["split_hash"]


@pytest.mark.parametrize(
    "change", [{"seed": 5}, {"surface_samples": 10}, {"dataset": "InterHand2.6M"}, {"penetration": "boolean"}]
)
def test_differently_measured_files_are_refused(file, tmp_path, change):
    other = written(tmp_path / "1.parquet", records("intaghand"), facts("intaghand", **change))
    with pytest.raises(DataError, match=next(iter(change))):
        protocol_card(read_records([file, other]), [file, other])


def test_shards_of_different_weights_are_refused(tmp_path):
    first = written(tmp_path / "0.parquet", records()[:2], facts())
    changed = facts()
    changed = EvaluationFacts(changed.method, changed.source, changed.measuring, {"threshold": 0.4})
    second = written(tmp_path / "1.parquet", records()[2:], changed)
    with pytest.raises(DataError, match="different settings or weights"):
        protocol_card(read_records([first, second]), [first, second])


def test_files_without_facts_are_refused(tmp_path):
    write_records(tmp_path / "0.parquet", records(), Provenance({"fake": True}))
    with pytest.raises(DataError, match="is missing in the evaluation file"):
        EvaluationFacts.read(tmp_path / "0.parquet")


def test_records_layout_keeps_types_and_nulls(file):
    frame = read_records([file])
    assert list(frame.columns) == RECORDS.column_names()
    assert frame["frame_id"].dtype == np.int64
    assert pd.isna(frame.set_index("hand_id").loc["3_0_left", "failure"])
    assert np.isnan(frame.set_index("hand_id").loc["3_1_right", "published_iou"])


def test_log_line():
    assert describe(records()) == "4 hands, 2 failed {'empty': 1, 'missing': 1}, mean mesh IoU of the others 0.800"
    assert "nothing to average" in describe([row(0, "left", failure="missing")])
