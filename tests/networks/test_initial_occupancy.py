"""Initial occupancy: the network against its plain form and the reference's numbers, and its options in both values."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from im2hands.hands.frames import PalmFrames
from im2hands.hands.sides import SIDES, Side
from im2hands.networks.halo import HaloNetwork
from im2hands.networks.initial_occupancy import InitialOccupancyNetwork
from im2hands.networks.two_hands import CameraBatch, HandBatch, Hands, query_points_in_camera
from im2hands.parity.case import Golden
from im2hands.parity.cases.init_occ import CASE, camera_of, hands_of, network_of
from im2hands.parity.network_fields import golden_image
from im2hands.training.losses import occupancy_loss
from tests.naive.initial_occupancy import naive_occupancy, naive_penetration
from tests.networks.comparing import assert_same, full_float32, values_and_gradients
from tests.reference import FOLDER

TOLERANCES = [(torch.float32, 3e-5), (torch.float64, 1e-11)]
OPTIONS = ["published", "consistent"]
COMPILED_TOLERANCE, MIXED_TOLERANCE = 1e-5, 0.02
"""How far occupancies of compiled code and of bf16 may be from those of plain float32."""


def small_network(dtype: torch.dtype = torch.float32, **options) -> InitialOccupancyNetwork:
    torch.manual_seed(3)
    network = InitialOccupancyNetwork("resnet18", width=12, **{"dropout": 0.0, **options})
    for decoder in network.decoders.values():
        for layer in decoder.layers:
            layer.weight.data *= 2
    return network.to(dtype).eval()


def random_pair(batch: int, queries: int | dict[Side, int], dtype: torch.dtype = torch.float32) -> tuple:
    """Image map, hands and camera; everything random but plausible (metres, palm units)."""
    generator = torch.Generator().manual_seed(batch)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    def rotations(*shape: int) -> Tensor:
        turned = torch.linalg.qr(random(*shape, 3, 3))[0]
        return turned * torch.linalg.det(turned)[..., None, None].sign()

    counts = queries if isinstance(queries, dict) else dict.fromkeys(SIDES, queries)
    hands = {}
    for side in SIDES:
        frames = torch.eye(4, dtype=torch.float64).repeat(batch, 16, 1, 1)
        frames[:, :, :3, :3], frames[:, :, :3, 3] = rotations(batch, 16), 0.3 * random(batch, 16, 3)
        palm = PalmFrames(0.1 * random(batch, 3), rotations(batch), side)
        points = 0.3 * random(batch, counts[side], 3)
        hands[side] = HandBatch(side, palm, frames, 0.03 + 0.01 * random(batch, 16).abs(), points).to(dtype)
    intrinsics = torch.tensor([[500.0, 0, 128], [0, 500, 128], [0, 0, 1]]).repeat(batch, 1, 1)
    towards = torch.tensor([0.0, 0, 0.9], dtype=torch.float64).repeat(batch, 1)
    camera = CameraBatch(rotations(batch), towards, intrinsics.double()).to(dtype)
    return random(batch, 32, 64, 64).to(dtype), hands, camera


def occupancies(network: InitialOccupancyNetwork, image: Tensor, hands: Hands, camera: CameraBatch) -> Tensor:
    """Both hands' occupancies and penetration values, one after another, by the network."""
    encoded = network.encode_map(image)
    own = [network.occupancy(encoded, hand, camera) for hand in hands.values()]
    return torch.cat([*own, *network.penetration(encoded, hands, camera).values()], dim=1)


def naive_occupancies(network: InitialOccupancyNetwork, image: Tensor, hands: Hands, camera: CameraBatch) -> Tensor:
    own = [naive_occupancy(network, image, hand, camera) for hand in hands.values()]
    return torch.cat([*own, *naive_penetration(network, image, hands, camera).values()], dim=1)


