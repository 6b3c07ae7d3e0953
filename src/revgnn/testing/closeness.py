"""Compare two floating-point results. The tolerance is measured on the reference, not chosen."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Distance(NamedTuple):
    """How far a result is from the truth, and how far it may be.

    Attributes:
        error: the largest over all elements; 0 if there are none.
        limit: the largest that is allowed.
        reference_error: the largest of plain torch.
        text: the worst element, and how many are too far off.
    """

    error: float
    limit: float
    reference_error: float
    text: str

    @property
    def is_allowed(self) -> bool:
        return self.error <= self.limit


def distance_to_truth(ours: Tensor, reference: Tensor, truth: Tensor, what: str = "result") -> Distance:
    """Return how far `ours` is from `truth`; see `assert_close_to_truth`.

    Raises:
        AssertionError: if `ours` differs from `reference` in shape or dtype, or is not finite where `truth` is, or the reverse.
        ValueError: if `truth` is not float64 or the shapes of `reference` and `truth` differ.
    """
    if truth.dtype != torch.float64 or truth.shape != reference.shape:
        raise ValueError(
            f"truth must be float64 of the shape of reference {tuple(reference.shape)}, got {truth.dtype} {tuple(truth.shape)}."
        )
    if (ours.shape, ours.dtype) != (reference.shape, reference.dtype):
        raise AssertionError(
            f"{what} is {ours.dtype} {tuple(ours.shape)}, the reference is {reference.dtype} {tuple(reference.shape)}."
        )
    ours, reference, truth = ours.detach(), reference.detach(), truth.detach()
    # If float64 overflows, or the dtype of ours cannot represent the truth, there is no distance to measure.
    expected = truth.to(ours.dtype)
    finite = torch.isfinite(expected)
    _assert_same_nonfinite(ours, expected, finite, what)
    if not finite.any():
        return Distance(0.0, 0.0, 0.0, f"{what} has no finite element")
    exact = truth[finite]
    error = (ours[finite].double() - exact).abs()
    reference_error = (reference[finite].double() - exact).abs()
    # Elements where only the reference overflows are ignored: an infinite error would allow everything.
    reference_error = (
        reference_error[torch.isfinite(reference_error)].amax() if reference_error.isfinite().any() else exact.new_zeros(())
    )
    rounding = torch.finfo(ours.dtype).eps * exact.abs().amax()
    limit = 2 * reference_error + rounding
    worst = int(error.argmax())
    where = tuple(int(i) for i in finite.nonzero()[worst])
    return Distance(
        float(error[worst]),
        float(limit),
        float(reference_error),
        f"{what} at {where} is {float(ours[where]):.9g}, the truth is {float(truth[where]):.9g}: "
        f"off by {float(error[worst]):.3g}, allowed is {float(limit):.3g}, "
        f"which is twice the reference's error {float(reference_error):.3g} plus one rounding {float(rounding):.3g}; "
        f"{int((error > limit).sum())} of {truth.numel()} elements are too far off.",
    )


def assert_close_to_truth(ours: Tensor, reference: Tensor, truth: Tensor, what: str = "result") -> None:
    """Assert that `ours` is at most twice as far from `truth` as `reference` is, plus one rounding of the result.

    A distance is the largest over all elements. One rounding is `finfo.eps` of the dtype of `ours`, times the largest finite
    element of `truth`. Infinities and NaNs must be at the same places as in `truth`, infinities with the same sign.

    Args:
        ours: result of the fast path, any shape.
        reference: result of plain torch for the same numbers in the same dtype.
        truth: result of plain torch for the same numbers in float64.
        what: name of the result in the message, for example "gradient of x".

    Raises:
        AssertionError: if `ours` is too far from `truth`, or differs from `reference` in shape or dtype.
        ValueError: if `truth` is not float64 or the shapes of `reference` and `truth` differ.
    """
    distance = distance_to_truth(ours, reference, truth, what)
    if not distance.is_allowed:
        raise AssertionError(distance.text)


def _assert_same_nonfinite(ours: Tensor, expected: Tensor, finite: Tensor, what: str) -> None:
    """Assert NaN for NaN, the same infinity for infinity, and a finite number everywhere else."""
    same = torch.where(finite, torch.isfinite(ours), (ours == expected) | (ours.isnan() & expected.isnan()))
    if not same.all():
        where = tuple(int(i) for i in (~same).nonzero()[0])
        raise AssertionError(
            f"{what} is {float(ours[where])} at {where}, but the truth is {float(expected[where])}; "
            f"this is so for {int((~same).sum())} of {same.numel()} elements."
        )
