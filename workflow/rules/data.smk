# From photographs and fits to frames, hands, crops and query points.


if config["dataset"]["hand_model"] == paths.BUILT_IN_HAND:

    rule write_hand_model:
        input:
            code=sources("stages/write_hand_model.py"),
        output:
            right="data/hand_model/MANO_RIGHT.npz",
            left="data/hand_model/MANO_LEFT.npz",
        log:
            "logs/write_hand_model.log",
        benchmark:
            "logs/benchmarks/write_hand_model.tsv"
        resources:
            mem_mb=1000,
        message:
            "write the built-in hand model"
        shell:
            "python -m stages.write_hand_model --output data/hand_model > {log} 2>&1"


if config["dataset"]["root"] == paths.SYNTHETIC:

    rule synthesize_dataset:
        input:
            hand_model=paths.hand_model_files(config),
            code=sources("stages/synthesize_dataset.py"),
        output:
            annotations=paths.annotations(config, "data", "camera", "joint_3d", "MANO_NeuralAnnot"),
            manifest="data/raw/synthetic/manifest_{split}.json",
        log:
            "logs/synthesize_dataset/{split}.log",
        benchmark:
            "logs/benchmarks/synthesize_dataset/{split}.tsv"
        threads: 8
        resources:
            mem_mb=2000,
        params:
            arguments=parameters("synthesize_dataset"),
        message:
            "draw the synthetic dataset: {wildcards.split}"
        shell:
            "python -m stages.synthesize_dataset --split {wildcards.split} --output data/raw/synthetic "
            "--threads {threads} {params.arguments} > {log} 2>&1"


rule sample_queries:
    input:
        hands="data/hands/{split}.parquet",
        hand_model=paths.hand_model_files(config),
        code=sources("stages/sample_queries.py"),
    output:
        shard="data/queries/{split}/{shard}-of-{shards}.arrow",
    log:
        "logs/sample_queries/{split}.{shard}-of-{shards}.log",
    benchmark:
        "logs/benchmarks/sample_queries/{split}.{shard}-of-{shards}.tsv"
    resources:
        mem_mb=2000,
    params:
        arguments=parameters("sample_queries"),
    message:
        "sample and label query points: {wildcards.split} {wildcards.shard} of {wildcards.shards}"
    shell:
        "python -m stages.sample_queries --hands {input.hands} --shard {wildcards.shard} "
        "--shards {wildcards.shards} --output {output.shard} {params.arguments} > {log} 2>&1"


rule gather_queries:
    input:
        shards=folder_shards("sample_queries", "data/queries/{split}/{shard}-of-{shards}.arrow"),
        code=sources("stages/gather_shards.py"),
    output:
        manifest="data/queries/{split}/manifest.json",
    log:
        "logs/gather_queries/{split}.log",
    benchmark:
        "logs/benchmarks/gather_queries/{split}.tsv"
    resources:
        mem_mb=500,
    message:
        "list the shards of {output.manifest}"
    shell:
        "python -m stages.gather_shards --shards {input.shards} --output {output.manifest} > {log} 2>&1"


if paths.is_drawn(config):

    rule draw_crops:
        input:
            code=sources("stages/draw_crops.py"),
        output:
            frames="data/frames/{split}.parquet",
            frame_audit="data/frames/audit_{split}.parquet",
            hands="data/hands/{split}.parquet",
            hand_audit="data/hands/audit_{split}.parquet",
            images="data/images/{split}/manifest.json",
        log:
            "logs/draw_crops/{split}.log",
        benchmark:
            "logs/benchmarks/draw_crops/{split}.tsv"
        threads: 64
        resources:
            mem_mb=4000,
        params:
            arguments=parameters("draw_crops"),
        message:
            "draw crops: {wildcards.split}"
        shell:
            "python -m stages.draw_crops --split {wildcards.split} --output data --threads {threads} "
            "{params.arguments} > {log} 2>&1"

