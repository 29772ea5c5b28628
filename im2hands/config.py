"""The parameters of the whole pipeline: one class per section of `params.yaml`, one description per key.

The JSON schema in `workflow/schemas/` is generated from these classes, and a test fails when the two differ. Every rule of
the DAG is given the section it reads, so that changing a key re-runs what depends on it and nothing else.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError, model_validator

from im2hands.io.errors import ConfigError

Behaviour = Literal["published", "consistent"]
Choice = Literal["compat", "published", "consistent"]
Fraction = Annotated[float, Field(ge=0, le=1)]
SPLITS = ("train", "val", "test")


class Section(BaseModel):
    """A section of params.yaml: unknown keys are refused, every key is required in the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)


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


class Options(Section):
    """Named behaviours that differ between the published code and a consistent one; `compat` follows the key of that name."""

    angle_clamp: Choice = Field(
        description="bone angles: published clamps acos (no angle below 0.0014 rad), consistent uses atan2"
    )
    degenerate_hands: Choice = Field(
        description="hands without a palm frame: published computes what the formulas give, consistent rejects with a reason"
    )
    label_rule: Choice = Field(
        description="occupancy labels: published is ray parity that loses points on edges, consistent the winding number"
    )
    query_frame: Choice = Field(
        description="palm frame of query points: published takes the true keypoints, consistent the keypoints in use"
    )
    depth_reference: Choice = Field(
        description="depth that query points are relative to: published the first query of a call, consistent the wrist"
    )
    penetration_frame: Choice = Field(
        description="other hand's points in the penetration loss: published keeps palm coordinates, consistent moves them"
    )
    penetration_context: Choice = Field(
        description="context of the penetration loss: published encodes it twice, consistent once"
    )
    penetration_reduction: Choice = Field(
        description="penetration loss: published is a sum over points and batch, consistent a mean"
    )
    joint_regressors: Choice = Field(
        description="heads of keypoint refinement: published uses the left hand's for both, consistent one per hand"
    )
    fps_dead_ball: Choice = Field(
        description="anchor selection: published never picks anchors within 31.6 mm of the common centre, consistent may"
    )
    feature_lookup: Choice = Field(
        description="image features at points: published mixes two pixel conventions, consistent looks up pixel centres"
    )
    heat_maps: Choice = Field(
        description="heat map targets: published through JPEG files and resizing, consistent drawn from augmented joints"
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


GIVEN_WEIGHTS = "folder of an imported model (im2hands import-weights), which then takes the place of the training"


class HaloTraining(Section):
    weights: str | None = Field(description=GIVEN_WEIGHTS)
    steps: PositiveInt = Field(description="optimiser steps")
    batch_hands: PositiveInt = Field(description="hands per step")
    points_per_hand: PositiveInt = Field(description="query points per hand and step")
    lr: PositiveFloat = Field(description="learning rate of Adam")
    schedule: Literal["constant", "cosine"] = Field(description="learning rate over the steps")
    loss: Literal["mse", "bce"] = Field(description="mse of the occupancy is published; bce of the largest bone logit")
    initial_weights: Literal["published", "geometric"] = Field(
        description="published: random; geometric: every bone starts as a soft ball, which learns many times faster"
    )
    width: PositiveInt = Field(description="width of the bone decoders; 64 is published")
    uniform_share: Fraction = Field(description="part of the points drawn uniformly, half from each uniform set")
    size_spread: float = Field(
        ge=0,
        le=0.5,
        description="training hands are scaled at random, standard deviation of the logarithm; 0 is published",
    )
    weight_average: float = Field(
        ge=0, lt=1, description="the kept weights are a running mean with this decay; 0, the last ones, is published"
    )
    validate_every: PositiveInt = Field(description="steps between validations; checkpoints are written then")
    validation_points: PositiveInt = Field(description="points per hand for the validation IoU")
    gradient_clip: float = Field(ge=0, description="largest norm of the gradient; 0 leaves it")
    precision: Literal["auto", "32", "bf16-mixed", "16-mixed"] = Field(
        description="auto: bf16-mixed on a GPU that has it, else 32"
    )


class ImageNetworkTraining(Section):
    """What the trainings of all image networks have in common."""

    weights: str | None = Field(description=GIVEN_WEIGHTS)
    steps: PositiveInt = Field(description="optimiser steps")
    batch_frames: PositiveInt = Field(description="frames, each with both hands, per step")
    lr: PositiveFloat = Field(description="learning rate of Adam")
    schedule: Literal["constant", "cosine", "published"] = Field(description="learning rate over the steps")
    augmentation: bool = Field(description="IntagHand's random turns, scales, tints and mirroring of frames")
    weight_average: float = Field(
        ge=0, lt=1, description="the kept weights are a running mean with this decay; 0, the last ones, is published"
    )
    validate_every: PositiveInt = Field(description="steps between validations; checkpoints are written then")
    validation_frames: PositiveInt = Field(description="frames of a validation, evenly spaced in the split")
    gradient_clip: float = Field(ge=0, description="largest norm of the gradient; 0 leaves it")
    precision: Literal["auto", "32", "bf16-mixed", "16-mixed"] = Field(
        description="auto: bf16-mixed on a GPU that has it, else 32"
    )


ImageEncoderMode = Literal["trained", "frozen"]


class IntagHandLossWeights(Section):
    """Weights of the terms of IntagHand's loss."""

    vertices: float = Field(ge=0, description="mean distance of vertices per coordinate, m; 100 is published")
    joints: float = Field(ge=0, description="the same of joints; 100 is published")
    vertices_2d: float = Field(ge=0, description="mean square in half crops; 50 is published")
    normals: float = Field(ge=0, description="predicted edges along true normals; 10 is published")
    edges: float = Field(ge=0, description="edge lengths, m; 2000 is published")
    coarse: float = Field(ge=0, description="nodes of the coarse meshes, m; 100 is published")
    coarse_2d: float = Field(ge=0, description="the same in half crops; 50 is published")
    masks: float = Field(ge=0, description="hand masks; 500 is published")
    dense_maps: float = Field(ge=0, description="maps of rest-pose coordinates; 30 is published")
    heat_maps: float = Field(ge=0, description="keypoint heat maps; 100 is published")


class IntagHandTraining(ImageNetworkTraining):
    encoder: Literal["resnet10_narrow", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152"] = Field(
        description="image encoder of this and, starting from its weights, of all image networks; resnet50 is published"
    )
    widths: list[PositiveInt] = Field(
        min_length=4,
        max_length=4,
        description="vertex features before and after each level; 512 256 128 64 is published",
    )
    edge_loss_from: Fraction = Field(
        description="share of the steps after which edge lengths count; 0.25 (epoch 50 of 200) is published"
    )
    start_components: int = Field(
        ge=0, description="of start hands, which a short training learns from few photographs; 0, none, is published"
    )
    largest_turn: float = Field(ge=0, le=180, description="of images in augmentation, degrees; 90 is published")
    dropout: float = Field(ge=0, lt=1, description="in the mesh decoder; 0.05 is published")
    decoder_from: Fraction = Field(
        description="share of the steps in which maps and start hands are trained without the mesh decoder; 0 is published"
    )
    loss_weights: IntagHandLossWeights = Field(description="weights of the terms of the loss")


class InitialOccupancyTraining(ImageNetworkTraining):
    points_per_hand: PositiveInt = Field(description="query points per hand and step")
    uniform_share: Fraction = Field(description="part of the points drawn uniformly, half from each uniform set")
    image_encoder: ImageEncoderMode = Field(
        description="frozen keeps IntagHand's encoder, whose maps are then made once per frame; trained is published"
    )
    image_attention: bool = Field(description="whether query points look at the image; false is an ablation")
    validation_points: PositiveInt = Field(description="points per hand for the validation IoU")


class KeypointRefinementTraining(ImageNetworkTraining):
    image_encoder: ImageEncoderMode = Field(
        description="frozen keeps IntagHand's encoder, whose maps are then made once per frame; trained is published"
    )
    initial_weights: Literal["published", "identity"] = Field(
        description="published: random; identity: the network starts as the map that changes nothing"
    )
    token_widths: list[PositiveInt] = Field(description="image token widths, one layer each; 64 82 96 112 is published")
    image_channels: PositiveInt = Field(description="of the map that joints look at; 256 is published")
    predicted_share: Fraction = Field(
        description="part of the training inputs that are IntagHand's predictions; the rest are true keypoints with noise"
    )
    noise_mm: float = Field(ge=0, description="largest standard deviation of that noise per coordinate, drawn per hand")


class RefinedOccupancyTraining(ImageNetworkTraining):
    points_per_hand: PositiveInt = Field(description="query points per hand and step")
    uniform_share: Fraction = Field(description="part of the points drawn uniformly, half from each uniform set")
    image_encoder: ImageEncoderMode = Field(
        description="frozen keeps the initial network's encoder, whose maps are then made once per frame; trained is published"
    )
    initial_weights: Literal["published", "initial_field"] = Field(
        description="published: random; initial_field: the network starts by passing the initial occupancy on"
    )
    anchor_widths: list[PositiveInt] = Field(
        min_length=2, max_length=2, description="widths of the anchor encoder; 120 256 is published"
    )
    anchor_blocks: PositiveInt = Field(
        description="blocks of the anchor encoder in which all anchors of a hand see each other; 3 is published"
    )
    query_width: PositiveInt = Field(description="width of the queries' attention to anchors; 200 is published")
    shared_statistics: bool = Field(
        description="whether both hands' anchors share batch statistics in training; false, hand after hand, is published"
    )
    weight_decay: float = Field(ge=0, description="of Adam; 0.00001 is published")
    penetration_weight: float = Field(ge=0, description="of the penetration loss; 0.001 is published")
    context: bool = Field(description="whether the hands' codes see each other and the image; false is an ablation")
    validation_points: PositiveInt = Field(description="points per hand for the validation IoU")


class Training(Section):
    halo: HaloTraining = Field(description="occupancy from keypoints, without the image (HALO)")
    intaghand: IntagHandTraining = Field(description="both hands' meshes from the image (IntagHand)")
    initial_occupancy: InitialOccupancyTraining = Field(description="occupancy from keypoints and the image")
    keypoint_refinement: KeypointRefinementTraining = Field(description="better keypoints from keypoints and the image")
    refined_occupancy: RefinedOccupancyTraining = Field(
        description="occupancy of both hands that see each other (Im2Hands)"
    )


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


class Params(Section):
    """The whole of params.yaml."""

    seed: int = Field(ge=0, description="master seed; every sample's own seed is made of it and the sample's id")
    dataset: Dataset = Field(description="where the data are; changing these two settings replaces the built-in set")
    compat: Behaviour = Field(description="default of every named option: as published, or consistent")
    options: Options = Field(description="named options; the value compat follows the key above")
    synthesize_dataset: SynthesizeDataset = Field(description="the built-in synthetic dataset")
    index_frames: IndexFrames = Field(description="selection of two-hand frames")
    fit_hands: FitHands = Field(description="hand meshes and keypoints from the fits")
    normalize_images: NormalizeImages = Field(description="crops of both hands")
    sample_queries: SampleQueries = Field(description="labelled query points for training")
    sample_evaluation_queries: SampleEvaluationQueries = Field(
        description="labelled points and surfaces for evaluation"
    )
    training: Training = Field(description="one section per network")
    perturb_keypoints: PerturbKeypoints = Field(description="true keypoints with noise, as a keypoint source")
    generate_anchors: GenerateAnchors = Field(
        description="points on the initial surfaces that refined occupancy starts from"
    )
    results: Results = Field(description="method -> keypoint sources that its meshes are made from")
    reconstruct: Reconstruct = Field(description="meshes of the test split")
    evaluate: Evaluate = Field(description="metrics of every mesh")
    make_tables: MakeTables = Field(description="result tables")
    make_report: MakeReport = Field(description="the HTML report")

    @model_validator(mode="after")
    def _shards_hold_something(self) -> Params:
        for section in (self.normalize_images, self.sample_queries):
            for split in ("train", "val"):
                if section.shards[split] < 1:
                    raise ValueError(f"{type(section).__name__}: shards.{split} must be at least 1")
        return self


def resolve_option(params: dict[str, Any], name: str) -> Behaviour:
    """The behaviour of a named option: its own value, or that of `compat`."""
    try:
        chosen = params["options"][name]
    except KeyError:
        raise ConfigError(f"params.yaml: there is no option `{name}`; see the section `options`.") from None
    return params["compat"] if chosen == "compat" else chosen


def read_params(path: str | Path = "params.yaml") -> Params:
    """The validated content of params.yaml. Raises ConfigError that names the key."""
    import yaml

    try:
        content = yaml.safe_load(Path(path).read_text())
    except FileNotFoundError:
        raise ConfigError(f"{path}: the parameter file is missing; run from the folder that holds it.") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    return validate_params(content, path)


def validate_params(content: Any, path: str | Path = "params.yaml") -> Params:
    """Parameters as a validated object. Raises ConfigError with the first mistake and how many there are."""
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        first, *others = error.errors()
        place = ".".join(str(part) for part in first["loc"])
        more = f" ({len(others)} more mistakes)" if others else ""
        raise ConfigError(f"{path}: {place}: {first['msg']}{more}.") from None


def json_schema() -> dict[str, Any]:
    """The JSON schema (2020-12) of params.yaml: every key required and described, no other key allowed."""
    schema = Params.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
