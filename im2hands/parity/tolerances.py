"""How far ours may be from the golden numbers: case -> field (or shared key) -> absolute, or (absolute, relative)."""

from __future__ import annotations

TOLERANCES: dict[str, dict[str, float | tuple[float, float]]] = {
    "mano_forward": {"default": 1e-6, "pca": 2e-6, "rodrigues": 1e-7},
    "halo_keypoints": {"default": 1e-6},
    "halo_frames": {"default": 1e-5},
    "halo_decoder": {"default": 1e-5},
    "halo_metrics_mise": {"default": 1e-9},
    "intaghand_preprocess": {"default": 1e-4},
}
