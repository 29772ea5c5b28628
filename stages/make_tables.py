"""Stage `make_tables`: the result tables from the records of every hand, and the protocol card beside them."""

from im2hands.config import MakeTables
from im2hands.evaluation.keypoint_records import read_keypoint_records
from im2hands.evaluation.keypoint_tables import flat_keypoint_metrics, joint_table, refinement_table
from im2hands.evaluation.protocol_card import note, protocol_card, write_card
from im2hands.evaluation.records import read_records
from im2hands.evaluation.tables import flat_metrics, summarize, write_metrics, write_plain_table, write_tables
from im2hands.io.stage import stage_main

GIVEN = "model"


def main(records: list[str], keypoint_records: list[str], refined: list[str], output: str, params: MakeTables) -> None:
    """refined: pairs SOURCE=REFINED_FROM."""
    rows = read_records(records)
    card = protocol_card(rows, records)
    write_card(output, card)
    summary = summarize(rows)
    given, predicted = summary[summary["source"] == GIVEN], summary[summary["source"] != GIVEN]
    for name, title, part in (
        ("shape_given_keypoints", "Hand shape given keypoints", given),
        ("shape_predicted_keypoints", "Hand shape from predicted keypoints", predicted),
    ):
        write_tables(output, name, part.reset_index(drop=True), title, note(card), params.decimals)
    errors = read_keypoint_records(keypoint_records)
    keypoints = refinement_table(errors, dict(pair.split("=", 1) for pair in refined))
    for name, title, table in (
        ("keypoint_refinement", "Keypoint refinement", keypoints),
        ("keypoint_joints", "Error of every joint (mm)", joint_table(errors)),
    ):
        write_plain_table(output, name, table, title, note(card), params.decimals)
    write_metrics(output, flat_metrics(summary) | flat_keypoint_metrics(keypoints))
    print(
        f"{output}: {len(given)} methods with given keypoints, {len(predicted)} with others, {len(keypoints)} sources"
    )


if __name__ == "__main__":
    stage_main(main)
