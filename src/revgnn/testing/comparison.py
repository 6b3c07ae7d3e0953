"""An operator's kernels beside its definition: value and all gradients, in memory that was filled with NaN."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from revgnn.testing.closeness import Distance, distance_to_truth
from revgnn.testing.memory import nan_filled_empty

Leaves = dict[str, Tensor]
Op = Callable[[Leaves, str], Tensor]
"""`op(leaves, backend)`; whatever else it needs it closes over."""

DRAWS = 16
"""How many draws of the leaves are judged together in float32, so that the error of plain torch is a steady figure."""


def evaluate(op: Op, leaves: Leaves, backend: str, dtype: torch.dtype) -> dict[str, Tensor]:
    """The value, and the gradients of one fixed random projection of it."""
    leaves = {name: t.detach().to(dtype).requires_grad_() for name, t in leaves.items()}
    out = op(leaves, backend)
    projection = torch.randn(out.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(out)
    grads = torch.autograd.grad(out, list(leaves.values()), projection, allow_unused=True)
    named = {f"gradient of {name}": grad for name, grad in zip(leaves, grads, strict=True) if grad is not None}
    return {"value": out.detach(), **named}


def distances(op: Op, *draws: Leaves, dtype: torch.dtype, backend: str = "cpu") -> list[Distance]:
    """Return how far the kernels are from plain torch in the same dtype, and in float32 how far both are from float64.

    The rule of `assert_close_to_truth` measures how far plain torch is off; several draws of the leaves, judged together, make
    that a steady figure. In float64 there is no truth to be had, hence a bound: 1e-12 of the largest element, or of 1.

    Returns:
        A distance for the value and for each gradient.

    Raises:
        AssertionError: if a result of the kernels has another shape or dtype, or is not finite where it should be.
    """
    draws = tuple({name: t.to(dtype) for name, t in leaves.items()} for leaves in draws)
    with nan_filled_empty():
        ours = _joined([evaluate(op, leaves, backend, dtype) for leaves in draws])
    reference = _joined([evaluate(op, leaves, "reference", dtype) for leaves in draws])
    assert ours.keys() == reference.keys()
    if dtype == torch.float64:
        return [_distance_in_float64(ours[name], theirs, name) for name, theirs in reference.items()]
    truth = _joined([evaluate(op, leaves, "reference", torch.float64) for leaves in draws])
    return [distance_to_truth(ours[name], reference[name], truth[name], name) for name in reference]


def assert_matches_reference(op: Op, *draws: Leaves, dtype: torch.dtype, backend: str = "cpu") -> None:
    """Assert that no result of the kernels is further off than the rule of `distances` allows."""
    for distance in distances(op, *draws, dtype=dtype, backend=backend):
        assert distance.is_allowed, distance.text


def _distance_in_float64(ours: Tensor, reference: Tensor, what: str) -> Distance:
    assert (ours.shape, ours.dtype) == (reference.shape, reference.dtype), (
        f"{what} is {ours.dtype} {tuple(ours.shape)}, the reference is {reference.dtype} {tuple(reference.shape)}."
    )
    if not ours.numel():
        return Distance(0.0, 0.0, 0.0, f"{what} is empty")
    finite = reference[reference.isfinite()]
    limit = 1e-12 * max(1.0, float(finite.abs().amax()) if finite.numel() else 0.0)
    # two infinities of one sign are equal; NaN equals nothing
    error = torch.where(ours == reference, 0.0, (ours - reference).abs()).nan_to_num(torch.inf, torch.inf)
    worst = int(error.argmax())
    return Distance(
        float(error.flatten()[worst]),
        limit,
        0.0,
        f"{what}: element {worst} is {float(ours.flatten()[worst]):.17g}, that of the reference "
        f"{float(reference.flatten()[worst]):.17g}: off by {float(error.flatten()[worst]):.3g}, allowed is {limit:.3g}; "
        f"{int((error > limit).sum())} of {error.numel()} elements are too far off.",
    )


def _joined(results: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([result[name] for result in results]) for name in results[0]}
