"""`edge_softmax`: argument checks, choice of backend, and the operator that autograd and `torch.compile` see."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from revgnn.graph import Graph
from revgnn.kernels import backends
from revgnn.ops.edge_softmax import cpu, reference
from revgnn.ops.old_operator import operator


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
        ValueError: if shape, dtype or device do not fit the graph.
    """
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
    return _forward(wide.contiguous(), graph.indptr, backend == "gpu").to(scores.dtype)


# --- the operator ----------------------------------------------------------------------------------------------------------------


def _kernels(on_gpu: bool) -> Any:
    """Triton is imported only where its kernels are wanted."""
    if on_gpu:
        from revgnn.ops.edge_softmax import gpu

        return gpu
    return cpu


@operator("revgnn::edge_softmax")
def _forward(scores: Tensor, indptr: Tensor, on_gpu: bool) -> Tensor:
    return _kernels(on_gpu).forward(scores, indptr)


@_forward.register_fake
def _(scores, indptr, on_gpu):
    return torch.empty_like(scores)


@operator("revgnn::edge_softmax_backward")
def _backward(grad: Tensor, out: Tensor, indptr: Tensor, on_gpu: bool) -> Tensor:
    return _kernels(on_gpu).backward(grad.contiguous(), out, indptr)


@_backward.register_fake
def _(grad, out, indptr, on_gpu):
    return torch.empty_like(out)


def _setup_context(ctx, inputs, output) -> None:
    _, indptr, ctx.on_gpu = inputs
    ctx.save_for_backward(output, indptr)


def _autograd(ctx, grad):
    return _backward(grad, *ctx.saved_tensors, ctx.on_gpu), None, None


_forward.register_autograd(_autograd, setup_context=_setup_context)