def of_image_points_and_weights(form, network: InitialOccupancyNetwork, image: Tensor, hands: Hands, camera) -> list:
    """Values, then gradients for the image map, the query points and every weight."""

    def function(image: Tensor, *points: Tensor) -> Tensor:
        asked = {side: hand.with_points(own) for (side, hand), own in zip(hands.items(), points, strict=True)}
        return form(network, image, asked, camera)

    return values_and_gradients(function, (image, *(hand.points for hand in hands.values())), network.parameters())


@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCES)
@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("queries", [1, 33])
@pytest.mark.parametrize("batch", [1, 3])
def test_network_equals_naive(dtype, tolerance, option, queries, batch):
    """Sharing tokens, folding constants and computing only the winner's graph change the cost, not values or gradients."""
    network = small_network(dtype, depth_reference=option, penetration_frame=option)
    case = random_pair(batch, queries, dtype)
    ours = of_image_points_and_weights(occupancies, network, *case)
    assert 0.02 < ours[0].min() < ours[0].max() < 0.98
    assert_same(ours, of_image_points_and_weights(naive_occupancies, network, *case), tolerance)


# ---- the reference's numbers


@pytest.fixture(scope="module")
def golden() -> Golden:
    return FOLDER.find(CASE.name)


@pytest.fixture(scope="module")
def golden_run(golden) -> tuple[InitialOccupancyNetwork, Tensor]:
    """The full-size network with the case's weights, and its image map."""
    network = network_of(golden).requires_grad_(False)
    return network, network.image_map(network.image_encoder(golden_image(int(golden["seed_image"]), 1)))


def test_naive_form_gives_the_reference_numbers(golden, golden_run):
    network, image = golden_run
    hands, camera = hands_of(golden), camera_of(golden)
    swapped = naive_penetration(network, image, hands, camera)
    for side, hand in hands.items():
        ours = naive_occupancy(network, image, hand, camera)
        np.testing.assert_allclose(ours, golden[f"{side.value}_occupancy"], atol=1e-5)
        np.testing.assert_allclose(swapped[side], golden[f"pen_{side.value}_occupancy"], atol=1e-5)
        turned = naive_occupancy(network, image, hand.with_points(hand.points.flip(1)), camera).flip(1)
        np.testing.assert_allclose(turned, golden[f"reversed_{side.value}_occupancy"], atol=1e-5)


def deviation(golden: Golden, network: InitialOccupancyNetwork, image: Tensor) -> float:
    encoded, camera = network.encode_map(image), camera_of(golden)
    differences = [
        (network.occupancy(encoded, hand, camera).numpy() - golden[f"{side.value}_occupancy"])
        for side, hand in hands_of(golden).items()
    ]
    return max(float(np.abs(difference).max()) for difference in differences)


@pytest.mark.parametrize("mistake", ["depth", "hands", "norm eps", "feature columns"])
def test_a_wrong_detail_is_noticed(golden, golden_run, mistake):
    """Each changed alone, the reference's numbers are missed by far more than the tolerance of the parity case."""
    network, image = golden_run
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert deviation(golden, network, image) < 2e-6
    try:
        if mistake == "depth":
            network.depth_reference = "consistent"
        if mistake == "hands":
            for part in (network.point_encoders, network.image_attention):
                part["left"], part["right"] = part["right"], part["left"]
        if mistake == "norm eps":
            for module in network.image_attention.modules():
                if isinstance(module, nn.LayerNorm):
                    module.eps = 1e-5
        if mistake == "feature columns":
            layer = network.decoders["left"].layers[2]
            layer.weight.data = layer.weight.roll(19, dims=-1)
        assert deviation(golden, network, image) > 2e-5
    finally:
        network.depth_reference = "published"
        if mistake == "hands":
            for part in (network.point_encoders, network.image_attention):
                part["left"], part["right"] = part["right"], part["left"]
        for module in network.image_attention.modules():
            if isinstance(module, nn.LayerNorm):
                module.eps = 1e-6
        network.load_state_dict(state)


