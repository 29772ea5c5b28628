"""Charts stay inside their frame and say in words what they show; logs that are not logs are refused."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from im2hands.io.errors import DamagedFileError, DataError
from im2hands.report.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Chart, Line, Mark, running_median
from im2hands.report.curves import training_curves
from im2hands.training.curves import EMPTY_CURVES

values = st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=30)


def points(svg: str) -> np.ndarray:
    paths = [element.get("d") for element in ElementTree.fromstring(svg).iter() if "line" in element.get("class", "")]
    return np.array([[float(x) for x in pair.split()] for path in paths for pair in path[1:].split("L")])


@settings(max_examples=60)
@given(y=values, log=st.booleans())
def test_lines_stay_inside_the_frame(y, log):
    line = Line("a", np.arange(len(y), dtype=float), np.array(y), "series-val")
    drawn = points(Chart("what", "x", "y", [line], log=log).svg())
    assert len(drawn) == len(y)
    assert (drawn[:, 0] >= LEFT - 0.1).all() and (drawn[:, 0] <= WIDTH - RIGHT + 0.1).all()
    assert (drawn[:, 1] >= TOP - 0.1).all() and (drawn[:, 1] <= HEIGHT - BOTTOM + 0.1).all()


def test_larger_is_higher_and_words_are_escaped():
    line = Line("a < b", np.array([0.0, 1, 2]), np.array([1.0, 3, 2]), "series-val")
    svg = Chart('all "of" <it>', "x & y", "y", [line], marks=[Mark(1, 3, "top", "best")]).svg()
    first, second, third = points(svg)[:, 1]
    assert second < third < first
    root = ElementTree.fromstring(svg)
    assert root.get("aria-label") == 'all "of" <it>'
    texts = [element.text for element in root.iter() if element.text]
    assert {"a < b", "x & y", "top"} <= set(texts)


def test_long_lines_are_thinned_but_keep_their_ends():
    x = np.arange(5000.0)
    drawn = points(Chart("", "", "", [Line("", x, x, "series-val")]).svg())
    assert len(drawn) <= 400
    assert drawn[0, 0] == LEFT and drawn[-1, 0] == WIDTH - RIGHT


def test_what_is_not_finite_or_not_positive_on_a_logarithmic_axis_is_left_out():
    y = np.array([1.0, np.nan, 0.0, -1.0, np.inf, 10.0])
    line = Line("", np.arange(6.0), y, "series-val")
    assert len(points(Chart("", "", "", [line], log=True).svg())) == 2
    empty = Chart("", "", "", [Line("", np.zeros(0), np.zeros(0), "series-val")]).svg()
    assert "line" not in [element.get("class") for element in ElementTree.fromstring(empty).iter()]


def test_labels_at_the_ends_do_not_cover_each_other():
    lines = [Line(str(i), np.arange(3.0), np.full(3, 1 + 1e-6 * i), "series-val") for i in range(4)]
    heights = sorted(float(y) for y in re.findall(r'class="label[^>]* y="([\d.]+)"', Chart("", "", "", lines).svg()))
    assert len(heights) == 4
    assert (np.diff(heights) >= 14).all()


def test_running_median_ignores_a_spike():
    y = np.ones(21)
    y[10] = 100
    assert (running_median(y, 5) == 1).all()


def write_log(path, lines):
    path.write_text("\n".join(["step,learning_rate,train_loss,val_loss,val_iou", *lines]) + "\n")
    return path


def test_curves_of_a_log(tmp_path):
    lines = [f"{s},0.01,{1 / s},," if s % 50 else f"{s},0.01,{1 / s},{2 / s},{s / 400}" for s in range(1, 201)]
    loss, iou = training_curves(write_log(tmp_path / "curves.csv", lines))
    assert loss.chart.log
    assert [line.label for line in loss.chart.lines] == ["training", "training", "validation"]
    assert "Validation: 0.01 after 200 steps." in loss.caption
    assert iou.caption == "Validation: 0.5 after 200 steps."
    assert iou.chart.limits == (0, 1)


def test_a_best_value_before_the_last_is_said(tmp_path):
    lines = ["1,0.1,0.5,0.5,0.2", "2,0.1,0.4,0.4,0.8", "3,0.1,0.3,0.6,0.6"]
    loss, iou = training_curves(write_log(tmp_path / "curves.csv", lines))
    assert iou.caption == "Validation: 0.6 after 3 steps, best 0.8 at step 2."
    assert "best 0.4 at step 2" in loss.caption


def test_logs_that_are_none_are_refused(tmp_path):
    with pytest.raises(DataError, match="missing"):
        training_curves(tmp_path / "none.csv")
    for name, content in {"empty": "", "other": "a,b\n1,2\n", "no_step": "train_loss\n1\n"}.items():
        path = tmp_path / f"{name}.csv"
        path.write_text(content)
        with pytest.raises(DamagedFileError, match=name):
            training_curves(path)


def test_weights_that_were_given_have_no_curves(tmp_path):
    (tmp_path / "curves.csv").write_text(EMPTY_CURVES)
    assert training_curves(tmp_path / "curves.csv") == []
