"""One immutable adjacency, validated once, so that no kernel ever reads out of bounds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch_geometric import EdgeIndex

from revgnn.graph import csr, edge_storage

if TYPE_CHECKING:
    from torch_geometric.data import Data


class BySource(NamedTuple):
    """The edges of a `Graph` once more, compressed by source: what a deterministic backward pass walks.

    The edges out of node `j` are the positions `indptr[j]` to `indptr[j + 1]`. Within a node `dst` ascends.
    """

    indptr: Tensor
    """int64, (N + 1,)."""
    dst: Tensor
    """int32 or int64, (E,)."""
    edge: Tensor
    """int32 or int64, (E,): the edge's position in the graph's own (destination) order."""


class Graph:
    """A directed graph compressed by destination, with optional edge features in the same order.

    Build one with `Graph.from_edge_index`, `Graph.from_data`, `Graph.from_sparse`, or `Graph.of` for any of these.
    Isolated nodes, no edges at all, doubled edges and self-loops are legal. The arrays are shared, never copied, by `to`,
    `with_edge_attr` and the kernels: treat them as read-only.

    Attributes:
        indptr: int64, (N + 1,). The edges into node `i` are the positions `indptr[i]` to `indptr[i + 1]`.
        src: int32 (int64 where N >= 2**31), (E,). Source of each edge, in destination order.
        edge_attr: floating point or int16, (E, K), or None. Features of each edge, in destination order; where they are int16
            the features are `edge_attr * edge_scale`. `edge_features()` is floating point in any case.
        edge_scale: 1.0 unless `edge_attr` is int16. See `compressed`.
        edge_ids: int64, (E,), or None. Position of each edge in the `edge_index` this graph was built from
            (None: it already was in destination order). `permute_edges` uses it.
    """

    __slots__ = ("_by_source", "_dst", "_inv_degree", "edge_attr", "edge_ids", "edge_scale", "indptr", "src")

    def __init__(
        self,
        indptr: Tensor,
        src: Tensor,
        edge_attr: Tensor | None = None,
        *,
        edge_scale: float = 1.0,
        edge_ids: Tensor | None = None,
        validate: bool = True,
    ) -> None:
        """Wrap arrays that already are in destination order.

        The checks walk over the arrays once, without a copy: those of a file mapped into memory are read, not held.

        Raises:
            ValueError: if a dtype, a shape, an index or an edge feature is not what the class documents, naming the first bad edge.
        """
        if validate:
            _check_compressed(indptr, src)
            edge_storage.check(edge_attr, edge_scale, src.numel())
        self.indptr = indptr
        self.src = src
        self.edge_attr = edge_attr
        self.edge_scale = edge_scale
        self.edge_ids = edge_ids
        self._by_source: BySource | None = None
        self._dst: Tensor | None = None
        self._inv_degree: Tensor | None = None

    # --- construction ---------------------------------------------------------------------------------------------------

    @classmethod
    def from_edge_index(
        cls, edge_index: Tensor, num_nodes: int | None = None, edge_attr: Tensor | None = None, *, edge_scale: float = 1.0
    ) -> Graph:
        """From source and destination of every edge.

        Args:
            edge_index: integer, (2, E): row 0 the sources, row 1 the destinations (PyTorch Geometric's `source_to_target`).
            num_nodes: N. Default: the largest index plus one, which loses isolated nodes at the end.
            edge_attr: floating point or int16, (E,) or (E, K), in the order of `edge_index`.
            edge_scale: what int16 features are multiples of.

        Raises:
            ValueError: wrong dtype or shape, an index outside `[0, num_nodes)` (the first bad edge is named), features not finite.
        """
        if edge_index.dim() != 2 or edge_index.shape[0] != 2:
            raise ValueError(f"edge_index must have shape (2, E), got {tuple(edge_index.shape)}; transpose it if it is (E, 2).")
        if edge_index.dtype not in (torch.int64, torch.int32):
            raise ValueError(f"edge_index must be int64 or int32, got {edge_index.dtype}; convert it with edge_index.long().")
        edge_index = edge_index.detach().as_subclass(Tensor)
        num_edges = edge_index.shape[1]
        inferred = int(edge_index.max()) + 1 if num_edges else 0
        num_nodes = inferred if num_nodes is None else int(num_nodes)
        if num_nodes < 0:
            raise ValueError(f"num_nodes must be 0 or more, got {num_nodes}.")
        _check_range(edge_index[0], num_nodes, "source")
        _check_range(edge_index[1], num_nodes, "destination")
        edge_attr = _as_edge_matrix(edge_attr)
        edge_storage.check(edge_attr, edge_scale, num_edges)

        indptr, order = _group_by(edge_index[1], num_nodes)
        src = edge_index[0][order].to(_index_dtype(num_nodes))
        if edge_attr is not None:
            edge_attr = edge_attr[order]
        return cls(indptr, src.contiguous(), edge_attr, edge_scale=edge_scale, edge_ids=order, validate=False)

    @classmethod
    def from_data(cls, data: Data) -> Graph:
        """From a PyTorch Geometric `Data`: its `edge_index` (or `adj_t`), `num_nodes` and `edge_attr`."""
        edge_index = data.edge_index
        if edge_index is None:
            adj_t = data.get("adj_t")
            if adj_t is None:
                raise ValueError("the Data object has neither edge_index nor adj_t; a graph needs one of them.")
            return cls.from_sparse(adj_t)
        return cls.from_edge_index(edge_index, data.num_nodes, data.edge_attr)

    @classmethod
    def from_sparse(cls, matrix: Any, *, values: bool = False) -> Graph:
        """From a square sparse matrix of torch or SciPy: entry `[i, j]` is the edge `j -> i` (PyTorch Geometric's `adj_t`).

        Args:
            matrix: (N, N), any sparse layout. Stored entries are edges, whatever their value.
            values: keep the entries as edge features (E, 1).
        """
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            raise ValueError(f"an adjacency matrix must be square, got shape {tuple(matrix.shape)}.")
        if isinstance(matrix, Tensor):
            if matrix.layout == torch.strided:
                raise ValueError("a dense matrix is not a graph here; pass matrix.to_sparse() or an edge_index of shape (2, E).")
            coo = matrix if matrix.layout == torch.sparse_coo else matrix.to_sparse_coo()
            index, weight = coo._indices(), coo._values()
        else:
            entries = matrix.tocoo()
            index = torch.from_numpy(np.stack([entries.coords[0], entries.coords[1]]).astype(np.int64))
            weight = torch.from_numpy(np.asarray(entries.data))
        edge_attr = weight.to(torch.get_default_dtype()) if values else None
        return cls.from_edge_index(index.flip(0), matrix.shape[0], edge_attr)

    @classmethod
    def of(cls, graph: Any, num_nodes: int | None = None) -> Graph:
        """A `Graph` from whatever describes one: a `Graph`, an edge_index, a PyG `Data` or `EdgeIndex`, a sparse matrix.

        Raises:
            TypeError: for anything else.
        """
        if isinstance(graph, Graph):
            return graph
        if isinstance(graph, Tensor):
            if graph.layout != torch.strided:
                return cls.from_sparse(graph)
            if num_nodes is None and isinstance(graph, EdgeIndex):
                num_nodes = graph.get_sparse_size(0)
            return cls.from_edge_index(graph, num_nodes)
        if hasattr(graph, "edge_index") and hasattr(graph, "num_nodes"):
            return cls.from_data(graph)
        if hasattr(graph, "tocoo"):
            return cls.from_sparse(graph)
        raise TypeError(
            f"cannot make a graph of {type(graph).__name__}; pass a revgnn.Graph, an edge_index of shape (2, E), "
            "a torch_geometric Data or EdgeIndex, or a sparse matrix of torch or SciPy."
        )

    # --- what it knows --------------------------------------------------------------------------------------------------

    @property
    def num_nodes(self) -> int:
        return self.indptr.shape[0] - 1

    @property
    def num_edges(self) -> int:
        return self.src.shape[0]

    @property
    def num_edge_features(self) -> int:
        return 0 if self.edge_attr is None else self.edge_attr.shape[1]

    @property
    def device(self) -> torch.device:
        return self.src.device

    @property
    def in_degree(self) -> Tensor:
        """int64, (N,): edges into each node."""
        return self.indptr.diff()

    @property
    def out_degree(self) -> Tensor:
        """int64, (N,): edges out of each node."""
        return self.by_source.indptr.diff()

    @property
    def inv_degree(self) -> Tensor:
        """float32, (N,): one over the number of edges into each node, 0 where there is none. Computed once."""
        if self._inv_degree is None:
            degree = self.in_degree
            self._inv_degree = torch.where(degree > 0, 1.0 / degree.clamp(min=1), 0.0).to(torch.float32)
        return self._inv_degree

    @property
    def dst(self) -> Tensor:
        """dtype of `src`, (E,): destination of each edge, ascending. Computed once."""
        if self._dst is None:
            nodes = torch.arange(self.num_nodes, device=self.device, dtype=self.src.dtype)
            self._dst = torch.repeat_interleave(nodes, self.in_degree, output_size=self.num_edges)
        return self._dst

    @property
    def edge_index(self) -> Tensor:
        """int64, (2, E), in destination order: for PyTorch Geometric's convolutions."""
        return torch.stack([self.src.long(), self.dst.long()])

    @property
    def by_source(self) -> BySource:
        """The same edges compressed by source, sorted once, on first use."""
        if self._by_source is None:
            self._by_source = _transpose(self.indptr, self.src)
        return self._by_source

    def __repr__(self) -> str:
        features = f", num_edge_features={self.num_edge_features}" if self.edge_attr is not None else ""
        return f"Graph(num_nodes={self.num_nodes}, num_edges={self.num_edges}{features})"

    # --- graphs made of it ----------------------------------------------------------------------------------------------

    def permute_edges(self, values: Tensor) -> Tensor:
        """Bring per-edge values (E, ...) from the order of the original `edge_index` into this graph's order."""
        if values.shape[0] != self.num_edges:
            raise ValueError(f"values must have one row an edge ({self.num_edges}), got shape {tuple(values.shape)}.")
        return values if self.edge_ids is None else values[self.edge_ids]

    def edge_features(self, dtype: torch.dtype | None = None) -> Tensor | None:
        """(E, K), or None: the edge features as numbers, for whatever knows no `edge_scale`.

        `edge_attr` itself where it is floating point of that `dtype` (None: of any), else a copy; int16 is decoded, into
        float32 by default.
        """
        if self.edge_attr is None:
            return None
        stored = self.edge_attr.dtype if self.edge_attr.is_floating_point() else torch.float32
        return edge_storage.decode(self.edge_attr, self.edge_scale, dtype or stored)

    def compressed(self, kind: edge_storage.Kind = "auto") -> Graph:
        """The same graph with its edge features in 16 bits each.

        Args:
            kind: "int16", multiples of a power of ten from 1 to 0.0001: every float32 feature comes back to the last bit;
                "float16" or "bfloat16", rounded; "auto": int16 if nothing is lost, else the graph as it is.

        Raises:
            ValueError: for "int16", if something would be lost, naming the first edge; for "float16", if a feature is too large.
        """
        if self.edge_attr is None:
            return self
        edge_attr, scale = edge_storage.compress(self.edge_attr, self.edge_scale, kind)
        return self if edge_attr is self.edge_attr else self._with(edge_attr, scale)

    def with_edge_attr(self, edge_attr: Tensor | None, *, edge_scale: float = 1.0) -> Graph:
        """The same structure with other edge features (E, K), given in *this graph's* order (see `permute_edges`)."""
        edge_attr = _as_edge_matrix(edge_attr)
        edge_storage.check(edge_attr, edge_scale, self.num_edges)
        return self._with(edge_attr, edge_scale)

    def _with(self, edge_attr: Tensor | None, edge_scale: float) -> Graph:
        other = Graph(self.indptr, self.src, edge_attr, edge_scale=edge_scale, edge_ids=self.edge_ids, validate=False)
        other._by_source, other._dst, other._inv_degree = self._by_source, self._dst, self._inv_degree
        return other

    def with_self_loops(self, fill: float | None = None) -> Graph:
        """Each node's own loop once: loops that are there are replaced, new ones get edge features `fill`.

        Raises:
            ValueError: if there are edge features and no `fill` for those of the loops, or one that int16 features cannot hold.
        """
        if self.edge_attr is not None and fill is None:
            raise ValueError("this graph has edge features: say which value those of the self-loops get, with fill=0.0, say.")
        edge_index = self.edge_index
        keep = edge_index[0] != edge_index[1]
        loops = torch.arange(self.num_nodes, device=self.device).expand(2, -1)
        edge_attr = None
        if self.edge_attr is not None:
            shape, value = (self.num_nodes, self.num_edge_features), self._stored(fill or 0.0)
            edge_attr = torch.cat([self.edge_attr[keep], self.edge_attr.new_full(shape, value)])
        edge_index = torch.cat([edge_index[:, keep], loops], dim=1)
        return Graph.from_edge_index(edge_index, self.num_nodes, edge_attr, edge_scale=self.edge_scale)

    def _stored(self, value: float) -> float:
        """A feature as `edge_attr` holds it."""
        assert self.edge_attr is not None
        if self.edge_attr.is_floating_point():
            return value
        whole = round(value / self.edge_scale)
        if abs(whole) > 32767 or not math.isclose(whole * self.edge_scale, value, rel_tol=1e-6):
            raise ValueError(
                f"fill must be a multiple of the int16 features' scale {self.edge_scale} up to 32767 times as large, got {value}; "
                "choose another, or decode the features with graph.with_edge_attr(graph.edge_features())."
            )
        return whole

    def subgraph(self, nodes: Tensor) -> Graph:
        """The graph on `nodes` (integer, (M,), distinct): node `nodes[i]` becomes node `i`; edge features come along.

        Raises:
            ValueError: if a node is out of range or named twice.
        """
        if nodes.dim() != 1 or nodes.dtype not in (torch.int64, torch.int32):
            raise ValueError(f"nodes must be a vector of int64 or int32, got {nodes.dtype} of shape {tuple(nodes.shape)}.")
        nodes = nodes.to(self.device, torch.int64)
        _check_range(nodes, self.num_nodes, "node")
        new_id = torch.full((self.num_nodes,), -1, dtype=torch.int64, device=self.device)
        labels = torch.arange(nodes.numel(), device=self.device)
        new_id[nodes] = labels
        if not torch.equal(new_id[nodes], labels):
            twice = nodes[new_id[nodes] != labels][0].item()
            raise ValueError(f"nodes must be distinct, but node {twice} is named more than once.")
        if self.device.type == "cpu":
            arrays = csr.select_nodes(self.indptr.numpy(), self.src.numpy(), nodes.numpy(), new_id.numpy())
            indptr, src, edge = (torch.from_numpy(a) for a in arrays)
        else:
            indptr, src, edge = _select_nodes_torch(self, new_id, nodes.numel())
        edge_attr = None if self.edge_attr is None else self.edge_attr[edge]
        return Graph(indptr, src, edge_attr, edge_scale=self.edge_scale, validate=False)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Graph:
        """This graph on another device; itself if it is there already. What was computed lazily moves along."""
        device = torch.device(device)
        if device == self.device:
            return self

        def move(t: Tensor) -> Tensor:
            return t.to(device, non_blocking=non_blocking)

        def move_if(t: Tensor | None) -> Tensor | None:
            return None if t is None else move(t)

        edge_attr, edge_ids = move_if(self.edge_attr), move_if(self.edge_ids)
        other = Graph(move(self.indptr), move(self.src), edge_attr, edge_scale=self.edge_scale, edge_ids=edge_ids, validate=False)
        if self._by_source is not None:
            other._by_source = BySource(*(move(t) for t in self._by_source))
        other._dst, other._inv_degree = move_if(self._dst), move_if(self._inv_degree)
        return other


# --- checks -------------------------------------------------------------------------------------------------------------


def _index_dtype(num_nodes: int) -> torch.dtype:
    return torch.int32 if num_nodes < 2**31 else torch.int64


def _check_range(index: Tensor, num_nodes: int, what: str) -> None:
    if index.device.type == "cpu":
        bad = int(csr.first_out_of_range(index.contiguous().numpy(), num_nodes))
    else:
        outside = ((index < 0) | (index >= num_nodes)).nonzero()
        bad = int(outside[0]) if outside.numel() else -1
    if bad >= 0:
        where = f"nodes[{bad}]" if what == "node" else f"edge {bad} has {what}"
        raise ValueError(
            f"{where} {int(index[bad])}, but the graph has {num_nodes} nodes: indices must lie in [0, {num_nodes}); "
            "raise num_nodes or remove the entry."
        )


def _check_compressed(indptr: Tensor, src: Tensor) -> None:
    if indptr.dim() != 1 or indptr.dtype != torch.int64 or indptr.numel() == 0:
        raise ValueError(f"indptr must be int64 of shape (N + 1,), got {indptr.dtype} of shape {tuple(indptr.shape)}.")
    if src.dim() != 1 or src.dtype not in (torch.int32, torch.int64):
        raise ValueError(f"src must be int32 or int64 of shape (E,), got {src.dtype} of shape {tuple(src.shape)}.")
    if indptr.device != src.device:
        raise ValueError(f"indptr is on {indptr.device} and src on {src.device}; put both on one device.")
    if int(indptr[0]) != 0 or int(indptr[-1]) != src.numel() or bool((indptr.diff() < 0).any()):
        raise ValueError(
            f"indptr must ascend from 0 to the number of edges ({src.numel()}), got {int(indptr[0])} to {int(indptr[-1])}."
        )
    _check_range(src, indptr.numel() - 1, "source")


def _as_edge_matrix(edge_attr: Tensor | None) -> Tensor | None:
    return edge_attr.unsqueeze(1) if edge_attr is not None and edge_attr.dim() == 1 else edge_attr


# --- index arrays, by device --------------------------------------------------------------------------------------------


def _group_by(keys: Tensor, num_groups: int) -> tuple[Tensor, Tensor]:
    if keys.device.type == "cpu":
        indptr, order = csr.group_by(keys.contiguous().numpy(), num_groups)
        return torch.from_numpy(indptr), torch.from_numpy(order)
    order = keys.sort(stable=True).indices
    indptr = keys.new_zeros(num_groups + 1, dtype=torch.int64)
    torch.cumsum(torch.bincount(keys, minlength=num_groups), 0, out=indptr[1:])
    return indptr, order


def _transpose(indptr: Tensor, src: Tensor) -> BySource:
    num_nodes, num_edges = indptr.numel() - 1, src.numel()
    if src.device.type == "cpu" and (num_edges < 2**31 or src.dtype == torch.int64):
        out, dst, edge = csr.transpose(indptr.numpy(), src.numpy())
        return BySource(torch.from_numpy(out), torch.from_numpy(dst), torch.from_numpy(edge))
    out, edge = _group_by(src, num_nodes)
    nodes = torch.arange(num_nodes, device=src.device, dtype=src.dtype)
    dst = torch.repeat_interleave(nodes, indptr.diff(), output_size=num_edges)[edge]
    return BySource(out, dst, edge.to(torch.int32) if num_edges < 2**31 else edge)


def _select_nodes_torch(graph: Graph, new_id: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    src, dst = new_id[graph.src], new_id[graph.dst]
    edge = ((src >= 0) & (dst >= 0)).nonzero().squeeze(1)
    indptr, order = _group_by(dst[edge], size)
    edge = edge[order]
    return indptr, src[edge].to(graph.src.dtype), edge
