"""Converts between the published state dict of keypoint refinement and ours, and reads the joints of the published script.

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
from im2hands.networks.keypoint_refinement import NAME, KeypointRefinementNetwork, load_keypoint_refinement
from im2hands.networks.published.layout import (
    PublishedLayout,
    PublishedNetwork,
    in_published_order,
    with_last_axis,
)
from im2hands.networks.published.naming import (
    GRAPH_BLOCKS,
    IMAGE_ATTENTION,
    IMAGE_ENCODER,
    Renames,
    renamed,
    same_or_intaghands,
)

LAYOUT = PublishedLayout.named("keypoint_refinement")

PLACES: Renames = (
    (r"^(left|right)_id_emb\.", r"identities.\1."),
    (r"^(left|right)_pt_emb\.", r"position_encoders.\1."),
    (r"^(left|right)_reg\.", r"heads.\1."),
    (r"^img_proj_layer\.", r"image_projection."),
    (r"^img_final_layer\.", r"unused_image_layer."),
    (r"^gcn_layers\.(\d+)\.graph_(left|right)\.", r"layers.\1.graph.\2."),
    (r"^gcn_layers\.(\d+)\.img_ex_(left|right)\.", r"layers.\1.image_attention.\2."),
)
POINTWISE = re.compile(r"(left|right)_(pt_emb|reg)\.\d\.weight")
IDENTITIES = re.compile(r"(left|right)_id_emb\.weight")


def our_name(published: str) -> str:
    """Our name of a published key."""
    name = renamed(published, PLACES)
    tables = {"image_encoder.": IMAGE_ENCODER, ".graph.": GRAPH_BLOCKS, ".image_attention.": IMAGE_ATTENTION}
    for part, table in tables.items():
        if part in name:
            name = renamed(name, table)
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
    """Published state dict from that of KeypointRefinementNetwork: same keys, same order, same bits.

    Raises CheckpointError for a network of other than the published sizes.
    """

    def tensor_of(key: str) -> Tensor | None:
        tensor = state.get(our_name(key))
        if tensor is not None and IDENTITIES.fullmatch(key):
            return reorder(tensor, JointOrder.STANDARD, JointOrder.MANO)
        return with_last_axis(tensor) if POINTWISE.fullmatch(key) else tensor

    return in_published_order(NAME, LAYOUT.shapes, tensor_of)


def build(_: Mapping[str, Tensor]) -> KeypointRefinementNetwork:
    """The network of published sizes, options and initial values."""
    network = KeypointRefinementNetwork(joint_regressors="published")
    network.start_as_published()
    return network


PUBLISHED = PublishedNetwork(
    name=NAME,
    layout=LAYOUT,
    build=build,
    load=load_keypoint_refinement,
    from_published=from_published,
    to_published=to_published,
    sources=same_or_intaghands,
    compat={"joint_regressors": "published"},
)


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
