# Predictions of trained networks for frames: keypoints, refined keypoints, anchors for refined occupancy.


rule predict_keypoints:
    input:
        frames="data/frames/{split}.parquet",
        hands="data/hands/{split}.parquet",
        images="data/images/{split}/manifest.json",
        model_files=paths.model_files("intaghand"),
        hand_model_files=paths.hand_model_files(config),
        code=sources("stages/predict_keypoints.py"),
    output:
        keypoints="data/keypoints/intaghand/{split}.parquet",
    log:
        "logs/predict_keypoints/{split}.log",
    benchmark:
        "logs/benchmarks/predict_keypoints/{split}.tsv"
    priority: 30
    threads: share_of_cores(workflow, len(SPLITS))
    resources:
        gpu=1,
        mem_mb=8000,
    params:
        files=named_files,
        arguments=parameters("predict_keypoints"),
    message:
        "predict keypoints with IntagHand: {wildcards.split}"
    shell:
        "python -m stages.predict_keypoints {params.files} --model models/intaghand --split {wildcards.split} "
        "--output {output.keypoints} --gpus {resources.gpu} --threads {threads} {params.arguments} > {log} 2>&1"


rule perturb_keypoints:
    input:
        frames="data/frames/{split}.parquet",
        hands="data/hands/{split}.parquet",
        code=sources("stages/perturb_keypoints.py"),
    output:
        keypoints=f"data/keypoints/{paths.PERTURBED}/{{split}}.parquet",
    log:
        "logs/perturb_keypoints/{split}.log",
    benchmark:
        "logs/benchmarks/perturb_keypoints/{split}.tsv"
    resources:
        mem_mb=2000,
    params:
        files=named_files,
        arguments=parameters("perturb_keypoints"),
    message:
        "add noise to the true keypoints: {wildcards.split}"
    shell:
        "python -m stages.perturb_keypoints {params.files} --split {wildcards.split} --output {output.keypoints} "
        "{params.arguments} > {log} 2>&1"


rule apply_keypoint_prior:
    input:
        frames="data/frames/{split}.parquet",
        keypoints="data/keypoints/{source}/{split}.parquet",
        model_files=paths.model_files("keypoint_prior"),
        code=sources("stages/apply_keypoint_prior.py"),
    output:
        keypoints=f"data/keypoints/{{source}}{paths.PRIOR}/{{split}}.parquet",
    log:
        "logs/apply_keypoint_prior/{source}.{split}.log",
    benchmark:
        "logs/benchmarks/apply_keypoint_prior/{source}.{split}.tsv"
    wildcard_constraints:
        source="|".join(paths.corrected_from(config).values()) or "none",
    resources:
        mem_mb=2000,
    params:
        files=named_files,
        arguments=parameters("apply_keypoint_prior"),
    message:
        "correct {wildcards.source} keypoints with the prior: {wildcards.split}"
    shell:
        "python -m stages.apply_keypoint_prior {params.files} --model models/keypoint_prior "
        "--source {wildcards.source}_prior --split {wildcards.split} --output {output.keypoints} "
        "{params.arguments} > {log} 2>&1"


rule refine_keypoints:
    input:
        frames="data/frames/{split}.parquet",
        hands="data/hands/{split}.parquet",
        images="data/images/{split}/manifest.json",
        keypoints=lambda wildcards: f"data/keypoints/{paths.refined_from(config)[wildcards.source]}/{wildcards.split}.parquet",
        model_files=paths.model_files("keypoint_refinement"),
        prior_files=paths.model_files("keypoint_prior") if paths.uses_prior(config) else [],
        code=sources("stages/refine_keypoints.py"),
    output:
        keypoints="data/keypoints/{source}/{split}.parquet",
    log:
        "logs/refine_keypoints/{source}.{split}.log",
    benchmark:
        "logs/benchmarks/refine_keypoints/{source}.{split}.tsv"
    wildcard_constraints:
        source="|".join(paths.refined_from(config)),
    threads: share_of_cores(workflow, len(paths.refined_from(config)))
    resources:
        gpu=1,
        mem_mb=8000,
    params:
        files=named_files,
        prior="--prior models/keypoint_prior" if paths.uses_prior(config) else "",
        arguments=parameters("refine_keypoints"),
    message:
        "refine keypoints to {wildcards.source}: {wildcards.split}"
    shell:
        "python -m stages.refine_keypoints {params.files} --model models/keypoint_refinement {params.prior} "
        "--source {wildcards.source} --split {wildcards.split} --output {output.keypoints} "
        "--gpus {resources.gpu} --threads {threads} {params.arguments} > {log} 2>&1"


rule generate_anchors:
    input:
        frames="data/frames/{split}.parquet",
        hands="data/hands/{split}.parquet",
        images="data/images/{split}/manifest.json",
        model_files=paths.model_files("initial_occupancy"),
        code=sources("stages/generate_anchors.py"),
    output:
        shard="data/anchors/{split}/{shard}-of-{shards}.arrow",
    log:
        "logs/generate_anchors/{split}.{shard}-of-{shards}.log",
    benchmark:
        "logs/benchmarks/generate_anchors/{split}.{shard}-of-{shards}.tsv"
    priority: 40
    threads: share_of_cores(workflow, config["generate_anchors"]["shards"]["train"] + config["generate_anchors"]["shards"]["val"])
    resources:
        gpu=1,
        mem_mb=8000,
    params:
        files=named_files,
        arguments=parameters("generate_anchors"),
    message:
        "draw anchors on the initial surfaces: {wildcards.split} {wildcards.shard} of {wildcards.shards}"
    shell:
        "python -m stages.generate_anchors {params.files} --model models/initial_occupancy --shard {wildcards.shard} "
        "--shards {wildcards.shards} --output {output.shard} --gpus {resources.gpu} --threads {threads} "
        "{params.arguments} > {log} 2>&1"


use rule gather_queries as gather_anchors with:
    input:
        shards=folder_shards("generate_anchors", "data/anchors/{split}/{shard}-of-{shards}.arrow"),
        code=sources("stages/gather_shards.py"),
    output:
        manifest="data/anchors/{split}/manifest.json",
    log:
        "logs/gather_anchors/{split}.log",
    benchmark:
        "logs/benchmarks/gather_anchors/{split}.tsv"
