"""Key lists of published checkpoints, and what of them a file holds."""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import resources

from torch import Tensor, nn

from im2hands.io.errors import CheckpointError
from im2hands.networks.model_folder import ModelCard
from im2hands.networks.published.reader import PublishedFile


@dataclass(frozen=True)
class PublishedLayout:
    """The tensors of a published checkpoint: key -> shape, in the file's order."""

    name: str
    shapes: Mapping[str, tuple[int, ...]]

    @classmethod
    def named(cls, name: str) -> PublishedLayout:
        """A layout that the package carries as `<name>.json` beside this module."""
        text = resources.files("im2hands.networks.published").joinpath(f"{name}.json").read_text()
        return cls(name, {key: tuple(shape) for key, shape in json.loads(text)["tensors"]})

    def matches_in(self, file: PublishedFile) -> int:
        """How many tensors of the file bear a key of this layout."""
        return len(self.shapes.keys() & file.weights.keys())


@dataclass(frozen=True, eq=False)
class PublishedNetwork:
    """A network of ours whose weights also exist in published files.

    name: the network's.  build: the network with random weights; sizes are read off a file's tensors.
    load: network and card of a model folder.  from_published, to_published: our state dict from the published one, and back
    with its keys, order and bits.  compat: options that published weights were made for.
    """

    name: str
    layout: PublishedLayout
    build: Callable[[Mapping[str, Tensor]], nn.Module]
    load: Callable[[str | os.PathLike], tuple[nn.Module, ModelCard]]
    from_published: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
    to_published: Callable[[Mapping[str, Tensor]], OrderedDict[str, Tensor]]
    compat: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Overlay:
    """Weights of a file laid over a network's initial ones, and what became of every key.

    initial: keys that kept their initial value, because the file lacks them or holds another shape.
    ignored: keys of the file that the network has no place for.
    """

    weights: OrderedDict[str, Tensor]
    loaded: tuple[str, ...]
    initial: tuple[str, ...]
    ignored: tuple[str, ...]


def overlay(file: PublishedFile, initial: Mapping[str, Tensor], network: str) -> Overlay:
    """The file's tensors where key and shape agree with `initial` (published keys), the initial ones elsewhere.

    Raises CheckpointError if nothing of the file fits.
    """
    weights: OrderedDict[str, Tensor] = OrderedDict()
    loaded, kept = [], []
    for key, start in initial.items():
        found = file.weights.get(key)
        if found is None:
            kept.append(key)
        elif found.shape != start.shape:
            kept.append(f"{key} (shape {tuple(found.shape)} in the file, {tuple(start.shape)} here)")
        else:
            loaded.append(key)
            weights[key] = found.to(start.dtype)
            continue
        weights[key] = start
    if not loaded:
        example = next(iter(file.weights))
        raise CheckpointError(
            f"{file.path}: none of its {len(file.weights)} tensors (the first is {example}) belongs to {network}; "
            "is it the checkpoint of another network?"
        )
    ignored = tuple(key for key in file.weights if key not in initial)
    return Overlay(weights, tuple(loaded), tuple(kept), ignored)
