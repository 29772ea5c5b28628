"""The workflow of im2hands: from photographs and fits to trained networks, meshes, tables and a report.

    snakemake -n                       what would run, and why
    snakemake                          run it (profiles/default: all cores, one GPU job at a time)
    snakemake --resources gpu=0        run without the GPU
    snakemake ablations                the trainings that only the ablation table needs, and that table

Parameters: params.yaml. Every rule NAME runs the stage file stages/NAME.py. How Snakemake and DVC work together: docs/workflow.md.
"""

from snakemake.utils import min_version, validate

min_version("9.0")


configfile: "params.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/predict.smk"
include: "workflow/rules/reconstruct.smk"
include: "workflow/rules/external.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/ablations.smk"
include: "workflow/rules/targets.smk"


rule all:
    default_target: True
    input:
        [file for files in TRACKED.values() for file in files],
    message:
        "everything is up to date"


notes = watch_jobs(workflow, TRACKED)


onsuccess:
    after_success(workflow, config, TRACKED, notes)


onerror:
    print(f"Stopped: see the log of the failed job above and in logs/; run the same command to continue ({log}).")
