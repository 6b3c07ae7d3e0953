"""When two floating-point results count as the same: a bound that is measured, not chosen."""

from __future__ import annotations

import torch
from torch import Tensor


def assert_close_to_truth(ours: Tensor, reference: Tensor, truth: Tensor, what: str = "result") -> None:
    """`ours` is at most twice as far from `truth` as `reference` is, plus one rounding of the result.

    Distances are the largest over all elements. One rounding is the spacing of numbers at the largest finite element of `truth`
    (`finfo.eps` times it) in the dtype of `ours`. Infinities must stand at the same places with the same sign as in
    `truth`, and so must NaNs.

    Args:
        ours: the fast path's result, any shape.
        reference: what plain torch computes from the same numbers in the same dtype.
        truth: what plain torch computes from the same numbers in float64.
        what: names the result in the message, for instance "gradient of x".

    Raises:
        AssertionError: if `ours` is too far off, or differs from `reference` in shape or dtype.
        ValueError: if `truth` is not float64 or the shapes of `reference` and `truth` differ.
    """
    if truth.dtype != torch.float64 or truth.shape != reference.shape:
        raise ValueError(
            f"truth must be float64 of the shape of reference {tuple(reference.shape)}, got {truth.dtype} {tuple(truth.shape)}."
        )
    if (ours.shape, ours.dtype) != (reference.shape, reference.dtype):
        raise AssertionError(
            f"{what} is of {ours.dtype} {tuple(ours.shape)}, the reference {reference.dtype} {tuple(reference.shape)}."
        )
    ours, reference, truth = ours.detach(), reference.detach(), truth.detach()
    # Where float64 overflows, or the dtype of ours cannot hold the truth, there is no distance to measure.
    expected = truth.to(ours.dtype)
    finite = torch.isfinite(expected)
    _assert_same_special(ours, expected, finite, what)
    if not finite.any():
        return
    exact = truth[finite]
    error = (ours[finite].double() - exact).abs()
    reference_error = (reference[finite].double() - exact).abs()
    # A reference that overflows where the truth does not proves nothing: it would allow everything.
    reference_error = (
        reference_error[torch.isfinite(reference_error)].amax() if reference_error.isfinite().any() else exact.new_zeros(())
    )
    rounding = torch.finfo(ours.dtype).eps * exact.abs().amax()
    limit = 2 * reference_error + rounding
    if error.amax() > limit:
        worst = int(error.argmax())
        where = tuple(int(i) for i in finite.nonzero()[worst])
        raise AssertionError(
            f"{what} at {where} is {float(ours[where]):.9g}, the truth {float(truth[where]):.9g}: "
            f"off by {float(error[worst]):.3g}, and allowed is {float(limit):.3g}, "
            f"twice the reference's {float(reference_error):.3g} and a rounding of {float(rounding):.3g}; "
            f"{int((error > limit).sum())} of {truth.numel()} elements are too far off."
        )


def _assert_same_special(ours: Tensor, expected: Tensor, finite: Tensor, what: str) -> None:
    """NaN for NaN, infinity for infinity, and a finite number everywhere else."""
    same = torch.where(finite, torch.isfinite(ours), (ours == expected) | (ours.isnan() & expected.isnan()))
    if not same.all():
        where = tuple(int(i) for i in (~same).nonzero()[0])
        raise AssertionError(
            f"{what} is {float(ours[where])} at {where}, where the truth is {float(expected[where])}; "
            f"{int((~same).sum())} of {same.numel()} elements are like that."
        )
