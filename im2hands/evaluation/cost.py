"""The cost table: parameters, time, memory and field evaluations of every method, as the run itself measured them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors import SafetensorError, safe_open

from im2hands.io.errors import CheckpointError, DataError
from im2hands.io.tables import file_card, read_parquet
from im2hands.reconstruction.storage import TIMINGS

COLUMNS = (
    *("method", "keypoints", "device", "threads", "parameters", "hand pairs"),
    *("seconds per pair", "of which evaluation points", "field evaluations per hand", "peak memory (MiB)"),
)


def cost_table(timings: Sequence[str | os.PathLike], models: Mapping[str, str | os.PathLike]) -> pd.DataFrame:
    """One row per method and keypoint source.

    timings: files of the stage reconstruct.  models: method -> folder of its weights; others (external) have no parameters.
    Seconds are wall-clock time of one worker for one hand pair: reading the image, encoding it, and the whole surface
    search; hands that were set aside before any computation do not count, and predicting keypoints has stages of its own.
    Memory is that of the main process and the largest worker together, without that of a GPU. Parameters include stored
    constants such as graphs, and for `im2hands` the initial network.
    Raises DataError for a file that does not say what it timed.
    """
    parts: dict[tuple[str, str], list[tuple[pd.DataFrame, dict]]] = {}
    for path in timings:
        table = read_parquet(path, TIMINGS).to_pandas()
        facts = file_card(path)["provenance"]["parameters"]
        if not {"method", "source", "machine"} <= set(facts):
            raise DataError(f"{path}: does not state what was timed; run reconstruct again.")
        parts.setdefault((facts["method"], facts["source"]), []).append((table, facts["machine"]))
    counts = {method: parameter_count(folder) for method, folder in models.items()}
    rows = []
    for (method, source), found in sorted(parts.items()):
        seconds = pd.concat([table for table, _ in found])
        seconds = seconds[seconds["extraction_s"] + seconds["evaluation_points_s"] > 0]  # not those without keypoints
        machines = [machine for _, machine in found]
        hands = zip(seconds["hand_id"], seconds["frame_ids"], strict=True)
        pairs = len({(hand.rpartition("_")[0], tuple(frames)) for hand, frames in hands})
        field = seconds["evaluations"][seconds["evaluations"] > 0]
        rows.append(
            (
                method,
                source,
                ", ".join(sorted({machine["device"] for machine in machines})),
                ", ".join(sorted({str(machine["threads"]) for machine in machines})),
                counts.get(method),
                pairs,
                float((seconds["extraction_s"] + seconds["evaluation_points_s"]).sum() / pairs) if pairs else np.nan,
                float(seconds["evaluation_points_s"].sum() / pairs) if pairs else np.nan,
                float(field.mean()) if len(field) else np.nan,
                max(machine["peak_memory_mb"] for machine in machines),
            )
        )
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"parameters": "Int64"})


def parameter_count(folder: str | os.PathLike) -> int:
    """Numbers in the weight file of a model folder, buffers included. Raises CheckpointError if it cannot be read."""
    path = Path(folder, "model.safetensors")
    try:
        with safe_open(path, framework="np") as weights:
            return sum(int(np.prod(weights.get_slice(name).get_shape())) for name in weights.keys())  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path}: not a readable weight file ({error}); train or import the network again."
        ) from None
