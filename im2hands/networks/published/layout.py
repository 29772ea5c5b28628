"""Key lists of published checkpoints, and which of the keys a file contains."""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import resources

from torch import Tensor, nn

from im2hands.io.errors import CheckpointError
from im2hands.networks.model_folder import ModelCard, require_finite
from im2hands.networks.published.reader import PublishedFile


@dataclass(frozen=True)
class PublishedLayout:
    """The tensors of a published checkpoint: key -> shape, in the file's order."""

    name: str
    shapes: Mapping[str, tuple[int, ...]]

    @classmethod
    def named(cls, name: str) -> PublishedLayout:
        """A layout stored as `<name>.json` next to this module."""
        text = resources.files("im2hands.networks.published").joinpath(f"{name}.json").read_text()
        return cls(name, {key: tuple(shape) for key, shape in json.loads(text)["tensors"]})

    def matches_in(self, file: PublishedFile) -> int:
        """How many tensors of the file bear a key of this layout."""
        return len(self.shapes.keys() & file.weights.keys())


def in_published_order(
    network: str, shapes: Mapping[str, tuple[int, ...]], tensor_of: Callable[[str], Tensor | None]
) -> OrderedDict[str, Tensor]:
    """The tensors of a published file. tensor_of: a published key's tensor in our network, None where there is none.

    Raises CheckpointError for a network of other than the published sizes.
    """
    published: OrderedDict[str, Tensor] = OrderedDict()
    for key, shape in shapes.items():
        tensor = tensor_of(key)
        if tensor is None or tensor.shape != shape:
            raise CheckpointError(
                f"weights of {network} without {key} of shape {shape} have no published layout; "
                "only the published sizes have one."
            )
        published[key] = tensor
    return published


def with_last_axis(tensor: Tensor | None) -> Tensor | None:
    """The weight of a linear map as that of a published 1x1 convolution over points."""
    return None if tensor is None else tensor.unsqueeze(-1)


def same_key(key: str) -> tuple[str, ...]:
    """The keys of a file that may fill a published key: that one alone."""
    return (key,)


def as_it_is(_: str, tensor: Tensor, __: tuple[int, ...]) -> Tensor:
    return tensor


@dataclass(frozen=True, eq=False)
class PublishedNetwork:
    """A network of ours whose weights also exist in published files.

    name: the network's.  build: the network with random weights; sizes are read off a file's tensors.
    load: network and card of a model folder.
    from_published, to_published: our state dict from the published one, and back with its keys, order and bits.
    sources: keys under which files, also those of other networks, may contain the tensor of a published key, best first.
    fitted: such a tensor brought to the published key's shape, where there is a meaningful way.
    compat: options that published weights were made for.
    entry: name under which a published file contains the state dict; None where the file is the state dict itself.
    with_graphs: the same network on the graph files of a folder, for networks that need such files to be built.
    """

    name: str
    layout: PublishedLayout
    build: Callable[[Mapping[str, Tensor]], nn.Module]
    load: Callable[[str | os.PathLike], tuple[nn.Module, ModelCard]]
    from_published: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
    to_published: Callable[[Mapping[str, Tensor]], OrderedDict[str, Tensor]]
    sources: Callable[[str], tuple[str, ...]] = same_key
    fitted: Callable[[str, Tensor, tuple[int, ...]], Tensor] = as_it_is
    compat: Mapping[str, str] = field(default_factory=dict)
    entry: str | None = "model"
    with_graphs: Callable[[str | os.PathLike], PublishedNetwork] | None = None


@dataclass(frozen=True)
class Overlay:
    """Weights of a file laid over a network's initial ones, and what became of every key.

    loaded: keys that were filled.  fitted: those of them whose shape was changed to do so.
    initial: keys that kept their value, because the file lacks them; mismatched: because it contains another shape.
    ignored: keys of the file that the network has no place for.
    """

    weights: OrderedDict[str, Tensor]
    loaded: tuple[str, ...]
    fitted: tuple[str, ...]
    initial: tuple[str, ...]
    mismatched: Mapping[str, str]
    ignored: tuple[str, ...]


def check_belongs(file: PublishedFile, network: PublishedNetwork) -> None:
    """Raises CheckpointError if no tensor of the file has a key that the network knows."""
    if not any(source in file.weights for key in network.layout.shapes for source in network.sources(key)):
        raise _foreign(file, network)


def _foreign(file: PublishedFile, network: PublishedNetwork) -> CheckpointError:
    example = next(iter(file.weights))
    return CheckpointError(
        f"{file.path}: none of its {len(file.weights)} tensors (the first is {example}) belongs to {network.name}; "
        "is it the checkpoint of another network?"
    )


def overlay(file: PublishedFile, initial: Mapping[str, Tensor], network: PublishedNetwork) -> Overlay:
    """The file's tensors where key and shape agree with `initial` (published keys), the initial ones elsewhere.

    Raises CheckpointError if nothing of the file fits.
    """
    check_belongs(file, network)
    weights: OrderedDict[str, Tensor] = OrderedDict()
    loaded, fitted, kept, used = [], [], [], set()
    mismatched = {}
    for key, start in initial.items():
        weights[key] = start
        source = next((name for name in network.sources(key) if name in file.weights), None)
        if source is None:
            kept.append(key)
            continue
        used.add(source)
        found = file.weights[source]
        require_finite(file.path, source, found)
        tensor = network.fitted(key, found, tuple(start.shape))
        if tensor.shape != start.shape:
            kept.append(key)
            mismatched[key] = f"{key} (shape {tuple(found.shape)} in the file, {tuple(start.shape)} here)"
            continue
        weights[key] = tensor.to(start.dtype, copy=True)  # one source may fill several keys
        loaded.append(key)
        if tensor is not found:
            fitted.append(key)
    if not loaded:
        raise CheckpointError(
            f"{file.path}: none of its tensors has the shape that {network.name} needs, e.g. "
            f"{next(iter(mismatched.values()))}; is it the checkpoint of a network with other sizes?"
        )
    ignored = tuple(key for key in file.weights if key not in used)
    return Overlay(weights, tuple(loaded), tuple(fitted), tuple(kept), mismatched, ignored)
