"""Keypoint refinement's published state dict and ours, both ways, and the joints as the published script writes them.

Published weights know joints in MANO order, ours in STANDARD order: the rows of the identity codes change places, nothing else
depends on the order. 1x1 convolutions over joints are linear maps here.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor

from im2hands.hands.frames import MILLIMETRES, RefinementKeypoints
from im2hands.hands.joints import JointOrder, reorder
from im2hands.hands.sides import Side
from im2hands.networks.published.layout import PublishedLayout

LAYOUT = PublishedLayout.named("keypoint_refinement")

Renames = tuple[tuple[str, str], ...]

PLACES: Renames = (
    (r"^(left|right)_id_emb\.", r"identities.\1."),
    (r"^(left|right)_pt_emb\.", r"position_encoders.\1."),
    (r"^(left|right)_reg\.", r"heads.\1."),
    (r"^img_proj_layer\.", r"image_projection."),
    (r"^img_final_layer\.", r"unused_image_layer."),
    (r"^gcn_layers\.(\d+)\.graph_(left|right)\.GCN_blocks\.", r"layers.\1.graph.\2.blocks."),
    (r"^gcn_layers\.(\d+)\.img_ex_(left|right)\.", r"layers.\1.image_attention.\2."),
)
GRAPH_BLOCKS: Renames = (
    (r"\.norm1\.", r".unused_norm."),
    (r"\.norm2\.", r".first_norm."),
    (r"\.norm3\.", r".norm."),
    (r"\.fc1\.", r".first."),
    (r"\.fc2\.", r".second."),
)
ATTENTION: Renames = (
    (r"\.encoder\.position_embeddings\.", r".tokens.positions."),
    (r"\.encoder\.proj\.", r".tokens.patches."),
    (r"\.encoder\.self_attn\.", r".tokens.attention."),
    (r"\.attn\.fc\.", r".to_query."),
    (r"\.attn\.Attn\.", r".attention."),
    (r"\.ff\.layer_norm\.", r".feed_forward.norm."),
    (r"\.ff\.fc1\.", r".feed_forward.expand."),
    (r"\.ff\.fc2\.", r".feed_forward.contract."),
    (r"\.layer_norm\.", r".norm."),
    (r"\.w_qs\.", r".query."),
    (r"\.w_ks\.", r".key."),
    (r"\.w_vs\.", r".value."),
    (r"\.fc\.", r".output."),
)
IMAGE_ENCODER: Renames = (
    (r"\.hms_decoder\.", r".heat_map_decoder."),
    (r"\.dp_decoder\.", r".dense_map_decoder."),
    (r"\.models\.0\.", r".stages.0."),
    (r"\.models\.(\d)\.1\.", r".stages.\1.0."),
    (r"\.models\.(\d)\.3\.", r".stages.\1.2."),
    (r"_decoder\.final_layer\.", r"_decoder.last."),
)
POINTWISE = re.compile(r"(left|right)_(pt_emb|reg)\.\d\.weight")
IDENTITIES = re.compile(r"(left|right)_id_emb\.weight")


def our_name(published: str) -> str:
    """Our name of a published key."""
    name = _renamed(published, PLACES)
    for part, table in (("image_encoder.", IMAGE_ENCODER), (".graph.", GRAPH_BLOCKS), (".image_attention.", ATTENTION)):
        if part in name:
            name = _renamed(name, table)
    return name


def from_published(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """State dict of KeypointRefinementNetwork."""
    state = {}
    for key, tensor in published.items():
        if POINTWISE.fullmatch(key):
            tensor = tensor.squeeze(-1)
        elif IDENTITIES.fullmatch(key):
            tensor = reorder(tensor, JointOrder.MANO, JointOrder.STANDARD)
        state[our_name(key)] = tensor
    return state


def to_published(state: Mapping[str, Tensor]) -> OrderedDict[str, Tensor]:
    """Published state dict from that of a KeypointRefinementNetwork of any size with 4 layers: same keys, order and bits."""
    published: OrderedDict[str, Tensor] = OrderedDict()
    for key in LAYOUT.shapes:
        tensor = state[our_name(key)]
        if POINTWISE.fullmatch(key):
            tensor = tensor.unsqueeze(-1)
        elif IDENTITIES.fullmatch(key):
            tensor = reorder(tensor, JointOrder.STANDARD, JointOrder.MANO)
        published[key] = tensor
    return published


def written_joints(
    refined: RefinementKeypoints,
    rotation: Float[Tensor, "batch 3 3"],
    left_wrist: Float[Tensor, "batch 3"],
    right_wrist: Float[Tensor, "batch 3"],
) -> dict[Side, Float[Tensor, "batch 21 3"]]:
    """What the published script writes: joints in MANO order (m), world axes, at a place that means nothing.

    The script turns camera axes into world axes but adds the wrist and keeps the camera's translation, so only differences to
    joint 0 are right; its readers subtract that one. rotation: world to camera.  *_wrist: world, m, not mirrored.
    Division in the network's precision, the rest in double precision, as published.
    """
    written = {}
    for side, joints, wrist in ((Side.LEFT, refined.left, left_wrist), (Side.RIGHT, refined.right, right_wrist)):
        moved = (joints / MILLIMETRES).double() + refined.origin.double()
        turned = moved @ rotation.double() + wrist.double()[:, None]
        written[side] = reorder(turned, JointOrder.STANDARD, JointOrder.MANO)
    return written


def from_written_joints(
    written: Float[Tensor, "batch 21 3"], wrist: Float[Tensor, "batch 3"]
) -> Float[Tensor, "batch 21 3"]:
    """Joints of a file of the published script in STANDARD order with the wrist in its place (world, m)."""
    joints = reorder(written, JointOrder.MANO, JointOrder.STANDARD)
    return joints - joints[:, :1] + wrist[:, None].to(joints.dtype)


def _renamed(name: str, table: Renames) -> str:
    for pattern, replacement in table:
        name = re.sub(pattern, replacement, name)
    return name
