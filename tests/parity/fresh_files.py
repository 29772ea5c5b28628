"""Golden-like files of any seed: the layout of the given files, fresh inputs, numbers of the plain forms as the reference ran.

Each function fills a `Recorder`. What the plain forms do not give (probes of image maps, for one) is our own number.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from im2hands.hands.joints import JointOrder, reorder
from im2hands.hands.sides import Side
from im2hands.parity.case import Comparison, Golden
from im2hands.parity.cases import halo_decoder, mano_forward
from tests.naive.bone_decoders import naive_bone_logits
from tests.naive.hand_frames import naive_frames, palm_points
from tests.naive.inside import published_parity
from tests.naive.mano import TIPS, naive_hand, naive_steps, rodrigues
from tests.naive.metrics import intersection_over_union, surface_distances
from tests.naive.published_bones import naive_published_hand
from tests.parity.fresh_hands import fresh_camera, fresh_hands, fresh_pair
from tests.reference import FOLDER

NAMES = ("left", "right")


class Recorder(Golden):
    """A golden file in the making: whatever is compared with it becomes its number, in the type that the field has."""

    @classmethod
    def of(cls, case: str) -> Recorder:
        """With the numbers of the given file, to be replaced."""
        return cls(FOLDER.files_of(case)[0], case)

    def compare(self, name: str, ours: Any, tolerance: str | None = None, where: Any = ..., **_: Any) -> Comparison:
        numbers = np.array(self[name])
        numbers[where] = ours
        self._fields[name] = numbers
        return Comparison(name, 0.0, 0.0)

    def replace(self, fields: dict[str, Any]) -> None:
        """Whole fields, in their types."""
        assert self._fields.keys() >= fields.keys()
        arrays = {name: np.asarray(value, self._fields[name].dtype) for name, value in fields.items()}
        assert all(self._fields[name].shape == array.shape for name, array in arrays.items())
        self._fields.update(arrays)

    def write(self, folder: Path) -> None:
        np.savez(folder / f"{self.case} of another seed.npz", **self._fields)


def fill_halo_keypoints(file: Recorder, rng: np.random.Generator) -> None:
    hands = fresh_hands(rng)
    found = [naive_published_hand(keypoints, left) for _, left, keypoints in hands]
    file.replace({name: np.stack([hand[name] for hand in found]) for name in found[0]})
    kinds, lefts, keypoints = zip(*hands, strict=True)
    file._fields["case"], file._fields["side"] = np.array(kinds), np.array([NAMES[not left] for left in lefts])
    file.replace({"joints_raw": np.stack(keypoints)})


def fill_halo_frames(file: Recorder, rng: np.random.Generator) -> None:
    pairs = [fresh_pair(rng) for _ in range(3)]
    cameras = [fresh_camera(rng, pair) for pair in pairs]
    given: dict[str, Any] = {f"camera_{name}": [camera[name] for camera in cameras] for name in ("R", "t", "K")}
    for side in NAMES:
        joints = given[f"{side}_joints_world_m"] = np.stack([pair[side] for pair in pairs])
        queries = rng.uniform(-0.5, 0.5, (3, 160, 3))
        queries[:, :21] = palm_points(joints, side)
        given |= {f"{side}_query": queries, f"{side}_anchor_mm": rng.uniform(-90, 90, (3, 21, 3))}
    given["mesh_in_vertices"] = file["mesh_in_vertices"] * rng.uniform(0.5, 1.5, 3)
    file.replace(given)
    file.replace(naive_frames({name: file[name] for name in (*given, "mesh_in_faces")}))


def fill_halo_decoder(file: Recorder, rng: np.random.Generator) -> None:
    seed = int(rng.integers(1, 2**31))
    hands = [naive_published_hand(keypoints, left) for _, left, keypoints in fresh_hands(rng)[:3]]
    points = {f"{tag}_points": rng.uniform(-0.5, 0.5, (3, 200, 3)) for tag in ("halo", "im2hands")}
    file.replace({"halo_seed": seed, "im2hands_seed": seed + 1, "im2hands_features": rng.standard_normal((3, 200, 19))})
    file.replace(points | {name: np.stack([hand[name] for hand in hands]) for name in ("inputs", "bone_lengths")})
    for tag in ("halo", "im2hands"):
        logits = naive_bone_logits(halo_decoder.decoders_of(file, tag), *halo_decoder.hand_inputs(file, tag))
        file.replace({f"{tag}_bone_logits": logits.numpy(), f"{tag}_occupancy": torch.sigmoid(logits).amax(-1).numpy()})


def fill_mano_forward(file: Recorder, rng: np.random.Generator) -> None:
    """Correctives of the stand-in redistributed over the vertices, with new poses and shapes."""
    turns = rng.permutation(778)
    file.replace({name: file[name][turns] for name in ("model_shapedirs_q", "model_posedirs_q")})
    pose = np.concatenate([rng.standard_normal((6, 3)), 0.4 * rng.standard_normal((6, 45))], 1)
    file.replace({"pose48": pose, "shape": rng.standard_normal((6, 10)), "trans": rng.uniform(-0.5, 0.5, (6, 3))})
    file.replace({"scale": rng.uniform(0.8, 1.2, 6), "rodrigues_in": rng.standard_normal((4, 3))})
    pose, shape, translation = (file[name] for name in ("pose48", "shape", "trans"))
    models = {
        side: {k: np.asarray(a, np.float32) for k, a in arrays.items()} for side, arrays in arrays_of(file).items()
    }
    for side, arrays in models.items():
        components = arrays["hands_components"]
        vertices, keypoints = naive_hand(arrays, pose, shape, translation)
        steps = naive_steps(arrays, pose, shape)
        coefficients = pose[:, 3:] @ components.T
        shortened = np.concatenate([pose[:, :3], coefficients[:, :30] @ components[:30]], 1)
        centred = naive_hand(arrays, shortened, shape, np.zeros_like(translation))[1]
        centred = (centred - centred[:, 9:10]) * file["scale"][:, None, None] + translation[:, None]
        prefix = f"manopth_{side.value}"
        file.replace(
            {
                f"intag_{side.value}_verts": vertices,
                f"intag_{side.value}_joints": keypoints,
                f"intag_{side.value}_pca": coefficients,
                f"intag_{side.value}_pca30_center9_scaled_joints": centred,
                f"{prefix}_joints21_mano_order": reorder(keypoints, JointOrder.STANDARD, JointOrder.MANO),
                f"{prefix}_bone_transforms": steps["world"],
                f"{prefix}_skin_transforms": steps["skinning"],
                f"{prefix}_rest_joints": np.concatenate([steps["joints"], steps["rest"][:, TIPS]], 1),
                f"{prefix}_rest_verts_every7": steps["rest"][:, ::7],
            }
        )
    defective = models[Side.LEFT] | {"shapedirs": models[Side.RIGHT]["shapedirs"]}
    vertices, keypoints = naive_hand(defective, pose, shape, translation)
    file.replace({"intag_left_buggy_verts": vertices[:, ::7], "intag_left_buggy_joints": keypoints})
    file.replace({f"rodrigues_{name}": rodrigues(file["rodrigues_in"]) for name in ("intag", "manopth")})


def arrays_of(file: Golden) -> dict[Side, dict[str, np.ndarray]]:
    """Of both stand-in hands, the left one corrected."""
    arrays = mano_forward.stand_in_arrays(file)
    arrays[Side.LEFT]["shapedirs"] = arrays[Side.LEFT]["shapedirs"] * np.array([-1, 1, 1])[:, None]
    return arrays


def fill_metrics(file: Recorder, rng: np.random.Generator, hands: Golden) -> None:
    """IntagHand's protocol and its variants by the formulas, in float32; InterHand2.6M's numbers are our own."""
    errors: dict[str, list[list[float]]] = {}
    arrays = arrays_of(hands)[Side.RIGHT]
    regress = np.concatenate([arrays["J_regressor"], np.eye(778)[list(TIPS)]]).astype(np.float32)
    for side in NAMES:
        truth = hands[f"intag_{side}_verts"][:5]
        predicted = (truth * rng.uniform(0.9, 1.1) + 0.006 * rng.standard_normal(truth.shape)).astype(np.float32)
        file.replace({f"{side}_gt_verts": truth, f"{side}_pred_verts": predicted})
        joints = [reorder(regress @ mesh, JointOrder.MANO, JointOrder.STANDARD) for mesh in (truth, predicted)]
        for name, root, scaled in PROTOCOLS:
            bones = [np.linalg.norm(j[:, 9] - j[:, 0], axis=-1) for j in joints]
            scale = (bones[0] / bones[1])[:, None, None] if scaled else np.float32(1)
            roots = [j[:, root, None] for j in joints]
            apart = [
                np.linalg.norm((other - roots[1]) * scale - (own - roots[0]), axis=-1)
                for own, other in (joints, (truth, predicted))
            ]
            errors.setdefault(name, []).append([each.mean() * 1000 for each in apart])
            if not name:
                file.replace({f"{side}_gt_joints_regressed": joints[0], f"{side}_joint_err_m": apart[0]})
                file.replace({f"{side}_vert_err_m": apart[1][:, ::7], f"{side}_mpjpe_mm": errors[name][-1][0]})
                file.replace({f"{side}_mpvpe_mm": errors[name][-1][1]})
    for name, values in errors.items():
        file.replace(dict(zip((f"{name}mpjpe_mm", f"{name}mpvpe_mm"), np.mean(values, 0), strict=True)))
    fill_interhand(file, rng)


PROTOCOLS = (
    ("", 9, True),
    ("own_mcp_noscale_", 9, False),
    ("own_wrist_scale_", 0, True),
    ("own_wrist_noscale_", 0, False),
)


def fill_interhand(file: Recorder, rng: np.random.Generator) -> None:
    """InterHand2.6M's protocol, joint after joint."""
    kinds = json.loads(file["ih_hand_type"].tobytes())
    file.replace({f"ih_gt_cam_{n}": file[f"ih_gt_cam_{n}"] + rng.normal(0, 5, (42, 3)) for n in range(10)})
    valid = np.stack([file[f"ih_valid_{n}"] for n in range(10)]) > 0
    truth = np.stack([file[f"ih_gt_cam_{n}"] for n in range(10)])
    bins = file["ih_pred_joint_hm"] + rng.normal(0, 0.5, (10, 42, 3))
    file.replace(
        {"ih_pred_joint_hm": bins, "ih_pred_rel_root_hm": file["ih_pred_rel_root_hm"] + rng.normal(0, 0.5, 10)}
    )
    bins = file["ih_pred_joint_hm"]

    def depth(value):
        return (value / 64 * 2 - 1) * 200

    def back(frame, joint, z):
        u, v = file["ih_inv_trans"][frame].astype(float) @ [4 * bins[frame, joint, 0], 4 * bins[frame, joint, 1], 1]
        return np.append((np.array([u, v]) - file["ih_princpt"]) / file["ih_focal"] * z, z)

    per_joint: dict[str, list[list[float]]] = {
        kind: [[] for _ in range(42)] for kind in ("all", "single", "interacting")
    }
    offsets = []
    for n, kind in enumerate(kinds):
        for j in range(42):
            wrist = 20 if j < 21 else 41
            if valid[n, j] and valid[n, wrist]:
                z = truth[n, wrist, 2]
                own = back(n, j, z + depth(bins[n, j, 2])) - back(n, wrist, z + depth(bins[n, wrist, 2]))
                error = np.linalg.norm(own - (truth[n, j] - truth[n, wrist]))
                per_joint["all"][j].append(error)
                per_joint["interacting" if kind == "interacting" else "single"][j].append(error)
        if kind == "interacting" and valid[n, 20] and valid[n, 41]:
            z = truth[n, 20, 2]
            left = back(n, 41, z + depth(file["ih_pred_rel_root_hm"][n]) + depth(bins[n, 41, 2]))
            right = back(n, 20, z + depth(bins[n, 20, 2]))
            offsets.append(np.linalg.norm((left - right) - (truth[n, 41] - truth[n, 20])))
    means = {kind: np.mean([np.mean(each) for each in joints if each]) for kind, joints in per_joint.items()}
    file.replace({f"ih_mpjpe_{kind}_mm_2dec": round(float(mean), 2) for kind, mean in means.items()})
    file.replace({"ih_mrrpe_mm": np.mean(offsets)})


