"""The class `Graph`: one immutable adjacency, checked once when it is made, so that no kernel reads out of bounds."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor
from torch_geometric import EdgeIndex
from torch_geometric.data import Data

from revgnn.graph import conversions, edge_storage, index, validation
from revgnn.graph.index import BySource
from revgnn.graph.self_loops import SelfLoops
from revgnn.kernels import backends


class EdgeOrderWarning(UserWarning):
    """Per-edge values given with a `Graph` may be in the order of the `edge_index` it was built from, which is another order."""


class Graph:
    """A directed graph compressed by destination, with optional edge features in the same order.

    Build one with `Graph.from_edge_index`, `Graph.from_data`, `Graph.from_sparse`, or `Graph.of` for any of these.
    Isolated nodes, graphs without edges, doubled edges and self-loops are legal. `to`, `with_edge_attr` and the kernels share the
    arrays and never copy them: treat them as read-only. Kernels rely on `indptr` and `src` as they were checked. If one of them is
    changed in place through torch, the next kernel refuses it. A change through memory that NumPy or another process shares is not
    seen, and a kernel may then read out of bounds.

    Attributes:
        indptr: int64, (N + 1,). The edges into node `i` are the positions `indptr[i]` to `indptr[i + 1]`.
        src: int32 (int64 if N >= 2**31), (E,). Source of each edge, in destination order.
        edge_attr: floating point or int16, (E, K), or None. Features of each edge, in destination order. If they are int16, the
            features are `edge_attr * edge_scale`; `edge_features()` is always floating point.
        edge_scale: 1.0 unless `edge_attr` is int16. See `compressed`.
        edge_ids: int64, (E,), or None. Position of each edge in the `edge_index` this graph was built from
            (None: the edges were in destination order already). `permute_edges` uses it.
        versions: how often torch had written to `indptr` and `src` when they were checked; None if it does not count that.
    """

    __slots__ = (
        "_by_source",
        "_dst",
        "_inv_degree",
        "_inv_sqrt_degree",
        "_order",
        "_self_loops",
        "edge_attr",
        "edge_ids",
        "edge_scale",
        "indptr",
        "src",
        "versions",
    )

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
        """Wrap arrays that are in destination order already.

        The checks read the arrays once and copy nothing that is contiguous already: an array in a memory-mapped file may be larger
        than memory. Kernels read memory in order, so that other layouts are copied. `validate=False` is for arrays that have been
        checked before, or were made from such: nothing is checked or copied.

        Raises:
            TypeError: if `indptr`, `src` or `edge_attr` is not a tensor.
            ValueError: if a dtype, a shape, an index or an edge feature is not as the class documents; names the first bad edge.
        """
        if validate:
            validation.check_tensor(indptr, "indptr")
            validation.check_tensor(src, "src")
            validation.check_compressed(indptr, src)
            validation.check_edge_values(edge_attr, "edge_attr", src)
            edge_storage.check_edge_attr(edge_attr, edge_scale, src.numel())
            validation.check_edge_ids(edge_ids, src)
            indptr, src = (t.detach().as_subclass(Tensor).contiguous() for t in (indptr, src))
            edge_attr = None if edge_attr is None else edge_attr.contiguous()
        self.indptr = indptr
        self.src = src
        self.versions = backends.versions(indptr, src)
        self.edge_attr = edge_attr
        self.edge_scale = edge_scale
        self.edge_ids = edge_ids
        self._by_source: BySource | None = None
        self._dst: Tensor | None = None
        self._inv_degree: Tensor | None = None
        self._inv_sqrt_degree: dict[torch.dtype, Tensor] = {}
        self._self_loops: dict[int, tuple[Graph, SelfLoops]] = {}
        self._order = _Order()

    def __getstate__(self) -> dict[str, Any]:
        # what is computed once is computed again; a copy counts the changes of its tensors from 0
        names = ("indptr", "src", "edge_attr", "edge_scale", "edge_ids")
        return {name: getattr(self, name) for name in names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        Graph.__init__(self, **state, validate=False)

    # --- construction ---------------------------------------------------------------------------------------------------

    @classmethod
    def from_edge_index(
        cls, edge_index: Tensor, num_nodes: int | None = None, edge_attr: Tensor | None = None, *, edge_scale: float = 1.0
    ) -> Graph:
        """Build a graph from the source and destination of every edge.

        Args:
            edge_index: integer, (2, E): row 0 the sources, row 1 the destinations (PyTorch Geometric's `source_to_target`).
            num_nodes: N. Default: the largest index plus one, which drops isolated nodes at the end.
            edge_attr: floating point or int16, (E,) or (E, K), in the order of `edge_index`.
            edge_scale: the factor of int16 features: the features are `edge_attr * edge_scale`.

        Raises:
            ValueError: if a dtype or shape is wrong, an index is outside `[0, num_nodes)` (names the first bad edge), or a feature
                is not finite.
        """
        validation.check_tensor(edge_index, "edge_index")
        edge_index = edge_index.detach().as_subclass(Tensor)
        num_nodes = validation.check_edge_index(edge_index, num_nodes)
        validation.check_edge_values(edge_attr, "edge_attr", edge_index)
        edge_attr = edge_storage.as_matrix(edge_attr)
        edge_storage.check_edge_attr(edge_attr, edge_scale, edge_index.shape[1])

        indptr, order = index.group_by(edge_index[1], num_nodes)
        src = edge_index[0][order].to(torch.int32 if num_nodes < 2**31 else torch.int64)
        if edge_attr is not None:
            edge_attr = edge_attr[order].contiguous()
        return cls(indptr, src.contiguous(), edge_attr, edge_scale=edge_scale, edge_ids=order, validate=False)

    @classmethod
    def from_data(cls, data: Data) -> Graph:
        """Build a graph from a PyTorch Geometric `Data`: its `edge_index` (or `adj_t`), `num_nodes`, and what it knows of edges.

        The edge features are `edge_attr`, or else `edge_weight` as (E, 1). With `adj_t` they are in the order of its stored
        entries, as `torch_geometric.transforms.ToSparseTensor` leaves them, and entries that are not all 1 count as edge weights.

        Raises:
            ValueError: if it has no edges, or both edge features and edge weights: a graph has one of the two.
        """
        edge_index, weight = data.edge_index, data.edge_weight
        num_nodes = data.num_nodes
        if edge_index is None:
            adj_t = data.get("adj_t")
            if adj_t is None:
                raise ValueError("the Data object has neither edge_index nor adj_t; a graph needs one of them.")
            num_nodes = conversions.square(adj_t)
            edge_index, entries = conversions.edges_of_sparse(adj_t)
            if weight is None and entries is not None and not bool((entries == 1).all()):
                weight = entries if entries.is_floating_point() else entries.to(torch.get_default_dtype())
        if weight is not None and data.edge_attr is not None:
            raise ValueError(
                "the Data object has both edge_attr and edge weights, and a graph has one of them; remove one, join them with "
                "torch.cat, or use Graph.from_edge_index(data.edge_index, data.num_nodes, data.edge_attr)."
            )
        return cls.from_edge_index(edge_index, num_nodes, weight if data.edge_attr is None else data.edge_attr)

    @classmethod
    def from_sparse(cls, matrix: Any, *, values: bool = False) -> Graph:
        """Build a graph from a square sparse matrix of torch, SciPy or torch_sparse: entry `[i, j]` is the edge `j -> i`.

        PyTorch Geometric's `adj_t` is such a matrix.

        Args:
            matrix: (N, N), any sparse layout. Stored entries are edges, whatever their value.
            values: keep the entries as edge features (E, 1); (E, K) if each entry is a vector.

        Raises:
            ValueError: if the matrix is dense or not square, or has no values to keep.
        """
        num_nodes = conversions.square(matrix)
        edge_index, entries = conversions.edges_of_sparse(matrix)
        if values and entries is None:
            raise ValueError("this sparse matrix stores no values; leave out values=True.")
        edge_attr = entries.to(torch.get_default_dtype()) if values and entries is not None else None
        return cls.from_edge_index(edge_index, num_nodes, edge_attr)

    @classmethod
    def of(cls, graph: Any, num_nodes: int | None = None) -> Graph:
        """Build a graph from a `Graph`, an edge_index, a PyG `Data` or `EdgeIndex`, or a sparse matrix.

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
        if isinstance(graph, Data):
            return cls.from_data(graph)
        if conversions.is_sparse(graph):
            return cls.from_sparse(graph)
        raise TypeError(
            f"cannot make a graph of {type(graph).__name__}; pass a revgnn.Graph, an edge_index of shape (2, E), "
            "a torch_geometric Data or EdgeIndex, or a sparse matrix of torch, SciPy or torch_sparse."
        )

    # --- sizes, degrees, other forms of the same edges --------------------------------------------------------------------

    def check_unchanged(self) -> None:
        """Raise `RuntimeError` if `indptr` or `src` was written to since the graph was made. To be called before each kernel."""
        backends.check_unchanged(self.versions, indptr=self.indptr, src=self.src)

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
        """int64, (N,): number of edges into each node."""
        return self.indptr.diff()

    @property
    def out_degree(self) -> Tensor:
        """int64, (N,): number of edges out of each node."""
        return self.by_source.indptr.diff()

    @property
    def inv_degree(self) -> Tensor:
        """float32, (N,): one over the number of edges into each node, 0 if there is none. Computed once."""
        if self._inv_degree is None:
            self._inv_degree = index.inverse_degree(self.indptr)
        return self._inv_degree

    def inv_sqrt_degree(self, dtype: torch.dtype) -> Tensor:
        """Return $d_i^{-1/2}$, (N, 1), in this dtype: 0 for a node without edges into it. Computed once for each dtype."""
        known = self._inv_sqrt_degree.get(dtype)
        if known is None:
            known = self._inv_sqrt_degree[dtype] = index.inverse_sqrt_degree(self.indptr, dtype)
        return known

    @property
    def dst(self) -> Tensor:
        """dtype of `src`, (E,): destination of each edge, ascending. Computed once."""
        if self._dst is None:
            self.check_unchanged()
            self._dst = index.destinations(self.indptr, self.src)
        return self._dst

    @property
    def edge_index(self) -> Tensor:
        """int64, (2, E), in destination order: for PyTorch Geometric's convolutions."""
        return torch.stack([self.src.long(), self.dst.long()])

    @property
    def by_source(self) -> BySource:
        """The same edges compressed by source. Computed once."""
        if self._by_source is None:
            self.check_unchanged()
            self._by_source = index.transpose(self.indptr, self.src)
        return self._by_source

    def permute_edges(self, values: Tensor) -> Tensor:
        """Bring per-edge values (E, ...) from the order of the original `edge_index` into this graph's order.

        Raises:
            TypeError: if `values` is not a tensor.
            ValueError: if it has not one row for each edge, or is sparse.
        """
        validation.check_tensor(values, "values", contents=False)
        if values.dim() == 0 or values.shape[0] != self.num_edges:
            raise ValueError(f"values must have one row for each edge ({self.num_edges}), got shape {tuple(values.shape)}.")
        if self.edge_ids is None:
            return values
        permuted = values.index_select(0, self.edge_ids)
        if not torch.compiler.is_compiling():
            permuted._revgnn_order = self._order  # pyright: ignore[reportAttributeAccessIssue]
        return permuted

    @property
    def is_in_order_of_edge_index(self) -> bool:
        """Whether the edges have the order of the `edge_index` the graph was built from. Computed once."""
        if self._order.is_given is None:
            ids = self.edge_ids
            self._order.is_given = ids is None or bool((ids[1:] > ids[:-1]).all())
        return self._order.is_given

    def warn_of_order(self, values: Tensor, name: str) -> None:
        """Warn, once for this graph, if per-edge values may be in the order of the `edge_index` the graph was built from.

        They are in this graph's order if they are its own `edge_attr`, or come from `permute_edges`.

        Args:
            values: (E, ...).
            name: of the argument, for the message.
        """
        if self.edge_ids is None or self._order.has_warned or torch.compiler.is_compiling():
            return
        if getattr(values, "_revgnn_order", None) is self._order or self.is_in_order_of_edge_index:
            return
        if self.edge_attr is not None and self.edge_attr.data_ptr() == values.data_ptr():
            return
        self._order.has_warned = True
        warnings.warn(
            f"{name} is taken to be in the order of the graph, which is not that of the edge_index the graph was built from. If it "
            f"is in the order of the edge_index, pass graph.permute_edges({name}), or the edge_index instead of the graph. "
            "graph.edge_attr and results of permute_edges are recognised; ignore revgnn.graph.EdgeOrderWarning for other values "
            "that are in the right order.",
            EdgeOrderWarning,
            stacklevel=3,
        )

    def edge_features(self, dtype: torch.dtype | None = None) -> Tensor | None:
        """Return the edge features as floating point, (E, K), or None: for code that does not use `edge_scale`.

        This is `edge_attr` itself if it is floating point and has that `dtype` (None: any); otherwise it is a copy. int16 is
        decoded, by default into float32.
        """
        if self.edge_attr is None:
            return None
        stored = self.edge_attr.dtype if self.edge_attr.is_floating_point() else torch.float32
        features = edge_storage.decode(self.edge_attr, self.edge_scale, dtype or stored)
        if features is not self.edge_attr and not torch.compiler.is_compiling():
            features._revgnn_order = self._order  # pyright: ignore[reportAttributeAccessIssue]
        return features

    def __repr__(self) -> str:
        features = f", num_edge_features={self.num_edge_features}" if self.edge_attr is not None else ""
        return f"Graph(num_nodes={self.num_nodes}, num_edges={self.num_edges}{features})"

    # --- other graphs made from this one ----------------------------------------------------------------------------------

    def compressed(self, kind: edge_storage.Kind = "auto") -> Graph:
        """Return the same graph with its edge features in 16 bits each.

        Args:
            kind: "int16": multiples of a power of ten from 1 to 0.0001, from which every float32 feature is recovered exactly;
                "float16" or "bfloat16": rounded; "auto": int16 if nothing is lost, otherwise the graph is returned as it is.

        Raises:
            ValueError: for "int16", if something would be lost (names the first edge); for "float16", if a feature is too large.
        """
        if self.edge_attr is None:
            return self
        edge_attr, scale = edge_storage.compress(self.edge_attr, self.edge_scale, kind)
        return self if edge_attr is self.edge_attr else self._with_checked_edge_attr(edge_attr, scale)

    def with_edge_attr(self, edge_attr: Tensor | None, *, edge_scale: float = 1.0) -> Graph:
        """Return the same structure with other edge features (E, K), given in *this graph's* order (see `permute_edges`)."""
        validation.check_edge_values(edge_attr, "edge_attr", self.src)
        edge_attr = edge_storage.as_matrix(edge_attr)
        edge_storage.check_edge_attr(edge_attr, edge_scale, self.num_edges)
        edge_attr = None if edge_attr is None else edge_attr.contiguous()
        return self._with_checked_edge_attr(edge_attr, edge_scale)

    def _with_checked_edge_attr(self, edge_attr: Tensor | None, edge_scale: float) -> Graph:
        other = Graph(self.indptr, self.src, edge_attr, edge_scale=edge_scale, edge_ids=self.edge_ids, validate=False)
        other._by_source, other._dst, other._inv_degree = self._by_source, self._dst, self._inv_degree
        other._inv_sqrt_degree, other._self_loops, other._order = self._inv_sqrt_degree, self._self_loops, self._order
        return other

    def looped(self, count: int | None = None) -> tuple[Graph, SelfLoops]:
        """Return the structure in which each of the first `count` nodes (default: all) has one self-loop and the others have none.

        Computed once, with what takes values of edges from here to there.
        """
        count = self.num_nodes if count is None else count
        known = self._self_loops.get(count)
        if known is None:
            loops = SelfLoops(self.indptr, self.src, count)
            known = self._self_loops[count] = Graph(loops.indptr, loops.src, validate=False), loops
        return known

    def with_self_loops(self, fill: float | None = None) -> Graph:
        """Return the graph in which each node has exactly one self-loop, whose edge features are `fill`.

        Raises:
            ValueError: if there are edge features and no `fill` for those of the loops, or one that int16 features cannot hold.
        """
        if self.edge_attr is not None and fill is None:
            raise ValueError("this graph has edge features; say which value those of the self-loops get, for example fill=0.0.")
        looped, loops = self.looped()
        if self.edge_attr is None:
            return looped
        value = edge_storage.encode_value(fill or 0.0, self.edge_attr.dtype, self.edge_scale)
        of_loops = self.edge_attr.new_full((self.num_nodes, self.num_edge_features), value)
        edge_attr = torch.cat([self.edge_attr, of_loops]).index_select(0, loops.origin)
        return looped._with_checked_edge_attr(edge_attr, self.edge_scale)

    def subgraph(self, nodes: Tensor) -> Graph:
        """Return the graph on `nodes` (integer, (M,), distinct), with its edge features: node `nodes[i]` becomes node `i`.

        Raises:
            TypeError: if `nodes` is not a tensor.
            ValueError: if a node is out of range or occurs twice.
        """
        self.check_unchanged()
        validation.check_node_vector(nodes, self.num_nodes)
        nodes = nodes.to(self.device, torch.int64)
        new_id = torch.full((self.num_nodes,), -1, dtype=torch.int64, device=self.device)
        numbers = torch.arange(nodes.numel(), device=self.device)
        new_id[nodes] = numbers
        if not torch.equal(new_id[nodes], numbers):
            repeated = nodes[new_id[nodes] != numbers][0].item()
            raise ValueError(f"nodes must be distinct, but node {repeated} is named more than once.")
        indptr, src, edge = index.select_nodes(self.indptr, self.src, nodes, new_id)
        edge_attr = None if self.edge_attr is None else self.edge_attr[edge]
        return Graph(indptr, src, edge_attr, edge_scale=self.edge_scale, validate=False)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Graph:
        """Return this graph on another device, with what was computed once; the graph itself if it is there already."""
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


def check_graph(graph: object) -> None:
    """Raise `TypeError` unless `graph` is a `Graph`, and `RuntimeError` if it was changed: for what operators are given."""
    if not isinstance(graph, Graph):
        raise TypeError(f"graph must be a revgnn.Graph, got {type(graph).__name__}; use Graph.of(...).")
    graph.check_unchanged()


class _Order:
    """The order of a graph's edges, shared by graphs that differ in their edge features alone.

    Attributes:
        is_given: whether it is the order of the `edge_index` the graph was built from; None: not known yet.
        has_warned: whether `warn_of_order` has warned.
    """

    __slots__ = ("has_warned", "is_given")

    def __init__(self) -> None:
        self.is_given: bool | None = None
        self.has_warned = False
