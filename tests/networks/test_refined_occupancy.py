"""Refined occupancy against its plain form and the reference's numbers; its options, its frozen part, loss and schedule."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor

from im2hands.hands.sides import SIDES, Side
from im2hands.io.errors import DataError
from im2hands.networks.initial_occupancy import InitialOccupancyNetwork
from im2hands.networks.published import refined_occupancy as published
from im2hands.networks.refined_occupancy import OPTIONS, SHARPNESS, RefinedOccupancyNetwork
from im2hands.networks.two_hands import query_points_in_camera
from im2hands.parity.case import Golden
from im2hands.parity.cases.init_occ import camera_of, hands_of
from im2hands.parity.cases.ref_occ import CASE, anchors_of, network_of
from im2hands.parity.network_fields import golden_image
from im2hands.training.refined_losses import learning_rate, optimiser, penetration
from tests.naive.refined_occupancy import naive_refined
from tests.networks.comparing import full_float32
from tests.reference import FOLDER

MODES = ["published", "consistent"]


@cache
def golden() -> Golden:
    return FOLDER.find(CASE.name)


@cache
def small_network(option: str = "consistent") -> RefinedOccupancyNetwork:
    """A shallow network whose values depend on everything; no dropout; evaluating."""
    torch.manual_seed(4)
    network = RefinedOccupancyNetwork("resnet18", {"width": 12}, **dict.fromkeys(OPTIONS, option), dropout=0.0)
    for block in network.decoder.blocks:
        torch.nn.init.normal_(block.second.weight, std=0.2)
    return network.eval()


@cache
def pair(prefix: str = "", dtype: torch.dtype = torch.float32, anchors: int = 512) -> tuple:
    """Images, anchors, hands and camera of the golden case (train_: a batch of 2)."""
    hands, camera = hands_of(golden(), prefix), camera_of(golden(), prefix)
    points = {side: each[:, :anchors].to(dtype) for side, each in anchors_of(golden(), hands, prefix).items()}
    batch = len(camera.rotation)
    images = torch.randn(batch, 3, 256, 256, generator=torch.Generator().manual_seed(1)).to(dtype)
    return images, points, {side: hand.to(dtype) for side, hand in hands.items()}, camera.to(dtype)


def joined(values: dict[Side, Tensor], others: dict[Side, Tensor]) -> Tensor:
    return torch.cat([each[side] for each in (values, others) for side in SIDES], dim=1)


def fast(network: RefinedOccupancyNetwork, images, anchors, hands, camera) -> Tensor:
    encoded = network.encode(images, anchors, camera)
    own = {side: network.occupancy(encoded, hand, camera) for side, hand in hands.items()}
    return joined(own, network.penetration(encoded, hands, camera))


def plain(network: RefinedOccupancyNetwork, images, anchors, hands, camera) -> Tensor:
    return joined(*naive_refined(network, images, anchors, hands, camera, penetration=True))


def values_and_gradients(form, option: str, dtype: torch.dtype) -> dict[str, Tensor]:
    """Its output (penetration with a batch of 2 included) and the gradient of every weight that has one."""
    network = small_network(option).to(dtype)
    try:
        output = form(network, *pair("train_", dtype))
        factors = torch.linspace(-1, 1, output.numel(), dtype=dtype).reshape(output.shape)
        weights = {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
        gradients = torch.autograd.grad((output * factors).sum(), list(weights.values()), allow_unused=True)
    finally:
        network.float()
    known = {name: each for name, each in zip(weights, gradients, strict=True) if each is not None}
    return {"output": output.detach(), **known}


@cache
def exact(option: str) -> dict[str, Tensor]:
    """The plain form's in float64."""
    return values_and_gradients(plain, option, torch.float64)


@pytest.mark.slow
@pytest.mark.parametrize("option", MODES)
def test_same_values_and_gradients_as_the_plain_form(option):
    ours = values_and_gradients(fast, option, torch.float64)
    assert ours.keys() == exact(option).keys()
    for name, theirs in exact(option).items():
        assert (ours[name] - theirs).norm() <= 1e-9 * theirs.norm() + 1e-10, name


