"""`propagate`: argument checks, choice of backend, and the operator that autograd and `torch.compile` see."""

from __future__ import annotations

import torch
from torch import Tensor

from revgnn.graph import Graph
from revgnn.graph.graph import check_graph
from revgnn.graph.validation import check_structure
from revgnn.kernels import backends
from revgnn.ops.aggregate.reducers import Mean, Sum
from revgnn.ops.operator import YES_OR_NO, Kernels, Operator, Signature, check_tensors
from revgnn.ops.propagate import cpu, reference
from revgnn.ops.propagate.contract import Inputs, Saved, Spec


def propagate(
    x: Tensor,
    graph: Graph,
    weight: Tensor | None = None,
    *,
    how: Sum | Mean = Sum(),  # noqa: B008 (frozen)
    backend: str | None = None,
) -> Tensor:
    r"""Sum or average what the neighbours of each node hold, weighted by edge, without building messages.

    $\mathrm{out}_i = \sum_{e: j \to i} w_e x_j$, divided by the number of edges into $i$ for `Mean()`

    A node that no edge reaches gets 0. Differentiable once in `x` and `weight`. On the CPU sums run in a fixed order, so any number
    of threads gives the same bits, forward and backward.

    Args:
        x: (N, C), or (N, H, C) for H heads; floating point. float32 and float64 are computed as they are, bfloat16 and float16 in
            float32.
        graph: N nodes, E edges.
        weight: (E,), or (E, H) for H heads, in the order of the graph; None for weights of 1.
        how: `Sum()` or `Mean()`. The mean divides by the number of edges, not by the sum of their weights.
        backend: "cpu" or "gpu" (fused kernels), or "reference" (plain torch, any device, messages of E x H x C). Default: the fused
            kernels of the device, or else the reference.

    Returns:
        Shape and dtype of `x`.

    Raises:
        TypeError: if an argument is not a tensor, or `graph` not a `Graph`.
        ValueError: if shapes, dtypes or devices do not fit together.
    """
    _check(x, graph, weight, how)
    backend = backends.choose(backend, x.device)
    dtype = x.dtype if x.dtype in (torch.float32, torch.float64) else torch.float32
    wide, mean = x.to(dtype), isinstance(how, Mean)
    weight = None if weight is None else weight.to(dtype)
    if backend == "reference" or x.numel() == 0:
        out = reference.propagate(wide, graph, weight, mean=mean)
    else:
        weight = None if weight is None else weight.contiguous()
        by_source = graph.by_source if torch.is_grad_enabled() and x.requires_grad else (None, None, None)
        out = OPERATOR(Inputs(wide.contiguous(), weight, graph.indptr, graph.src, *by_source), Spec(mean), backend)
    return out.to(x.dtype)


def _check(x: Tensor, graph: Graph, weight: Tensor | None, how: Sum | Mean) -> None:
    check_tensors(x=x)
    if weight is not None:
        check_tensors(weight=weight)
    check_graph(graph)
    if x.dim() not in (2, 3) or x.shape[0] != graph.num_nodes or not x.is_floating_point():
        raise ValueError(
            f"x must be floating point of shape ({graph.num_nodes}, C) or ({graph.num_nodes}, H, C), "
            f"got {x.dtype} of shape {tuple(x.shape)}."
        )
    if not isinstance(how, Sum | Mean):
        raise ValueError(f"how must be Sum() or Mean(), got {how!r}; other reductions are those of aggregate.")
    if weight is not None:
        wanted = (graph.num_edges, *x.shape[1:-1])
        if weight.shape != wanted or not weight.is_floating_point():
            raise ValueError(f"weight must be floating point of shape {wanted}, got {weight.dtype} of shape {tuple(weight.shape)}.")
        _check_device("weight", weight, x)
    _check_device("graph", graph.src, x)


def _check_device(name: str, tensor: Tensor, x: Tensor) -> None:
    if tensor.device != x.device:
        raise ValueError(f"x is on {x.device} but {name} is on {tensor.device}; move them to one device.")


# --- the operator ----------------------------------------------------------------------------------------------------------------


def _gpu() -> Kernels:
    from revgnn.ops.propagate import gpu

    return gpu


def _kept(inputs: Inputs, spec: Spec) -> Inputs:
    """Each factor is kept for the gradient of the other."""
    return inputs._replace(x=inputs.x if "weight" in spec.wanted else None, weight=inputs.weight if "x" in spec.wanted else None)


def _fake(inputs: Inputs, spec: Spec, backend: str) -> tuple[Tensor, Saved]:
    return torch.empty_like(inputs.x), Saved()


def _fake_gradient(grad: Tensor, kept: Inputs, name: str) -> Tensor:
    return grad.new_empty(kept.src.shape[0], *grad.shape[1:-1]) if name == "weight" else grad


def _check_call(inputs: Inputs, spec: Spec, grad: Tensor | None, saved: Saved | None) -> None:
    check_tensors(indptr=inputs.indptr, src=inputs.src)
    by_source = {name: getattr(inputs, name) for name in ("source_indptr", "source_dst", "source_edge")}
    if (grad is not None and "x" in spec.wanted) or any(t is not None for t in by_source.values()):
        check_tensors(**by_source)
    check_structure(inputs.indptr, inputs.src, *by_source.values())
    if grad is None or "weight" in spec.wanted:
        check_tensors(x=inputs.x)
    state = inputs.x if grad is None else grad
    if state.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"x must be float32 or float64, got {state.dtype}.")
    _check(state, Graph(inputs.indptr, inputs.src, validate=False), inputs.weight, Sum())
    for name, tensor in (("x", inputs.x), ("weight", inputs.weight)):
        if tensor is not None and (tensor.dtype != state.dtype or (name == "x" and tensor.shape != state.shape)):
            raise ValueError(
                f"{name} and the state must have one dtype and shape, got {tensor.dtype} of shape {tuple(tensor.shape)} and "
                f"{state.dtype} of shape {tuple(state.shape)}."
            )


OPERATOR = Operator(
    "revgnn::propagate",
    Signature(Inputs, Spec, Saved, (YES_OR_NO,)),
    {"cpu": lambda: cpu, "gpu": _gpu},
    kept=_kept,
    fake=_fake,
    fake_gradient=_fake_gradient,
    check=_check_call,
)
