"""Gradients and the inverse of deep stacks."""

from __future__ import annotations

import copy
import functools

import torch
from torch import nn

from revgnn.nn import GENBlock, GENConv
from revgnn.ops import grid as grid_operator
from revgnn.stack import Backprop, Reversible, ReversibleStack
from revgnn.stack.stack import GRID_BITS
from revgnn.testing.gradients import gradients_of
from revgnn.testing.verify.check import Check, Differing, Measured
from revgnn.testing.verify.inputs import K, network, seeded, small_graph

DEPTH = 112
"""Layers of the networks whose gradients are compared."""


EXACTNESS_ADVICE = "report it with the output of `revgnn verify --json`. Until then train with --set model.gradient=backprop."


def exactness_checks(device: torch.device) -> list[Check]:
    """Return checks of the gradients and the inverse of deep stacks."""
    stored = "gradients by recomputing and by storing, bit for bit"
    found = [
        Check(
            f"{DEPTH} layers{', bf16' if autocast else ''}",
            f"{stored}: the paper's network, dropout{', bf16 autocast' if autocast else ''}",
            functools.partial(_check_network, device, autocast),
            EXACTNESS_ADVICE,
        )
        for autocast in (None, torch.bfloat16)
    ]
    any_module = functools.partial(_check_any_module, device)
    found.append(Check(f"{DEPTH} layers, any module", f"{stored}: batch norm, ordinary dropout", any_module, EXACTNESS_ADVICE))
    back = f"state before {DEPTH} layers and the state computed back from the end, bit for bit"
    return [*found, Check("reconstruction", back, functools.partial(_check_reconstruction, device), EXACTNESS_ADVICE)]


def _check_network(device: torch.device, autocast: torch.dtype | None) -> Measured:
    graph = small_graph(device)
    reversible, stored = (network(DEPTH, 16, device, dropout=0.1, gradient=g) for g in ("reversible", "backprop"))
    stored.load_state_dict(reversible.state_dict())
    x = torch.rand(graph.num_nodes, K, generator=torch.Generator().manual_seed(1)).to(device).requires_grad_()
    differing = Differing()
    ours, wanted = (gradients_of(model, graph, x, autocast=autocast) for model in (reversible, stored))
    differing.compare_all(ours, wanted)
    return differing.measured()


def _check_any_module(device: torch.device) -> Measured:
    def block() -> nn.Module:
        return nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 8))

    with seeded(0):
        reversible = ReversibleStack([[block(), block()] for _ in range(DEPTH)], gradient=Reversible()).to(device)
    stored = copy.deepcopy(reversible)
    stored.gradient = Backprop()
    x = torch.randn(40, 16, generator=torch.Generator().manual_seed(1)).to(device).requires_grad_()
    differing = Differing()
    differing.compare_all(gradients_of(reversible, x), gradients_of(stored, x))
    return differing.measured()


def _check_reconstruction(device: torch.device) -> Measured:
    graph = small_graph(device).with_edge_attr(None)
    with seeded(0):
        convs = [[GENConv(8, 8, "max", norm="layer", bias=True) for _ in range(2)] for _ in range(DEPTH)]
        stack = ReversibleStack([[GENBlock(conv) for conv in layer] for layer in convs]).to(device).eval()
        x = torch.randn(graph.num_nodes, 16).to(device)
    with torch.no_grad():
        before = stack.inverse(stack(x, graph), graph)
    differing = Differing()
    differing.compare("the state before the first layer", before, grid_operator.round_to_grid(x, GRID_BITS[x.dtype]))
    return differing.measured()
