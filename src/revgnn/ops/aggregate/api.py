"""`aggregate`: argument checks, choice of backend, and the operator that autograd and `torch.compile` see."""

from __future__ import annotations

import math
import sys
from typing import Any

import torch
from torch import Tensor

from revgnn.graph import Graph
from revgnn.graph.graph import check_graph
from revgnn.graph.validation import check_structure
from revgnn.kernels import backends
from revgnn.ops.aggregate import cpu, reference
from revgnn.ops.aggregate.contract import Inputs, Saved, Spec
from revgnn.ops.aggregate.cpu.maximum import position_dtype
from revgnn.ops.aggregate.cpu.message import STORED_16_BIT
from revgnn.ops.aggregate.reducers import Max, Power, Reducer, Softmax, from_text, to_text
from revgnn.ops.operator import NUMBER, YES_OR_NO, Codec, Kernels, Operator, Signature, check_tensors
from revgnn.ops.totals import broadcast


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

    A node that no edge reaches gets 0, except from a `Power` with `clamp_mean`. Differentiable once in `x`, `edge_attr`,
    `weight`, `bias` and the temperature or exponent of `how`. On the CPU the memory needed is that of a
    few tensors of the shape of `x`; sums run in a fixed order, so any number of threads gives the same bits.

    Args:
        x: (N, C), floating point. float32 and float64 are computed as they are, bfloat16 and float16 in float32.
        graph: N nodes, E edges.
        edge_attr: $A$, (E, K), edge features in the order of the graph; usually `graph.edge_attr`. Floating point, or int16,
            whose integers are taken as they are: multiply `weight` by `graph.edge_scale`.
        weight: $W$, (K, C). Needed with `edge_attr`, and only then.
        bias: $b$, (C,), or None.
        how: `Sum()`, `Mean()`, `Max()`, `Softmax(t)` or `Power(p)`.
        eps: $\epsilon$, added to each message; must be positive for `Power`.
        residual: return $x + \mathrm{out}$; for `Max()` on the CPU the kernel adds it.
        backend: "cpu" or "gpu" (fused kernels), or "reference" (plain torch, any device, messages of E x C). Default: the
            fused kernels of the device, or else the reference.

    Returns:
        (N, C), dtype of `x`.

    Raises:
        TypeError: if an argument is not a tensor, `graph` not a `Graph`, or `how` not a reducer.
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
    edge_attr = _in_dtype_of_kernels(edge_attr, dtype, backend)
    given = (x.to(dtype), edge_attr, _to(weight, dtype), _to(bias, dtype))
    tensors: list[Any] = [None if t is None else t.contiguous() for t in given]
    learned = how.parameter.to(torch.float64).reshape(()) if isinstance(how.parameter, Tensor) else None
    differentiable = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (*tensors, learned))
    # the CPU walks edge features, which are in the order of the graph, by destination
    walks_by_source = backend == "gpu" or (how.backward_reads_x and (edge_attr is None or edge_attr.shape[1] == 0))
    by_source = graph.by_source if differentiable and walks_by_source else (None, None, None)
    structure: list[Any] = [learned, graph.indptr, graph.src, *by_source]
    inputs = Inputs(*tensors, *structure)
    if isinstance(how, Power) and how.clamp_mean is not None:
        root = OPERATOR(inputs, Spec(how.without_tensor(), eps), backend)
        root = _with_clamped_mean(root, graph, how.p, *how.clamp_mean)
        return (tensors[0] + root if residual else root).to(x.dtype)
    return OPERATOR(inputs, Spec(how.without_tensor(), eps, residual), backend).to(x.dtype)


def _with_clamped_mean(root: Tensor, graph: Graph, p: float | Tensor, low: float, high: float) -> Tensor:
    r"""Return $\mathrm{clamp}(\mathrm{mean})^{1/p}$ from the root $\mathrm{mean}^{1/p}$ that the kernels compute.

    The root is compared with those of the limits, in reverse if p < 0. A root within a few roundings of a limit counts as inside: a
    mean that equals the limit is clamped to itself and passes its gradient on.
    """
    if isinstance(p, Tensor):
        p = p.to(torch.float64).reshape(())
        sign: float | Tensor = p.detach().sign().to(root)
        lowest, highest = (broadcast(limit ** (1 / p), root) for limit in (low, high))
    else:  # numbers of the host, so that no copy to the device is recorded in a CUDA graph
        sign = math.copysign(1.0, p)
        lowest, highest = (_root(limit, p) for limit in (low, high))
    slack = 1 + 8 * torch.finfo(root.dtype).eps * sign
    below = (sign * root * slack < sign * lowest) | (graph.in_degree == 0).unsqueeze(1)
    return torch.where(below, lowest, torch.where(sign * root > sign * highest * slack, highest, root))


def _root(limit: float, p: float) -> float:
    """Return limit^(1 / p), infinity if it is too large for a float."""
    exponent = math.log(limit) / p
    return math.exp(exponent) if exponent < math.log(sys.float_info.max) else math.inf


