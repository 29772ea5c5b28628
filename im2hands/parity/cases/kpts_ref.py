"""Golden case `kpts_ref`: keypoint refinement in published mode, weights by rule through the checkpoint reader.

The file has joints in MANO order, relative to the wrist, those of left hands mirrored.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from im2hands.hands.frames import RefinementKeypoints, mirrored_wrist
from im2hands.hands.joints import JointOrder, reorder
from im2hands.hands.sides import SIDES, Side
from im2hands.networks.keypoint_refinement import KeypointRefinementNetwork
from im2hands.networks.published import keypoint_refinement as published
from im2hands.parity.case import Case, Comparison, Golden, GoldenFolder
from im2hands.parity.network_fields import (
    Backward,
    compare_image_features,
    compare_probe,
    compare_training,
    golden_image,
    gradients_of,
    jittered,
    through_a_file,
    without_dropout,
)
from im2hands.parity.weights_rule import rule_weights
from im2hands.training.keypoint_losses import refinement_loss, refinement_scores


def network_of(golden: Golden) -> KeypointRefinementNetwork:
    network = KeypointRefinementNetwork(joint_regressors="published")
    weights = rule_weights(published.LAYOUT.shapes, int(golden["seed_weights"]))
    network.load_state_dict(published.from_published(through_a_file({"model": weights})))
    return network.eval()


def wrist_of(golden: Golden, side: Side, prefix: str = "") -> Tensor:
    """World, m, not mirrored, float64."""
    return mirrored_wrist(torch.from_numpy(golden[f"{prefix}{side.value}_root_xyz"]).double(), side)


def keypoints_of(golden: Golden, kind: str, prefix: str = "") -> RefinementKeypoints:
    """Predicted (`pred`) or true (`gt`) joints as the network sees them."""
    rotation, translation = (torch.from_numpy(golden[prefix + name]).double() for name in ("R", "T"))
    camera = {}
    for side in SIDES:
        relative = torch.from_numpy(golden[f"{prefix}{side.value}_joints_{kind}"])
        world = side.mirror_points(relative) + wrist_of(golden, side, prefix)[:, None]
        joints = reorder(world, JointOrder.MANO, JointOrder.STANDARD)
        camera[side] = joints @ rotation.mT + translation[:, None]
    return RefinementKeypoints.of(camera[Side.LEFT], camera[Side.RIGHT])


def of_side(keypoints: RefinementKeypoints, side: Side) -> Tensor:
    return keypoints.left if side is Side.LEFT else keypoints.right


def run(golden: Golden, folder: GoldenFolder) -> Iterator[Comparison]:
    network = network_of(golden)
    yield from compare_forward(golden, network)
    yield from _training(golden, without_dropout(network))


@torch.no_grad()
def compare_forward(golden: Golden, network: KeypointRefinementNetwork) -> Iterator[Comparison]:
    """All numbers of the inference case."""
    given, true = keypoints_of(golden, "pred"), keypoints_of(golden, "gt")
    for side in SIDES:
        yield golden.compare(f"{side.value}_joints_mm", _published_order(of_side(given, side)), "millimetres")
        yield golden.compare(f"{side.value}_joints_gt_mm", _published_order(of_side(true, side)), "millimetres")
    yield golden.compare("left_mid_joint", given.origin.numpy(), "metres")

    features = network.image_encoder(golden_image(int(golden["seed_image"]), 1))
    yield from compare_image_features(golden, features, "forward")
    image = network.projected(features)
    yield from compare_probe(golden, "img_feature", image, "forward")
    yield from compare_refinement(golden, network, image, given)


@torch.no_grad()
def compare_refinement(
    golden: Golden, network: KeypointRefinementNetwork, image: Tensor, given: RefinementKeypoints
) -> Iterator[Comparison]:
    """All that comes after the image's map: the layers, the refined joints, and what the published script writes of them."""
    seen = _Seen(network)
    refined = network.refine(image, given)
    seen.stop()
    for name, tensor in seen.tensors.items():
        if tensor.shape[1] == 21:
            yield golden.compare(name, _published_order(tensor), "forward", relative_to="largest")
        else:
            yield from compare_probe(golden, name, tensor, "forward")
    for side in SIDES:
        ours = _published_order(of_side(refined, side))
        yield golden.compare(f"{side.value}_out", ours, "forward", relative_to="largest")
    rotation = torch.from_numpy(golden["R"])
    written = published.written_joints(refined, rotation, *(wrist_of(golden, side) for side in SIDES))
    for side in SIDES:
        ours = written[side].numpy()
        yield golden.compare(f"{side.value}_written_joints", ours, "forward", relative_to="largest")


def _training(golden: Golden, network: KeypointRefinementNetwork) -> Iterator[Comparison]:
    images = golden_image(int(golden["train_seed_image"]), len(golden["train_R"]))
    given, true = keypoints_of(golden, "pred", "train_"), keypoints_of(golden, "gt", "train_")
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    names = {key: published.our_name(key) for key in published.LAYOUT.shapes}
    first: dict[str, RefinementKeypoints] = {}
    for mode in ("eval", "train"):

        def training_pass(precision: torch.dtype, jitter: int | None, mode: str = mode) -> Backward:
            network.to(precision).load_state_dict(weights)
            network.train(mode == "train").zero_grad(set_to_none=True)
            with jittered(network, jitter):
                refined = network(images.to(precision), given)
                loss = refinement_loss(refined, true)
                loss.backward()
            first.setdefault(mode, refined)
            ours = gradients_of(network)
            return Backward.of({"loss": loss}, {key: ours[name] for key, name in names.items() if name in ours})

        yield from compare_training(golden, mode, training_pass, torch.float32)
    for name, values in refinement_scores(first["eval"], given, true).items():
        yield golden.compare(f"eval_{name}", values.mean().item(), "eval loss", relative_to="each")


class _Seen:
    """Inputs and outputs of the layers while the network runs, by field name."""

    def __init__(self, network: KeypointRefinementNetwork) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._handles = []
        for place, layer in enumerate(network.layers):
            graph, left = layer.graph["left"], layer.image_attention["left"]
            self._watch(graph, f"layer{place}_left_graph", f"layer{place}_left_in")
            self._watch(left.tokens.attention, f"layer{place}_left_grid")
        self._layers(network)

    def _watch(self, module: torch.nn.Module, output: str, first_input: str | None = None) -> None:
        def hook(_: torch.nn.Module, inputs: tuple, result: Tensor) -> None:
            self.tensors[output] = result
            if first_input:
                self.tensors[first_input] = inputs[0]

        self._handles.append(module.register_forward_hook(hook))

    def _layers(self, network: KeypointRefinementNetwork) -> None:
        for place, layer in enumerate(network.layers):

            def hook(_: torch.nn.Module, inputs: tuple, result: Tensor, place: int = place) -> None:
                self.tensors[f"layer{place}_{inputs[2].value}_out"] = result

            self._handles.append(layer.register_forward_hook(hook))

    def stop(self) -> None:
        for handle in self._handles:
            handle.remove()


def _published_order(joints: Tensor) -> np.ndarray:
    return reorder(joints, JointOrder.STANDARD, JointOrder.MANO).numpy()


CASE = Case("kpts_ref", frozenset({"left_joints_mm", "right_joints_gt_mm"}), run)