# ---- options


def test_published_depth_depends_on_the_first_query():
    """Depths are relative to the first query of the call: other chunks and orders give other values."""
    network, (image, hands, camera) = small_network(depth_reference="published"), random_pair(2, 12)
    encoded, hand = network.encode_map(image), hands[Side.LEFT]
    whole = network.occupancy(encoded, hand, camera)
    assert network.seen_by(hand, camera)[:, 0, 2].abs().max() == 0
    part = network.occupancy(encoded, hand.with_points(hand.points[:, 6:]), camera)
    assert (part - whole[:, 6:]).abs().max() > 1e-4
    torch.testing.assert_close(network.occupancy(encoded, hand.with_points(hand.points[:, :6]), camera), whole[:, :6])


def test_an_explicit_depth_makes_published_values_independent_of_chunks_and_order():
    """So that the rounds of an octree can be computed in any pieces and still give the published meshes."""
    network, (image, hands, camera) = small_network(depth_reference="published"), random_pair(2, 12)
    encoded = network.encode_map(image)
    for hand in hands.values():
        whole = network.occupancy(encoded, hand, camera)
        depth = query_points_in_camera(hand, camera)[:, 0, 2]
        for rows in (slice(6, None), slice(3, 5), torch.randperm(12)):
            part = network.occupancy(encoded, hand.with_points(hand.points[:, rows]), camera, reference_depth=depth)
            torch.testing.assert_close(part, whole[:, rows], rtol=0, atol=1e-6)


def test_consistent_depth_is_the_wrists_and_independent_of_the_call():
    network, (image, hands, camera) = small_network(), random_pair(2, 12)
    encoded, hand = network.encode_map(image), hands[Side.LEFT]
    whole = network.occupancy(encoded, hand, camera)
    part = network.occupancy(encoded, hand.with_points(hand.points[:, 6:].flip(1)), camera).flip(1)
    torch.testing.assert_close(part, whole[:, 6:], rtol=0, atol=1e-6)
    wrist = network.seen_by(hand.with_points(torch.zeros(2, 1, 3)), camera)
    assert wrist[..., 2].abs().max() < 1e-6


def test_consistent_penetration_is_the_field_at_the_other_hands_points():
    """Moving the points through the world gives what the hand's own field says there; the published form does not."""
    network, (image, hands, camera) = small_network(torch.float64), random_pair(2, 9, torch.float64)
    encoded = network.encode_map(image)
    values = network.penetration(encoded, hands, camera)
    for side, hand in hands.items():
        moved = hand.palm.from_world(hands[side.other].world_points())
        expected = network.occupancy(encoded, hand.with_points(moved), camera)
        torch.testing.assert_close(values[side], expected, rtol=0, atol=1e-10)
    network.penetration_frame = "published"
    unmoved = network.penetration(encoded, hands, camera)
    assert all((unmoved[side] - values[side]).abs().max() > 1e-3 for side in hands)


@pytest.mark.parametrize("option", ["depth_reference", "penetration_frame"])
def test_other_options_are_refused(option):
    with pytest.raises(ValueError, match=f"{option} must be published or consistent, not 'both'"):
        small_network(**{option: "both"})


# ---- properties


@pytest.mark.parametrize("option", OPTIONS)
def test_a_hand_without_queries_leaves_the_other_unchanged(option):
    network = small_network(depth_reference=option)
    _, hands, camera = random_pair(1, 5)
    images = torch.randn(1, 3, 256, 256)
    with torch.no_grad():
        both = network(images, hands, camera)
        left = hands[Side.LEFT]
        result = network(images, {**hands, Side.LEFT: left.with_points(left.points[:, :0])}, camera)
    assert result[Side.LEFT].shape == (1, 0)
    assert torch.equal(result[Side.RIGHT], both[Side.RIGHT])


