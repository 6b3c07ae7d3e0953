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
def self_loops(indptr: Tensor, src: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Replace the self-loops of all nodes by one for each of the first `count` nodes, after its other edges.

    Returns `(indptr, src, origin, last)`: `origin` (int64) is each edge's position before, or E + i for the loop of node i; `last`
    (int64, count) is the position before of each node's last self-loop, or -1.
    """
    if src.device.type == "cpu":
        arrays = csr.self_loops(indptr.numpy(), src.numpy(), count)
        looped_indptr, looped_src, origin, last = (torch.from_numpy(array) for array in arrays)
        return looped_indptr, looped_src, origin, last
    return self_loops_by_torch(indptr, src, count)


def self_loops_by_torch(indptr: Tensor, src: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Do what `self_loops` does with torch operators, on any device."""
    num_nodes, num_edges = indptr.numel() - 1, src.numel()
    dst = destinations(indptr, src).long()
    is_loop = src == dst
    kept, removed = (~is_loop).nonzero().squeeze(1), is_loop.nonzero().squeeze(1)
    loops = torch.arange(count, device=src.device)
    degree = torch.bincount(dst[kept], minlength=num_nodes)
    degree[:count] += 1
    looped_indptr = torch.zeros_like(indptr)
    torch.cumsum(degree, 0, out=looped_indptr[1:])
    # each kept edge moves up by the loops of the nodes before its own
    position = torch.arange(kept.numel(), device=src.device) + dst[kept].clamp(max=count)
    ends = looped_indptr[1 : count + 1] - 1
    looped_src, origin = src.new_empty(kept.numel() + count), indptr.new_empty(kept.numel() + count)
    looped_src[position], looped_src[ends] = src[kept], loops.to(src.dtype)
    origin[position], origin[ends] = kept, loops + num_edges
    # loops of nodes beyond `count` are collected in one more entry
    last = indptr.new_full((count + 1,), -1).scatter_reduce_(0, dst[removed].clamp(max=count), removed, "amax")
    return looped_indptr, looped_src, origin, last[:count]


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
