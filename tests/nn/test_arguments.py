"""What convolutions are called with: edges in any form, converted once; per-edge values in order; nothing is swallowed."""

from __future__ import annotations

import gc
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor
from torch_geometric import EdgeIndex
from torch_geometric.nn import GATConv as PeerGATConv

from revgnn import GATConv, GCNConv, GENBlock, GENConv, PreActivation, ReversibleStack, SAGEConv
from revgnn.graph import EdgeOrderWarning, Graph, remembered
from revgnn.graph.remembered import LIMIT, graph_of

CONVS = [GCNConv, SAGEConv, GATConv, GENConv]


@pytest.fixture
def edge_index() -> Tensor:
    return torch.randint(0, 20, (2, 60), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def conversions(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is converted, in order."""
    seen: list[Any] = []
    convert = remembered._convert

    def spy(adjacency: Any, *sizes: int) -> Graph:
        seen.append(type(adjacency).__name__)
        return convert(adjacency, *sizes)

    monkeypatch.setattr(remembered, "_convert", spy)
    return seen


# --- conversions ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["edge_index", "EdgeIndex", "COO", "CSR"])
def test_an_adjacency_is_converted_once(form: str, edge_index: Tensor, conversions: list[Any]) -> None:
    matrix = torch.sparse_coo_tensor(edge_index.flip(0), torch.ones(60), (20, 20))
    given = {
        "edge_index": edge_index,
        "EdgeIndex": EdgeIndex(edge_index, sparse_size=(20, 20)),
        "COO": matrix,
        "CSR": matrix.to_sparse_csr(),
    }[form]
    x = torch.randn(20, 8)
    for conv in CONVS:
        for _ in range(2):
            conv(8, 8)(x, given)
    assert len(conversions) == 1


def test_a_stack_converts_its_edge_index_once(edge_index: Tensor, conversions: list[Any]) -> None:
    blocks = [[GENBlock(GENConv(8, 8, "max", norm="layer", bias=True)), PreActivation(GATConv(8, 8))] for _ in range(3)]
    stack, h = ReversibleStack(blocks), torch.randn(20, 16, requires_grad=True)
    out = stack(h, edge_index)
    out.sum().backward()
    assert len(conversions) == 1
    (expected,) = torch.autograd.grad(stack(h, Graph.of(edge_index, 20)).sum(), h)
    assert torch.equal(h.grad, expected)


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_change_in_place_is_noticed(wrapped: bool, edge_index: Tensor) -> None:
    given = EdgeIndex(edge_index) if wrapped else edge_index
    conv, x = SAGEConv(4, 4), torch.randn(20, 4)
    before = conv(x, given)
    edge_index[0] = (edge_index[0] + 1) % 20
    after = conv(x, given)
    assert not torch.equal(before, after)
    assert torch.equal(after, conv(x, Graph.of(edge_index, 20)))


def test_a_change_of_the_entries_is_noticed(edge_index: Tensor) -> None:
    matrix = torch.sparse_coo_tensor(edge_index.flip(0), torch.ones(60), (20, 20)).to_sparse_csr()
    conv, x = GCNConv(4, 4, normalize=False), torch.randn(20, 4)
    before = conv(x, matrix)
    matrix.values().mul_(2.0)
    torch.testing.assert_close(conv(x, matrix) - conv.bias, 2.0 * (before - conv.bias))


def test_another_number_of_nodes_or_another_tensor_is_another_graph(edge_index: Tensor, conversions: list[Any]) -> None:
    conv = SAGEConv(4, 4)
    assert conv(torch.randn(20, 4), edge_index).shape == (20, 4)
    assert conv(torch.randn(25, 4), edge_index).shape == (25, 4)
    conv(torch.randn(25, 4), edge_index.clone())
    assert len(conversions) == 3


def test_what_is_remembered_dies_with_the_tensor_and_is_bounded() -> None:
    remembered._conversions.clear()
    tensors = [torch.tensor([[0], [1]]) for _ in range(LIMIT + 5)]
    graphs = [graph_of(t, 2, 2) for t in tensors]
    assert len(remembered._conversions) == LIMIT
    assert graph_of(tensors[-1], 2, 2) is graphs[-1]
    del tensors, graphs
    gc.collect()
    assert not remembered._conversions


def test_an_edge_index_first_seen_in_inference_mode_can_be_trained_with(edge_index: Tensor) -> None:
    x = torch.randn(20, 8, requires_grad=True)
    made_there: list[Tensor] = []
    with torch.inference_mode():
        made_there.append(edge_index.clone())
        for conv in CONVS:
            conv(8, 8)(x, edge_index)
    for given in (edge_index, *made_there):
        for conv in CONVS:
            conv(8, 8)(x, given).sum().backward()


def test_matrices_of_torch_sparse(edge_index: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library is not installed here: a class with the methods that are used stands for its own."""

    class SparseTensor:
        def __init__(self, edge_index: Tensor, weight: Tensor, num_nodes: int) -> None:
            self.edge_index, self.weight, self.num_nodes = edge_index, weight, num_nodes

        def coo(self) -> tuple[Tensor, Tensor, Tensor]:
            return self.edge_index[1], self.edge_index[0], self.weight

        def sparse_size(self, dim: int) -> int:
            return self.num_nodes

    monkeypatch.setattr("revgnn.graph.conversions.SparseTensor", SparseTensor)
    weight, x = torch.rand(60), torch.randn(20, 8)
    matrix = SparseTensor(edge_index, weight, 20)
    conv = GCNConv(8, 8)
    torch.testing.assert_close(conv(x, matrix), conv(x, edge_index, weight))
    assert Graph.of(matrix).num_edges == 60


# --- per-edge values --------------------------------------------------------------------------------------------------------------


def per_edge_calls(values: Tensor) -> list[Any]:
    gat, gen = GATConv(8, 8, edge_dim=1), GENConv(8, 8, edge_dim=1, norm="layer")
    x = torch.randn(20, 8)
    return [
        lambda graph, v: GCNConv(8, 8)(x, graph, v),
        lambda graph, v: SAGEConv(8, 8)(x, graph, edge_weight=v),
        lambda graph, v: gat(x, graph, v),
        lambda graph, v: gen(x, graph, v),
    ]


@pytest.mark.parametrize("n", range(4))
def test_values_in_the_order_of_the_edge_index_do_not_go_to_a_sorted_graph_unnoticed(n: int, edge_index: Tensor) -> None:
    values = torch.rand(60)
    call = per_edge_calls(values)[n]
    graph = Graph.from_edge_index(edge_index, 20)
    with pytest.warns(EdgeOrderWarning, match=r"pass graph.permute_edges\(edge_(attr|weight)\), or the edge_index") as caught:
        _ = call(graph, values), call(graph, values)
    assert len([w for w in caught if w.category is EdgeOrderWarning]) == 1


@pytest.mark.parametrize("n", range(4))
def test_values_in_the_right_order_cause_no_warning(n: int, edge_index: Tensor) -> None:
    values = torch.rand(60)
    call = per_edge_calls(values)[n]
    graph = Graph.from_edge_index(edge_index, 20, values)
    sorted_already = Graph.from_edge_index(graph.edge_index, 20)
    with warnings.catch_warnings():
        warnings.simplefilter("error", EdgeOrderWarning)
        call(edge_index, values)
        call(graph, graph.edge_attr)
        call(graph, graph.permute_edges(values))
        call(graph.with_edge_attr(None), graph.permute_edges(values))
        call(sorted_already, values)
        call(Graph(graph.indptr, graph.src), values)


def test_stored_integers_are_features_of_attention(edge_index: Tensor) -> None:
    features = torch.randint(-99, 99, (60, 3)) / 10
    graph = Graph.from_edge_index(edge_index, 20, features)
    conv, x = GATConv(8, 4, heads=2, edge_dim=3), torch.randn(20, 8)
    small = graph.compressed("int16")
    torch.testing.assert_close(conv(x, small, small.edge_attr), conv(x, graph, graph.edge_attr))
    with pytest.raises(ValueError, match=r"integers are accepted only as graph\.edge_attr"):
        conv(x, graph, small.edge_attr)


def test_edge_features_of_attention_are_never_built_at_the_width_of_the_heads() -> None:
    from revgnn.testing import peak_bytes

    nodes, edges, heads, channels = 200, 20_000, 2, 64
    graph = Graph.from_edge_index(torch.randint(0, nodes, (2, edges)), nodes, torch.randn(edges, 4))
    conv, x = GATConv(8, channels, heads, edge_dim=4), torch.randn(nodes, 8, requires_grad=True)

    def step() -> None:
        conv(x, graph, graph.edge_attr).sum().backward()

    step()  # compiles the kernels and adds the self-loops
    assert peak_bytes(step) < 0.25 * edges * heads * channels * 4


# --- refused by name --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: GCNConv(4, 4, flow="target_to_source"), ValueError, r"only flow='source_to_target', .*flip\(0\)"),
        (lambda: GATConv(4, 4, node_dim=0), ValueError, "only node_dim=-2"),
        (lambda: GCNConv(4, 4, aggr="max"), ValueError, "only aggr='add'"),
        (lambda: SAGEConv(4, 4, decomposed_layers=2), ValueError, "only decomposed_layers=1"),
        (lambda: GENConv(4, 4, aggr_kwargs={"t": 2.0}), ValueError, "only aggr_kwargs=None"),
        (lambda: GCNConv(4, 4, how="mean"), TypeError, "GCNConv has no option 'how'"),
        (lambda: SAGEConv(4, 4, root=False), TypeError, "SAGEConv has no option 'root'"),
        (lambda: GATConv(4, channels=4), TypeError, "out_channels"),
        (lambda: GENConv(4, 4, aggregation="max"), TypeError, "GENConv has no option 'aggregation'"),
        (lambda: GCNConv(4, 4, normalize=False, add_self_loops=True), ValueError, "does not support adding self-loops"),
        (lambda: SAGEConv(4, 4, "max"), ValueError, "aggr='mean', 'sum' and 'add', got 'max'; PreActivation also takes PyTorch"),
        (lambda: SAGEConv(4, 4, ["mean", "max"]), ValueError, r"got \['mean', 'max'\]"),
        (lambda: SAGEConv(-1, 4, project=True), ValueError, "does not support lazy initialization with project=True"),
        (lambda: GATConv(4, 4, fill_value="median"), ValueError, "fill_value must be one of mean, add"),
        (lambda: GCNConv(0, 4), ValueError, "widths must be 1 or more, or -1"),
        (lambda: GENConv(4, 4, norm="group"), ValueError, "unknown norm 'group'"),
        (lambda: GENBlock(GENConv(-1, 4)), ValueError, "does not say how wide its input is"),
    ],
)
def test_options_are_refused_by_name(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


def test_flow_cannot_be_changed_later_either() -> None:
    conv = GCNConv(4, 4)
    conv.flow = "source_to_target"
    with pytest.raises(ValueError, match="only flow='source_to_target'"):
        conv.flow = "target_to_source"


def test_further_options_with_their_defaults_are_accepted() -> None:
    for conv in CONVS:
        conv(4, 4, flow="source_to_target", node_dim=-2, decomposed_layers=1)
    GCNConv(4, 4, aggr="add")


X = torch.zeros(3, 4)
EDGES = torch.tensor([[0, 1], [1, 2]])
W = torch.ones(2)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: SAGEConv(4, 4)(X, EDGES, W),
            TypeError,
            r"size must be two integers.*got a tensor of shape \(2,\); SAGEConv takes",
        ),
        (lambda: GATConv(4, 4)(X, EDGES, W), TypeError, "made with edge_dim=None and uses no edge_attr"),
        (
            lambda: GENConv(4, 4)(X, EDGES, W),
            ValueError,
            r"no map of edge features.* \(E, 4\), got \(2, 1\); make it with edge_dim=1",
        ),
        (lambda: GCNConv(4, 4)(X, EDGES, W, W), TypeError, "positional"),
        (lambda: GCNConv(4, 4)(X, EDGES, torch.ones(3)), ValueError, r"edge_weight must have shape \(2,\), one row for each edge"),
        (lambda: GCNConv(4, 4)(X, EDGES, torch.ones(2, 2)), ValueError, "edge_weight must be one floating-point number for each"),
        (lambda: GCNConv(4, 4)(X, EDGES, torch.ones(2).long()), ValueError, "floating-point number for each edge.*int64"),
        (lambda: GCNConv(4, 4)(X, EDGES, [1.0, 1.0]), TypeError, "edge_weight must be a tensor"),
        (lambda: GCNConv(4, 4)((X, X), EDGES), ValueError, "GCNConv takes x as one tensor"),
        (lambda: GCNConv(4, 4)(X, "edges.csv"), TypeError, "edge_index must be a revgnn.Graph, .* got str"),
        (lambda: GCNConv(4, 4)(X, EDGES[0]), ValueError, r"edge_index must have shape \(2, E\)"),
        (lambda: GCNConv(4, 4)(X, EDGES + 1), ValueError, "edge 1 has destination 3, but the graph has 3 nodes"),
        (lambda: SAGEConv(4, 4)((X, X[:2]), EDGES), ValueError, "edge 1 has destination 2, but the graph has 2 nodes"),
        (lambda: SAGEConv(4, 4)(X, EDGES, (3, 4)), ValueError, r"size=\(3, 4\) does not fit x, which has 3 sources and 3 dest"),
        (
            lambda: SAGEConv(4, 4)((X, X[:2]), Graph.of(EDGES)),
            ValueError,
            "x must be the states of the 3 nodes of the Graph, as sources and as destinations, got 3 and 2 rows",
        ),
        (lambda: SAGEConv(4, 4)((X,), EDGES), TypeError, r"takes x as a tensor, \(x_src, x_dst\) or \(x_src, None\), got tuple"),
        (lambda: SAGEConv(4, 4)(X[None], EDGES), ValueError, r"states of shape \(N, C\), got \(1, 3, 4\)"),
        (lambda: SAGEConv(4, 4)(X, EdgeIndex(EDGES, sparse_size=(5, 5))), ValueError, r"sparse_size \(5, 5\), but x says"),
        (
            lambda: SAGEConv(4, 4)(X, torch.eye(5).to_sparse()),
            ValueError,
            r"has shape \(5, 5\), but x says that it must be \(3, 3\)",
        ),
        (lambda: GATConv(4, 4, edge_dim=3)(X, EDGES, W), ValueError, r"edge_attr must have shape \(E, 3\), got \(2,\)"),
        (
            lambda: GENConv(4, 4, msg_norm=True)((X, None), EDGES, size=(3, 4)),
            ValueError,
            r"msg_norm scales to the states of the destinations; pass \(x_src, x_dst\)",
        ),
    ],
)
def test_calls_are_refused_by_name(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_a_layer_of_pyg_in_a_stack_takes_what_ours_takes(edge_index: Tensor) -> None:
    """The import of a stack's convolution can be swapped: same weights, same result."""
    outputs = []
    for conv in (PeerGATConv, GATConv):
        torch.manual_seed(0)
        stack = ReversibleStack([[PreActivation(conv(8, 8)) for _ in range(2)] for _ in range(2)])
        for name, p in stack.named_parameters():
            torch.manual_seed(len(name))
            torch.nn.init.uniform_(p, -0.5, 0.5)
        outputs.append(stack(torch.ones(20, 16), edge_index))
    torch.testing.assert_close(*outputs)
