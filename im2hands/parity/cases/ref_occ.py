"""Golden case `ref_occ`: refined occupancy in published mode, weights by rule through the checkpoint reader."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from im2hands.hands.frames import anchors_to_world
from im2hands.hands.sides import SIDES, Side
from im2hands.networks.point_transformer import Neighbourhoods
from im2hands.networks.published import refined_occupancy as published
from im2hands.networks.refined_occupancy import OPTIONS, EncodedPair, RefinedOccupancyNetwork
from im2hands.networks.two_hands import CameraBatch, Hands
from im2hands.parity.case import Case, Comparison, Golden, GoldenFolder
from im2hands.parity.cases.init_occ import camera_of, hands_of, training_batch
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
from im2hands.training.losses import occupancy_loss
from im2hands.training.refined_losses import PENETRATION_WEIGHT, penetration

OVERRIDE = "override_"
PRECISIONS = {"eval": torch.float64, "train": torch.float32}
"""Of the training case. In eval mode a pair's ReLU bends within float32's rounding: see the tolerances."""
SHORT = 40
"""Right queries of `short_right_occupancy`."""


def load_weights(network: RefinedOccupancyNetwork, golden: Golden, overrides: bool) -> RefinedOccupancyNetwork:
    """The case's published state dict, written to a file and read back. overrides: as for all numbers in eval mode."""
    weights = rule_weights(published.LAYOUT.shapes, int(golden["seed_weights"]))
    for field in golden:
        if overrides and field.startswith(OVERRIDE):
            weights[field.removeprefix(OVERRIDE)] = torch.from_numpy(golden[field])
    network.load_state_dict(published.from_published(through_a_file({"model": weights})))
    return network


def network_of(golden: Golden) -> RefinedOccupancyNetwork:
    network = RefinedOccupancyNetwork(**dict.fromkeys(OPTIONS, "published"))
    return load_weights(network, golden, overrides=True).eval()


def anchors_of(golden: Golden, hands: Hands, prefix: str = "") -> dict[Side, Tensor]:
    """Anchors in the world (m)."""
    stored = {side: torch.from_numpy(golden[f"{prefix}{side.value}_anchor_points"]) for side in SIDES}
    return {side: anchors_to_world(stored[side], hands[side].palm.wrist.double()).float() for side in SIDES}


def run(golden: Golden, folder: GoldenFolder) -> Iterator[Comparison]:
    network = network_of(golden)
    yield from compare_forward(golden, network)
    yield from _training(golden, without_dropout(network))


@torch.no_grad()
def compare_forward(golden: Golden, network: RefinedOccupancyNetwork) -> Iterator[Comparison]:
    """All numbers of the inference case."""
    images, hands, camera = golden_image(int(golden["seed_image"]), 1), hands_of(golden), camera_of(golden)
    anchors = anchors_of(golden, hands)
    features = network.image_encoder(images)
    yield from compare_image_features(golden, features, "forward")
    encoded = network.encode_features(features, network.initial.encode(images), anchors, camera)
    yield from compare_probe(golden, "img_feat_256", encoded.image, "forward")
    yield _compare(golden, "img_global", encoded.summary)
    _, inputs = network.anchor_inputs(encoded.image, anchors, camera)
    for side in SIDES:
        yield from _encoding(golden, network, encoded, side, *inputs[side])
    yield from _decoding(golden, network, encoded, hands, camera)


def _encoding(
    golden: Golden,
    network: RefinedOccupancyNetwork,
    encoded: EncodedPair,
    side: Side,
    positions: Tensor,
    features: Tensor,
) -> Iterator[Comparison]:
    """The anchors of a hand, step by step."""
    encoder, name = network.anchor_encoder, side.value
    yield _compare(golden, f"{name}_anchor_input", positions)
    yield from compare_probe(golden, f"{name}_anchor_input_feature", features, "forward")
    places = encoder.neighbourhoods(positions)
    for level in range(2):
        yield golden.compare(f"{name}_fps{level}", places.kept[level][0].numpy())
        yield _compare(golden, f"{name}_down{level}_xyz", places.positions[level + 1])
    for step, tensor in _levels(network, places, features).items():
        yield from compare_probe(golden, f"{name}_{step}", tensor, "forward")
    anchors = encoded.anchors[side]
    yield _compare(golden, f"{name}_anchors", anchors.positions)
    yield from compare_probe(golden, f"{name}_anchor_feats", anchors.features, "forward")
    yield _compare(golden, f"{name}_z", anchors.code)


