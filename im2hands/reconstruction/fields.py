"""The occupancy fields of many hands as one function of (hand, point), for surface extraction and for evaluation.

Points are in the palm frame (1 unit = 0.4 m, right-hand space); values are occupancies between 0 and 1.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from im2hands.io.errors import DataError

log = logging.getLogger(__name__)


Occupancy = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(points (batch, n, 3), bone_from_palm (batch, 16, 4, 4), bone_lengths (batch, 16)) -> occupancy (batch, n).

For instance `im2hands.networks.halo.HaloNetwork.occupancy`."""


@dataclass(frozen=True)
class Piece:
    """A network call: the points [start, stop) of each of some hands."""

    hands: Int[np.ndarray, " hands"]
    starts: Int[np.ndarray, " hands"]
    stops: Int[np.ndarray, " hands"]


class BoneField:
    """The fields of several hands, each given by its 16 bone frames and lengths.

    bone_from_palm: (hands, 16, 4, 4), palm units.  bone_lengths: (hands, 16), metres.
    points_per_call: most points in one network call, padding included; bounds the memory and changes no value beyond rounding.

    On a GPU a call contains several hands, padded to the longest; on a CPU one, so that a hand's values do not depend on the
    hands beside it.
    """

    def __init__(
        self,
        occupancy: Occupancy,
        bone_from_palm: Float[np.ndarray, "hands 16 4 4"],
        bone_lengths: Float[np.ndarray, "hands 16"],
        *,
        points_per_call: int,
        device: torch.device | str = "cpu",
    ) -> None:
        if points_per_call < 1:
            raise DataError(f"points_per_call is {points_per_call}, expected at least 1.")
        self.occupancy, self.device, self.points_per_call = occupancy, torch.device(device), points_per_call
        self.bone_from_palm = torch.as_tensor(np.asarray(bone_from_palm, np.float32), device=self.device)
        self.bone_lengths = torch.as_tensor(np.asarray(bone_lengths, np.float32), device=self.device)

    @torch.inference_mode()
    def __call__(
        self, item_index: Int[np.ndarray, " points"], points: Float[np.ndarray, "points 3"]
    ) -> Float[np.ndarray, " points"]:
        """Occupancy of each point in the field of its hand. item_index: which hand; in any order."""
        order = None
        if len(item_index) and (np.diff(item_index) < 0).any():
            order = np.argsort(item_index, kind="stable")
            item_index, points = item_index[order], points[order]
        values = np.empty(len(points), np.float32)
        points = np.ascontiguousarray(points, np.float32)
        for piece in self._pieces(item_index):
            self._evaluate(piece, points, values)
        if order is None:
            return values
        unsorted = np.empty_like(values)
        unsorted[order] = values
        return unsorted

    def _evaluate(self, piece: Piece, points: np.ndarray, values: np.ndarray) -> None:
        sizes = piece.stops - piece.starts
        padded = np.zeros((len(sizes), sizes.max(), 3), np.float32)
        for row, (start, stop) in enumerate(zip(piece.starts, piece.stops, strict=True)):
            padded[row, : stop - start] = points[start:stop]
        hands = torch.as_tensor(piece.hands, device=self.device)
        asked = torch.from_numpy(padded).to(self.device)
        answer = self.occupancy(asked, self.bone_from_palm[hands], self.bone_lengths[hands]).float().cpu().numpy()
        for row, (start, stop) in enumerate(zip(piece.starts, piece.stops, strict=True)):
            values[start:stop] = answer[row, : stop - start]

    def _pieces(self, item_index: np.ndarray) -> Iterator[Piece]:
        """Calls that cover sorted points, none of more than `points_per_call` points with padding."""
        if not len(item_index):
            return
        hands, starts = np.unique(item_index, return_index=True)
        runs = [
            (hand, first, min(first + self.points_per_call, stop))
            for hand, start, stop in zip(hands, starts, [*starts[1:], len(item_index)], strict=True)
            for first in range(start, stop, self.points_per_call)
        ]
        group: list[tuple[int, int, int]] = []
        longest = 0
        for run in runs:
            longest_with = max(longest, run[2] - run[1])
            if group and (self.device.type == "cpu" or longest_with * (len(group) + 1) > self.points_per_call):
                yield _piece(group)
                group, longest_with = [], run[2] - run[1]
            group.append(run)
            longest = longest_with
        if group:
            yield _piece(group)


def choose_device(gpus: int) -> torch.device:
    """CUDA if requested and available, otherwise the CPU; warns if CUDA was requested."""
    if gpus > 0 and torch.cuda.is_available():
        return torch.device("cuda")
    if gpus > 0:
        log.warning("a GPU was requested, but CUDA is not available: reconstructing on the CPU, which is slower.")
    return torch.device("cpu")


def device_name(device: torch.device) -> str:
    """The model of a GPU, else `CPU`."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


def _piece(runs: Sequence[tuple[int, int, int]]) -> Piece:
    return Piece(*(np.array(column, np.int64) for column in zip(*runs, strict=True)))
