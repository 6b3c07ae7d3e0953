"""Our convolutions take the place of PyTorch Geometric's.

The same arguments give the same value and gradients, to 1e-10 in float64, for each option, on awkward graphs, whatever the edges
are given as.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable
from typing import Any

import pytest
import scipy.sparse
import torch
import torch_geometric.nn as pyg
from torch import Tensor, nn
from torch_geometric import EdgeIndex

import revgnn
from revgnn.graph import Graph
from revgnn.interop import pyg_state_dict
from revgnn.nn.base import AbstractConv
from revgnn.testing import awkward_graphs

CHANNELS, FEATURES = 5, 3

# Each graph as an edge_index whose edges are in no order.
GRAPHS: dict[str, tuple[Tensor, int]] = {}
for _name, _graph in awkward_graphs():
    _order = torch.randperm(_graph.num_edges, generator=torch.Generator().manual_seed(1))
    GRAPHS[_name] = _graph.edge_index[:, _order], _graph.num_nodes


def as_graph(edge_index: Tensor, num_nodes: int) -> Graph:
    return Graph.from_edge_index(edge_index, num_nodes)


def as_edge_index_object(edge_index: Tensor, num_nodes: int) -> EdgeIndex:
    return EdgeIndex(edge_index, sparse_size=(num_nodes, num_nodes))


FORMS: dict[str, Callable[[Tensor, int], Any]] = {
    "edge_index": lambda edge_index, num_nodes: edge_index,
    "Graph": as_graph,
    "EdgeIndex": as_edge_index_object,
}


def product(**choices: list[Any]) -> list[dict[str, Any]]:
    return [dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values())]


def pairwise(**choices: list[Any]) -> list[dict[str, Any]]:
    """Sets of options in which each pair of values of two options occurs; found greedily, always the same."""
    names = list(choices)
    pairs = {
        frozenset([(a, i), (b, j)])
        for a, b in itertools.combinations(names, 2)
        for i in range(len(choices[a]))
        for j in range(len(choices[b]))
    }
    found = []
    while pairs:
        chosen: dict[str, int] = dict(sorted(min(pairs, key=sorted)))
        for name in names:
            if name not in chosen:
                gain = [sum(frozenset([(name, i), item]) in pairs for item in chosen.items()) for i in range(len(choices[name]))]
                chosen[name] = gain.index(max(gain))
        pairs -= {frozenset(pair) for pair in itertools.combinations(chosen.items(), 2)}
        found.append({name: choices[name][index] for name, index in chosen.items()})
    return found


# --- the options ----------------------------------------------------------------------------------------------------------------

GCN = [
    *product(
        normalize=[True], add_self_loops=[None, True, False], improved=[False, True], cached=[False, True], bias=[True, False]
    ),
    *product(normalize=[False], add_self_loops=[None, False], improved=[False], cached=[False], bias=[True, False]),
]
SAGE = product(
    aggr=["mean", "sum", "add"], normalize=[False, True], root_weight=[True, False], project=[False, True], bias=[True, False]
)
FILLS = ["mean", "add", "min", "max", "mul", 0.5, torch.tensor([0.3, -1.0, 2.0])]
GAT = pairwise(
    heads=[1, 3],
    concat=[True, False],
    negative_slope=[0.2, 0.05],
    dropout=[0.0],
    add_self_loops=[True, False],
    edge_dim=[None, FEATURES],
    fill_value=FILLS,
    bias=[True, False],
    residual=[False, True],
)
GEN = [
    {**learning, **options}
    for learning, options in itertools.zip_longest(
        [
            *product(aggr=["softmax"], t=[1.0, 0.3], learn_t=[False, True]),
            {"aggr": "softmax_sg", "t": 0.7},
            *product(aggr=["powermean", "power"], p=[1.0, 2.5, 0.6], learn_p=[False, True]),
            *product(aggr=["max", "mean", "add", "sum"]),
        ]
        * 2,
        pairwise(
            msg_norm=[False, True],
            learn_msg_scale=[False, True],
            norm=["batch", "layer", "instance", None],
            num_layers=[1, 2, 3],
            expansion=[2, 3],
            eps=[1e-7, 1e-3],
            bias=[False, True],
            edge_dim=[None, FEATURES, "C_out"],
        ),
        fillvalue={},
    )
]


# --- the comparison -------------------------------------------------------------------------------------------------------------


def pair_of(name: str, *args: Any, **options: Any) -> tuple[AbstractConv, nn.Module]:
    """Our layer and PyTorch Geometric's, which gives ours its random weights."""
    peer = getattr(pyg, name)(*args, **options).double()
    ours = getattr(revgnn, name)(*args, **options).double()
    copy_weights(ours, peer)
    return ours, peer


