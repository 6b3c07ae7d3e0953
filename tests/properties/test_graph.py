"""Laws of `Graph`: whatever arrays it is given, it is the graph that they describe, or it refuses them with a reason."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch
from hypothesis import assume
from hypothesis import strategies as st
from torch_geometric import EdgeIndex
from torch_geometric.data import Data

from revgnn import Graph
from revgnn.data import RandomPartition
from revgnn.ops import Max, Sum, aggregate, edge_softmax, propagate
from tests.properties.graphs import MATRIX_LAYOUTS, VECTOR_LAYOUTS, DrawnEdges, Edges, drawn_edges, edge_lists, laid_out, seeds
from tests.properties.laws import expect, law


def check_graph(graph: Graph, edges: Edges) -> None:
    """Assert that a graph is what `edges` describe, in all that it knows, and in what every kernel makes of it."""
    indptr, src = edges.compressed()
    dst = sorted(edges.dst)
    n, e = edges.num_nodes, len(dst)
    expect((graph.num_nodes, graph.num_edges) == (n, e), f"{graph} instead of {n} nodes and {e} edges")
    expect(
        graph.indptr.tolist() == indptr and graph.src.tolist() == src, f"indptr {graph.indptr.tolist()}, src {graph.src.tolist()}"
    )
    expect(graph.dst.tolist() == dst, f"dst {graph.dst.tolist()}")
    expect(graph.edge_index.tolist() == [src, dst], f"edge_index {graph.edge_index.tolist()}")
    expect(graph.in_degree.tolist() == [dst.count(i) for i in range(n)], f"in_degree {graph.in_degree.tolist()}")
    expect(graph.out_degree.tolist() == [src.count(i) for i in range(n)], f"out_degree {graph.out_degree.tolist()}")
    out = sorted(range(e), key=src.__getitem__)
    expect(graph.by_source.edge.tolist() == out, f"by_source.edge {graph.by_source.edge.tolist()}")
    expect(graph.by_source.dst.tolist() == [dst[k] for k in out], f"by_source.dst {graph.by_source.dst.tolist()}")
    check_kernels(graph, src, dst)


def check_kernels(graph: Graph, src: list[int], dst: list[int]) -> None:
    """Assert that the kernels walk these edges. All numbers are small integers, so that every sum is exact."""
    n = graph.num_nodes
    x = torch.arange(1.0, n + 1).unsqueeze(1).requires_grad_()
    into: list[list[int]] = [[] for _ in range(n)]
    for s, d in zip(src, dst, strict=True):
        into[d].append(s + 1)
    for name, value, wanted in (
        ("sum", aggregate(x, graph, how=Sum(), eps=0.0), [sum(row) for row in into]),
        ("max", aggregate(x, graph, how=Max(), eps=0.0), [max(row, default=0) for row in into]),
        ("propagate", propagate(x, graph), [sum(row) for row in into]),
    ):
        expect(value.flatten().tolist() == wanted, f"{name} is {value.flatten().tolist()}, not {wanted}")
        (grad,) = torch.autograd.grad(value.sum(), x)
        best = [max(row) - 1 for row in into if row]
        wanted_grad = [(best if name == "max" else src).count(i) for i in range(n)]
        expect(grad.flatten().tolist() == wanted_grad, f"gradient of {name} is {grad.flatten().tolist()}, not {wanted_grad}")
    shares = edge_softmax(torch.zeros(len(src), 1), graph).flatten()
    wanted_shares = [1 / dst.count(d) for d in dst]
    expect(np.allclose(shares.tolist(), wanted_shares), f"edge_softmax is {shares.tolist()}, not {wanted_shares}")
    backwards = graph.subgraph(torch.arange(n - 1, -1, -1))
    pairs = sorted((n - 1 - s, n - 1 - d) for s, d in zip(src, dst, strict=True))
    expect(
        sorted(map(tuple, backwards.edge_index.t().tolist())) == pairs, f"subgraph in reverse is {backwards.edge_index.tolist()}"
    )
    if n >= 2:
        with RandomPartition(graph, 2, seed=n) as partition:
            parts = list(partition.epoch(0))
        inside = sum(
            len({s in part, d in part}) == 1 for s, d in zip(src, dst, strict=True) for part in [set(parts[0].nodes.tolist())]
        )
        expect(sum(part.graph.num_edges for part in parts) == inside, f"the parts hold not {inside} edges")


# --- arrays ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", VECTOR_LAYOUTS)
@law(cases=8, edges=edge_lists(min_nodes=2), width=st.sampled_from([np.int32, np.int64]))
def test_a_graph_is_what_its_compressed_arrays_say(layout: str, edges: Edges, width: type[np.generic]) -> None:
    indptr, src = edges.compressed()
    check_graph(Graph(laid_out(np.array(indptr, np.int64), layout), laid_out(np.array(src, width), layout)), edges)


@law(cases=12, num_nodes=st.integers(1, 40), num_edges=st.integers(0, 40), source=st.integers(0, 39))
def test_expanded_arrays_are_read_as_what_they_show(num_nodes: int, num_edges: int, source: int) -> None:
    """All edges come from one node and reach the last one: `src` is one number, and `indptr` zeros but for its end."""
    assume(source < num_nodes)
    indptr = (
        torch.zeros(1, dtype=torch.int64).expand(num_nodes + 1) if num_edges == 0 else torch.tensor([0] * num_nodes + [num_edges])
    )
    src = torch.tensor([source], dtype=torch.int32).expand(num_edges)
    edges = Edges(num_nodes, (source,) * num_edges, (num_nodes - 1,) * num_edges)
    check_graph(Graph(indptr, src), edges)


@dataclass(frozen=True)
class Compressed:
    """Arrays that may be no graph at all."""

    indptr: tuple[int, ...]
    src: tuple[int, ...]

    def is_valid(self) -> bool:
        ascends = all(a <= b for a, b in itertools.pairwise(self.indptr))
        ends = self.indptr[:1] == (0,) and self.indptr[-1] == len(self.src)
        return bool(ascends and ends and all(0 <= s < len(self.indptr) - 1 for s in self.src))


FAR = st.sampled_from([-(2**63), -(2**62), -(2**32), -1, 0, 1, 2**31 - 1, 2**31, 2**32, 2**62, 2**63 - 1])


@st.composite
def nearly_compressed(draw: Any, numbers: st.SearchStrategy[int]) -> Compressed:
    """A graph with some of its numbers changed."""
    indptr, src = draw(edge_lists(min_nodes=1)).compressed()
    for array in (indptr, src):
        for place in draw(st.lists(st.integers(0, max(0, len(array) - 1)), max_size=2)):
            if array:
                array[place] = draw(numbers)
    return Compressed(tuple(indptr), tuple(src))


def check_accepted_if_valid(arrays: Compressed) -> None:
    given = torch.tensor(arrays.indptr, dtype=torch.int64), torch.tensor(arrays.src, dtype=torch.int64)
    try:
        graph = Graph(*given)
    except ValueError:
        expect(not arrays.is_valid(), "refused, but nothing is wrong")
        return
    expect(arrays.is_valid(), "accepted, but it is no graph")
    check_kernels(graph, list(arrays.src), [i for i, (a, b) in enumerate(itertools.pairwise(arrays.indptr)) for _ in range(b - a)])


@law(cases=24, arrays=nearly_compressed(st.integers(-3, 30)))
def test_compressed_arrays_with_wrong_numbers_are_refused(arrays: Compressed) -> None:
    check_accepted_if_valid(arrays)


@law(cases=18, arrays=nearly_compressed(FAR))
def test_compressed_arrays_with_huge_numbers_are_refused(arrays: Compressed) -> None:
    check_accepted_if_valid(arrays)


@law(cases=6, jump=st.integers(2**62, 2**63 - 1), num_edges=st.integers(0, 5))
def test_differences_that_wrap_are_refused(jump: int, num_edges: int) -> None:
    """From 0 up by `jump`, by more than half of all numbers further, which is negative, and up to E."""
    low = jump + (2**63 - 1) - 2**64
    check_accepted_if_valid(Compressed((0, jump, low, num_edges), (0,) * num_edges))


# --- edge_index -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", MATRIX_LAYOUTS)
@law(cases=4, edges=edge_lists(min_nodes=1), width=st.sampled_from([np.int32, np.int64]), K=st.integers(1, 3), named=st.booleans())
def test_a_graph_is_what_its_edge_index_says(layout: str, edges: Edges, width: type, K: int, named: bool) -> None:
    num_nodes = edges.num_nodes
    if not named:  # isolated nodes at the end are lost
        num_nodes = max((*edges.src, *edges.dst), default=-1) + 1
        edges = Edges(num_nodes, edges.src, edges.dst)
    index = laid_out(np.stack(edges.arrays()).astype(width), layout)
    features = np.arange(len(edges.src) * K, dtype=np.float32).reshape(-1, K)
    attr = laid_out(features, layout)
    graph = Graph.from_edge_index(index, num_nodes if named else None, attr)
    check_graph(graph, edges)
    expect(graph.edge_ids is not None and graph.edge_ids.tolist() == edges.order(), f"edge_ids {graph.edge_ids}")
    wanted = torch.from_numpy(features)[edges.order()]
    expect(graph.edge_attr is not None and torch.equal(graph.edge_attr, wanted), f"edge_attr {graph.edge_attr}")
    expect(torch.equal(graph.permute_edges(attr), wanted), "permute_edges gives another order")


@law(
    cases=24,
    edges=edge_lists(min_nodes=1, max_edges=8),
    place=st.tuples(st.integers(0, 1), st.integers(0, 7)),
    number=FAR | st.integers(-3, 12),
    width=st.sampled_from([np.int32, np.int64]),
)
def test_an_edge_out_of_range_is_named(edges: Edges, place: tuple[int, int], number: int, width: type) -> None:
    row, edge = place
    assume(edge < len(edges.src) and not 0 <= number < edges.num_nodes and np.iinfo(width).min <= number <= np.iinfo(width).max)
    index = np.stack(edges.arrays()).astype(width)
    index[row, edge] = number
    try:
        Graph.from_edge_index(torch.from_numpy(index), edges.num_nodes)
    except ValueError as error:
        expect(f"edge {edge} " in str(error) and str(number) in str(error), f"the message names another edge: {error}")
    else:
        expect(False, "accepted")


NO_SIZES = [0.5, 2.5, float("nan"), float("inf"), -1, -(2**63), 2**63, 2**64 + 3, 2**63 - 1, 2**62, True, "3"]


@pytest.mark.parametrize("num_nodes", NO_SIZES)
@law(cases=2, edges=edge_lists(max_nodes=2))
def test_a_number_of_nodes_that_is_none_is_refused(num_nodes: Any, edges: Edges) -> None:
    index = edges.index()
    try:
        graph = Graph.from_edge_index(index, num_nodes)
    except (ValueError, TypeError, OverflowError, MemoryError):
        return
    expect(num_nodes is True and graph.num_nodes == 1, f"num_nodes={num_nodes!r} gave {graph}")


# --- other forms ----------------------------------------------------------------------------------------------------------------

SCIPY = ["coo", "csr", "csc", "lil", "dok", "coo array", "csr array"]
TORCH = ["torch coo", "torch coalesced", "torch csr", "torch csc"]


@st.composite
def entries(draw: Any) -> tuple[int, list[tuple[int, int, float]]]:
    """Distinct places of a square matrix, with values that are not 0."""
    n = draw(st.integers(1, 7))
    place = st.integers(0, n - 1)
    value = st.floats(-100, 100, width=32).filter(bool)
    return n, draw(st.lists(st.tuples(place, place, value), max_size=14, unique_by=lambda t: t[:2]))


@pytest.mark.parametrize("form", [*SCIPY, *TORCH])
@law(
    cases=4,
    case=entries(),
    numbers=st.sampled_from([np.float32, np.float64]),
    index=st.sampled_from(["<i4", "<i8", ">i8", ">i4"]),
)
def test_a_graph_is_what_its_matrix_says(form: str, case: tuple[int, list], numbers: type, index: str) -> None:
    n, cells = case
    rows, columns = (np.array([cell[k] for cell in cells], index) for k in (0, 1))
    values = np.array([cell[2] for cell in cells], numbers)
    if form in TORCH:
        where = torch.from_numpy(np.stack([rows, columns]).astype(np.int64))
        matrix = torch.sparse_coo_tensor(where, torch.from_numpy(values), (n, n))
        matrix = {
            "torch coo": lambda m: m,
            "torch coalesced": lambda m: m.coalesce(),
            "torch csr": lambda m: m.coalesce().to_sparse_csr(),
            "torch csc": lambda m: m.coalesce().to_sparse_csc(),
        }[form](matrix)
    else:
        kind = scipy.sparse.coo_array if form.endswith("array") else scipy.sparse.coo_matrix
        matrix = kind((values, (rows, columns)), shape=(n, n))
        matrix = matrix if form.startswith("coo") else matrix.asformat(form.split()[0])
    graph = Graph.from_sparse(matrix, values=True)
    found = sorted(zip(graph.dst.tolist(), graph.src.tolist(), graph.edge_attr.flatten().tolist(), strict=True))  # type: ignore[union-attr]
    expect(found == sorted((i, j, float(np.float32(v))) for i, j, v in cells), f"entries {found}")
    check_graph(Graph.of(matrix), Edges(n, tuple(graph.src.tolist()), tuple(graph.dst.tolist())))


@pytest.mark.parametrize("form", ["Data", "EdgeIndex", "sorted EdgeIndex", "adj_t"])
@law(cases=4, edges=edge_lists(min_nodes=1))
def test_a_graph_is_what_pyg_says(form: str, edges: Edges) -> None:
    index, n = edges.index(), edges.num_nodes
    given: Any
    if form == "Data":
        given = Data(edge_index=index, num_nodes=n)
    elif form == "adj_t":
        assume(len(set(zip(edges.src, edges.dst, strict=True))) == len(edges.src))
        given = Data(adj_t=torch.sparse_coo_tensor(index.flip(0), torch.ones(len(edges.src)), (n, n)).coalesce(), num_nodes=n)
    else:
        given = EdgeIndex(index, sparse_size=(n, n))
        given = given.sort_by("col").values if form.startswith("sorted") else given
    graph = Graph.of(given)
    if form in ("Data", "EdgeIndex"):  # the others bring the edges into an order of their own
        check_graph(graph, edges)
    expect(
        sorted(map(tuple, graph.edge_index.t().tolist())) == sorted(zip(edges.src, edges.dst, strict=True)), f"{graph.edge_index}"
    )


# --- what is made of a graph ----------------------------------------------------------------------------------------------------


@law(
    cases=30,
    edges=edge_lists(min_nodes=1),
    picked=st.lists(st.integers(0, 8), unique=True),
    width=st.sampled_from([torch.int32, torch.int64]),
)
def test_a_subgraph_has_the_edges_among_its_nodes(edges: Edges, picked: list[int], width: torch.dtype) -> None:
    picked = [i for i in picked if i < edges.num_nodes]
    attr = torch.arange(float(len(edges.src))).unsqueeze(1)
    part = edges.graph(attr).subgraph(torch.tensor(picked, dtype=width))
    kept = [e for e in range(len(edges.src)) if edges.src[e] in picked and edges.dst[e] in picked]
    inner = Edges(len(picked), tuple(picked.index(edges.src[e]) for e in kept), tuple(picked.index(edges.dst[e]) for e in kept))
    check_graph(part, inner)
    expect(part.edge_attr is not None and part.edge_attr.flatten().tolist() == [kept[k] for k in inner.order()], "features moved")


@law(cases=18, edges=edge_lists(min_nodes=1), nodes=st.lists(st.integers(-3, 11) | FAR, max_size=6))
def test_nodes_of_a_subgraph_are_checked(edges: Edges, nodes: list[int]) -> None:
    valid = len(set(nodes)) == len(nodes) and all(0 <= i < edges.num_nodes for i in nodes)
    try:
        edges.graph().subgraph(torch.tensor(nodes, dtype=torch.int64))
    except ValueError:
        expect(not valid, "refused, but nothing is wrong")
    else:
        expect(valid, "accepted")


@law(cases=18, edges=edge_lists())
def test_self_loops_stand_once_at_each_node(edges: Edges) -> None:
    looped = edges.graph().with_self_loops()
    others = [(s, d) for s, d in zip(edges.src, edges.dst, strict=True) if s != d]
    wanted = sorted([*others, *((i, i) for i in range(edges.num_nodes))])
    expect(sorted(map(tuple, looped.edge_index.t().tolist())) == wanted, f"{looped.edge_index.tolist()}")


@law(
    cases=24,
    column=st.lists(
        st.floats(width=32, allow_nan=False, allow_infinity=False) | st.integers(-40000, 40000).map(lambda i: i / 100), max_size=9
    ),
    kind=st.sampled_from(["auto", "int16", "float16", "bfloat16"]),
)
def test_features_in_16_bits_lose_nothing_in_silence(column: list[float], kind: Any) -> None:
    """auto and int16 give every float32 back to the last bit. The halves round as torch does, or refuse."""
    attr = torch.tensor(column, dtype=torch.float32).reshape(-1, 1)
    graph = Graph.from_edge_index(torch.zeros(2, len(column), dtype=torch.int64), 1, attr)
    try:
        small = graph.compressed(kind)
    except ValueError:
        half = {"float16": torch.float16, "bfloat16": torch.bfloat16}.get(kind)
        expect(kind != "auto", "auto never refuses")
        expect(half is None or attr.to(half).isinf().any(), "refused, but every feature fits")
        return
    back = small.edge_features(torch.float32)
    wanted = attr if kind in ("auto", "int16") else attr.to({"float16": torch.float16, "bfloat16": torch.bfloat16}[kind]).float()
    expect(back is not None and torch.equal(back, wanted), f"{back} instead of {wanted}")


@law(
    cases=18,
    features=st.lists(st.sampled_from([0.0, 1.5, -3e38, 1e-45, float("nan"), float("inf"), -float("inf")]), min_size=1, max_size=8),
    dtype=st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]),
)
def test_the_first_feature_that_is_not_finite_is_named(features: list[float], dtype: torch.dtype) -> None:
    attr = torch.tensor(features, dtype=torch.float64).to(dtype).unsqueeze(1)
    bad = (~attr.isfinite()).flatten().nonzero().flatten().tolist()
    index = torch.zeros(2, len(features), dtype=torch.int64)
    for make in (lambda: Graph.from_edge_index(index, 1, attr), lambda: Graph.from_edge_index(index, 1).with_edge_attr(attr)):
        try:
            make()
        except ValueError as error:
            expect(bad and f"edge {bad[0]} " in str(error), f"{error}")
        else:
            expect(not bad, "accepted")


@law(cases=12, edges=drawn_edges(0, 4000, max_nodes=300), parts=st.integers(1, 7), seed=seeds, epoch=st.integers(0, 2**31))
def test_parts_are_subgraphs_that_share_the_nodes_out(edges: DrawnEdges, parts: int, seed: int, epoch: int) -> None:
    assume(parts <= edges.num_nodes)
    graph = edges.graph()
    graph = graph.with_edge_attr(torch.arange(2.0 * graph.num_edges).view(-1, 2))
    with RandomPartition(graph, parts, seed) as partition:
        found = list(partition.epoch(epoch))
        ahead = list(partition.prefetching(epoch))
    expect(torch.cat([part.nodes for part in found]).sort().values.tolist() == list(range(graph.num_nodes)), "nodes")
    for part, again in zip(found, ahead, strict=True):
        wanted = graph.subgraph(part.nodes)
        for name in ("indptr", "src", "edge_attr"):
            ours, theirs = getattr(part.graph, name), getattr(wanted, name)
            expect(torch.equal(ours, theirs) and ours.dtype == theirs.dtype, f"{name} of a part differs from the subgraph's")
            expect(torch.equal(getattr(again.graph, name), ours), f"{name} of a part depends on prefetching")


# --- anything at all ------------------------------------------------------------------------------------------------------------

STRANGERS: dict[str, dict[str, Any]] = {
    "no tensor": {"None": None, "list": [0, 1], "array": np.zeros(3, np.int64), "text": "edges.npz"},
    "meta": {shape: torch.empty(shape, dtype=torch.int64, device="meta") for shape in ((2, 3), (3,), (4, 1))},
    "sparse": {"matrix": torch.zeros(2, 2, dtype=torch.int64).to_sparse(), "vector": torch.zeros(3, dtype=torch.int64).to_sparse()},
    "dtype": {
        dtype: torch.zeros(2, 2, dtype=dtype)
        for dtype in (torch.int16, torch.uint8, torch.bool, torch.complex64, torch.float16, torch.float64)
    },
    "shape": {shape: torch.zeros(shape, dtype=torch.int64) for shape in ((), (0,), (0, 3), (3,), (2, 2, 2), (3, 2))},
}
"""What is no graph, by kind and name."""

ENTRIES: dict[str, Any] = {
    "indptr": lambda given: Graph(given, torch.zeros(2, dtype=torch.int32)),
    "src": lambda given: Graph(torch.tensor([0, 1, 2]), given),
    "edge_index": lambda given: Graph.from_edge_index(given, 4),
    "edge_index alone": lambda given: Graph.from_edge_index(given),
    "edge_attr": lambda given: Graph(torch.tensor([0, 1, 2]), torch.zeros(2, dtype=torch.int32), given),
    "features": lambda given: Graph.from_edge_index(torch.zeros(2, 2, dtype=torch.int64), 1, given),
    "with_edge_attr": lambda given: Graph.from_edge_index(torch.zeros(2, 2, dtype=torch.int64), 1).with_edge_attr(given),
    "of": lambda given: Graph.of(given),
    "nodes": lambda given: Graph.from_edge_index(torch.zeros(2, 2, dtype=torch.int64), 3).subgraph(given),
    "values": lambda given: Graph.from_edge_index(torch.zeros(2, 2, dtype=torch.int64), 3).permute_edges(given),
}


@pytest.mark.parametrize("kind", STRANGERS)
@law(cases=60, all_there_are=True, entry=st.sampled_from(list(ENTRIES)), pick=st.integers(0, 5))
def test_what_is_no_graph_is_refused_with_a_reason(kind: str, entry: str, pick: int) -> None:
    """By a `ValueError` or `TypeError`, not by an error from inside. What is accepted works."""
    names = list(STRANGERS[kind])
    given = STRANGERS[kind][names[pick % len(names)]]
    try:
        graph = ENTRIES[entry](given)
    except (ValueError, TypeError):
        return
    if isinstance(graph, Graph):
        check_kernels(graph, graph.src.tolist(), graph.dst.tolist())
