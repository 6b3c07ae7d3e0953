"""The sum of a whole tensor, in an order that does not depend on the number of threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from revgnn.memory import rehearsing


def total(tensor: Tensor) -> Tensor:
    """Return the sum of all elements: float64, shape ().

    Torch cuts a large sum by its threads. NumPy adds on one.
    """
    if tensor.device.type != "cpu" or torch.compiler.is_compiling() or rehearsing():
        return tensor.sum(dtype=torch.float64)
    return torch.tensor(np.sum(tensor.detach().numpy(), dtype=np.float64))


class _Broadcast(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, like: Tensor) -> Tensor:
        ctx.dtype = value.dtype
        return value.to(like).expand_as(like)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return total(grad).to(ctx.dtype), None


def broadcast(value: Tensor, like: Tensor) -> Tensor:
    """Return a number, shape (), in every place of a tensor of the shape and dtype of `like`. Its gradient is added by `total`."""
    return _Broadcast.apply(value, like.detach())
