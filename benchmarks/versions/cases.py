"""What is measured in both versions: operators and training steps, from the same inputs.

A worker runs this on the sources of one version, so it imports only names that every version has: `revgnn`, `revgnn.ops` and
`revgnn.testing`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from revgnn import Graph, ModelConfig, build_model
from revgnn.ops import Max, Mean, Power, Softmax, Sum, advance, aggregate, edge_softmax, norm_relu, perceptron, propagate
from revgnn.testing import peak_bytes

TASKS = 112
DROPOUT = 0.1
GRID_BITS = 14
HEADS = 2
STEPS = {
    "batch": {"64 channels, 2 groups, 7 layers": (64, 2, 7), "224 channels, 4 groups, 3 layers": (224, 4, 3)},
    "small": {"64 channels, 2 groups, 28 layers": (64, 2, 28)},
}
"""Channels, groups and layers of the training steps on each graph."""
OPERATOR_CHANNELS = 32
"""Channels of a group in 64 channels, 2 groups."""


class Inputs(NamedTuple):
    """A graph as tensors, which any version can read."""

    edge_index: Tensor
    num_nodes: int
    edge_attr: Tensor | None

    def graph(self) -> Graph:
        return Graph.from_edge_index(self.edge_index, self.num_nodes, self.edge_attr)


class Case(NamedTuple):
    """One thing that is measured."""

    call: Callable[[], object]
    """What is timed."""
    results: Callable[[], dict[str, Tensor]]
    """Outputs and gradients by name, the same bits at every call. They must be equal in both versions."""
    peak_bytes: Callable[[], int] | None = None
    """Peak memory of the call, for training steps."""


def make_cases(graphs: dict[str, Inputs]) -> dict[str, Callable[[], Case]]:
    """Return what makes each case, by name: "GRAPH: OPERATOR, forward" and so on, for the graphs "batch" and "small"."""
    cases: dict[str, Callable[[], Case]] = {}
    for title, inputs in graphs.items():
        graph = inputs.graph()
        for name, (channels, groups, depth) in STEPS[title].items():
            cases[f"{title}: step, {name}"] = lambda g=graph, shape=(channels, groups, depth): step_case(g, *shape)
        for name, make in operators(graph).items():
            cases[f"{title}: {name}, forward"] = lambda make=make: forward_case(make())
            if name != "advance":  # has no backward pass of its own
                cases[f"{title}: {name}, backward"] = lambda make=make: backward_case(make())
    return cases


# --- operators --------------------------------------------------------------------------------------------------------------


class Operator(NamedTuple):
    """An operator with its inputs."""

    call: Callable[[], Tensor]
    leaves: dict[str, Tensor]
    """Inputs whose gradients are wanted."""


def operators(graph: Graph) -> dict[str, Callable[[], Operator]]:
    """Return what makes each operator on this graph, by name."""
    reducers = (Max(), Mean(), Sum(), Softmax(1.0), Power(2.0))
    return {
        **{f"aggregate, {how}": lambda how=how: aggregate_operator(graph, how) for how in reducers},
        "norm_relu": lambda: norm_relu_operator(graph),
        "perceptron": lambda: perceptron_operator(graph),
        "propagate": lambda: propagate_operator(graph, weighted=False),
        "propagate, weighted": lambda: propagate_operator(graph, weighted=True),
        "edge_softmax": lambda: edge_softmax_operator(graph),
        "advance": lambda: advance_operator(graph),
    }


def aggregate_operator(graph: Graph, how: Max | Mean | Sum | Softmax | Power) -> Operator:
    leaves = {"x": normal(graph.num_nodes, OPERATOR_CHANNELS, seed=0), "bias": normal(OPERATOR_CHANNELS, seed=1)}
    if graph.num_edge_features:
        leaves["weight"] = normal(graph.num_edge_features, OPERATOR_CHANNELS, seed=2)
    x, bias, weight = leaves["x"], leaves["bias"], leaves.get("weight")
    return Operator(lambda: aggregate(x, graph, graph.edge_attr, weight, bias, how=how), leaves)


def norm_relu_operator(graph: Graph) -> Operator:
    leaves = {
        "x": normal(graph.num_nodes, OPERATOR_CHANNELS, seed=0),
        "weight": normal(OPERATOR_CHANNELS, seed=1),
        "bias": normal(OPERATOR_CHANNELS, seed=2),
    }
    mask = (normal(graph.num_nodes, OPERATOR_CHANNELS, seed=3).detach() > -1).float() / (1 - DROPOUT)
    return Operator(lambda: norm_relu(leaves["x"], leaves["weight"], leaves["bias"], mask), leaves)


def perceptron_operator(graph: Graph) -> Operator:
    width, hidden = OPERATOR_CHANNELS, 2 * OPERATOR_CHANNELS
    shapes = {
        "x": (graph.num_nodes, width),
        "weight_in": (hidden, width),
        "bias_in": (hidden,),
        "gamma": (hidden,),
        "beta": (hidden,),
        "weight_out": (width, hidden),
        "bias_out": (width,),
    }
    leaves = {name: normal(*shape, seed=seed) for seed, (name, shape) in enumerate(shapes.items())}
    tensors = list(leaves.values())
    return Operator(lambda: perceptron(*tensors), leaves)


def propagate_operator(graph: Graph, *, weighted: bool) -> Operator:
    if not weighted:
        leaves = {"x": normal(graph.num_nodes, OPERATOR_CHANNELS, seed=0)}
        return Operator(lambda: propagate(leaves["x"], graph, how=Mean()), leaves)
    leaves = {
        "x": normal(graph.num_nodes, HEADS, OPERATOR_CHANNELS // HEADS, seed=0),
        "weight": normal(graph.num_edges, HEADS, seed=1),
    }
    return Operator(lambda: propagate(leaves["x"], graph, leaves["weight"]), leaves)


def edge_softmax_operator(graph: Graph) -> Operator:
    leaves = {"scores": normal(graph.num_edges, HEADS, seed=0)}
    return Operator(lambda: edge_softmax(leaves["scores"], graph), leaves)


def advance_operator(graph: Graph) -> Operator:
    state = torch.round(normal(graph.num_nodes, OPERATOR_CHANNELS, seed=0).detach() * 2**GRID_BITS) / 2**GRID_BITS
    change = normal(graph.num_nodes, OPERATOR_CHANNELS, seed=1).detach()
    return Operator(lambda: advance(state, change, GRID_BITS)[0], {})


def normal(*shape: int, seed: int) -> Tensor:
    """Return a normal tensor that wants its gradient."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def forward_case(operator: Operator) -> Case:
    """Return the case that calls the operator, with gradients wanted."""
    return Case(operator.call, lambda: {"value": operator.call().detach()})


