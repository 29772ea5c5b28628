# Trainings, one rule each: `train_<network>` resumes from checkpoints/<network>/ after a kill, and writes its model once it is
# finished. What they read: workflow/trainings.py.

for network in paths.networks(config):
    training = TRAININGS[network]
    if paths.is_trained(config, network):

        rule:
            name:
                f"train_{network}"
            input:
                **training.files(),
                **{f"{role}_files": paths.model_files(start) for role, start in training.starts(config).items()},
                start_files=paths.start_files(config, network),
                hand_model_files=paths.hand_model_files(config) if training.hand_model else [],
                code=sources(f"stages/train_{network}.py"),
            output:
                model=f"models/{network}/model.safetensors",
                card=f"models/{network}/card.json",
                metrics=f"models/{network}/metrics.json",
                curves=report(f"models/{network}/curves.csv", caption="../report/curves.rst", category="Training"),
            log:
                f"logs/train_{network}.log",
            benchmark:
                f"logs/benchmarks/train_{network}.tsv"
            priority: training.priority
            retries: 2
            threads: training_threads(workflow, getattr(PARAMS.training, network))
            resources:
                gpu=1,
                mem_mb=training.memory_mb,
                runtime=training.minutes,
            params:
                files=named_files,
                starts=" ".join(f"--{role} models/{start}" for role, start in training.starts(config).items()),
                arguments=parameters(f"train_{network}"),
                network=network,
            message:
                f"train {NETWORKS[network]} (follow it with: tail -f {{log}})"
            shell:
                "python -m stages.train_{params.network} {params.files} {params.starts} "
                "--checkpoints checkpoints/{params.network} --output models/{params.network} "
                "--gpus {resources.gpu} --threads {threads} {params.arguments} > {log} 2>&1"

    else:

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
                "use the weights of {params.folder} for {params.network}"
            shell:
                "python -m stages.use_given_weights --weights {params.folder} --network {params.network} "
                "--output models/{params.network} > {log} 2>&1"
