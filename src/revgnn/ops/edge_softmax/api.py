"""`edge_softmax`: argument checks, choice of backend, and the operator that autograd and `torch.compile` see."""

from __future__ import annotations

import torch
from torch import Tensor

from revgnn.graph import Graph
from revgnn.graph.graph import check_graph
from revgnn.graph.validation import check_indptr
from revgnn.kernels import backends
from revgnn.ops.edge_softmax import cpu, reference
from revgnn.ops.edge_softmax.contract import Inputs, Saved, Spec
from revgnn.ops.operator import Kernels, Operator, Signature, check_tensors


def edge_softmax(scores: Tensor, graph: Graph, *, backend: str | None = None) -> Tensor:
    r"""Softmax over the edges into each node, head by head.

    $\alpha_e = \exp(s_e) / \sum_{e' \to i} \exp(s_{e'})$ for each edge $e$ into $i$

    The largest score of a node is taken off first, so no score is too large. An edge of score minus infinity counts as absent: it
    gets 0, and so do all edges into a node that has no other. Differentiable once. Any number of threads gives the same bits.

    Args:
        scores: (E, H), floating point, in the order of the graph. float32 and float64 are computed as they are, bfloat16 and
            float16 in float32.
        graph: E edges.
        backend: "cpu" or "gpu" (fused kernels), or "reference" (plain torch, any device). Default: the fused kernels of the device,
            or else the reference.

    Returns:
        (E, H), dtype of `scores`.

    Raises:
        TypeError: if `scores` is not a tensor, or `graph` not a `Graph`.
        ValueError: if shape, dtype or device do not fit the graph.
    """
    check_tensors(scores=scores)
    check_graph(graph)
    if scores.dim() != 2 or scores.shape[0] != graph.num_edges or not scores.is_floating_point():
        raise ValueError(
            f"scores must be floating point ({graph.num_edges}, H), got {scores.dtype} of shape {tuple(scores.shape)}."
        )
    if scores.device != graph.device:
        raise ValueError(f"scores are on {scores.device} but the graph is on {graph.device}; move them to one device.")
    backend = backends.choose(backend, scores.device)
    wide = scores if scores.dtype in (torch.float32, torch.float64) else scores.float()
    if backend == "reference" or scores.numel() == 0:
        return reference.edge_softmax(wide, graph).to(scores.dtype)
    return OPERATOR(Inputs(wide.contiguous(), graph.indptr), Spec(), backend).to(scores.dtype)


# --- the operator ----------------------------------------------------------------------------------------------------------------


def _gpu() -> Kernels:
    from revgnn.ops.edge_softmax import gpu

    return gpu


def _kept(inputs: Inputs, spec: Spec) -> Inputs:
    return inputs._replace(scores=None)


def _fake(inputs: Inputs, spec: Spec, backend: str) -> tuple[Tensor, Saved]:
    out = torch.empty_like(inputs.scores)
    return out, Saved(out)


def _check_call(inputs: Inputs, spec: Spec, grad: Tensor | None, saved: Saved | None) -> None:
    scores = inputs.scores if grad is None else grad
    check_tensors(scores=scores, indptr=inputs.indptr)
    if scores.dim() != 2 or scores.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"scores must be float32 or float64 (E, H), got {scores.dtype} of shape {tuple(scores.shape)}.")
    if not (inputs.indptr.is_cuda and torch.cuda.is_current_stream_capturing()):  # reading would end the recording
        check_indptr(inputs.indptr, scores.shape[0])
    if saved is not None and scores.numel():
        check_tensors(saved=saved.out)
        if (saved.out.shape, saved.out.dtype) != (scores.shape, scores.dtype):
            raise ValueError(f"the saved softmax must be {scores.dtype} of shape {tuple(scores.shape)}, as the gradient is.")
    for name, tensor in (("indptr", inputs.indptr), ("the saved softmax", None if saved is None else saved.out)):
        if tensor is not None and tensor.device != scores.device:
            raise ValueError(f"scores are on {scores.device} but {name} is on {tensor.device}; move them to one device.")


OPERATOR = Operator(
    "revgnn::edge_softmax",
    Signature(Inputs, Spec, Saved, ()),
    {"cpu": lambda: cpu, "gpu": _gpu},
    kept=_kept,
    fake=_fake,
    check=_check_call,
)
