"""Stage `sample_evaluation_queries`: labelled points and true surfaces for evaluation, one Arrow shard per call."""

from im2hands.config.choices import Behaviour
from im2hands.config.sections import SampleEvaluationQueries
from im2hands.datasets.query_sampling import Sampling, palm_meshes, write_evaluation_shard
from im2hands.hands.model_files import load_hand_models
from im2hands.io.stage import stage_main
from im2hands.io.tables import Provenance


def main(
    hand_model: str,
    split: str,
    hands: str,
    shard: int,
    shards: int,
    output: str,
    label_rule: Behaviour,
    seed: int,
    params: SampleEvaluationQueries,
    threads: int = 1,
) -> None:
    models = load_hand_models(hand_model)
    meshes, rejected = palm_meshes(hands, models, shard, shards)
    counts = {name: getattr(params, name)[split] for name in ("published", "uniform_hand", "surface")}
    settings = {"near_surface_sigma_mm": params.near_surface_sigma_mm, "hand_margin_mm": params.hand_margin_mm}
    sources = {"hands": hands, **{f"hand_model_{side.value}": model.source for side, model in models.items()}}
    conflicts = write_evaluation_shard(
        output,
        meshes,
        counts,
        Sampling.of_params(params.near_surface_sigma_mm, params.hand_margin_mm, label_rule, seed),
        Provenance(settings | counts | {"label_rule": label_rule}, seed, sources),
        threads,
    )
    print(
        f"{output}: {len(meshes)} hands ({rejected} without a palm frame left out), {counts}; "
        f"parity and winding number disagree on {conflicts} points"
    )


if __name__ == "__main__":
    stage_main(main)
