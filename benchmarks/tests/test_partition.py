"""The benchmark of partitions: no figures for wrong parts, and a record that says what a reader needs."""

from __future__ import annotations

import json

import pytest
import torch
from torch_geometric.data import Data

from benchmarks import partition
from benchmarks.anonymous_memory import AnonymousPeak, anonymous_bytes
from revgnn.data import Part, RandomPartition
from revgnn.data.generated.full_size import full_size


def data_of(graph) -> Data:
    return Data(edge_index=graph.edge_index, edge_attr=graph.edge_attr, num_nodes=graph.num_nodes)


@pytest.mark.parametrize("storage", ["float32", "int16"])
def test_result_line(capsys, tmp_path, storage):
    assert partition.main(["--quick", "--storage", storage, "--results", str(tmp_path), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result == json.loads((tmp_path / "quick" / "partition.jsonl").read_text())
    assert {"commit", "cpu", "threads", "nodes", "edges", "storage", "seconds", "peak_bytes", "bound_seconds"} <= result.keys()
    assert {name: len(seconds) for name, seconds in result["seconds"].items()} == {"revgnn": 2, "PyG RandomNodeLoader": 2}
    assert {name: len(seconds) for name, seconds in result["overlap"].items()} == {"alone": 3, "beside": 8, "wait": 7}
    row, line = 8 * {"float32": 4, "int16": 2}[storage], 64
    assert result["moved_bytes"] == 4 * 20_000 + min(5000 * line, 20_000 * row) + 5000 * (row + 4)


def lose_an_edge(part: Part) -> Part:
    last = part.graph.indptr.clone()
    last[-1] -= 1
    graph = part.graph
    assert graph.edge_attr is not None
    return Part(part.nodes, type(graph)(last, graph.src[:-1], graph.edge_attr[:-1]))


def move_a_feature(part: Part) -> Part:
    assert part.graph.edge_attr is not None
    return Part(part.nodes, part.graph.with_edge_attr(part.graph.edge_attr.roll(1, 0)))


def repeat_a_node(part: Part) -> Part:
    nodes = part.nodes.clone()
    nodes[0] = nodes[1]
    return Part(nodes, part.graph)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lose_an_edge, "part 0 does not have the edges"),
        (move_a_feature, "part 0 does not have the features"),
        (repeat_a_node, "part 0 does not have the edges"),
    ],
)
def test_wrong_parts_give_no_figures(monkeypatch, capsys, tmp_path, spoil, message):
    right = RandomPartition._cut
    monkeypatch.setattr(RandomPartition, "_cut", lambda *args, **kwargs: spoil(right(*args, **kwargs)))
    assert partition.main(["--quick", "--results", str(tmp_path)]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert message in printed.err
    assert not list(tmp_path.iterdir())


def test_a_node_in_two_parts_is_found(monkeypatch):
    graph = full_size(200, 4000)
    right = RandomPartition._cut
    # the second of three parts is not compared edge by edge
    monkeypatch.setattr(
        RandomPartition,
        "_cut",
        lambda self, draw, index, threads=1: repeat_a_node(right(self, draw, index)) if index == 1 else right(self, draw, index),
    )
    with pytest.raises(AssertionError, match=r"node \d+ is in [02] parts"):
        partition.check_parts(graph, data_of(graph), 3)


def test_memory_of_any_library_is_seen():
    import numpy as np

    with AnonymousPeak() as memory:
        held = np.ones(8_000_000)  # so large that no allocator serves it from what it has
        torch.ones(2_000_000).add_(1)
        held += 1
    if anonymous_bytes():
        assert memory.peak_bytes > 60_000_000
