"""Sixteen small networks, one per bone, that predict whether a point is inside the part of the hand that moves with the bone.

Source: HALO (3DV 2021), section 3.3; Im2Hands (CVPR 2023), section 3.2, whose variant appends image features to the second
hidden layer. Points are in the palm frame (1 unit = 0.4 m, right-hand space), bone lengths in metres, bones in the order of
`im2hands.hands.joints.BONE_NAMES`.

Every bone sees the point in its own frame, its length, a code of all 16 lengths and a code of all 16 translations. All but
the point is constant over a hand, so `forward` folds it, the rigid transform and the residual connections into the weights
of batched matrix products; `tests/naive/bone_decoders.py` contains the plain form.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float, Integer
from torch import Tensor, nn

from im2hands.geometry.pieces import pieces, rows_at_once

BONES = 16
LEAK = 0.1
"""Negative slope of the activation between the layers."""
FEATURE_LAYER = 2
"""The layer to whose input point features are appended."""
BALL_RADIUS, BALL_SLOPE = 0.03, 60.0
"""Constants of the geometric initialisation: palm units (12 mm), logit per palm unit."""
BALL_STEEPNESS, BALL_NOISE, BALL_RESIDUAL_SHARE = 40.0, 0.5, 0.3
LENGTH_SCALE = 100.0
"""Constant of the geometric initialisation: length code per metre."""
LIVING_LAYERS = 4
"""Memory per point in an evaluation, in layers of all bones: two buffers, and as much again to read and write them."""
PUBLISHED_WIDTH, PUBLISHED_LENGTH_HIDDEN, PUBLISHED_TRANSLATION_CODE = 64, 40, 8


class BoneLinear(nn.Module):
    """Sixteen linear layers side by side: weight (16, out, in), bias (16, out), initialised as `torch.nn.Linear` is."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(BONES, outputs, inputs))
        self.bias = nn.Parameter(torch.empty(BONES, outputs))
        bound = 1 / math.sqrt(inputs)
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)


@dataclass(frozen=True)
class _FoldedWeights:
    """What `BoneDecoders` multiplies points and activations with.

    first: one per bone and hand, of points with a 1 as fourth coordinate.
    """

    first: Float[Tensor, "16 batch 4 width"]
    hidden: list[tuple[Float[Tensor, "16 width width"], Float[Tensor, "16 1 width"]]]
    on_features: Float[Tensor, "16 features width"]

    def of_hands(self, hands: slice) -> _FoldedWeights:
        return replace(self, first=self.first[:, hands])


class _GroupedLinear(torch.autograd.Function):
    """Rows sorted by bone, each times the weight of its bone: (rows, in) -> (rows, out).

    sizes: rows per bone. One product per bone on slices; autograd of sixteen slices and their joining would cost more than
    the products themselves.
    """

    @staticmethod
    def forward(ctx, rows: Tensor, weight: Tensor, bias: Tensor, sizes: list[int]) -> Tensor:
        ctx.save_for_backward(rows, weight)
        ctx.sizes = sizes
        outputs = rows.new_empty(len(rows), weight.shape[1])
        for bone, part in _parts(sizes):
            torch.addmm(bias[bone], rows[part], weight[bone].t(), out=outputs[part])
        return outputs

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        rows, weight = ctx.saved_tensors
        on_rows = torch.empty_like(rows)
        on_weight, on_bias = torch.zeros_like(weight), weight.new_zeros(weight.shape[:2])
        for bone, part in _parts(ctx.sizes):
            torch.mm(gradient[part], weight[bone], out=on_rows[part])
            torch.mm(gradient[part].t(), rows[part], out=on_weight[bone])
            torch.sum(gradient[part], dim=0, out=on_bias[bone])
        return on_rows, on_weight, on_bias, None


def _full_precision(tensor: Tensor) -> torch.autocast:
    """No mixed precision: coordinates rounded to bf16 would move by a millimetre."""
    return torch.autocast(tensor.device.type, enabled=False)


