# Errors of keypoints, metrics of every mesh, the result tables and the report.


rule evaluate_keypoints:
    input:
        frames="data/frames/test.parquet",
        hands="data/hands/test.parquet",
        keypoints=keypoint_file,
        code=sources("stages/evaluate_keypoints.py"),
    output:
        records="results/keypoints/{source}.parquet",
    log:
        "logs/evaluate_keypoints/{source}.log",
    benchmark:
        "logs/benchmarks/evaluate_keypoints/{source}.tsv"
    resources:
        mem_mb=2000,
    params:
        files=named_files,
        arguments=parameters("evaluate_keypoints"),
    message:
        "evaluate {wildcards.source} keypoints"
    shell:
        "python -m stages.evaluate_keypoints --source {wildcards.source} {params.files} --output {output.records} "
        "{params.arguments} > {log} 2>&1"


rule evaluate:
    input:
        meshes="results/{method}/{source}/meshes/{shard}-of-{shards}.arrow",
        hands="data/hands/test.parquet",
        frames="data/frames/test.parquet",
        images="data/images/test/manifest.json",
        queries="data/queries_eval/test/manifest.json",
        hand_model_files=paths.hand_model_files(config),
        code=sources("stages/evaluate.py"),
    output:
        records="results/{method}/{source}/metrics/{shard}-of-{shards}.parquet",
    log:
        "logs/evaluate/{method}.{source}.{shard}-of-{shards}.log",
    benchmark:
        "logs/benchmarks/evaluate/{method}.{source}.{shard}-of-{shards}.tsv"
    threads: share_of_cores(workflow, len(result_shards("{method}")))
    resources:
        mem_mb=2000,
    params:
        files=named_files,
        arguments=parameters("evaluate"),
    message:
        "evaluate {wildcards.method}, {wildcards.source} keypoints: {wildcards.shard} of {wildcards.shards}"
    shell:
        "python -m stages.evaluate --method {wildcards.method} --source {wildcards.source} {params.files} "
        "--output {output.records} --threads {threads} {params.arguments} > {log} 2>&1"


rule make_tables:
    input:
        records=result_shards("results/{method}/{source}/metrics/{shard}-of-{shards}.parquet"),
        keypoint_records=expand("results/keypoints/{source}.parquet", source=paths.keypoint_sources(config)),
        timings=result_shards(
            "results/{method}/{source}/timings/{shard}-of-{shards}.parquet", paths.reconstructed(config)
        ),
        model_files=lambda wildcards: [file for network in networks_of_results() for file in paths.model_files(network)],
        code=sources("stages/make_tables.py"),
    output:
        table=report(GIVEN_TABLE, caption="../report/tables.rst", category="Results"),
        other_formats=[file for name in paths.TABLES for file in table_files(name) if file != GIVEN_TABLE],
        protocol=multiext("results/tables/protocol_card", ".json", ".md"),
        metrics="results/tables/metrics.json",
    log:
        "logs/make_tables.log",
    benchmark:
        "logs/benchmarks/make_tables.tsv"
    resources:
        mem_mb=2000,
    params:
        files=named_files,
        models=lambda wildcards: " ".join(
            f"{method}=models/{paths.NETWORK_OF[method]}" for method in dict(paths.reconstructed(config))
        ),
        refined=" ".join(
            f"{source}={origin}"
            for source, origin in (paths.corrected_from(config) | paths.refined_from(config)).items()
        ),
        arguments=parameters("make_tables"),
    message:
        "make the result tables"
    shell:
        "python -m stages.make_tables {params.files} --refined {params.refined} --models {params.models} --output results/tables "
        "{params.arguments} > {log} 2>&1"


rule make_report:
    input:
        tables=expand("results/tables/{name}.parquet", name=paths.TABLES),
        protocol="results/tables/protocol_card.json",
        records=result_shards("results/{method}/{source}/metrics/{shard}-of-{shards}.parquet"),
        meshes=result_shards("results/{method}/{source}/meshes/{shard}-of-{shards}.arrow"),
        hands="data/hands/test.parquet",
        frames=expand("data/frames/{split}.parquet", split=SPLITS),
        frame_audits=expand("data/frames/audit_{split}.parquet", split=SPLITS),
        hand_audits=expand("data/hands/audit_{split}.parquet", split=SPLITS),
        images="data/images/test/manifest.json",
        hand_model=paths.hand_model_files(config),
        cards=expand("models/{network}/card.json", network=paths.networks(config)),
        curves=expand("models/{network}/curves.csv", network=paths.networks(config)),
        code=sources("stages/make_report.py"),
    output:
        report=report("results/report.html", caption="../report/report.rst", category="Results"),
    log:
        "logs/make_report.log",
    benchmark:
        "logs/benchmarks/make_report.tsv"
    resources:
        mem_mb=2000,
    params:
        method=lambda wildcards: paths.shown(config)[0],
        source=lambda wildcards: paths.shown(config)[1],
        models=expand("models/{network}", network=paths.networks(config)),
        graph=edges(config),
        arguments=parameters("make_report"),
    message:
        "make the report"
    shell:
        "python -m stages.make_report --method {params.method} --source {params.source} --tables results/tables --records {input.records} "
        "--meshes {input.meshes} --hands {input.hands} --frames {input.frames} --frame-audits {input.frame_audits} "
        "--hand-audits {input.hand_audits} --images {input.images} --models {params.models} --graph {params.graph} --output {output.report} "
        "{params.arguments} > {log} 2>&1"
