"""The fast painter of crops against its plain form, part by part."""

from dataclasses import replace

import numpy as np
import pytest

from im2hands.datasets.synthetic import crop_looks, crops
from im2hands.datasets.synthetic.crop_clothes import Clothing, worn_at
from im2hands.datasets.synthetic.crop_painter import CropPainter
from im2hands.datasets.synthetic.crop_poses import PairSource
from im2hands.datasets.synthetic.crop_skin import TexelPlan, read_texel, texel_at
from im2hands.datasets.synthetic.forearm import Arm
from im2hands.datasets.synthetic.render import HandPainter, Light
from im2hands.datasets.synthetic.skin import BLOOD, NAIL, PALM, paint
from im2hands.geometry.cameras import CROP_SIZE, Camera
from im2hands.hands.model_files import builtin_hand_models
from im2hands.hands.sides import Side
from im2hands.rendering.shading import tone_curve
from tests.naive.crop_painter import dressed, painted_canvas

MODELS = builtin_hand_models()
WORLD = Camera(np.eye(3), np.eye(3), np.zeros(3))
SIZE = 224
PLAIN = Clothing(np.full(3, 0.1), np.full(3, 0.6), 9.0, None, None, np.array([0.9, 0.7, 0.3]), (), None)
EVERYTHING = replace(PLAIN, sleeve=45.0, watch=(20.0, 36.0), rings=((1, 0), (2, 2)), nails=np.array([0.7, 0.05, 0.1]))


@pytest.fixture(scope="module")
def painter():
    return CropPainter(MODELS)


@pytest.fixture(scope="module")
def pair():
    return PairSource(MODELS, 5).pair(3)


@pytest.mark.parametrize("clothing", [PLAIN, EVERYTHING])
def test_equals_the_plain_form(painter, pair, clothing):
    """Same pixels, same colours but for the grain of the skin and the rims of shadows."""
    rng = np.random.default_rng(3)
    arms = {side: Arm(np.zeros(3), np.zeros(3)) for side in Side}
    camera = crops.draw_camera(rng, pair, np.array([[1.0, 0, 0], [1.0, 0, 0]]))
    camera = replace(camera, intrinsics=np.diag([SIZE / CROP_SIZE, SIZE / CROP_SIZE, 1]) @ camera.intrinsics)
    light, canvas = Light.draw(rng), np.full((SIZE, SIZE, 3), -1, np.float32)
    plain = HandPainter(MODELS)
    scene = plain.scene({side: pair.fits[side] for side in Side}, arms, WORLD)
    scene = replace(scene, vertices=camera.to_camera(scene.vertices), normals=scene.normals @ camera.rotation.T)
    expected, covered = painted_canvas(
        plain, scene, light, camera.intrinsics, pair.person, clothing, painter.joints, canvas
    )
    painter.paint(canvas, painter.scene(pair, arms), camera, light, pair.person, clothing)
    assert covered.sum() > 3000
    assert ((canvas[..., 0] >= 0) != covered).sum() <= 3
    difference = np.abs(canvas - expected)[covered].max(1)
    assert np.median(difference) < 0.015
    assert np.quantile(difference, 0.95) < 0.06
    assert np.abs((canvas - expected)[covered].mean(0)).max() < 0.002


def test_scene_is_that_of_the_plain_form(painter, pair):
    arms = {side: Arm(np.array([0.02, 0.1, -0.2]), np.array([0.0, 0.4, 0.1])) for side in Side}
    scene = painter.scene(pair, arms)
    plain = HandPainter(MODELS).scene({side: pair.fits[side] for side in (Side.LEFT, Side.RIGHT)}, arms, WORLD)
    place = painter.coarse  # old vertices are numbered alike
    for start, own in ((0, 0), (painter.count, len(plain.vertices) - painter.count)):
        one, other = slice(start, start + place), slice(own, own + place)
        np.testing.assert_allclose(scene.vertices[one], plain.vertices[other], atol=1e-7)
        np.testing.assert_allclose(scene.given[one, 5:], plain.fields[other, :3], atol=1e-4)
        hand = np.delete(np.arange(778), MODELS[Side.RIGHT].wrist_ring)  # the arm's triangles are cut the other way
        assert (scene.given[one, :3][hand] * plain.normals[other][hand]).sum(1).min() > 0.999
        assert np.abs(scene.given[one, 3] - plain.sky[other])[hand].mean() < 0.01


