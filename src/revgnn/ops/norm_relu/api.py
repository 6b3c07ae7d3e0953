"""`norm_relu`: argument checks, choice of backend, and the operator that autograd and `torch.compile` see."""

from __future__ import annotations

import torch
from torch import Tensor

from revgnn.kernels import backends
from revgnn.ops.norm_relu import cpu, reference
from revgnn.ops.norm_relu.contract import WIDEST, Inputs, Saved, Spec
from revgnn.ops.operator import NUMBER, Kernels, Operator, Signature, check_tensors


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
        TypeError: if an argument is not a tensor.
        ValueError: if shapes, dtypes or devices do not fit together.
    """
    _check(x, weight, bias, mask)
    chosen = backends.choose(backend, x.device, lambda name: _obstacle(name, x.shape[1]))
    if chosen == "reference" or x.numel() == 0:
        return reference.norm_relu(x, weight, bias, mask, eps)
    mask = None if mask is None else mask.detach().contiguous()
    return OPERATOR(Inputs(x.contiguous(), weight.contiguous(), bias.contiguous(), mask), Spec(eps), chosen)


def _obstacle(backend: str, channels: int) -> str | None:
    """Return why a backend cannot take rows of this width, or None."""
    if channels <= WIDEST[backend]:
        return None
    return f"the {backend} kernel holds a row in registers, up to {WIDEST[backend]} channels, got {channels}"


def _check(x: Tensor, weight: Tensor, bias: Tensor, mask: Tensor | None) -> None:
    check_tensors(x=x, weight=weight, bias=bias, **({} if mask is None else {"mask": mask}))
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


def _gpu() -> Kernels:
    from revgnn.ops.norm_relu import gpu

    return gpu


def _kept(inputs: Inputs, spec: Spec) -> Inputs:
    return inputs


def _fake(inputs: Inputs, spec: Spec, backend: str) -> tuple[Tensor, Saved]:
    x = inputs.x
    if backend == "cpu":
        return torch.empty_like(x), Saved(None, None)
    return torch.empty_like(x), Saved(x.new_empty(x.shape[0]), x.new_empty(x.shape[0]))


def _check_call(inputs: Inputs, spec: Spec, grad: Tensor | None, saved: Saved | None) -> None:
    _check(*inputs)
    if _obstacle("gpu" if inputs.x.is_cuda else "cpu", inputs.x.shape[1]):
        raise ValueError(f"norm_relu has no kernel for {inputs.x.shape[1]} channels; use revgnn.ops.norm_relu.")
    if grad is not None and (grad.shape, grad.dtype, grad.device) != (inputs.x.shape, inputs.x.dtype, inputs.x.device):
        raise ValueError(f"the gradient must be {inputs.x.dtype} of shape {tuple(inputs.x.shape)} on {inputs.x.device}, as x is.")
    for name, tensor in ({} if saved is None else saved._asdict()).items():
        if tensor is not None and (tensor.shape != inputs.x.shape[:1] or tensor.device != inputs.x.device):
            raise ValueError(f"{name} must have an entry for each of {len(inputs.x)} rows on {inputs.x.device}.")


OPERATOR = Operator(
    "revgnn::norm_relu",
    Signature(Inputs, Spec, Saved, (NUMBER,)),
    {"cpu": lambda: cpu, "gpu": _gpu},
    kept=_kept,
    fake=_fake,
    check=_check_call,
)
