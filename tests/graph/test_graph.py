"""`Graph`: the same edges from every source, and an error for every bad input."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import scipy.sparse
import torch
from torch_geometric import EdgeIndex
from torch_geometric.data import Data
from torch_geometric.transforms import ToSparseTensor
from torch_geometric.utils import add_remaining_self_loops, subgraph

from revgnn.data import RandomPartition
from revgnn.graph import Graph, index
from revgnn.nn import GENBlock, GENConv
from revgnn.ops import aggregate, edge_softmax, propagate
from revgnn.testing import awkward_graphs

GRAPHS = [case.graph for case in awkward_graphs(num_edge_features=3)]
NAMES = [str(case) for case in awkward_graphs(num_edge_features=3)]
every_graph = pytest.mark.parametrize("graph", GRAPHS, ids=NAMES)


def edges(graph: Graph) -> list[tuple[float, ...]]:
    """Return every edge with its features, sorted."""
    features = torch.zeros(graph.num_edges, 0) if graph.edge_attr is None else graph.edge_attr
    return sorted((*pair, *row) for pair, row in zip(graph.edge_index.t().tolist(), features.tolist(), strict=True))


@pytest.fixture
def edge_index() -> torch.Tensor:
    return torch.tensor([[3, 0, 1, 0, 4, 3], [0, 1, 1, 1, 0, 0]])


def test_edges_are_grouped_by_destination_and_keep_their_order(edge_index) -> None:
    graph = Graph.from_edge_index(edge_index, 6, torch.arange(6.0))
    assert graph.indptr.tolist() == [0, 3, 6, 6, 6, 6, 6]
    assert graph.src.tolist() == [3, 4, 3, 0, 1, 0]
    assert graph.edge_attr.flatten().tolist() == [0, 4, 5, 1, 2, 3]
    assert torch.equal(graph.permute_edges(torch.arange(6)), graph.edge_attr.flatten().long())
    assert graph.src.dtype == torch.int32
    assert graph.in_degree.tolist() == [3, 3, 0, 0, 0, 0]
    assert graph.out_degree.tolist() == [2, 1, 0, 2, 1, 0]
    torch.testing.assert_close(graph.inv_degree, torch.tensor([1 / 3, 1 / 3, 0, 0, 0, 0]))


def test_the_same_graph_from_all_kinds_of_objects(edge_index) -> None:
    edge_index = edge_index.unique(dim=1).contiguous()
    truth = edges(Graph.from_edge_index(edge_index, 5))
    ones = torch.ones(edge_index.shape[1])
    coo = torch.sparse_coo_tensor(edge_index.flip(0), ones, (5, 5))
    for source in (
        Data(edge_index=edge_index, num_nodes=5),
        Data(edge_index=edge_index.int(), num_nodes=5),
        EdgeIndex(edge_index, sparse_size=(5, 5)),
        coo,
        coo.coalesce(),
        coo.to_sparse_csr(),
        coo.to_sparse_csc(),
        scipy.sparse.coo_array((ones.numpy(), (edge_index[1].numpy(), edge_index[0].numpy())), shape=(5, 5)),
        scipy.sparse.csr_matrix((ones.numpy(), (edge_index[1].numpy(), edge_index[0].numpy())), shape=(5, 5)),
    ):
        graph = Graph.of(source)
        assert graph.num_nodes == 5
        assert edges(graph) == truth
    graph = Graph.of(edge_index, num_nodes=5)
    assert Graph.of(graph) is graph


def test_values_of_a_sparse_matrix_become_edge_features() -> None:
    matrix = scipy.sparse.csr_array(np.array([[0.0, 2.0], [3.0, 0.0]]))
    assert edges(Graph.from_sparse(matrix, values=True)) == [(0, 1, 3.0), (1, 0, 2.0)]


@every_graph
def test_by_source_holds_the_same_edges(graph: Graph) -> None:
    indptr, dst, edge = graph.by_source
    src = torch.repeat_interleave(torch.arange(graph.num_nodes), indptr.diff())
    assert torch.equal(graph.src[edge.long()].long(), src)
    assert torch.equal(graph.dst[edge.long()], dst)
    assert sorted(edge.tolist()) == list(range(graph.num_edges))
    assert graph.by_source is graph.by_source


@every_graph
@pytest.mark.parametrize("seed", [0, 1])
def test_subgraph_agrees_with_pyg(graph: Graph, seed: int) -> None:
    torch.manual_seed(seed)
    nodes = torch.randperm(graph.num_nodes)[: (graph.num_nodes + 1) // 2]
    ours = graph.subgraph(nodes)
    index, attr = subgraph(nodes, graph.edge_index, graph.edge_attr, num_nodes=graph.num_nodes)
    new = torch.full((graph.num_nodes,), -1)
    new[nodes] = torch.arange(nodes.numel())
    assert edges(ours) == edges(Graph.from_edge_index(new[index], nodes.numel(), attr))


@every_graph
def test_self_loops_agree_with_pyg(graph: Graph) -> None:
    plain = graph.with_edge_attr(None)
    index, _ = add_remaining_self_loops(plain.edge_index, num_nodes=plain.num_nodes)
    assert edges(plain.with_self_loops()) == edges(Graph.from_edge_index(index, plain.num_nodes))
    with pytest.raises(ValueError, match="say which value"):
        graph.with_self_loops()
    assert graph.with_self_loops(fill=0.5).edge_attr.shape[1] == 3


def test_changing_edge_features_keeps_what_was_computed() -> None:
    graph = GRAPHS[-1]
    by_source = graph.by_source
    other = graph.with_edge_attr(torch.rand(graph.num_edges))
    assert other.by_source is by_source
    assert other.edge_attr.shape == (graph.num_edges, 1)
    assert graph.with_edge_attr(None).num_edge_features == 0


def test_moving_to_the_same_device_returns_the_graph() -> None:
    assert GRAPHS[0].to("cpu") is GRAPHS[0]


@pytest.mark.gpu
def test_moving_to_the_gpu_and_back() -> None:
    for graph in GRAPHS:
        _ = graph.by_source
        on_gpu = graph.to("cuda")
        assert on_gpu.device.type == "cuda"
        assert edges(on_gpu.to("cpu")) == edges(graph)
        assert edges(on_gpu.subgraph(torch.arange(graph.num_nodes // 2)).to("cpu")) == edges(
            graph.subgraph(torch.arange(graph.num_nodes // 2))
        )


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (torch.zeros(3, 2, dtype=torch.long), r"shape \(2, E\), got \(3, 2\); transpose"),
        (torch.zeros(2, 3), "must be int64 or int32, got torch.float32"),
        (torch.tensor([[0, 1], [1, 9]]), r"edge 1 has destination 9, but the graph has 4 nodes: indices must lie in \[0, 4\)"),
        (torch.tensor([[0, -1], [1, 1]]), "edge 1 has source -1"),
    ],
)
def test_bad_edges(index: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Graph.from_edge_index(index, 4)


def test_bad_edge_features(edge_index) -> None:
    with pytest.raises(ValueError, match=r"shape \(6, K\), one row for each edge, got \(5, 1\)"):
        Graph.from_edge_index(edge_index, 6, torch.zeros(5))
    with pytest.raises(ValueError, match=r"edge_attr of edge 2 is \[1.0, nan\]"):
        Graph.from_edge_index(
            edge_index, 6, torch.ones(6, 2).index_put_((torch.tensor([2]), torch.tensor([1])), torch.tensor(float("nan")))
        )
    with pytest.raises(ValueError, match="must be floating point"):
        Graph.from_edge_index(edge_index, 6, torch.ones(6, 2, dtype=torch.long))


def test_bad_compressed_arrays() -> None:
    with pytest.raises(ValueError, match="must ascend from 0"):
        Graph(torch.tensor([0, 2, 1]), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="indptr must be int64"):
        Graph(torch.tensor([0, 1, 2], dtype=torch.int32), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="edge 1 has source 5"):
        Graph(torch.tensor([0, 1, 2]), torch.tensor([0, 5]))


def test_bad_subgraphs_and_sources() -> None:
    graph = Graph.from_edge_index(torch.tensor([[0], [1]]), 4)
    with pytest.raises(ValueError, match="node 2 is named more than once"):
        graph.subgraph(torch.tensor([1, 2, 2]))
    with pytest.raises(ValueError, match=r"nodes\[1\] is 7, but the graph has 4 nodes"):
        graph.subgraph(torch.tensor([1, 7]))
    with pytest.raises(ValueError, match="must be square"):
        Graph.from_sparse(scipy.sparse.csr_array((2, 3)))
    with pytest.raises(TypeError, match="cannot make a graph of str"):
        Graph.of("edges.csv")
    with pytest.raises(ValueError, match="a dense matrix is not a graph"):
        Graph.from_sparse(torch.eye(3))
    with pytest.raises(ValueError, match="neither edge_index nor adj_t"):
        Graph.from_data(Data(num_nodes=3))


# --- arrays in an unusual layout ------------------------------------------------------------------------------------------


def _layouts(tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    """The same values in memory that is not in order."""
    every_second = torch.stack([tensor, tensor], dim=1).flatten(0, 1)[::2]
    read_only = tensor.numpy().copy()
    read_only.setflags(write=False)
    last_first = tensor.movedim(0, -1).contiguous().movedim(-1, 0)
    return {"every second": every_second, "read-only": torch.from_numpy(read_only), "last dimension first": last_first}


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
@pytest.mark.parametrize("layout", ["every second", "read-only", "last dimension first"])
def test_arrays_in_any_layout_give_the_same_sums(layout):
    indptr, src = torch.tensor([0, 2, 3, 6]), torch.tensor([1, 2, 0, 0, 1, 2], dtype=torch.int32)
    edge_attr, x = torch.rand(6, 3), torch.rand(3, 4)
    weight = torch.rand(3, 4)
    plain = Graph(indptr, src, edge_attr)
    other = Graph(*(_layouts(t)[layout] for t in (indptr, src, edge_attr)))
    assert all(t.is_contiguous() for t in (other.indptr, other.src, other.edge_attr))
    replaced = Graph(indptr, src).with_edge_attr(_layouts(edge_attr)[layout])
    built = Graph.from_edge_index(_layouts(plain.edge_index)[layout], 3, _layouts(edge_attr)[layout])
    expected = aggregate(x, plain, plain.edge_attr, weight)
    for graph in (other, replaced, built):
        assert torch.equal(aggregate(x, graph, graph.edge_attr, weight), expected)
        assert torch.equal(graph.by_source.edge, plain.by_source.edge)


def test_expanded_arrays_give_the_same_sums():
    graph = Graph(torch.tensor([0, 1, 2, 3]), torch.tensor(1, dtype=torch.int32).expand(3), torch.ones(1, 2).expand(3, 2))
    assert graph.src.is_contiguous()
    assert graph.edge_attr.is_contiguous()
    out = aggregate(torch.tensor([[1.0], [2.0], [3.0]]), graph, graph.edge_attr, torch.zeros(2, 1), eps=0.0)
    assert out.tolist() == [[2.0]] * 3


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((None, torch.tensor([0])), TypeError, "indptr must be a tensor, got NoneType"),
        ((torch.tensor([0, 1]), [0]), TypeError, "src must be a tensor, got list"),
        ((torch.tensor([0, 1]).to("meta"), torch.tensor([0])), ValueError, "indptr is a meta tensor"),
        ((torch.tensor([0, 1]), torch.tensor([0]).to("meta")), ValueError, "src is a meta tensor"),
        ((torch.tensor([0, 1]), torch.tensor([0]), torch.ones(1, 1, device="meta")), ValueError, "edge_attr is a meta tensor"),
        ((torch.tensor([0, 2**62 + 2**61, -(2**62), 1]), torch.tensor([0])), ValueError, "indptr must ascend"),
    ],
)
def test_refuses_what_has_no_contents(arguments, error, message):
    with pytest.raises(error, match=message):
        Graph(*arguments)


def test_edge_index_must_have_contents():
    with pytest.raises(TypeError, match="edge_index must be a tensor, got NoneType"):
        Graph.from_edge_index(None)
    with pytest.raises(ValueError, match="edge_index is a meta tensor"):
        Graph.from_edge_index(torch.zeros(2, 3, dtype=torch.int64, device="meta"))
    with pytest.raises(ValueError, match=r"num_nodes must be an integer, got 2\.5"):
        Graph.from_edge_index(torch.zeros(2, 3, dtype=torch.int64), 2.5)
    with pytest.raises(ValueError, match=r"edge_ids\[1\] is 7"):
        Graph(torch.tensor([0, 2]), torch.tensor([0, 0]), edge_ids=torch.tensor([0, 7]))


# --- changes after the checks ---------------------------------------------------------------------------------------------------

USES = {
    "aggregate": lambda graph: aggregate(torch.ones(3, 4), graph),
    "propagate": lambda graph: propagate(torch.ones(3, 4), graph),
    "edge_softmax": lambda graph: edge_softmax(torch.ones(2, 1), graph),
    "GENBlock": lambda graph: GENBlock(GENConv(4, 4, "max", norm="layer", bias=True))(torch.ones(3, 4), graph),
    "subgraph": lambda graph: graph.subgraph(torch.tensor([0, 1])),
    "by_source": lambda graph: graph.by_source,
    "dst": lambda graph: graph.dst,
    "RandomPartition": lambda graph: list(RandomPartition(graph, 2).epoch(0)),
}


@pytest.mark.parametrize("array", ["indptr", "src"])
@pytest.mark.parametrize("given", [True, False], ids=["of the caller", "of the graph"])
@pytest.mark.parametrize("use", USES)
def test_an_index_array_that_was_changed_in_place_reaches_no_kernel(use, given, array):
    arrays = {"indptr": torch.tensor([0, 1, 2, 2]), "src": torch.tensor([1, 2], dtype=torch.int32)}
    graph = Graph(**arrays)
    USES[use](Graph(**arrays))
    changed = arrays[array] if given else getattr(graph, array)
    changed[1] = 2**30
    with pytest.raises(RuntimeError, match=f"{array} of this graph was changed in place after the graph was made"):
        USES[use](graph)


def test_a_copy_of_a_graph_counts_its_own_changes():
    src = torch.tensor([0, 1], dtype=torch.int32)
    src[0] = 2  # before the graph is made
    graph = Graph(torch.tensor([0, 1, 2, 2]), src, torch.rand(2, 3))
    wanted = aggregate(torch.arange(12.0).view(3, 4), graph)
    for copied in (copy.copy(graph), copy.deepcopy(graph), pickle.loads(pickle.dumps(graph))):  # noqa: S301
        assert torch.equal(aggregate(torch.arange(12.0).view(3, 4), copied), wanted)
        assert torch.equal(copied.edge_attr, graph.edge_attr)
    other = copy.deepcopy(graph)
    other.src[0] = 1
    with pytest.raises(RuntimeError, match="changed in place"):
        aggregate(torch.ones(3, 4), other)
    aggregate(torch.ones(3, 4), graph)


def test_a_graph_made_in_inference_mode_can_be_used():
    with torch.inference_mode():
        graph = Graph.from_edge_index(torch.tensor([[0, 1], [1, 2]]))
    assert aggregate(torch.ones(3, 2), graph).shape == (3, 2)


def test_arrays_are_neither_copied_nor_aliases_that_require_gradients():
    indptr, src = torch.tensor([0, 1, 2, 2]), torch.tensor([1, 2], dtype=torch.int32)
    graph = Graph(indptr, src)
    assert graph.indptr.data_ptr() == indptr.data_ptr()
    assert graph.src.data_ptr() == src.data_ptr()


# --- self-loops, per-edge data, inference mode ------------------------------------------------------------------------------------


@pytest.mark.parametrize("named", awkward_graphs(2), ids=str)
def test_each_node_has_one_self_loop_after_its_other_edges(named):
    graph = named.graph
    looped = graph.with_self_loops(fill=0.5)
    keep = graph.src != graph.dst
    loops = torch.arange(graph.num_nodes).expand(2, -1)
    expected = Graph.from_edge_index(
        torch.cat([graph.edge_index[:, keep], loops], dim=1),
        graph.num_nodes,
        torch.cat([graph.edge_attr[keep], torch.full((graph.num_nodes, 2), 0.5)]),
    )
    assert torch.equal(looped.edge_index, expected.edge_index)
    assert torch.equal(looped.edge_attr, expected.edge_attr)
    assert looped.src.dtype == graph.src.dtype
    for count in range(min(3, graph.num_nodes)):
        some, loops = graph.looped(count)
        kept = [(int(a), int(b)) for a, b in graph.edge_index.t() if a != b]
        assert sorted(map(tuple, some.edge_index.t().tolist())) == sorted([*kept, *((i, i) for i in range(count))])
        ends = torch.cat([graph.edge_index, torch.arange(count).expand(2, -1)], dim=1)
        assert torch.equal(ends[:, loops.origin], some.edge_index)


@pytest.mark.parametrize("named", awkward_graphs(), ids=str)
def test_self_loops_are_the_same_on_every_device(named):
    graph = named.graph
    for count in (0, graph.num_nodes // 2, graph.num_nodes):
        compiled = index.self_loops(graph.indptr, graph.src, count)
        by_torch = index.self_loops_by_torch(graph.indptr, graph.src, count)
        for a, b in zip(compiled, by_torch, strict=True):
            assert a.dtype == b.dtype
            assert torch.equal(a, b)


def test_values_of_self_loops_that_were_there_are_kept():
    graph = Graph.from_edge_index(torch.tensor([[0, 1, 1, 0, 1], [1, 1, 1, 2, 2]]), 3)
    looped, loops = graph.looped()
    values = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, -1.0])
    found = {(int(a), int(b)): float(v) for (a, b), v in zip(looped.edge_index.t(), values[loops.kept], strict=True)}
    assert found == {(0, 0): -1.0, (0, 1): 1.0, (1, 1): 3.0, (0, 2): 4.0, (1, 2): 5.0, (2, 2): -1.0}


def test_edge_weights_of_data_are_features():
    edge_index, weight = torch.tensor([[2, 0], [1, 0]]), torch.tensor([0.3, 0.7])
    graph = Graph.of(Data(edge_index=edge_index, edge_weight=weight, num_nodes=3))
    assert torch.equal(graph.edge_attr, torch.tensor([[0.7], [0.3]]))
    both = Data(edge_index=edge_index, edge_weight=weight, edge_attr=torch.ones(2, 4), num_nodes=3)
    with pytest.raises(ValueError, match="both edge_attr and edge weights"):
        Graph.of(both)


def test_adj_t_keeps_features_and_weights():
    edge_index = torch.tensor([[2, 0, 1], [1, 0, 0]])
    features, weight = torch.randn(3, 4), torch.tensor([0.3, 0.7, 0.5])
    data = Data(edge_index=edge_index, edge_attr=features, num_nodes=3)
    expected = Graph.of(data)
    found = Graph.of(ToSparseTensor()(data.clone()))
    assert torch.equal(found.edge_index, expected.edge_index)
    assert torch.equal(found.edge_attr, expected.edge_attr)
    weighted = Data(edge_index=edge_index, edge_weight=weight, num_nodes=3)
    found = Graph.of(ToSparseTensor(attr="edge_weight")(weighted.clone()))
    assert torch.equal(found.edge_attr, Graph.of(weighted).edge_attr)
    plain = ToSparseTensor()(Data(edge_index=edge_index, num_nodes=3))
    assert Graph.of(plain).edge_attr is None
    both = ToSparseTensor(attr="edge_weight")(Data(edge_index=edge_index, edge_weight=weight, edge_attr=features, num_nodes=3))
    with pytest.raises(ValueError, match="both edge_attr and edge weights"):
        Graph.of(both)


def test_what_is_computed_once_in_inference_mode_can_be_saved_for_a_gradient():
    graph = Graph.from_edge_index(torch.tensor([[0, 1], [1, 1]]), 2)
    with torch.inference_mode():
        kept = [*graph.by_source, graph.dst, graph.inv_degree, graph.inv_sqrt_degree(torch.float32)]
        looped, loops = graph.looped()
        kept += [looped.indptr, looped.src, loops.origin, loops.kept]
    assert not any(t.is_inference() for t in kept)
