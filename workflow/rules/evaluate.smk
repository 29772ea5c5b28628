# Metrics of every mesh, the result tables and the report.


rule evaluate:
    input:
        meshes="results/{method}/{source}/meshes/{shard}-of-{shards}.arrow",
        hands="data/hands/test.parquet",
        frames="data/frames/test.parquet",
        queries="data/queries_eval/test/manifest.json",
        hand_model=paths.hand_model_files(config),
        code=sources("stages/evaluate.py"),
    output:
        records="results/{method}/{source}/metrics/{shard}-of-{shards}.parquet",
    log:
        "logs/evaluate/{method}.{source}.{shard}-of-{shards}.log",
    benchmark:
        "logs/benchmarks/evaluate/{method}.{source}.{shard}-of-{shards}.tsv"
    threads: 8
    resources:
        mem_mb=2000,
    params:
        arguments=parameters("evaluate"),
    message:
        "measure {wildcards.method}, {wildcards.source} keypoints: {wildcards.shard} of {wildcards.shards}"
    shell:
        "python -m stages.evaluate --method {wildcards.method} --source {wildcards.source} --meshes {input.meshes} "
        "--hands {input.hands} --frames {input.frames} --queries {input.queries} "
        "--output {output.records} --threads {threads} {params.arguments} > {log} 2>&1"


rule make_tables:
    input:
        records=result_shards("results/{method}/{source}/metrics/{shard}-of-{shards}.parquet"),
        code=sources("stages/make_tables.py"),
    output:
        table=report("results/tables/shape_given_keypoints.csv", caption="../report/tables.rst", category="Results"),
        other_formats=multiext("results/tables/shape_given_keypoints", ".md", ".tex", ".parquet"),
        protocol=multiext("results/tables/protocol_card", ".json", ".md"),
        metrics="results/tables/metrics.json",
    log:
        "logs/make_tables.log",
    benchmark:
        "logs/benchmarks/make_tables.tsv"
    resources:
        mem_mb=1000,
    params:
        arguments=parameters("make_tables"),
    message:
        "make the result tables"
    shell:
        "python -m stages.make_tables --records {input.records} --output results/tables {params.arguments} > {log} 2>&1"


rule make_report:
    input:
        table="results/tables/shape_given_keypoints.parquet",
        protocol="results/tables/protocol_card.json",
        records=result_shards("results/{method}/{source}/metrics/{shard}-of-{shards}.parquet"),
        meshes=shards("results/halo/model/meshes/{shard}-of-{shards}.arrow", config["reconstruct"]["shards"]),
        hands="data/hands/test.parquet",
        frames=expand("data/frames/{split}.parquet", split=SPLITS),
        frame_audits=expand("data/frames/audit_{split}.parquet", split=SPLITS),
        hand_audits=expand("data/hands/audit_{split}.parquet", split=SPLITS),
        images="data/images/test/manifest.json",
        hand_model=paths.hand_model_files(config),
        card="models/halo/card.json",
        curves="models/halo/curves.csv",
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
        arguments=parameters("make_report"),
    message:
        "make the report"
    shell:
        "python -m stages.make_report --method halo --source model --tables results/tables --records {input.records} "
        "--meshes {input.meshes} --hands {input.hands} --frames {input.frames} --frame-audits {input.frame_audits} "
        "--hand-audits {input.hand_audits} --images {input.images} --models models/halo --output {output.report} "
        "{params.arguments} > {log} 2>&1"
