"""Converts published weight files to our model folders and back."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from im2hands.io.atomic import atomic_path, read_json
from im2hands.io.documents import require_object
from im2hands.io.errors import CheckpointError
from im2hands.networks.model_folder import CARD, ModelCard, write_model
from im2hands.networks.published import halo, initial_occupancy, intaghand, keypoint_refinement, refined_occupancy
from im2hands.networks.published.layout import Overlay, PublishedNetwork, check_belongs, overlay
from im2hands.networks.published.reader import PublishedFile, read_published

NETWORKS = (
    halo.PUBLISHED,
    initial_occupancy.PUBLISHED,
    refined_occupancy.PUBLISHED,
    keypoint_refinement.PUBLISHED,
    intaghand.PUBLISHED,
)
LISTED_KEYS = 12
"""Number of keys of one kind that a report lists; the rest are only counted."""
COUNTERS = ("epoch_it", "it")
"""Notes of a published file that are written back to an exported one."""


def import_weights(
    files: Sequence[str | os.PathLike], folder: str | os.PathLike, graphs: str | os.PathLike | None = None
) -> Iterator[str]:
    """Writes the model folder from published files; yields the lines of a report on every key.

    A folder named after a network makes that network, also from files of the networks it starts from (HALO's decoder,
    IntagHand's image encoder); later files overwrite what earlier ones gave. Any other folder gets the network that knows
    most of the first file's keys. graphs: folder of the graph files that IntagHand's weights were trained with.
    Raises CheckpointError if a file is refused, damaged, or has nothing for the network.
    """
    if not files:
        raise CheckpointError(f"no weight file was given for {folder}; give at least one.")
    read = [read_published(file) for file in files]
    published = recognised(read[0], folder)
    if graphs is not None:
        if published.with_graphs is None:
            raise CheckpointError(
                f"{folder}: the network {published.name} does not use graph files; leave out {graphs}."
            )
        published = published.with_graphs(graphs)
    yield from report_lines(read, import_network(read, published, folder), folder)


def recognised(file: PublishedFile, folder: str | os.PathLike) -> PublishedNetwork:
    """The network that a folder is named after, otherwise the one whose weights a file contains.

    Raises CheckpointError if there is no match or more than one.
    """
    named = [network for network in NETWORKS if network.name == Path(folder).name]
    if named:
        return named[0]
    found = {network: network.layout.matches_in(file) for network in NETWORKS}
    most = max(found.values())
    names = ", ".join(network.name for network in NETWORKS)
    if not most:
        raise CheckpointError(
            f"{file.path}: none of its {len(file.weights)} tensors (the first is {next(iter(file.weights))}) belongs to a "
            f"known network ({names}); to start a network from parts of another one, name the folder after it."
        )
    best = [network for network, matches in found.items() if matches == most]
    if len(best) > 1:
        raise CheckpointError(
            f"{file.path}: its tensors match {' and '.join(network.name for network in best)} equally well; "
            "name the folder after the intended network."
        )
    return best[0]


def import_network(
    files: Sequence[PublishedFile], published: PublishedNetwork, folder: str | os.PathLike
) -> list[Overlay]:
    """Writes the model folder of a network from published files; what each of them gave."""
    for file in files:
        check_belongs(file, published)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            network = published.build(files[0].weights)
        except CheckpointError as error:
            named = str(files[0].path) in str(error)
            raise CheckpointError(str(error) if named else f"{files[0].path}: {error}") from None
    weights = published.to_published(network.state_dict())
    results: list[Overlay] = []
    for file in files:
        results.append(overlay(file, weights, published))
        weights = results[-1].weights
    loaded, initial = totals(results)
    card = ModelCard(
        network=published.name,
        architecture=network.architecture,
        origin={
            "kind": "imported",
            "file": ", ".join(file.path.name for file in files),
            "sha256": ", ".join(file.sha256 for file in files),
            "notes": {name: value for file in files for name, value in file.notes.items()},
            "loaded": len(loaded),
            "fitted": sorted({key for result in results for key in result.fitted}),
            "initial": initial,
            "ignored": [key for result in results for key in result.ignored],
        },
        dataset="that of the published weights",
        licence="the licence of the published weights",
        compat=published.compat,
    )
    write_model(folder, published.from_published(weights), card)
    return results


def totals(results: Sequence[Overlay]) -> tuple[list[str], list[str]]:
    """Keys that some file filled, and keys that none did; of the latter first those of which a file held another shape."""
    loaded = {key for result in results for key in result.loaded}
    reasons = {key: reason for result in results for key, reason in result.mismatched.items()}
    keys = list(results[0].weights)
    left = sorted((key for key in keys if key not in loaded), key=lambda key: key not in reasons)
    return [key for key in keys if key in loaded], [reasons.get(key, key) for key in left]


def export_weights(folder: str | os.PathLike, path: str | os.PathLike) -> None:
    """Writes a model folder's weights as a file that the published code reads: entry `model`, its keys and order.

    Raises CheckpointError if the network, or its size, has no published layout.
    """
    card_file = Path(folder) / CARD
    name = require_object(card_file, read_json(card_file, "model card"), "model card").get("network")
    published = next((network for network in NETWORKS if network.name == name), None)
    if published is None:
        raise CheckpointError(f"{folder}: a {name} network has no published layout.")
    network, card = published.load(folder)
    notes = {name: value for name, value in card.origin.get("notes", {}).items() if name in COUNTERS}
    with atomic_path(path) as temporary:
        weights = {key: tensor.contiguous() for key, tensor in published.to_published(network.state_dict()).items()}
        torch.save({published.entry: weights, **notes} if published.entry else weights, temporary)


def report_lines(
    files: Sequence[PublishedFile], results: Sequence[Overlay], folder: str | os.PathLike
) -> Iterator[str]:
    """What each file gave, what of it was ignored, and what kept its initial value after all of them."""
    for file, result in zip(files, results, strict=True):
        yield f"{file.path} -> {Path(folder)}"
        yield f"loaded: {len(result.loaded)} tensors"
        if result.fitted:
            yield from _listed("filled up with zeros", result.fitted)
        if len(files) > 1:
            yield from _listed("ignored", result.ignored)
    yield from _listed("initial", totals(results)[1])
    if len(files) == 1:
        yield from _listed("ignored", results[0].ignored)


def _listed(title: str, keys: Sequence[str]) -> Iterator[str]:
    yield f"{title}: {len(keys)} tensors"
    yield from (f"  {key}" for key in keys[:LISTED_KEYS])
    if len(keys) > LISTED_KEYS:
        yield f"  and {len(keys) - LISTED_KEYS} more"
