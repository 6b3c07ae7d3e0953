"""GEN's aggregations and message norm are their definitions in plain torch: value and all gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from revgnn.graph import Graph
from revgnn.nn import GENConv
from revgnn.nn.gen import AGGREGATIONS
from revgnn.testing import NamedGraph, awkward_graphs

GRAPHS = awkward_graphs(3, dtype=torch.float64)
LOW, HIGH = 1e-7, 10.0


def definition(conv: GENConv, x: Tensor, graph: Graph) -> Tensor:
    """What a GENConv computes, written message by message: E x C, a loop over the nodes."""
    edges = graph.edge_attr @ conv.edge.weight.t() + conv.edge.bias
    messages = (x[graph.src] + edges).relu() + conv.eps
    parameter = conv.initial if conv.learned is None else conv.learned
    rows = []
    for node in range(graph.num_nodes):
        m = messages[graph.dst == node]
        match conv.aggregation.removesuffix("-semigrad").removesuffix("-sum"):
            case "softmax" if len(m):
                score = parameter * m
                weights = (score.detach() if "semigrad" in conv.aggregation else score).softmax(0)
                a = (weights * m).sum(0)
            case "power" if conv.clamp is not None:
                powers = m.clamp(LOW, HIGH) ** parameter
                mean = powers.mean(0) if len(m) else torch.zeros_like(x[0])
                a = mean.clamp(LOW, HIGH) ** (1 / parameter)
            case "power" if len(m):
                a = (m**parameter).mean(0) ** (1 / parameter)
            case "max" if len(m):
                a = m.amax(0)
            case "mean" if len(m):
                a = m.mean(0)
            case _:
                a = m.sum(0)
        if "-sum" in conv.aggregation:
            a = a * torch.tensor(float(len(m)), dtype=x.dtype) ** conv.degree.sigmoid()
        rows.append(a)
    a = torch.stack(rows)
    if conv.scale is not None:
        a = conv.scale * x.norm(dim=1, keepdim=True) * F.normalize(a, dim=1)
    return conv.mlp(x + a)


def assert_is_definition(graph: Graph, scale_of_x: float = 1.0, **options: Any) -> None:
    torch.manual_seed(0)
    conv = GENConv(5, 5, edge_dim=3, norm="layer", bias=True, **options).double()
    x = (scale_of_x * torch.randn(graph.num_nodes, 5, dtype=torch.float64)).requires_grad_()
    projection = torch.randn(graph.num_nodes, 5, dtype=torch.float64)
    learned = dict(conv.named_parameters())
    values, grads = [], []
    for out in (conv(x, graph, graph.edge_attr), definition(conv, x, graph)):
        values.append(out.detach())
        grads.append(torch.autograd.grad((out * projection).sum(), [x, *learned.values()], allow_unused=True))
    torch.testing.assert_close(values[0], values[1], rtol=1e-11, atol=1e-11)
    for name, ours, theirs in zip(["x", *learned], *grads, strict=True):
        ours, theirs = (torch.zeros(()) if g is None else g for g in (ours, theirs))
        scale = float(theirs.abs().amax())
        torch.testing.assert_close(
            *torch.broadcast_tensors(ours.double(), theirs.double()),
            rtol=0.0,
            atol=1e-10 * max(1.0, scale),
            msg=lambda m, name=name: f"{name}: {m}",
        )


LEARNING = {
    "softmax-sum": {"t": 0.7, "learn_t": True, "learn_degree": True, "degree_init": 0.4},
    "softmax-sum-semigrad": {"t": 0.7, "learn_degree": True},
    "power-sum": {"p": 1.7, "learn_p": True, "learn_degree": True, "degree_init": -1.2, "clamp_power": False},
}


@pytest.mark.parametrize("named", GRAPHS, ids=str)
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_every_aggregation_is_its_definition(aggregation: str, named: NamedGraph) -> None:
    assert_is_definition(named.graph, aggr=aggregation, **LEARNING.get(aggregation, {}))


@pytest.mark.parametrize("named", GRAPHS, ids=str)
@pytest.mark.parametrize("aggregation", ["power", "power-sum"])
@pytest.mark.parametrize("exponent", [0.6, 1.0, 2.5, -1.5])
def test_clamped_messages_and_mean(exponent: float, aggregation: str, named: NamedGraph) -> None:
    """States of 0.01 to 30 reach both limits. A node without edges has the mean 0, which is clamped too.

    With exponent 1 and epsilon at the limit, rounding decides on which side of it the definition is: hence another epsilon.
    """
    options = {"aggr": aggregation, "p": exponent, "learn_p": True, "clamp_power": True}
    for scale_of_x in (0.01, 1.0, 30.0):
        assert_is_definition(named.graph, scale_of_x, eps=2e-7 if exponent == 1.0 else 1e-7, **options)


def test_the_mean_is_clamped_and_not_only_the_messages() -> None:
    """Messages of 8 are within the limits, and the mean of their squares, 64, is not."""
    graph = Graph.from_edge_index(torch.tensor([[0, 1], [2, 2]]), 3)
    x = torch.full((3, 2), 8.0, dtype=torch.float64)
    torch.manual_seed(0)
    conv = GENConv(2, 2, aggr="power", p=2.0, clamp_power=True).double()
    conv.mlp = torch.nn.Identity()
    expected = torch.tensor([LOW**0.5, LOW**0.5, HIGH**0.5], dtype=torch.float64).unsqueeze(1) + x
    torch.testing.assert_close(conv(x, graph), expected)


@pytest.mark.parametrize("exponent", [1e-3, -1e-3])
def test_a_tiny_exponent(exponent: float) -> None:
    """The root of a limit is then 0 or infinite."""
    graph = Graph.from_edge_index(torch.tensor([[0, 1], [2, 2]]), 3)
    conv = GENConv(2, 2, aggr="power", p=exponent, clamp_power=True).double()
    conv.mlp = torch.nn.Identity()
    out = conv(torch.ones(3, 2, dtype=torch.float64), graph)
    torch.testing.assert_close(out[2], torch.full((2,), 2.0, dtype=torch.float64), rtol=1e-6, atol=0.0)
    assert torch.equal(
        out[0], torch.ones(2, dtype=torch.float64) if exponent > 0 else torch.full((2,), torch.inf, dtype=torch.float64)
    )


@pytest.mark.parametrize("learn_scale", [True, False])
@pytest.mark.parametrize("aggregation", ["max", "softmax-sum"])
def test_message_norm(aggregation: str, learn_scale: bool) -> None:
    for named in GRAPHS:
        assert_is_definition(named.graph, aggr=aggregation, msg_norm=True, learn_msg_scale=learn_scale)


def test_what_is_not_learned_is_a_buffer() -> None:
    """It is saved, and no optimiser sees it. The scale of message norm is learned if it is asked to be."""
    fixed = GENConv(4, 4, aggr="softmax-sum", msg_norm=True)
    learned = GENConv(4, 4, aggr="softmax-sum", msg_norm=True, learn_msg_scale=True, learn_degree=True)
    assert fixed.state_dict().keys() == learned.state_dict().keys() >= {"scale", "degree"}
    assert not {"scale", "degree"} & dict(fixed.named_parameters()).keys()
    assert {"scale", "degree"} <= dict(learned.named_parameters()).keys()


def test_y_is_0_at_the_start() -> None:
    conv = GENConv(4, 4, aggr="power-sum", learn_degree=True)
    assert conv.degree.item() == 0.0
    with torch.no_grad():
        conv.degree.fill_(3.0)
    conv.reset_parameters()
    assert conv.degree.item() == 0.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"aggr": "median"}, "unknown aggregation aggr='median'; choose max, mean, .* or power-sum"),
        ({"aggr": ["softmax", "power"]}, r"unknown aggregation aggr=\['softmax', 'power'\]; choose max"),
        ({"aggr": "max", "learn_t": True}, "only softmax and softmax-sum have this to learn, got aggr='max' with learn_t=True"),
        ({"aggr": "softmax", "learn_p": True}, "only power and power-sum have this to learn, got aggr='softmax' with learn_p=True"),
        ({"aggr": "softmax-sum-semigrad", "learn_t": True}, "have this to learn"),
        ({"aggr": "softmax", "learn_degree": True}, "only softmax-sum, .*power-sum have a power of the degree"),
        ({"aggr": "max", "clamp_power": True}, "clamp_power clamps the power mean, got aggr='max'"),
        ({"aggr": "power-sum", "p": 0.0}, "no exponent 0"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GENConv(4, 4, **options)
