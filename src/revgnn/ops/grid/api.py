r"""The state of a reversible stack on an exact grid.

Floating-point addition has no exact inverse: $(x + f) - f$ may differ from $x$. Sums of multiples of $2^{-q}$ are exact while
they stay below $2^{24-q}$ in float32 ($2^{53-q}$ in float64). So `f` is rounded to the grid before it is added, and the inverse
subtracts the same rounded value.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from types import ModuleType

import torch
from torch import Tensor

from revgnn.kernels import backends
from revgnn.ops.grid import cpu, reference
from revgnn.ops.operator import check_tensors

MANTISSA = {torch.float32: 24, torch.float64: 53}
"""Significant bits of a number."""

WORDS = 512
"""64-bit words that are summed to one integer: the checksums take 1/512 of the memory of the state."""


def limit(dtype: torch.dtype, bits: int) -> float:
    """Return the magnitude up to which sums on the grid of multiples of 2^-bits are exact."""
    return 2.0 ** (MANTISSA[dtype] - bits)


class _RoundStraightThrough(torch.autograd.Function):
    """Rounding whose gradient is the identity, as a contiguous tensor: other layouts make norms sum in another order."""

    @staticmethod
    def forward(ctx, value: Tensor, bits: int) -> Tensor:
        return value.mul(math.ldexp(1.0, bits)).round_().mul_(math.ldexp(1.0, -bits))

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        # the gradient of one group is a part of that of the state; batch norm on a CPU rounds it otherwise if it has gaps
        return grad.contiguous(), None


def round_to_grid(value: Tensor, bits: int | None) -> Tensor:
    """Return the nearest multiple of 2^-bits, ties to even. The gradient passes unchanged. `bits=None` returns the value itself.

    Raises:
        ValueError: if `bits` is not an integer of magnitude at most 126.
    """
    if bits is None:
        return value
    _check_bits(bits)
    if torch.jit.is_tracing():  # pyright: ignore[reportPrivateImportUsage]
        # The tracer cannot store a function of Python. Both differences are exact.
        return value - (value - reference.round_to_grid(value, bits)).detach()
    return _RoundStraightThrough.apply(value, bits)


def advance(state: Tensor, change: Tensor, bits: int | None, *, backend: str | None = None) -> tuple[Tensor, Tensor]:
    """Return `state + round(change)` and its largest magnitude.

    Not differentiable: for use inside the forward and backward passes of a stack.

    Args:
        state: float32 or float64, any shape.
        change: same shape, any floating-point dtype.
        bits: q of the grid of multiples of 2^-q, or None for plain addition.
        backend: "cpu" or "gpu" (fused kernels) or "reference" (plain torch, any device). Default: the fused kernels of the device,
            or else the reference, which also takes tensors that are not contiguous.

    Returns:
        A new tensor, shape and dtype of `state`, and a tensor () of the largest magnitude in it, NaN if it contains NaN.

    Raises:
        TypeError: if an argument is not a tensor.
        ValueError: if shapes, dtypes or devices do not fit together.
    """
    out, peaks = _advance(state, change, bits, 1.0, backend)
    return out, peaks.amax()


def retreat(state: Tensor, change: Tensor, bits: int | None, *, backend: str | None = None) -> Tensor:
    """Return `state - round(change)` in a new tensor. Arguments and errors are those of `advance`.

    This is the exact inverse of `advance` if `state` is on the grid and within its limit.
    """
    return _advance(state, change, bits, -1.0, backend)[0]


def checksum(state: Iterable[Tensor]) -> Tensor:
    """Return integers that are equal for equal states, and for states that differ with a probability near 2^-64.

    They are sums of bit patterns, modulo 2^64. Sums of the values would be blind to changes that cancel out, as those of a
    normalised row do.

    Args:
        state: contiguous tensors, float32 or float64. A zero in them must have no sign.

    Returns:
        int64, one dimension.
    """
    return torch.cat([sums for part in state for sums in _sums(part.detach().view(-1))])


def _sums(flat: Tensor) -> list[Tensor]:
    if flat.element_size() == 4 and flat.numel() % 2:
        last = flat[-1:].view(torch.int32).long()
        return [last, *_sums(flat[:-1])]
    words = flat.view(torch.int64)
    whole = words.numel() // WORDS * WORDS
    return [words[:whole].view(-1, WORDS).sum(1), words[whole:].sum().view(1)]


def _advance(state: Tensor, change: Tensor, bits: int | None, sign: float, backend: str | None) -> tuple[Tensor, Tensor]:
    """Return `state + sign * round(change)`, and some magnitudes of it, among them the largest."""
    _check(state, change, bits)
    chosen = backends.choose(backend, state.device)
    if not state.numel():
        chosen = "reference"
    elif chosen != "reference" and not (state.is_contiguous() and change.is_contiguous()):
        if backend is None:
            chosen = "reference"
        else:
            state, change = state.contiguous(), change.contiguous()
    return _kernels(chosen).advance(state, change, bits, sign)


def _check(state: Tensor, change: Tensor, bits: int | None) -> None:
    for tensor in (state, change):
        if not isinstance(tensor, Tensor) or tensor.layout is not torch.strided:
            check_tensors(state=state, change=change)
    if state.dtype not in MANTISSA:
        raise ValueError(f"state must be float32 or float64, got {state.dtype}; use state.float().")
    if change.shape != state.shape or not change.is_floating_point():
        raise ValueError(
            f"change must be floating point of shape {tuple(state.shape)}, as state is, got {change.dtype} of shape "
            f"{tuple(change.shape)}."
        )
    if change.device != state.device:
        raise ValueError(f"state is on {state.device} but change is on {change.device}; move them to one device.")
    if bits is not None:
        _check_bits(bits)


def _check_bits(bits: int) -> None:
    if not isinstance(bits, int) or not -126 <= bits <= 126:
        raise ValueError(f"bits must be None or an integer from -126 to 126, got {bits!r}.")


def _kernels(backend: str) -> ModuleType:
    if backend == "gpu":
        from revgnn.ops.grid import gpu

        return gpu
    return cpu if backend == "cpu" else reference
