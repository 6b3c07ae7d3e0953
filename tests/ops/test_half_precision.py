"""`aggregate` as autocast calls it: short node states, the weights of the edges in float32."""

from __future__ import annotations

import pytest
import torch

from revgnn.ops.aggregate import aggregate
from revgnn.testing import NamedGraph
from revgnn.testing.operators import GRAPHS_WITH_FEATURES as GRAPHS
from revgnn.testing.operators import REDUCERS
from revgnn.testing.operators import aggregate_leaves as inputs

HALF = [torch.bfloat16, torch.float16]


@pytest.mark.parametrize("dtype", HALF, ids=str)
@pytest.mark.parametrize("named", GRAPHS, ids=str)
@pytest.mark.parametrize("reducer", REDUCERS)
@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_only_what_goes_in_and_comes_out_is_short(named: NamedGraph, reducer: str, backend: str, dtype: torch.dtype) -> None:
    """Value and gradients are those of float32 on the same numbers, each rounded once to the type of what it belongs to."""
    graph = named.graph
    double = inputs(graph, 5, edges=True, param=True)
    found = []
    for x in (double["x"].to(dtype), double["x"].to(dtype).float()):
        leaves = {name: t.float().requires_grad_() for name, t in double.items()} | {"x": x.requires_grad_()}
        tensors = {name: leaves[name] for name in ("x", "edge_attr", "weight", "bias")}
        out = aggregate(**tensors, graph=graph, how=REDUCERS[reducer](leaves["param"]), backend=backend)
        slope = torch.linspace(-1, 1, out.numel()).view_as(out).to(dtype).to(out.dtype)
        out.backward(slope)
        found.append((out.detach(), {name: t.grad for name, t in leaves.items()}))
    (short, grads), (wide, truth) = found
    assert short.dtype == dtype
    assert torch.equal(short, wide.to(dtype))
    for name, expected in truth.items():
        mine = grads[name]
        assert (mine is None) == (expected is None), name
        if mine is not None and expected is not None:
            assert torch.equal(mine, expected.to(mine.dtype)), name
