"""Checks of index arrays. Each raises a `ValueError` that names the first bad entry: kernels never check what they read."""

from __future__ import annotations

import operator
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from revgnn.graph import csr
from revgnn.kernels.backends import versions


def check_tensor(value: object, name: str, *, contents: bool = True) -> None:
    """Raise `TypeError` unless `value` is a tensor, and `ValueError` unless it is dense and, if asked for, has contents."""
    if not isinstance(value, Tensor):
        hint = "" if value is None else f"; use torch.as_tensor({name})"
        raise TypeError(f"{name} must be a tensor, got {type(value).__name__}{hint}.")
    if contents and value.is_meta:
        raise ValueError(f"{name} is a meta tensor, which has a shape but no contents; a graph needs its contents.")
    if value.layout != torch.strided:
        raise ValueError(f"{name} must be a dense tensor, got layout {value.layout}; use {name}.to_dense().")


def check_edge_index(edge_index: Tensor, num_nodes: int | None) -> int:
    """Raise `ValueError` unless `edge_index` is (2, E) with indices in `[0, num_nodes)`; return the number of nodes.

    Without `num_nodes` that is the largest index plus one.
    """
    if edge_index.dim() != 2 or edge_index.shape[0] != 2:
        raise ValueError(f"edge_index must have shape (2, E), got {tuple(edge_index.shape)}; transpose it if it is (E, 2).")
    if edge_index.dtype not in (torch.int64, torch.int32):
        raise ValueError(f"edge_index must be int64 or int32, got {edge_index.dtype}; convert it with edge_index.long().")
    if num_nodes is None:
        num_nodes = int(edge_index.max()) + 1 if edge_index.shape[1] else 0
    try:
        num_nodes = operator.index(num_nodes)
    except TypeError:
        raise ValueError(f"num_nodes must be an integer, got {num_nodes!r}.") from None
    if num_nodes < 0:
        raise ValueError(f"num_nodes must be 0 or more, got {num_nodes}.")
    check_range(edge_index[0], num_nodes, "edge {} has source")
    check_range(edge_index[1], num_nodes, "edge {} has destination")
    return num_nodes


def check_compressed(indptr: Tensor, src: Tensor) -> None:
    """Raise `ValueError` unless `indptr` and `src` are a graph compressed by destination."""
    if src.dim() != 1 or src.dtype not in (torch.int32, torch.int64):
        raise ValueError(f"src must be int32 or int64 of shape (E,), got {src.dtype} of shape {tuple(src.shape)}.")
    if indptr.device != src.device:
        raise ValueError(f"indptr is on {indptr.device} and src on {src.device}; put both on one device.")
    check_indptr(indptr, src.numel())
    check_range(src, indptr.numel() - 1, "edge {} has source")


def check_indptr(indptr: Tensor, num_edges: int) -> None:
    """Raise `ValueError` unless `indptr` says where the edges into each node begin."""
    if indptr.dim() != 1 or indptr.dtype != torch.int64 or indptr.numel() == 0:
        raise ValueError(f"indptr must be int64 of shape (N + 1,), got {indptr.dtype} of shape {tuple(indptr.shape)}.")
    if int(indptr[0]) != 0 or int(indptr[-1]) != num_edges or bool((indptr[1:] < indptr[:-1]).any()):
        raise ValueError(
            f"indptr must ascend from 0 to the number of edges ({num_edges}), got {int(indptr[0])} to {int(indptr[-1])}."
        )


def check_edge_values(values: Tensor | None, name: str, edges: Tensor) -> None:
    """Raise unless `values` is None, or a tensor with contents on the device of `edges`."""
    if values is None:
        return
    check_tensor(values, name)
    if values.device != edges.device:
        raise ValueError(f"{name} is on {values.device} and the edges are on {edges.device}; put both on one device.")


def check_edge_ids(edge_ids: Tensor | None, src: Tensor) -> None:
    """Raise unless `edge_ids` is None, or a vector with the number of an edge for each edge."""
    if edge_ids is None:
        return
    check_edge_values(edge_ids, "edge_ids", src)
    if edge_ids.shape != src.shape or edge_ids.dtype not in (torch.int64, torch.int32):
        raise ValueError(
            f"edge_ids must be int64 of shape ({src.numel()},), got {edge_ids.dtype} of shape {tuple(edge_ids.shape)}."
        )
    check_range(edge_ids, src.numel(), "edge_ids[{}] is")


def check_range(index: Tensor, num_nodes: int, entry: str) -> None:
    """Raise `ValueError` if an entry of `index` is outside `[0, num_nodes)`.

    `entry` begins the message, with `{}` in place of the entry's position: "edge {} has source".
    """
    if index.device.type == "cpu":
        position = int(csr.first_out_of_range(index.contiguous().numpy(), num_nodes))
    else:
        outside = ((index < 0) | (index >= num_nodes)).nonzero()
        position = int(outside[0]) if outside.numel() else -1
    if position >= 0:
        raise ValueError(
            f"{entry.format(position)} {int(index[position])}, but the graph has {num_nodes} nodes: indices must lie in "
            f"[0, {num_nodes}); raise num_nodes or remove the entry."
        )


def check_node_vector(nodes: Tensor, num_nodes: int) -> None:
    """Raise unless `nodes` is a vector of integers in `[0, num_nodes)`."""
    check_tensor(nodes, "nodes")
    if nodes.dim() != 1 or nodes.dtype not in (torch.int64, torch.int32):
        raise ValueError(f"nodes must be a vector of int64 or int32, got {nodes.dtype} of shape {tuple(nodes.shape)}.")
    check_range(nodes, num_nodes, "nodes[{}] is")


# --- arrays without a Graph -----------------------------------------------------------------------------------------------------

_checked: Any = WeakIdKeyDictionary()
"""By the first array of those that were checked together: references to the others, and the versions of all."""


def check_structure(
    indptr: Tensor, src: Tensor, source_indptr: Tensor | None, source_dst: Tensor | None, source_edge: Tensor | None
) -> None:
    """Raise `ValueError` unless the arrays are a graph by destination and, if they are given, the same graph by source.

    For the operators that torch's dispatcher knows, which are given arrays by anyone. Arrays are checked once, and again after
    they have changed.
    """
    _once(lambda: check_compressed(indptr, src), indptr, src)
    if source_indptr is None or source_dst is None or source_edge is None:
        return

    def check_by_source() -> None:
        if source_indptr.shape != indptr.shape or source_dst.shape != src.shape or source_edge.shape != src.shape:
            raise ValueError(
                f"the graph by source must have the shapes of the graph by destination, {tuple(indptr.shape)} and "
                f"{tuple(src.shape)}, got {tuple(source_indptr.shape)}, {tuple(source_dst.shape)} and {tuple(source_edge.shape)}."
            )
        if source_edge.dtype not in (torch.int32, torch.int64):
            raise ValueError(f"source_edge must be int32 or int64, got {source_edge.dtype}.")
        check_compressed(source_indptr, source_dst)
        check_range(source_edge, src.numel(), "source_edge[{}] is")

    _once(check_by_source, source_indptr, source_dst, source_edge)


def _once(check: Callable[[], None], first: Tensor, *others: Tensor) -> None:
    """Run a check of arrays unless it has passed for these, as they are now."""
    now = versions(first, *others)
    references, before = _checked.get(first, ((), None))
    if now is not None and before == now and all(ref() is array for ref, array in zip(references, others, strict=True)):
        return
    if first.is_cuda and torch.cuda.is_current_stream_capturing():  # reading from the device would end the recording
        return
    check()
    _checked[first] = [weakref.ref(array) for array in others], now
