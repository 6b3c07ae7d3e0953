"""`perceptron`: argument checks, choice of backend, and the operator that autograd and `torch.compile` see."""

from __future__ import annotations

import torch
from torch import Tensor

from revgnn.kernels import backends
from revgnn.ops.operator import NUMBER, Kernels, Operator, Signature, check_tensors
from revgnn.ops.perceptron import cpu, reference
from revgnn.ops.perceptron.contract import WIDEST, Inputs, Saved, Spec


def perceptron(
    x: Tensor,
    weight_in: Tensor,
    bias_in: Tensor,
    gamma: Tensor,
    beta: Tensor,
    weight_out: Tensor,
    bias_out: Tensor,
    *,
    eps: float = 1e-5,
    backend: str | None = None,
) -> Tensor:
    r"""Linear, layer norm, ReLU, linear, without keeping the hidden layer.

    $\mathrm{out}_i = W_2\, \mathrm{relu}(\mathrm{LayerNorm}(W_1 x_i + b_1; \gamma, \beta)) + b_2$

    Differentiable once in all tensors. Beside the weights only `x`, (N, C), is kept for that: the backward pass computes the hidden
    layer again. On the CPU it is computed some rows at a time and is never in memory as a whole; on the GPU it is there while the
    operator runs. Sums run in a fixed order, so any number of threads gives the same bits.

    Products have full precision by default. On the GPU cuBLAS computes them, so `torch.backends.cuda.matmul.allow_tf32` and similar
    settings apply. Autocast does not.

    Args:
        x: (N, C), float32 or float64.
        weight_in, bias_in: $W_1$ (H, C) and $b_1$ (H,), dtype of `x`, as `torch.nn.Linear` has them.
        gamma, beta: of the norm, (H,).
        weight_out, bias_out: $W_2$ (C', H) and $b_2$ (C',).
        eps: of the norm.
        backend: "cpu" (fused kernels, for widths that are multiples of 4, up to 1,024), "gpu" (for widths up to 4,096) or
            "reference" (plain torch, any device). Default: the kernels of the device where they fit, or else the reference.

    Returns:
        (N, C'), dtype of `x`.

    Raises:
        TypeError: if an argument is not a tensor.
        ValueError: if shapes, dtypes or devices do not fit together.
    """
    tensors = (x, weight_in, bias_in, gamma, beta, weight_out, bias_out)
    _check(*tensors)
    widths = (x.shape[1], *weight_out.shape[::-1])
    chosen = backends.choose(backend, x.device, lambda name: _obstacle(name, *widths))
    if chosen == "reference" or x.numel() == 0:
        return reference.perceptron(*tensors, eps)
    return OPERATOR(Inputs(*(t.contiguous() for t in tensors)), Spec(eps), chosen)


def _obstacle(backend: str, *widths: int) -> str | None:
    """Return why a backend cannot take layers of these widths, of input, hidden layer and result, or None."""
    widest = WIDEST[backend]
    if backend == "cpu":
        fits, wanted = cpu.fits(*widths), f"that are multiples of 4 up to {widest}"
    else:
        fits, wanted = min(widths) > 0 and max(widths) <= widest, f"up to {widest}"
    return None if fits else f"the {backend} kernel takes widths {wanted}, got {widths[0]}, {widths[1]} and {widths[2]}"


def _check(
    x: Tensor, weight_in: Tensor, bias_in: Tensor, gamma: Tensor, beta: Tensor, weight_out: Tensor, bias_out: Tensor
) -> None:
    check_tensors(x=x, weight_in=weight_in, bias_in=bias_in, gamma=gamma, beta=beta, weight_out=weight_out, bias_out=bias_out)
    if x.dim() != 2 or x.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"x must be float32 or float64 of shape (N, C), got {x.dtype} of shape {tuple(x.shape)}.")
    if weight_in.dim() != 2 or weight_out.dim() != 2:
        raise ValueError(
            f"weights must be matrices, (H, C) and (C', H), got {tuple(weight_in.shape)} and {tuple(weight_out.shape)}."
        )
    hidden, out = weight_in.shape[0], weight_out.shape[0]
    wanted = {
        "weight_in": (weight_in, (hidden, x.shape[1])),
        "bias_in": (bias_in, (hidden,)),
        "gamma": (gamma, (hidden,)),
        "beta": (beta, (hidden,)),
        "weight_out": (weight_out, (out, hidden)),
        "bias_out": (bias_out, (out,)),
    }
    for name, (tensor, shape) in wanted.items():
        if tensor.shape != shape or tensor.dtype != x.dtype or tensor.device != x.device:
            raise ValueError(
                f"{name} must be {x.dtype} of shape {shape} on {x.device}, as x is, "
                f"got {tensor.dtype} of shape {tuple(tensor.shape)} on {tensor.device}."
            )


# --- the operator ----------------------------------------------------------------------------------------------------------------


def _gpu() -> Kernels:
    from revgnn.ops.perceptron import gpu

    return gpu


def _kept(inputs: Inputs, spec: Spec) -> Inputs:
    return inputs


def _fake(inputs: Inputs, spec: Spec, backend: str) -> tuple[Tensor, Saved]:
    return inputs.x.new_empty(inputs.x.shape[0], inputs.weight_out.shape[0]), Saved()


def _check_call(inputs: Inputs, spec: Spec, grad: Tensor | None, saved: Saved | None) -> None:
    x, weight_in, bias_in, gamma, beta, weight_out, bias_out = inputs
    if bias_out is None:  # the backward pass does not read it
        bias_out = weight_out.new_empty(len(weight_out))
    _check(x, weight_in, bias_in, gamma, beta, weight_out, bias_out)
    wanted = (x.shape[0], weight_out.shape[0])
    if grad is not None and (grad.shape, grad.dtype, grad.device) != (wanted, x.dtype, x.device):
        raise ValueError(f"the gradient must be {x.dtype} of shape {wanted} on {x.device}, got {grad.dtype} {tuple(grad.shape)}.")


OPERATOR = Operator(
    "revgnn::perceptron",
    Signature(Inputs, Spec, Saved, (NUMBER,)),
    {"cpu": lambda: cpu, "gpu": _gpu},
    kept=_kept,
    fake=_fake,
    check=_check_call,
)