def copy_weights(ours: nn.Module, peer: nn.Module) -> None:
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for key, parameter in peer.named_parameters():
            values = torch.rand(parameter.shape, generator=generator, dtype=parameter.dtype)
            # temperatures, exponents and scales near where they start, the rest in [-0.5, 0.5]
            parameter.copy_(parameter + 0.2 * values if parameter.numel() == 1 and "aggr" in key + "msg_norm" else values - 0.5)
    ours.load_state_dict(peer.state_dict())


def outcome(conv: nn.Module, x: tuple[Tensor | None, ...], adjacency: Any, per_edge: dict[str, Tensor], **options: Any) -> list:
    """The value, the gradients of states and per-edge values, and those of the parameters as a dict."""
    states = [None if t is None else t.clone().requires_grad_() for t in x]
    edges = {name: t.clone().requires_grad_() for name, t in per_edge.items()}
    torch.manual_seed(5)
    out = conv(states[0] if len(states) == 1 else tuple(states), adjacency, **edges, **options)
    leaves = [t for t in (*states, *edges.values()) if t is not None]
    parameters = {name: p for name, p in conv.named_parameters() if p.requires_grad}
    projection = torch.linspace(-1, 1, out.numel(), dtype=torch.float64).view(out.shape)
    grads = torch.autograd.grad(out, [*leaves, *parameters.values()], projection, allow_unused=True)
    n = len(leaves)
    return [out.detach(), *grads[:n], dict(zip(parameters, grads[n:], strict=True))]


def permuted(values: dict[str, Tensor], adjacency: Any) -> dict[str, Tensor]:
    """Per-edge values in the order that goes with the adjacency."""
    return {name: adjacency.permute_edges(t) for name, t in values.items()} if isinstance(adjacency, Graph) else values


def assert_same(ours: nn.Module, mine: list, theirs: list, adjacency: Any, num_edge_values: int) -> None:
    *mine, my_parameters = mine
    *theirs, their_parameters = theirs
    if isinstance(adjacency, Graph) and adjacency.edge_ids is not None and num_edge_values:
        # gradients of per-edge values come back in the graph's order
        theirs[-num_edge_values:] = [None if t is None else t[adjacency.edge_ids] for t in theirs[-num_edge_values:]]
    for n, (a, b) in enumerate(zip(mine, theirs, strict=True)):
        close(a, b, f"result {n}")
    names = names_of(ours, their_parameters)
    assert {names[name] for name in their_parameters} == my_parameters.keys()
    for name, b in their_parameters.items():
        close(my_parameters[names[name]], b, name)


def names_of(ours: nn.Module, theirs: dict[str, Any]) -> dict[str, str]:
    """Our name for each parameter of theirs: numbered tensors show where they are loaded to."""
    shapes = ours.state_dict()
    if theirs.keys() <= shapes.keys() and not any(name.startswith("mlp.") for name in theirs):
        return {name: name for name in theirs}
    from revgnn.nn.gen import _names_of_pyg

    known = _names_of_pyg(ours.mlp, dict.fromkeys(theirs), "")
    return {name: known.get(name, name) for name in theirs}


def close(a: Tensor | None, b: Tensor | None, name: str) -> None:
    if a is None or b is None:
        present = a if b is None else b
        assert present is None or not present.any(), f"{name}: one has no gradient"
        return
    largest = float(b.abs().amax()) if b.numel() else 0.0
    torch.testing.assert_close(a.reshape(b.shape), b, rtol=1e-10, atol=1e-10 * max(1.0, largest), msg=lambda m: f"{name}: {m}")


