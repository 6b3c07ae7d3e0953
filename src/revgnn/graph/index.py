"""Index arrays of a graph as tensors: by compiled code on the CPU, by torch operators on other devices."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple, ParamSpec, TypeVar

import torch
from torch import Tensor

from revgnn.graph import csr

P = ParamSpec("P")
R = TypeVar("R")


def outside_inference_mode(function: Callable[P, R]) -> Callable[P, R]:
    """Return the function such that in `torch.inference_mode()` it makes ordinary tensors, which autograd can save later: for index
    arrays that are kept."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        if torch.compiler.is_compiling() or not torch.is_inference_mode_enabled():
            return function(*args, **kwargs)
        with torch.inference_mode(False), torch.no_grad():
            return function(*args, **kwargs)

    return wrapped


class BySource(NamedTuple):
    """The edges of a `Graph` compressed by source, for a deterministic backward pass.

    The edges out of node `j` are the positions `indptr[j]` to `indptr[j + 1]`. Within a node `dst` ascends.
    """

    indptr: Tensor
    """int64, (N + 1,)."""
    dst: Tensor
    """int32 or int64, (E,)."""
    edge: Tensor
    """int32 or int64, (E,): the edge's position in the graph's own (destination) order."""


@outside_inference_mode
def group_by(keys: Tensor, num_groups: int) -> tuple[Tensor, Tensor]:
    """Return `indptr` (int64, num_groups + 1) and `order` (int64), so that `keys[order]` ascends; equal keys keep their order."""
    if keys.device.type == "cpu":
        indptr, order = csr.group_by(keys.contiguous().numpy(), num_groups)
        return torch.from_numpy(indptr), torch.from_numpy(order)
    order = keys.sort(stable=True).indices
    indptr = keys.new_zeros(num_groups + 1, dtype=torch.int64)
    torch.cumsum(torch.bincount(keys, minlength=num_groups), 0, out=indptr[1:])
    return indptr, order


@outside_inference_mode
def transpose(indptr: Tensor, src: Tensor) -> BySource:
    """Compress by source what is compressed by destination."""
    num_nodes, num_edges = indptr.numel() - 1, src.numel()
    if src.device.type == "cpu" and (num_edges < 2**31 or src.dtype == torch.int64):
        return BySource(*(torch.from_numpy(array) for array in csr.transpose(indptr.numpy(), src.numpy())))
    indptr_out, edge = group_by(src, num_nodes)
    dst = destinations(indptr, src)[edge]
    return BySource(indptr_out, dst, edge.to(torch.int32) if num_edges < 2**31 else edge)


@outside_inference_mode
def destinations(indptr: Tensor, src: Tensor) -> Tensor:
    """Return the destination of each edge, ascending: (E,), dtype and device of `src`."""
    nodes = torch.arange(indptr.numel() - 1, device=src.device, dtype=src.dtype)
    return torch.repeat_interleave(nodes, indptr.diff(), output_size=src.numel())


@outside_inference_mode
def count_by_destination(marked: Tensor, indptr: Tensor) -> Tensor:
    """Return how many of the edges into each node are marked, int64 (N,), from bool (E,)."""
    before = torch.zeros(marked.numel() + 1, dtype=torch.int64, device=marked.device)
    torch.cumsum(marked, 0, out=before[1:])
    return before[indptr].diff()


def select_nodes(indptr: Tensor, src: Tensor, nodes: Tensor, new_id: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the sub-graph on `nodes` (int64, distinct), where node `n` becomes `new_id[n]` (int64, -1 if it is dropped).

    Returns `(indptr, src, edge)`: the sub-graph, and each kept edge's position in the full graph.
    """
    if src.device.type == "cpu":
        arrays = csr.select_nodes(indptr.numpy(), src.numpy(), nodes.numpy(), new_id.numpy())
        kept_indptr, kept_src, edge = (torch.from_numpy(array) for array in arrays)
        return kept_indptr, kept_src, edge
    new_src, new_dst = new_id[src], new_id[destinations(indptr, src)]
    edge = ((new_src >= 0) & (new_dst >= 0)).nonzero().squeeze(1)
    kept_indptr, order = group_by(new_dst[edge], nodes.numel())
    edge = edge[order]
    return kept_indptr, new_src[edge].to(src.dtype), edge


@outside_inference_mode
def inverse_degree(indptr: Tensor) -> Tensor:
    """Return one over the number of edges into each node, 0 if there is none: float32, (N,)."""
    degree = indptr.diff()
    return torch.where(degree > 0, 1.0 / degree.clamp(min=1), 0.0).to(torch.float32)


@outside_inference_mode
def inverse_sqrt_degree(indptr: Tensor, dtype: torch.dtype) -> Tensor:
    """Return one over the root of the number of edges into each node, 0 if there is none: (N, 1), computed in float32 or wider."""
    degree = indptr.diff().unsqueeze(1).to(torch.promote_types(dtype, torch.float32))
    return torch.where(degree > 0, degree.rsqrt(), 0.0).to(dtype)
