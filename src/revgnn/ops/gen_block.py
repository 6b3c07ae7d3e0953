r"""The paper's block as one node of the autograd graph: layer norm, ReLU, mask, maximum of messages, residual, MLP.

It runs the kernels of `norm_relu`, `aggregate` and `perceptron` one after the other, with the same bits as the three operators.
It saves what stands between them: argument checks, and a node of the autograd graph for each. `GENBlock` takes this path where
`fits` allows it, and otherwise the operators, which also say what is wrong with bad input.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from revgnn.graph import Graph
from revgnn.kernels.backends import check_unchanged, choose, needs_dispatcher
from revgnn.ops.aggregate import Max
from revgnn.ops.aggregate import contract as aggregation
from revgnn.ops.aggregate.cpu import maximum
from revgnn.ops.aggregate.cpu.message import STORED_16_BIT
from revgnn.ops.norm_relu import contract as norm
from revgnn.ops.norm_relu import cpu as norm_cpu
from revgnn.ops.operator import Kernels
from revgnn.ops.perceptron import contract as mlp
from revgnn.ops.perceptron import cpu as mlp_cpu


class Block(NamedTuple):
    r"""Tensors and settings of a block; C channels, H hidden channels, C' results.

    Attributes:
        x: (N, C).
        norm_weight, norm_bias, norm_eps: of the layer norm, (C,).
        mask: (N, C), factors after the ReLU, or None.
        edge_attr, edge_weight, edge_bias: edge features (E, K) in the order of the graph, their map (K, C) and its bias (C,);
            None without edge features.
        weight_in, bias_in, gamma, beta, weight_out, bias_out, mlp_eps: of the MLP; see `perceptron`.
        eps: added to each message.
    """

    x: Tensor
    norm_weight: Tensor
    norm_bias: Tensor
    norm_eps: float
    mask: Tensor | None
    edge_attr: Tensor | None
    edge_weight: Tensor | None
    edge_bias: Tensor | None
    weight_in: Tensor
    bias_in: Tensor
    gamma: Tensor
    beta: Tensor
    weight_out: Tensor
    bias_out: Tensor
    mlp_eps: float
    eps: float


def fits(block: Block, graph: Graph) -> bool:
    """Whether `gen_block` takes these tensors: of matching shapes, float32 or float64, on a device with kernels, without a gradient
    for the edge features, and with nothing active that has to see each operator."""
    backend = choose(None, block.x.device)
    x, num_nodes = block.x, graph.indptr.shape[0] - 1
    channels, hidden, results = block.weight_in.shape[1], block.weight_in.shape[0], block.weight_out.shape[0]
    wanted = [
        (x, (num_nodes, channels)),
        (block.norm_weight, (channels,)),
        (block.norm_bias, (channels,)),
        (block.weight_in, (hidden, channels)),
        (block.bias_in, (hidden,)),
        (block.gamma, (hidden,)),
        (block.beta, (hidden,)),
        (block.weight_out, (results, hidden)),
        (block.bias_out, (results,)),
    ]
    if block.mask is not None:
        wanted.append((block.mask, (num_nodes, channels)))
    if block.edge_attr is not None and block.edge_weight is not None and block.edge_bias is not None:
        features = block.edge_attr
        if features.dim() != 2 or features.device != x.device or features.shape[0] != graph.src.shape[0]:
            return False
        if features.requires_grad or not features.is_contiguous():
            return False
        if features.dtype != x.dtype and not (backend == "cpu" and features.dtype in STORED_16_BIT):
            return False
        wanted += [(block.edge_weight, (features.shape[1], channels)), (block.edge_bias, (channels,))]
    return (
        backend != "reference"
        and x.dtype in (torch.float32, torch.float64)
        and x.numel() > 0
        and graph.src.device == x.device
        and channels <= norm.WIDEST[backend]
        and max(channels, hidden, results) <= mlp.WIDEST[backend]
        and (backend == "gpu" or mlp_cpu.fits(channels, hidden, results))
        and all(t.shape == shape and t.dtype == x.dtype and t.device == x.device for t, shape in wanted)
        and not needs_dispatcher(tuple(t for t, _ in wanted))
    )


def gen_block(block: Block, graph: Graph) -> Tensor:
    r"""Return $\mathrm{MLP}(h + \max_j \mathrm{relu}(h_j + A_{ij} W + b) + \epsilon)$ with
    $h = \mathrm{relu}(\mathrm{LayerNorm}(x)) \odot m$ (Li et al. 2021, arXiv:2106.07476), of a block that `fits` accepts.

    Differentiable once, in all tensors but `mask` and `edge_attr`.

    Returns:
        (N, C'), dtype of `x`.
    """
    mask = None if block.mask is None else block.mask.detach().contiguous()
    kernels = kernels_of(choose(None, block.x.device))
    constants = _Constants(kernels, graph, block.edge_attr, mask, block.norm_eps, block.eps, block.mlp_eps)
    tensors = (block.norm_weight, block.norm_bias, block.edge_weight, block.edge_bias)
    weights = (block.weight_in, block.bias_in, block.gamma, block.beta, block.weight_out, block.bias_out)
    return _GENBlock.apply(constants, block.x, *tensors, *weights)


class _BlockKernels(NamedTuple):
    """The kernels of one device."""

    norm: Kernels
    aggregate: Kernels
    mlp: Kernels
    by_source: bool
    """Whether the backward pass of the aggregation reads the graph by source."""


@functools.cache
def kernels_of(backend: str) -> _BlockKernels:
    """Return the kernels of a backend; those of the GPU are imported only here."""
    if backend == "cpu":
        return _BlockKernels(norm_cpu, maximum, mlp_cpu, by_source=False)
    from revgnn.ops.aggregate import gpu as aggregate_gpu
    from revgnn.ops.norm_relu import gpu as norm_gpu
    from revgnn.ops.perceptron import gpu as mlp_gpu

    return _BlockKernels(norm_gpu, aggregate_gpu, mlp_gpu, by_source=True)


class _Constants(NamedTuple):
    kernels: _BlockKernels
    graph: Graph
    edge_attr: Tensor | None
    mask: Tensor | None
    norm_eps: float
    eps: float
    mlp_eps: float


class _GENBlock(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, constants: _Constants, *tensors: Any) -> Tensor:
        given: list[Any] = [None if t is None else t.contiguous() for t in tensors]
        x, norm_weight, norm_bias, edge_weight, edge_bias, *weights = given
        kernels, graph, edge_attr, mask, norm_eps, eps, mlp_eps = constants
        wanted = ("x",) if any(ctx.needs_input_grad) else ()
        h, statistics = kernels.norm.forward(norm.Inputs(x, norm_weight, norm_bias, mask), norm.Spec(norm_eps))
        spec = aggregation.Spec(Max(), eps, residual=True, wanted=wanted)
        m, winners = kernels.aggregate.forward(_messages(h, graph, edge_attr, edge_weight, edge_bias), spec)
        del h
        if wanted:
            ctx.constants = (kernels, graph, norm_eps, eps, mlp_eps)
            # constants too: torch then notices if one is changed in place before the backward pass
            kept = (x, *statistics, m, winners.winner, edge_attr, mask, norm_weight, norm_bias, edge_weight)
            ctx.save_for_backward(*kept, *weights[:-1])
        out, _ = kernels.mlp.forward(mlp.Inputs(m, *weights), mlp.Spec(mlp_eps))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, mean, deviation, m, winner, edge_attr, mask, norm_weight, norm_bias, edge_weight, *weights = ctx.saved_tensors
        kernels, graph, norm_eps, eps, mlp_eps = ctx.constants
        given: list[Any] = [m, *weights, None]
        through_mlp = kernels.mlp.backward(grad.contiguous(), mlp.Inputs(*given), mlp.Saved(), mlp.Spec(mlp_eps))
        wanted = ("x",) if edge_weight is None else ("x", "weight", "bias")
        spec = aggregation.Spec(Max(), eps, residual=True, wanted=wanted)
        by_source = graph.by_source if kernels.by_source else None
        inputs = _messages(None, graph, edge_attr, edge_weight, None, by_source)
        through_max = kernels.aggregate.backward(through_mlp.x, inputs, aggregation.Saved(winner=winner), spec)
        grads_mlp = through_mlp[1:]
        del through_mlp
        assert through_max.x is not None
        through_norm = kernels.norm.backward(
            through_max.x, norm.Inputs(x, norm_weight, norm_bias, mask), norm.Saved(mean, deviation), norm.Spec(norm_eps)
        )
        edges = (None, None) if edge_weight is None else (through_max.weight, through_max.bias)
        return None, *through_norm[:3], *edges, *grads_mlp


def _messages(
    x: Tensor | None,
    graph: Graph,
    edge_attr: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    by_source: Iterable[Tensor] | None = None,
) -> aggregation.Inputs:
    check_unchanged(graph.versions, indptr=graph.indptr, src=graph.src)
    source = (None, None, None) if by_source is None else tuple(by_source)
    return aggregation.Inputs(x, edge_attr, weight, bias, None, graph.indptr, graph.src, *source)
