"""Stage `evaluate_keypoints`: errors of one keypoint source, per frame, hand and joint, in every protocol."""

import numpy as np

from im2hands.datasets.frames import FrameTable, pair_id
from im2hands.datasets.hands import HandTable
from im2hands.datasets.keypoints import KeypointTable
from im2hands.evaluation.keypoint_records import (
    TRUE_COLUMNS,
    aimed_truth,
    keypoint_errors,
    summarize_keypoints,
    true_keypoints,
    write_keypoint_records,
)
from im2hands.io.stage import stage_main
from im2hands.io.tables import Provenance, file_card


def main(source: str, hands: str, frames: str, output: str, keypoints: str | None = None) -> None:
    table, true = FrameTable.read(frames), HandTable.read(hands, TRUE_COLUMNS)
    sources = {"frames": frames, "hands": hands}
    if keypoints is None:
        fitted, truths = true_keypoints(table, true)
        predicted, reasons = truths["model"], np.where(fitted, None, "a hand was set aside").tolist()
        made_by = {"origin": "model"}
    else:
        given = KeypointTable.read(keypoints)
        given.require_frames([pair_id(*key) for key in table.pair_keys], frames)
        predicted, reasons, made_by = given.keypoints(), given.reasons, given.parameters
        sources["keypoints"] = keypoints
    records = keypoint_errors(source, table, true, predicted, reasons)
    dataset = file_card(hands)["provenance"]["parameters"].get("dataset", "unknown")
    facts = {"source": source, "truth": aimed_truth(source), "dataset": dataset, "made_by": made_by}
    write_keypoint_records(output, records, Provenance(facts, sources=sources))
    summary = summarize_keypoints(records.to_pandas()).iloc[0]
    error = summary[f"{summary['truth']}_knuckle_scaled_mm"]
    print(
        f"{output}: {summary['hands']} hands, {summary['unusable']} without keypoints, mean joint error {error:.2f} mm"
    )


if __name__ == "__main__":
    stage_main(main)