@pytest.mark.parametrize("option", OPTIONS)
def test_samples_of_a_batch_do_not_mix(option):
    network = small_network(torch.float64, depth_reference=option, penetration_frame=option)
    image, hands, camera = random_pair(3, 4, torch.float64)
    together = occupancies(network, image, hands, camera)
    for sample in range(3):
        own = slice(sample, sample + 1)
        alone = {
            side: HandBatch(
                side,
                PalmFrames(hand.palm.wrist[own], hand.palm.rotation[own], side),
                hand.bone_from_palm[own],
                hand.bone_lengths[own],
                hand.points[own],
            )
            for side, hand in hands.items()
        }
        cameras = CameraBatch(camera.rotation[own], camera.translation[own], camera.intrinsics[own])
        torch.testing.assert_close(occupancies(network, image[own], alone, cameras), together[own])


def test_the_image_is_encoded_once_for_any_number_of_calls(monkeypatch):
    network, (_, hands, camera) = small_network(), random_pair(1, 3)
    calls = []
    forward = network.image_encoder.forward
    monkeypatch.setattr(network.image_encoder, "forward", lambda images: calls.append(1) or forward(images))
    with torch.no_grad():
        encoded = network.encode(torch.randn(1, 3, 256, 256))
        for hand in hands.values():
            for _ in range(3):
                network.occupancy(encoded, hand, camera)
    assert calls == [1]


def test_inputs_in_double_precision_are_brought_to_the_weights_dtype():
    network, (image, hands, camera) = small_network(), random_pair(1, 6, torch.float64)
    encoded = network.encode_map(image.float())
    values = network.occupancy(encoded, hands[Side.LEFT], camera)
    assert values.dtype == torch.float32
    single = network.occupancy(encoded, hands[Side.LEFT].to(torch.float32), camera.to(torch.float32))
    torch.testing.assert_close(values, single, rtol=0, atol=1e-5)


def test_published_initialisation():
    """Xavier normal weights and biases of 0.01 for every linear map and convolution; norms and positions stay."""
    network = InitialOccupancyNetwork()
    torch.manual_seed(0)
    network.start_as_published()
    layer = network.decoders["left"].layers[2]
    assert layer.weight.std().item() == pytest.approx((2 / (64 + 83)) ** 0.5, rel=0.02)
    assert (layer.bias == 0.01).all()
    convolution = network.image_encoder.resnet.layer3[0].conv2.weight
    assert convolution.std().item() == pytest.approx((2 / (9 * 512)) ** 0.5, rel=0.02)
    assert network.image_attention["left"].tokens.positions.weight.std().item() == pytest.approx(1, rel=0.1)
    assert (network.image_attention["right"].attention.norm.weight == 1).all()
    assert (network.image_encoder.resnet.bn1.bias == 0).all()


# ---- training


def test_loss_is_a_mean_per_hand_and_a_sum_over_hands():
    values = {Side.LEFT: torch.tensor([[0.5, 1.0]]), Side.RIGHT: torch.tensor([[0.0, 0.0, 1.0, 0.0]])}
    labels = {Side.LEFT: torch.tensor([[1.0, 1.0]]), Side.RIGHT: torch.tensor([[True, False, True, False]])}
    assert occupancy_loss(values, labels).item() == pytest.approx(0.25 / 2 + 1 / 4)


def test_dropout_acts_in_training_only_and_at_the_published_rate():
    network, (image, hands, camera) = small_network(dropout=0.3), random_pair(1, 4)
    network.train()
    assert not torch.equal(occupancies(network, image, hands, camera), occupancies(network, image, hands, camera))
    network.eval()
    assert torch.equal(occupancies(network, image, hands, camera), occupancies(network, image, hands, camera))
    rates = [module.p for module in InitialOccupancyNetwork("resnet18").modules() if isinstance(module, nn.Dropout)]
    assert rates == [0.01] * (2 * 5)


# ---- export to other runtimes, compilation, mixed precision


