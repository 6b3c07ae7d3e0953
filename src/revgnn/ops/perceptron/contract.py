"""What the kernels of `perceptron` are given and return, on every device."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

WIDEST = {"cpu": {torch.float32: 1024, torch.float64: 1024}, "gpu": {torch.float32: 256, torch.float64: 128}}
"""Largest width of a layer by backend and dtype.

On the CPU some rows of each layer are on the stack. On the GPU these are the widths that compile for sm_80 and sm_90 with no or few
spilled registers, in less than 99 KB of shared memory a program.
"""


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
