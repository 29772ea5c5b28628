"""The table of all ablations, `results/ablations/ablations.*`: methods of the run and those trained for the table."""

from __future__ import annotations

import argparse

import pandas as pd

from im2hands.evaluation.comparisons import ablation_table
from im2hands.evaluation.protocol_card import note
from im2hands.evaluation.records import read_records
from im2hands.evaluation.tables import write_plain_table
from im2hands.io.atomic import read_json

NOTE = "Every ablation was trained with the parameters of the run but for what its name says."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", nargs="+", required=True)
    parser.add_argument("--variants", nargs="+", required=True, help="files of workflow.ablations")
    parser.add_argument("--card", required=True)
    parser.add_argument("--output", required=True)
    parser.add_argument("--decimals", type=int, required=True)
    arguments = parser.parse_args()
    trained = {found["variant"].iloc[0]: found for found in map(pd.read_parquet, arguments.variants)}
    table = ablation_table(read_records(arguments.records), trained)
    text = f"{NOTE} {note(read_json(arguments.card))}"
    write_plain_table(arguments.output, "ablations", table, "Ablations", text, arguments.decimals)
    print(f"{arguments.output}: {len(trained)} ablations")


if __name__ == "__main__":
    main()
