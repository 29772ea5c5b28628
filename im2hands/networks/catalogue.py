"""The catalogue of networks and of the methods that reconstruct with them.

A network is trained into `models/<name>/`; a method makes meshes with a network. Imports nothing heavy, so that the workflow
can read it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from im2hands.config.training import Training
from im2hands.io.errors import ConfigError

NETWORKS = {name: str(section.title) for name, section in Training.model_fields.items()}
"""Name -> title. A network has the name of its section in params.yaml, which holds its title too."""
ImageMethod = Literal["initial", "im2hands"]
"""Methods whose field uses the photograph."""


@dataclass(frozen=True)
class Method:
    """network: whose weights it uses.  threshold: published occupancy at the surface, None for a method without a field.

    sees_image: whether it uses the photograph.  needs_both_hands: whether it needs both hands to make one.
    """

    title: str
    network: str
    threshold: float | None = 0.5
    sees_image: bool = True
    needs_both_hands: bool = False


METHODS = {
    "halo": Method("HALO", "halo", sees_image=False),
    "intaghand": Method("IntagHand", "intaghand", threshold=None),
    "initial": Method("Initial occupancy", "initial_occupancy"),
    "im2hands": Method("Im2Hands", "refined_occupancy", threshold=0.45, needs_both_hands=True),
}


def method_of(name: str) -> Method:
    """The method of a name. Raises ConfigError for an unknown one."""
    if name not in METHODS:
        raise ConfigError(f"unknown reconstruction method {name!r}; use one of {', '.join(METHODS)}.")
    return METHODS[name]


TITLES = {**NETWORKS, **{name: method.title for name, method in METHODS.items()}}
"""Of networks and methods."""
