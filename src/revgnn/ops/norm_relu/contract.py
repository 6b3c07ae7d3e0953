"""What the kernels of `norm_relu` are given and return, on every device."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

WIDEST = {"cpu": 1024, "gpu": 4096}
"""Largest number of channels by backend: a row is on the CPU's stack, or in the GPU's registers."""


class Inputs(NamedTuple):
    """Tensors, contiguous.

    Attributes:
        x: (N, C), float32 or float64.
        weight, bias: (C,).
        mask: (N, C), factors of the result, or None. It gets no gradient.
    """

    x: Tensor
    weight: Tensor
    bias: Tensor
    mask: Tensor | None


class Spec(NamedTuple):
    """Settings.

    Attributes:
        eps: added to the variance.
        wanted: names of the inputs that want a gradient.
    """

    eps: float
    wanted: tuple[str, ...] = ()


class Saved(NamedTuple):
    """Statistics of each row for the backward pass, where a device keeps them. The CPU computes them again."""

    mean: Tensor | None
    inverse_deviation: Tensor | None
