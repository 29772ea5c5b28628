"""The drawn crops of the package with another hand in place of ours: the same poses, cameras, lights, skin and backgrounds.

Skin is painted at rest coordinates of our template; each point of the other hand is painted as the nearest point of ours when
both lie on one another at rest. World, metres.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numba
import numpy as np
from jaxtyping import Float, Float32, Int, UInt8
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from im2hands.datasets.synthetic.contact import SurfaceSamples
from im2hands.datasets.synthetic.crop_clothes import Clothing, worn_at
from im2hands.datasets.synthetic.crop_painter import LIFT, SHADOW_CELL, SHADOW_SIZE, SHADOW_TAPS
from im2hands.datasets.synthetic.crop_poses import MAX_PAIR_DEPTH, DrawnPair, Person
from im2hands.datasets.synthetic.crops import VIEWS, CropSource
from im2hands.datasets.synthetic.forearm import LENGTHS, Arm, Forearm
from im2hands.datasets.synthetic.render import (
    ARM_ENDS,
    LABELS,
    MAX_SHADOW_BIAS,
    SHADOW_BIAS,
    SHADOW_SOFTNESS,
    SKY_RADIUS,
    Light,
    as_numbers,
    lit_at,
)
from im2hands.datasets.synthetic.sequences import Fit
from im2hands.datasets.synthetic.skin import BLOOD, NAIL, PALM, SkinFields, paint
from im2hands.geometry.cameras import Camera, project
from im2hands.hands.model import HandModel
from im2hands.hands.sides import SIDES, Side
from im2hands.rendering.rasterizer import COMPILE, rasterize
from im2hands.rendering.shading import ShadowMap, openness, vertex_normals
from tools.other_hand.hand import OtherHand, wrist_ring

FARTHEST_PUSH, PUSHES = 0.025, 12
"""How far (m) the left hand may be moved out of the right one, and in how many steps."""
SPLITS = 8
"""Parts of a triangle's sides between the points that are searched for the nearest one."""


@dataclass(frozen=True)
class PlacedPair:
    """The other hands in the pose of a pair of ours. moved: how far (m) the left one was pushed out of the right one.

    depth: how deep (m) one hand is in the other all the same.
    """

    vertices: Mapping[Side, Float[np.ndarray, "vertices 3"]]
    keypoints: Mapping[Side, Float[np.ndarray, "21 3"]]
    moved: float
    depth: float

    @property
    def usable(self) -> bool:
        """Whether the hands run into each other no deeper than those of our own pictures may."""
        return self.depth <= MAX_PAIR_DEPTH


@dataclass(frozen=True)
class PairedCrop:
    """A crop of the other hands and the same crop of ours; keypoints: world, metres, left and right."""

    camera: Camera
    own: UInt8[np.ndarray, "size size 3"]
    own_keypoints: Float[np.ndarray, "2 21 3"]
    other: UInt8[np.ndarray, "size size 3"]
    other_keypoints: Float[np.ndarray, "2 21 3"]


