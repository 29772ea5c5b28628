"""Stage `make_tables`: one row per method from the records of every hand, and the protocol card beside it."""

from im2hands.config import MakeTables
from im2hands.evaluation.protocol_card import note, protocol_card, write_card
from im2hands.evaluation.records import read_records
from im2hands.evaluation.tables import summarize, write_tables
from im2hands.io.stage import stage_main

TABLE, TITLE = "shape_given_keypoints", "Hand shape given keypoints"


def main(records: list[str], output: str, params: MakeTables) -> None:
    rows = read_records(records)
    card = protocol_card(rows, records)
    summary = summarize(rows)
    write_card(output, card)
    write_tables(output, TABLE, summary, TITLE, note(card), params.decimals)
    print(f"{output}: {len(summary)} methods, {card['evaluated_hands']} hands of {card['dataset']}")


if __name__ == "__main__":
    stage_main(main)
