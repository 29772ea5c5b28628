"""What all sections of the parameters share."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A section of params.yaml: unknown keys are refused, and every key is required."""

    model_config = ConfigDict(extra="forbid", frozen=True)
