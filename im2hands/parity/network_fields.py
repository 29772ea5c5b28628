"""Fields that the golden cases of all image networks share: probes of large tensors, gradient norms, the encoder's maps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from im2hands.networks.image_encoder import ImageFeatures
from im2hands.parity.case import Comparison, Golden


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


def compare_gradients(
    golden: Golden, prefix: str, gradients: Mapping[str, Tensor | None], encoder: str, others: str
) -> Iterator[Comparison]:
    """Norms of single gradients and of whole modules, and which parameters have none.

    gradients: by published key.  encoder, others: tolerances (relative) of `image_encoder.*` and of everything else.
    """
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
        values = np.array([ours.get(str(name), np.nan) for name in names])
        of_encoder = np.char.startswith(names, "image_encoder")
        for where, tolerance in ((of_encoder, encoder), (~of_encoder, others)):
            if where.any():
                field = f"{prefix}{kind}_norm"
                yield golden.compare(field, values[where], tolerance, where, relative_to="each")


def without_dropout(network: nn.Module) -> nn.Module:
    """The network itself, with all its dropout probabilities at 0, as in the golden training numbers."""
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return network
