# Meshes of the test split: every method with every keypoint source.


rule reconstruct:
    input:
        hands="data/hands/test.parquet",
        queries="data/queries_eval/test/manifest.json",
        model="models/{method}/model.safetensors",
        card="models/{method}/card.json",
        code=sources("stages/reconstruct.py"),
    output:
        meshes="results/{method}/{source}/meshes/{shard}-of-{shards}.arrow",
        timings="results/{method}/{source}/timings/{shard}-of-{shards}.parquet",
        scenes=directory("results/{method}/{source}/glb/{shard}-of-{shards}"),
    log:
        "logs/reconstruct/{method}.{source}.{shard}-of-{shards}.log",
    benchmark:
        "logs/benchmarks/reconstruct/{method}.{source}.{shard}-of-{shards}.tsv"
    threads: 64
    resources:
        gpu=1,
        mem_mb=4000,
    params:
        arguments=parameters("reconstruct"),
    message:
        "reconstruct with {wildcards.method}, {wildcards.source} keypoints: {wildcards.shard} of {wildcards.shards}"
    shell:
        "python -m stages.reconstruct --method {wildcards.method} --source {wildcards.source} --hands {input.hands} "
        "--queries {input.queries} --model models/{wildcards.method} --shard {wildcards.shard} "
        "--shards {wildcards.shards} --meshes {output.meshes} --timings {output.timings} --scenes {output.scenes} "
        "--gpus {resources.gpu} --threads {threads} {params.arguments} > {log} 2>&1"
