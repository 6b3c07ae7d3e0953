"""Random partitions: each node in one part, each part equal to the sub-graph, the same parts for the same (seed, epoch)."""

from __future__ import annotations

import os
import signal
import threading

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

from revgnn.data import RandomPartition, generate, load, proteins_shaped
from revgnn.data import cut as cut_module
from revgnn.data.cut import Assignment, cut_part
from revgnn.graph import Graph


def _graph(edges: list[tuple[int, int]], num_nodes: int, features: int = 0) -> Graph:
    edge_index = torch.tensor(edges, dtype=torch.int64).reshape(-1, 2).T
    edge_attr = torch.rand(len(edges), features) if features else None
    return Graph.from_edge_index(edge_index, num_nodes, edge_attr)


AWKWARD = {
    "no edges": lambda: _graph([], 7),
    "no edges, with features": lambda: Graph.from_edge_index(torch.empty(2, 0, dtype=torch.int64), 5, torch.empty(0, 3)),
    "isolated nodes": lambda: _graph([(0, 1), (1, 0)], 9, 2),
    "doubled edges": lambda: _graph([(0, 1), (0, 1), (2, 1), (2, 1), (2, 1)], 3, 4),
    "self-loops": lambda: _graph([(i, i) for i in range(6)], 6, 1),
    "hub": lambda: _graph([(i, 0) for i in range(40)] + [(0, i) for i in range(40)], 41, 3),
    "one way": lambda: proteins_shaped(101, 999, 5),
    "generated": lambda: generate(500).graph,
}


def assert_is_subgraph(part, whole: Graph) -> None:
    expected = whole.subgraph(part.nodes)
    assert torch.equal(part.graph.indptr, expected.indptr)
    assert torch.equal(part.graph.src, expected.src)
    assert part.graph.src.dtype == expected.src.dtype
    assert (part.graph.edge_attr is None) == (whole.edge_attr is None)
    assert part.graph.edge_scale == whole.edge_scale
    if whole.edge_attr is not None:
        assert part.graph.edge_attr.dtype == whole.edge_attr.dtype
        assert torch.equal(part.graph.edge_attr, expected.edge_attr)
        assert part.graph.edge_attr.is_contiguous()
    # passes every check of the class
    Graph(part.graph.indptr, part.graph.src, part.graph.edge_attr, edge_scale=part.graph.edge_scale)


@pytest.mark.parametrize("parts", [1, 2, 3])
@pytest.mark.parametrize("name", AWKWARD)
def test_parts_are_the_subgraphs_of_a_partition(name, parts):
    graph = AWKWARD[name]()
    out = list(RandomPartition(graph, parts, seed=3).epoch(5))
    assert len(out) == parts
    assert torch.equal(torch.cat([p.nodes for p in out]).sort().values, torch.arange(graph.num_nodes))
    sizes = [p.nodes.numel() for p in out]
    assert max(sizes) - min(sizes) <= 1
    for part in out:
        assert_is_subgraph(part, graph)


def test_parts_of_a_real_graph_with_edge_features(real_data):
    graph = load("ogbn-humanppi", real_data, cache=False).graph
    for part in RandomPartition(graph, 10, seed=0).epoch(0):
        assert_is_subgraph(part, graph)
    # The P^2 pairs of parts have about the same number of edges each, and P of them are kept.
    kept = sum(part.graph.num_edges for part in RandomPartition(graph, 10).epoch(1))
    assert kept / graph.num_edges == pytest.approx(0.1, rel=0.1)


def test_many_blocks_on_many_threads_give_the_same_part(monkeypatch):
    graph = proteins_shaped(1000, 40_001, 0)
    values = np.random.default_rng(1).random((40_001, 3))
    assignment = Assignment.from_order(np.random.default_rng(0).permutation(1000), np.array([0, 300, 301, 1000]))
    one = [cut_part(graph.indptr.numpy(), graph.src.numpy(), values, assignment, part) for part in range(3)]
    monkeypatch.setattr(cut_module, "_BLOCK_EDGES", 700)
    many = [cut_part(graph.indptr.numpy(), graph.src.numpy(), values, assignment, part, threads=3) for part in range(3)]
    assert all(np.array_equal(a, b) for ours, other in zip(one, many, strict=True) for a, b in zip(ours, other, strict=True))
    assert one[2].src.size > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int16], ids=str)
@pytest.mark.parametrize("width", [1, 3, 8])
def test_edge_features_are_cut_as_they_are_stored(dtype, width):
    graph = proteins_shaped(120, 3000, 0)
    features = torch.randint(-300, 300, (3000, width)).to(dtype)
    graph = graph.with_edge_attr(features, edge_scale=0.01 if dtype == torch.int16 else 1.0)
    for part in RandomPartition(graph, 4).epoch(0):
        assert_is_subgraph(part, graph)


def test_edge_features_that_are_a_slice_of_others():
    graph = proteins_shaped(120, 3000, 8)
    graph = graph.with_edge_attr(graph.edge_attr[:, 2:7])
    for part in RandomPartition(graph, 3).epoch(0):
        assert_is_subgraph(part, graph)


def test_one_part_is_the_graph_itself():
    graph = AWKWARD["hub"]()
    for parts in (RandomPartition(graph, 1).epoch(0), RandomPartition(graph, 1).prefetching(0)):
        (part,) = parts
        assert part.graph is graph
        assert torch.equal(part.nodes, torch.arange(41))


def _nodes(partition: RandomPartition, epoch: int) -> list[list[int]]:
    return [part.nodes.tolist() for part in partition.epoch(epoch)]


