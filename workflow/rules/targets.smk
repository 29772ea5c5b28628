# The targets of `snakemake`: every file that DVC tracks, and one target per stage: `snakemake -- all_index_frames`.

# Stage -> files; the stages are those of dvc.yaml.
TRACKED = {}
if config["dataset"]["hand_model"] == paths.BUILT_IN_HAND:
    TRACKED["write_hand_model"] = list(rules.write_hand_model.output)
if config["dataset"]["root"] == paths.SYNTHETIC:
    TRACKED["synthesize_dataset"] = expand(list(rules.synthesize_dataset.output), split=SPLITS)
if paths.is_drawn(config):
    TRACKED["draw_crops"] = expand(list(rules.draw_crops.output), split=SPLITS)
else:
    TRACKED |= {
        "index_frames": expand(list(rules.index_frames.output), split=SPLITS),
        "fit_hands": expand(list(rules.fit_hands.output), split=SPLITS),
        "normalize_images": sharded(
            "normalize_images", rules.normalize_images.output.shard, rules.gather_images.output.manifest
        ),
    }
TRACKED |= {
    "sample_queries": sharded(
        "sample_queries", rules.sample_queries.output.shard, rules.gather_queries.output.manifest
    ),
    "sample_evaluation_queries": sharded(
        "sample_evaluation_queries",
        rules.sample_evaluation_queries.output.shard,
        rules.gather_evaluation_queries.output.manifest,
    ),
    **{
        f"train_{network}": expand("models/{n}/{name}", n=network, name=paths.MODEL_FILES)
        for network in paths.networks(config)
    },
    **paths.keypoint_files(config),
    "reconstruct": [
        file for pattern in rules.reconstruct.output for file in result_shards(pattern, paths.reconstructed(config))
    ],
    "evaluate_keypoints": expand(rules.evaluate_keypoints.output.records, source=paths.keypoint_sources(config)),
    "evaluate": result_shards(rules.evaluate.output.records),
    "make_tables": list(rules.make_tables.output),
    "make_report": list(rules.make_report.output),
}

if paths.is_trained(config, "refined_occupancy"):
    TRACKED["generate_anchors"] = sharded(
        "generate_anchors", rules.generate_anchors.output.shard, rules.gather_anchors.output.manifest
    )
if paths.imported(config):
    TRACKED["import_meshes"] = [
        file
        for kind in ("meshes/{shard}-of-{shards}.arrow", "glb/{shard}-of-{shards}")
        for file in result_shards(f"results/{{method}}/{{source}}/{kind}", paths.imported(config))
    ]


for stage, files in TRACKED.items():

    rule:
        name:
            f"all_{stage}"
        input:
            files,
