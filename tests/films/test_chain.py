"""The sweep along time gives what the whole matrix gives."""

from __future__ import annotations

import numpy as np
import pytest

from im2hands.films.chain import Chain


@pytest.mark.parametrize("pictures", [1, 2, 3, 4, 7, 8])
def test_solution_and_covariances_are_those_of_the_whole_matrix(pictures):
    size, random = 3, np.random.default_rng(pictures)
    whole = np.zeros((pictures * size, pictures * size))
    for first in range(pictures):
        last = min(first + 3, pictures)
        rows = random.normal(size=(2 * size, (last - first) * size))
        whole[first * size : last * size, first * size : last * size] += rows.T @ rows
    whole += np.eye(len(whole))

    def blocks(matrix: np.ndarray, apart: int) -> np.ndarray:
        cells = matrix.reshape(pictures, size, pictures, size).swapaxes(1, 2)
        return np.array([cells[k, k + apart] for k in range(pictures - apart)]).reshape(-1, size, size)

    chain = Chain(*(blocks(whole, apart) for apart in range(3)))
    right = random.normal(size=(pictures, size))
    np.testing.assert_allclose(chain.solve(right).ravel(), np.linalg.solve(whole, right.ravel()), atol=1e-10)
    for found, apart in zip(chain.covariances(), range(3), strict=True):
        np.testing.assert_allclose(found, blocks(np.linalg.inv(whole), apart), atol=1e-10)