def _parts(sizes: list[int]) -> Iterator[tuple[int, slice]]:
    start = 0
    for bone, size in enumerate(sizes):
        if size:
            yield bone, slice(start, start + size)
        start += size


class BoneDecoders(nn.Module):
    """Points and bones to one logit per point and bone.

    width: width of the four hidden layers (published: 64).
    length_hidden: hidden width of the encoder of bone lengths (published: 40).
    translation_code: numbers that each bone keeps of the 48 translations (published: 8).
    features: length of the point features that `forward` then requires (0: none; Im2Hands: 19).
    """

    def __init__(
        self,
        width: int = PUBLISHED_WIDTH,
        length_hidden: int = PUBLISHED_LENGTH_HIDDEN,
        translation_code: int = PUBLISHED_TRANSLATION_CODE,
        features: int = 0,
    ) -> None:
        super().__init__()
        self.width, self.features = width, features
        self.translation_encoder = BoneLinear(3 * BONES, translation_code)
        self.length_encoder = nn.Sequential(nn.Linear(BONES, length_hidden), nn.ReLU(), nn.Linear(length_hidden, BONES))
        inputs = [3 + 1 + BONES + translation_code, width, width + features, width, width]
        self.layers = nn.ModuleList(BoneLinear(n, width) for n in inputs[:4])
        self.layers.append(BoneLinear(width, 1))

    @torch.no_grad()
    def start_as_balls(self, centres_of_lengths: Float[Tensor, "16 3 16"]) -> None:
        """Geometric initialisation: every bone starts as a soft ball about its centre instead of as noise.

        centres_of_lengths: linear map from a hand's 16 bone lengths (m) to the centre of every bone in the bone's own frame
        (palm units). It passes through the length code, of which the first units of the hidden layer keep the lengths.

        Each first-layer unit measures the signed distance from a random plane through the centre; the residual layers start
        near the identity and the last one subtracts a multiple of the units' mean, which grows with the distance from the
        centre, from a positive bias. From the default initialisation a few bones win everywhere and the others, which then get
        no gradient, never learn; from one centre for all hands the ends of the fingers are learnt last, because canonical bones
        lie centimetres apart in hands of different size. (After SAL, CVPR 2020, section 4.)
        """
        first, *residual, last = self.layers
        normals = torch.randn_like(first.weight[:, :, :3]) * BALL_STEEPNESS
        self._pass_lengths_through()
        first.weight.zero_()
        first.weight[:, :, :3] = normals
        on_lengths = -torch.einsum("kwi,kil->kwl", normals, centres_of_lengths.to(normals)) / LENGTH_SCALE
        first.weight[:, :, 4 : 4 + BONES] = on_lengths
        first.bias.copy_(BALL_NOISE * torch.randn_like(first.bias))
        for layer in residual:
            layer.weight *= BALL_RESIDUAL_SHARE
            layer.bias *= BALL_RESIDUAL_SHARE
        mean_of_units = BALL_STEEPNESS / math.sqrt(2 * math.pi)  # per palm unit from the centre, of max(0, normal . x)
        last.weight.copy_(-BALL_SLOPE / (mean_of_units * self.width) * (1 + 0.1 * torch.randn_like(last.weight)))
        last.bias.fill_(BALL_SLOPE * BALL_RADIUS)

    def _pass_lengths_through(self) -> None:
        """Length code = LENGTH_SCALE * lengths: lengths are positive, so that the ReLU lets them pass."""
        inner, _, outer = self.length_encoder
        scale = math.sqrt(LENGTH_SCALE)
        for layer in (inner, outer):
            layer.weight.zero_()
            layer.bias.zero_()
        inner.weight[:BONES].fill_diagonal_(scale)
        outer.weight[:, :BONES].fill_diagonal_(scale)
        nn.init.normal_(inner.weight[BONES:], std=1 / math.sqrt(BONES))

    def forward(
        self,
        points: Float[Tensor, "batch points 3"],
        bone_from_palm: Float[Tensor, "batch 16 4 4"],
        bone_lengths: Float[Tensor, "batch 16"],
        features: Float[Tensor, "batch points channels"] | None = None,
    ) -> Float[Tensor, "batch points 16"]:
        """Logits of every point for every bone; positive means inside.

        Raises ValueError if point features are missing or unexpected.
        """
        self._check_features(features)
        weights = self._folded_weights(bone_from_palm, bone_lengths)
        return self._all_logits(weights, _with_one(points), features)

    def strongest(
        self,
        points: Float[Tensor, "batch points 3"],
        bone_from_palm: Float[Tensor, "batch 16 4 4"],
        bone_lengths: Float[Tensor, "batch 16"],
        features: Float[Tensor, "batch points channels"] | None = None,
    ) -> Float[Tensor, "batch points"]:
        """The largest of each point's 16 logits.

        Its gradient passes through the strongest bone alone. On a CPU the search for that bone therefore runs without a
        graph and only the winner is computed again with one, which costs two fifths of `forward(...).amax(-1)`.
        """
        self._check_features(features)
        weights, points = self._folded_weights(bone_from_palm, bone_lengths), _with_one(points)
        if torch.compiler.is_compiling() or (torch.is_grad_enabled() and points.device.type != "cpu"):
            return self._all_logits(weights, points, features).amax(dim=-1)
        largest, bones = self._winners(weights, points, features)
        if not torch.is_grad_enabled():
            return largest
        with _full_precision(points):
            return self._logits_of_bones(bones, weights, points, features)

    def _all_logits(self, weights: _FoldedWeights, points: Tensor, features: Tensor | None) -> Tensor:
        batch, count = points.shape[:2]
        repeated = points.expand(BONES, -1, -1, -1).flatten(0, 1)
        with _full_precision(points):
            hidden = torch.bmm(repeated, weights.first.flatten(0, 1))
        hidden = F.leaky_relu_(hidden, LEAK).view(BONES, batch * count, self.width)
        for place, (weight, bias) in enumerate(weights.hidden, start=1):
            hidden = torch.baddbmm(bias, hidden, weight)
            if place == FEATURE_LAYER and features is not None:
                flat = features.flatten(0, 1).expand(BONES, -1, -1)
                hidden = torch.baddbmm(hidden, flat, weights.on_features)
            hidden = F.leaky_relu_(hidden, LEAK)
        last = self.layers[4]
        logits = torch.bmm(hidden, last.weight.transpose(1, 2)).squeeze(-1) + last.bias
        return logits.t().reshape(batch, count, BONES)

    @torch.no_grad()
    def _winners(self, weights: _FoldedWeights, points: Tensor, features: Tensor | None) -> tuple[Tensor, Tensor]:
        """Largest logit and its bone. Points pass in pieces; on a CPU hand by hand, in buffers that all pieces share."""
        batch, count = points.shape[:2]
        largest = points.new_empty(batch, count)
        bones = torch.empty(batch, count, dtype=torch.long, device=points.device)
        on_cpu = points.device.type == "cpu"
        together = 1 if on_cpu else batch
        size = min(max(1, count), rows_at_once(points, LIVING_LAYERS * BONES * self.width * max(1, together)))
        buffers = points.new_empty(2, BONES * size * self.width) if on_cpu else None
        for hand in range(0, batch, together):
            own = weights.of_hands(slice(hand, hand + together))
            for part in pieces(count, size):
                where = slice(hand, hand + together), part
                inputs = own, points[where], None if features is None else features[where]
                if buffers is None:
                    largest[where], bones[where] = self._all_logits(*inputs).max(dim=-1)
                else:
                    largest[where], bones[where] = self._logits_of_hand(*inputs, buffers).max(dim=0)
        return largest, bones

    def _logits_of_hand(
        self, weights: _FoldedWeights, points: Tensor, features: Tensor | None, buffers: Tensor
    ) -> Float[Tensor, "16 points"]:
        """`_all_logits` of one hand, without gradients; the layers take turns in two buffers."""
        size = BONES, points.shape[1], self.width
        inputs, outputs = (buffer[: math.prod(size)].view(size) for buffer in buffers)
        torch.bmm(points[0].expand(BONES, -1, -1), weights.first[:, 0], out=inputs)
        F.leaky_relu_(inputs, LEAK)
        for place, (weight, bias) in enumerate(weights.hidden, start=1):
            torch.bmm(inputs, weight, out=outputs).add_(bias)
            if place == FEATURE_LAYER and features is not None:
                outputs.baddbmm_(features[0].to(outputs.dtype).expand(BONES, -1, -1), weights.on_features)
            inputs, outputs = F.leaky_relu_(outputs, LEAK), inputs
        last = self.layers[4]
        return torch.bmm(inputs, last.weight.transpose(1, 2)).squeeze(-1).add_(last.bias)

    def _logits_of_bones(
        self,
        bones: Integer[Tensor, "batch points"],
        weights: _FoldedWeights,
        points: Tensor,
        features: Tensor | None,
    ) -> Float[Tensor, "batch points"]:
        """The logit of one chosen bone per point: points sorted by bone, then one matrix product per bone and layer."""
        batch, count = bones.shape
        bones = bones.flatten()
        order = torch.argsort(bones, stable=True)
        sizes = torch.bincount(bones, minlength=BONES).tolist()
        network = bones[order] * batch + order // max(count, 1)
        first = weights.first.flatten(0, 1)[network]
        hidden = F.leaky_relu(torch.bmm(points.flatten(0, 1)[order][:, None], first)[:, 0], LEAK)
        for place, layer in enumerate(self.layers[1:4], start=1):
            inputs = hidden
            if place == FEATURE_LAYER and features is not None:
                inputs = torch.cat([hidden, features.flatten(0, 1)[order]], dim=-1)
            hidden = F.leaky_relu(_GroupedLinear.apply(inputs, layer.weight, layer.bias, sizes) + hidden, LEAK)
        last = self.layers[4]
        logits = _GroupedLinear.apply(hidden, last.weight, last.bias, sizes)[:, 0]
        return torch.zeros_like(logits).index_copy(0, order, logits).view(batch, count)

    def _folded_weights(self, bone_from_palm: Tensor, bone_lengths: Tensor) -> _FoldedWeights:
        """The layers as maps of palm-frame points: transforms, constants and residual connections folded in."""
        with _full_precision(bone_lengths):
            return self._folded_weights_in_full(bone_from_palm, bone_lengths)

    def _folded_weights_in_full(self, bone_from_palm: Tensor, bone_lengths: Tensor) -> _FoldedWeights:
        layer, encoder = self.layers[0], self.translation_encoder
        rotation, translation = bone_from_palm[:, :, :3, :3], bone_from_palm[:, :, :3, 3]
        codes = F.linear(translation.flatten(1), encoder.weight.flatten(0, 1), encoder.bias.flatten())
        length_code = self.length_encoder(bone_lengths)[:, None].expand(-1, BONES, -1)
        constants = [translation, bone_lengths[..., None], length_code, codes.unflatten(1, (BONES, -1))]
        bias = torch.baddbmm(layer.bias[:, None], torch.cat(constants, dim=-1).transpose(0, 1), layer.weight.mT)
        turned = torch.bmm(rotation.permute(1, 0, 3, 2).flatten(1, 2), layer.weight[:, :, :3].mT).unflatten(1, (-1, 3))
        identity = torch.eye(self.width, dtype=layer.weight.dtype, device=layer.weight.device)
        return _FoldedWeights(
            first=torch.cat([turned, bias[:, :, None]], dim=2),
            hidden=[
                ((m.weight[..., : self.width] + identity).transpose(1, 2).contiguous(), m.bias[:, None])
                for m in self.layers[1:4]
            ],
            on_features=self.layers[FEATURE_LAYER].weight[..., self.width :].transpose(1, 2),
        )

    def _check_features(self, features: Tensor | None) -> None:
        given = 0 if features is None else features.shape[-1]
        if given != self.features:
            raise ValueError(f"these bone decoders take {self.features} features per point, got {given}")


def _with_one(points: Float[Tensor, "batch points 3"]) -> Float[Tensor, "batch points 4"]:
    return F.pad(points, (0, 1), value=1.0)
