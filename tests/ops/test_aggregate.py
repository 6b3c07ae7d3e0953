"""`aggregate`: the definition is differentiable as it says, and the fused kernels compute it."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from revgnn.graph import Graph
from revgnn.kernels import backends
from revgnn.ops.aggregate import Max, Mean, Power, Softmax, Sum, aggregate, reference
from revgnn.testing import NamedGraph, peak_bytes
from revgnn.testing.comparison import assert_matches_reference
from revgnn.testing.operators import GRAPHS_WITH_FEATURES as GRAPHS
from revgnn.testing.operators import REDUCERS, learns
from revgnn.testing.operators import aggregate_leaves as inputs
from revgnn.testing.operators import aggregate_on as op_on

BACKENDS = ["cpu", *(["gpu"] if backends.has_triton() and not torch.cuda.is_available() else [])]


def draws(graph: Graph, channels: int, *, edges: bool, param: bool) -> list[dict[str, Tensor]]:
    return [inputs(graph, channels, edges=edges, param=param, seed=seed) for seed in range(4)]


# --- the definition ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("named", GRAPHS, ids=str)
@pytest.mark.parametrize("reducer", [r for r in REDUCERS if "semi" not in r])
def test_reference_passes_gradcheck(named: NamedGraph, reducer: str) -> None:
    op = op_on(named.graph, reducer)
    leaves = inputs(named.graph, 2, edges=True, param=learns(reducer))

    def function(*tensors: Tensor) -> Tensor:
        return op(dict(zip(leaves, tensors, strict=True)), "reference")

    assert torch.autograd.gradcheck(function, tuple(t.requires_grad_() for t in leaves.values()), fast_mode=True)


def test_semi_gradient_holds_the_softmax_weights_fixed() -> None:
    graph = GRAPHS[-1].graph
    x = inputs(graph, 5, edges=False, param=False)["x"].requires_grad_()
    messages = reference.messages(x, graph, None, None, None, 1e-7)
    weights = torch.zeros_like(messages)
    for i in range(graph.num_nodes):
        into = slice(int(graph.indptr[i]), int(graph.indptr[i + 1]))
        weights[into] = (0.7 * messages[into]).softmax(0).detach()
    expected = torch.zeros_like(x).index_add(0, graph.dst, weights * messages)
    for backend in ("reference", "cpu"):
        out = aggregate(x, graph, how=Softmax(0.7, semi_gradient=True), backend=backend)
        torch.testing.assert_close(out, expected)
        ours, theirs = (torch.autograd.grad(value.square().sum(), x, retain_graph=True)[0] for value in (out, expected))
        torch.testing.assert_close(ours, theirs)


def test_first_of_equal_messages_wins() -> None:
    graph = Graph.from_edge_index(torch.tensor([[2, 0, 1, 3], [3, 3, 3, 0]]), 4)
    x = torch.tensor([[5.0, 1.0], [5.0, 7.0], [2.0, 7.0], [-1.0, 0.0]], requires_grad=True)
    for backend in ("cpu", "reference"):
        (grad,) = torch.autograd.grad(aggregate(x, graph, how=Max(), backend=backend).sum(), x)
        assert grad.tolist() == [[1, 0], [0, 0], [0, 1], [0, 0]], backend


@pytest.mark.parametrize("edges", [False, True], ids=["nodes", "edges"])
@pytest.mark.parametrize("reducer", ["sum", "max", "softmax, learned", "power"])
@pytest.mark.parametrize("named", GRAPHS, ids=str)
def test_residual_adds_x(named: NamedGraph, reducer: str, edges: bool) -> None:
    op, leaves = op_on(named.graph, reducer), inputs(named.graph, 40, edges=edges, param=learns(reducer))
    found = []
    for fused in (False, True):
        given = {name: t.clone().requires_grad_() for name, t in leaves.items()}
        plain = {name: t for name, t in given.items() if name != "param"}
        how = REDUCERS[reducer](given.get("param"))
        out = aggregate(graph=named.graph, how=how, residual=True, **plain) if fused else given["x"] + op(given, "cpu")
        upstream = torch.cos(torch.arange(out.numel(), dtype=out.dtype)).view_as(out)
        found.append([out.detach(), *torch.autograd.grad(out, list(given.values()), upstream)])
    (value, *grads), (fused_value, *fused_grads) = found
    assert torch.equal(value, fused_value)
    for grad, fused_grad in zip(grads, fused_grads, strict=True):
        torch.testing.assert_close(fused_grad, grad)


# --- the kernels -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("reducer", "channels"), [*(("mean", c) for c in (1, 16, 32, 112, 131, 224)), ("max", 7), ("max", 131)])
def test_any_number_of_channels(reducer: str, channels: int) -> None:
    graph = dict(GRAPHS)["power law"]
    leaves = draws(graph, channels, edges=reducer == "max", param=False)
    assert_matches_reference(op_on(graph, reducer), *leaves, dtype=torch.float32)


@pytest.mark.parametrize("shape", [(0, 0, 7), (5, 0, 7), (5, 9, 0)], ids=["no nodes", "no edges", "no channels"])
@pytest.mark.parametrize("reducer", REDUCERS)
def test_nothing_to_aggregate(reducer: str, shape: tuple[int, int, int]) -> None:
    num_nodes, num_edges, channels = shape
    edge_index = torch.randint(0, 5, (2, num_edges))
    graph = Graph.from_edge_index(edge_index, num_nodes)
    leaves = {name: t.requires_grad_() for name, t in inputs(graph, channels, edges=True, param=False).items()}
    out = aggregate(**leaves, graph=graph, how=REDUCERS[reducer](torch.tensor(1.3)))
    nothing = 0.3 ** (1 / torch.tensor(1.3).double()) if reducer == "power, mean clamped" else 0.0
    torch.testing.assert_close(out, torch.full_like(out, float(nothing)), rtol=1e-15, atol=0.0)
    for t, grad in zip(leaves.values(), torch.autograd.grad(out.sum(), list(leaves.values())), strict=True):
        assert torch.equal(grad, torch.zeros_like(t))


@pytest.mark.parametrize("reducer", REDUCERS)
def test_edge_features_of_no_columns(reducer: str) -> None:
    graph = dict(GRAPHS)["doubled edges"]
    leaves = draws(graph, 40, edges=True, param=learns(reducer))
    leaves = [t | {"edge_attr": t["edge_attr"][:, :0], "weight": t["weight"][:0]} for t in leaves]
    assert_matches_reference(op_on(graph, reducer), *leaves, dtype=torch.float32)


@pytest.mark.parametrize("reducer", ["sum", "max", "softmax", "power, learned"])
@pytest.mark.parametrize("special", [float("nan"), float("inf")])
def test_special_values_spread_as_in_torch(reducer: str, special: float) -> None:
    graph = dict(GRAPHS)["complete"]
    leaves = inputs(graph, 7, edges=True, param=True)
    leaves["x"][3, 2] = leaves["x"][7, 5] = special
    with torch.no_grad():
        ours, reference_ = (op_on(graph, reducer)(leaves, backend) for backend in ("cpu", "reference"))
    assert torch.equal(ours.isnan(), reference_.isnan())
    assert torch.equal(ours.isinf(), reference_.isinf())
    assert not ours.isfinite().all()


@pytest.mark.parametrize("special", [float("nan"), float("inf")])
@pytest.mark.parametrize("p", [1.3, -1.3])
def test_special_values_in_a_power_mean_of_float32(p: float, special: float) -> None:
    graph = dict(GRAPHS)["power law"]
    x = inputs(graph, 40, edges=False, param=False)["x"].float()
    x[::3, 2] = x[7, 5] = special
    x[:, 9] = special
    x[4, :4] = float("nan")
    ours, reference_ = (aggregate(x, graph, how=Power(p), backend=backend) for backend in ("cpu", "reference"))
    assert torch.equal(ours.isnan(), reference_.isnan())
    assert torch.equal(ours.isinf(), reference_.isinf())
    assert not ours.isfinite().all()


def test_many_threads_have_parts_of_their_own() -> None:
    """Enough edges a node that the destinations are cut into parts, each with a gradient of x."""
    graph = Graph.from_edge_index(torch.randint(0, 500, (2, 40_000), generator=torch.Generator().manual_seed(0)), 500)
    for reducer in ("mean", "softmax, learned", "power, learned"):
        leaves = [inputs(graph, 40, edges=True, param=learns(reducer), seed=seed) for seed in range(2)]
        assert_matches_reference(op_on(graph, reducer), *leaves, dtype=torch.float32)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32_and_rounded_once(dtype: torch.dtype) -> None:
    graph = dict(GRAPHS)["power law"]
    leaves = {name: t.to(dtype).requires_grad_() for name, t in inputs(graph, 40, edges=True, param=False).items()}
    wide = {name: t.detach().float().requires_grad_() for name, t in leaves.items()}
    out, expected = aggregate(**leaves, graph=graph, how=Mean()), aggregate(**wide, graph=graph, how=Mean())
    assert out.dtype == dtype
    assert torch.equal(out, expected.to(dtype))
    grads = torch.autograd.grad(out.sum(), list(leaves.values()))
    for grad, theirs in zip(grads, torch.autograd.grad(expected.sum(), list(wide.values())), strict=True):
        assert torch.equal(grad, theirs.to(dtype))


def test_power_of_small_messages_neither_overflows_nor_vanishes() -> None:
    """A node whose messages are all cut by ReLU has out = eps = 1e-7; of that the gradient needs the power 1 - p."""
    graph = dict(GRAPHS)["star in"]
    x = -torch.rand(graph.num_nodes, 40)
    x[5:9] = 3.0
    x[:, 20:] = -1.0
    for p in (8.0, -8.0):
        for values in (x, -x.abs()):
            leaf, exponent = values.clone().requires_grad_(), torch.tensor(p, requires_grad=True)
            out = aggregate(leaf, graph, how=Power(exponent))
            wide = {"x": values.double().requires_grad_(), "p": torch.tensor(p, dtype=torch.float64, requires_grad=True)}
            truth = aggregate(wide["x"], graph, how=Power(wide["p"]), backend="reference")
            torch.testing.assert_close(out.double(), truth, rtol=1e-6, atol=0.0)
            ours = torch.autograd.grad(out.sum(), [leaf, exponent])
            for grad, theirs in zip(ours, torch.autograd.grad(truth.sum(), list(wide.values())), strict=True):
                torch.testing.assert_close(grad.double(), theirs, rtol=1e-5, atol=1e-9)


def test_power_refuses_exponent_0_and_limits_in_the_wrong_order() -> None:
    for exponent in (0, 0.0):
        with pytest.raises(ValueError, match="no exponent 0"):
            Power(exponent)
    for clamp in ((10.0, 1e-7), (1.0, 1.0), (0.0, float("nan"))):
        with pytest.raises(ValueError, match="low below high"):
            Power(2.0, clamp=clamp)
    graph = dict(GRAPHS)["complete"]
    with pytest.raises(ValueError, match="exponent of the power mean is 0"):
        aggregate(torch.rand(graph.num_nodes, 4), graph, how=Power(torch.zeros((), requires_grad=True)))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("temperature", [0.7, -0.7, 0.0])
def test_softmax_of_huge_messages_is_finite(temperature: float, backend: str) -> None:
    """Beyond 1e11 the rounding of t m is so large that the exponential of what it leaves of the peak may overflow."""
    graph = dict(GRAPHS)["complete"]
    x = 1e13 * torch.rand(graph.num_nodes, 40, generator=torch.Generator().manual_seed(0))
    x[3] = x[4]  # equal messages share the weight
    leaf, wide = x.clone().requires_grad_(), x.double().requires_grad_()
    out = aggregate(leaf, graph, how=Softmax(temperature), backend=backend)
    truth = aggregate(wide, graph, how=Softmax(temperature), backend="reference")
    torch.testing.assert_close(out.double(), truth, rtol=1e-6, atol=0.0)
    grad, expected = torch.autograd.grad(out.sum(), leaf)[0], torch.autograd.grad(truth.sum(), wide)[0]
    torch.testing.assert_close(grad.double(), expected, rtol=1e-4, atol=1e-6)


def test_any_number_of_threads_gives_the_same_bits() -> None:
    rng = np.random.default_rng(0)
    edge_index = torch.from_numpy((70_000 * rng.random((2, 90_000)) ** 2).astype(np.int64))
    graph = Graph.from_edge_index(edge_index, 70_000)  # so many rows that torch itself would cut their sum by its threads
    threads = torch.get_num_threads()
    try:
        reducers, shapes = ("sum", "mean", "max", "softmax, learned", "power, learned"), ((1, False), (1, True), (40, True))
        for reducer, (channels, edges) in itertools.product(reducers, shapes):
            results = []
            for count in (1, 2, 3):
                torch.set_num_threads(count)
                drawn = inputs(graph, channels, edges=True, param=True)
                leaves = {n: t.float().requires_grad_() for n, t in drawn.items() if edges or n in ("x", "bias", "param")}
                out = op_on(graph, reducer)(leaves, "cpu")
                used = [t for name, t in leaves.items() if name != "param" or "learned" in reducer]
                results.append([out, *torch.autograd.grad(out.square().sum(), used)])
            for other in results[1:]:
                assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True)), (reducer, channels, edges)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("how", [Sum(), Mean(), Max(), Softmax(0.7), Power(2.0)], ids=str)
def test_no_message_is_ever_stored(how: Any) -> None:
    num_nodes, num_edges, channels = 500, 40_000, 40
    graph = Graph.from_edge_index(torch.randint(0, num_nodes, (2, num_edges)), num_nodes)
    x = torch.randn(num_nodes, channels, requires_grad=True)
    assert graph.by_source.dst.numel() == num_edges  # made once, before anything is measured

    def step() -> None:
        torch.autograd.grad(aggregate(x, graph, how=how).sum(), x)

    step()
    state, messages = 4 * num_nodes * channels, 4 * num_edges * channels
    peak = peak_bytes(step)
    assert peak < 14 * state < messages / 5, f"{peak / state:.1f} times x"


@pytest.mark.parametrize("reducer", ["sum", "max", pytest.param("power", marks=pytest.mark.slow)])
def test_real_graph(real_data: Path, reducer: str) -> None:
    """Tolokers: 11,758 nodes, 519,000 undirected edges, a largest degree of 2,138."""
    with np.load(real_data / "heterophilous" / "tolokers" / "raw" / "tolokers.npz") as z:
        edges, features = torch.from_numpy(z["edges"]).long(), torch.from_numpy(z["node_features"]).double()
    graph = Graph.from_edge_index(torch.cat([edges, edges.flip(1)]).t(), features.shape[0])
    assert graph.num_edges == 1_038_000
    assert_matches_reference(op_on(graph, reducer), {"x": features.repeat(1, 4)}, dtype=torch.float32)


# --- what torch sees ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compiles_into_one_graph(backend: str) -> None:
    graph = dict(GRAPHS)["power law"]
    linear = torch.nn.Linear(7, 7, dtype=torch.float64)
    t = inputs(graph, 7, edges=True, param=False)

    def model(x: Tensor, temperature: Tensor) -> Tensor:
        h = aggregate(linear(x), graph, t["edge_attr"], t["weight"], t["bias"], how=Max())
        return aggregate(h, graph, how=Softmax(temperature)).square()

    results = []
    for function in (model, torch.compile(model, fullgraph=True, backend=backend)):
        x, temperature = t["x"].clone().requires_grad_(), torch.tensor(0.9, requires_grad=True)
        out = function(x, temperature)
        results.append([out, *torch.autograd.grad(out.sum(), [x, temperature, linear.weight])])
    for eager, compiled in zip(*results, strict=True):
        torch.testing.assert_close(compiled, eager)


def test_a_second_derivative_is_refused() -> None:
    graph = dict(GRAPHS)["path"]
    x = torch.rand(graph.num_nodes, 40, requires_grad=True)
    (grad,) = torch.autograd.grad(aggregate(x, graph, how=Softmax(1.0)).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError):
        grad.sum().backward()


@pytest.mark.parametrize("how", [Sum(), Mean()], ids=str)
def test_an_infinite_gradient_stays_with_the_messages_it_belongs_to(how: Sum | Mean) -> None:
    """Nodes without messages above zero pass nothing on, whatever comes back to them."""
    graph = Graph.from_edge_index(torch.tensor([[0, 1, 2], [1, 2, 2]]), 4, torch.ones(3, 3))
    leaves = inputs(graph, 7, edges=True, param=False)
    x, bias = (leaves[name].float().requires_grad_() for name in ("x", "bias"))
    with torch.no_grad():
        x[0] = -1e6  # its message is zero: nodes 0, 1 and 3 receive none above it
    edge_attr, weight = leaves["edge_attr"].float(), leaves["weight"].float()
    upstream = torch.ones(4, 7)
    upstream[[0, 1, 3]] = torch.inf
    found = []
    for backend in ("cpu", "reference"):
        out = aggregate(x, graph, edge_attr, weight, bias, how=how, backend=backend)
        found.append(torch.autograd.grad(out, (x, bias), upstream))
    for ours, wanted in zip(*found, strict=True):
        assert wanted.isfinite().all()
        torch.testing.assert_close(ours, wanted)


def test_the_bias_of_many_edges_is_counted_not_added_up() -> None:
    """A node with n messages above zero gives n times its gradient, rounded once: 0.1 summed 3,001 times is off in float32."""
    n = 3_001
    graph = Graph.from_edge_index(torch.stack([torch.arange(n), torch.zeros(n, dtype=torch.int64)]), n, torch.zeros(n, 3))
    bias = torch.zeros(7, requires_grad=True)
    out = aggregate(torch.ones(n, 7), graph, graph.edge_attr, torch.ones(3, 7), bias, how=Sum(), backend="cpu")
    (grad,) = torch.autograd.grad(out, bias, torch.full((n, 7), 0.1))
    assert torch.equal(grad, (torch.full((7,), 0.1).double() * n).float())


# --- bad input ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.ones(12, 7)}, r"x must be floating point of shape \(13, C\), got torch.float32 of shape \(12, 7\)"),
        ({"x": torch.ones(13, 7, dtype=torch.int64)}, "x must be floating point"),
        ({"weight": None}, "edge_attr and weight come together"),
        ({"edge_attr": torch.ones(11, 3)}, r"edge_attr must have shape \(12, K\), got \(11, 3\)"),
        ({"weight": torch.ones(7, 3)}, r"weight must have shape \(3, 7\), got \(7, 3\)"),
        ({"bias": torch.ones(3)}, r"bias must have shape \(7,\), got \(3,\)"),
        ({"bias": torch.ones(7, device="meta")}, "x is on cpu but bias is on meta"),
        (
            {"how": Softmax(torch.ones(2))},
            r"the parameter of softmax must be a number or a tensor of one element, got shape \(2,\)",
        ),
        ({"how": Power(2.0), "eps": 0.0}, "the power mean needs positive messages: eps must be above 0, got 0.0"),
        ({"backend": "tpu"}, "unknown backend 'tpu'; choose 'cpu', 'gpu' or 'reference'"),
    ],
)
def test_bad_input_is_refused(change: dict[str, Any], message: str) -> None:
    graph = dict(GRAPHS)["path"]
    arguments = {
        "x": torch.ones(13, 7),
        "graph": graph,
        "edge_attr": graph.edge_attr,
        "weight": torch.ones(3, 7),
        "bias": torch.ones(7),
    }
    with pytest.raises(ValueError, match=message):
        aggregate(**(arguments | change))


@pytest.mark.parametrize("clamp", [(1.0, 1.0), (3.0, 1.0), (-2.0, -1.0), (-1.0, 0.0), (float("nan"), 1.0)])
def test_limits_that_leave_no_positive_message_are_refused(clamp: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="low below high and high above 0"):
        Power(2.0, clamp=clamp)
