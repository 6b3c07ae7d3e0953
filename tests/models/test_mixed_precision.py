"""Whole networks: recomputing gives the gradients of storing everything, in float32 and under autocast to shorter types."""

from __future__ import annotations

import pytest
import torch

from revgnn.graph import Graph
from revgnn.models import ModelConfig, build_model

FAMILIES = [
    {"family": "reversible"},
    {"family": "reversible", "norm": "batch"},
    {"family": "reversible", "tied": True},
    {"family": "reversible", "tied": True, "unit": "single"},
    {"family": "residual"},
    {"family": "residual", "tied": True},
    {"family": "residual", "tied": True, "unit": "single"},
]


@pytest.mark.parametrize("amp", [None, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: "-".join(map(str, f.values())))
def test_gradients_are_those_of_storing_everything(family: dict, amp: torch.dtype | None) -> None:
    torch.manual_seed(0)
    graph = Graph.from_edge_index(torch.randint(0, 40, (2, 200)), 50, torch.rand(200, 3))
    x, species = torch.rand(50, 5), torch.randint(0, 4, (50,))
    found = []
    for gradient in ("backprop", None):
        torch.manual_seed(0)
        config = ModelConfig(channels=16, depth=6, dropout=0.2, gradient=gradient, **family)
        model = build_model(config, in_channels=5, out_channels=2, num_edge_features=3, num_species=4)
        torch.manual_seed(1)
        with torch.autocast("cpu", amp or torch.bfloat16, enabled=amp is not None):
            logits = model(graph, x, species)
        assert logits.dtype == (amp or torch.float32)
        (1024.0 * logits.float().square().mean()).backward()
        found.append((logits.detach(), {name: p.grad for name, p in model.named_parameters()}))
    (stored, truth), (recomputed, grads) = found
    assert torch.equal(stored, recomputed)
    assert any(float(grad.abs().max()) > 0 for grad in truth.values() if grad is not None)
    for name, grad in truth.items():
        assert grad is not None
        assert grad.isfinite().all(), name
        assert grad.dtype == torch.float32
        mine = grads[name]
        assert mine is not None
        # Checkpoints sum what layers share (the map of the edges, tied weights) piece by piece.
        if family["family"] == "residual" and (name.startswith("edges.") or family.get("tied")):
            torch.testing.assert_close(mine, grad, rtol=1e-5, atol=1e-5 * float(grad.abs().max()))
        else:
            assert torch.equal(mine, grad), name
