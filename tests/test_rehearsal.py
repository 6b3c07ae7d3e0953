"""`Rehearsal`: it sees what `PeakMemory` sees, allocates nothing, and leaves kernels and tensors outside as they are."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from revgnn import Graph, PeakMemory
from revgnn.graph.index import BySource
from revgnn.kernels.cpu.kernel import kernel, num_blocks, number, read, size, write
from revgnn.memory import Rehearsal, rehearsing
from revgnn.ops.aggregate import Mean, aggregate


def work(n: int) -> torch.Tensor:
    x = torch.randn(n, 8, requires_grad=True)
    hidden = torch.relu(x @ torch.randn(8, 32)).softmax(1)
    hidden.exp().sum().backward()
    return x


@pytest.mark.parametrize("n", [0, 1, 1000])
def test_the_peak_is_the_measured_one(n: int) -> None:
    with PeakMemory() as memory:
        kept = work(n)
    with Rehearsal() as rehearsal:
        rehearsed = work(n)
        live = rehearsal.live_bytes()
        assert rehearsed.shape == kept.shape
    assert max(live) == memory.peak_bytes
    assert live[-1] == memory.live_bytes


def resized() -> torch.Tensor:
    first = torch.ones(100)
    first.untyped_storage().resize_(0)
    second = torch.ones(30)
    second.untyped_storage().resize_(4 * 50)
    return torch.ones(40)


def test_storages_that_are_resized_are_followed() -> None:
    with PeakMemory() as memory:
        resized()
    with Rehearsal() as rehearsal:
        resized()
        live = rehearsal.live_bytes()
    assert max(live) == memory.peak_bytes == 4 * 100
    assert sorted({each.nbytes for each in rehearsal.allocations}) == [0, 4 * 30, 4 * 40, 4 * 50, 4 * 100]
    assert live[-1] == memory.live_bytes == 0


def test_what_would_not_fit_any_machine_is_rehearsed() -> None:
    with Rehearsal() as rehearsal:
        work(10**9)
    assert max(rehearsal.live_bytes()) > 1e11


def test_labels_and_lives() -> None:
    with Rehearsal() as rehearsal:
        with rehearsal.label("weights"):
            weight = torch.ones(10, requires_grad=True)
        (weight * 2.0).sum().backward()
        assert weight.grad is not None
        rehearsal.set_label(weight.grad, "gradients")
        end = rehearsal.time - 1
        alive = {each.label: each for each in rehearsal.alive_at(end) if each.label}
    assert {label: each.nbytes for label, each in alive.items()} == {"weights": 40, "gradients": 40}
    assert alive["gradients"].backward
    assert not alive["weights"].backward
    assert any(each.died is not None for each in rehearsal.allocations)


def test_what_depends_on_values_is_bounded_from_above() -> None:
    with Rehearsal():
        x = torch.rand(50, 3)
        assert x[x[:, 0] > 0.5].shape == (50, 3)
        assert (x > 0.5).nonzero().shape == (150, 2)
        assert bool((x > 2.0).any())
        first, second = float(x.sum()), float(x.sum())
        assert 0.9 < second < first < 1.0
        assert torch.equal(x, x + 1)


def test_buffers_of_kernels_are_told_from_their_results() -> None:
    """The backward pass of a sum over edges has partial sums of the weights' gradient, which die in it."""
    with Rehearsal(is_kernel=lambda path: "/ops/aggregate/cpu/" in path) as rehearsal:
        graph = _fake_graph(500, 4000)
        x, weight = torch.rand(500, 16, requires_grad=True), torch.rand(8, 16, requires_grad=True)
        out = aggregate(x, graph, graph.edge_attr, weight, how=Mean())
        out.sum().backward()
        assert x.grad is not None
        results = [x.grad, out]
        for result in results:
            rehearsal.set_label(result, "result")
    assert [each.buffer for each in rehearsal.allocations if each.label == "result"] == [False, False]
    buffers = [each for each in rehearsal.allocations if each.buffer]
    assert buffers
    assert all(each.died is not None for each in buffers)


def _fake_graph(nodes: int, edges: int) -> Graph:
    def numbers(count: int, dtype: torch.dtype) -> torch.Tensor:
        return torch.empty(count, dtype=dtype)

    graph = Graph(numbers(nodes + 1, torch.int64), numbers(edges, torch.int32), torch.rand(edges, 8), validate=False)
    graph._by_source = BySource(numbers(nodes + 1, torch.int64), numbers(edges, torch.int32), numbers(edges, torch.int32))
    return graph


def test_a_kernel_made_in_a_rehearsal_runs_afterwards() -> None:
    def make():
        @kernel(count=size, x=read(np.float32, "count"), factor=number, out=write(np.float32, "count"))
        def scale(args):
            for n in range(args.count):
                args.out[n] = args.x[n] * np.float32(args.factor)

        return scale

    with Rehearsal():
        scale = make()
        fake = torch.zeros(5)
        scale(1, count=5, x=fake, factor=3.0, out=fake)  # does nothing, and reads no memory
    x, out = torch.arange(5.0), torch.zeros(5)
    scale(num_blocks(5), count=5, x=x, factor=3.0, out=out)
    assert torch.equal(out, 3.0 * x)


def test_only_the_thread_that_rehearses_skips_kernels() -> None:
    seen: list[bool] = []
    with Rehearsal():
        assert rehearsing()
        other = threading.Thread(target=lambda: seen.append(rehearsing()))
        other.start()
        other.join()
    assert seen == [False]
    assert not rehearsing()