class PairedCrops:
    """Crops of a seed (see `CropSource`), drawn with both hands. models: ours.  hand: the other one."""

    def __init__(self, models: Mapping[Side, HandModel], hand: OtherHand, seed: int) -> None:
        self.models = models
        self.own, self.other = CropSource(models, seed), CropSource(models, seed)
        self.other.painter = self.painter = OtherHandPainter(models, hand)

    def placed(self, pose: int) -> PlacedPair:
        """The other hands of pose `pose`."""
        return self.painter.placed(self.own.pairs.pair(pose).fits)

    def crop(self, number: int) -> PairedCrop:
        """View `number % VIEWS` of pose `number // VIEWS`, with both hands."""
        own, other = self.own.crop(number), self.other.crop(number)
        placed = self.placed(number // VIEWS)
        keypoints = [
            self.models[side].regress(own.vertices[side.index][None])[0].numpy() for side in SIDES
        ]  # as the network's are: by the regressor on the vertices
        return PairedCrop(
            own.camera,
            own.image,
            np.stack(keypoints),
            other.image,
            np.stack([placed.keypoints[side] for side in SIDES]),
        )


@dataclass(frozen=True)
class OtherScene:
    """Both other hands and their forearms in the world, metres; left, then right. middle: of the hands.

    sky: openness of the vertices.
    """

    middle: Float[np.ndarray, "3"]
    vertices: Float[np.ndarray, "vertices 3"]
    normals: Float[np.ndarray, "vertices 3"]
    sky: Float[np.ndarray, "vertices"]


class OtherHandPainter:
    """Paints pairs of ours as the other hand, in the place of a `CropPainter`. forearms: ours.  arms: the other hand's.

    faces, label, fields: of a scene; its triangles, 1 and 2 for those of hands, 3 and 4 for forearms, and per vertex what
    painting skin needs (see `SkinFields`).
    """

    def __init__(self, models: Mapping[Side, HandModel], hand: OtherHand) -> None:
        self.models, self.hand = models, hand
        self.forearms = {side: Forearm(models[side]) for side in Side}
        model, own_arm = models[Side.RIGHT], self.forearms[Side.RIGHT]
        self.skin = SkinFields.of(model, own_arm)
        self.joints = 1000 * (model.joint_regressor @ model.template).numpy()
        rest = hand.on_rest(model)
        self.arms = {
            side: OtherForearm(hand, side.mirror_points(rest), side, self.forearms[side].axis) for side in Side
        }
        arm = self.arms[Side.RIGHT]
        template = np.concatenate([model.template.numpy(), own_arm.rest])
        fields = at_nearest(np.concatenate([rest, arm.rest]), template, own_arm.faces, self.skin.fields)
        fields[len(rest) :, :3] = 1000 * arm.rest
        self.fields = np.tile(fields, (2, 1))
        self.faces = np.concatenate([self.arms[side].faces + place * len(fields) for place, side in enumerate(SIDES)])
        of_arm = np.arange(len(arm.faces)) >= len(arm.hand_faces)
        self.label = np.concatenate([LABELS[side] + len(LABELS) * of_arm for side in SIDES])

    def placed(self, fits: Mapping[Side, Fit]) -> PlacedPair:
        """Both hands in the poses of fits, the left one moved out of the right one where its other shape runs into it."""
        vertices, keypoints = {}, {}
        for side in Side:
            vertices[side], keypoints[side] = self.hand.like(self.models[side], fits[side])
        shift, depth = push_out(vertices, {side: arm.hand_faces for side, arm in self.arms.items()})
        vertices[Side.LEFT] = vertices[Side.LEFT] + shift
        keypoints[Side.LEFT] = keypoints[Side.LEFT] + shift
        return PlacedPair(vertices, keypoints, float(np.linalg.norm(shift)), depth)

    def scene(self, pair: DrawnPair, arms: Mapping[Side, Arm]) -> OtherScene:
        """As `CropPainter.scene`; the mesh is fine enough as it is."""
        hands, together = self.placed(pair.fits).vertices, []
        for side in SIDES:
            root = Rotation.from_rotvec(pair.fits[side].pose[:3]).as_matrix()
            arm = self.arms[side].vertices(hands[side], root, arms[side].bend, arms[side].elbow)
            together += [hands[side], arm]
        vertices = np.concatenate(together)
        normals = vertex_normals(vertices, self.faces)
        middle = (hands[Side.LEFT].mean(0) + hands[Side.RIGHT].mean(0)) / 2
        return OtherScene(middle, vertices, normals, openness(vertices, normals, self.faces, middle, SKY_RADIUS))

    def paint(
        self,
        canvas: Float32[np.ndarray, "height width 3"],
        scene: OtherScene,
        camera: Camera,
        light: Light,
        person: Person,
        clothing: Clothing,
    ) -> None:
        """As `CropPainter.paint`, one step after another over whole arrays; the skin is painted at every pixel."""
        points = camera.to_camera(scene.vertices)
        depth = np.where(points[:, 2] >= ARM_ENDS, points[:, 2], 0.0)
        in_front = np.where(depth[:, None] > 0, points, [0, 0, 1.0])
        raster = rasterize(project(in_front, camera.intrinsics), depth, self.faces, *canvas.shape[:2])
        given = np.column_stack([points, scene.normals @ camera.rotation.T, scene.sky, self.fields])
        at = raster.interpolate(given, self.faces)
        seen, normals, sky, rest = at[:, :3], at[:, 3:6], at[:, 6], np.ascontiguousarray(at[:, 7:10])
        facing = np.clip(normals @ light.key, 0.15, 1.0)
        bias = np.minimum(SHADOW_BIAS + SHADOW_SOFTNESS * np.sqrt(1 - facing**2) / facing, MAX_SHADOW_BIAS)
        middle = camera.to_camera(scene.middle)
        shadow = ShadowMap(points, self.faces, light.key, SHADOW_CELL, middle, SHADOW_SIZE)
        reached = shadow.light(seen + LIFT * normals, bias, SHADOW_SOFTNESS, SHADOW_TAPS)
        skin, tone, seed = self.skin, person.tone, person.skin_seed
        painted = paint(rest, at[:, 10], at[:, 11], skin.nails, skin.creases, tone, PALM, NAIL, BLOOD, seed)
        label = self.label[raster.triangle[raster.covered]]
        canvas[raster.covered] = _dressed_and_lit(
            seen, normals, sky, reached, painted, rest, label, clothing.rows(self.joints), light.rows()
        )


class OtherForearm(Forearm):
    """The arm of another hand, which begins in its wrist ring.

    rest: the hand laid on our template of that side.  axis: of our own forearm, so that both arms go the same way.
    """

    def __init__(
        self, hand: OtherHand, rest: Float[np.ndarray, "vertices 3"], side: Side, axis: Float[np.ndarray, "3"]
    ) -> None:
        self.ring, self.axis = (
            wrist_ring(hand.faces),
            axis,
        )  # in one order for both sides, which share the skin's fields
        self.faces = side.mirror_faces(np.concatenate([hand.faces, _tube(self.ring, len(hand.vertices))]))
        self.hand_faces = self.faces[: len(hand.faces)]
        self.rest = self.vertices(rest, np.eye(3), np.zeros(3), np.zeros(3))


def _tube(ring: Int[np.ndarray, "ring"], first: int) -> Int[np.ndarray, "faces 3"]:
    """Triangles from the ring, along which the hand's boundary edges run, over the arm's rings to its end; wound alike."""
    count = len(ring)
    loops = np.stack([ring, *(first + count * k + np.arange(count) for k in range(len(LENGTHS)))])
    near, far = loops[:-1], loops[1:]
    near_next, far_next = np.roll(near, -1, axis=1), np.roll(far, -1, axis=1)
    strips = [np.stack([near_next, near, far], -1), np.stack([near_next, far, far_next], -1)]
    end = np.full(count, first + count * len(LENGTHS))
    cap = np.stack([np.roll(loops[-1], -1), loops[-1], end], -1)
    return np.concatenate([*(strip.reshape(-1, 3) for strip in strips), cap])


@numba.njit(**COMPILE)
def _dressed_and_lit(points, normals, skies, reached, painted, rest, label, clothing, lights):
    """Linear colours of n pixels. painted: rows of `skin.paint` at rest (template, mm).  label: of the triangles.

    clothing: of `Clothing.rows`.  lights: of `Light.rows`.  Others as `lit_at` takes them.
    """
    count, (worn, rings), lights = points.shape[0], clothing, as_numbers(lights)
    colours = np.empty((count, 3))
    for i in range(count):
        bare, at, sky = painted[i], rest[i], skies[i]
        skin = (bare[0], bare[1], bare[2], bare[3], bare[4], bare[5], bare[6])
        red, green, blue, nail, tilt_x, tilt_y, tilt_z = worn_at(skin, at[0], at[1], at[2], label[i], worn, rings)
        colours[i, 0], colours[i, 1], colours[i, 2] = lit_at(
            (points[i, 0], points[i, 1], points[i, 2]),
            (normals[i, 0], normals[i, 1], normals[i, 2]),
            (tilt_x, tilt_y, tilt_z),
            (red, green, blue),
            nail,
            sky,
            (sky ** (1.0 - 0.25 * red), sky ** (1.0 - 0.25 * green), sky ** (1.0 - 0.25 * blue)),
            reached[i],
            lights,
        )
    return colours


def push_out(
    vertices: Mapping[Side, Float[np.ndarray, "vertices 3"]], faces: Mapping[Side, Int[np.ndarray, "faces 3"]]
) -> tuple[Float[np.ndarray, "3"], float]:
    """Shift of the left hand (m) that takes it out of the right one as far as our own pairs are, and the depth that is left."""
    right, left = (SurfaceSamples.of(vertices[side], faces[side]) for side in (Side.RIGHT, Side.LEFT))
    shift, best = np.zeros(3), (np.zeros(3), np.inf)
    for _ in range(PUSHES):
        deep, way = _deepest(right, vertices[Side.LEFT] + shift)
        other_deep, other_way = _deepest(left, vertices[Side.RIGHT] - shift)
        if max(deep, other_deep) < best[1]:
            best = shift, max(deep, other_deep)
        if best[1] <= MAX_PAIR_DEPTH:
            break
        way = way if deep >= other_deep else -other_way
        shift = shift + (max(deep, other_deep) - 0.7 * MAX_PAIR_DEPTH) * way
        if np.linalg.norm(shift) > FARTHEST_PUSH:
            break
    return best


def _deepest(surface: SurfaceSamples, points: Float[np.ndarray, "n 3"]) -> tuple[float, Float[np.ndarray, "3"]]:
    """How deep the deepest point is behind the surface (m, negative outside), and the way out: the mean normal there."""
    depth, _ = surface.depth_and_distance(points)
    distance, nearest = surface.tree.query(points)
    depths = ((surface.points[nearest] - points) * surface.normals[nearest]).sum(1)
    inside = (depths > 0.5 * depth) & (distance < 0.018)
    if depth <= 0 or not inside.any():
        return depth, np.zeros(3)
    way = (depths[inside, None] * surface.normals[nearest[inside]]).sum(0)
    return depth, way / max(np.linalg.norm(way), 1e-9)


def at_nearest(
    points: Float[np.ndarray, "points 3"],
    vertices: Float[np.ndarray, "vertices 3"],
    faces: Int[np.ndarray, "faces 3"],
    values: Float[np.ndarray, "vertices channels"],
) -> Float[np.ndarray, "points channels"]:
    """Values of a mesh's vertices at the places of the mesh nearest to points, or beside them by a fraction of a triangle."""
    steps = np.arange(SPLITS + 1)
    shares = np.array([(a, b, SPLITS - a - b) for a in steps for b in steps if a + b <= SPLITS]) / SPLITS
    places = np.einsum("sk,fkc->fsc", shares, vertices[faces])
    face = cKDTree(places.reshape(-1, 3)).query(points)[1] // len(shares)
    corners = vertices[faces[face]]
    edges, offset = corners[:, 1:] - corners[:, :1], points - corners[:, 0]
    gram, right = np.einsum("nic,njc->nij", edges, edges), np.einsum("nic,nc->ni", edges, offset)
    along = np.linalg.solve(gram, right[..., None])[..., 0]
    weights = np.clip(np.column_stack([1 - along.sum(1), along]), 0, None)
    return np.einsum("nk,nkc->nc", weights / weights.sum(1, keepdims=True), values[faces[face]])