def test_halo_as_exported_program(tmp_path):
    class Occupancy(nn.Module):
        def __init__(self, network: HaloNetwork) -> None:
            super().__init__()
            self.network = network

        def forward(self, points: Tensor, frames: Tensor, lengths: Tensor) -> Tensor:
            return self.network.occupancy(points, frames, lengths)

    torch.manual_seed(0)
    network = HaloNetwork(width=16).requires_grad_(False)
    batch, count = torch.export.Dim("batch"), torch.export.Dim("points")
    (_, hands, _), (_, others, _) = random_pair(2, 11), random_pair(3, 700)
    hand, other = hands[Side.LEFT], others[Side.RIGHT]
    shapes = ({0: batch, 1: count}, {0: batch}, {0: batch})
    arguments = hand.points, hand.bone_from_palm, hand.bone_lengths
    torch.export.save(torch.export.export(Occupancy(network), arguments, dynamic_shapes=shapes), tmp_path / "halo.pt2")
    program = torch.export.load(tmp_path / "halo.pt2").module()
    for given in (hand, other):
        arguments = given.points, given.bone_from_palm, given.bone_lengths
        torch.testing.assert_close(program(*arguments), network.occupancy(*arguments), rtol=0, atol=2e-6)


def largest_deviation(
    golden: Golden, network: InitialOccupancyNetwork, device: str, compiled: bool = False, mixed: bool = False
) -> float:
    """From the reference's occupancies, compiled or in bf16 where asked for; the network is moved to the device."""
    network = network.to(device)
    camera, images = camera_of(golden).to(device), golden_image(int(golden["seed_image"]), 1).to(device)
    occupancy = torch.compile(network.occupancy, dynamic=True) if compiled else network.occupancy
    worst = 0.0
    with torch.no_grad(), full_float32(), torch.autocast(device, torch.bfloat16, enabled=mixed):
        encoded = network.encode(images)
        for side, hand in hands_of(golden).items():
            for start in (0, 11):  # another number of points must not need another compilation
                part = hand.with_points(hand.points[:, start:]).to(device)
                depth = query_points_in_camera(hand, camera_of(golden))[:, 0, 2].to(device)
                ours = occupancy(encoded, part, camera, depth).float().cpu().numpy()
                worst = max(worst, float(np.abs(ours - golden[f"{side.value}_occupancy"][:, start:]).max()))
    return worst


def test_bf16_keeps_its_tolerance(golden, golden_run):
    """And it is bf16 that is tried: float32 would be nearer."""
    assert largest_deviation(golden, golden_run[0], "cpu") < 1e-6
    assert 1e-5 < largest_deviation(golden, golden_run[0], "cpu", mixed=True) < MIXED_TOLERANCE


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler on the CPU")
def test_compiled_code_keeps_its_tolerance(golden, golden_run):
    assert largest_deviation(golden, golden_run[0], "cpu", compiled=True) < COMPILED_TOLERANCE


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        ({}, 1e-5),
        ({"compiled": True}, COMPILED_TOLERANCE),
        ({"mixed": True}, MIXED_TOLERANCE),
        ({"compiled": True, "mixed": True}, MIXED_TOLERANCE),
    ],
)
def test_gpu_gives_the_reference_numbers(golden, options, tolerance):
    network = network_of(golden).requires_grad_(False)
    assert largest_deviation(golden, network, "cuda", **options) < tolerance


def test_without_image_attention_the_image_changes_nothing():
    """The ablation: decoders know where a query is in the camera frame, and nothing of what is seen there."""
    network = small_network(image_attention=False)
    assert network.architecture["image_attention"] is False
    image, hands, camera = random_pair(1, 9)
    first, second = (occupancies(network, each, hands, camera) for each in (image, image.flip(-1)))
    assert torch.equal(first, second)
    assert first.std() > 0
    looking = small_network()
    assert not torch.equal(*(occupancies(looking, each, hands, camera) for each in (image, image.flip(-1))))
