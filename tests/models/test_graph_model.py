"""Networks of graphs of every family: logits do not depend on the graphs that share a batch; trunks keep their parameters."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from revgnn.data import load
from revgnn.models import build_model
from revgnn.models.config import ModelConfig
from revgnn.models.target_model import TargetModel
from tests.data.many import write_tu

FAMILIES = [
    {"family": "reversible", "depth": 5, "channels": 16, "groups": 2},
    {"family": "residual", "depth": 4, "channels": 16, "norm": "batch"},
    {"family": "reversible", "depth": 4, "channels": 16, "groups": 2, "conv": "sage", "aggregation": "mean", "tied": True},
    {"family": "revgat", "depth": 3, "channels": 16, "groups": 2, "heads": 2},
    {"family": "equilibrium", "channels": 16},
]


def build(settings: dict, readout: str, sizes: tuple[int, int], rows: str = "graph") -> TargetModel:
    model = build_model(
        ModelConfig(**settings, readout=readout), in_channels=sizes[0], out_channels=3, num_edge_features=sizes[1], rows=rows
    )
    return model.eval()  # type: ignore[return-value]


def contract(model: TargetModel) -> None:
    """Make the block of an equilibrium a contraction, as training with a penalty of its Jacobian does: then it is solved."""
    with torch.no_grad():
        for name, parameter in model.trunk.named_parameters():
            if ".norm" in name and name.startswith("block"):
                parameter.mul_(0.1)


@pytest.mark.parametrize("settings", FAMILIES, ids=lambda s: f"{s['family']}-{s.get('conv', 'gen')}")
@pytest.mark.parametrize("readout", ["mean", "attention"])
def test_logits_do_not_depend_on_the_batch(settings: dict, readout: str, tmp_path: Path) -> None:
    """Up to rounding in float32, since matrix products of other sizes round differently. Equilibria: up to their tolerance."""
    data = load(str(write_tu(tmp_path / "TOY", count=20)))
    assert data.graphs is not None
    assert data.x is not None
    graphs, x = data.graphs, data.x
    torch.manual_seed(0)
    model = build(settings, readout, (data.in_channels, data.num_edge_features))

    if settings["family"] == "equilibrium":
        contract(model)

    @torch.no_grad()
    def logits(chosen: Tensor) -> Tensor:
        nodes, graph, indptr = graphs.take(data.graph, chosen)
        return model(graph, x[nodes], targets=indptr)

    together = logits(torch.arange(20))
    # Below one step of a state's grid (2^-14), to which rounding may be carried.
    tolerance = 1e-3 if settings["family"] == "equilibrium" else 5e-5
    for g in (0, 3, 5, 19):  # a single node, and a graph without edges, among them
        torch.testing.assert_close(logits(torch.tensor([g]))[0], together[g], rtol=tolerance, atol=tolerance)
    shuffled = torch.randperm(20)
    torch.testing.assert_close(logits(shuffled), together[shuffled], rtol=tolerance, atol=tolerance)
    assert float((together[1:] - together[:-1]).abs().max()) > 10 * tolerance  # other graphs do have other logits


def test_the_readout_of_a_network_of_nodes_changes_nothing() -> None:
    names = [[n for n, _ in build(FAMILIES[0], readout, (4, 0), "node").named_parameters()] for readout in ("mean", "attention")]
    assert names[0] == names[1]
    trunk = [n.removeprefix("trunk.") for n, _ in build(FAMILIES[0], "mean", (4, 0)).named_parameters() if n.startswith("trunk.")]
    assert trunk == names[0]


def test_one_graph_needs_no_graphs() -> None:
    from revgnn import Graph

    graph = Graph.from_edge_index(torch.tensor([[0, 1], [1, 2]]), 3)
    model, x = build(FAMILIES[0], "sum", (4, 0)), torch.randn(3, 4)
    assert torch.equal(model(graph, x), model(graph, x, targets=torch.tensor([0, 3])))