def backward_case(operator: Operator) -> Case:
    """Return the case that differentiates the operator in all its leaves."""
    out = operator.call()
    upstream = torch.randn(out.shape, generator=torch.Generator().manual_seed(9))
    names, leaves = list(operator.leaves), list(operator.leaves.values())

    def differentiate() -> tuple[Tensor, ...]:
        return torch.autograd.grad(out, leaves, upstream, retain_graph=True)

    return Case(differentiate, lambda: {f"gradient of {n}": g for n, g in zip(names, differentiate(), strict=True)})


# --- training steps ---------------------------------------------------------------------------------------------------------


def step_case(graph: Graph, channels: int, groups: int, depth: int) -> Case:
    """Return the case of a training step of the paper's reversible network: forward pass, loss, backward pass."""
    torch.manual_seed(0)
    config = ModelConfig(
        family="reversible", conv="gen", aggregation="max", channels=channels, groups=groups, depth=depth, dropout=DROPOUT
    )
    features = graph.num_edge_features
    model = build_model(config, in_channels=OPERATOR_CHANNELS, out_channels=TASKS, num_edge_features=features).train()
    x = normal(graph.num_nodes, OPERATOR_CHANNELS, seed=0).detach()
    y = (normal(graph.num_nodes, TASKS, seed=1).detach() > 0).float()

    def step() -> dict[str, Tensor]:
        model.zero_grad(set_to_none=True)
        logits = model(graph, x)
        loss = nn.functional.binary_cross_entropy_with_logits(logits, y)
        loss.backward()
        return {"logits": logits, "loss": loss}

    def results() -> dict[str, Tensor]:
        torch.manual_seed(1)  # dropout
        found = {name: t.detach() for name, t in step().items()}
        return found | {f"gradient of {name}": p.grad for name, p in model.named_parameters() if p.grad is not None}

    def peak() -> int:
        model.zero_grad(set_to_none=True)
        return peak_bytes(step)

    return Case(step, results, peak)
