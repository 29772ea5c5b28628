"""IntagHand's losses by hand, the weights of their terms, and the schedule."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from im2hands.hands.sides import Side
from im2hands.networks.hand_graphs import build_hand_graph
from im2hands.networks.image_encoder import ImageFeatures
from im2hands.networks.intaghand import HandPairPrediction, PredictedHand
from im2hands.parity.cases.mano_forward import stand_in_models
from im2hands.training.intaghand_losses import (
    HandTruth,
    TrueHands,
    TrueMaps,
    edge_vectors,
    intaghand_loss,
    map_terms,
    mesh_terms,
    normal_loss,
    published_learning_rate,
    upsampling_term,
    weighted,
)
from tests.reference import FOLDER

OFFSET = torch.tensor([[0.02, -0.01, 0.03]])


@pytest.fixture(scope="module")
def models():
    return stand_in_models(FOLDER.find("mano_forward"))


@pytest.fixture(scope="module")
def constants(models):
    return {side: HandTruth(model, build_hand_graph(model.faces), torch.float64) for side, model in models.items()}


def perfect(models, constants) -> tuple[dict[Side, PredictedHand], TrueHands]:
    """Truth, and a prediction that equals it."""
    offset = OFFSET.double()
    vertices = {side: model.template[None] - model.template.mean(0) for side, model in models.items()}
    pixels = {side: 128 + 500 * points[..., :2] for side, points in vertices.items()}
    true = TrueHands(vertices, pixels, offset)
    predicted = {}
    for side, truth in constants.items():
        coarse, coarse_2d = truth.graph.pooled(true.placed(side), 2), truth.graph.pooled(pixels[side], 2)
        predicted[side] = PredictedHand(
            true.placed(side), pixels[side], coarse, coarse_2d, torch.ones(1), torch.zeros(1, 2)
        )
    return predicted, true


def terms_after(change, models, constants) -> dict[str, float]:
    """Mesh terms after the left hand's prediction was changed, minus those of a perfect one."""
    predicted, true = perfect(models, constants)
    before = mesh_terms(predicted, true, constants)
    predicted[Side.LEFT] = change(predicted[Side.LEFT])
    return {name: (term - before[name]).item() for name, term in mesh_terms(predicted, true, constants).items()}


def test_a_perfect_prediction_costs_only_its_normals(models, constants):
    """Edges of the true mesh lie in the true triangles, so even that term vanishes; the right hand is at the offset."""
    predicted, true = perfect(models, constants)
    for name, term in mesh_terms(predicted, true, constants).items():
        assert term.item() == pytest.approx(0, abs=1e-12), name
    torch.testing.assert_close(
        predicted[Side.RIGHT].vertices - true.vertices[Side.RIGHT], OFFSET.double().expand(778, 3)[None]
    )


def test_moving_a_hand_costs_its_distance(models, constants):
    """3 mm along x: half of 1 mm mean over axes, as the other hand is right; joints follow, edges and normals do not."""
    terms = terms_after(
        lambda hand: replace(hand, vertices=hand.vertices + torch.tensor([3e-3, 0, 0])), models, constants
    )
    assert terms["vertices"] == pytest.approx(0.5e-3)
    assert terms["joints"] == pytest.approx(0.5e-3, rel=1e-3)
    for name in ("normals", "edges", "vertices_2d", "coarse", "coarse_2d"):
        assert terms[name] == pytest.approx(0, abs=1e-12), name


def test_doubling_a_hand_costs_its_edges(models, constants):
    predicted, _ = perfect(models, constants)
    hand = predicted[Side.LEFT]
    edges = edge_vectors(hand.vertices, constants[Side.LEFT].faces).norm(dim=-1).mean()
    terms = terms_after(lambda hand: replace(hand, vertices=2 * hand.vertices), models, constants)
    assert terms["edges"] == pytest.approx(edges.item() / 2)
    assert terms["normals"] == pytest.approx(0, abs=1e-12)


def test_two_dimensional_terms_are_squares_of_half_crops(models, constants):
    """12.8 pixels are a tenth of half the crop."""
    terms = terms_after(
        lambda hand: replace(hand, vertices_2d=hand.vertices_2d + 12.8, coarse_2d=hand.coarse_2d - 25.6),
        models,
        constants,
    )
    assert terms["vertices_2d"] == pytest.approx(0.005)
    assert terms["coarse_2d"] == pytest.approx(0.02)


def test_joints_are_those_of_the_regressor_and_the_tips(models, constants):
    vertices = models[Side.RIGHT].template[None] * 1.3
    torch.testing.assert_close(constants[Side.RIGHT].regressor @ vertices, models[Side.RIGHT].regress(vertices))


