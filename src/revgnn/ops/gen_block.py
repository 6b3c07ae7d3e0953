r"""The paper's block in one piece: norm, ReLU, mask, maximum of messages, residual, perceptron.

The same kernels as `norm_relu`, `aggregate` and `perceptron`, one after the other, and the same bits. What is saved is all that
stands between kernels: argument checks, and a node of the autograd graph for each. `revgnn bench profile` says what is left of it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from revgnn.graph import Graph
from revgnn.ops.aggregate import cpu as aggregation
from revgnn.ops.norm_relu import cpu as norm
from revgnn.ops.old_operator import is_observed
from revgnn.ops.perceptron import cpu as perceptron

_UNLIMITED = (float("-inf"), float("inf"))


class Norm(NamedTuple):
    r"""Layer norm: $\gamma$ and $\beta$, (C,), and $\epsilon$."""

    weight: Tensor
    bias: Tensor
    eps: float


class Perceptron(NamedTuple):
    """$W_1$ (H, C), $b_1$ (H,), the hidden layer's norm, $W_2$ (C', H), $b_2$ (C',)."""

    weight_in: Tensor
    bias_in: Tensor
    norm: Norm
    weight_out: Tensor
    bias_out: Tensor


class Edges(NamedTuple):
    """Features (E, K) in the order of the graph, their map (K, C), and its bias (C,)."""

    attr: Tensor
    weight: Tensor
    bias: Tensor


def fits(x: Tensor, before: Norm, mask: Tensor | None, graph: Graph, edges: Edges | None, mlp: Perceptron) -> bool:
    """Whether `gen_block` takes these tensors: on the CPU, float32 or float64, with nobody looking on, and no gradient wanted for
    edge features. Everything else is for the operators one by one, which say what is wrong with bad input."""
    channels, hidden = mlp.weight_in.shape[1], mlp.weight_in.shape[0]
    wanted = [
        (x, (graph.num_nodes, channels)),
        (before.weight, (channels,)),
        (before.bias, (channels,)),
        (mlp.weight_in, (hidden, channels)),
        (mlp.bias_in, (hidden,)),
        (mlp.norm.weight, (hidden,)),
        (mlp.norm.bias, (hidden,)),
        (mlp.weight_out, (mlp.weight_out.shape[0], hidden)),
        (mlp.bias_out, (mlp.weight_out.shape[0],)),
    ]
    if mask is not None:
        wanted.append((mask, (graph.num_nodes, channels)))
    if edges is not None:
        features = edges.attr
        if features.dim() != 2 or features.device != x.device:
            return False
        wanted += [(edges.weight, (features.shape[1], channels)), (edges.bias, (channels,))]
        stored = features.dtype == x.dtype or features.dtype in aggregation.STORED
        if not stored or features.requires_grad or not features.is_contiguous() or features.shape[0] != graph.num_edges:
            return False
    return (
        x.device.type == "cpu"
        and x.dtype in (torch.float32, torch.float64)
        and x.numel() > 0
        and graph.device == x.device
        and channels <= norm.WIDEST
        and perceptron.fits(channels, hidden, mlp.weight_out.shape[0])
        and all(t.shape == shape and t.dtype == x.dtype and t.device == x.device for t, shape in wanted)
        and not is_observed(tuple(t for t, _ in wanted))
    )


def gen_block(
    x: Tensor, before: Norm, mask: Tensor | None, graph: Graph, edges: Edges | None, mlp: Perceptron, *, eps: float
) -> Tensor:
    r"""$\mathrm{MLP}(h + \max_j \mathrm{relu}(h_j + A_{ij} W + b) + \epsilon)$ with
    $h = \mathrm{relu}(\mathrm{LayerNorm}(x)) \odot m$ (Li et al. 2021, arXiv:2106.07476), of tensors that `fits` has found fit.

    Differentiable once, in all but `mask` and the edge features.

    Args:
        x: (N, C).
        before: of the norm that comes first.
        mask: $m$, (N, C), or None.
        graph: N nodes, E edges.
        edges: features and their map, or None.
        mlp: of the perceptron.
        eps: $\epsilon$, added to each message.

    Returns:
        (N, C'), dtype of `x`.
    """
    attr, weight, bias = (None, None, None) if edges is None else edges
    constants = _Constants(graph, attr, None if mask is None else mask.detach().contiguous(), before.eps, eps, mlp.norm.eps)
    tensors = (before.weight, before.bias, weight, bias, mlp.weight_in, mlp.bias_in, *mlp.norm[:2], mlp.weight_out, mlp.bias_out)
    return _GenBlock.apply(constants, x, *tensors)


class _Constants(NamedTuple):
    graph: Graph
    attr: Tensor | None
    mask: Tensor | None
    norm_eps: float
    eps: float
    mlp_eps: float


class _GenBlock(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, constants: _Constants, *tensors: Any) -> Tensor:
        given: list[Any] = [None if t is None else t.contiguous() for t in tensors]
        x, gamma, beta, weight, bias, w_in, b_in, mlp_gamma, mlp_beta, w_out, b_out = given
        graph, attr, mask, norm_eps, eps, mlp_eps = constants
        save = any(ctx.needs_input_grad)
        h = norm.forward(x, gamma, beta, mask, norm_eps)
        m, winner, _ = aggregation.forward(
            h, graph.indptr, graph.src, attr, weight, bias, "max", 1.0, eps, _UNLIMITED, save, residual=True
        )
        del h
        if save:
            ctx.constants = (graph, norm_eps, eps, mlp_eps)
            # constants too: torch then notices if one is changed in place before the backward pass
            ctx.save_for_backward(x, m, winner, attr, mask, gamma, beta, weight, w_in, b_in, mlp_gamma, mlp_beta, w_out)
        return perceptron.forward(m, w_in, b_in, mlp_gamma, mlp_beta, w_out, b_out, mlp_eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, m, winner, attr, mask, gamma, beta, weight, w_in, b_in, mlp_gamma, mlp_beta, w_out = ctx.saved_tensors
        graph, norm_eps, eps, mlp_eps = ctx.constants
        grad_m, *grads_mlp = perceptron.backward(grad.contiguous(), m, w_in, b_in, mlp_gamma, mlp_beta, w_out, mlp_eps)
        grad_h, grad_weight, grad_bias, *_ = aggregation.backward(
            grad_m, m, graph.indptr, graph.src, (), attr, weight, None, (m, winner, m), "max", 1.0, eps, _UNLIMITED,
            weight is not None, False, residual=True,
        )  # fmt: skip
        del grad_m
        grad_x, grad_gamma, grad_beta = norm.backward(grad_h, x, gamma, beta, mask, norm_eps)
        edges = (grad_weight, grad_bias) if weight is not None else (None, None)
        return None, grad_x, grad_gamma, grad_beta, *edges, *grads_mlp
