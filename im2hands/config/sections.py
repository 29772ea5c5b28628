"""The sections of `params.yaml` but those of the trainings: one class per section, one description per key."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from im2hands.config.base import Fraction, Section


class PerSplit(Section):
    """A whole number for each split."""

    train: int = Field(ge=0, description="for the training split")
    val: int = Field(ge=0, description="for the validation split")
    test: int = Field(ge=0, description="for the test split")

    def __getitem__(self, split: str) -> int:
        return getattr(self, split)


class Dataset(Section):
    root: str = Field(
        description="folder in the layout of InterHand2.6M v1.0; data/raw/synthetic is made by synthesize_dataset"
    )
    hand_model: str = Field(
        description="folder with MANO_LEFT and MANO_RIGHT as .pkl or .npz; data/hand_model is built in"
    )


class SynthesizeDataset(Section):
    poses: PerSplit = Field(description="usable two-hand poses of each split")
    subjects: PerSplit = Field(description="subjects of each split; no subject is in two splits")
    cameras: int = Field(ge=1, le=32, description="cameras that see every pose")
    scale: PositiveFloat = Field(description="multiplies the number of poses")
    supersampling: int = Field(ge=1, le=4, description="images are drawn this many times larger and averaged down")
    jpeg_quality: int = Field(ge=1, le=100, description="JPEG quality of the images")


class IndexFrames(Section):
    min_image_mean: float = Field(
        ge=0, le=255, description="frames with a darker mean over all pixels are dropped as black"
    )
    max_unreadable_fraction: Fraction = Field(
        description="missing, truncated or non-finite inputs up to this share of the two-hand frames are set aside"
    )


class FitHands(Section):
    suspicious_joint_distance_mm: PositiveFloat = Field(
        description="mean distance of annotated joints to the model's above which a hand is listed in the audit"
    )


class NormalizeImages(Section):
    shards: PerSplit = Field(description="number of files")
    size: PositiveInt = Field(description="side of the square crop, pixels")
    hand_share: float = Field(gt=0, le=1, description="part of the crop that the longer side of both hands fills")
    jpeg_quality: int = Field(ge=1, le=100, description="JPEG quality of the crops")
    masks: bool = Field(description="also store hand masks")
    dense_maps: bool = Field(description="also store maps of rest-pose coordinates")
    max_unreadable_fraction: Fraction = Field(description="share of unreadable images that a shard may hold")


class SampleQueries(Section):
    shards: PerSplit = Field(description="number of files")
    uniform_cube: int = Field(ge=0, description="points uniform in the cube of 0.44 m around the wrist, per hand")
    near_surface: int = Field(ge=0, description="points normally distributed about the surface, per hand")
    uniform_hand: int = Field(ge=0, description="points uniform in the hand's bounding box with a margin, per hand")
    near_surface_sigma_mm: PositiveFloat = Field(
        description="standard deviation of near-surface points, per coordinate"
    )
    hand_margin_mm: float = Field(ge=0, description="margin of the hand's bounding box")


class SampleEvaluationQueries(Section):
    shards: PerSplit = Field(description="number of files")
    published: PerSplit = Field(
        description="points of the published set per hand: half in the cube, half near the surface"
    )
    uniform_hand: PerSplit = Field(description="points uniform in the hand's bounding box with a margin, per hand")
    surface: PerSplit = Field(description="points on the surface with normals, per hand")
    near_surface_sigma_mm: PositiveFloat = Field(
        description="standard deviation of near-surface points, per coordinate"
    )
    hand_margin_mm: float = Field(ge=0, description="margin of the hand's bounding box")


class PerturbKeypoints(Section):
    sigma_mm: PositiveFloat = Field(
        description="standard deviation of the noise of the keypoint source perturbed_10mm, per coordinate"
    )


class GenerateAnchors(Section):
    shards: PerSplit = Field(description="number of files")
    threshold: float = Field(gt=0, lt=1, description="initial occupancy at the surface; 0.5 is published")
    draws: PositiveInt = Field(description="sets of anchors stored per hand; training takes one at random")
    grid: Literal["published", "default"] = Field(description="see reconstruct.grid")
    resolution: Literal[64, 128, 256, 512] = Field(description="cells per side of the final grid")


class Thresholds(Section):
    """Occupancy at the surface, per method."""

    halo: float = Field(gt=0, lt=1, description="0.5 is published")
    initial: float = Field(gt=0, lt=1, description="0.5 is published")
    im2hands: float = Field(gt=0, lt=1, description="0.45 is published")


class Reconstruct(Section):
    shards: PositiveInt = Field(description="number of files")
    frames_per_pose: PositiveInt | None = Field(
        description="photographs of each test pose that are evaluated, the first usable ones; null for all, as published"
    )
    alignment: Literal["wrist", "camera"] = Field(
        description="where a hand of predicted keypoints stands: moved onto the true wrist, or as predicted"
    )
    grid: Literal["published", "default"] = Field(
        description="published: 32 cells and 3 doublings, the reference's evaluated set; default: 16 and 4, same mesh"
    )
    resolution: Literal[64, 128, 256, 512] = Field(description="cells per side of the final grid")
    thresholds: Thresholds = Field(description="occupancy at the surface")
    anchor_resolution: Literal[64, 128, 256, 512] = Field(
        description="cells per side of the grid of the initial surfaces on which im2hands draws its anchors"
    )
    formats: list[Literal["glb", "obj", "ply"]] = Field(description="mesh files written beside the shards")


KeypointSource = Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
ExternalName = Annotated[str, Field(pattern=r"^[a-z0-9]+(_[a-z0-9]+)*$")]


class External(Section):
    """Another system's meshes, keypoints or both, of the test split; see docs/external-methods.md."""

    meshes: str | None = Field(description="folder of OBJ or PLY files, one per frame and hand; null for none")
    keypoints: str | None = Field(description="JSON or Parquet file with the keypoints of every frame; null for none")
    unit: Literal["m", "mm"] = Field(description="unit of meshes and keypoints")
    frame: Literal["world", "camera"] = Field(
        description="whose the coordinates are: the dataset's world, or each frame's camera (x right, y down, z forward)"
    )
    order: Literal["standard", "interhand", "mano"] = Field(
        description="order of the 21 keypoints; see docs/conventions.md"
    )
    given_keypoints: bool = Field(
        description="whether the meshes were made from the true keypoints; true puts them into the table of given keypoints"
    )
    alignment: Literal["wrist", "camera"] = Field(
        description="where the meshes stand: moved so that their wrist is on the true one, or as they are"
    )

    @model_validator(mode="after")
    def _holds_something(self) -> External:
        if self.meshes is None and self.keypoints is None:
            raise ValueError("name a folder of meshes, a file of keypoints, or both")
        if self.given_keypoints and self.alignment != "camera":
            raise ValueError("meshes made from the true keypoints stand where they are; set alignment to camera")
        return self


class Results(Section):
    """Which meshes are made: method -> keypoint sources."""

    halo: list[KeypointSource] = Field(description="HALO: keypoints alone")
    intaghand: list[Literal["intaghand"]] = Field(description="IntagHand: its own keypoints, or none at all")
    initial: list[KeypointSource] = Field(description="initial occupancy: keypoints and image")
    im2hands: list[KeypointSource] = Field(description="refined occupancy: both hands together")


class Evaluate(Section):
    surface_samples: PositiveInt = Field(description="points sampled on every predicted surface")
    penetration: Literal["grid", "boolean"] = Field(
        description="intersection volume: grid of cells, or exact boolean by manifold3d (an extra package)"
    )
    penetration_cell_mm: PositiveFloat = Field(description="cell size of the grid form")


class MakeTables(Section):
    decimals: int = Field(ge=0, le=6, description="decimals of printed numbers")


class MakeReport(Section):
    contact_sheet_images: PositiveInt = Field(description="crops on the contact sheet")
    gallery_pairs: PositiveInt = Field(description="hand pairs shown with pictures: best, median and worst by rule")
    viewer_pairs: PositiveInt = Field(description="hand pairs in the interactive view")
