"""Blocks of rows and the threads that take them."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numba import cfunc
from torch import Tensor

from revgnn.graph import Graph
from revgnn.kernels.cpu import launch
from revgnn.kernels.cpu.launch import first_row, next_block, num_blocks, run, tile
from revgnn.kernels.cpu.simd import pointer
from revgnn.ops import Mean, aggregate
from revgnn.testing import awkward_graphs


@pytest.fixture
def three_threads() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def python_threads(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    return lambda: monkeypatch.setattr(launch, "_openmp", lambda: None)


def gradients() -> list[Tensor]:
    rng = torch.Generator().manual_seed(0)
    graph = Graph.from_edge_index(torch.randint(0, 900, (2, 80_000), generator=rng), 900, torch.rand(80_000, 3, generator=rng))
    leaves = [torch.randn(shape, generator=rng, requires_grad=True) for shape in ((900, 40), (3, 40))]
    out = aggregate(leaves[0], graph, graph.edge_attr, leaves[1], how=Mean())
    return [out, *torch.autograd.grad(out.square().sum(), leaves)]


@pytest.mark.usefixtures("three_threads")
def test_python_threads_give_the_bits_of_openmp(python_threads: Callable[[], None]) -> None:
    if launch._openmp() is None:
        pytest.skip("torch does not run on GNU OpenMP here: Python threads are all there is")
    expected = gradients()
    python_threads()
    results = gradients()
    assert any("revgnn-kernel" in t.name for t in threading.enumerate())
    assert all(torch.equal(a, b) for a, b in zip(results, expected, strict=True))


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize("openmp", [True, False])
def test_each_block_is_taken_once(openmp: bool, python_threads: Callable[[], None]) -> None:
    def count(record):
        counts = pointer(record[2], np.int64)
        while True:
            block = next_block(record)
            if block >= record[1]:
                return
            counts[block] += 1

    if not openmp:
        python_threads()
    counts = torch.zeros(10_000, dtype=torch.int64)
    run(cfunc(launch.SIGNATURE)(count), counts.numel(), counts)
    assert torch.equal(counts, torch.ones_like(counts))


def test_an_observer_hears_of_each_kernel_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, float]] = []
    expected = gradients()
    monkeypatch.setattr(launch, "observer", lambda *found: seen.append(found))
    observed = gradients()
    assert list(dict.fromkeys(name for name, _ in seen)) == ["sum_forward", "backward_by_destination"]
    assert all(seconds > 0 for _, seconds in seen)
    assert all(torch.equal(a, b) for a, b in zip(observed, expected, strict=True))


@pytest.mark.parametrize("named", awkward_graphs(), ids=str)
@pytest.mark.parametrize("blocks", [1, 2, 3, 7, 64])
def test_blocks_cover_all_rows_in_order(named: Any, blocks: int) -> None:
    indptr, num_rows = named.graph.indptr.numpy(), named.graph.num_nodes
    begins = [first_row(indptr, num_rows, block, blocks) for block in range(blocks + 1)]
    assert begins[0] == 0
    assert begins[-1] == num_rows
    assert begins == sorted(begins)
    # none holds more than its share and one row: the row where the share ends belongs to one block
    largest = max(int(indptr[b] - indptr[a]) + b - a for a, b in itertools.pairwise(begins))
    heaviest = int(named.graph.in_degree.max()) + 1
    assert largest <= (named.graph.num_edges + num_rows) / blocks + heaviest


def test_blocks_follow_the_work_alone() -> None:
    assert [num_blocks(work) for work in (0, 1, 1 << 14, 1 << 16, 1 << 40)] == [1, 1, 1, 4, 256]


@pytest.mark.parametrize("channels", [1, 7, 40, 128, 129, 131, 200, 224, 256, 257, 1000])
def test_tiles_hold_all_channels_with_little_padding(channels: int) -> None:
    lanes, padded = tile(channels)
    assert padded % lanes == 0
    assert lanes <= 128
    assert channels <= padded < channels + lanes
    if channels > 128:
        assert lanes % 16 == 0
    else:
        assert (lanes, padded) == (channels, channels)
