"""What the kernels of `perceptron` are given and return, on every device."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

WIDEST = {"cpu": 1024, "gpu": 4096}
"""Largest width of a layer by backend: some rows of each layer are on the CPU's stack, a row of the hidden layer is in the GPU's
registers."""


class Inputs(NamedTuple):
    """Tensors, contiguous, of one dtype, float32 or float64.

    Attributes:
        x: (N, C).
        weight_in, bias_in: of the first layer, (H, C) and (H,).
        gamma, beta: of the norm, (H,).
        weight_out, bias_out: of the second layer, (C', H) and (C',). The backward pass does not read `bias_out`.
    """

    x: Tensor
    weight_in: Tensor
    bias_in: Tensor
    gamma: Tensor
    beta: Tensor
    weight_out: Tensor
    bias_out: Tensor | None


class Spec(NamedTuple):
    """Settings.

    Attributes:
        eps: added to the variance.
        wanted: names of the inputs that want a gradient.
    """

    eps: float
    wanted: tuple[str, ...] = ()


class Saved(NamedTuple):
    """Nothing beside the inputs: the hidden layer is computed again."""
