"""Refined occupancy against the numbers of the reference network."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from im2hands.hands.sides import SIDES
from im2hands.parity.case import Comparison, Golden
from im2hands.parity.cases.init_occ import camera_of, hands_of, training_batch
from im2hands.parity.cases.ref_occ import CASE, anchors_of, network_of
from im2hands.parity.network_fields import compare_probe, golden_image
from im2hands.training.losses import occupancy_loss
from im2hands.training.refined_losses import PENETRATION_WEIGHT, penetration
from tests.naive.cross_attention import naive_cross_attention, naive_logits
from tests.naive.point_transformer import naive_encoding
from tests.naive.refined_occupancy import naive_refined
from tests.reference import FOLDER


@pytest.fixture
def golden() -> Golden:
    return FOLDER.find(CASE.name)


def same(golden: Golden, field: str, tensor: torch.Tensor) -> Comparison:
    return golden.compare(field, tensor.numpy(), "forward", relative_to="largest")


def plain_values(golden: Golden) -> Iterator[Comparison]:
    """From image, anchors and queries to the occupancies, the other hand's queries included."""
    network, hands, camera = network_of(golden), hands_of(golden), camera_of(golden)
    images = golden_image(int(golden["seed_image"]), 1)
    own, others = naive_refined(network, images, anchors_of(golden, hands), hands, camera, penetration=True)
    for side in SIDES:
        yield same(golden, f"{side.value}_occupancy", own[side])
        yield same(golden, f"pen_{side.value}_occupancy", others[side])


def plain_steps(golden: Golden) -> Iterator[Comparison]:
    """Anchor encoder and query decoder alone, each fed with numbers of the file."""
    network, hands, camera = network_of(golden), hands_of(golden), camera_of(golden)
    image = network.encode(golden_image(int(golden["seed_image"]), 1), anchors_of(golden, hands), camera).image
    _, inputs = network.anchor_inputs(image, anchors_of(golden, hands), camera)
    for side in SIDES:
        name = side.value
        given = {
            field: torch.from_numpy(golden[f"{name}_{field}"])
            for field in ("anchor_input", "query_centred", "query_image_feature", "init_occupancy", "context_z")
        }
        positions, features, code = naive_encoding(network.anchor_encoder, given["anchor_input"], inputs[side][1])
        yield same(golden, f"{name}_anchors", positions)
        yield from compare_probe(golden, f"{name}_anchor_feats", features, "forward")
        yield same(golden, f"{name}_z", code)
        block = network.decoder.attention
        attended = naive_cross_attention(block, given["query_centred"], positions, features, given["context_z"])
        yield from compare_probe(golden, f"{name}_cross_attention", attended, "forward")
        logits = naive_logits(network.decoder, attended, given["query_image_feature"], given["init_occupancy"])
        yield same(golden, f"{name}_logit", logits)


def plain_losses(golden: Golden) -> Iterator[Comparison]:
    """Of the training case in eval mode: both hands, a batch of 2."""
    images, hands, camera, labels = training_batch(golden, torch.float32)
    anchors = anchors_of(golden, hands, "train_")
    own, others = naive_refined(network_of(golden), images, anchors, hands, camera, penetration=True)
    of_labels, of_penetration = occupancy_loss(own, labels), penetration(own, others, "published")
    losses = {
        "loss": of_labels + PENETRATION_WEIGHT * of_penetration,
        "occ_loss": of_labels,
        "pen_loss": of_penetration,
    }
    for name, value in losses.items():
        yield golden.compare(f"train_eval_mode_{name}", value.item(), "eval loss", relative_to="each")


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize(("plain", "count"), [(plain_values, 4), (plain_steps, 18), (plain_losses, 3)])
def test_plain_forms_agree_too(golden, plain, count):
    """The forms that the fast ones are compared with pass the golden numbers themselves."""
    comparisons = list(plain(golden))
    assert len(comparisons) == count
    assert not [comparison for comparison in comparisons if not comparison.passed]
