"""Multiresolution iso-surface search in plain loops: every cell looks at every known point on its closed cube."""

import itertools

import numpy as np


def naive_search(evaluate, start, depth, level):
    """(known points {index: value}, evaluated points per round). evaluate: (M, 3) int index -> (M,) values."""
    resolution = start << depth
    step = 1 << depth
    cells = {(x, y, z, step) for x, y, z in itertools.product(range(0, resolution, step), repeat=3)}
    unknown = set(itertools.product(range(0, resolution + 1, step), repeat=3))
    known, rounds = {}, []
    while unknown:
        points = sorted(unknown)
        rounds.append(len(points))
        known.update(zip(points, evaluate(np.array(points)), strict=True))
        unknown = set()
        for x, y, z, size in [cell for cell in cells if cell[3] > 1]:
            cube = itertools.product(range(x, x + size + 1), range(y, y + size + 1), range(z, z + size + 1))
            values = [known[point] for point in cube if point in known]
            if any(value >= level for value in values) and any(value <= level for value in values):
                cells.remove((x, y, z, size))
                half = size // 2
                cells |= {(x + i, y + j, z + k, half) for i, j, k in itertools.product((0, half), repeat=3)}
                lattice = itertools.product((0, half, size), repeat=3)
                unknown |= {(x + i, y + j, z + k) for i, j, k in lattice} - known.keys()
    return known, rounds


def naive_dense(known, resolution):
    """The dense grid: unknown points copy the point before them, along x, then y, then z."""
    side = resolution + 1
    grid = np.full((side,) * 3, np.nan)
    for point, value in known.items():
        grid[point] = value
    for axis in range(3):
        for point in itertools.product(range(side), repeat=3):
            before = tuple(c - (a == axis) for a, c in enumerate(point))
            if np.isnan(grid[point]) and before[axis] >= 0:
                grid[point] = grid[before]
    return grid
