"""Published weight files to model folders of ours, and back."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from im2hands.io.atomic import atomic_path
from im2hands.io.errors import CheckpointError
from im2hands.networks.halo import NAME as HALO
from im2hands.networks.halo import HaloNetwork, load_halo
from im2hands.networks.model_folder import ModelCard, write_model
from im2hands.networks.published import halo
from im2hands.networks.published.layout import Overlay, overlay
from im2hands.networks.published.reader import PublishedFile, read_published

LAYOUTS = (halo.LAYOUT,)
LISTED_KEYS = 12
"""Keys of one kind that a report spells out before it only counts."""


def import_weights(files: Sequence[str | os.PathLike], folder: str | os.PathLike) -> Iterator[str]:
    """Writes the model folder from published files; yields the lines of a report on every key.

    The network is recognised by the keys.  Raises CheckpointError if a file is refused, damaged, or of no known network.
    """
    if len(files) != 1:
        raise CheckpointError(f"expected one weight file for {folder}, got {len(files)}; import one network at a time.")
    file = read_published(files[0])
    found = {layout.name: layout.matches_in(file) for layout in LAYOUTS}
    if not any(found.values()):
        raise CheckpointError(
            f"{file.path}: none of its {len(file.weights)} tensors (the first is {next(iter(file.weights))}) belongs to a "
            f"known network ({', '.join(found)})."
        )
    yield from report_lines(file, import_halo(file, folder), folder)


def import_halo(file: PublishedFile, folder: str | os.PathLike) -> Overlay:
    """Writes HALO's model folder from a published file; sizes are read off the file's shapes."""
    architecture = halo.architecture_of(file.weights)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = HaloNetwork(**architecture)
    result = overlay(file, halo.to_published(network.state_dict()), HALO)
    card = ModelCard(
        network=HALO,
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
        compat={"angle_clamp": "published"},
    )
    write_model(folder, halo.from_published(result.weights), card)
    return result


def export_halo(folder: str | os.PathLike, path: str | os.PathLike) -> None:
    """Writes a model folder's HALO weights as a file that the published code reads: entry `model`, its keys and order."""
    network, card = load_halo(folder)
    notes = {name: value for name, value in card.origin.get("notes", {}).items() if name in ("epoch_it", "it")}
    with atomic_path(path) as temporary:
        torch.save({"model": halo.to_published(network.state_dict()), **notes}, temporary)


def report_lines(file: PublishedFile, result: Overlay, folder: str | os.PathLike) -> Iterator[str]:
    """What was loaded, what kept its initial value, what was ignored."""
    yield f"{file.path} -> {Path(folder)}"
    yield f"loaded: {len(result.loaded)} tensors"
    for title, keys in (("initial", result.initial), ("ignored", result.ignored)):
        yield f"{title}: {len(keys)} tensors"
        yield from (f"  {key}" for key in keys[:LISTED_KEYS])
        if len(keys) > LISTED_KEYS:
            yield f"  and {len(keys) - LISTED_KEYS} more"
