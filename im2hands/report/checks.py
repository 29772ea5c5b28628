"""Expectations of a sound run, checked on this run: each with its numbers, met or missed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from im2hands.io.atomic import read_json
from im2hands.networks.catalogue import TITLES
from im2hands.report.curves import read_log
from im2hands.report.facts import number

LEAST_IOU = 75.0
"""Per cent of mesh IoU that HALO reaches when the keypoints are those of the hand model."""
LARGEST_STEP_DOWN = 3.0
"""Points of mesh IoU by which a method may be worse than the one that it starts from."""
STARTS_FROM = {"initial": "halo", "im2hands": "initial"}
PART = 0.2
"""Share of the logged steps at the begin and at the end of a training whose mean losses are compared."""


@dataclass(frozen=True)
class Check:
    """expectation: a sentence.  found: the numbers."""

    expectation: str
    found: str
    met: bool


def checks(
    given: pd.DataFrame, predicted: pd.DataFrame, keypoints: pd.DataFrame, models: Sequence[str | os.PathLike]
) -> list[Check]:
    """Every expectation that this run's methods and keypoint sources allow to judge.

    given, predicted: the tables shape_given_keypoints and shape_predicted_keypoints.  keypoints: the table keypoint_refinement.
    models: folders with curves.csv.
    """
    order = _of_order(given, predicted, keypoints)
    return [*_of_shapes(given), *order, *_of_refinement(keypoints), *_of_trainings(models)]


def _of_shapes(given: pd.DataFrame) -> Iterator[Check]:
    overlap = given[given["source"] == "model"].set_index("method")["mesh_iou_percent"]
    if "halo" in overlap:
        yield Check(
            f"HALO with keypoints of the hand model: mesh IoU of at least {LEAST_IOU:.0f} %",
            f"{number(overlap['halo'], 1)} %",
            bool(overlap["halo"] >= LEAST_IOU),
        )
    for method, start in STARTS_FROM.items():
        if method in overlap and start in overlap:
            yield Check(
                f"{TITLES[method]}: mesh IoU at most {LARGEST_STEP_DOWN:.0f} points below {TITLES[start]}",
                f"{number(overlap[method], 1)} % after {number(overlap[start], 1)} %",
                bool(overlap[method] >= overlap[start] - LARGEST_STEP_DOWN),
            )


def _of_order(given: pd.DataFrame, predicted: pd.DataFrame, keypoints: pd.DataFrame) -> Iterator[Check]:
    """The order of methods in the two tables of the paper: whoever sees more makes better hands.

    There, Im2Hands refines the keypoints that HALO is given, so its row is compared with HALO's from before refinement.
    """
    overlap = pd.concat([given, predicted]).set_index(["method", "source"])["mesh_iou_percent"]
    before = keypoints.set_index("keypoints")["refined from"].to_dict()
    pairs = [(("im2hands", "model"), ("halo", "model"))]
    for method, source in overlap.index:
        if method == "im2hands" and before.get(source):
            first = before[source].removesuffix("_prior")
            pairs += [((method, source), ("halo", before[source])), ((method, source), (first, first))]
    for better, worse in pairs:
        if better in overlap.index and worse in overlap.index:
            names = [_row_name(*row) for row in (better, worse)]
            yield Check(
                f"{names[0]}: better mesh IoU than {names[1]}",
                f"{number(overlap[better], 1)} and {number(overlap[worse], 1)} %",
                bool(overlap[better] > overlap[worse]),
            )


def _row_name(method: str, source: str) -> str:
    """A row of a table in words."""
    title = TITLES.get(method, method)
    return title if source == method else f"{title} with keypoints {source}"


def _of_refinement(keypoints: pd.DataFrame) -> Iterator[Check]:
    after, before = "MPJPE, knuckle (mm)", "before: MPJPE, knuckle (mm)"
    for _, row in keypoints[keypoints["refined from"].str.startswith("perturbed")].iterrows():
        part = "The keypoint prior" if row["keypoints"].endswith("_prior") else "Keypoint refinement"
        yield Check(
            f"{part} lowers the error of {row['refined from']} (MPJPE about the middle knuckle)",
            f"{number(row[after], 1)} mm after {number(row[before], 1)} mm",
            bool(row[after] < row[before]),
        )


def started_from_weights(folder: Path) -> bool:
    """Whether a network was trained already when its training began, so that its loss need not fall."""
    card = read_json(folder / "card.json", "model card") if (folder / "card.json").is_file() else {}
    return card.get("parameters", {}).get("start", "scratch") != "scratch"


def _of_trainings(models: Sequence[str | os.PathLike]) -> Iterator[Check]:
    for folder in map(Path, models):
        log = read_log(folder / "curves.csv")
        if "train_loss" not in log or started_from_weights(folder):
            continue
        losses = log["train_loss"].dropna()
        count = max(1, round(PART * len(losses)))
        if len(losses) > count:
            begin, end = losses.iloc[:count].mean(), losses.iloc[-count:].mean()
            yield Check(
                f"{TITLES.get(folder.name, folder.name)}: the training loss falls",
                f"{end:.4g} over the last fifth of the steps, {begin:.4g} over the first",
                bool(end < begin),
            )
