"""All of params.yaml, read and validated.

The JSON schema in `workflow/schemas/` is generated from these classes, and a test fails when the two differ. Every rule of
the workflow gets only the section that it reads, so changing a key re-runs only what depends on it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator

from im2hands.config.base import Section
from im2hands.config.choices import DRAWN, Behaviour
from im2hands.config.options import Options
from im2hands.config.sections import (
    Dataset,
    DrawCrops,
    Evaluate,
    External,
    ExternalName,
    FitHands,
    GenerateAnchors,
    IndexFrames,
    MakeReport,
    MakeTables,
    NormalizeImages,
    PerturbKeypoints,
    Reconstruct,
    Results,
    SampleEvaluationQueries,
    SampleQueries,
    SynthesizeDataset,
)
from im2hands.config.training import Training
from im2hands.io.documents import read_yaml
from im2hands.io.errors import ConfigError, DataError

BUILT_IN_HAND = "data/hand_model"


class Params(Section):
    """All of params.yaml."""

    seed: int = Field(ge=0, description="master seed; the seed of every sample is derived from it and the sample's id")
    dataset: Dataset = Field(description="paths of the data; change these two settings to replace the built-in data")
    compat: Behaviour = Field(description="default of every named option: published or consistent")
    options: Options = Field(description="named options; the value compat means the value of the key compat")
    synthesize_dataset: SynthesizeDataset = Field(description="the built-in synthetic dataset")
    draw_crops: DrawCrops = Field(description="crops drawn directly, for pretraining, in place of a dataset")
    index_frames: IndexFrames = Field(description="selection of two-hand frames")
    fit_hands: FitHands = Field(description="hand meshes and keypoints computed from the fits")
    normalize_images: NormalizeImages = Field(description="crops of both hands")
    sample_queries: SampleQueries = Field(description="labelled query points for training")
    sample_evaluation_queries: SampleEvaluationQueries = Field(
        description="labelled points and surfaces for evaluation"
    )
    training: Training = Field(description="one section per network")
    perturb_keypoints: PerturbKeypoints = Field(description="keypoint source made of true keypoints with noise")
    generate_anchors: GenerateAnchors = Field(
        description="points on the initial surfaces, the input of refined occupancy"
    )
    results: Results = Field(description="method -> keypoint sources from which its meshes are made")
    external: dict[ExternalName, External] = Field(
        description="name -> another system, available as the method and keypoint source external_NAME"
    )
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

    @model_validator(mode="after")
    def _drawn_hands_are_built_in(self) -> Params:
        if self.dataset.root == DRAWN and self.dataset.hand_model != BUILT_IN_HAND:
            raise ValueError(f"dataset: crops are drawn of the built-in hand alone; set hand_model to {BUILT_IN_HAND}")
        return self

    @model_validator(mode="after")
    def _external_sources_exist(self) -> Params:
        for name in self.external:
            if name.endswith("_refined"):
                raise ValueError(f"external.{name}: the ending `_refined` is reserved for refined keypoints; rename it")
        for method, sources in self.results:
            for source in sources:
                name = source.removeprefix("external_").removesuffix("_refined")
                if source.startswith("external_") and (name not in self.external or not self.external[name].keypoints):
                    raise ValueError(f"results.{method}: {source} needs a keypoint file in external.{name}.keypoints")
        return self


def read_params(path: str | Path = "params.yaml") -> Params:
    """The validated content of params.yaml. Raises ConfigError, which names the key."""
    try:
        content = read_yaml(path, "parameter file")
    except DataError as error:
        raise ConfigError(str(error)) from None
    return validate_params(content, path)


def validate_params(content: Any, path: str | Path = "params.yaml") -> Params:
    """Parameters as a validated object. Raises ConfigError with the first mistake and the number of further ones."""
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
