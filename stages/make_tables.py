"""Stage `make_tables`: the result tables from the records of every hand, and their protocol card."""

import pandas as pd

from im2hands.config.sections import MakeTables
from im2hands.evaluation.comparisons import ablation_table, by_difficulty, paired_differences, sources_of
from im2hands.evaluation.cost import cost_table
from im2hands.evaluation.failure_table import failure_table
from im2hands.evaluation.keypoint_records import read_keypoint_records
from im2hands.evaluation.keypoint_tables import flat_keypoint_metrics, joint_table, refinement_table
from im2hands.evaluation.protocol_card import note, protocol_card, write_card
from im2hands.evaluation.published_results import HEADING, all_published, beside, notes_of_all
from im2hands.evaluation.records import read_records
from im2hands.evaluation.tables import flat_metrics, summarize, write_metrics, write_plain_table, write_tables
from im2hands.io.stage import pairs, stage_main

GIVEN = "model"
WITHOUT_TRAINING = (
    "Rows of this run need no training of their own. The other ablations are trained by `snakemake ablations`, whose table is "
    "results/ablations/ablations.md."
)
COST = (
    "Wall-clock time of one worker, measured while the run used the machine; it differs from run to run. Predicting and "
    "refining keypoints is not part of it. Parameters include stored constants; memory leaves out that of a GPU."
)


def main(
    records: list[str],
    keypoint_records: list[str],
    refined: list[str],
    timings: list[str],
    models: list[str],
    output: str,
    seed: int,
    params: MakeTables,
) -> None:
    """refined: pairs SOURCE=REFINED_FROM.  models: pairs METHOD=FOLDER."""
    rows = read_records(records)
    card = protocol_card(rows, records)
    write_card(output, card)
    summary = summarize(rows)
    given, predicted = summary[summary["source"] == GIVEN], summary[summary["source"] != GIVEN]
    for name, title, part in (
        ("shape_given_keypoints", "Hand shape given keypoints", given),
        ("shape_predicted_keypoints", "Hand shape from predicted keypoints", predicted),
    ):
        write_tables(output, name, part.reset_index(drop=True), title, note(card), params.decimals, beside(name))
    errors = read_keypoint_records(keypoint_records)
    keypoints = refinement_table(errors, pairs(refined))
    differences = pd.concat([paired_differences(part, seed) for part in sources_of(rows, GIVEN)], ignore_index=True)
    for name, title, table, remark in (
        ("keypoint_refinement", "Keypoint refinement", keypoints, ""),
        ("keypoint_joints", "Error of every joint (mm)", joint_table(errors), ""),
        ("failures", "Failed hands, by reason", failure_table(rows, errors), ""),
        ("shape_by_difficulty", "Errors by hand distance and occlusion", by_difficulty(rows), ""),
        ("paired_differences", "Paired differences with 95 % intervals", differences, ""),
        ("ablations", "Ablations", ablation_table(rows, {}), WITHOUT_TRAINING),
        ("cost", "Cost of every method", cost_table(timings, pairs(models)), COST),
    ):
        text = f"{remark} {note(card)}".strip()
        write_plain_table(output, name, table, title, text, params.decimals, beside(name))
    write_plain_table(output, "published_results", all_published(), HEADING, notes_of_all(), params.decimals)
    write_metrics(output, flat_metrics(summary) | flat_keypoint_metrics(keypoints))
    print(
        f"{output}: {len(given)} methods with given keypoints, {len(predicted)} with others, {len(keypoints)} sources"
    )


if __name__ == "__main__":
    stage_main(main)