def _to(t: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    return None if t is None else t.to(dtype)


def _in_dtype_of_kernels(edge_attr: Tensor | None, dtype: torch.dtype, backend: str) -> Tensor | None:
    """Return the edge features as they are where the kernels of the CPU read 16 bits and no gradient is wanted, else in `dtype`."""
    if edge_attr is None or (backend == "cpu" and edge_attr.dtype in STORED_16_BIT and not edge_attr.requires_grad):
        return edge_attr
    return edge_attr.to(dtype)


def _check(
    x: Tensor, graph: Graph, edge_attr: Tensor | None, weight: Tensor | None, bias: Tensor | None, how: Reducer, eps: float
) -> None:
    given = {"edge_attr": edge_attr, "weight": weight, "bias": bias}
    check_tensors(x=x, **{name: t for name, t in given.items() if t is not None})
    check_graph(graph)
    if not isinstance(how, Reducer):
        raise TypeError(f"how must be Sum(), Mean(), Max(), Softmax(t) or Power(p), got {how!r}.")
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
    for name, tensor in (("weight", weight), ("bias", bias)):
        if tensor is not None and tensor.is_complex():
            raise ValueError(f"{name} must be real, got {tensor.dtype}.")
    parameter = how.parameter if isinstance(how.parameter, Tensor) else None
    devices = (
        ("graph", graph.src),
        ("edge_attr", edge_attr),
        ("weight", weight),
        ("bias", bias),
        ("the parameter of how", parameter),
    )
    for name, tensor in devices:
        if tensor is not None and tensor.device != x.device:
            raise ValueError(f"x is on {x.device} but {name} is on {tensor.device}; move them to one device.")
    how.check(eps)


# --- the operator ----------------------------------------------------------------------------------------------------------------


def _gpu() -> Kernels:
    from revgnn.ops.aggregate import gpu

    return gpu


def _kept(inputs: Inputs, spec: Spec) -> Inputs:
    return inputs if spec.how.backward_reads_x else inputs._replace(x=None)


def _fake(inputs: Inputs, spec: Spec, backend: str) -> tuple[Tensor, Saved]:
    x = inputs.x
    assert x is not None
    out = torch.empty_like(x)
    match spec.how:
        case Max():
            winner = torch.empty_like(x, dtype=position_dtype(inputs.src)) if spec.wanted else None
            return out, Saved(winner=winner)
        case Softmax():
            return out, Saved(out=torch.empty_like(x), peaks=torch.empty_like(x), scales=torch.empty_like(x))
        case Power():
            return out, Saved(out=torch.empty_like(x), remainder=torch.empty_like(x))
    return out, Saved()


def _check_call(inputs: Inputs, spec: Spec, grad: Tensor | None, saved: Saved | None) -> None:
    check_tensors(indptr=inputs.indptr, src=inputs.src)
    by_source = {name: getattr(inputs, name) for name in ("source_indptr", "source_dst", "source_edge")}
    edge_attr, how = inputs.edge_attr, spec.how
    walks_by_source = grad is not None and how.backward_reads_x and (edge_attr is None or edge_attr.shape[-1:] == (0,))
    if walks_by_source or any(t is not None for t in by_source.values()):
        check_tensors(**by_source)
    check_structure(inputs.indptr, inputs.src, *by_source.values())
    state = inputs.x if grad is None else grad
    check_tensors(x=inputs.x if grad is None or how.backward_reads_x else grad)
    assert state is not None
    _check(state, Graph(inputs.indptr, inputs.src, validate=False), edge_attr, inputs.weight, inputs.bias, how, spec.eps)
    own = (torch.float32, torch.float64)
    allowed = (state.dtype, *STORED_16_BIT) if edge_attr is not None and "edge_attr" not in spec.wanted else (state.dtype,)
    for name, tensor in (("x", inputs.x), ("edge_attr", edge_attr), ("weight", inputs.weight), ("bias", inputs.bias)):
        wanted = allowed if name == "edge_attr" else (state.dtype,)
        if tensor is not None and (tensor.dtype not in wanted or state.dtype not in own):
            raise ValueError(f"x must be float32 or float64 and {name} of the same dtype, got {state.dtype} and {tensor.dtype}.")
    if inputs.x is not None and inputs.x.shape != state.shape:
        raise ValueError(f"the gradient must have the shape of x, {tuple(inputs.x.shape)}, got {tuple(state.shape)}.")
    if inputs.parameter is not None and (inputs.parameter.shape != () or inputs.parameter.dtype != torch.float64):
        parameter = inputs.parameter
        raise ValueError(f"parameter must be float64 of shape (), got {parameter.dtype} of shape {tuple(parameter.shape)}.")
    if saved is not None:
        _check_saved(saved, state, inputs, spec)


def _check_saved(saved: Saved, state: Tensor, inputs: Inputs, spec: Spec) -> None:
    """Raise `ValueError` unless these are what the forward pass saves."""
    _, wanted = _fake(inputs._replace(x=torch.empty_like(state, device="meta")), spec._replace(wanted=("x",)), "")
    for name, like in wanted._asdict().items():
        tensor = getattr(saved, name)
        found = None if tensor is None else (tensor.dtype, tensor.shape, tensor.device)
        if like is not None and like.numel() and found != (like.dtype, like.shape, state.device):
            raise ValueError(f"saved {name} must be {like.dtype} of shape {tuple(like.shape)} on {state.device}, got {found}.")
    if saved.winner is not None and saved.winner.numel():
        lowest, highest = (int(bound) for bound in saved.winner.aminmax())
        if lowest < -1 or highest >= inputs.src.numel():
            raise ValueError(f"winner must be positions of the {inputs.src.numel()} edges, or -1, got {lowest} to {highest}.")


OPERATOR = Operator(
    "revgnn::aggregate",
    Signature(Inputs, Spec, Saved, (Codec(to_text, from_text), NUMBER, YES_OR_NO)),
    {"cpu": lambda: cpu, "gpu": _gpu},
    kept=_kept,
    fake=_fake,
    check=_check_call,
)
