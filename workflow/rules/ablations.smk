# Trainings that only the ablation table needs: `snakemake ablations`. Not part of `all`, and not tracked by DVC.


rule run_ablation:
    input:
        finished="results/tables/metrics.json",
        code="workflow/ablations.py",
    output:
        records="results/ablations/{variant}.parquet",
    log:
        "logs/ablations/{variant}.log",
    benchmark:
        "logs/benchmarks/ablations/{variant}.tsv"
    wildcard_constraints:
        variant="|".join(ABLATIONS),
    threads: 64
    resources:
        gpu=1,
        mem_mb=8000,
    message:
        "run the ablation {wildcards.variant}"
    shell:
        "python -m workflow.ablations {wildcards.variant} --cores {threads} --gpus {resources.gpu} "
        "--output {output.records} > {log} 2>&1"


rule ablations:
    input:
        records=result_shards("results/{method}/{source}/metrics/{shard}-of-{shards}.parquet"),
        variants=expand("results/ablations/{variant}.parquet", variant=ABLATIONS),
        card="results/tables/protocol_card.json",
        code="workflow/ablation_table.py",
    output:
        multiext("results/ablations/ablations", ".csv", ".md", ".tex", ".parquet"),
    log:
        "logs/ablations.log",
    benchmark:
        "logs/benchmarks/ablations.tsv"
    resources:
        mem_mb=1000,
    params:
        files=named_files,
        decimals=config["make_tables"]["decimals"],
    message:
        "make the table of all ablations"
    shell:
        "python -m workflow.ablation_table {params.files} --output results/ablations --decimals {params.decimals} > {log} 2>&1"
