"""Google's palm and hand-landmark networks (MediaPipe 0.10.21, Apache-2.0), run by LiteRT without MediaPipe.

Inputs are RGB, 8 bit; the networks take them from 0 to 1. Both look at squares: points are from (0, 0) to (1, 1), see `crops`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float, UInt8

from im2hands.datasets.image_files import decoder_output
from im2hands.io.errors import DataError
from im2hands.photographs.detection.network_files import LANDMARK_FILE, PALM_FILE, read_networks

PALM_SIZE, LANDMARK_SIZE = 192, 224
"""Pixels along a side of what the networks look at."""
POINTS = 21
LARGEST_LOGIT = 100.0


@dataclass(frozen=True, eq=False)
class SeenHands:
    """What the landmark network says of n squares.

    points: 21 points of the square; the third number is a depth about the wrist in the same unit, away from the camera.
    presence: 0 to 1, whether there is a hand.  right: 0 to 1, whether it is the person's right one.
    world: metres, axes of the square (x right, y down, z away), origin near the middle of the hand.
    """

    points: Float[np.ndarray, "n 21 3"]
    presence: Float[np.ndarray, " n"]
    right: Float[np.ndarray, " n"]
    world: Float[np.ndarray, "n 21 3"]


class HandNetworks(Protocol):
    """Two networks that find palms and landmarks."""

    def palms(self, squares: UInt8[np.ndarray, "n 192 192 3"]) -> tuple[np.ndarray, np.ndarray]:
        """Raw output for every anchor (see `palms.decode`): (n, 2016, 18) numbers and (n, 2016) scores from 0 to 1."""
        ...

    def hands(self, squares: UInt8[np.ndarray, "n 224 224 3"]) -> SeenHands: ...


class LiteRtNetworks:
    """The networks of a folder, see `network_files`.  threads: of each network.

    Raises DataError if the files or LiteRT are not there, or the files are others.
    """

    def __init__(self, folder: str | os.PathLike | None = None, threads: int = 1) -> None:
        contents = read_networks(folder)
        self._palm = _interpreter(contents[PALM_FILE], threads)
        self._landmark = _interpreter(contents[LANDMARK_FILE], threads)

    def palms(self, squares: UInt8[np.ndarray, "n 192 192 3"]) -> tuple[np.ndarray, np.ndarray]:
        found = [_run(self._palm, square) for square in squares]
        raw, logits = (np.concatenate([one[place] for one in found]) for place in (0, 1))
        return raw, 1 / (1 + np.exp(-np.clip(logits[..., 0], -LARGEST_LOGIT, LARGEST_LOGIT)))

    def hands(self, squares: UInt8[np.ndarray, "n 224 224 3"]) -> SeenHands:
        found = [_run(self._landmark, square) for square in squares]
        points, presence, right, world = (np.concatenate([one[place] for one in found]) for place in range(4))
        return SeenHands(
            points.reshape(-1, POINTS, 3) / LANDMARK_SIZE,
            presence[:, 0],
            right[:, 0],
            world.reshape(-1, POINTS, 3),
        )


def _interpreter(content: bytes, threads: int) -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise DataError(f"the detector needs LiteRT ({error}); run: pip install 'im2hands[detect]'") from None
    with decoder_output():  # it prints which delegate it has made
        found = Interpreter(model_content=content, num_threads=threads)
        found.allocate_tensors()
    return found


def _run(network: Any, square: UInt8[np.ndarray, "size size 3"]) -> list[Float[np.ndarray, "1 ..."]]:
    """The outputs, in the order of their names: Identity, Identity_1, ..."""
    network.set_tensor(network.get_input_details()[0]["index"], np.float32(square[None]) / 255)
    network.invoke()
    outputs = sorted(network.get_output_details(), key=lambda output: output["name"])
    return [network.get_tensor(output["index"]) for output in outputs]
