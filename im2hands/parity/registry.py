"""All golden cases: the ones that are compared, and the ones that are known by their fields but not implemented yet."""

from __future__ import annotations

from importlib import import_module

from im2hands.parity.case import Case

IMPLEMENTED = (
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

NOT_IMPLEMENTED: tuple[Case, ...] = ()


def all_cases() -> tuple[Case, ...]:
    """Every known case; imports the code that the implemented ones need."""
    implemented = tuple(import_module(f"im2hands.parity.cases.{name}").CASE for name in IMPLEMENTED)
    return (*implemented, *NOT_IMPLEMENTED)
