"""Sizes of pieces follow the cache, the threads and a GPU's free memory; cutting changes no result."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from im2hands.geometry import pieces as module
from im2hands.geometry.pieces import in_pieces, pieces, rows_at_once


def test_cpu_rows_share_the_cache_of_all_threads(monkeypatch):
    single, double = torch.zeros(1), torch.zeros(1, dtype=torch.float64)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    one = rows_at_once(single, 100)
    assert one == module.CACHE_BYTES // 400
    assert rows_at_once(double, 100) == one // 2
    assert rows_at_once(single, module.CACHE_BYTES) == 1
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert rows_at_once(single, 100) == 2 * module.CACHE_BYTES // 400


def test_gpu_rows_follow_the_free_memory(monkeypatch):
    """A quarter of what is free, however little it is, but never fewer rows than a GPU needs to be busy."""
    like = SimpleNamespace(device=torch.device("cuda:0"), element_size=lambda: 4)
    for free, rows in ((1 << 30, (1 << 28) // 4000), (1 << 34, (1 << 32) // 4000), (1000, module.FEWEST_GPU_ROWS)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 1 << 36))
        assert rows_at_once(like, 1000) == rows


@pytest.mark.parametrize("count", [0, 1, 6, 7, 20])
def test_pieces_cover_all_rows_in_order(count):
    parts = list(pieces(count, 7))
    assert [row for part in parts for row in range(count)[part]] == list(range(count))
    assert len(parts) == -(-count // 7)


@pytest.mark.parametrize("count", [0, 1, 50])
def test_results_do_not_depend_on_pieces(monkeypatch, count):
    rows = torch.arange(2 * count * 3, dtype=torch.float64).view(2, count, 3)
    sizes = []

    def function(part: torch.Tensor) -> torch.Tensor:
        sizes.append(part.shape[1])
        return part.square().sum(-1)

    expected = function(rows)
    monkeypatch.setattr(module, "CACHE_BYTES", 7 * 24)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    sizes.clear()
    with torch.no_grad():
        assert torch.equal(in_pieces(function, rows, 3), expected)
    assert max(sizes) == min(count, 7)
    sizes.clear()
    assert torch.equal(in_pieces(function, rows, 3), expected)
    assert sizes == [count]
