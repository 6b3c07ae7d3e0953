"""Checks of results, run before anything is timed. Each raises `AssertionError` for a wrong result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.networks import Batch, Logits, Shape, loss, pyg_logits, pyg_model, revgnn_logits, revgnn_model, training_step
from benchmarks.peers.pyg import Variant, carry_over, fold_edges
from revgnn.data.generated.synthetic import proteins_shaped
from revgnn.graph import Graph
from revgnn.ops.aggregate import Max, aggregate, reference
from revgnn.testing import assert_close_to_truth

FLOAT64_GAP = 1e-10
"""Largest difference between two networks in float64 that compute the same function."""


def check_aggregate(width: int, graph: Graph) -> None:
    """Check that the fused aggregation in float32 is as close to the truth as plain torch, gradients included.

    On at most 2,000 nodes of the graph, `width` channels.
    """
    part = graph.subgraph(torch.randperm(graph.num_nodes)[: min(graph.num_nodes, 2000)])
    edge_attr = part.edge_attr
    assert edge_attr is not None
    tensors = {
        "x": torch.randn(part.num_nodes, width),
        "weight": torch.randn(part.num_edge_features, width),
        "bias": torch.randn(width),
    }
    upstream = torch.randn(part.num_nodes, width)

    def run(call: Callable[..., Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
        leaves = {name: t.to(dtype).requires_grad_() for name, t in tensors.items()}
        out = call(leaves["x"], part, edge_attr.to(dtype), leaves["weight"], leaves["bias"], how=Max())
        gradients = torch.autograd.grad(out, list(leaves.values()), upstream.to(dtype))
        return {"aggregate": out, **{f"gradient of {name}": g for name, g in zip(leaves, gradients, strict=True)}}

    fused, plain = run(aggregate, torch.float32), run(reference.aggregate, torch.float32)
    truth = run(reference.aggregate, torch.float64)
    for name in truth:
        assert_close_to_truth(fused[name], plain[name], truth[name], name)


def check_same_network(shape: Shape) -> None:
    """Check that both networks are the same function of the same weights: in float64, logits and gradients are equal.

    With raw edge features PyTorch Geometric's network is compared by its logits.
    """
    batch = Batch.on(proteins_shaped(300, 6001)).double()
    small = shape.at_most(3)
    # the exact grid rounds the state; the peer does not
    ours = revgnn_model(small, batch.graph, state="float64").double().eval()
    peer = pyg_model(small, batch.graph, Variant("shared")).double().eval()
    weights = carry_over({name: p.detach() for name, p in ours.named_parameters()})
    peer.load_state_dict(weights)
    found = carry_over(logits_and_gradients(ours, revgnn_logits, batch))
    expected = logits_and_gradients(peer, pyg_logits, batch)
    if found.keys() != expected.keys():
        raise AssertionError(f"the networks have different parameters: {sorted(found.keys() ^ expected.keys())}")
    for key, truth in expected.items():
        gap = float((found[key] - truth).abs().max())
        if not gap <= FLOAT64_GAP * max(1.0, float(truth.abs().max())):
            raise AssertionError(f"{key} differs from PyTorch Geometric's by {gap:.3g} in float64")
    raw = pyg_model(small, batch.graph, Variant("raw")).double().eval()
    raw.load_state_dict(fold_edges(weights))
    with torch.no_grad():
        gap = float((pyg_logits(raw, batch) - expected["logits"]).abs().max())
    if not gap <= FLOAT64_GAP:
        raise AssertionError(f"PyTorch Geometric's logits without the shared edge encoder differ by {gap:.3g} in float64")


def logits_and_gradients(model: nn.Module, logits: Logits, batch: Batch) -> dict[str, Tensor]:
    """Return the logits, and the gradient of each parameter by its name."""
    out = logits(model, batch)
    loss(out, batch).backward()
    return {"logits": out.detach(), **{name: p.grad for name, p in model.named_parameters() if p.grad is not None}}


STRATEGIES_ON_THE_GRID: dict[str, dict[str, Any]] = {
    "Reversible, grid": {},
    "Checkpoint, grid": {"gradient": "checkpoint"},
    "Backprop, grid": {"gradient": "backprop"},
}
"""Changes of the configuration, by name. The last one is the truth."""


def gradients(model: nn.Module, batch: Batch) -> list[Tensor]:
    """Return the gradients of all parameters after one training step of revgnn's network."""
    torch.manual_seed(0)
    training_step(model, revgnn_logits, batch)()
    return [p.grad for p in model.parameters() if p.grad is not None]


def check_strategies(shape: Shape, graph: Graph) -> None:
    """Check that every gradient strategy on the exact grid gives the gradients of `Backprop`, on a part of the graph."""
    part = Batch.on_part(graph)
    found = {}
    for name, changes in STRATEGIES_ON_THE_GRID.items():
        torch.manual_seed(0)
        found[name] = gradients(revgnn_model(shape, part.graph, **changes), part)
    truth = found["Backprop, grid"]
    for name, ours in found.items():
        # Checkpoint adds up the gradient of the shared edge encoder in another order
        equal = torch.allclose if name.startswith("Checkpoint") else torch.equal
        if not all(equal(a, b) for a, b in zip(ours, truth, strict=True)):
            raise AssertionError(f"{name} does not give the gradients of Backprop")


def check_close_gradients(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], name: str) -> None:
    """Check that gradients in float32 differ by no more than sums in another order do; another network would differ far more."""
    for key, truth in expected.items():
        gap = float((found[key] - truth).norm())
        if not gap <= 1e-3 * float(truth.norm()) + 1e-6:
            raise AssertionError(f"{name}: the gradient of {key} differs from that of the plain variant by {gap:.3g}")
