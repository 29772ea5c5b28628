"""The named options: behaviours in which the published code and consistent code differ."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from im2hands.config.base import Section
from im2hands.config.choices import Behaviour, Choice
from im2hands.io.errors import ConfigError


class Options(Section):
    """Named behaviours, published or consistent; an option set to `compat` follows the key `compat`."""

    angle_clamp: Choice = Field(
        description="bone angles: published uses a clamped acos (no angle below 0.0014 rad), consistent uses atan2"
    )
    degenerate_hands: Choice = Field(
        description="hands without a palm frame: published uses what the formulas give, consistent rejects them with a reason"
    )
    label_rule: Choice = Field(
        description="occupancy labels: published is ray parity, which loses points on edges; consistent is the winding number"
    )
    query_frame: Choice = Field(
        description="palm frame of query points: published uses the true keypoints, consistent the keypoints in use"
    )
    depth_reference: Choice = Field(
        description="reference depth of query points: published uses the first query of a call, consistent the wrist"
    )
    penetration_frame: Choice = Field(
        description="other hand's points in the penetration loss: published keeps palm coordinates, consistent converts them"
    )
    penetration_context: Choice = Field(
        description="context code in the penetration loss: published encodes it twice, consistent once"
    )
    penetration_reduction: Choice = Field(
        description="penetration loss: published is a sum over points and batch, consistent is a mean"
    )
    joint_regressors: Choice = Field(
        description="heads of keypoint refinement: published uses the left hand's for both hands, consistent one per hand"
    )
    keypoint_prior: Choice = Field(
        description="keypoint refinement: published takes keypoints as they are, consistent after the keypoint prior"
    )
    joint_views: Choice = Field(
        description="keypoint refinement: published attends to image patches, consistent looks where the joints project"
    )
    fps_dead_ball: Choice = Field(
        description="anchor selection: published never picks anchors within 31.6 mm of the common centre, consistent may"
    )
    feature_lookup: Choice = Field(
        description="image features at points: published mixes two pixel conventions, consistent looks up pixel centres"
    )
    heat_maps: Choice = Field(
        description="heat map targets: published uses resized JPEG files, consistent draws them from augmented joints"
    )
    hand_axes: Choice = Field(
        description="axes of IntagHand's hands: published are the camera's, consistent those of a camera that faces the crop"
    )


def resolve_option(params: dict[str, Any], name: str) -> Behaviour:
    """The behaviour of a named option: its own value, or the value of `compat`."""
    try:
        chosen = params["options"][name]
    except KeyError:
        raise ConfigError(f"params.yaml: unknown option `{name}`; the section `options` lists all options.") from None
    return params["compat"] if chosen == "compat" else chosen
