"""Values that several sections of the parameters, and the code that they steer, may take."""

from __future__ import annotations

from typing import Literal

SPLITS = ("train", "val", "test")
Behaviour = Literal["published", "consistent"]
"""Of a named option: as the published code does it, or consistently."""
Choice = Literal["compat", "published", "consistent"]
"""Of a named option in params.yaml: `compat` follows the key of that name."""
ImageEncoderMode = Literal["trained", "frozen"]
OccupancyLoss = Literal["mse", "bce"]
Schedule = Literal["constant", "cosine", "published"]
DRAWN = "drawn"
"""Value of dataset.root with which crops are drawn directly and there is no dataset."""
