"""Stage `reconstruct`: meshes of both hands of some pairs of the test split, and their field at the evaluation points."""

from pathlib import Path

from im2hands.config import Behaviour, Reconstruct
from im2hands.datasets.hands import HandTable
from im2hands.datasets.queries import EvaluationQueries
from im2hands.io.stage import stage_main
from im2hands.io.tables import Provenance
from im2hands.networks.model_folder import WEIGHTS
from im2hands.reconstruction.fields import choose_device
from im2hands.reconstruction.inputs import COLUMNS, bone_inputs, fields_of
from im2hands.reconstruction.placement import ALIGNMENT
from im2hands.reconstruction.storage import write_surfaces
from im2hands.reconstruction.surfaces import Extraction, reconstruct_pairs


def main(
    method: str,
    source: str,
    hands: str,
    queries: str,
    model: str,
    shard: int,
    shards: int,
    meshes: str,
    timings: str,
    scenes: str,
    angle_clamp: Behaviour,
    query_frame: Behaviour,
    params: Reconstruct,
    gpus: int = 0,
    threads: int = 1,
) -> None:
    device = choose_device(gpus)
    fields = fields_of(method, model, params.points_per_call, device)
    table, evaluation = HandTable.read(hands, COLUMNS), EvaluationQueries.read(queries)
    inputs = bone_inputs(table, evaluation, source, angle_clamp, query_frame).shard(shard, shards)
    extraction = Extraction(params.grid, params.resolution, params.threshold)
    workers = threads if device.type == "cpu" else 1
    pairs = reconstruct_pairs(fields, inputs, inputs.pair_ids, extraction, params.pairs_per_batch, workers)
    settings = params.model_dump(include={"grid", "resolution", "threshold"}) | {
        "method": method,
        "source": source,
        "alignment": ALIGNMENT,
        "angle_clamp": angle_clamp,
        "query_frame": query_frame,
    }
    sources = {"hands": hands, "queries": queries, "model": Path(model, WEIGHTS)}
    summary = write_surfaces(meshes, timings, scenes, pairs, Provenance(settings, sources=sources), params.formats)
    print(f"{meshes}: {summary}; on {device}")


if __name__ == "__main__":
    stage_main(main)
