"""Multiresolution iso-surface search (MISE): which points of a fine grid must be evaluated to find a surface.

A cube of start³ cells is refined `depth` times, but only where known values lie on both sides of the level. Of the
resolution³ grid (resolution = start * 2**depth) well under a per cent is evaluated. Source: HALO mesh generation
(multiresolution iso-surface extraction of Occupancy Networks).

The rule, which decides the set of evaluated points and nothing else does: first all corners of the start grid; then, until
nothing is unknown, every cell above the finest size is split into eight (its 27 lattice points become wanted) if among all
known points on its closed cube one is >= level and one is <= level. Points added by finer neighbours count as well, so a
coarse cell may be split rounds later; a cell goes one size down per round.

Many grids (hands) are refined in lockstep: one call of the field per round serves all of them, and a finished grid adds no
points. Nothing of size resolution³ is kept: values are stored for evaluated points alone (about 10^5 per hand), cells as
one byte down to size 2 (2.4 MB per hand at 256).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int, Int8

from im2hands.io.errors import DataError

EXISTS, SPLIT, ABOVE, BELOW = np.uint8(1), np.uint8(2), np.uint8(4), np.uint8(8)
READY = EXISTS | ABOVE | BELOW
"""A cell that is there, is not split, and has known values on both sides."""

LATTICE = np.array(
    [(x, y, z) for x in range(3) for y in range(3) for z in range(3) if (x % 2, y % 2, z % 2) != (0, 0, 0)]
)
"""The 27 lattice points of a split cell without its corners, which are known already; in half cells."""

CHILDREN = np.array([(x, y, z) for x in range(2) for y in range(2) for z in range(2)])

NEW_POINTS = 7
"""Lattice points per split cell, where a whole block of cells is split."""

Evaluate = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(item of each point (M,), integer grid index (M, 3)) -> values (M,)."""


