# Trainings: each resumes from checkpoints/<network>/ after a kill, and writes its model once it is finished.

FRAMES = both_splits(
    frames="data/frames/{split}.parquet",
    hands="data/hands/{split}.parquet",
    images="data/images/{split}/manifest.json",
)


if paths.is_trained(config, "halo"):

    rule train_halo:
        input:
            **both_splits(hands="data/hands/{split}.parquet"),
            train="data/queries/train/manifest.json",
            val="data/queries/val/manifest.json",
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
        priority: 10
        retries: 2
        threads: training_threads(workflow, config, "halo")
        resources:
            gpu=1,
            mem_mb=8000,
            runtime=1440,
        params:
            files=named_files,
            arguments=parameters("train_halo"),
        message:
            "train HALO (follow it with: tail -f {log})"
        shell:
            "python -m stages.train_halo {params.files} --checkpoints checkpoints/halo --output models/halo "
            "--gpus {resources.gpu} --threads {threads} {params.arguments} > {log} 2>&1"


if paths.is_trained(config, "intaghand"):

    rule train_intaghand:
        input:
            **FRAMES,
            hand_model_files=paths.hand_model_files(config),
            code=sources("stages/train_intaghand.py"),
        output:
            model="models/intaghand/model.safetensors",
            card="models/intaghand/card.json",
            metrics="models/intaghand/metrics.json",
            curves=report("models/intaghand/curves.csv", caption="../report/curves.rst", category="Training"),
        log:
            "logs/train_intaghand.log",
        benchmark:
            "logs/benchmarks/train_intaghand.tsv"
        priority: 50
        retries: 2
        threads: training_threads(workflow, config, "intaghand")
        resources:
            gpu=1,
            mem_mb=16000,
            runtime=10080,
        params:
            files=named_files,
            arguments=parameters("train_intaghand"),
        message:
            "train IntagHand (follow it with: tail -f {log})"
        shell:
            "python -m stages.train_intaghand {params.files} --checkpoints checkpoints/intaghand "
            "--output models/intaghand --gpus {resources.gpu} --threads {threads} {params.arguments} > {log} 2>&1"


if paths.is_trained(config, "initial_occupancy"):

    rule train_initial_occupancy:
        input:
            **FRAMES,
            **both_splits(queries="data/queries/{split}/manifest.json"),
            halo_files=paths.model_files("halo"),
            intaghand_files=paths.model_files("intaghand"),
            code=sources("stages/train_initial_occupancy.py"),
        output:
            model="models/initial_occupancy/model.safetensors",
            card="models/initial_occupancy/card.json",
            metrics="models/initial_occupancy/metrics.json",
            curves=report("models/initial_occupancy/curves.csv", caption="../report/curves.rst", category="Training"),
        log:
            "logs/train_initial_occupancy.log",
        benchmark:
            "logs/benchmarks/train_initial_occupancy.tsv"
        priority: 40
        retries: 2
        threads: training_threads(workflow, config, "initial_occupancy")
        resources:
            gpu=1,
            mem_mb=16000,
            runtime=10080,
        params:
            files=named_files,
            arguments=parameters("train_initial_occupancy"),
        message:
            "train initial occupancy (follow it with: tail -f {log})"
        shell:
            "python -m stages.train_initial_occupancy {params.files} --halo models/halo --intaghand models/intaghand "
            "--checkpoints checkpoints/initial_occupancy --output models/initial_occupancy "
            "--gpus {resources.gpu} --threads {threads} {params.arguments} > {log} 2>&1"


if paths.is_trained(config, "keypoint_refinement"):

    rule train_keypoint_refinement:
        input:
            **FRAMES,
            **both_splits(predictions="data/keypoints/intaghand/{split}.parquet"),
            intaghand_files=paths.model_files("intaghand"),
            code=sources("stages/train_keypoint_refinement.py"),
        output:
            model="models/keypoint_refinement/model.safetensors",
            card="models/keypoint_refinement/card.json",
            metrics="models/keypoint_refinement/metrics.json",
            curves=report("models/keypoint_refinement/curves.csv", caption="../report/curves.rst", category="Training"),
        log:
            "logs/train_keypoint_refinement.log",
        benchmark:
            "logs/benchmarks/train_keypoint_refinement.tsv"
        priority: 20
        retries: 2
        threads: training_threads(workflow, config, "keypoint_refinement")
        resources:
            gpu=1,
            mem_mb=16000,
            runtime=10080,
        params:
            files=named_files,
            arguments=parameters("train_keypoint_refinement"),
        message:
            "train keypoint refinement (follow it with: tail -f {log})"
        shell:
            "python -m stages.train_keypoint_refinement {params.files} --intaghand models/intaghand "
            "--checkpoints checkpoints/keypoint_refinement --output models/keypoint_refinement "
            "--gpus {resources.gpu} --threads {threads} {params.arguments} > {log} 2>&1"


if paths.is_trained(config, "refined_occupancy"):

    rule train_refined_occupancy:
        input:
            **FRAMES,
            **both_splits(queries="data/queries/{split}/manifest.json", anchors="data/anchors/{split}/manifest.json"),
            initial_files=paths.model_files("initial_occupancy"),
            code=sources("stages/train_refined_occupancy.py"),
        output:
            model="models/refined_occupancy/model.safetensors",
            card="models/refined_occupancy/card.json",
            metrics="models/refined_occupancy/metrics.json",
            curves=report("models/refined_occupancy/curves.csv", caption="../report/curves.rst", category="Training"),
        log:
            "logs/train_refined_occupancy.log",
        benchmark:
            "logs/benchmarks/train_refined_occupancy.tsv"
        priority: 40
        retries: 2
        threads: training_threads(workflow, config, "refined_occupancy")
        resources:
            gpu=1,
            mem_mb=16000,
            runtime=10080,
        params:
            files=named_files,
            arguments=parameters("train_refined_occupancy"),
        message:
            "train refined occupancy (follow it with: tail -f {log})"
        shell:
            "python -m stages.train_refined_occupancy {params.files} --initial models/initial_occupancy "
            "--checkpoints checkpoints/refined_occupancy --output models/refined_occupancy "
            "--gpus {resources.gpu} --threads {threads} {params.arguments} > {log} 2>&1"


for network in paths.NETWORKS:
    if not paths.is_trained(config, network):

        rule:
            name:
                f"train_{network}"
            input:
                weights_files=expand("{folder}/{name}", folder=paths.given_weights(config, network), name=paths.WEIGHTS),
                code=sources("stages/use_given_weights.py"),
            output:
                expand("models/{network}/{name}", network=network, name=paths.MODEL_FILES),
            log:
                f"logs/train_{network}.log",
            benchmark:
                f"logs/benchmarks/train_{network}.tsv"
            resources:
                mem_mb=2000,
            params:
                folder=paths.given_weights(config, network),
                network=network,
            message:
                "take the weights of {params.folder} for {params.network}"
            shell:
                "python -m stages.use_given_weights --weights {params.folder} --network {params.network} "
                "--output models/{params.network} > {log} 2>&1"
