"""Fields that the golden cases of all image networks share: probes of large tensors, gradient norms, the encoder's maps."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from im2hands.networks.image_encoder import ImageFeatures
from im2hands.networks.published.reader import read_published
from im2hands.parity.case import Comparison, Golden
from im2hands.parity.tolerances import JITTER, JITTERED_PASSES, MOST_ROUNDING

SMALL_SHARE = 1e-3
"""Of the largest gradient norm of a file: norms below it are small ones."""


def through_a_file(content: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights of a published file of this content, written and read by the project's checkpoint reader."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "published.pt"
        torch.save(content, path)
        return read_published(path).weights


def golden_image(seed: int, batch: int) -> Tensor:
    """The input image of a case, used without normalisation."""
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((batch, 3, 256, 256)).astype(np.float32))


def compare_probe(golden: Golden, name: str, tensor: Tensor, tolerance: str) -> Iterator[Comparison]:
    """Shape, mean and deviation of a tensor, and its values at the stored places."""
    values = tensor.detach().cpu().numpy()
    yield golden.compare(f"probe_{name}_shape", np.array(values.shape))
    places = golden[f"probe_{name}_index"]
    yield golden.compare(f"probe_{name}_value", values.reshape(-1)[places], tolerance, relative_to="largest")
    whole = values.astype(np.float64)
    yield golden.compare(f"probe_{name}_mean_std", [whole.mean(), whole.std()], tolerance, relative_to="largest")


def compare_image_features(golden: Golden, features: ImageFeatures, tolerance: str) -> Iterator[Comparison]:
    """Everything that the image encoder gives."""
    for name, tensor in (("hms", features.heat_maps), ("mask", features.masks), ("dp", features.dense_maps)):
        yield from compare_probe(golden, name, tensor, tolerance)
    for level in range(4):
        for name, maps in (("img", features.backbone), ("hms", features.of_heat_maps), ("dp", features.of_dense_maps)):
            yield from compare_probe(golden, f"{name}_fmap{level}", maps[level], tolerance)


@dataclass(frozen=True)
class Backward:
    """A training pass: its losses by name, and the norms of all gradients by published key (None: without gradient)."""

    losses: Mapping[str, float]
    norms: Mapping[str, float | None]

    @classmethod
    def of(cls, losses: Mapping[str, Tensor], gradients: Mapping[str, Tensor | None]) -> Backward:
        norms = {key: None if each is None else each.double().norm().item() for key, each in gradients.items()}
        return cls({name: loss.item() for name, loss in losses.items()}, norms)

    @property
    def modules(self) -> dict[str, float]:
        """Norms over everything under a top-level name."""
        squares: dict[str, float] = {}
        for key, norm in self.norms.items():
            if norm is not None:
                squares[module_of(key)] = squares.get(module_of(key), 0.0) + norm**2
        return {module: squares[module] ** 0.5 for module in sorted(squares)}


TrainingPass = Callable[[torch.dtype, int | None], Backward]
"""The pass of a case in a precision; the number, if any, draws the roundings by which all weights are moved (`jittered`)."""


def compare_training(
    golden: Golden, mode: str, training_pass: TrainingPass, first: torch.dtype
) -> Iterator[Comparison]:
    """Losses, norms of single gradients and of whole modules, and which parameters have none.

    mode: `eval` or `train`.  first: the precision that is compared directly. Only where that is not within the tolerances are
    the file's numbers, which are float32, judged as such: by their distance from float64, against our own in float32.
    Tolerances (relative): `<mode> loss`; `eval encoder` for `image_encoder.*`, `eval others`; `train`, `train small`
    (`SMALL_SHARE`).
    """
    found = training_pass(first, None)
    comparisons = list(_compare_pass(golden, mode, found, Rounding()))
    if not _all_passed(comparisons):
        exact, plain = (
            found if first is kind else training_pass(kind, None) for kind in (torch.float64, torch.float32)
        )
        rounded = [plain]
        comparisons = list(_compare_pass(golden, mode, exact, Rounding.of(exact, rounded)))
        for seed in range(JITTERED_PASSES):
            if _all_passed(comparisons):
                break
            rounded.append(training_pass(torch.float32, seed))
            comparisons = list(_compare_pass(golden, mode, exact, Rounding.of(exact, rounded)))
    yield from comparisons


def _all_passed(comparisons: list[Comparison]) -> bool:
    return all(comparison.passed for comparison in comparisons)


@dataclass(frozen=True)
class Rounding:
    """How far float32 moves the numbers of a pass: fractions of losses, of single gradients' norms, and of modules' norms."""

    losses: Mapping[str, float] = field(default_factory=dict)
    gradients: Mapping[str, float] = field(default_factory=dict)
    modules: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, exact: Backward, rounded: list[Backward]) -> Rounding:
        """From passes in float64 and in float32. What moves one gradient of a module may move any other of it as far."""
        norms = {key: norm for key, norm in exact.norms.items() if norm}
        largest = max(norms.values(), default=0.0)
        own = {key: max(abs((each.norms[key] or 0.0) / norm - 1) for each in rounded) for key, norm in norms.items()}
        modules: dict[str, float] = {}
        for key, norm in norms.items():
            if norm > SMALL_SHARE * largest:
                modules[module_of(key)] = max(modules.get(module_of(key), 0.0), own[key])
        gradients = {key: max(moved, modules.get(module_of(key), 0.0)) for key, moved in own.items()}
        losses = {
            name: max(abs(each.losses[name] - loss) / (abs(loss) or 1.0) for each in rounded)
            for name, loss in exact.losses.items()
        }
        return cls(losses, gradients, modules)


def _compare_pass(golden: Golden, mode: str, found: Backward, rounding: Rounding) -> Iterator[Comparison]:
    prefix = training_prefix(mode)
    for name, loss in found.losses.items():
        slack = min(rounding.losses.get(name, 0.0), MOST_ROUNDING)
        yield golden.compare(f"{prefix}{name}", loss, f"{mode} loss", relative_to="each", slack=slack)
    yield golden.compare(
        f"{prefix}grad_none", np.array(sorted(key for key, norm in found.norms.items() if norm is None))
    )
    modules = found.modules
    yield golden.compare(f"{prefix}module_name", np.array(list(modules)))
    for kind, names, ours, slacks in (
        ("grad", golden[f"{prefix}grad_name"], found.norms, rounding.gradients),
        ("module_grad", golden[f"{prefix}module_name"], modules, rounding.modules),
    ):
        norms, where_from = [ours.get(str(name)) for name in names], f"{prefix}{kind}_norm"
        values = np.array([np.nan if norm is None else norm for norm in norms])
        slack = np.array([min(slacks.get(str(name), 0.0), MOST_ROUNDING) for name in names])
        if mode == "eval":
            special, tolerances = np.char.startswith(names, "image_encoder"), ("eval encoder", "eval others")
        else:
            special, tolerances = golden[where_from] < SMALL_SHARE * golden[where_from].max(), ("train small", "train")
        for where, tolerance in zip((special, ~special), tolerances, strict=True):
            if where.any():
                part = {"where": where, "relative_to": "each", "slack": slack[where]}
                yield golden.compare(where_from, values[where], tolerance, **part)


def gradients_of(network: nn.Module) -> dict[str, Tensor | None]:
    return {name: weight.grad for name, weight in network.named_parameters()}


def module_of(key: str) -> str:
    return key.partition(".")[0]


@contextmanager
def jittered(network: nn.Module, seed: int | None) -> Iterator[None]:
    """The network with every weight moved by up to `JITTER` of itself, until it is left; as it is without a seed."""
    weights = [] if seed is None else list(network.parameters())
    kept = [weight.detach().clone() for weight in weights]
    generator = torch.Generator().manual_seed(seed or 0)
    with torch.no_grad():
        for weight in weights:
            weight.mul_(1 + JITTER * (2 * torch.rand(weight.shape, generator=generator) - 1))
    try:
        yield
    finally:
        with torch.no_grad():
            for weight, before in zip(weights, kept, strict=True):
                weight.copy_(before)


def training_prefix(mode: str) -> str:
    """Of the names of fields of the training case."""
    return "train_eval_mode_" if mode == "eval" else "train_"


def without_dropout(network: nn.Module) -> nn.Module:
    """The network itself, with all its dropout probabilities at 0, as in the golden training numbers."""
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return network
