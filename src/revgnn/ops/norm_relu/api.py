"""`norm_relu`: argument checks, choice of backend, and the operator that autograd and `torch.compile` see."""

from __future__ import annotations

import torch
from torch import Tensor

from revgnn.ops.norm_relu import cpu, reference


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

    Differentiable once in `x`, `weight` and `bias`; `mask` is a constant. Only `x` is kept for that: mean and variance are
    worked out again. Sums run in a fixed order, so any number of threads gives the same bits.

    Args:
        x: (N, C), float32 or float64.
        weight, bias: $\gamma$ and $\beta$, (C,), dtype of `x`.
        mask: $m$, (N, C), the factors of a dropout mask, dtype of `x`; None: none.
        eps: $\epsilon$.
        backend: "cpu" (fused kernels) or "reference" (plain torch, any device). Default: the fused kernel of the device for up
            to 1,024 channels, or else the reference.

    Returns:
        (N, C), dtype of `x`.

    Raises:
        ValueError: if shapes, dtypes or devices do not fit together.
    """
    _check(x, weight, bias, mask)
    if backend is None:
        backend = "cpu" if x.device.type == "cpu" and x.shape[1] <= cpu.WIDEST else "reference"
    if backend not in ("cpu", "reference"):
        raise ValueError(f"unknown backend {backend!r}; choose 'cpu' or 'reference'.")
    if backend == "reference" or x.numel() == 0:
        return reference.norm_relu(x, weight, bias, mask, eps)
    if x.shape[1] > cpu.WIDEST:
        raise ValueError(
            f"the cpu kernel holds a row in registers, up to {cpu.WIDEST} channels, got {x.shape[1]}; use 'reference'."
        )
    mask = None if mask is None else mask.detach().contiguous()
    return _forward(x.contiguous(), weight.contiguous(), bias.contiguous(), mask, eps)


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


@torch.library.custom_op("revgnn::norm_relu", mutates_args=(), device_types="cpu")
def _forward(x: Tensor, weight: Tensor, bias: Tensor, mask: Tensor | None, eps: float) -> Tensor:
    return cpu.forward(x, weight, bias, mask, eps)


@_forward.register_fake
def _(x, weight, bias, mask, eps):
    return torch.empty_like(x)


@torch.library.custom_op("revgnn::norm_relu_backward", mutates_args=(), device_types="cpu")
def _backward(
    grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor, mask: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    return cpu.backward(grad.contiguous(), x, weight, bias, mask, eps)


@_backward.register_fake
def _(grad, x, weight, bias, mask, eps):
    return torch.empty_like(x), torch.empty_like(weight), torch.empty_like(bias)


def _setup_context(ctx, inputs, output) -> None:
    *tensors, ctx.eps = inputs
    ctx.save_for_backward(*tensors)


def _autograd(ctx, grad):
    return *_backward(grad, *ctx.saved_tensors, ctx.eps), None, None


_forward.register_autograd(_autograd, setup_context=_setup_context)
