"""Published weight files to model folders of ours, and back."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from im2hands.io.atomic import atomic_path, read_json
from im2hands.io.errors import CheckpointError
from im2hands.networks.model_folder import CARD, ModelCard, write_model
from im2hands.networks.published import halo, keypoint_refinement
from im2hands.networks.published.layout import Overlay, PublishedNetwork, overlay
from im2hands.networks.published.reader import PublishedFile, read_published

NETWORKS = (halo.PUBLISHED, keypoint_refinement.PUBLISHED)
LISTED_KEYS = 12
"""Keys of one kind that a report spells out before it only counts."""
COUNTERS = ("epoch_it", "it")
"""Notes of a published file that go back into an exported one."""


def import_weights(files: Sequence[str | os.PathLike], folder: str | os.PathLike) -> Iterator[str]:
    """Writes the model folder from published files; yields the lines of a report on every key.

    The network is the one that knows most of the file's keys; of several, the one the folder is named after.
    Raises CheckpointError if a file is refused, damaged, or of no known network.
    """
    if len(files) != 1:
        raise CheckpointError(f"expected one weight file for {folder}, got {len(files)}; import one network at a time.")
    file = read_published(files[0])
    yield from report_lines(file, import_network(file, recognised(file, folder), folder), folder)


def recognised(file: PublishedFile, folder: str | os.PathLike) -> PublishedNetwork:
    """The network whose weights a file holds. Raises CheckpointError if there is none, or no single one."""
    found = {network: network.layout.matches_in(file) for network in NETWORKS}
    most = max(found.values())
    names = ", ".join(network.name for network in NETWORKS)
    if not most:
        raise CheckpointError(
            f"{file.path}: none of its {len(file.weights)} tensors (the first is {next(iter(file.weights))}) belongs to a "
            f"known network ({names})."
        )
    best = [network for network, matches in found.items() if matches == most]
    named = [network for network in best if network.name == Path(folder).name]
    if len(best) > 1 and not named:
        raise CheckpointError(
            f"{file.path}: its tensors fit {' and '.join(network.name for network in best)} alike; "
            "name the folder after the network that is meant."
        )
    return (named or best)[0]


def import_network(file: PublishedFile, published: PublishedNetwork, folder: str | os.PathLike) -> Overlay:
    """Writes the model folder of a network from a published file."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = published.build(file.weights)
    result = overlay(file, published.to_published(network.state_dict()), published.name)
    card = ModelCard(
        network=published.name,
        architecture=network.architecture,
        origin={
            "kind": "imported",
            "file": file.path.name,
            "sha256": file.sha256,
            "notes": file.notes,
            "loaded": len(result.loaded),
            "initial": list(result.initial),
            "ignored": list(result.ignored),
        },
        dataset="that of the published weights",
        licence="the licence of the published weights",
        compat=published.compat,
    )
    write_model(folder, published.from_published(result.weights), card)
    return result


def export_weights(folder: str | os.PathLike, path: str | os.PathLike) -> None:
    """Writes a model folder's weights as a file that the published code reads: entry `model`, its keys and order.

    Raises CheckpointError if the network, or its size, has no published layout.
    """
    name = read_json(Path(folder) / CARD, "model card").get("network")
    published = next((network for network in NETWORKS if network.name == name), None)
    if published is None:
        raise CheckpointError(f"{folder}: a {name} network has no published layout.")
    network, card = published.load(folder)
    notes = {name: value for name, value in card.origin.get("notes", {}).items() if name in COUNTERS}
    with atomic_path(path) as temporary:
        weights = {key: tensor.contiguous() for key, tensor in published.to_published(network.state_dict()).items()}
        torch.save({"model": weights, **notes}, temporary)


def report_lines(file: PublishedFile, result: Overlay, folder: str | os.PathLike) -> Iterator[str]:
    """What was loaded, what kept its initial value, what was ignored."""
    yield f"{file.path} -> {Path(folder)}"
    yield f"loaded: {len(result.loaded)} tensors"
    for title, keys in (("initial", result.initial), ("ignored", result.ignored)):
        yield f"{title}: {len(keys)} tensors"
        yield from (f"  {key}" for key in keys[:LISTED_KEYS])
        if len(keys) > LISTED_KEYS:
            yield f"  and {len(keys) - LISTED_KEYS} more"
