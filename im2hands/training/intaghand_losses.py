"""IntagHand's losses, their weights and the published schedule.

3-D positions are in the frame of `networks.intaghand` (origin: left middle base, mean palm 0.095 m), 2-D positions in pixels of
the 256 x 256 crop. All terms are means over all elements; terms of the meshes are averaged over both hands.
Source: IntagHand (CVPR 2022), section 3.4 and supplement.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from im2hands.hands.model import HandModel
from im2hands.hands.sides import Side
from im2hands.networks.hand_graphs import HandGraph
from im2hands.networks.image_encoder import ImageFeatures
from im2hands.networks.intaghand import CROP, HandPairPrediction, PredictedHand, project

SMOOTH_L1_BETA = 0.05
EDGE_FROM_EPOCH = 50
FINEST_USED = 2
WEIGHTS = {
    "vertices": 100.0,
    "joints": 100.0,
    "vertices_2d": 50.0,
    "normals": 10.0,
    "edges": 2000.0,
    "coarse": 100.0,
    "coarse_2d": 50.0,
    "upsampling": 1.0,
    "masks": 500.0,
    "dense_maps": 30.0,
    "heat_maps": 100.0,
}

LEARNING_RATE, FIRST_LEARNING_RATE, WARM_UP_EPOCHS = 1e-4, 1e-7, 3
DECAY, DECAY_EPOCHS, LEAST_FACTOR = 0.1, 150, 0.05


@dataclass(frozen=True)
class TrueHands:
    """Truth of a batch, by side. root_offset: right middle base minus left one.

    vertices: relative to each hand's own middle base.  vertices_2d: crop pixels.
    """

    vertices: Mapping[Side, Float[Tensor, "batch 778 3"]]
    vertices_2d: Mapping[Side, Float[Tensor, "batch 778 2"]]
    root_offset: Float[Tensor, "batch 3"]

    def placed(self, side: Side) -> Float[Tensor, "batch 778 3"]:
        """Vertices relative to the left middle base, as the network predicts them."""
        return self.vertices[side] + self.root_offset[:, None] if side is Side.RIGHT else self.vertices[side]


@dataclass(frozen=True)
class TrueMaps:
    """masks: 0 or 1, right hand, then left.  dense_maps: 0 to 1.  heat_maps: 21 of the left hand, then 21 of the right."""

    masks: Float[Tensor, "batch 2 height width"]
    dense_maps: Float[Tensor, "batch 3 height width"]
    heat_maps: Float[Tensor, "batch 42 height width"]


class HandTruth(nn.Module):
    """What a hand's losses need in addition to the batch: joint regressor, triangles and graph, as buffers of one precision."""

    def __init__(self, model: HandModel, graph: HandGraph, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.graph = graph
        basis = torch.eye(model.joint_regressor.shape[1], dtype=model.dtype, device=model.device)
        regressor = model.keypoints_of(model.joint_regressor[None], basis[None])[0]
        self.register_buffer("regressor", regressor.to(dtype), persistent=False)
        self.register_buffer("faces", torch.from_numpy(model.faces.copy()), persistent=False)

    def terms(
        self,
        predicted: PredictedHand,
        vertices: Float[Tensor, "batch 778 3"],
        vertices_2d: Float[Tensor, "batch 778 2"],
    ) -> dict[str, Float[Tensor, ""]]:
        """Unweighted terms of one hand."""
        edges, true_edges = edge_vectors(predicted.vertices, self.faces), edge_vectors(vertices, self.faces)
        coarse, coarse_2d = (self.graph.pooled(truth, FINEST_USED) for truth in (vertices, vertices_2d))
        return {
            "vertices": F.l1_loss(predicted.vertices, vertices),
            "joints": F.l1_loss(self.regressor @ predicted.vertices, self.regressor @ vertices),
            "vertices_2d": F.mse_loss(crop_units(predicted.vertices_2d), crop_units(vertices_2d)),
            "normals": normal_loss(edges, true_edges),
            "edges": F.l1_loss(edges.norm(dim=-1), true_edges.norm(dim=-1)),
            "coarse": F.l1_loss(predicted.coarse, coarse),
            "coarse_2d": F.mse_loss(crop_units(predicted.coarse_2d), crop_units(coarse_2d)),
        }


def crop_units(pixels: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 2"]:
    """Crop pixels as -1..1."""
    return 2 * pixels / CROP - 1


def edge_vectors(
    vertices: Float[Tensor, "batch vertices 3"], faces: Int[Tensor, "faces 3"]
) -> Float[Tensor, "batch faces 3 3"]:
    """The three edges of every triangle, in turn."""
    corners = vertices[:, faces]
    return corners.roll(-1, dims=2) - corners


def normal_loss(
    edges: Float[Tensor, "batch faces 3 3"], true_edges: Float[Tensor, "batch faces 3 3"]
) -> Float[Tensor, ""]:
    """Mean of |cos| between predicted edges and the true triangles' normals."""
    normals = F.normalize(torch.linalg.cross(true_edges[:, :, 0], true_edges[:, :, 1]), dim=-1)
    return (F.normalize(edges, dim=-1) * normals[:, :, None]).sum(-1).abs().mean()


def mesh_terms(
    predicted: Mapping[Side, PredictedHand], true: TrueHands, hands: Mapping[Side, HandTruth]
) -> dict[str, Float[Tensor, ""]]:
    """Unweighted terms of both meshes, averaged over the hands."""
    each = [hands[side].terms(predicted[side], true.placed(side), true.vertices_2d[side]) for side in predicted]
    return {name: sum(terms[name] for terms in each) / len(each) for name in each[0]}


def map_terms(
    masks: Float[Tensor, "batch 2 height width"],
    dense_maps: Float[Tensor, "batch 6 height width"],
    heat_maps: Float[Tensor, "batch 42 height width"],
    true: TrueMaps,
    logits: bool = False,
) -> dict[str, Float[Tensor, ""]]:
    """Unweighted terms of the image encoder's maps. Three channels of the dense maps are for each hand, the right one first,
    and count where that hand is seen.

    logits: whether the softmax of a heat map is compared with the true one, by cross entropy, and masks by squares; published:
    the heat map itself, and masks by a smooth absolute value. That has nothing to gain from a hand that is seen while its side
    is unknown, since nothing is as good an answer as one half.
    """
    dense = []
    for predicted, seen in zip(dense_maps.split(3, dim=1), true.masks.split(1, dim=1), strict=True):
        dense.append(_smooth_l1(predicted * seen, true.dense_maps * seen))
    return {
        "masks": (F.mse_loss if logits else _smooth_l1)(masks, true.masks),
        "dense_maps": sum(dense) / len(dense),
        "heat_maps": (places_loss if logits else F.mse_loss)(heat_maps, true.heat_maps),
    }


def places_loss(
    heat_maps: Float[Tensor, "batch maps height width"], true: Float[Tensor, "batch maps height width"]
) -> Float[Tensor, ""]:
    """Cross entropy between the softmax of every map and the true map with sum 1; maps of joints outside do not count.

    Not published. It moves a network that starts at nothing, which squares over thousands of dark cells hardly do.
    """
    target = true.flatten(2)
    inside = target.sum(-1)
    said = (heat_maps.flatten(2).log_softmax(-1) * target).sum(-1) / inside.clamp_min(1e-6)
    return -said.sum() / (inside > 0).sum().clamp_min(1)


def projection_term(predicted: Mapping[Side, PredictedHand], true: TrueHands) -> Float[Tensor, ""]:
    """How far the predicted projections bring the true meshes from their pixels, mean square in half crops.

    Not published. Terms in the image shrink the projection of a hand that is turned wrongly, since its mesh keeps its size;
    this one says the scale that the hand has.
    """
    each = [
        F.mse_loss(crop_units(project(true.placed(side), hand.scale, hand.shift)), crop_units(true.vertices_2d[side]))
        for side, hand in predicted.items()
    ]
    return sum(each) / len(each)


def with_given_projection(predicted: HandPairPrediction) -> HandPairPrediction:
    """The same prediction, whose 2-D meshes are functions of the 3-D ones alone: what is asked of them moves no projection."""

    def of(hand: PredictedHand) -> PredictedHand:
        scale, shift = hand.scale.detach(), hand.shift.detach()
        return replace(
            hand,
            vertices_2d=project(hand.vertices, scale, shift),
            coarse_2d=project(hand.coarse, scale, shift),
        )

    return replace(predicted, hands={side: of(hand) for side, hand in predicted.hands.items()})


def upsampling_term(
    weight: Float[Tensor, "778 nodes"], initial: Float[Tensor, "778 nodes"]
) -> dict[str, Float[Tensor, ""]]:
    """How far a trained upsampling has moved from where it started; nothing while it is frozen."""
    return {"upsampling": F.l1_loss(weight, initial) if weight.requires_grad else weight.new_zeros(())}


def weighted(
    terms: Mapping[str, Float[Tensor, ""]], epoch: int, weights: Mapping[str, float] = WEIGHTS
) -> dict[str, Float[Tensor, ""]]:
    """The terms times their weights; edge lengths count from epoch 50 on."""
    early = epoch < EDGE_FROM_EPOCH
    return {name: term * (0.0 if early and name == "edges" else weights[name]) for name, term in terms.items()}


def intaghand_loss(
    predicted: HandPairPrediction,
    hands: TrueHands,
    maps: TrueMaps,
    constants: Mapping[Side, HandTruth],
    upsampling: Mapping[str, Tensor],
    epoch: int,
    weights: Mapping[str, float] = WEIGHTS,
    logits: bool = False,
) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
    """Sum of all weighted terms, and the terms. upsampling: of `upsampling_term`.  epoch: from 0.  logits: see `map_terms`."""
    features = predicted.features
    terms = {
        **mesh_terms(predicted.hands, hands, constants),
        **map_terms(features.masks, features.dense_maps, features.heat_maps, maps, logits),
        **upsampling,
    }
    parts = weighted(terms, epoch, weights)
    return sum(parts.values()), parts


def maps_loss(
    features: ImageFeatures, maps: TrueMaps, weights: Mapping[str, float] = WEIGHTS, logits: bool = False
) -> Float[Tensor, ""]:
    """Sum of the weighted terms of the image encoder's maps."""
    terms = map_terms(features.masks, features.dense_maps, features.heat_maps, maps, logits)
    return sum(weighted(terms, 0, weights).values())


def published_learning_rate(epoch: int) -> float:
    """Learning rate of an epoch (from 0): three epochs of warm-up, then 1e-4, a tenth of it from epoch 153 on.

    The warm-up is a straight line from 1e-7 in epoch 0 that reaches 1e-4 in epoch 3; the publication does not say whether
    epoch 2 or epoch 3 is the first at full rate. From epoch 303 on the rate stays at 0.05 of the full one.
    """
    if epoch < WARM_UP_EPOCHS:
        return FIRST_LEARNING_RATE + (LEARNING_RATE - FIRST_LEARNING_RATE) * epoch / WARM_UP_EPOCHS
    return LEARNING_RATE * max(DECAY ** ((epoch - WARM_UP_EPOCHS) // DECAY_EPOCHS), LEAST_FACTOR)


def _smooth_l1(predicted: Tensor, true: Tensor) -> Tensor:
    return F.smooth_l1_loss(predicted, true, beta=SMOOTH_L1_BETA)
