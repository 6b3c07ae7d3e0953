"""An op's kernels beside its definition: value and all gradients, in memory that was filled with NaN."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from revgnn.testing import assert_close_to_truth, nan_filled_empty

Leaves = dict[str, Tensor]
Op = Callable[[Leaves, str], Tensor]
"""`op(leaves, backend)`; whatever else it needs it closes over."""


def evaluate(op: Op, leaves: Leaves, backend: str, dtype: torch.dtype) -> dict[str, Tensor]:
    """The value, and the gradients of one fixed random projection of it."""
    leaves = {name: t.detach().to(dtype).requires_grad_() for name, t in leaves.items()}
    out = op(leaves, backend)
    projection = torch.randn(out.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(out)
    grads = torch.autograd.grad(out, list(leaves.values()), projection, allow_unused=True)
    named = {f"gradient of {name}": grad for name, grad in zip(leaves, grads, strict=True) if grad is not None}
    return {"value": out.detach(), **named}


def assert_matches_reference(op: Op, *draws: Leaves, dtype: torch.dtype, backend: str = "cpu") -> None:
    """The kernels against plain torch in the same dtype, and in float32 both against float64.

    The rule of `assert_close_to_truth` measures how far plain torch is off; several draws of the leaves, judged together, make
    that a steady figure. In float64 there is no truth to be had, hence a bound: 1e-12 of the largest element, or of 1.
    """
    draws = tuple({name: t.to(dtype) for name, t in leaves.items()} for leaves in draws)
    with nan_filled_empty():
        ours = _joined([evaluate(op, leaves, backend, dtype) for leaves in draws])
    reference = _joined([evaluate(op, leaves, "reference", dtype) for leaves in draws])
    assert ours.keys() == reference.keys()
    if dtype == torch.float64:
        for name, theirs in reference.items():
            scale = float(theirs.abs().amax()) if theirs.numel() else 0.0
            torch.testing.assert_close(
                ours[name], theirs, rtol=0.0, atol=1e-12 * max(1.0, scale), msg=lambda m, name=name: f"{name}: {m}"
            )
        return
    truth = _joined([evaluate(op, leaves, "reference", torch.float64) for leaves in draws])
    for name in reference:
        assert_close_to_truth(ours[name], reference[name], truth[name], name)


def _joined(results: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([result[name] for result in results]) for name in results[0]}