def test_parts_depend_on_seed_and_epoch_alone():
    graph = proteins_shaped(200, 2000)
    used = RandomPartition(graph, 4, seed=7)
    for epoch in range(3):
        list(used.prefetching(epoch))
    assert _nodes(used, 9) == _nodes(RandomPartition(graph, 4, seed=7), 9)
    assert _nodes(used, 9) != _nodes(used, 8)
    assert _nodes(used, 9) != _nodes(RandomPartition(graph, 4, seed=8), 9)


@pytest.mark.parametrize("epochs", [(0, 1, 2), (5, 3, 3, 4), (0, 2)], ids=str)
def test_prefetching_gives_the_same_parts(epochs):
    graph = proteins_shaped(300, 3000, 2)
    with RandomPartition(graph, 3, seed=1) as partition:
        for epoch in epochs:
            plain, ahead = list(RandomPartition(graph, 3, seed=1).epoch(epoch)), list(partition.prefetching(epoch))
            assert len(ahead) == 3
            for a, b in zip(plain, ahead, strict=True):
                assert torch.equal(a.nodes, b.nodes)
                assert torch.equal(a.graph.src, b.graph.src)
                assert torch.equal(a.graph.edge_attr, b.graph.edge_attr)


def test_an_epoch_may_start_at_any_part():
    partition = RandomPartition(proteins_shaped(300, 3000), 4)
    rest = [part.nodes.tolist() for part in partition.epoch(2)][3:]
    assert [part.nodes.tolist() for part in partition.epoch(2, start=3)] == rest
    assert [part.nodes.tolist() for part in partition.prefetching(2, start=3)] == rest


def test_each_part_is_prepared_before_it_is_asked_for(monkeypatch):
    """A consumer that is slower than the preparation never waits, not even for the first part of the next epoch."""
    partition = RandomPartition(proteins_shaped(300, 3000), 3)
    made, ready, inner = [], threading.Semaphore(0), partition._cut

    def spy(assignment, index, threads=1):
        out = inner(assignment, index, threads)
        made.append((index, threading.current_thread() is threading.main_thread(), threads))
        ready.release()
        return out

    monkeypatch.setattr(partition, "_cut", spy)
    for epoch in range(2):
        for index, _ in enumerate(partition.prefetching(epoch)):
            # The part in use and the next one, never more.
            assert ready.acquire(timeout=30)
            if epoch == 0 and index == 0:
                assert ready.acquire(timeout=30)
            assert len(made) == 3 * epoch + index + 2
    assert made[0] == (0, True, torch.get_num_threads())
    assert made[1:] == [(index, False, 1) for index in (1, 2, 0, 1, 2, 0)]
    partition.close()


def test_an_error_in_the_background_reaches_the_consumer(monkeypatch):
    partition = RandomPartition(proteins_shaped(300, 3000), 2)
    inner = partition._cut

    def fails(assignment, index, threads=1):
        if index == 1:
            raise MemoryError("no room")
        return inner(assignment, index, threads)

    monkeypatch.setattr(partition, "_cut", fails)
    parts = partition.prefetching(0)
    next(parts)
    with pytest.raises(MemoryError, match="no room"):
        next(parts)


def test_close_ends_the_background_thread_and_leaves_the_partition_usable():
    before = set(threading.enumerate())
    partition = RandomPartition(proteins_shaped(300, 3000), 3)
    parts = partition.prefetching(0)
    next(parts)
    (background,) = set(threading.enumerate()) - before
    parts.close()
    partition.close()
    assert not background.is_alive()
    assert len(list(partition.prefetching(1))) == 3
    partition.close()


@pytest.mark.parametrize(
    ("parts", "seed", "message"),
    [(0, 0, "between 1 and the number of nodes"), (4, 0, r"nodes \(3\), got 4"), (1, -1, "seed must be 0 or more, got -1")],
)
def test_bad_arguments(parts, seed, message):
    with pytest.raises(ValueError, match=message):
        RandomPartition(_graph([(0, 1)], 3), parts, seed)


def test_bad_epoch():
    with pytest.raises(ValueError, match="epoch must be 0 or more"):
        RandomPartition(_graph([(0, 1)], 3), 2).epoch(-1)


# --- other processes ------------------------------------------------------------------------------------------------------


class _SumsOfParts(IterableDataset):
    def __init__(self, partition: RandomPartition) -> None:
        self.partition = partition

    def __iter__(self):
        return (int(part.nodes.sum()) for part in self.partition.prefetching(0))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_prefetching_in_workers_after_prefetching_here(method):
    with RandomPartition(Graph.from_edge_index(torch.randint(0, 200, (2, 2000)), 200), 5) as partition:
        expected = list(_SumsOfParts(partition))
        loader = DataLoader(_SumsOfParts(partition), batch_size=None, num_workers=1, timeout=60, multiprocessing_context=method)
        assert list(loader) == expected
        assert list(_SumsOfParts(partition)) == expected


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_in_the_middle_of_an_epoch():
    with RandomPartition(Graph.from_edge_index(torch.randint(0, 200, (2, 2000)), 200), 5) as partition:
        expected = [part.nodes.tolist() for part in partition.epoch(0)]
        parts = partition.prefetching(0)
        assert next(parts).nodes.tolist() == expected[0]
        child = os.fork()
        if child == 0:
            signal.alarm(30)
            os._exit(0 if [part.nodes.tolist() for part in parts] == expected[1:] else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert [part.nodes.tolist() for part in parts] == expected[1:]
