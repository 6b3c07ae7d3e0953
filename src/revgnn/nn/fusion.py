"""When modules may be computed together in one pass instead of one by one."""

from __future__ import annotations

from typing import NamedTuple, TypeGuard

import torch
from torch import Tensor, nn


def has_hooks(*modules: nn.Module) -> bool:
    """Whether a forward or backward hook is registered on one of the modules, so that each must be called by itself."""
    for m in modules:  # noqa: SIM110 (a generator costs as much again)
        if m._forward_hooks or m._forward_pre_hooks or m._backward_hooks or m._backward_pre_hooks:
            return True
    return False


def is_layer_norm_of(norm: nn.Module, x: Tensor) -> TypeGuard[nn.LayerNorm]:
    """Whether a module is layer norm over the channels of `x`, with weight and bias in the dtype of `x`, float32 or float64."""
    if type(norm) is not nn.LayerNorm or norm.weight is None or norm.bias is None:
        return False
    return norm.weight.shape == x.shape[1:] and x.dtype == norm.weight.dtype and x.dtype in (torch.float32, torch.float64)


class PerceptronTensors(NamedTuple):
    """Tensors of an MLP with one hidden layer and layer norm, as `revgnn.ops.perceptron` takes them."""

    weight_in: Tensor
    bias_in: Tensor
    gamma: Tensor
    beta: Tensor
    weight_out: Tensor
    bias_out: Tensor
    eps: float


def perceptron_tensors(mlp: nn.Sequential, x: Tensor) -> PerceptronTensors | None:
    """Return the tensors that `perceptron` takes, or None if the layers must run one by one.

    They must for layers other than linear, layer norm, ReLU, linear, or without biases; for another dtype than that of `x`; with
    hooks on a layer; and under autocast.
    """
    match [*mlp]:
        case [nn.Linear() as first, nn.LayerNorm() as norm, nn.ReLU(), nn.Linear() as last] if (
            {type(first), type(last)} == {nn.Linear}
            and first.bias is not None
            and last.bias is not None
            and not has_hooks(mlp, *mlp)
            and x.dtype == first.weight.dtype
            and x.dtype in (torch.float32, torch.float64)
            and not torch.is_autocast_enabled(x.device.type)
        ):
            return PerceptronTensors(first.weight, first.bias, norm.weight, norm.bias, last.weight, last.bias, norm.eps)
    return None
