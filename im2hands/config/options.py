"""The named options: where the published code and a consistent one differ."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from im2hands.config.base import Section
from im2hands.config.choices import Behaviour, Choice
from im2hands.io.errors import ConfigError


class Options(Section):
    """Named behaviours that differ between the published code and a consistent one; `compat` follows the key of that name."""

    angle_clamp: Choice = Field(
        description="bone angles: published clamps acos (no angle below 0.0014 rad), consistent uses atan2"
    )
    degenerate_hands: Choice = Field(
        description="hands without a palm frame: published computes what the formulas give, consistent rejects with a reason"
    )
    label_rule: Choice = Field(
        description="occupancy labels: published is ray parity that loses points on edges, consistent the winding number"
    )
    query_frame: Choice = Field(
        description="palm frame of query points: published takes the true keypoints, consistent the keypoints in use"
    )
    depth_reference: Choice = Field(
        description="depth that query points are relative to: published the first query of a call, consistent the wrist"
    )
    penetration_frame: Choice = Field(
        description="other hand's points in the penetration loss: published keeps palm coordinates, consistent moves them"
    )
    penetration_context: Choice = Field(
        description="context of the penetration loss: published encodes it twice, consistent once"
    )
    penetration_reduction: Choice = Field(
        description="penetration loss: published is a sum over points and batch, consistent a mean"
    )
    joint_regressors: Choice = Field(
        description="heads of keypoint refinement: published uses the left hand's for both, consistent one per hand"
    )
    fps_dead_ball: Choice = Field(
        description="anchor selection: published never picks anchors within 31.6 mm of the common centre, consistent may"
    )
    feature_lookup: Choice = Field(
        description="image features at points: published mixes two pixel conventions, consistent looks up pixel centres"
    )
    heat_maps: Choice = Field(
        description="heat map targets: published through JPEG files and resizing, consistent drawn from augmented joints"
    )


def resolve_option(params: dict[str, Any], name: str) -> Behaviour:
    """The behaviour of a named option: its own value, or that of `compat`."""
    try:
        chosen = params["options"][name]
    except KeyError:
        raise ConfigError(f"params.yaml: there is no option `{name}`; see the section `options`.") from None
    return params["compat"] if chosen == "compat" else chosen
