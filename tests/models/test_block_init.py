"""How large blocks start (`block_init`): as their convolution does, divided by the root of the depth, or at 0."""

from typing import Any

import pytest
import torch
from torch import Tensor

from revgnn.graph import Graph
from revgnn.models import build_model
from revgnn.models.config import ModelConfig

DEPTH = 9
NETWORKS = {
    "gen": {"conv": "gen", "aggregation": "softmax"},
    "gen, one map": {"conv": "gen", "mlp_layers": 1},
    "gcn": {"conv": "gcn"},
    "sage": {"conv": "sage", "aggregation": "mean", "norm": "batch"},
    "gat": {"conv": "gat", "heads": 2},
    "residual": {"family": "residual"},
    "revgat": {"family": "revgat", "conv": "gat", "residual_map": True},
}


def network(block_init: str, **settings: Any) -> Any:
    torch.manual_seed(0)
    config = ModelConfig(**{"channels": 16, "depth": DEPTH, "dropout": 0.0, "block_init": block_init, **settings})
    return build_model(config, in_channels=5, out_channels=3)


@pytest.fixture
def graph() -> Graph:
    return Graph.from_edge_index(torch.randint(30, (2, 90), generator=torch.Generator().manual_seed(1)), 30)


@pytest.fixture
def state() -> Tensor:
    """A state on the grid, so that a stack of blocks of 0 returns it unchanged."""
    return torch.randn(30, 16, generator=torch.Generator().manual_seed(2)).mul(2**10).round().div(2**10)


@pytest.mark.parametrize("settings", NETWORKS.values(), ids=NETWORKS.keys())
def test_a_stack_whose_blocks_start_at_zero_is_the_identity_and_learns(settings, graph, state):
    model = network("zero", **settings)
    assert torch.equal(model.stack(state, graph), state)
    loss = model(graph, torch.randn(30, 5)).square().sum()
    loss.backward()
    moved = [p.grad for layer in model.stack.layers for block in layer.blocks for p in block.conv.output_parameters()]
    assert all(grad is not None and bool(grad.isfinite().all()) for grad in moved)
    assert sum(float(grad.abs().sum()) for grad in moved) > 0


@pytest.mark.parametrize("settings", NETWORKS.values(), ids=NETWORKS.keys())
def test_scaled_blocks_draw_the_same_weights_divided_by_the_root_of_the_depth(settings):
    default, scaled = network("default", **settings), network("scaled", **settings)
    outputs = {id(p) for layer in scaled.stack.layers for block in layer.blocks for p in block.conv.output_parameters()}
    changed = 0
    for a, b in zip(default.parameters(), scaled.parameters(), strict=True):
        factor = DEPTH**-0.5 if id(b) in outputs else 1.0
        changed += id(b) in outputs
        torch.testing.assert_close(b, a * factor, rtol=0, atol=0)
    assert changed == len(outputs) > 0


@pytest.mark.parametrize("conv", ["gen", "gcn", "sage"])
def test_output_parameters_scale_the_output(conv, graph, state):
    convolution = network("default", conv=conv, aggregation="mean").stack.layers[0].blocks[0].conv
    before = convolution(state[:, :8], graph)
    with torch.no_grad():
        for parameter in convolution.output_parameters():
            parameter.mul_(0.25)
    torch.testing.assert_close(convolution(state[:, :8], graph), 0.25 * before, rtol=1e-6, atol=1e-6)
