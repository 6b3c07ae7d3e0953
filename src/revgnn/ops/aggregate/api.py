"""`aggregate`: argument checks, choice of backend, and the operator that autograd and `torch.compile` see."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from revgnn.graph import Graph
from revgnn.kernels import backends
from revgnn.kernels.cpu.launch import position_dtype
from revgnn.ops.aggregate import cpu, reference
from revgnn.ops.aggregate.reducers import Max, Power, Reducer, Softmax
from revgnn.ops.old_operator import operator

_UNLIMITED = (float("-inf"), float("inf"))


def aggregate(
    x: Tensor,
    graph: Graph,
    edge_attr: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    how: Reducer = Max(),  # noqa: B008 (frozen)
    eps: float = 1e-7,
    residual: bool = False,
    backend: str | None = None,
) -> Tensor:
    r"""Reduce the messages that reach each node, without building them.

    $\mathrm{out}_i = \mathrm{AGG}_{j \to i}\; \mathrm{relu}(x_j + A_{ij} W + b) + \epsilon$

    A node that no edge reaches gets 0. Differentiable once in `x`, `edge_attr`, `weight`, `bias` and the temperature or
    exponent of `how`. On the CPU the memory needed is that of a few tensors of the shape of `x`; sums run in a fixed order,
    so any number of threads gives the same bits.

    Args:
        x: (N, C), floating point. float32 and float64 are computed as they are, bfloat16 and float16 in float32.
        graph: N nodes, E edges.
        edge_attr: $A$, (E, K), edge features in the order of the graph; usually `graph.edge_attr`. Floating point, or int16,
            whose integers are taken as they are: multiply `weight` by `graph.edge_scale`.
        weight: $W$, (K, C). Wanted if and only if there is `edge_attr`.
        bias: $b$, (C,), or None.
        how: `Sum()`, `Mean()`, `Max()`, `Softmax(t)` or `Power(p)`.
        eps: $\epsilon$, added to each message; must be positive for `Power`.
        residual: return $x + \mathrm{out}$, on the CPU for `Max()` without a pass of its own.
        backend: "cpu" or "gpu" (fused kernels), or "reference" (plain torch, any device, messages of E x C). Default: the
            fused kernels of the device, or else the reference.

    Returns:
        (N, C), dtype of `x`.

    Raises:
        ValueError: if shapes, dtypes or devices do not fit together.
    """
    _check(x, graph, edge_attr, weight, bias, how, eps)
    backend = backends.choose(backend, x.device)
    dtype = x.dtype if x.dtype in (torch.float32, torch.float64) else torch.float32
    if backend == "reference" or x.numel() == 0:
        wide, *others = (None if t is None else t.to(dtype) for t in (x, edge_attr, weight, bias))
        assert wide is not None
        with torch.autocast(x.device.type, enabled=False):
            out = reference.aggregate(wide, graph, *others, how=how, eps=eps)
            return (wide + out if residual else out).to(x.dtype)
    kind, param, clamp = str(how), 1.0, _UNLIMITED
    if isinstance(how, Softmax):
        param = how.t
    elif isinstance(how, Power):
        param, clamp = how.p, how.clamp or _UNLIMITED
    if edge_attr is not None and not (backend == "cpu" and edge_attr.dtype in cpu.STORED and not edge_attr.requires_grad):
        edge_attr = edge_attr.to(dtype)  # the CPU's kernels read 16-bit features as they are stored
    tensors = [t if t is None else t.contiguous() for t in (x.to(dtype), edge_attr, *(_to(t, dtype) for t in (weight, bias)))]
    learned = param.to(torch.float64).reshape(()) if isinstance(param, Tensor) else None
    constant = 1.0 if isinstance(param, Tensor) else float(param)
    save = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (*tensors, learned))
    walks_by_source = backend == "gpu" or (kind != "max" and (edge_attr is None or edge_attr.shape[1] == 0))
    by_source = list(graph.by_source) if save and walks_by_source else []
    fused = residual and kind == "max" and backend == "cpu"
    switches = (save, fused, backend == "gpu")
    out = _forward(*tensors, learned, graph.indptr, graph.src, by_source, kind, constant, eps, *clamp, *switches)[0]
    if residual and not fused:
        out = x.to(dtype) + out
    return out.to(x.dtype)


def _to(t: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    return None if t is None else t.to(dtype)


def _check(
    x: Tensor, graph: Graph, edge_attr: Tensor | None, weight: Tensor | None, bias: Tensor | None, how: Reducer, eps: float
) -> None:
    if x.dim() != 2 or x.shape[0] != graph.num_nodes or not x.is_floating_point():
        raise ValueError(f"x must be floating point of shape ({graph.num_nodes}, C), got {x.dtype} of shape {tuple(x.shape)}.")
    if (edge_attr is None) != (weight is None):
        raise ValueError(
            "edge_attr and weight come together: the features of the edges, and the matrix that maps them to channels."
        )
    if edge_attr is not None and weight is not None:
        if edge_attr.dim() != 2 or edge_attr.shape[0] != graph.num_edges:
            raise ValueError(f"edge_attr must have shape ({graph.num_edges}, K), got {tuple(edge_attr.shape)}.")
        if not edge_attr.is_floating_point() and edge_attr.dtype != torch.int16:
            raise ValueError(f"edge_attr must be floating point or int16, got {edge_attr.dtype}; use edge_attr.float().")
        if weight.shape != (edge_attr.shape[1], x.shape[1]):
            raise ValueError(f"weight must have shape {(edge_attr.shape[1], x.shape[1])}, got {tuple(weight.shape)}.")
    if bias is not None and bias.shape != (x.shape[1],):
        raise ValueError(f"bias must have shape ({x.shape[1]},), got {tuple(bias.shape)}.")
    for name, tensor in (("graph", graph.src), ("edge_attr", edge_attr), ("weight", weight), ("bias", bias)):
        if tensor is not None and tensor.device != x.device:
            raise ValueError(f"x is on {x.device} but {name} is on {tensor.device}; move them to one device.")
    if isinstance(how, Softmax | Power):
        param = how.t if isinstance(how, Softmax) else how.p
        if isinstance(param, Tensor) and param.numel() != 1:
            raise ValueError(f"the parameter of {how} must be a number or a tensor of one element, got shape {tuple(param.shape)}.")
    if isinstance(how, Power):
        if not isinstance(how.p, Tensor) and how.p == 0:
            raise ValueError("the power mean has no exponent 0; choose another p.")
        if eps <= 0 and (how.clamp is None or how.clamp[0] <= 0):
            raise ValueError(f"the power mean needs positive messages: eps must be above 0, got {eps}.")


# --- the operator ----------------------------------------------------------------------------------------------------------------


def _gpu() -> Any:
    """Triton is imported only where its kernels are wanted."""
    from revgnn.ops.aggregate import gpu

    return gpu


@operator("revgnn::aggregate")
def _forward(
    x: Tensor,
    edge_attr: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    param: Tensor | None,
    indptr: Tensor,
    src: Tensor,
    by_source: list[Tensor],
    kind: str,
    constant: float,
    eps: float,
    low: float,
    high: float,
    save: bool,
    residual: bool,
    on_gpu: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    if on_gpu:
        value = constant if param is None else param
        return _gpu().forward(x, indptr, src, edge_attr, weight, bias, kind, value, eps, (low, high), save)
    value = constant if param is None else float(param)
    return cpu.forward(x, indptr, src, edge_attr, weight, bias, kind, value, eps, (low, high), save, residual)


@_forward.register_fake
def _(x, edge_attr, weight, bias, param, indptr, src, by_source, kind, constant, eps, low, high, save, residual, on_gpu):
    out = torch.empty_like(x)
    if kind == "max":
        return out, x.new_empty(x.shape if save else (0,), dtype=position_dtype(src)), x.new_empty(0)
    if kind.startswith("softmax"):
        return out, torch.empty_like(x), torch.empty_like(x)
    return out, torch.empty_like(x) if kind == "power" else x.new_empty(0), x.new_empty(0)


@operator("revgnn::aggregate_backward")
def _backward(
    grad: Tensor,
    x: Tensor | None,
    edge_attr: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    param: Tensor | None,
    indptr: Tensor,
    src: Tensor,
    by_source: list[Tensor],
    saved: list[Tensor],
    kind: str,
    constant: float,
    eps: float,
    low: float,
    high: float,
    residual: bool,
    on_gpu: bool,
    wants_weight: bool,
    wants_edges: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    value: Any = constant if param is None else param if on_gpu else float(param)
    constants = kind, value, eps, (low, high), wants_weight, wants_edges
    grad, x, lists = grad.contiguous(), grad if x is None else x, (tuple(by_source), edge_attr, weight, bias, tuple(saved))
    if on_gpu:
        grad_x, grad_w, grad_a, dparam = _gpu().backward(grad, x, indptr, src, *lists, *constants)
        grad_b = grad_x.sum(0)  # every edge has one source: the bias sees the sum of what the rows of x see
    else:
        grad_x, grad_w, grad_b, grad_a, dparam = cpu.backward(grad, x, indptr, src, *lists, *constants, residual)
    dparam = dparam if isinstance(dparam, Tensor) else torch.full((), dparam, dtype=torch.float64, device=grad.device)
    return grad_x, grad_w, grad_b, grad_a, dparam


@_backward.register_fake
def _(
    grad,
    x,
    edge_attr,
    weight,
    bias,
    param,
    indptr,
    src,
    by_source,
    saved,
    kind,
    constant,
    eps,
    low,
    high,
    residual,
    on_gpu,
    wants_weight,
    wants_edges,
):
    grad_w = torch.empty_like(weight) if weight is not None and wants_weight else grad.new_empty(0)
    grad_a = torch.empty_like(edge_attr) if edge_attr is not None and wants_edges else grad.new_empty(0)
    grad_x = torch.empty_like(grad, memory_format=torch.contiguous_format)
    return grad_x, grad_w, grad.new_empty(grad.shape[1]), grad_a, grad.new_empty((), dtype=torch.float64)


def _setup_context(ctx, inputs, output) -> None:
    x, edge_attr, weight, bias, param, indptr, src, by_source, *constants, _save, residual, on_gpu = inputs
    ctx.constants = [*constants, residual, on_gpu]
    out, first, second = output
    kind = ctx.constants[0]
    # the backward of max reads only the winners: neither x nor out is kept alive for it
    saved = (out.new_empty(0), first, second) if kind in ("max", "sum", "mean") else (out, first, second)
    ctx.mark_non_differentiable(first, second)
    ctx.num_by_source = len(by_source)
    ctx.save_for_backward(None if kind == "max" else x, edge_attr, weight, bias, param, indptr, src, *by_source, *saved)


def _autograd(ctx, grad, _first, _second):
    x, edge_attr, weight, bias, param, indptr, src, *rest = ctx.saved_tensors
    by_source, saved = rest[: ctx.num_by_source], rest[ctx.num_by_source :]
    _, wants_edges, wants_weight, wants_bias, wants_param, *_ = ctx.needs_input_grad
    grad_x, *others = _backward(
        grad, x, edge_attr, weight, bias, param, indptr, src, by_source, saved, *ctx.constants, wants_weight, wants_edges
    )
    grad_w, grad_b, grad_a, dparam = others
    wanted = ((grad_a, wants_edges), (grad_w, wants_weight), (grad_b, wants_bias), (dparam, wants_param))
    grads = (g if wants else None for g, wants in wanted)
    return grad_x, *grads, None, None, [None] * ctx.num_by_source, *(None,) * 8


_forward.register_autograd(_autograd, setup_context=_setup_context)