def states(num_nodes: int, channels: int = CHANNELS, seed: int = 3) -> Tensor:
    return torch.randn(num_nodes, channels, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def on_all_graphs(ours: nn.Module, peer: nn.Module, per_edge: dict[str, tuple[int, ...]], forms: Any = FORMS) -> None:
    """Compare on each awkward graph, in each form of its edges. `per_edge`: per-edge arguments and their shapes after E."""
    for name, (edge_index, num_nodes) in GRAPHS.items():
        if num_nodes == 1 and any(isinstance(m, nn.BatchNorm1d) for m in peer.modules()):
            continue  # batch norm needs more than one row
        x = states(num_nodes)
        values = {key: values_of(key, edge_index.shape[1], shape) for key, shape in per_edge.items()}
        theirs = outcome(peer, (x,), edge_index, values)
        if "edge_weight" in values and peer.add_self_loops:
            # of several self-loops of a node the last counts, but PyTorch Geometric gives the others its gradient too
            theirs[2] = theirs[2].masked_fill(is_overwritten(edge_index), 0.0)
        for form, make in forms.items():
            adjacency = make(edge_index, num_nodes)
            mine = outcome(ours, (x,), adjacency, permuted(values, adjacency))
            try:
                assert_same(ours, mine, theirs, adjacency, len(values))
            except AssertionError as error:
                raise AssertionError(f"{name}, {form}: {error}") from error


def is_overwritten(edge_index: Tensor) -> Tensor:
    """Whether an edge is a self-loop of a node that has another one after it."""
    ends = [tuple(edge) for edge in edge_index.t().tolist()]
    return torch.tensor([a == b and (a, b) in ends[n + 1 :] for n, (a, b) in enumerate(ends)], dtype=torch.bool)


def values_of(name: str, num_edges: int, shape: tuple[int, ...]) -> Tensor:
    generator = torch.Generator().manual_seed(4)
    values = torch.rand(num_edges, *shape, generator=generator, dtype=torch.float64)
    return values + 0.1 if name == "edge_weight" else values - 0.5


def label(options: dict[str, Any]) -> str:
    return " ".join(f"{name}={value.tolist() if isinstance(value, Tensor) else value}" for name, value in options.items())


@pytest.mark.parametrize("options", GCN, ids=label)
@pytest.mark.parametrize("weighted", [False, True])
def test_gcn(options: dict[str, Any], weighted: bool) -> None:
    if options["improved"] and not weighted and options["add_self_loops"] is not False:
        pytest.skip("PyTorch Geometric ignores improved without weights: see test_improved_without_weights")
    ours, peer = pair_of("GCNConv", CHANNELS, 4, **{**options, "cached": False})
    ours.cached = options["cached"]  # PyTorch Geometric's keeps the first graph, whatever it is called with
    on_all_graphs(ours, peer, {"edge_weight": ()} if weighted else {})


@pytest.mark.parametrize("options", SAGE, ids=label)
@pytest.mark.parametrize("width", [4, 7])
def test_sage(options: dict[str, Any], width: int) -> None:
    on_all_graphs(*pair_of("SAGEConv", CHANNELS, width, **options), {})


@pytest.mark.parametrize("options", GAT, ids=label)
def test_gat(options: dict[str, Any]) -> None:
    ours, peer = pair_of("GATConv", CHANNELS, 4, **options)
    on_all_graphs(ours, peer, {} if options["edge_dim"] is None else {"edge_attr": (FEATURES,)})


@pytest.mark.parametrize("fill_value", FILLS, ids=str)
def test_gat_fills(fill_value: Any) -> None:
    ours, peer = pair_of("GATConv", CHANNELS, 4, heads=2, edge_dim=FEATURES, fill_value=fill_value)
    on_all_graphs(ours, peer, {"edge_attr": (FEATURES,)})


def test_gat_with_one_feature() -> None:
    ours, peer = pair_of("GATConv", CHANNELS, 4, heads=2, edge_dim=1)
    on_all_graphs(ours, peer, {"edge_attr": ()})


@pytest.mark.parametrize("options", GEN, ids=label)
@pytest.mark.parametrize("width", [CHANNELS, 4])
def test_gen(options: dict[str, Any], width: int) -> None:
    options = {**options, "edge_dim": width if options.get("edge_dim") == "C_out" else options.get("edge_dim")}
    ours, peer = pair_of("GENConv", CHANNELS, width, **options)
    features = {None: None, FEATURES: FEATURES, width: width}[options["edge_dim"]]
    on_all_graphs(ours, peer, {} if features is None else {"edge_attr": (features,)})


def test_gen_without_the_features_it_has_a_map_for() -> None:
    on_all_graphs(*pair_of("GENConv", CHANNELS, CHANNELS, edge_dim=FEATURES, norm="layer"), {})


def test_gen_with_raw_features() -> None:
    """Without `edge_dim`, features of the width of the result are added as they are."""
    on_all_graphs(*pair_of("GENConv", CHANNELS, 4, norm="layer"), {"edge_attr": (4,)})


@pytest.mark.parametrize("name", ["GCNConv", "SAGEConv", "GATConv", "GENConv"])
def test_signatures(name: str) -> None:
    """Constructor and call begin with PyTorch Geometric's arguments, in their order, with their defaults; ours follow by name."""
    for method in ("__init__", "forward"):
        theirs = list(inspect.signature(getattr(getattr(pyg, name), method)).parameters.values())
        ours = list(inspect.signature(getattr(getattr(revgnn, name), method)).parameters.values())
        theirs = [p for p in theirs if p.kind is not p.VAR_KEYWORD]
        for mine, their in zip(ours, theirs, strict=False):
            assert (mine.name, mine.default, mine.kind) == (their.name, their.default, their.kind)
        assert all(p.kind in (p.KEYWORD_ONLY, p.VAR_KEYWORD) for p in ours[len(theirs) :])
        assert len(ours) >= len(theirs)


def test_the_lists_above_are_all_options() -> None:
    for name, tested in (("GCNConv", GCN), ("SAGEConv", SAGE), ("GATConv", GAT), ("GENConv", GEN)):
        known = set(inspect.signature(getattr(pyg, name).__init__).parameters)
        assert known - {"self", "in_channels", "out_channels", "kwargs"} == set().union(*tested)


def test_gradients_of_weights_of_several_self_loops() -> None:
    edge_index = torch.tensor([[0, 1, 1, 1], [1, 1, 1, 0]])
    conv, x = revgnn.GCNConv(2, 2).double(), states(2, 2)
    weight = torch.tensor([0.4, 0.7, 1.3, 0.2], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda weight: conv(x, edge_index, weight), weight)


def test_improved_without_weights() -> None:
    """The self-loop weighs 2, as the formula says and as with weights of 1; PyTorch Geometric 2.8 gives it 1."""
    ours, peer = pair_of("GCNConv", CHANNELS, 4, improved=True)
    for edge_index, num_nodes in GRAPHS.values():
        x, ones = states(num_nodes), torch.ones(edge_index.shape[1], dtype=torch.float64)
        torch.testing.assert_close(ours(x, edge_index), peer(x, edge_index, ones), rtol=1e-10, atol=1e-10)


# --- sparse matrices ------------------------------------------------------------------------------------------------------------

SPARSE = {
    "COO": lambda m: m,
    "CSR": lambda m: m.to_sparse_csr(),
    "CSC": lambda m: m.to_sparse_csc(),
    "SciPy": lambda m: scipy.sparse.coo_array((m.values().numpy(), m.indices().numpy()), m.shape),
}
SIMPLE = {
    name: (edge_index, num_nodes)
    for name, (edge_index, num_nodes) in GRAPHS.items()
    if edge_index.unique(dim=1).shape == edge_index.shape
}
"""Graphs without doubled edges, which a coalesced matrix adds up."""


@pytest.mark.parametrize("form", SPARSE)
@pytest.mark.parametrize(
    ("name", "options", "weighted"),
    [
        ("GCNConv", {}, True),
        ("GCNConv", {"improved": True}, True),
        ("GCNConv", {"add_self_loops": False}, True),
        ("GCNConv", {"normalize": False}, True),
        ("SAGEConv", {"aggr": "mean"}, False),
        ("SAGEConv", {"aggr": "sum"}, False),
        ("GATConv", {"heads": 2}, False),
        ("GENConv", {"norm": "layer"}, False),
    ],
    ids=str,
)
def test_sparse_matrices(form: str, name: str, options: dict[str, Any], weighted: bool) -> None:
    """The result is that of the edge_index and of its weights, in any layout."""
    ours, peer = pair_of(name, CHANNELS, 4, **options)
    for edge_index, num_nodes in SIMPLE.values():
        weight = values_of("edge_weight", edge_index.shape[1], ()) if weighted else torch.ones(edge_index.shape[1]).double()
        matrix = SPARSE[form](torch.sparse_coo_tensor(edge_index.flip(0), weight, (num_nodes, num_nodes)).coalesce())
        theirs = outcome(peer, (states(num_nodes),), edge_index, {"edge_weight": weight} if weighted else {})
        mine = outcome(ours, (states(num_nodes),), matrix, {})
        if weighted:
            del theirs[2]
        assert_same(ours, mine, theirs, matrix, 0)


@pytest.mark.parametrize("aggr", ["mean", "sum"])
@pytest.mark.parametrize("layout", ["COO", "CSR"])
def test_sage_weights_by_the_entries_of_a_matrix(aggr: str, layout: str) -> None:
    ours, peer = pair_of("SAGEConv", CHANNELS, 4, aggr)
    for name, (edge_index, num_nodes) in SIMPLE.items():
        if not edge_index.numel():
            continue  # torch's product refuses it
        weight, x = values_of("edge_weight", edge_index.shape[1], ()), states(num_nodes)
        matrix = SPARSE[layout](torch.sparse_coo_tensor(edge_index.flip(0), weight, (num_nodes, num_nodes)).coalesce())
        expected = peer(x, matrix.to_sparse_csr())
        torch.testing.assert_close(ours(x, matrix), expected, rtol=1e-10, atol=1e-10, msg=lambda m, name=name: f"{name}: {m}")
        torch.testing.assert_close(ours(x, edge_index, edge_weight=weight), expected, rtol=1e-10, atol=1e-10)


def test_entries_of_a_matrix_get_gradients() -> None:
    edge_index, num_nodes = GRAPHS["power law"]
    edge_index = edge_index.unique(dim=1)
    conv, x = revgnn.GCNConv(CHANNELS, 4).double(), states(num_nodes)
    weight = values_of("edge_weight", edge_index.shape[1], ()).requires_grad_()
    (expected,) = torch.autograd.grad(conv(x, edge_index, weight).square().sum(), weight)
    matrix = torch.sparse_coo_tensor(edge_index.flip(0), weight, (num_nodes, num_nodes)).coalesce()
    (found,) = torch.autograd.grad(conv(x, matrix).square().sum(), weight)
    torch.testing.assert_close(found, expected)
    with pytest.raises(ValueError, match=r"cannot get a gradient; call coalesce\(\)"):
        conv(x, torch.sparse_coo_tensor(edge_index.flip(0), weight, (num_nodes, num_nodes)))


def test_entries_that_are_vectors_are_edge_features_of_gen() -> None:
    edge_index, num_nodes = GRAPHS["path"]
    features = values_of("edge_attr", edge_index.shape[1], (FEATURES,))
    conv, x = revgnn.GENConv(CHANNELS, 4, edge_dim=FEATURES, norm="layer").double(), states(num_nodes)
    matrix = torch.sparse_coo_tensor(edge_index.flip(0), features, (num_nodes, num_nodes, FEATURES)).coalesce()
    torch.testing.assert_close(conv(x, matrix), conv(x, edge_index, features))


# --- sources and destinations ---------------------------------------------------------------------------------------------------

BIPARTITE = [(4, 2), (2, 4), (6, 6), (9, 1)]


def bipartite(num_src: int, num_dst: int) -> Tensor:
    generator = torch.Generator().manual_seed(6)
    return torch.stack([torch.randint(0, n, (15,), generator=generator) for n in (num_src, num_dst)])


@pytest.mark.parametrize("sizes", BIPARTITE, ids=str)
@pytest.mark.parametrize("given", ["both", "sources", "shared width"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("SAGEConv", {}),
        ("SAGEConv", {"aggr": "sum", "project": True, "normalize": True}),
        ("GATConv", {"heads": 2, "residual": True}),
        ("GATConv", {"heads": 2, "edge_dim": FEATURES}),
        ("GATConv", {"heads": 2, "edge_dim": FEATURES, "fill_value": 0.5}),
        ("GATConv", {"heads": 2, "edge_dim": FEATURES, "fill_value": "max"}),
        ("GATConv", {"add_self_loops": False, "concat": False}),
        ("GENConv", {"norm": "layer"}),
        ("GENConv", {"aggr": "max", "norm": "layer", "edge_dim": FEATURES, "bias": True}),
        ("GENConv", {"aggr": "power", "p": 2.0, "learn_p": True, "norm": "layer", "msg_norm": True}),
    ],
    ids=str,
)
def test_bipartite(name: str, options: dict[str, Any], given: str, sizes: tuple[int, int]) -> None:
    num_src, num_dst = sizes
    widths = CHANNELS if given == "shared width" else (CHANNELS, 7)
    if given == "sources" and options.get("msg_norm"):
        pytest.skip("message norm needs the states of the destinations")
    if "edge_dim" in options and name == "GATConv" and num_dst > num_src and options.get("fill_value") != 0.5:
        pytest.skip("PyTorch Geometric reduces features for as many nodes as there are sources, and fails with an index error")
    ours, peer = pair_of(name, widths, 4, **options)
    edge_index = bipartite(*sizes)
    x_dst = {"both": states(num_dst, 7, 8), "sources": None, "shared width": states(num_dst, CHANNELS, 8)}[given]
    x = states(num_src), x_dst
    values = {"edge_attr": values_of("edge_attr", 15, (FEATURES,))} if "edge_dim" in options else {}
    calls = [{"size": sizes}] if given == "sources" else [{}, {"size": sizes}]
    for call in calls:
        theirs, mine = (outcome(conv, x, edge_index, values, **call) for conv in (peer, ours))
        assert_same(ours, mine, theirs, edge_index, len(values))


@pytest.mark.parametrize("name", ["SAGEConv", "GATConv", "GENConv"])
def test_bipartite_matrices_say_how_many_destinations_there_are(name: str) -> None:
    edge_index = bipartite(9, 4).unique(dim=1).contiguous()
    conv = getattr(revgnn, name)((CHANNELS, 7), 4).double()
    matrix = torch.sparse_coo_tensor(edge_index.flip(0), torch.ones(edge_index.shape[1]).double(), (4, 9)).coalesce()
    x = states(9), None
    expected = conv(x, edge_index, size=(9, 4))
    for adjacency in (matrix, matrix.to_sparse_csr(), EdgeIndex(edge_index, sparse_size=(9, 4))):
        torch.testing.assert_close(conv(x, adjacency), expected)


# --- widths from the first input ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "lazy", "options", "values"),
    [
        ("GCNConv", -1, {}, {}),
        ("SAGEConv", -1, {}, {}),
        ("SAGEConv", (-1, -1), {}, {}),
        ("GATConv", -1, {"residual": True}, {}),
        ("GATConv", (-1, -1), {"edge_dim": -1}, {"edge_attr": (FEATURES,)}),
        ("GENConv", -1, {"bias": True}, {}),
        ("GENConv", (-1, -1), {"edge_dim": -1}, {"edge_attr": (FEATURES,)}),
    ],
    ids=str,
)
def test_lazy_widths(name: str, lazy: Any, options: dict[str, Any], values: dict[str, tuple[int, ...]]) -> None:
    edge_index, num_nodes = GRAPHS["power law"]
    ours, peer = getattr(revgnn, name)(lazy, 4, **options), getattr(pyg, name)(lazy, 4, **options)
    assert str(ours) == str(peer)
    x = states(num_nodes).float() if isinstance(lazy, int) else (states(num_nodes).float(), states(num_nodes, 7, 8).float())
    per_edge = {key: values_of(key, edge_index.shape[1], shape).float() for key, shape in values.items()}
    peer(x, edge_index, **per_edge)
    ours(x, edge_index, **per_edge)
    ours, peer = ours.double(), peer.double()
    copy_weights(ours, peer)
    x = (x.double(),) if isinstance(x, Tensor) else tuple(t.double() for t in x)
    per_edge = {key: t.double() for key, t in per_edge.items()}
    assert_same(ours, outcome(ours, x, edge_index, per_edge), outcome(peer, x, edge_index, per_edge), edge_index, len(per_edge))
    waiting = getattr(revgnn, name)(lazy, 4, **options).double()
    waiting.load_state_dict(peer.state_dict())  # a state_dict says how wide the input is
    copy_weights(waiting, peer)
    assert_same(
        waiting, outcome(waiting, x, edge_index, per_edge), outcome(peer, x, edge_index, per_edge), edge_index, len(per_edge)
    )


