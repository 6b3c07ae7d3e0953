"""Convolutions on a GPU beside the same ones on the CPU: values, and gradients of the input and of every weight."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from revgnn.graph import Graph
from revgnn.nn.gat import GATConv
from revgnn.nn.gcn import GCNConv
from revgnn.nn.gen import GENConv
from revgnn.nn.sage import SAGEConv

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]

CONVOLUTIONS = {
    "GCN": lambda inputs, width: GCNConv(inputs, width),
    "SAGE, mean": lambda inputs, width: SAGEConv(inputs, width),
    "SAGE, sum": lambda inputs, width: SAGEConv(inputs, width, aggr="sum"),
    "GAT": lambda inputs, width: GATConv(inputs, width // 4, heads=4),
    "GEN, max": lambda inputs, width: GENConv(inputs, width, aggr="max"),
}


def results(conv: nn.Module, x: Tensor, graph: Graph, grad: Tensor) -> list[Tensor]:
    x = x.clone().requires_grad_()
    out = conv(x, graph)
    return [t.detach().cpu() for t in (out, *torch.autograd.grad(out, [x, *conv.parameters()], grad))]


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize(("inputs", "width"), [(64, 64), (96, 32), (32, 96), (1433, 64)], ids=str)
def test_equals_the_cpu(name: str, inputs: int, width: int) -> None:
    """A hub, nodes without edges, doubled edges; wide features are mostly zeros, whose entries the CPU multiplies alone."""
    rng = torch.Generator().manual_seed(0)
    ends = torch.randint(900, (2, 6000), generator=rng)
    ends[1, :2000] = 7
    graph = Graph.from_edge_index(torch.cat([ends, ends[:, :50]], dim=1), 1000)
    x = torch.randn(1000, inputs, generator=rng)
    if inputs > 1000:
        x[torch.rand(x.shape, generator=rng) > 0.02] = 0.0
    grad = torch.randn(1000, width, generator=rng)
    conv = CONVOLUTIONS[name](inputs, width)
    expected = results(conv, x, graph, grad)
    found = results(copy.deepcopy(conv).cuda(), x.cuda(), graph.to("cuda"), grad.cuda())
    for ours, theirs in zip(found, expected, strict=True):
        scale = float(theirs.abs().max())
        assert float((ours - theirs).abs().max()) <= 2e-5 * scale + 1e-6
