"""The sections of `params.yaml` except the trainings: one class per section, one description per key."""

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
        description="dataset folder in the layout of InterHand2.6M v1.0; synthesize_dataset makes data/raw/synthetic; `drawn`: "
        "no folder, draw_crops draws what the trainings see"
    )
    hand_model: str = Field(
        description="folder with MANO_LEFT and MANO_RIGHT as .pkl or .npz; data/hand_model is the built-in hand"
    )


class SynthesizeDataset(Section):
    poses: PerSplit = Field(description="usable two-hand poses per split")
    subjects: PerSplit = Field(description="subjects per split; no subject is in two splits")
    cameras: int = Field(ge=1, le=32, description="cameras per pose")
    scale: PositiveFloat = Field(description="multiplies the number of poses")
    supersampling: int = Field(ge=1, le=4, description="images are rendered this many times larger and averaged down")
    jpeg_quality: int = Field(ge=1, le=100, description="JPEG quality of the images")


class DrawCrops(Section):
    persons: PerSplit = Field(
        description="persons per split, each in 144 crops: 24 poses, six cameras each; none is in two"
    )
    hiding: Fraction = Field(
        description="share of the persons whose hands all touch or nearly do and are seen from anywhere, so that one often "
        "hides the other; those of the others are mostly beside each other and seen from where they can be told apart"
    )


class IndexFrames(Section):
    min_image_mean: float = Field(
        ge=0, le=255, description="frames whose mean over all pixels is lower are dropped as black"
    )
    max_unreadable_fraction: Fraction = Field(
        description="largest share of the two-hand frames that may be skipped for missing, truncated or non-finite inputs"
    )


class FitHands(Section):
    suspicious_joint_distance_mm: PositiveFloat = Field(
        description="the audit lists a hand if its annotated joints are further than this from the model's on average"
    )


class NormalizeImages(Section):
    shards: PerSplit = Field(description="number of files")
    size: PositiveInt = Field(description="side of the square crop, pixels")
    hand_share: float = Field(
        gt=0, le=1, description="share of the crop's side filled by the longer side of the box of both hands"
    )
    jpeg_quality: int = Field(ge=1, le=100, description="JPEG quality of the crops")
    masks: bool = Field(description="also store hand masks")
    dense_maps: bool = Field(description="also store maps of rest-pose coordinates")
    max_unreadable_fraction: Fraction = Field(description="largest share of unreadable images in a shard")


class SampleQueries(Section):
    shards: PerSplit = Field(description="number of files")
    uniform_cube: int = Field(ge=0, description="points per hand, uniform in the cube of 0.44 m around the wrist")
    near_surface: int = Field(ge=0, description="points per hand, normally distributed around the surface")
    uniform_hand: int = Field(ge=0, description="points per hand, uniform in the hand's bounding box with a margin")
    near_surface_sigma_mm: PositiveFloat = Field(
        description="standard deviation of near-surface points, per coordinate"
    )
    hand_margin_mm: float = Field(ge=0, description="margin of the hand's bounding box")


class SampleEvaluationQueries(Section):
    shards: PerSplit = Field(description="number of files")
    published: PerSplit = Field(
        description="points per hand in the published set: half in the cube, half near the surface"
    )
    uniform_hand: PerSplit = Field(description="points per hand, uniform in the hand's bounding box with a margin")
    surface: PerSplit = Field(description="points per hand on the surface, with normals")
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
    draws: PositiveInt = Field(description="sets of anchors stored per hand; training picks one at random")
    frames_per_pose: PositiveInt | None = Field(
        description="photographs per pose that get anchors, the first usable ones; refined occupancy is trained on these; "
        "null: all, as published"
    )
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
        description="evaluated photographs per test pose, the first usable ones; null: all, as published"
    )
    alignment: Literal["wrist", "camera"] = Field(
        description="position of hands from predicted keypoints: moved onto the true wrist, or as predicted (camera)"
    )
    grid: Literal["published", "default"] = Field(
        description="published: 32 cells, 3 doublings, the points of the reference; default: 16 cells, 4 doublings, same mesh"
    )
    resolution: Literal[64, 128, 256, 512] = Field(description="cells per side of the final grid")
    thresholds: Thresholds = Field(description="occupancy at the surface")
    anchor_resolution: Literal[64, 128, 256, 512] = Field(
        description="cells per side of the grid for the initial surfaces from which im2hands draws its anchors"
    )
    separate_hands: bool = Field(
        description="whether a point inside both hands of a pair is given to the one of larger occupancy; false is published"
    )
    formats: list[Literal["glb", "obj", "ply"]] = Field(
        description="formats of the mesh files written in addition to the shards"
    )


KeypointSource = Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
ExternalName = Annotated[str, Field(pattern=r"^[a-z0-9]+(_[a-z0-9]+)*$")]


class External(Section):
    """Another system's meshes, keypoints or both, of the test split; see docs/external-methods.md."""

    meshes: str | None = Field(description="folder of OBJ or PLY files, one per frame and hand; null: none")
    keypoints: str | None = Field(description="JSON or Parquet file with the keypoints of every frame; null: none")
    unit: Literal["m", "mm"] = Field(description="unit of meshes and keypoints")
    frame: Literal["world", "camera"] = Field(
        description="frame of the coordinates: the dataset's world, or each frame's camera (x right, y down, z forward)"
    )
    order: Literal["standard", "interhand", "mano"] = Field(
        description="order of the 21 keypoints; see docs/conventions.md"
    )
    given_keypoints: bool = Field(
        description="true if the meshes were made from the true keypoints; they then appear in the table of given keypoints"
    )
    alignment: Literal["wrist", "camera"] = Field(
        description="position of the meshes: moved so that the wrist is the true one, or unchanged (camera)"
    )

    @model_validator(mode="after")
    def _holds_something(self) -> External:
        if self.meshes is None and self.keypoints is None:
            raise ValueError("give a folder of meshes, a keypoint file, or both")
        if self.given_keypoints and self.alignment != "camera":
            raise ValueError("meshes made from the true keypoints must not be moved; set alignment to camera")
        return self


class Results(Section):
    """Which meshes are made: method -> keypoint sources."""

    halo: list[KeypointSource] = Field(description="HALO: from keypoints alone")
    intaghand: list[Literal["intaghand"]] = Field(
        description="IntagHand: from the image; its own keypoints, or an empty list"
    )
    initial: list[KeypointSource] = Field(description="initial occupancy: from keypoints and image")
    im2hands: list[KeypointSource] = Field(description="refined occupancy: both hands together")


class Evaluate(Section):
    surface_samples: PositiveInt = Field(description="points sampled on every predicted surface")
    penetration: Literal["grid", "boolean"] = Field(
        description="intersection volume: counted in a grid of cells, or exact with manifold3d (boolean, an extra package)"
    )
    penetration_cell_mm: PositiveFloat = Field(description="cell size of the grid")


class MakeTables(Section):
    decimals: int = Field(ge=0, le=6, description="decimals of printed numbers")


class MakeReport(Section):
    contact_sheet_images: PositiveInt = Field(description="crops on the contact sheet")
    gallery_pairs: PositiveInt = Field(description="hand pairs shown as pictures: best, median and worst by mesh IoU")
    viewer_pairs: PositiveInt = Field(description="hand pairs in the interactive view")
