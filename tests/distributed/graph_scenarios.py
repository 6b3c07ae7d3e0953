"""What the processes of a job do in the tests of one graph cut over them; see `scenarios`."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch_geometric.nn import SAGEConv as PyGSAGEConv

from revgnn.distributed import RankFailed, Ranks, ShardedGraph, shard_model, sum_gradients
from revgnn.graph import Graph
from revgnn.models import ModelConfig, build_model
from revgnn.nn import PreActivation
from revgnn.stack import ReversibleStack
from revgnn.testing import awkward_graphs
from tests.distributed.launch import team_of


class Case(NamedTuple):
    """A network and a graph to cut."""

    name: str
    settings: dict[str, Any]
    graph: Graph
    how: Any = "contiguous"


def graph_with_features(nodes: int = 97, edges: int = 900) -> Graph:
    """Return a graph with a hub, self-loops, doubled edges and nodes without edges."""
    torch.manual_seed(5)
    ends = torch.randint(0, nodes - 4, (2, edges))
    ends[1, :120] = 7
    return Graph.from_edge_index(torch.cat([ends, ends[:, :9]], 1), nodes, torch.rand(edges + 9, 3))


REVERSIBLE = {"family": "reversible", "depth": 3, "channels": 16, "dropout": 0.25}
NETWORKS: dict[str, dict[str, Any]] = {
    "gen max": REVERSIBLE,
    "gen softmax, segments": {**REVERSIBLE, "convolution": {"conv": "gen", "aggregation": "softmax"}, "segments": 3},
    "gen power, stored": {**REVERSIBLE, "convolution": {"conv": "gen", "aggregation": "power"}, "gradient": "backprop"},
    "gcn": {**REVERSIBLE, "convolution": {"conv": "gcn"}},
    "sage, tied": {**REVERSIBLE, "convolution": {"conv": "sage", "aggregation": "mean"}, "tied": True, "depth": 4},
    "gat": {**REVERSIBLE, "convolution": {"conv": "gat", "heads": 2}},
    "residual": {"family": "residual", "depth": 3, "channels": 16, "dropout": 0.25},
    "revgat": {"family": "revgat", "depth": 4, "channels": 12, "convolution": {"heads": 3, "symmetric": True}, "norm": "layer"},
}
BATCH_NORM = {**REVERSIBLE, "norm": "batch"}


def cases() -> Iterator[Case]:
    """Yield every network, on contiguous and random shares."""
    for n, (name, settings) in enumerate(NETWORKS.items()):
        yield Case(name, settings, graph_with_features(), ("contiguous", "random")[n % 2])
    yield Case("gen max, random", REVERSIBLE, graph_with_features(), "random")


class Outcome(NamedTuple):
    """What a network gives."""

    logits: Tensor
    gradients: list[Tensor]
    buffers: list[Tensor]


def inputs(graph: Graph) -> tuple[Tensor, Tensor]:
    """Return features and targets of all nodes."""
    generator = torch.Generator().manual_seed(3)
    return torch.randn(graph.num_nodes, 5, generator=generator), torch.randn(graph.num_nodes, 2, generator=generator)


def network(settings: dict[str, Any], graph: Graph) -> Any:
    """Return the network in training mode. Head and encoder draw no dropout of their own."""
    torch.manual_seed(1)
    model = build_model(
        ModelConfig.model_validate(settings),
        in_channels=5,
        out_channels=2,
        num_edge_features=graph.num_edge_features,
        num_species=0,
    ).train()
    model.config = model.config.model_copy(update={"dropout": 0.0})
    return model


def outcome(settings: dict[str, Any], graph: Graph, shard: ShardedGraph | None) -> Outcome:
    """Return the outcome of one step, on the whole graph or on a share of it."""
    model, (x, y) = network(settings, graph), inputs(graph)
    width, groups = settings["channels"], 1 if settings["family"] == "residual" else 2
    if shard is None:
        torch.manual_seed(11)
        parts = [torch.empty(graph.num_nodes, width // groups).bernoulli_(0.75).div_(0.75) for _ in range(groups)]
        logits = model(graph, x, mask=torch.cat(parts, 1))
        (logits - y).square().sum().backward()
        return _outcome(model, logits)
    shard_model(model, shard)
    logits = model(shard.local, x[shard.own], mask=shard.mask(width, groups, 0.25, seed=11))
    (logits - y[shard.own]).square().sum().backward()
    sum_gradients(model, shard)
    return _outcome(model, shard.collect(logits))


def _outcome(model: nn.Module, logits: Tensor) -> Outcome:
    gradients = [torch.zeros(0) if p.grad is None else p.grad.clone() for p in model.parameters()]
    return Outcome(logits.detach(), gradients, [b.clone() for b in model.buffers()])


def assert_near(found: Outcome, expected: Outcome, name: str) -> None:
    """Assert gradients that differ by the order of sums only: some roundings of the largest entry."""
    for a, b in zip(found.gradients, expected.gradients, strict=True):
        assert a.shape == b.shape, name
        if b.numel():
            torch.testing.assert_close(a, b, rtol=0, atol=2e-5 * float(b.abs().max()) + 1e-12, msg=lambda m: f"{name}: {m}")


def cut(team: Ranks, folder: Path) -> None:
    """Every network on shares of a graph: forward pass bit for bit, gradients to rounding and the same each time."""
    for case in cases():
        expected = outcome(case.settings, case.graph, None)
        shard = ShardedGraph(case.graph, team, case.how)
        found, again = (outcome(case.settings, case.graph, shard) for _ in range(2))
        assert torch.equal(found.logits, expected.logits), (case.name, (found.logits - expected.logits).abs().max())
        assert_near(found, expected, case.name)
        assert all(torch.equal(a, b) for a, b in zip(found.gradients, again.gradients, strict=True)), case.name
    batch_norm(team)
    shares(team)
    any_convolution(team)
    refusals(team)


def batch_norm(team: Ranks) -> None:
    """Batch norm has the statistics of all nodes, and its running ones are those of one process, to rounding."""
    graph = graph_with_features()
    expected = outcome(BATCH_NORM, graph, None)
    found = outcome(BATCH_NORM, graph, ShardedGraph(graph, team, "random"))
    torch.testing.assert_close(found.logits, expected.logits, rtol=1e-4, atol=1e-4)
    # of all parameters: the gradient of a bias before a batch norm is 0 but for rounding
    largest = max(float(b.abs().max()) for b in expected.gradients if b.numel())
    for a, b in zip(found.gradients, expected.gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-4 * largest)
    for a, b in zip(found.buffers, expected.buffers, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def shares(team: Ranks) -> None:
    """Each edge is in one process, and each process has the rows that its edges need."""
    for _, graph in awkward_graphs():
        if graph.num_nodes < team.size:
            continue
        for how in ("contiguous", "random"):
            shard = ShardedGraph(graph, team, how, seed=2)
            assert int(team.sum(torch.tensor(shard.local.num_edges))) == graph.num_edges
            rows = torch.arange(graph.num_nodes)[:, None] * torch.ones(1, 2, dtype=torch.int64)
            wanted = torch.cat([shard.own, shard.fetched])
            assert torch.equal(shard.halo.extend(rows[shard.own]), rows[wanted])
            for row, node in enumerate(shard.own.tolist()):
                mine = shard.local.src[shard.local.indptr[row] : shard.local.indptr[row + 1]].long()
                assert torch.equal(wanted[mine], graph.src[graph.indptr[node] : graph.indptr[node + 1]].long())
            assert torch.equal(shard.local.out_degree, graph.out_degree[wanted])
            looped, _ = shard.local.looped()
            assert torch.equal(looped.out_degree, graph.looped()[0].out_degree[wanted])
            assert torch.equal(looped.inv_sqrt_degree(torch.float32), graph.looped()[0].inv_sqrt_degree(torch.float32)[wanted])


def any_convolution(team: Ranks) -> None:
    """A reversible stack of PyTorch Geometric's convolutions, in float64."""

    def build() -> ReversibleStack:
        torch.manual_seed(2)
        blocks = [[PreActivation(PyGSAGEConv(4, 4), channels=4) for _ in range(2)] for _ in range(3)]
        return ReversibleStack(blocks).double()

    graph = graph_with_features()
    x = torch.randn(graph.num_nodes, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    whole, cut = build(), build()
    expected = whole(x, graph.edge_index)
    expected.square().sum().backward()
    shard = ShardedGraph(graph, team, "random")
    shard_model(cut, shard)
    found = cut(x[shard.own], shard.local.edge_index)
    found.square().sum().backward()
    sum_gradients(cut, shard)
    torch.testing.assert_close(shard.collect(found), expected.detach(), rtol=1e-10, atol=1e-10)
    for a, b in zip(cut.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-9, atol=1e-9)


def refusals(team: Ranks) -> None:
    """Dropout that copies of a node would not share, solutions of whole graphs, and graphs with fewer nodes than processes."""
    graph = graph_with_features()
    shard = ShardedGraph(graph, team)
    x, _ = inputs(graph)
    for settings, message in (
        ({**REVERSIBLE, "shared_dropout": False}, "GENBlock draws dropout of its own"),
        (
            {"family": "revgat", "depth": 3, "channels": 12, "convolution": {"heads": 3, "edge_dropout": 0.5}},
            "GATConv draws dropout",
        ),
        ({"family": "equilibrium", "channels": 16, "solver": {"warm_start": True}}, "warm_start keeps solutions of all nodes"),
    ):
        model = network(settings, graph)
        try:
            shard_model(model, shard)
            model(shard.local, x[shard.own])
        except ValueError as error:
            found = str(error)
        else:
            found = "nothing"
        assert message in found, found
    for owner, message in (
        (torch.zeros(graph.num_nodes, dtype=torch.int64), "process 1 has no node"),
        (torch.full((graph.num_nodes,), team.size), "owner must name processes 0 to"),
        (torch.zeros(3, dtype=torch.int64), "owner must be int64 of shape"),
    ):
        try:
            ShardedGraph(graph, team, owner)
        except ValueError as error:
            found = str(error)
        else:
            found = "nothing"
        assert message in found, found


def killed(team: Ranks, folder: Path) -> None:
    """The last process is killed before the second step; the others say which it was."""
    graph = graph_with_features()
    shard = ShardedGraph(graph, team, "random")
    outcome(REVERSIBLE, graph, shard)
    if team.rank == team.size - 1:
        os.kill(os.getpid(), signal.SIGKILL)
    try:
        outcome(REVERSIBLE, graph, shard)
    except RankFailed as error:
        if f"process {team.size - 1} " in str(error) and "has died" in str(error):
            raise SystemExit(7) from None
        raise


def main() -> None:
    import sys

    name, store, folder, rank, size = sys.argv[1:]
    torch.set_num_threads(1)
    with team_of(store, rank, size) as team:
        globals()[name](team, Path(folder))


if __name__ == "__main__":
    main()
