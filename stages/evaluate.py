"""Stage `evaluate`: every metric of every hand of a mesh shard, by both protocols."""

from im2hands.config.sections import Evaluate
from im2hands.datasets.frames import FrameTable
from im2hands.datasets.hands import HandTable
from im2hands.datasets.images import CropSet
from im2hands.datasets.queries import EvaluationQueries
from im2hands.evaluation.protocol_card import (
    EvaluationFacts,
    making_facts,
    measuring_facts,
    query_parameters,
    split_facts,
)
from im2hands.evaluation.records import describe, write_records
from im2hands.evaluation.shards import COLUMNS, Measuring, evaluate_shard
from im2hands.hands.model_files import load_hand_models
from im2hands.io.stage import stage_main
from im2hands.io.tables import Provenance
from im2hands.reconstruction.storage import read_surfaces


def main(
    method: str,
    source: str,
    meshes: str,
    hands: str,
    frames: str,
    images: str,
    queries: str,
    hand_model: str,
    output: str,
    seed: int,
    params: Evaluate,
    threads: int = 1,
) -> None:
    surfaces, models = read_surfaces(meshes), load_hand_models(hand_model)
    frame_table, evaluation = FrameTable.read(frames), EvaluationQueries.read(queries)
    measured = measuring_facts(
        **split_facts(frame_table, frames), seed=seed, queries=query_parameters(evaluation), **params.model_dump()
    )
    facts = EvaluationFacts(method, source, measured, making_facts(surfaces))
    rows = evaluate_shard(
        surfaces,
        evaluation,
        HandTable.read(hands, COLUMNS, surfaces.hand_ids()),
        frame_table,
        CropSet(images),
        models,
        Measuring(params.surface_samples, seed, params.penetration, params.penetration_cell_mm / 1000),
        {"method": method, "source": source},
        threads,
    )
    sources = {"meshes": meshes, "hands": hands, "frames": frames, "images": images, "queries": queries}
    sources |= {f"hand_model_{side.value}": models[side].source for side in models}
    write_records(output, rows, Provenance(facts.as_parameters(), seed, sources))
    print(f"{output}: {describe(rows)}")
    by_cells = {row["pair_id"] for row in rows if row.get("penetration_method") == "grid"}
    if params.penetration == "boolean" and by_cells:
        print(
            f"{len(by_cells)} pairs measured with cells, because one of their surfaces is not closed or intersects itself"
        )


if __name__ == "__main__":
    stage_main(main)
