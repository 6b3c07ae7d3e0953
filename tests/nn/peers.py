"""A convolution beside PyTorch Geometric's on a real graph, in float64."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch_geometric.datasets import Planetoid

from revgnn.graph import Graph
from revgnn.nn.base import AbstractConv


def cora(root: Path) -> tuple[Tensor, Tensor]:
    """Features (2,708 x 1,433) in float64 and the edge_index, from a folder that may be written to."""
    data = Planetoid(str(root / "planetoid"), "Cora")[0]
    return data.x.double(), data.edge_index


def assert_equal_to_peer(ours: AbstractConv, peer: nn.Module, x: Tensor, edge_index: Tensor) -> None:
    """Same value and same gradients of input and parameters, to 1e-10, once `ours` has the weights of `peer`, by name."""
    ours, peer = ours.double(), peer.double()
    with torch.no_grad():
        for parameter in peer.parameters():
            parameter.uniform_(-0.5, 0.5)
    ours.load_state_dict(peer.state_dict())
    graph = Graph.from_edge_index(edge_index, x.shape[0])
    projection = torch.randn_like(ours(x, graph))
    results = []
    for conv, adjacency in ((ours, graph), (peer, edge_index)):
        leaf = x.clone().requires_grad_()
        out = conv(leaf, adjacency)
        grads = torch.autograd.grad(out, [leaf, *conv.parameters()], projection)
        names = ["value", "gradient of x", *(f"gradient of {name}" for name, _ in conv.named_parameters())]
        results.append(dict(zip(names, [out, *grads], strict=True)))
    assert results[0].keys() == results[1].keys()
    for name, theirs in results[1].items():
        torch.testing.assert_close(results[0][name], theirs, rtol=1e-10, atol=1e-10, msg=lambda m, name=name: f"{name}: {m}")
