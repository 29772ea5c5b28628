"""The trainings of the workflow: what each reads and which resources it requests. The rules and dvc.yaml are generated from
it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from im2hands.config.options import resolve_option

FRAMES = {
    "frames": "data/frames/{split}.parquet",
    "hands": "data/hands/{split}.parquet",
    "images": "data/images/{split}/manifest.json",
}
QUERIES = "data/queries/{split}/manifest.json"


@dataclass(frozen=True)
class Training:
    """One training.

    reads: name -> file of a split; the stage takes it as `train_NAME` and `val_NAME`.
    starts_from: name -> network whose weights it starts from.  options: the named options that it has.
    with_prior: whether it reads the weights of the keypoint prior, unless the option keypoint_prior is published.
    hand_model: whether it reads the hand model.  priority: among jobs that could run.
    memory_mb, minutes: requested from a cluster.
    """

    reads: Mapping[str, str] = field(default_factory=dict)
    starts_from: Mapping[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    hand_model: bool = False
    with_prior: bool = False
    priority: int = 0
    memory_mb: int = 16000
    minutes: int = 10080

    def files(self) -> dict[str, str]:
        """Name -> file of everything that is read of the training and the validation split."""
        return {
            f"{split}_{name}" if name else split: pattern.format(split=split)
            for name, pattern in self.reads.items()
            for split in ("train", "val")
        }

    def starts(self, config: Mapping[str, Any]) -> dict[str, str]:
        """Name -> network whose weights it reads, for these parameters."""
        prior = self.with_prior and resolve_option(config, "keypoint_prior") == "consistent"
        return {**self.starts_from, **({"prior": "keypoint_prior"} if prior else {})}

    def parameters(self, network: str) -> tuple[str, ...]:
        """The keys of params.yaml that it reads."""
        hand_model = ("dataset.hand_model",) if self.hand_model else ()
        return (*hand_model, f"training.{network}", *(f"options.{name}" for name in self.options), "seed")


TRAININGS = {
    "halo": Training(
        {"hands": FRAMES["hands"], "": QUERIES},
        priority=10,
        memory_mb=8000,
        minutes=1440,
    ),
    "keypoint_prior": Training(hand_model=True, priority=10, memory_mb=4000, minutes=1440),
    "intaghand": Training(FRAMES, options=("heat_maps", "hand_axes"), hand_model=True, priority=50),
    "initial_occupancy": Training(
        {**FRAMES, "queries": QUERIES},
        {"halo": "halo", "intaghand": "intaghand"},
        ("depth_reference", "penetration_frame"),
        priority=40,
    ),
    "keypoint_refinement": Training(
        {**FRAMES, "predictions": "data/keypoints/intaghand/{split}.parquet"},
        {"intaghand": "intaghand"},
        with_prior=True,
        options=("joint_regressors", "keypoint_prior", "joint_views"),
        priority=20,
    ),
    "refined_occupancy": Training(
        {**FRAMES, "queries": QUERIES, "anchors": "data/anchors/{split}/manifest.json"},
        {"initial": "initial_occupancy"},
        (
            "depth_reference",
            "penetration_frame",
            "penetration_context",
            "penetration_reduction",
            "fps_dead_ball",
            "feature_lookup",
        ),
        priority=40,
    ),
}
"""Network -> its training, in the order of the data."""