class Octrees:
    """The refinement of `count` grids in lockstep.

    start: cells per side of the first grid.  depth: doublings.  level: the value at the surface.
    most: points of one grid after which it is given up; None for as many as it takes.
    `unknown()` and `update()` alternate until nothing is unknown; `refine` does that for a given field.
    """

    def __init__(self, count: int, start: int, depth: int, level: float, most: int | None = None) -> None:
        if count < 0 or start < 1 or depth < 0:
            raise DataError(
                f"octree: count {count}, start {start}, depth {depth} must not be negative (start at least 1)."
            )
        if not np.isfinite(level):
            raise DataError(f"octree: the level is {level}, expected a finite number.")
        self.count, self.start, self.depth, self.level, self.most = count, start, depth, level, most
        self.resolution = start << depth
        self._bits = int(self.resolution).bit_length()
        self._cells = [np.zeros(count * (start << k) ** 3, np.uint8) for k in range(depth)]
        if depth:
            self._cells[0][:] = EXISTS
        self._keys = np.zeros(0, np.int64)
        self._values = np.zeros(0, np.float64)
        self._wanted = self._first_grid()
        self.round_counts: list[np.ndarray] = []
        """Evaluated points of each grid in each round."""
        self.failed = np.zeros(count, bool)
        """Grids whose field returned NaN or infinity; they are given up."""
        self.overgrown = np.zeros(count, bool)
        """Grids that would need more than `most` points; they are given up."""

    def unknown(self) -> tuple[Int[np.ndarray, " points"], Int[np.ndarray, "points 3"]]:
        """The points to evaluate next: item and grid index, ordered by item, then x, y, z."""
        return self._unpack(self._wanted)

    def update(self, values: Float[np.ndarray, " points"]) -> None:
        """Takes the values of the points that `unknown` gave, in that order, and finds the next unknown points."""
        values = np.asarray(values, np.float64)
        if values.shape != self._wanted.shape:
            raise DataError(f"the field returned values of shape {values.shape} for {len(self._wanted)} points.")
        items, index = self._unpack(self._wanted)
        self.round_counts.append(np.bincount(items, minlength=self.count))
        self._give_up(items[~np.isfinite(values)], self.failed)
        self._insert(self._wanted, values)
        touched = [self._mark(k, items, index, values) for k in range(self.depth)]
        ready = self._affordable([self._ready(k, touched[k]) for k in range(self.depth)])
        lattices = [self._split(k, cells) for k, cells in enumerate(ready)]
        candidates = _sorted_unique(np.concatenate(lattices)) if lattices else np.zeros(0, np.int64)
        self._wanted = candidates[~_contains(self._keys, candidates)]

    @property
    def evaluations(self) -> Int[np.ndarray, " items"]:
        """Number of evaluated points of each grid."""
        return (
            np.sum(self.round_counts, axis=0, dtype=np.int64) if self.round_counts else np.zeros(self.count, np.int64)
        )

    def known(self, item: int) -> tuple[Int[np.ndarray, "points 3"], Float[np.ndarray, " points"]]:
        """The evaluated points of a grid, sorted by x, y, z, and their values."""
        first, last = np.searchsorted(self._keys, [item << 3 * self._bits, (item + 1) << 3 * self._bits])
        return self._unpack(self._keys[first:last])[1], self._values[first:last]

    def dense(self, item: int) -> Float[np.ndarray, "nx ny nz"]:
        """The whole grid ((resolution+1)³, float64); points that were not evaluated have the value of a point before them.

        They are filled by a sweep along x (copy from index - 1), then y, then z: their side of the level is right.
        """
        index, values = self.known(item)
        return _filled(index, values, np.zeros(3, np.int64), np.full(3, self.resolution + 1))

    def near_surface(self, item: int) -> tuple[Float[np.ndarray, "nx ny nz"], Int[np.ndarray, "3"]]:
        """The part of the dense grid that contains all points >= level and one layer around them, and its first index.

        Where the surface touches the grid's boundary the layer is missing. Every cell crossed by the surface is finest
        and has known corners, and a coarse cell has one side only; so the crop has the same signs as the same part of
        `dense`, and the same values at all corners of crossed cells. Empty if no point is >= level.
        """
        index, values = self.known(item)
        inside = index[values >= self.level]
        if not len(inside):
            return np.zeros((0, 0, 0)), np.zeros(3, np.int64)
        low = np.maximum(inside.min(axis=0) - 1, 0)
        stop = np.minimum(inside.max(axis=0) + 2, self.resolution + 1)
        corner = (
            low >> self.depth << self.depth
        )  # a point of the start grid: known, so that the sweeps reach everything
        wanted = ((index >= corner) & (index < stop)).all(axis=1)
        crop = _filled(index[wanted], values[wanted], corner, stop - corner)
        return crop[tuple(slice(first, None) for first in low - corner)], low

    def sides(self, item: int, place: Float[np.ndarray, "points 3"]) -> Int8[np.ndarray, " points"]:
        """On which side of the level points are according to a finished grid: 1 above, -1 below, 0 unknown.

        place: in cells of the finest grid.  The side is known in cells that were never split: all known values on such a
        cube are on one side. It is unknown in the cells of size 2 that the surface crosses, outside the grid, or anywhere
        in a grid that was given up.
        """
        found = np.zeros(len(place), np.int8)
        within = ((place >= 0) & (place <= self.resolution)).all(axis=1)
        finished = self.depth and not (self.failed[item] or self.overgrown[item])
        rows = np.flatnonzero(within) if finished else np.zeros(0, np.int64)
        cells = np.minimum(place[rows].astype(np.int64), self.resolution - 1)
        for k in range(self.depth):
            side = self.start << k
            x, y, z = (cells >> self.depth - k).T
            state = self._cells[k][((item * side + x) * side + y) * side + z]
            one_sided = (state & SPLIT) == 0
            found[rows[one_sided]] = np.where(state[one_sided] & ABOVE, 1, -1)
            rows, cells = rows[~one_sided], cells[~one_sided]
        return found

    def _first_grid(self) -> Int[np.ndarray, " points"]:
        axis = np.arange(self.start + 1) << self.depth
        index = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
        items = np.repeat(np.arange(self.count), len(index))
        return self._pack(items, np.tile(index, (self.count, 1)))

    def _pack(self, items: np.ndarray, index: np.ndarray) -> Int[np.ndarray, " points"]:
        bits = self._bits
        return ((items << bits | index[:, 0]) << bits | index[:, 1]) << bits | index[:, 2]

    def _unpack(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        bits, mask = self._bits, (1 << self._bits) - 1
        index = np.empty((len(keys), 3), np.int64)
        index[:, 0], index[:, 1], index[:, 2] = keys >> 2 * bits & mask, keys >> bits & mask, keys & mask
        return keys >> 3 * bits, index

    def _insert(self, keys: np.ndarray, values: np.ndarray) -> None:
        keys, values = np.concatenate([self._keys, keys]), np.concatenate([self._values, values])
        order = np.argsort(keys, kind="stable")  # two sorted runs: a merge
        self._keys, self._values = keys[order], values[order]

    def _affordable(self, ready: list[np.ndarray]) -> list[np.ndarray]:
        """The cells to split without those of grids that would become too large."""
        if self.most is None:
            return ready
        owners = [cells // (self.start << k) ** 3 for k, cells in enumerate(ready)]
        new = sum(
            (NEW_POINTS * np.bincount(owner, minlength=self.count) for owner in owners), np.zeros(self.count, int)
        )
        large = self.evaluations + new > self.most
        large &= new > 0
        self._give_up(np.flatnonzero(large), self.overgrown)
        return [cells[~large[owner]] for cells, owner in zip(ready, owners, strict=True)]

    def _give_up(self, items: np.ndarray, why: np.ndarray) -> None:
        for item in np.unique(items):
            why[item] = True
            for k in range(self.depth):
                self._cells[k].reshape(self.count, -1)[item] = 0

    def _mark(self, k: int, items: np.ndarray, index: np.ndarray, values: np.ndarray) -> Int[np.ndarray, " cells"]:
        """Notes on which side the points lie in every cell of refinement k whose closed cube contains them."""
        touched = []
        for side, bit in ((values >= self.level, ABOVE), (values <= self.level, BELOW)):
            cells = self._cells_around(k, items[side], index[side])
            self._cells[k][cells] |= bit
            touched.append(cells)
        return np.concatenate(touched)

    def _cells_around(self, k: int, items: np.ndarray, index: np.ndarray) -> Int[np.ndarray, " cells"]:
        shift, side = self.depth - k, self.start << k
        cells, rows = items, np.arange(len(items))
        for axis in range(3):
            coordinate = index[rows, axis]
            upper = coordinate >> shift
            on_face = np.flatnonzero((coordinate & (1 << shift) - 1 == 0) & (upper > 0))
            shared = cells[on_face] * side + upper[on_face] - 1
            cells = np.concatenate([cells * side + upper, shared])
            rows = np.concatenate([rows, rows[on_face]])
            within = np.concatenate([upper < side, np.ones(len(on_face), bool)])
            if not within.all():
                cells, rows = cells[within], rows[within]
        return cells

    def _ready(self, k: int, touched: np.ndarray) -> Int[np.ndarray, " cells"]:
        return _sorted_unique(touched[self._cells[k][touched] == READY])

    def _split(self, k: int, cells: np.ndarray) -> Int[np.ndarray, " points"]:
        """Splits cells of refinement k; the keys of their new lattice points (with repeats, known ones included)."""
        side = self.start << k
        self._cells[k][cells] |= SPLIT
        rest, z = np.divmod(cells, side)
        rest, y = np.divmod(rest, side)
        items, x = np.divmod(rest, side)
        corner = np.stack([x, y, z], axis=1)
        if k + 1 < self.depth:
            child = 2 * corner[:, None] + CHILDREN
            inner = 2 * side
            flat = ((items[:, None] * inner + child[..., 0]) * inner + child[..., 1]) * inner + child[..., 2]
            self._cells[k + 1][flat.ravel()] |= EXISTS
        half = self.depth - k - 1
        first = self._pack(items, corner << half + 1)
        offsets = self._pack(np.zeros(len(LATTICE), np.int64), LATTICE << half)
        return (first[:, None] + offsets).ravel()


def refine(evaluate: Evaluate, count: int, start: int, depth: int, level: float, most: int | None = None) -> Octrees:
    """Refines `count` grids until every one is finished. `evaluate` is called once per round (see `Evaluate`).

    most: see `Octrees`.
    """
    octrees = Octrees(count, start, depth, level, most)
    items, index = octrees.unknown()
    while len(items):
        octrees.update(evaluate(items, index))
        items, index = octrees.unknown()
    return octrees


def _filled(index: np.ndarray, values: np.ndarray, corner: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """A box of the grid with known values, the rest swept from known neighbours along x, y, z in turn."""
    grid = np.zeros(tuple(shape))
    known = np.zeros(tuple(shape), bool)
    place = tuple((index - corner).T)
    grid[place], known[place] = values, True
    for axis in range(3):
        cells, marks = np.moveaxis(grid, axis, 0), np.moveaxis(known, axis, 0)
        for step in range(1, len(cells)):
            take = ~marks[step] & marks[step - 1]
            np.copyto(cells[step], cells[step - 1], where=take)
            marks[step] |= take
    return grid


def _sorted_unique(keys: np.ndarray) -> np.ndarray:
    if not len(keys):
        return keys
    keys = np.sort(keys)
    return keys[np.concatenate([[True], keys[1:] != keys[:-1]])]


def _contains(known: np.ndarray, keys: np.ndarray) -> Bool[np.ndarray, " keys"]:
    if not len(known):
        return np.zeros(len(keys), bool)
    place = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    return known[place] == keys
