"""Pre-activation blocks and the perceptron of GENConv are their formulas, whichever kernels compute them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from revgnn import shared_dropout_mask
from revgnn.graph import Graph
from revgnn.nn import GENConv, PreActivation


def test_pre_activation_is_its_formula() -> None:
    graph = Graph.from_edge_index(torch.randint(0, 9, (2, 30)), 9)
    block = PreActivation(GENConv(6, 6, aggr="max", norm="layer", bias=True)).double()
    x, mask = torch.randn(9, 6, dtype=torch.float64), shared_dropout_mask((9, 6), 0.5).double()
    h = torch.relu(block.norm(x)) * mask
    expected = block.conv(h, graph)
    torch.testing.assert_close(block(x, graph, mask=mask), expected, rtol=1e-13, atol=1e-13)
    # with a hook, the modules are called one by one
    called = []
    block.norm.register_forward_hook(lambda *_: called.append("norm"))
    assert torch.equal(block(x, graph, mask=mask), expected)
    assert called == ["norm"]


def test_perceptron_of_gen_conv_is_its_layers() -> None:
    graph = Graph.from_edge_index(torch.randint(0, 9, (2, 30)), 9)
    conv = GENConv(8, 8, aggr="max", norm="layer", bias=True).double()
    x = torch.randn(9, 8, dtype=torch.float64)
    together = conv(x, graph)
    called = []
    conv.mlp[2].register_forward_hook(lambda *_: called.append("relu"))
    torch.testing.assert_close(together, conv(x, graph), rtol=1e-13, atol=1e-13)
    assert called == ["relu"]


def test_pre_activation_reads_the_width_of_a_conv_or_asks_for_it() -> None:
    assert PreActivation(GENConv(6, 6, aggr="max", norm="layer", bias=True)).norm.normalized_shape == (6,)
    assert isinstance(PreActivation(nn.Identity(), "none", channels=3).norm, nn.Identity)
    with pytest.raises(ValueError, match="Identity does not say how wide its input is; pass channels="):
        PreActivation(nn.Identity())
    with pytest.raises(ValueError, match="unknown norm 'instance'"):
        PreActivation(GENConv(6, 6, aggr="max", norm="layer", bias=True), "instance")
