"""All golden cases."""

from __future__ import annotations

from importlib import import_module

from im2hands.parity.case import Case

CASES = (
    "mano_forward",
    "halo_keypoints",
    "halo_frames",
    "halo_decoder",
    "halo_metrics_mise",
    "intaghand_preprocess",
    "metrics",
    "kpts_ref",
    "init_occ",
    "ref_occ",
    "intaghand_network",
)


def all_cases() -> tuple[Case, ...]:
    """Every case; imports the code that they need."""
    return tuple(import_module(f"im2hands.parity.cases.{name}").CASE for name in CASES)
