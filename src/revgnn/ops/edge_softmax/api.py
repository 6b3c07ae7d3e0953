"""`edge_softmax`: argument checks, choice of backend, and the operator that autograd and `torch.compile` see."""

from __future__ import annotations

import torch
from torch import Tensor

from revgnn.graph import Graph
from revgnn.kernels import backends
from revgnn.ops.edge_softmax import cpu, reference
from revgnn.ops.edge_softmax.contract import Inputs, Saved, Spec
from revgnn.ops.operator import Kernels, Operator, Signature


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


OPERATOR = Operator(
    "revgnn::edge_softmax", Signature(Inputs, Spec, Saved, ()), {"cpu": lambda: cpu, "gpu": _gpu}, kept=_kept, fake=_fake
)
