"""`norm_relu`: argument checks, choice of backend, and the operator that autograd and `torch.compile` see."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from revgnn.kernels import backends
from revgnn.ops.norm_relu import cpu, reference
from revgnn.ops.operator import operator

WIDEST_ON_GPU = 4096


def norm_relu(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    mask: Tensor | None = None,
    *,
    eps: float = 1e-5,
    backend: str | None = None,
) -> Tensor:
    r"""Layer norm over the channels, ReLU, dropout mask, in one pass over the state.

    $\mathrm{out}_i = \mathrm{relu}\left(\frac{x_i - \mu_i}{\sqrt{\sigma_i^2 + \epsilon}} \odot \gamma + \beta\right) \odot m_i$
    (Ba et al. 2016, arXiv:1607.06450, for the norm), with mean $\mu_i$ and variance $\sigma_i^2$ of the row.

    Differentiable once in `x`, `weight` and `bias`; `mask` is a constant. Of the tensors only `x`
    is kept for that. Sums run in a fixed order, so any number of threads gives the same bits.

    Args:
        x: (N, C), float32 or float64.
        weight, bias: $\gamma$ and $\beta$, (C,), dtype of `x`.
        mask: $m$, (N, C), the factors of a dropout mask, dtype of `x`; None: none.
        eps: $\epsilon$.
        backend: "cpu" or "gpu" (fused kernels, for up to 1,024 and 4,096 channels) or "reference" (plain torch, any device).
            Default: the fused kernel of the device where it fits, or else the reference.

    Returns:
        (N, C), dtype of `x`.

    Raises:
        ValueError: if shapes, dtypes or devices do not fit together.
    """
    _check(x, weight, bias, mask)
    widest = {"cpu": cpu.WIDEST, "gpu": WIDEST_ON_GPU}
    chosen = backends.choose(backend, x.device)
    if backend is None and x.shape[1] > widest.get(chosen, x.shape[1]):
        chosen = "reference"
    if chosen == "reference" or x.numel() == 0:
        return reference.norm_relu(x, weight, bias, mask, eps)
    if x.shape[1] > widest[chosen]:
        raise ValueError(
            f"the {chosen} kernel holds a row in registers, up to {widest[chosen]} channels, got {x.shape[1]}; use 'reference'."
        )
    mask = None if mask is None else mask.detach().contiguous()
    return _forward(x.contiguous(), weight.contiguous(), bias.contiguous(), mask, eps, chosen == "gpu")[0]


def _check(x: Tensor, weight: Tensor, bias: Tensor, mask: Tensor | None) -> None:
    if x.dim() != 2 or x.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"x must be float32 or float64 of shape (N, C), got {x.dtype} of shape {tuple(x.shape)}.")
    wanted = {"weight": (weight, x.shape[1:]), "bias": (bias, x.shape[1:]), "mask": (mask, x.shape)}
    for name, (tensor, shape) in wanted.items():
        if tensor is not None and (tensor.shape != shape or tensor.dtype != x.dtype or tensor.device != x.device):
            raise ValueError(
                f"{name} must be {x.dtype} of shape {tuple(shape)} on {x.device}, as x is, "
                f"got {tensor.dtype} of shape {tuple(tensor.shape)} on {tensor.device}."
            )


# --- the operator ----------------------------------------------------------------------------------------------------------------


def _gpu() -> Any:
    """Triton is imported only where its kernels are wanted."""
    from revgnn.ops.norm_relu import gpu

    return gpu


@operator("revgnn::norm_relu")
def _forward(
    x: Tensor, weight: Tensor, bias: Tensor, mask: Tensor | None, eps: float, on_gpu: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The result, and mean and one over the deviation of each row where the backward pass wants them: on the CPU it does not."""
    if on_gpu:
        return _gpu().forward(x, weight, bias, mask, eps)
    return cpu.forward(x, weight, bias, mask, eps), x.new_empty(0), x.new_empty(0)


@_forward.register_fake
def _(x, weight, bias, mask, eps, on_gpu):
    rows = x.shape[0] if on_gpu else 0
    return torch.empty_like(x), x.new_empty(rows), x.new_empty(rows)


@operator("revgnn::norm_relu_backward")
def _backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    mask: Tensor | None,
    mean: Tensor,
    scale: Tensor,
    eps: float,
    on_gpu: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    if on_gpu:
        return _gpu().backward(grad.contiguous(), x, mean, scale, weight, bias, mask)
    return cpu.backward(grad.contiguous(), x, weight, bias, mask, eps)


@_backward.register_fake
def _(grad, x, weight, bias, mask, mean, scale, eps, on_gpu):
    return torch.empty_like(x), torch.empty_like(weight), torch.empty_like(bias)


def _setup_context(ctx, inputs, output) -> None:
    *tensors, eps, on_gpu = inputs
    _, mean, scale = output
    ctx.constants = (eps, on_gpu)
    ctx.mark_non_differentiable(mean, scale)
    ctx.save_for_backward(*tensors, mean, scale)


def _autograd(ctx, grad, _mean, _scale):
    return *_backward(grad, *ctx.saved_tensors, *ctx.constants), None, None, None


_forward.register_autograd(_autograd, setup_context=_setup_context)
