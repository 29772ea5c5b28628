"""Fields that the golden cases of all image networks share: probes of large tensors, gradient norms, the encoder's maps."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from im2hands.networks.image_encoder import ImageFeatures
from im2hands.networks.published.reader import read_published
from im2hands.parity.case import Comparison, Golden

SMALL_SHARE = 1e-3
"""Of the largest gradient norm of a file: norms below it are small ones."""


def through_a_file(content: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights of a published file of this content, written and read by the project's checkpoint reader."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "published.pt"
        torch.save(content, path)
        return read_published(path).weights


def golden_image(seed: int, batch: int) -> Tensor:
    """The input image of a case, which is fed as it is, without normalisation."""
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


def compare_gradients(golden: Golden, mode: str, gradients: Mapping[str, Tensor | None]) -> Iterator[Comparison]:
    """Norms of single gradients and of whole modules, and which parameters have none.

    mode: `eval` or `train`.  gradients: by published key.
    Tolerances (relative): `eval encoder` for `image_encoder.*`, `eval others`; `train`, `train small` (`SMALL_SHARE`).
    """
    prefix = training_prefix(mode)
    given = {key: gradient for key, gradient in gradients.items() if gradient is not None}
    yield golden.compare(f"{prefix}grad_none", np.array(sorted(set(gradients) - set(given))))
    norms = {key: gradient.double().norm().item() for key, gradient in given.items()}
    modules: dict[str, float] = {}
    for key, norm in norms.items():
        module = key.partition(".")[0]
        modules[module] = modules.get(module, 0.0) + norm**2
    modules = {module: modules[module] ** 0.5 for module in sorted(modules)}
    yield golden.compare(f"{prefix}module_name", np.array(list(modules)))
    for kind, names, ours in (
        ("grad", golden[f"{prefix}grad_name"], norms),
        ("module_grad", golden[f"{prefix}module_name"], modules),
    ):
        values, field = np.array([ours.get(str(name), np.nan) for name in names]), f"{prefix}{kind}_norm"
        if mode == "eval":
            special, tolerances = np.char.startswith(names, "image_encoder"), ("eval encoder", "eval others")
        else:
            special, tolerances = golden[field] < SMALL_SHARE * golden[field].max(), ("train small", "train")
        for where, tolerance in zip((special, ~special), tolerances, strict=True):
            if where.any():
                yield golden.compare(field, values[where], tolerance, where, relative_to="each")


def training_prefix(mode: str) -> str:
    """Of the names of fields of the training case."""
    return "train_eval_mode_" if mode == "eval" else "train_"


def without_dropout(network: nn.Module) -> nn.Module:
    """The network itself, with all its dropout probabilities at 0, as in the golden training numbers."""
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return network
