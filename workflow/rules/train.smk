# Trainings: each resumes from checkpoints/<network>/ after a kill, and writes its model once it is finished.


rule train_halo:
    input:
        train="data/queries/train/manifest.json",
        val="data/queries/val/manifest.json",
        train_hands="data/hands/train.parquet",
        val_hands="data/hands/val.parquet",
        code=sources("stages/train_halo.py"),
    output:
        model="models/halo/model.safetensors",
        card="models/halo/card.json",
        metrics="models/halo/metrics.json",
        curves=report("models/halo/curves.csv", caption="../report/curves.rst", category="Training"),
    log:
        "logs/train_halo.log",
    benchmark:
        "logs/benchmarks/train_halo.tsv"
    retries: 2
    threads: 64
    resources:
        gpu=1,
        mem_mb=8000,
        runtime=1440,
    params:
        arguments=parameters("train_halo"),
    message:
        "train HALO (follow it with: tail -f {log})"
    shell:
        "python -m stages.train_halo --train {input.train} --val {input.val} --train-hands {input.train_hands} "
        "--val-hands {input.val_hands} --checkpoints checkpoints/halo --output models/halo "
        "--gpus {resources.gpu} --threads {threads} {params.arguments} > {log} 2>&1"