else:

    rule index_frames:
        input:
            annotations=paths.annotations(config, "data", "camera", "MANO_NeuralAnnot"),
            images=paths.image_lists(config),
            code=sources("stages/index_frames.py"),
        output:
            frames="data/frames/{split}.parquet",
            audit="data/frames/audit_{split}.parquet",
        log:
            "logs/index_frames/{split}.log",
        benchmark:
            "logs/benchmarks/index_frames/{split}.tsv"
        threads: 8
        resources:
            mem_mb=4000,
        params:
            arguments=parameters("index_frames"),
        message:
            "select two-hand frames: {wildcards.split}"
        shell:
            "python -m stages.index_frames --split {wildcards.split} --output {output.frames} --audit {output.audit} "
            "--threads {threads} {params.arguments} > {log} 2>&1"

    rule fit_hands:
        input:
            frames="data/frames/{split}.parquet",
            annotations=paths.annotations(config, "joint_3d", "MANO_NeuralAnnot"),
            hand_model=paths.hand_model_files(config),
            code=sources("stages/fit_hands.py"),
        output:
            hands="data/hands/{split}.parquet",
            audit="data/hands/audit_{split}.parquet",
        log:
            "logs/fit_hands/{split}.log",
        benchmark:
            "logs/benchmarks/fit_hands/{split}.tsv"
        resources:
            mem_mb=4000,
        params:
            arguments=parameters("fit_hands"),
        message:
            "pose hand models and compute bone frames: {wildcards.split}"
        shell:
            "python -m stages.fit_hands --split {wildcards.split} --frames {input.frames} "
            "--output {output.hands} --audit {output.audit} {params.arguments} > {log} 2>&1"

    rule normalize_images:
        input:
            frames="data/frames/{split}.parquet",
            hands="data/hands/{split}.parquet",
            images=paths.image_lists(config),
            hand_model=paths.hand_model_files(config),
            code=sources("stages/normalize_images.py"),
        output:
            shard="data/images/{split}/{shard}-of-{shards}.arrow",
        log:
            "logs/normalize_images/{split}.{shard}-of-{shards}.log",
        benchmark:
            "logs/benchmarks/normalize_images/{split}.{shard}-of-{shards}.tsv"
        priority: 5
        resources:
            mem_mb=2000,
        params:
            arguments=parameters("normalize_images"),
            opencv=opencv_arithmetic(),
        message:
            "crop both hands: {wildcards.split} {wildcards.shard} of {wildcards.shards}"
        shell:
            "python -m stages.normalize_images --split {wildcards.split} "
            "--frames {input.frames} --hands {input.hands} --shard {wildcards.shard} --shards {wildcards.shards} "
            "--output {output.shard} {params.arguments} > {log} 2>&1"

    use rule gather_queries as gather_images with:
        input:
            shards=folder_shards("normalize_images", "data/images/{split}/{shard}-of-{shards}.arrow"),
            code=sources("stages/gather_shards.py"),
        output:
            manifest="data/images/{split}/manifest.json",
        log:
            "logs/gather_images/{split}.log",
        benchmark:
            "logs/benchmarks/gather_images/{split}.tsv"


rule sample_evaluation_queries:
    input:
        hands="data/hands/{split}.parquet",
        hand_model=paths.hand_model_files(config),
        code=sources("stages/sample_evaluation_queries.py"),
    output:
        shard="data/queries_eval/{split}/{shard}-of-{shards}.arrow",
    log:
        "logs/sample_evaluation_queries/{split}.{shard}-of-{shards}.log",
    benchmark:
        "logs/benchmarks/sample_evaluation_queries/{split}.{shard}-of-{shards}.tsv"
    resources:
        mem_mb=2000,
    params:
        arguments=parameters("sample_evaluation_queries"),
    message:
        "sample and label evaluation points: {wildcards.split} {wildcards.shard} of {wildcards.shards}"
    shell:
        "python -m stages.sample_evaluation_queries --split {wildcards.split} --hands {input.hands} "
        "--shard {wildcards.shard} --shards {wildcards.shards} --output {output.shard} {params.arguments} > {log} 2>&1"


use rule gather_queries as gather_evaluation_queries with:
    input:
        shards=folder_shards("sample_evaluation_queries", "data/queries_eval/{split}/{shard}-of-{shards}.arrow"),
        code=sources("stages/gather_shards.py"),
    output:
        manifest="data/queries_eval/{split}/manifest.json",
    log:
        "logs/gather_evaluation_queries/{split}.log",
    benchmark:
        "logs/benchmarks/gather_evaluation_queries/{split}.tsv"
