"""`im2hands doctor`: what works on this machine and in this folder, what is missing, and how to install it.

Versions are looked up without importing packages; only the GPU check imports torch.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from im2hands.config.choices import DRAWN
from im2hands.config.params import Params, read_params
from im2hands.io.atomic import read_json
from im2hands.io.errors import Im2HandsError
from im2hands.io.findings import Found
from im2hands.io.hand_model_folder import hand_model_files
from im2hands.io.hashing import sha256_file
from im2hands.networks.catalogue import NETWORKS

LEAST_PYTHON = (3, 11)
LEAST_DISK_GB, LEAST_MEMORY_GB = 10, 8
"""What the demo needs."""
BUILT_IN = ("data/raw/synthetic", "data/hand_model")
SHIPPED = Path(__file__).parent / "weights"
EXTRAS = {"workflow": "to run the workflow", "penetration": "for exact penetration volumes", "detect": "to find hands"}


def examine(folder: str | os.PathLike = ".", params: str | os.PathLike = "params.yaml") -> Iterator[Found]:
    """Findings, one by one. A finding that is not ok is a problem, unless it is optional; then it says what it is useful for.

    folder: the checkout, in which data and weights are searched.  params: path of params.yaml relative to it.
    """
    yield _python()
    yield from _packages()
    yield from _programs()
    yield from _machine(Path(folder))
    yield _accelerator()
    yield from _shipped()
    path = Path(folder, params)
    if not path.is_file():
        yield Found(
            True,
            "parameters",
            f"no {path}; outside a checkout you can use only the networks and single images",
            optional=True,
        )
        return
    try:
        found = read_params(path)
    except Im2HandsError as error:
        yield Found(False, "parameters", str(error))
        return
    yield Found(True, "parameters", f"{path} is valid")
    yield from _data(Path(folder), found)
    yield from _weights(Path(folder), found)


def _python() -> Found:
    version = platform.python_version()
    if sys.version_info < LEAST_PYTHON:
        return Found(False, "Python", f"{version}; 3.11 or newer is needed")
    return Found(True, "Python", f"{version} ({platform.system()}, {platform.machine()})")


def _packages() -> Iterator[Found]:
    """Required packages, then those of the extras."""
    try:
        needed = [Requirement(text) for text in metadata.requires("im2hands") or []]
    except metadata.PackageNotFoundError:
        yield Found(
            False, "im2hands", "is imported from its folder but not installed; run: pip install -e '.[workflow]'"
        )
        return
    required = [one for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})]
    problems = list(filter(None, map(_problem, required)))
    if problems:
        yield Found(False, "packages", f"{'; '.join(problems)}; run: pip install -U im2hands")
    else:
        shown = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "numpy", "pyarrow", "trimesh"))
        yield Found(True, "packages", f"all {len(required)} are installed ({shown})")
    for extra, purpose in EXTRAS.items():
        wanted = [one for one in needed if one not in required and one.marker.evaluate({"extra": extra})]
        problems = list(filter(None, map(_problem, wanted)))
        text = (
            f"{'; '.join(problems)}; {purpose}: pip install 'im2hands[{extra}]'"
            if problems
            else f"installed, {purpose}"
        )
        yield Found(not problems, f"extra {extra}", text, optional=True)


def _problem(requirement: Requirement) -> str | None:
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return f"{requirement.name} is missing"
    if not requirement.specifier.contains(version, prereleases=True):
        return f"{requirement.name} {version} does not satisfy {requirement.specifier}"
    return None


def _programs() -> Iterator[Found]:
    for program, purpose in (("git", "needed by DVC"), ("make", "needed for the short commands in the README")):
        path = shutil.which(program)
        yield Found(
            path is not None,
            program,
            path or f"not found; {purpose}; install it",
            optional=True,
        )


def _machine(folder: Path) -> Iterator[Found]:
    free = shutil.disk_usage(folder).free / 1e9
    text = f"{free:.0f} GB free"
    yield Found(
        free >= LEAST_DISK_GB, "disk", text if free >= LEAST_DISK_GB else f"{text}; the demo needs {LEAST_DISK_GB} GB"
    )
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
        enough = memory >= LEAST_MEMORY_GB
        text = f"{memory:.0f} GB, {os.cpu_count()} processors"
        yield Found(enough, "memory", text if enough else f"{text}; the demo needs {LEAST_MEMORY_GB} GB", optional=True)


def _accelerator() -> Found:
    try:
        import torch
    except ImportError as error:
        return Found(False, "torch", f"cannot be imported ({error}); install it for your machine: https://pytorch.org")
    if not torch.cuda.is_available():
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
        return Found(
            False,
            "GPU",
            f"none usable (torch {torch.__version__}, {built}); everything runs on the CPU, more slowly",
            optional=True,
        )
    names = [torch.cuda.get_device_properties(place) for place in range(torch.cuda.device_count())]
    return Found(True, "GPU", ", ".join(f"{one.name} ({one.total_memory / 1e9:.0f} GB)" for one in names))


def _shipped(folder: Path = SHIPPED) -> Iterator[Found]:
    """The weights that come with the package: which there are, of which training, and whether they are whole."""
    for network in NETWORKS:
        card, subject = folder / network / "card.json", f"built-in weights of {network}"
        if not card.is_file():
            yield Found(False, subject, "do not come with this version; train them, or give --model", optional=True)
            continue
        content = read_json(card, "model card")
        if sha256_file(card.parent / "model.safetensors") != content["weights_sha256"]:
            yield Found(False, subject, f"{card.parent} is damaged; install im2hands again")
            continue
        steps = content["parameters"].get("steps", "?")
        text = f"of version {content['versions']['im2hands']}, {steps} steps on {content['dataset']}, seed {content['seed']}"
        yield Found(True, subject, text)


def _data(folder: Path, params: Params) -> Iterator[Found]:
    settings = (("dataset", params.dataset.root), ("hand model", params.dataset.hand_model))
    for (subject, place), built_in in zip(settings, BUILT_IN, strict=True):
        if place == DRAWN:
            yield Found(True, subject, "crops are drawn by the first run, in place of one")
        elif place == built_in:
            made = "exists" if (folder / place).is_dir() else "is made by the first run"
            yield Found(True, subject, f"the built-in one ({place}) {made}")
        elif not (folder / place).is_dir():
            yield Found(
                False, subject, f"{place} does not exist; correct dataset in params.yaml, see docs/real-data.md"
            )
        elif subject == "hand model":
            yield _hand_model(folder / place)
        else:
            yield Found(True, subject, f"{place}; run `im2hands check-data` to check all of it")


def _hand_model(folder: Path) -> Found:
    try:
        right, left = hand_model_files(folder)
    except Im2HandsError as error:
        return Found(False, "hand model", str(error))
    return Found(True, "hand model", f"{right} and {left.name}; run `im2hands check-data` to check them")


def _weights(folder: Path, params: Params) -> Iterator[Found]:
    for network in NETWORKS:
        given = getattr(params.training, network).weights
        place = given or f"models/{network}"
        whole = all((folder / place / name).is_file() for name in ("model.safetensors", "card.json"))
        if whole:
            yield Found(True, f"weights of {network}", place)
        elif given:
            yield Found(
                False,
                f"weights of {network}",
                f"{place} contains no weights; run im2hands import-weights, or set training.{network}.weights to null",
            )
        else:
            text = f"not trained yet; run snakemake, or im2hands import-weights FILE --to {place}"
            yield Found(False, f"weights of {network}", text, optional=True)
