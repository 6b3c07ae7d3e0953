"""One graph cut over processes gives the result of one process."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from revgnn.distributed import assign
from tests.distributed.graph_scenarios import graph_with_features
from tests.distributed.launch import launch, succeed

SCENARIOS = "tests.distributed.graph_scenarios"


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 3])
def test_every_network_on_shares_of_a_graph(tmp_path: Path, size: int) -> None:
    succeed(size, "cut", tmp_path, SCENARIOS)


@pytest.mark.slow
def test_a_process_that_dies_is_named(tmp_path: Path) -> None:
    outcomes = launch(3, "killed", tmp_path, module=SCENARIOS)
    assert [outcome.code for outcome in outcomes[:2]] == [7, 7], outcomes[0].stderr[-2000:]


@pytest.mark.parametrize("how", ["contiguous", "random"])
def test_processes_have_equally_many_nodes(how: str) -> None:
    graph = graph_with_features()
    owner = assign(graph, 5, how, seed=3)  # pyright: ignore[reportArgumentType]
    counts = torch.bincount(owner, minlength=5)
    assert int(counts.max() - counts.min()) <= 1
    assert bool((owner.diff() >= 0).all()) == (how == "contiguous")
    if how == "random":
        assert not torch.equal(owner, assign(graph, 5, "random", seed=4))


def test_metis_cuts_fewer_edges() -> None:
    pytest.importorskip("pymetis")
    # two halves with one edge between them, numbered alternately
    torch.manual_seed(0)
    ends = torch.randint(0, 50, (2, 800))
    halves = torch.cat([2 * ends, 2 * ends + 1, torch.tensor([[0], [1]])], dim=1)
    from revgnn.graph import Graph

    graph = Graph.from_edge_index(halves, 100)

    def cut(owner: torch.Tensor) -> int:
        return int((owner[graph.src.long()] != owner[graph.dst.long()]).sum())

    assert cut(assign(graph, 2, "metis")) <= 1 < cut(assign(graph, 2, "random"))


def test_a_way_that_is_not_there_is_refused() -> None:
    graph = graph_with_features()
    with pytest.raises(ValueError, match="how must be contiguous, random or metis, got 'spectral'"):
        assign(graph, 2, "spectral")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="97 nodes cannot be cut over 98 processes"):
        assign(graph, 98)
