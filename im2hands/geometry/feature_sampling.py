"""Points seen by a camera, and image features read where they are seen; batched torch.

Frames: `world`, `camera` (m, OpenCV axes); pixels are (column, row) with the centre of the top-left pixel at (0, 0), as in
`cameras`. Feature maps cover the same image, whatever their size.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import grid_sample

from im2hands.config.choices import Behaviour
from im2hands.geometry.pieces import in_pieces
from im2hands.io.errors import DataError

IMAGE_SIZE = 256


def to_camera(
    world: Float[Tensor, "batch n 3"], rotation: Float[Tensor, "batch 3 3"], translation: Float[Tensor, "batch 3"]
) -> Float[Tensor, "batch n 3"]:
    """World points (m) in camera frames (m); rotation, translation: world -> camera."""
    return world @ rotation.mT + translation[:, None]


def to_pixels(camera: Float[Tensor, "batch n 3"], intrinsics: Float[Tensor, "batch 3 3"]) -> Float[Tensor, "batch n 2"]:
    """Points of camera frames (any unit) to pixels; points behind the camera land somewhere meaningless."""
    pixels = camera @ intrinsics.mT
    return pixels[..., :2] / pixels[..., 2:]


def published_grid(pixels: Float[Tensor, "*batch 2"], image_size: int = IMAGE_SIZE) -> Float[Tensor, "*batch 2"]:
    """Pixels in the -1 .. 1 coordinates of the published lookup: (u - 128) / 128 for images of 256."""
    return (pixels - image_size / 2) / (image_size / 2)


def sample_features(
    features: Float[Tensor, "batch channels height width"],
    pixels: Float[Tensor, "batch n 2"],
    feature_lookup: Behaviour = "consistent",
    image_size: int = IMAGE_SIZE,
) -> Float[Tensor, "batch n channels"]:
    """Features at pixels by bilinear interpolation; neighbours outside the map count as zero.

    features: a map over the whole square image of `image_size` pixels.
    feature_lookup: "published" takes u / 128 - 1 as corner-aligned coordinates, so that a map of 256 is read at
    u · 255 / 256, as Im2Hands' published weights expect; "consistent" reads at half-pixel centres, which is exact for every
    map size: pixel u is read at (u + 0.5) · width / image_size - 0.5.
    Raises DataError for another value.
    """
    if feature_lookup == "published":
        grid = published_grid(pixels, image_size)
    elif feature_lookup == "consistent":
        grid = (2 * pixels + 1) / image_size - 1
    else:
        raise DataError(f"feature_lookup must be `published` or `consistent`, not {feature_lookup!r}.")
    grid = grid.to(features.dtype)

    def at(part: Float[Tensor, "batch m 2"]) -> Float[Tensor, "batch m channels"]:
        corners = feature_lookup == "published"
        sampled = grid_sample(features, part[:, :, None], mode="bilinear", padding_mode="zeros", align_corners=corners)
        return sampled[..., 0].mT

    return in_pieces(at, grid, 2 * features.shape[0] * features.shape[1])