def distances(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> dict[str, float]:
    """Per part of the network (and the output): the norm of the difference by the norm of theirs."""
    assert ours.keys() == theirs.keys()
    parts: dict[str, list[str]] = {}
    for name in theirs:
        parts.setdefault(name.split(".")[0], []).append(name)

    def norm(tensors: list[Tensor]) -> float:
        return torch.cat([each.flatten() for each in tensors]).norm().item()

    return {
        part: norm([ours[name].double() - theirs[name] for name in names]) / norm([theirs[name] for name in names])
        for part, names in parts.items()
    }


@pytest.mark.slow
@pytest.mark.parametrize("option", MODES)
def test_float32_is_as_near_to_float64_as_the_plain_form(option):
    """By part of the network: rounding tips single ReLUs, in the deep backbone many, on each processor other ones.

    One tipped ReLU moves the gradient of a weight that hardly matters by more than its own rounding.
    """
    ours, theirs = (
        distances(values_and_gradients(form, option, torch.float32), exact(option)) for form in (fast, plain)
    )
    assert max(ours["output"], theirs["output"]) < 1e-5
    for part, distance in ours.items():
        assert distance < 5e-2 and distance <= 2 * theirs[part] + 1e-3, part


@torch.no_grad()
def test_a_pair_is_encoded_once_for_any_queries():
    """Parts of the queries, in any order, give the same values; none at all give none."""
    network, (images, anchors, hands, camera) = small_network(), pair()
    encoded = network.encode(images, anchors, camera)
    for hand in hands.values():
        whole = network.occupancy(encoded, hand, camera)
        parts = [network.occupancy(encoded, hand.with_points(part), camera) for part in hand.points.split(11, dim=1)]
        torch.testing.assert_close(torch.cat(parts, dim=1), whole)
        assert network.occupancy(encoded, hand.with_points(hand.points[:, :0]), camera).shape == (1, 0)


@torch.no_grad()
def test_an_empty_hand_leaves_the_other_alone():
    network, (images, anchors, hands, camera) = small_network(), pair()
    right = hands[Side.RIGHT]
    both = network(images, anchors, hands, camera)
    without = network(images, anchors, hands | {Side.LEFT: hands[Side.LEFT].with_points(right.points[:, :0])}, camera)
    assert without[Side.LEFT].shape == (1, 0)
    torch.testing.assert_close(without[Side.RIGHT], both[Side.RIGHT])


@torch.no_grad()
def test_published_reference_depth_serves_parts_of_a_call():
    network, (images, anchors, hands, camera) = small_network("published"), pair()
    encoded, hand = network.encode(images, anchors, camera), hands[Side.LEFT]
    whole = network.occupancy(encoded, hand, camera)
    depth = query_points_in_camera(hand, camera)[:, 0, 2]
    part = hand.with_points(hand.points[:, 20:])
    torch.testing.assert_close(network.occupancy(encoded, part, camera, depth), whole[:, 20:])
    assert not torch.allclose(network.occupancy(encoded, part, camera), whole[:, 20:], atol=1e-7)


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("option", ["penetration_context", "feature_lookup"])
def test_options_change_the_penetration_values(option):
    network, (images, anchors, hands, camera) = small_network(), pair()
    values = {}
    for value in MODES:
        setattr(network, option, value)
        values[value] = network.penetration(network.encode(images, anchors, camera), hands, camera)[Side.LEFT]
    assert not torch.equal(*values.values())
    assert getattr(network, option) == "consistent"


@pytest.mark.slow
def test_the_initial_network_stays_frozen():
    """train() leaves it evaluating, a step moves none of it, and no statistics of it change."""
    network, (images, anchors, hands, camera) = small_network(), pair("train_")
    before = {name: each.clone() for name, each in network.initial.state_dict().items()}
    weights = {name: each.detach().clone() for name, each in network.named_parameters()}
    statistics = network.anchor_encoder.begin.norm.num_batches_tracked.item()
    state = {name: each.clone() for name, each in network.state_dict().items()}
    network.train()
    try:
        assert network.anchor_encoder.training
        assert not any(module.training for module in network.initial.modules())
        step = optimiser(network.parameters(), 1e-3)
        fast(network, images, anchors, hands, camera).square().sum().backward()
        step.step()
        assert all(torch.equal(each, before[name]) for name, each in network.initial.state_dict().items())
        assert not torch.equal(network.context.weight, weights["context.weight"])
        assert network.anchor_encoder.begin.norm.num_batches_tracked == statistics + 2
    finally:
        network.load_state_dict(state)
        network.eval().zero_grad(set_to_none=True)


def test_anchors_of_both_hands_are_needed():
    network, (images, anchors, _, camera) = small_network(), pair()
    with pytest.raises(DataError, match="left hand"):
        network.encode(images, {Side.RIGHT: anchors[Side.RIGHT]}, camera)


def test_unknown_option_is_refused():
    with pytest.raises(ValueError, match="fps_dead_ball"):
        RefinedOccupancyNetwork("resnet18", fps_dead_ball="other")


def test_initial_occupancy_file_fills_both_places():
    assert published.sources("init_occ.image_encoder.resnet.conv1.weight")[1] == "image_encoder.resnet.conv1.weight"
    assert "image_encoder.resnet.conv1.weight" in published.sources("image_encoder.resnet.conv1.weight")


@pytest.mark.parametrize("batch", [1, 3])
def test_penetration_reductions(batch):
    """Published: a sum. Consistent: equal to it at the published size, independent of the size otherwise."""
    generator = torch.Generator().manual_seed(batch)
    own, others = ({s: torch.rand(batch, 2048, generator=generator) for s in SIDES} for _ in range(2))
    total = sum(float((own[s] * others[s.other]).double().sum()) for s in SIDES)
    assert penetration(own, others, "published").item() == pytest.approx(total, rel=1e-5)
    assert penetration(own, others).item() == pytest.approx(total * 2 / batch, rel=1e-5)
    twice = [{s: torch.cat([each[s], each[s]]) for s in SIDES} for each in (own, others)]
    assert penetration(*twice).item() == pytest.approx(penetration(own, others).item(), rel=1e-5)
    with pytest.raises(ValueError, match="penetration_reduction"):
        penetration(own, others, "other")


def test_learning_rate_drops_as_when_the_schedule_steps_first():
    """Iteration n = 1, 2, .. of a StepLR that is stepped before the optimiser."""
    weight = torch.nn.Parameter(torch.ones(1))
    step = optimiser([weight])
    schedule = torch.optim.lr_scheduler.StepLR(step, 5000, 0.2)
    step.step()  # nothing has a gradient yet: only keeps torch from warning about the order
    for iteration in range(1, 10002):
        schedule.step()
        if iteration % 5000 in (0, 1, 4999):
            assert learning_rate(iteration) == pytest.approx(step.param_groups[0]["lr"], rel=1e-9)


def test_optimiser_penalises_in_the_gradient():
    """First step of Adam with an L2 gradient of 1e-5 w: the size of the step is the rate, whatever the weight's scale."""
    moved, frozen = torch.nn.Parameter(torch.full((1,), 3.0)), torch.nn.Parameter(torch.ones(1), requires_grad=False)
    step = optimiser([moved, frozen])
    moved.grad = torch.zeros(1)
    step.step()
    assert moved.item() == pytest.approx(3.0 - 1e-4 * (3e-5 / (3e-5 + 1e-8)), abs=1e-6)
    assert frozen.item() == 1.0


def test_without_context_a_hand_does_not_see_the_other_code():
    """The ablation: codes of the anchor encoder are not changed."""
    network = RefinedOccupancyNetwork("resnet18", initial={"width": 12}, context=False)
    assert network.architecture["context"] is False
    codes = {side: torch.randn(2, 256) for side in Side}
    seen = network.in_context(codes, torch.randn(2, 256))
    assert all(torch.equal(seen[side], codes[side]) for side in Side)


SIZES = {"initial": {"width": 12}, "anchor_widths": [12, 20], "anchor_blocks": 1, "query_width": 16}


def test_sizes_are_kept_with_the_weights():
    """What the architecture says builds the same network; the default is the published one."""
    network = RefinedOccupancyNetwork("resnet18", **SIZES)
    rebuilt = RefinedOccupancyNetwork(**network.architecture)
    rebuilt.load_state_dict(network.state_dict())
    assert network.decoder.attention.key.weight.shape == (16, 20)
    assert network.anchor_encoder.embed.weight.shape == (12, 34)
    assert len(network.anchor_encoder.final_blocks) == 1
    sizes = small_network().architecture
    assert (sizes["anchor_widths"], sizes["anchor_blocks"], sizes["query_width"]) == ([120, 256], 3, 200)


def test_start_from_the_initial_field():
    """At first the logit is that of the initial occupancy, whatever else is in the network; yet everything learns.

    The first step moves only the decoder, the second reaches all in front of it.
    """
    torch.manual_seed(5)
    initial = InitialOccupancyNetwork("resnet18", width=12)
    network = RefinedOccupancyNetwork("resnet18", **SIZES, dropout=0.0)
    network.start_from_initial(initial)
    network.start_as_initial_field()
    images, anchors, hands, camera = pair("train_")
    with torch.no_grad():
        first, own = initial.eval().encode(images), network.initial.encode(images)
        encoded = network.eval().encode_features(network.image_encoder(images), own, anchors, camera)
        for hand in hands.values():
            expected = SHARPNESS * (initial.occupancy(first, hand, camera) - 0.5)
            torch.testing.assert_close(network.logits(encoded, hand, camera), expected, rtol=0, atol=1e-5)
    network.image_encoder.requires_grad_(False)
    network.train()
    step = torch.optim.SGD([weight for weight in network.parameters() if weight.requires_grad], lr=0.1)
    features = network.image_encoder.eval()(images)
    for moved in ("decoder.start.weight", "anchor_encoder.embed.weight"):
        weight = network.get_parameter(moved)
        before = weight.detach().clone()
        encoded = network.encode_features(features, own, anchors, camera)
        sum(network.logits(encoded, hand, camera).square().mean() for hand in hands.values()).backward()
        step.step()
        step.zero_grad()
        assert not torch.equal(weight, before)


@torch.no_grad()
@pytest.mark.parametrize("shared", [True, False])
def test_labels_survive_batch_statistics_that_both_hands_share(shared):
    """Of one hand after the other, statistics take away nearly all that a hand's points have in common; shared ones do not."""
    torch.manual_seed(6)
    network = RefinedOccupancyNetwork("resnet18", **SIZES, shared_statistics=shared)
    _, anchors, _, camera = pair("train_")
    image = torch.randn(2, 32, 64, 64, generator=torch.Generator().manual_seed(7))
    _, inputs = network.anchor_inputs(image, anchors, camera)
    network.anchor_encoder.train()

    def codes(places):
        hands = [inputs[side] for side in SIDES]
        labelled = [
            (at, torch.cat([seen[..., :32], hands[place][1][..., 32:]], -1))
            for (at, seen), place in zip(hands, places, strict=True)
        ]
        return [each.code for each in network.anchor_encoder.each(labelled, network.shared_statistics)]

    difference = max(float((a - b).abs().max()) for a, b in zip(codes((0, 1)), codes((1, 0)), strict=True))
    assert (difference > 0.05) is shared


@torch.no_grad()
@pytest.mark.parametrize(
    "device",
    [pytest.param("cpu", marks=pytest.mark.slow), pytest.param("cuda", marks=pytest.mark.gpu)],
)
def test_any_device_gives_the_reference_numbers(device):
    """Full float32: the ninth and tenth neighbour of a query are as near as 1.5e-5, too near for TF32."""
    network, (_, anchors, hands, camera) = network_of(golden()).to(device), pair()
    image = golden_image(int(golden()["seed_image"]), 1).to(device)
    anchors, hands = ({side: each.to(device) for side, each in some.items()} for some in (anchors, hands))
    with full_float32():
        encoded = network.encode(image, anchors, camera.to(device))
        for side, others in network.penetration(encoded, hands, camera.to(device)).items():
            own = network.occupancy(encoded, hands[side], camera.to(device))
            for field, ours in ((f"{side.value}_occupancy", own), (f"pen_{side.value}_occupancy", others)):
                assert ours.device.type == device
                assert golden().compare(field, ours.cpu().numpy(), "forward", relative_to="largest").passed