def test_normals_by_hand():
    """A triangle turned by 30 degrees about its first edge: the other two edges leave the plane."""
    triangle = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]], dtype=torch.float64)
    faces = torch.tensor([[0, 1, 2]])
    turned = triangle.clone()
    turned[0, 2] = torch.tensor([0, 3**0.5 / 2, 0.5])
    loss = normal_loss(edge_vectors(turned, faces), edge_vectors(triangle, faces))
    assert loss.item() == pytest.approx((0 + 0.5 / 2**0.5 + 0.5) / 3)


def test_dense_maps_count_where_their_hand_is_seen():
    """Channel 0 of the mask is the right hand and goes with the first three dense channels."""
    masks = torch.zeros(1, 2, 2, 2)
    masks[0, 0, 0, 0] = 1
    true = TrueMaps(masks, torch.zeros(1, 3, 2, 2), torch.zeros(1, 42, 2, 2))
    dense = torch.zeros(1, 6, 2, 2)
    dense[:, 3:] = 9
    dense[0, 0, 1, 1] = 9
    assert map_terms(masks, dense, true.heat_maps, true)["dense_maps"] == 0
    dense[0, 0, 0, 0] = 0.02
    dense[0, 1, 0, 0] = 1
    expected = (0.02**2 / (2 * 0.05) + (1 - 0.05 / 2)) / 12 / 2
    assert map_terms(masks, dense, true.heat_maps, true)["dense_maps"].item() == pytest.approx(expected)


def test_weights_and_the_epoch_from_which_edges_count(models, constants):
    """The total is the weighted sum; a frozen upsampling costs nothing, a trained one its distance."""
    predicted, true = perfect(models, constants)
    predicted[Side.LEFT] = replace(predicted[Side.LEFT], vertices=1.1 * predicted[Side.LEFT].vertices)
    maps = TrueMaps(torch.ones(1, 2, 4, 4), torch.rand(1, 3, 4, 4), torch.rand(1, 42, 4, 4))
    features = ImageFeatures(torch.zeros(1, 42, 4, 4), torch.zeros(1, 2, 4, 4), torch.rand(1, 6, 4, 4), [], [], [])
    weight = nn.Parameter(torch.full((778, 200), 0.5))
    moved = upsampling_term(weight, torch.zeros(778, 200))
    assert moved["upsampling"].item() == 0.5
    assert upsampling_term(weight.detach(), torch.zeros(778, 200))["upsampling"] == 0
    prediction = HandPairPrediction(predicted, features)
    totals = {}
    for epoch in (49, 50):
        total, parts = intaghand_loss(prediction, true, maps, constants, moved, epoch)
        assert total.item() == pytest.approx(sum(part.item() for part in parts.values()))
        totals[epoch] = total.item()
    plain = (
        mesh_terms(predicted, true, constants)
        | map_terms(features.masks, features.dense_maps, features.heat_maps, maps)
        | moved
    )
    assert totals[50] - totals[49] == pytest.approx(2000 * plain["edges"].item())
    weights = {name: part.item() / plain[name].item() for name, part in parts.items() if plain[name] > 1e-9}
    expected = {
        "vertices": 100,
        "joints": 100,
        "edges": 2000,
        "masks": 500,
        "dense_maps": 30,
        "heat_maps": 100,
        "upsampling": 1,
    }
    assert weights == pytest.approx(expected, rel=1e-5)
    others = weighted(dict.fromkeys(("vertices_2d", "normals", "coarse", "coarse_2d"), torch.tensor(1.0)), epoch=0)
    assert {name: value.item() for name, value in others.items()} == {
        "vertices_2d": 50,
        "normals": 10,
        "coarse": 100,
        "coarse_2d": 50,
    }


def test_gradients_reach_every_predicted_number(models, constants):
    predicted, true = perfect(models, constants)
    leaves = []
    for side, hand in predicted.items():
        values = [
            (getattr(hand, name) + 0.01).requires_grad_() for name in ("vertices", "vertices_2d", "coarse", "coarse_2d")
        ]
        leaves += values
        predicted[side] = PredictedHand(*values, hand.scale, hand.shift)
    sum(weighted(mesh_terms(predicted, true, constants), epoch=60).values()).backward()
    assert all(leaf.grad is not None and leaf.grad.abs().sum() > 0 for leaf in leaves)


def test_schedule_trace():
    """Warm-up that reaches the full rate in epoch 3 (our choice), one drop at epoch 153, and a floor that comes later."""
    rates = [published_learning_rate(epoch) for epoch in range(200)]
    assert rates[:4] == pytest.approx([1e-7, 3.34e-5, 6.67e-5, 1e-4])
    assert rates[3:153] == pytest.approx([1e-4] * 150)
    assert rates[153:] == pytest.approx([1e-5] * 47)
    assert published_learning_rate(303) == pytest.approx(5e-6)