# --- attention weights ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("add_self_loops", [True, False])
@pytest.mark.parametrize("name", list(GRAPHS))
def test_attention_weights(name: str, add_self_loops: bool) -> None:
    """The edges are the given ones in their order, self-loops after them."""
    edge_index, num_nodes = GRAPHS[name]
    ours, peer = pair_of("GATConv", CHANNELS, 4, heads=2, add_self_loops=add_self_loops)
    x = states(num_nodes)
    (mine, (edges, alpha)), (theirs, (their_edges, their_alpha)) = (
        conv(x, edge_index, return_attention_weights=True) for conv in (ours, peer)
    )
    torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)
    assert torch.equal(edges, their_edges)
    torch.testing.assert_close(alpha, their_alpha, rtol=1e-10, atol=1e-10)
    graph = Graph.from_edge_index(edge_index, num_nodes)
    graph = graph.with_self_loops() if add_self_loops else graph
    _, (edges, alpha) = ours(x, graph, return_attention_weights=True)
    assert torch.equal(edges, graph.edge_index)
    assert alpha.shape == (graph.num_edges, 2)
    if name in SIMPLE and not add_self_loops:
        coo = torch.sparse_coo_tensor(edge_index.flip(0), torch.ones(edge_index.shape[1]), (num_nodes, num_nodes)).coalesce()
        dense = torch.sparse_coo_tensor(their_edges.flip(0), their_alpha, (num_nodes, num_nodes, 2)).to_dense()
        for matrix in (coo, coo.to_sparse_csr()):
            _, (weights, alpha) = ours(x, matrix, return_attention_weights=True)
            assert weights.layout == matrix.layout
            found = (weights if weights.layout == torch.sparse_coo else weights.to_sparse_coo()).to_dense()
            torch.testing.assert_close(found, dense, rtol=1e-10, atol=1e-10)


