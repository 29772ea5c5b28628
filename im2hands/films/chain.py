"""Least squares along time: unknowns of every picture that are tied to those of the two pictures before.

The normal matrix is solved from the first picture to the last and back, which gives, besides the unknowns, their covariances:
the filter and smoother of Rauch, Tung and Striebel (AIAA Journal 1965), in the form that keeps inverse covariances.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float
from scipy.linalg import cho_factor, cho_solve


@dataclass(frozen=True, eq=False)
class Chain:
    """A symmetric, positive definite matrix in blocks: own, with the next picture, and with the one after."""

    own: Float[np.ndarray, "pictures n n"]
    to_next: Float[np.ndarray, "pictures-1 n n"]
    to_second: Float[np.ndarray, "pictures-2 n n"]

    def solve(self, right: Float[np.ndarray, "pictures n"]) -> Float[np.ndarray, "pictures n"]:
        """x of A x = right."""
        count, size = right.shape
        factors, gains = self._sweep
        rows = np.zeros((len(factors), 2 * size))
        rows.reshape(-1, size)[:count] = right
        for k, gain in enumerate(gains):
            rows[k + 1] -= gain.T @ rows[k]
        found = np.zeros_like(rows)
        for k in reversed(range(len(factors))):
            found[k] = cho_solve(factors[k], rows[k])
            if k < len(gains):
                found[k] -= gains[k] @ found[k + 1]
        return found.reshape(-1, size)[:count]

    def covariances(
        self,
    ) -> tuple[
        Float[np.ndarray, "pictures n n"], Float[np.ndarray, "pictures-1 n n"], Float[np.ndarray, "pictures-2 n n"]
    ]:
        """The same blocks of the inverse."""
        factors, gains = self._sweep
        size = self.own.shape[1]
        within = np.zeros((len(factors), 2 * size, 2 * size))
        across = np.zeros((len(gains), 2 * size, 2 * size))
        for k in reversed(range(len(factors))):
            within[k] = cho_solve(factors[k], np.eye(2 * size))
            if k < len(gains):
                across[k] = -gains[k] @ within[k + 1]
                within[k] -= across[k] @ gains[k].T
        first, second = slice(size), slice(size, None)
        own, to_next, to_second = (np.zeros_like(x) for x in (self.own, self.to_next, self.to_second))
        count = len(own)
        own[0::2], own[1::2] = within[:, first, first], within[: count // 2, second, second]
        to_next[0::2] = within[: count // 2, first, second]
        to_next[1::2] = across[:, second, first][: len(to_next[1::2])]
        to_second[0::2] = across[:, first, first][: len(to_second[0::2])]
        to_second[1::2] = across[:, second, second][: len(to_second[1::2])]
        return own, to_next, to_second

    @cached_property
    def _sweep(self) -> tuple[list, list[np.ndarray]]:
        """Factors of the pairs of pictures with everything before them put in, and what each takes from the next."""
        count, size = self.own.shape[:2]
        pairs = (count + 1) // 2
        blocks = np.zeros((pairs, 2 * size, 2 * size))
        blocks[:, size:, size:] = np.eye(size)  # stands for a missing last picture
        beyond = np.zeros((max(pairs - 1, 0), 2 * size, 2 * size))
        for picture in range(count):
            k, at = picture // 2, slice(size * (picture % 2), size * (picture % 2 + 1))
            blocks[k, at, at] = self.own[picture]
            if picture % 2 == 0 and picture + 1 < count:
                blocks[k, :size, size:] = self.to_next[picture]
                blocks[k, size:, :size] = self.to_next[picture].T
            if picture % 2 == 1 and picture + 1 < count:
                beyond[k, size:, :size] = self.to_next[picture]
            if picture + 2 < count:
                beyond[k, at, at] = self.to_second[picture]
        factors, gains = [], []
        for k in range(pairs):
            block = blocks[k] if not k else blocks[k] - beyond[k - 1].T @ gains[-1]
            factors.append(cho_factor(block, lower=True))
            if k < len(beyond):
                gains.append(cho_solve(factors[-1], beyond[k]))
        return factors, gains
