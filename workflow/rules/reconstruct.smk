# Meshes of the test split: every method with every keypoint source.


rule reconstruct:
    input:
        frames="data/frames/test.parquet",
        hands="data/hands/test.parquet",
        images="data/images/test/manifest.json",
        keypoints=keypoint_file,
        queries="data/queries_eval/test/manifest.json",
        model_files=lambda wildcards: paths.model_files(paths.NETWORK_OF[wildcards.method]),
        hand_model_files=paths.hand_model_files(config),
        code=sources("stages/reconstruct.py"),
    output:
        meshes="results/{method}/{source}/meshes/{shard}-of-{shards}.arrow",
        timings="results/{method}/{source}/timings/{shard}-of-{shards}.parquet",
        scenes=directory("results/{method}/{source}/glb/{shard}-of-{shards}"),
    log:
        "logs/reconstruct/{method}.{source}.{shard}-of-{shards}.log",
    benchmark:
        "logs/benchmarks/reconstruct/{method}.{source}.{shard}-of-{shards}.tsv"
    wildcard_constraints:
        method="|".join(paths.NETWORK_OF),
    threads: share_of_cores(workflow, len(result_shards("{method}", paths.reconstructed(config))))
    resources:
        gpu=1,
        mem_mb=8000,
    params:
        files=named_files,
        model=lambda wildcards: f"models/{paths.NETWORK_OF[wildcards.method]}",
        arguments=parameters("reconstruct"),
    message:
        "reconstruct with {wildcards.method}, {wildcards.source} keypoints: {wildcards.shard} of {wildcards.shards}"
    shell:
        "python -m stages.reconstruct --method {wildcards.method} --source {wildcards.source} {params.files} "
        "--model {params.model} --shard {wildcards.shard} --shards {wildcards.shards} --meshes {output.meshes} "
        "--timings {output.timings} --scenes {output.scenes} --gpus {resources.gpu} --threads {threads} "
        "{params.arguments} > {log} 2>&1"
