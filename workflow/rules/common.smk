# Names shared by the other files.
import sys

sys.path.insert(0, str(workflow.basedir))

from im2hands.config.choices import SPLITS
from im2hands.config.params import validate_params
from im2hands.networks.catalogue import NETWORKS
from workflow import paths
from workflow.ablations import ABLATIONS
from workflow.dvc_stages import edges
from workflow.interpreter import opencv_arithmetic, put_on_path
from workflow.notes import watch_jobs
from workflow.parameters import arguments
from workflow.record import after_success
from im2hands.io.sources import sources
from workflow.threads import lift_gpu_limit, share_of_cores, training_threads
from workflow.trainings import TRAININGS

validate(config, "../schemas/params.schema.yaml")
PARAMS = validate_params(config)
put_on_path()
lift_gpu_limit(workflow)


wildcard_constraints:
    split="|".join(SPLITS),
    shard=r"\d{4}",
    shards=r"\d{4}",
    method="[a-z0-9_]+",
    source="[a-z0-9_]+",


def shards(pattern, count, **wildcards):
    """Paths of all shards: {shard}-of-{shards} of the pattern becomes 0000-of-0002, 0001-of-0002."""
    return expand(pattern.replace("{shard}-of-{shards}", "{name}"), name=paths.shard_names(count), **wildcards)


def folder_shards(stage, pattern):
    """Input function: the shards of one split."""
    return lambda wildcards: shards(pattern, config[stage]["shards"][wildcards.split], split=wildcards.split)


def parameters(stage):
    """Params function: the command line arguments with the stage's parameters, see workflow/parameters.py."""
    return lambda wildcards: arguments(config, stage, wildcards.get("split"), wildcards.get("external"))


def named_files(wildcards, input):
    """Params function: the inputs with their names, `--train-frames data/frames/train.parquet`, as the stage takes them.

    Left out are `code` and names that end in `files`, which the command line gives as a folder, or not at all.
    """
    return " ".join(
        f"--{name.replace('_', '-')} {files if isinstance(files, str) else ' '.join(files)}"
        for name, files in input.items()
        if name != "code" and not name.endswith("files") and files
    )


def keypoint_file(wildcards):
    """Input function: the keypoints of a result; none for the true ones, which are in the hand table."""
    source = wildcards.source
    return [] if source == paths.TRUE_KEYPOINTS else f"data/keypoints/{source}/test.parquet"


def result_shards(pattern, results=None):
    """Paths of the shards of every method and keypoint source, or of those given."""
    return [
        file
        for method, source in (paths.results(config) if results is None else results)
        for file in shards(pattern, config["reconstruct"]["shards"], method=method, source=source)
    ]


def sharded(stage, shard, manifest):
    """All shards and manifests of a stage that works split by split and shard by shard."""
    return [
        file
        for split in paths.splits_of(config, stage)
        for file in [*shards(shard, config[stage]["shards"][split], split=split), manifest.format(split=split)]
    ]


GIVEN_TABLE = "results/tables/shape_given_keypoints.csv"


def table_files(name):
    """A result table in its four formats."""
    return multiext(f"results/tables/{name}", ".csv", ".md", ".tex", ".parquet")


def networks_of_results():
    """The networks whose weights the reconstructing methods use."""
    return [paths.NETWORK_OF[method] for method in dict(paths.reconstructed(config))]


def one_of(external):
    """Wildcard constraint: the names, without their beginning, of some external methods or keypoint sources."""
    return "|".join(name.removeprefix(paths.EXTERNAL) for name in external)