def _levels(network: RefinedOccupancyNetwork, places: Neighbourhoods, features: Tensor) -> dict[str, Tensor]:
    """Features after the first block and after each reduction."""
    encoder = network.anchor_encoder
    steps = {"begin": encoder.begin(places.positions[0], encoder.embed(features), places.among[0])}
    steps["down0"] = encoder.reduced(0, steps["begin"], places)
    between = encoder.after_reduction(0, steps["down0"], places)
    steps["down1"] = encoder.reduced(1, between, places)
    return steps


def _decoding(
    golden: Golden, network: RefinedOccupancyNetwork, encoded: EncodedPair, hands: Hands, camera: CameraBatch
) -> Iterator[Comparison]:
    """Everything that belongs to query points."""
    attention, swapped_codes = network.decoder.attention, network.penetration_codes(encoded)
    swapped_initial = network.initial.penetration(encoded.initial, hands, camera)
    swapped_logits = network.penetration_logits(encoded, hands, camera)
    swapped = network.penetration(encoded, hands, camera)
    for side, hand in hands.items():
        name = side.value
        points, looked_up = network.query_inputs(encoded, hand, camera)
        steps = {
            "context_z": encoded.codes[side],
            "query_centred": points,
            "query_image_feature": looked_up,
            "init_occupancy": network.initial.occupancy(encoded.initial, hand, camera),
            "logit": network.logits(encoded, hand, camera),
            "occupancy": network.occupancy(encoded, hand, camera),
        }
        for step, tensor in steps.items():
            yield _compare(golden, f"{name}_{step}", tensor)
        attended = attention(points, encoded.terms[side], attention.of_code(encoded.codes[side]))
        yield from compare_probe(golden, f"{name}_cross_attention", attended, "forward")
        steps = {
            "context_z": swapped_codes[side],
            "query_centred": network.query_inputs(encoded, hands[side.other], camera)[0],
            "init_occupancy": swapped_initial[side],
            "logit": swapped_logits[side],
            "occupancy": swapped[side],
        }
        for step, tensor in steps.items():
            yield _compare(golden, f"pen_{name}_{step}", tensor)
    right = hands[Side.RIGHT]
    short = network.occupancy(encoded, right.with_points(right.points[:, :SHORT]), camera)
    yield _compare(golden, "short_right_occupancy", short)


def _training(golden: Golden, network: RefinedOccupancyNetwork) -> Iterator[Comparison]:
    stored = anchors_of(golden, hands_of(golden, "train_"), "train_")
    for mode, precision in PRECISIONS.items():
        weights = load_weights(network.float(), golden, overrides=mode == "eval").state_dict()
        weights = {name: tensor.clone() for name, tensor in weights.items()}

        def training_pass(
            precision: torch.dtype, jitter: int | None, mode: str = mode, weights: dict[str, Tensor] = weights
        ) -> Backward:
            images, hands, camera, labels = training_batch(golden, precision)
            anchors = {side: points.to(precision) for side, points in stored.items()}
            network.to(precision).load_state_dict(weights)
            network.train(mode == "train").zero_grad(set_to_none=True)
            with jittered(network, jitter):
                encoded = network.encode(images, anchors, camera)
                occupancy = {side: network.occupancy(encoded, hand, camera) for side, hand in hands.items()}
                others = network.penetration(encoded, hands, camera)
                losses = {
                    "occ_loss": occupancy_loss(occupancy, labels),
                    "pen_loss": penetration(occupancy, others, "published"),
                }
                losses["loss"] = losses["occ_loss"] + PENETRATION_WEIGHT * losses["pen_loss"]
                losses["loss"].backward()
            return Backward.of(losses, published.by_published_key(gradients_of(network)))

        yield from compare_training(golden, mode, training_pass, precision)


def _compare(golden: Golden, field: str, tensor: Tensor) -> Comparison:
    return golden.compare(field, tensor.numpy(), "forward", relative_to="largest")


CASE = Case("ref_occ", frozenset({"img_global", "right_query_centred", "right_fps0"}), run)