# --- state_dict ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options"),
    [(name, options) for name, tested in (("GCNConv", GCN), ("SAGEConv", SAGE), ("GATConv", GAT)) for options in tested],
    ids=lambda value: value if isinstance(value, str) else label(value),
)
def test_state_dicts_have_the_same_names(name: str, options: dict[str, Any]) -> None:
    ours, peer = getattr(revgnn, name)(5, 4, **options), getattr(pyg, name)(5, 4, **options)
    mine, theirs = ours.state_dict(), peer.state_dict()
    assert {key: t.shape for key, t in mine.items()} == {key: t.shape for key, t in theirs.items()}
    peer.load_state_dict(mine)


@pytest.mark.parametrize("options", GEN, ids=label)
def test_gen_loads_a_state_dict_of_pyg_and_its_own(options: dict[str, Any]) -> None:
    options = {**options, "edge_dim": 4 if options.get("edge_dim") == "C_out" else options.get("edge_dim")}
    ours, peer = (nn.ModuleList([library.GENConv(5, 4, **options)]) for library in (revgnn, pyg))
    copy_weights(ours, peer)
    before = {key: t.clone() for key, t in ours.state_dict().items()}
    assert sum(t.double().sum() for t in before.values()) == pytest.approx(
        sum(t.double().sum() for t in peer.state_dict().values())
    )
    again = nn.ModuleList([revgnn.GENConv(5, 4, **options)])
    again.load_state_dict(before)
    assert all(torch.equal(t, before[key]) for key, t in again.state_dict().items())
    exported, wanted = pyg_state_dict(ours), peer.state_dict()
    assert {key: t.shape for key, t in exported.items()} == {key: t.shape for key, t in wanted.items()}
    assert all(torch.equal(t, wanted[key]) for key, t in exported.items())
    peer.load_state_dict(exported)


def test_what_pyg_does_not_have_is_not_exported() -> None:
    with pytest.raises(ValueError, match="aggr='softmax-sum' has a power of the degree"):
        pyg_state_dict(revgnn.GENConv(4, 4, aggr="softmax-sum"))


def test_export_of_a_whole_network() -> None:
    def network(library: Any) -> nn.Module:
        convs = [library.GENConv(4, 4, learn_t=True), library.GCNConv(4, 8), library.GATConv(8, 2, heads=2), library.SAGEConv(4, 3)]
        return nn.Sequential(nn.Linear(3, 4), nn.ModuleList(convs))

    ours, peer = network(revgnn), network(pyg)
    peer.load_state_dict(pyg_state_dict(ours))
    ours_again = network(revgnn)
    ours_again.load_state_dict(peer.state_dict())
    assert all(torch.equal(t, ours.state_dict()[key]) for key, t in ours_again.state_dict().items())
