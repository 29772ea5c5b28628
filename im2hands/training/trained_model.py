"""The output of a finished training in `models/<network>/`: weights, card, metrics and curves."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from im2hands.io.atomic import write_json, write_text
from im2hands.io.errors import CheckpointError
from im2hands.networks.model_folder import ModelCard, read_model, write_model
from im2hands.training.curves import EMPTY_CURVES
from im2hands.training.loop import TrainingResult

METRICS, CURVES = "metrics.json", "curves.csv"
LICENCES = {
    "InterHand2.6M": "trained on InterHand2.6M (CC BY-NC 4.0) with MANO fits (MANO licence): non-commercial research only",
}


def write_trained_model(
    output: str | os.PathLike,
    result: TrainingResult,
    *,
    network: str,
    architecture: Mapping[str, Any],
    selection: str,
    dataset: str,
    parameters: Mapping[str, Any],
    seed: int,
    data: Mapping[str, str],
    compat: Mapping[str, str],
    metrics: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Writes model.safetensors, card.json, metrics.json and curves.csv; returns the metrics.

    selection: how the kept weights were chosen.  data: role -> SHA-256 of an input.  metrics: more of them. What a validation
    leaves undefined is not written.
    """
    metrics = {name: value for name, value in result.metrics.items() if math.isfinite(value)} | dict(metrics or {})
    card = ModelCard(
        network=network,
        architecture=architecture,
        origin={"kind": "trained", "weights": selection},
        dataset=dataset,
        licence=LICENCES.get(dataset, f"that of the dataset {dataset}"),
        parameters=parameters,
        seed=seed,
        data=data,
        compat=compat,
        metrics=metrics,
    )
    write_model(output, result.weights, card)
    write_json(Path(output) / METRICS, metrics)
    write_text(Path(output) / CURVES, result.curves)
    return metrics


def use_given_weights(given: str | os.PathLike, network: str, output: str | os.PathLike) -> dict[str, Any]:
    """Takes an imported or elsewhere trained model for one of this workflow; returns the metrics on its card.

    given: its folder.  Raises DataError if it is missing or damaged, CheckpointError if it contains another network.
    """
    if Path(given).resolve() == Path(output).resolve():
        raise CheckpointError(
            f"{given}: the workflow writes this folder itself; import the weights into another folder."
        )
    weights, card = read_model(given, network)
    write_model(output, weights, card)
    metrics = dict(card.metrics)
    write_json(Path(output) / METRICS, metrics)
    write_text(Path(output) / CURVES, EMPTY_CURVES)
    return metrics
