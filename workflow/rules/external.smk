# Keypoints and meshes of other systems, for the test split: docs/external-methods.md.


if paths.external_sources(config):

    rule import_keypoints:
        input:
            frames="data/frames/test.parquet",
            keypoints=lambda wildcards: config["external"][wildcards.external]["keypoints"],
            code=sources("stages/import_keypoints.py"),
        output:
            keypoints=f"data/keypoints/{paths.EXTERNAL}{{external}}/test.parquet",
        log:
            "logs/import_keypoints/{external}.log",
        benchmark:
            "logs/benchmarks/import_keypoints/{external}.tsv"
        wildcard_constraints:
            external=one_of(paths.external_sources(config)),
        resources:
            mem_mb=2000,
        params:
            files=named_files,
            arguments=parameters("import_keypoints"),
        message:
            "read the keypoints of {wildcards.external}"
        shell:
            "python -m stages.import_keypoints {params.files} --output {output.keypoints} {params.arguments} > {log} 2>&1"


if paths.imported(config):

    rule import_meshes:
        input:
            folder=lambda wildcards: config["external"][wildcards.external]["meshes"],
            frames="data/frames/test.parquet",
            hands="data/hands/test.parquet",
            images="data/images/test/manifest.json",
            queries="data/queries_eval/test/manifest.json",
            keypoints=lambda wildcards: paths.external_wrists(config, wildcards.external),
            hand_model_files=paths.hand_model_files(config),
            code=sources("stages/import_meshes.py"),
        output:
            meshes=f"results/{paths.EXTERNAL}{{external}}/{{source}}/meshes/{{shard}}-of-{{shards}}.arrow",
            scenes=directory(f"results/{paths.EXTERNAL}{{external}}/{{source}}/glb/{{shard}}-of-{{shards}}"),
        log:
            "logs/import_meshes/{external}.{source}.{shard}-of-{shards}.log",
        benchmark:
            "logs/benchmarks/import_meshes/{external}.{source}.{shard}-of-{shards}.tsv"
        wildcard_constraints:
            external=one_of(dict(paths.imported(config))),
        resources:
            mem_mb=4000,
        params:
            files=named_files,
            method=lambda wildcards: f"{paths.EXTERNAL}{wildcards.external}",
            content=lambda wildcards: paths.content_of(config["external"][wildcards.external]["meshes"]),
            arguments=parameters("import_meshes"),
        message:
            "read the meshes of {wildcards.external}: {wildcards.shard} of {wildcards.shards}"
        shell:
            "python -m stages.import_meshes --method {params.method} --source {wildcards.source} {params.files} --shard {wildcards.shard} "
            "--shards {wildcards.shards} --meshes {output.meshes} --scenes {output.scenes} {params.arguments} > {log} 2>&1"
