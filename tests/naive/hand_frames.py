"""Frames of queries, anchors, keypoints and meshes as the specification lists them, one hand after another, in float32.

The fields of a file `halo_frames`, from cameras, world joints, queries and anchors. Lengths in metres unless a name says mm.
"""

from __future__ import annotations

import numpy as np

from tests.naive.published_bones import naive_published_hand

F = np.float32
FLIP = {"left": np.array([-1, 1, 1], F), "right": np.ones(3, F)}
OTHER = {"left": "right", "right": "left"}


def sampled(grid):
    """Of the map (row / 255, column / 255, sin(0.05 row) + cos(0.03 column)), corner-aligned; nothing beyond its edge."""
    index = (grid.astype(float) + 1) / 2 * 255
    low = np.floor(index).astype(int)
    result = np.zeros((*grid.shape[:-1], 3))
    for i in (0, 1):
        for j in (0, 1):
            column, row = low[..., 0] + i, low[..., 1] + j
            weight = (1 - abs(index[..., 0] - column)) * (1 - abs(index[..., 1] - row))
            inside = (column >= 0) & (column <= 255) & (row >= 0) & (row <= 255)
            values = [row / 255, column / 255, np.sin(0.05 * row) + np.cos(0.03 * column)]
            result += np.where(inside, weight, 0)[..., None] * np.stack(values, -1)
    return result.astype(F)


def naive_frames(given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """All other fields from `camera_*`, `<side>_joints_world_m`, `<side>_query`, `<side>_anchor_mm` and `mesh_in_*`."""
    rotation, translation, intrinsics = given["camera_R"], given["camera_t"], given["camera_K"].astype(F)
    count = len(rotation)
    result, camera_queries, in_camera = {}, {}, {}

    def seen(points):
        return points.astype(F) @ rotation.transpose(0, 2, 1) + translation[:, None]

    def looked_up(prefix, points):
        homogeneous = (1000 * points) @ intrinsics.transpose(0, 2, 1)
        pixels = homogeneous[..., :2] / homogeneous[..., 2:]
        grid = ((pixels - 128) / 128).astype(F)
        result[f"{prefix}_points"], result[f"{prefix}_grid"] = points * np.array([1, -1, -1], F), grid
        result[f"{prefix}_sampled"] = sampled(grid)
        return pixels.astype(F)

    for side in ("left", "right"):
        joints = given[f"{side}_joints_world_m"]
        hands = [naive_published_hand(each, side == "left") for each in joints]
        palm = np.stack([hand["root_rot_mat"] for hand in hands])
        root = (joints[:, 0] * FLIP[side]).astype(F)
        world = ((F(0.4) * given[f"{side}_query"]) @ palm[:, :3, :3] + root[:, None]) * FLIP[side]
        camera_queries[side] = seen(world)
        result |= {
            f"{side}_root_xyz": root,
            f"{side}_inputs": np.stack([hand["inputs"] for hand in hands]),
            f"{side}_bone_lengths": np.stack([hand["bone_lengths"] for hand in hands]),
            f"{side}_root_rot_mat": palm,
            f"{side}_kptsref_dataset_joints": np.stack([hand["joints_halo"] for hand in hands]),
            f"{side}_pixels": looked_up(f"{side}_refocc", camera_queries[side]),
        }
        anchors = given[f"{side}_anchor_mm"] / 1000 + (root * FLIP[side])[:, None]
        looked_up(f"{side}_anchor", seen(anchors))
        vertices = given["mesh_in_vertices"]
        faces = given["mesh_in_faces"][:, ::-1] if side == "left" else given["mesh_in_faces"]
        turned = 0.4 * vertices @ palm[:, :3, :3].astype(float)
        result[f"{side}_init_mesh_vertices"] = turned * 1000 * FLIP[side]
        result[f"{side}_ref_mesh_vertices"] = (turned + root[:, None]) * FLIP[side]
        for stage in ("init", "ref"):
            result[f"{side}_{stage}_mesh_faces"] = np.stack([faces] * count)
        world = (result[f"{side}_kptsref_dataset_joints"] + root[:, None]) * FLIP[side]
        in_camera[side] = world @ rotation.transpose(0, 2, 1).astype(float) + translation[:, None]

    for side in ("left", "right"):
        for label, source in (("init", side), ("pen", OTHER[side])):
            attention = camera_queries[source].copy()
            attention[..., 2] -= attention[:, :1, 2].copy()
            result[f"{side}_{label}_attention_xyz"] = attention
            result[f"{side}_{label}_decoder_xyz"] = given[f"{source}_query"] / F(0.4)
        middle = in_camera["left"][:, 4:5]
        result[f"{side}_kptsref_input_mm"] = 1000 * (in_camera[side] - middle)
        result["kptsref_left_mid_m"] = middle
    return result


def palm_points(joints, side):
    """World joints (m, STANDARD) of hands in their palm frames (0.4 m)."""
    palm = np.stack([naive_published_hand(each, side == "left")["root_rot_mat"][:3, :3] for each in joints])
    return ((joints - joints[:, :1]) * FLIP[side] @ palm.transpose(0, 2, 1) / 0.4).astype(F)
