"""Golden case `halo_frames`: coordinate frames of queries, anchors, keypoints and exported meshes of three hand pairs."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from im2hands.geometry.feature_sampling import published_grid, sample_features, to_camera, to_pixels
from im2hands.hands.bone_frames import canonical_frames, published_decoder_inputs, to_right_hand_space
from im2hands.hands.frames import (
    PalmFrames,
    RefinementKeypoints,
    anchors_to_world,
    attention_coordinates,
    decoder_coordinates,
    mirrored_wrist,
    other_hands_points,
    published_initial_mesh,
    refinement_coordinates,
)
from im2hands.hands.joints import JointOrder, reorder
from im2hands.hands.sides import Side
from im2hands.hands.unfolding import unfold
from im2hands.parity.case import Case, Comparison, Golden, GoldenFolder
from im2hands.parity.published_bends import rounding_of_inputs


def run(golden: Golden, folder: GoldenFolder) -> Iterator[Comparison]:
    pairs = _Pairs(golden)
    for side in Side:
        yield from pairs.hand_frames(side)
        yield from pairs.seen_points(side)
        yield from pairs.network_coordinates(side)
        yield from pairs.meshes(side)
    yield from pairs.keypoint_refinement()


class _Pairs:
    """The file's hand pairs and cameras, and comparisons of one group of fields each."""

    def __init__(self, golden: Golden) -> None:
        self.golden = golden
        self.rotation, self.translation = self._tensor("camera_R"), self._tensor("camera_t")
        self.intrinsics = self._tensor("camera_K")
        self.keypoints = {side: self._tensor(f"{side.value}_joints_world_m") for side in Side}
        self.hands = {
            side: canonical_frames(keypoints, side, angle_clamp="published", degenerate_hands="published")
            for side, keypoints in self.keypoints.items()
        }
        self.palms = {side: PalmFrames(hand.wrist, hand.palm_rotation, side) for side, hand in self.hands.items()}
        self.queries = {side: self._tensor(f"{side.value}_query") for side in Side}

    def hand_frames(self, side: Side) -> Iterator[Comparison]:
        hand, name = self.hands[side], side.value
        yield self._compare(f"{name}_root_xyz", mirrored_wrist(hand.wrist, side))
        joints, _ = to_right_hand_space(self.keypoints[side], side)
        steps = unfold(reorder(joints, JointOrder.STANDARD, JointOrder.BIOMECH), "published", "published")
        inputs = published_decoder_inputs(hand.bone_from_palm)
        yield self.golden.compare(f"{name}_inputs", inputs, "inputs", slack=rounding_of_inputs(steps))
        yield self._compare(f"{name}_bone_lengths", hand.bone_lengths, "bone_lengths")
        palm = torch.eye(4, dtype=torch.float64).repeat(len(hand.wrist), 1, 1)
        palm[:, :3, :3] = hand.palm_rotation
        yield self._compare(f"{name}_root_rot_mat", palm, "root_rot_mat")
        yield self._compare(f"{name}_kptsref_dataset_joints", reorder(joints, JointOrder.STANDARD, JointOrder.MANO))
        in_palm = self.palms[side].from_world(self.keypoints[side])
        yield self.golden.compare(f"{name}_query", in_palm.numpy(), where=(slice(None), slice(0, 21)))

    def seen_points(self, side: Side) -> Iterator[Comparison]:
        name = side.value
        queries = to_camera(self.palms[side].to_world(self.queries[side]), self.rotation, self.translation)
        yield self._compare(f"{name}_pixels", to_pixels(queries, self.intrinsics), "pixels")
        yield from self._sampled(f"{name}_refocc", queries)
        anchors = anchors_to_world(self._tensor(f"{name}_anchor_mm"), self.hands[side].wrist)
        yield from self._sampled(f"{name}_anchor", to_camera(anchors, self.rotation, self.translation))

    def network_coordinates(self, side: Side) -> Iterator[Comparison]:
        for source, label in ((side, "init"), (side.other, "pen")):
            points = self.palms[source].to_world(self.queries[source])
            camera = to_camera(points, self.rotation, self.translation)
            wrist = to_camera(self.hands[source].wrist[:, None], self.rotation, self.translation)[:, 0]
            attention = attention_coordinates(camera, wrist, depth_reference="published")
            yield self._compare(f"{side.value}_{label}_attention_xyz", attention)
            palm_points = self.queries[source]
            if source is not side:
                frames = self.palms[source], self.palms[side]
                palm_points = other_hands_points(palm_points, *frames, penetration_frame="published")
            yield self._compare(f"{side.value}_{label}_decoder_xyz", decoder_coordinates(palm_points))

    def meshes(self, side: Side) -> Iterator[Comparison]:
        count = len(self.hands[side].wrist)
        vertices = self._tensor("mesh_in_vertices").expand(count, -1, -1)
        faces = side.mirror_faces(torch.from_numpy(self.golden["mesh_in_faces"])).expand(count, -1, -1)
        initial = published_initial_mesh(vertices, self.palms[side])
        yield self._compare(f"{side.value}_init_mesh_vertices", initial, "millimetres")
        yield self._compare(f"{side.value}_ref_mesh_vertices", self.palms[side].to_world(vertices))
        for stage in ("init", "ref"):
            yield self._compare(f"{side.value}_{stage}_mesh_faces", faces)

    def keypoint_refinement(self) -> Iterator[Comparison]:
        camera = {side: to_camera(self.keypoints[side], self.rotation, self.translation) for side in Side}
        pair = RefinementKeypoints.of(camera[Side.LEFT], camera[Side.RIGHT])
        yield self._compare("kptsref_left_mid_m", pair.origin)
        for side, keypoints in ((Side.LEFT, pair.left), (Side.RIGHT, pair.right)):
            in_mano_order = reorder(keypoints, JointOrder.STANDARD, JointOrder.MANO)
            yield self._compare(f"{side.value}_kptsref_input_mm", in_mano_order, "millimetres")

    def _sampled(self, prefix: str, camera: Tensor) -> Iterator[Comparison]:
        pixels = to_pixels(camera, self.intrinsics)
        features = _feature_map().expand(len(pixels), -1, -1, -1)
        given = (
            self._tensor(f"{prefix}_grid") + 1
        ) * 128  # of the file: across the map's edge features fall to 0 within a pixel
        yield self._compare(f"{prefix}_points", refinement_coordinates(camera))
        yield self._compare(f"{prefix}_grid", published_grid(pixels), "grid")
        yield self._compare(f"{prefix}_sampled", sample_features(features, given, "published"), "sampled")

    def _tensor(self, field: str) -> Tensor:
        return torch.from_numpy(self.golden[field]).double()

    def _compare(self, field: str, ours: Tensor, key: str | None = None) -> Comparison:
        return self.golden.compare(field, ours.numpy(), key)


def _feature_map() -> Tensor:
    """The map the file's features were read from: row / 255, column / 255 and a wave."""
    row, column = torch.meshgrid(torch.arange(256.0), torch.arange(256.0), indexing="ij")
    wave = torch.sin(0.05 * row) + torch.cos(0.03 * column)
    return torch.stack([row / 255, column / 255, wave])[None].double()


CASE = Case("halo_frames", frozenset({"camera_K", "left_refocc_grid", "kptsref_left_mid_m"}), run)