def test_every_texel_is_read_where_it_was_painted(painter):
    """The number of a place is that of the texel whose centre it is; none of a triangle is left out."""
    plan = painter.plan
    for face in (0, 100, 6500, len(plan.sides) - 1):
        side, found = plan.sides[face], []
        for i in range(side):
            for half in range(2 * (side - i) - 1):
                inside = (1 + half % 2) / 3
                found.append(texel_at(plan.starts, plan.sides, face, (i + inside) / side, (half // 2 + inside) / side))
        assert found == list(range(plan.starts[face], plan.starts[face] + side * side))
    for second, third in ((0, 0), (1, 0), (0, 1), (0.5, 0.5), (-1e-9, 1.0), (1 / 3, 1 / 3)):
        assert 0 <= texel_at(plan.starts, plan.sides, 7, second, third) - plan.starts[7] < plan.sides[7] ** 2


def test_painted_once_is_painted_at_every_place(painter, pair):
    """Texels made ever smaller show what `paint` shows at the place itself."""
    rng, person, faces = np.random.default_rng(0), pair.person, painter.finer.faces
    fields, chosen = painter.finer.attributes(painter.skin.fields), rng.integers(0, 6000, 500)
    weights = rng.dirichlet(np.ones(3), 500)
    at = (fields[faces[chosen]] * weights[..., None]).sum(1)
    points = np.ascontiguousarray(at[:, :3])
    skin, tone, seed = painter.skin, person.tone, person.skin_seed
    expected = paint(points, at[:, 3].copy(), at[:, 4].copy(), skin.nails, skin.creases, tone, PALM, NAIL, BLOOD, seed)
    errors = []
    for texel in (2.8, 0.7, 0.2):
        plan = TexelPlan.of(fields, faces[:6000], texel)
        texels = plan.painted(skin, tone, seed)
        places = [texel_at(plan.starts, plan.sides, f, w[1], w[2]) for f, w in zip(chosen, weights, strict=True)]
        seen = np.array([read_texel(texels, place) for place in places])
        errors.append(np.abs(seen - expected)[:, [0, 1, 2, 4, 5, 6]].mean())
    assert errors[0] > 1.8 * errors[1] > 3 * errors[2]
    assert errors[2] < 0.006


def test_worn_equals_the_plain_form(painter):
    rng = np.random.default_rng(1)
    rest = painter.rest[rng.integers(0, painter.count, 3000)] + rng.normal(0, 1, (3000, 3))
    skin, label = rng.uniform(0, 1, (3000, 7)), rng.integers(1, 5, 3000)
    for clothing in (PLAIN, EVERYTHING, *(Clothing.draw(rng) for _ in range(6))):
        worn, rings = clothing.rows(painter.joints)
        found = [worn_at(tuple(skin[i]), *rest[i], label[i], worn, rings) for i in range(3000)]
        np.testing.assert_allclose(found, dressed(skin, rest, label, clothing, painter.joints), atol=1e-9)


@pytest.mark.parametrize("grey", [False, True])
def test_developed_equals_the_plain_form(grey):
    rng = np.random.default_rng(2)
    light, exposure = rng.uniform(-0.1, 2, (7, 9, 3)).astype(np.float32), np.array([0.8, 1.0, 1.3])
    rows = rng.integers(0, 1000, 7)
    found = crop_looks._developed(light, exposure, grey, 0.02, rows, crop_looks.NOISE, crop_looks.TONES)
    image = tone_curve(light * exposure)
    if grey:
        image = np.repeat(image @ crop_looks.GREY, 3).reshape(image.shape)
    noise = np.stack([crop_looks.NOISE[row : row + 27].reshape(9, 3) for row in rows])
    expected = np.rint(np.clip(image + 0.02 * noise, 0, 1) * 255)
    assert np.abs(found[..., ::-1] - expected).max() <= 2  # the table's steps, in the dark
    assert np.abs(found[..., ::-1] - expected).mean() < 0.1


def test_covers_and_modulates_as_the_plain_form():
    rng = np.random.default_rng(4)
    image, layer = rng.uniform(0, 1, (6, 5, 3)).astype(np.float32), rng.integers(0, 256, (6, 5)).astype(np.uint8)
    shades, colour = rng.uniform(0, 2, (6, 5)).astype(np.float32), rng.uniform(0, 1, 3)
    share = 0.6 * layer[..., None] / 255
    expected = (1 - share) * image + share * shades[..., None] * colour
    crop_looks._cover(image, layer, 0.6, colour, shades)
    np.testing.assert_allclose(image, expected, atol=1e-6)
    expected = image * (1 + 0.3 * shades[..., None])
    crop_looks._modulate(image, shades, 0.3)
    np.testing.assert_allclose(image, expected, atol=1e-6)