def fill_halo_metrics_mise(file: Recorder, rng: np.random.Generator) -> None:
    """Overlaps, distances and inside tests by the formulas; searches stay the given file's."""
    occupied = {f"iou_occ{k}": rng.random((6, 500)) * (np.arange(6) != 1)[:, None] * 0.9 for k in (1, 2)}
    clouds = {
        f"pc_{kind}{part}": rng.standard_normal((count, 3))
        for kind, count in (("pred", 400), ("gt", 300))
        for part in ("", "_normals")
    }
    file.replace(occupied | clouds)
    overlap = intersection_over_union(file["iou_occ1"], file["iou_occ2"])
    file.replace({"iou": overlap, "iou_1d": overlap[0], "iou_3d": overlap})
    found = surface_distances(*(file[f"pc_{name}"] for name in ("pred", "pred_normals", "gt", "gt_normals")))
    file.replace({f"pc_{name.replace('_l', '_L')}": value for name, value in found.items()})
    apart = np.linalg.norm(file["pc_pred"][:, None] - file["pc_gt"], axis=-1)
    normals = [
        each / np.linalg.norm(each, axis=1, keepdims=True) for each in (file["pc_pred_normals"], file["pc_gt_normals"])
    ]
    file.replace(
        {"p2p_dist": apart.min(1), "p2p_normal_dot": np.abs((normals[0] * normals[1][apart.argmin(1)]).sum(1))}
    )
    # Points of the box's lattice lie on edges and faces, where any turn but an exchange of axes leaves the answer to rounding.
    turns = {"torus": rodrigues(rng.standard_normal((1, 3)))[0], "box": np.eye(3)[rng.permutation(3)]}
    for name, mesh in (("torus", "torus"), ("box", "box"), ("box_lattice", "box")):
        file.replace({f"contains_{name}_points": file[f"contains_{name}_points"] @ turns[mesh].T})
    for mesh, turn in turns.items():
        file.replace({f"contains_{mesh}_verts": file[f"contains_{mesh}_verts"] @ turn.T})
    for name, mesh in (("torus", "torus"), ("box", "box"), ("box_lattice", "box")):
        surface = file[f"contains_{mesh}_verts"], file[f"contains_{mesh}_faces"]
        file.replace({f"contains_{name}": published_parity(*surface, file[f"contains_{name}_points"])})


LIGHT = {
    "halo_keypoints": fill_halo_keypoints,
    "halo_frames": fill_halo_frames,
    "halo_decoder": fill_halo_decoder,
    "halo_metrics_mise": fill_halo_metrics_mise,
}


def write_light_files(seed: int, folder: Path) -> dict[str, Path]:
    """Files of all cases without a full-size network; their paths by case."""
    hands = Recorder.of("mano_forward")
    fill_mano_forward(hands, np.random.default_rng([seed, 0]))
    files = {"mano_forward": hands, "metrics": Recorder.of("metrics")}
    fill_metrics(files["metrics"], np.random.default_rng([seed, 1]), hands)
    for place, (case, fill) in enumerate(LIGHT.items()):
        files[case] = Recorder.of(case)
        fill(files[case], np.random.default_rng([seed, 2 + place]))
    for file in files.values():
        file.write(folder)
    return {case: folder / f"{case} of another seed.npz" for case in files}
