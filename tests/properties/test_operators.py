"""Laws of the operators: on any graph, in any layout, on any number of threads they compute what their references mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import assume
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from revgnn import Graph
from revgnn.nn import GENBlock, GENConv
from revgnn.ops import Power, Softmax, advance, aggregate, retreat
from revgnn.testing import assert_close_to_truth, nan_filled_empty
from revgnn.testing.comparison import assert_matches_reference, evaluate
from tests.properties.graphs import MATRIX_LAYOUTS, DrawnEdges, Edges, Noise, drawn_edges, edge_lists, laid_out, noises, seeds
from tests.properties.laws import expect, known_fault, law
from tests.properties.operators import NARROW, OPERATORS, WIDE, K, Leaves, Operator, differing, run

ON_GRAPHS = [name for name in OPERATORS if name not in ("norm_relu", "perceptron")]


# --- the reference --------------------------------------------------------------------------------------------------------------


class Fault(NamedTuple):
    """Results that are known to be further off than the rule of the house allows; removed with what is wrong."""

    reason: str
    covers: Callable[[str, str, Graph, str], bool]
    """Of an operator, the kind of its noise, its graph and the name of a result."""
    edges: st.SearchStrategy[Edges | DrawnEdges]
    """Graphs that show it."""
    operators: tuple[str, ...]
    kinds: tuple[str, ...]


FAULTS = {
    "exponent": Fault(
        "the gradient of the exponent of a clamped power mean is off by more than twice plain torch's error",
        lambda operator, kind, graph, name: name == "gradient of param" and operator == "power clamped, edges",
        drawn_edges(300, 700, min_nodes=20, max_nodes=70),
        ("power clamped, edges",),
        ("one sign", "sparse", "normal"),
    ),
    "edge features": Fault(
        "the gradient of max in the edge features, a sum over channels, is off by more than twice plain torch's error",
        lambda operator, kind, graph, name: name == "gradient of edge_attr" and operator.startswith("max"),
        edge_lists(min_nodes=2, max_nodes=2, max_edges=9),
        ("max, edges", "max residual, edges"),
        ("offset", "one sign"),
    ),
}


@pytest.mark.parametrize("operator", OPERATORS)
@law(
    cases=2,
    edges=edge_lists(min_nodes=1) | edge_lists(min_nodes=1) | drawn_edges(1, 700, max_nodes=90),
    noise=noises(),
    channels=st.sampled_from([NARROW, WIDE]),
)
def test_kernels_match_the_reference_in_float32(operator: str, edges: Edges | DrawnEdges, noise: Noise, channels: int) -> None:
    """By the rule of the house, but for `FAULTS`."""
    graph = edges.graph()
    wrong = judge(operator, graph, noise, channels)
    unknown = [
        text
        for name, text in wrong.items()
        if not any(fault.covers(operator, noise.kind, graph, name) for fault in FAULTS.values())
    ]
    expect(not unknown, "\n".join(unknown))


@pytest.mark.parametrize("fault", [pytest.param(name, marks=known_fault(fault.reason)) for name, fault in FAULTS.items()])
@law(
    cases=36,
    edges=st.fixed_dictionaries({name: fault.edges for name, fault in FAULTS.items()}),
    pick=st.tuples(st.integers(0, 9), st.integers(0, 9)),
    seed=seeds,
)
def test_kernels_match_the_reference_where_they_did_not(
    fault: str, edges: dict[str, Any], pick: tuple[int, int], seed: int
) -> None:
    known, graph = FAULTS[fault], edges[fault].graph()
    operator, kind = known.operators[pick[0] % len(known.operators)], known.kinds[pick[1] % len(known.kinds)]
    wrong = judge(operator, graph, Noise(kind, seed), WIDE if fault == "edge features" else NARROW, most=64)
    covered = [text for name, text in wrong.items() if known.covers(operator, kind, graph, name)]
    expect(not covered, f"{operator}, {kind}: {covered}")


@pytest.mark.parametrize("operator", OPERATORS)
@law(cases=2, edges=edge_lists(min_nodes=1) | drawn_edges(1, 300, max_nodes=40), noise=noises("normal", "one sign", "sparse"))
def test_kernels_match_the_reference_in_float64(operator: str, edges: Edges | DrawnEdges, noise: Noise) -> None:
    """Of numbers near 1, and away from the kinks of ReLU that ties in a norm make."""
    graph, chosen = edges.graph(), OPERATORS[operator]
    assert_matches_reference(chosen.on(graph), *(chosen.leaves(graph, NARROW, noise, k) for k in range(4)), dtype=torch.float64)


def judge(operator: str, graph: Graph, noise: Noise, channels: int, most: int = 256) -> dict[str, str]:
    """Return what is further from the truth than the rule allows, by the name of the result; see `revgnn.testing.comparison`.

    The rule compares the largest of two sets of rounding errors. One of few numbers may be small by luck, so what fails on 4 draws
    is judged again on more, up to `most`. Gradients at a kink, where the next float32 has another one, have no truth.
    """
    chosen = OPERATORS[operator]
    draws: list[Leaves] = []
    counts = (4, 64, 256) if graph.num_edges * channels < 10_000 else (4, 64)
    for count in (count for count in counts if count <= most):
        draws = [chosen.leaves(graph, channels, noise, k) for k in range(count)]
        wrong = further_off(chosen, graph, draws)
        if not wrong:
            return {}
    smooth = [draw for draw in draws if not near_a_kink(chosen, graph, draw)]
    return further_off(chosen, graph, smooth) if smooth else {}


def further_off(operator: Operator, graph: Graph, draws: list[Leaves]) -> dict[str, str]:
    call = operator.on(graph)
    with nan_filled_empty():
        ours = [evaluate(call, leaves, "cpu", torch.float32) for leaves in draws]
    reference, truth = (
        [evaluate(call, leaves, "reference", dtype) for leaves in draws] for dtype in (torch.float32, torch.float64)
    )
    wrong = {}
    for name in reference[0]:
        results = [torch.stack([one[name] for one in found]) for found in (ours, reference, truth)]
        if name == "gradient of param" and not results[2].any():  # terms that cancel to 0 leave no size to compare with
            continue
        try:
            assert_close_to_truth(*results, name)
        except AssertionError as error:
            wrong[name] = str(error)
    return wrong


def near_a_kink(operator: Operator, graph: Graph, leaves: Leaves) -> bool:
    """Whether float64 gradients change by a thousandth of the largest if the leaves do by some roundings of float32."""
    generator = torch.Generator().manual_seed(0)
    found = evaluate(operator.on(graph), leaves, "reference", torch.float64)
    for _ in range(4):  # where a norm divides by a deviation near 0, one draw may move by chance along the kink
        moved = {name: t * (1 + 1e-6 * torch.randn(t.shape, generator=generator, dtype=t.dtype)) for name, t in leaves.items()}
        others = evaluate(operator.on(graph), moved, "reference", torch.float64)
        if any(bool((others[name] - t).abs().amax() > 1e-3 * t.abs().amax()) for name, t in found.items() if t.numel()):
            return True
    return False


@pytest.mark.parametrize("operator", [name for name in ON_GRAPHS if "param" not in OPERATORS[name].shapes(1, 1, 1)])
@law(cases=2, edges=edge_lists(min_nodes=1), noise=noises(), half=st.sampled_from([torch.bfloat16, torch.float16]))
def test_half_precision_is_float32_rounded_once(operator: str, edges: Edges, noise: Noise, half: torch.dtype) -> None:
    graph, chosen = edges.graph(), OPERATORS[operator]
    leaves = {name: t.to(half) for name, t in chosen.leaves(graph, NARROW, noise).items()}
    ours = chosen.call(graph, leaves, None)
    wide = chosen.call(graph, {name: t.float() for name, t in leaves.items()}, None).to(half)
    expect(differing({"value": ours}, {"value": wide}) is None, differing({"value": ours}, {"value": wide}))


@pytest.mark.parametrize("how", ["sum", "max", "softmax", "power"])
@law(cases=4, edges=edge_lists(min_nodes=1), noise=noises(), stored=st.sampled_from([torch.bfloat16, torch.float16, torch.int16]))
def test_edge_features_in_16_bits_count_as_the_numbers_they_are(how: str, edges: Edges, noise: Noise, stored: torch.dtype) -> None:
    graph, chosen = edges.graph(), OPERATORS[f"{how}, edges"]
    leaves = {name: t.float() for name, t in chosen.leaves(graph, NARROW, noise).items()}
    features = (leaves.pop("edge_attr") * (100 if stored is torch.int16 else 1)).to(stored)

    def call(edge_attr: Tensor) -> Leaves:
        return run(lambda given, backend: chosen.call(graph, {**given, "edge_attr": edge_attr}, backend), leaves)

    difference = differing(call(features), call(features.float()))
    expect(difference is None, f"{stored} features: {difference}")


# --- layouts and threads --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operator", OPERATORS)
@law(
    cases=2,
    edges=edge_lists(min_nodes=1),
    noise=noises(),
    layout=st.sampled_from(MATRIX_LAYOUTS),
    upstream=st.sampled_from(["contiguous", "expanded", "transposed"]),
)
def test_no_layout_changes_a_bit(operator: str, edges: Edges, noise: Noise, layout: str, upstream: str) -> None:
    """Of arguments, or of the gradient that comes back. What the caller owns is not written to."""
    graph, chosen = edges.graph(), OPERATORS[operator]
    plain = {name: t.float() for name, t in chosen.leaves(graph, NARROW, noise).items()}
    given = {}
    for name, t in plain.items():
        fits = t.dim() and (layout not in ("transposed", "wide rows") or t.dim() == 2)
        given[name] = laid_out(t.numpy(), layout) if fits else t
    shape = chosen.call(graph, plain, None).shape
    grad = Noise("normal", noise.seed).numbers(*shape, salt=99).float()
    if upstream == "expanded":
        grad = torch.ones(()).expand(shape)
    elif upstream == "transposed" and len(shape) == 2:
        grad = grad.t().contiguous().t()
    wanted = run(chosen.on(graph), plain, upstream=grad.contiguous())
    found = run(chosen.on(graph), given, upstream=grad)
    difference = differing(found, wanted)
    expect(difference is None, f"{layout}, upstream {upstream}: {difference}")
    difference = differing(given, plain)
    expect(difference is None, f"an argument was written to: {difference}")


@pytest.mark.parametrize("operator", OPERATORS)
@law(
    cases=1, edges=drawn_edges(33_000, 120_000, min_nodes=300, max_nodes=60_000), noise=noises(), threads=st.sampled_from([2, 3, 8])
)
def test_any_number_of_threads_gives_the_same_bits(operator: str, edges: DrawnEdges, noise: Noise, threads: int) -> None:
    graph, chosen = edges.graph(), OPERATORS[operator]
    leaves = {name: t.float() for name, t in chosen.leaves(graph, NARROW, noise).items()}

    def results() -> Leaves:
        found = run(chosen.on(graph), leaves)
        if operator in EXPONENTS:  # see the next law
            del found["gradient of param"]
        return found

    check_threads(results, threads)


EXPONENTS = ["power learned", "power clamped"]


@pytest.mark.parametrize("operator", EXPONENTS)
@law(cases=4, edges=drawn_edges(33_000, 60_000, min_nodes=33_000, max_nodes=60_000), seed=seeds, threads=st.sampled_from([2, 3, 8]))
def test_any_number_of_threads_gives_the_same_gradient_of_the_exponent(
    operator: str, edges: DrawnEdges, seed: int, threads: int
) -> None:
    graph, chosen = edges.graph(), OPERATORS[operator]
    leaves = {name: t.float() for name, t in chosen.leaves(graph, NARROW, Noise("normal", seed)).items()}
    check_threads(lambda: run(chosen.on(graph), leaves), threads)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("how", ["sum", "max", "max residual", "softmax", "power"])
@law(
    cases=2,
    edges=drawn_edges(33_000, 120_000, min_nodes=40_000, max_nodes=150_000),
    noise=noises(),
    threads=st.sampled_from([2, 3, 8]),
)
def test_few_channels_give_the_same_bits_on_any_number_of_threads(
    how: str, channels: int, edges: DrawnEdges, noise: Noise, threads: int
) -> None:
    graph, chosen = edges.graph(), OPERATORS[f"{how}, edges"]
    leaves = {name: t.float() for name, t in chosen.leaves(graph, channels, noise).items()}
    check_threads(lambda: run(chosen.on(graph), leaves), threads)


def check_threads(call: Any, threads: int) -> None:
    try:
        torch.set_num_threads(1)
        one = call()
        torch.set_num_threads(threads)
        difference = differing(call(), one)
    finally:
        torch.set_num_threads(1)
    expect(difference is None, f"{threads} threads and one: {difference}")


# --- symmetries -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operator", ON_GRAPHS)
@law(cases=2, edges=edge_lists(min_nodes=1), noise=noises(), seed=seeds)
def test_nodes_by_another_name_get_the_same_bits(operator: str, edges: Edges, noise: Noise, seed: int) -> None:
    """The nodes are renumbered; the edges keep their order, so every sum adds up the same numbers in the same order."""
    chosen, generator = OPERATORS[operator], torch.Generator().manual_seed(seed)
    name = torch.randperm(edges.num_nodes, generator=generator)
    one, other = edges.graph(), Graph.from_edge_index(name[edges.index()], edges.num_nodes)
    leaves = {key: t.float() for key, t in chosen.leaves(one, NARROW, noise).items()}

    def called(graph: Graph, rows: dict[str, Tensor]) -> Tensor:
        return chosen.call(
            graph,
            {k: t if k not in ("edge_attr", "scores") and not per_edge(k) else t[graph.edge_ids] for k, t in rows.items()},
            None,
        )

    def per_edge(key: str) -> bool:
        return key == "weight" and operator.startswith("propagate")

    renamed = dict(leaves)
    if "x" in leaves:
        renamed["x"] = torch.empty_like(leaves["x"])
        renamed["x"][name] = leaves["x"]
    before, after = called(one, leaves), called(other, renamed)
    if operator == "edge_softmax":  # rows are edges, back in the order in which they were named
        before, after = (
            torch.empty_like(before).index_copy(0, one.edge_ids, before),
            torch.empty_like(after).index_copy(0, other.edge_ids, after),
        )
    else:
        after = after[name]
    difference = differing({"value": after}, {"value": before})
    expect(difference is None, difference)


@pytest.mark.parametrize(
    "operator",
    [name for name in ON_GRAPHS if "edges" not in name and OPERATORS[name].shapes(1, 1, 1).keys() <= {"x", "param", "scores"}],
)
@law(cases=2, left=edge_lists(min_nodes=1), right=edge_lists(min_nodes=1), noise=noises())
def test_two_graphs_side_by_side_do_not_meet(operator: str, left: Edges, right: Edges, noise: Noise) -> None:
    chosen = OPERATORS[operator]
    shifted = right.index() + left.num_nodes
    both = Graph.from_edge_index(torch.cat([left.index(), shifted], dim=1), left.num_nodes + right.num_nodes)
    leaves = {key: t.float() for key, t in chosen.leaves(both, NARROW, noise).items()}
    rows, sizes = (
        ("scores", (len(left.src), len(right.src))) if operator == "edge_softmax" else ("x", (left.num_nodes, right.num_nodes))
    )
    apart = [
        chosen.call(edges.graph(), {**leaves, rows: part}, None)
        for edges, part in zip((left, right), leaves[rows].split(sizes), strict=True)
    ]
    difference = differing({"value": chosen.call(both, leaves, None)}, {"value": torch.cat(apart)})
    expect(difference is None, difference)


# --- large and small numbers ----------------------------------------------------------------------------------------------------

SCALES = st.floats(-35, 35).map(lambda power: float(10.0 ** round(power, 1)))


@pytest.mark.parametrize("operator", OPERATORS)
@law(cases=3, edges=edge_lists(min_nodes=1), noise=noises("normal", "one sign", "wide", "ties", scales=SCALES))
def test_what_the_reference_finds_finite_is_finite(operator: str, edges: Edges, noise: Noise) -> None:
    check_finite(operator, edges, noise, but_for_known_faults=True)


@known_fault("gradients of softmax of numbers beyond 1e9 have terms that float32 does not hold, though their sum would fit")
@law(cases=8, noise=st.builds(Noise, st.just("ties"), seeds, st.sampled_from([1e12, 1e15, 3e18])), count=st.integers(7, 12))
def test_gradients_of_softmax_are_finite_for_large_numbers(noise: Noise, count: int) -> None:
    check_finite("softmax learned, edges", Edges(1, (0,) * count, (0,) * count), noise, but_for_known_faults=False)


def check_finite(operator: str, edges: Edges, noise: Noise, *, but_for_known_faults: bool) -> None:
    """Fail if a result is not finite where the reference's is."""
    graph, chosen = edges.graph(), OPERATORS[operator]
    leaves = {name: t.float() for name, t in chosen.leaves(graph, NARROW, noise).items()}
    assume(all(bool(t.isfinite().all()) for t in leaves.values()))
    ours, reference = run(chosen.on(graph), leaves, "cpu"), run(chosen.on(graph), leaves, "reference")
    for name, wanted in reference.items():
        is_product = name == "gradient of param" or (name != "value" and operator.startswith("softmax"))
        if but_for_known_faults and is_product and noise.scale > 1e9:  # the next law
            continue
        lost = wanted.isfinite() & ~ours[name].isfinite()
        if bool(lost.any()):
            where = tuple(lost.nonzero()[0].tolist())
            expect(False, f"{name} at {where} is {float(ours[name][where])}, the reference {float(wanted[where])}")


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("parameter", ["temperature", "exponent"])
@law(cases=9, edges=edge_lists(min_nodes=1), noise=noises(), value=st.floats(-60, 60, width=32).filter(bool))
def test_any_temperature_or_exponent_is_computed(parameter: str, learned: bool, edges: Edges, noise: Noise, value: float) -> None:
    check_parameter(parameter, learned, edges, noise, value)


@pytest.mark.parametrize("learned", [False, True])
@law(cases=4, edges=edge_lists(min_nodes=1), noise=noises("normal"), sign=st.sampled_from([1.0, -1.0]))
def test_an_exponent_of_zero_is_refused(learned: bool, edges: Edges, noise: Noise, sign: float) -> None:
    """The power mean has none; its limit would be the geometric mean, which is not what the definition says."""
    check_parameter("exponent", learned, edges, noise, sign * 0.0)


def check_parameter(parameter: str, learned: bool, edges: Edges, noise: Noise, value: float) -> None:
    """Assert that what the reference finds finite is finite, or the parameter refused."""
    graph = edges.graph()
    x = noise.numbers(graph.num_nodes, NARROW).float().requires_grad_()
    given = torch.tensor(value, dtype=torch.float64, requires_grad=True) if learned else value

    def called(backend: str) -> Leaves:
        how = Softmax(given) if parameter == "temperature" else Power(given)
        out = aggregate(x, graph, how=how, eps=0.5, backend=backend)
        leaves = [x, *([given] if isinstance(given, Tensor) else [])]
        grads = torch.autograd.grad(out.sum(), leaves)
        return {"value": out.detach(), **dict(zip(("gradient of x", "gradient of the parameter"), grads, strict=False))}

    try:
        ours = called("cpu")
    except ValueError:
        return
    for name, wanted in called("reference").items():
        lost = wanted.isfinite() & ~ours[name].isfinite()
        expect(not bool(lost.any()), f"{name} has {int(lost.sum())} numbers that are not finite; the reference has none there")


LIMIT = st.sampled_from([-1.0, 0.0, 1e-7, 0.25, 0.5, 1.0, 3.0, float("inf"), float("-inf"), float("nan")])


@pytest.mark.parametrize("sensible", [True, False])
@law(cases=12, edges=edge_lists(min_nodes=1), noise=noises(), limits=st.tuples(LIMIT, LIMIT), p=st.sampled_from([-2.0, 0.5, 2.0]))
def test_limits_of_the_power_mean_are_refused_or_those_of_the_reference(
    sensible: bool, edges: Edges, noise: Noise, limits: tuple[float, float], p: float
) -> None:
    low, high = limits
    assume(sensible == (0 < low <= high))
    graph, x = edges.graph(), noise.numbers(edges.num_nodes, NARROW).float()
    refuse_or_compute(lambda backend: aggregate(x, graph, how=Power(p, clamp=limits), eps=0.5, backend=backend), f"clamp={limits}")


# --- the state on its grid ------------------------------------------------------------------------------------------------------


@law(
    cases=18,
    noise=noises("normal", "ties", "wide"),
    bits=st.integers(0, 20) | st.none(),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    change=st.sampled_from([torch.float32, torch.bfloat16, torch.float16, torch.float64]),
    layouts=st.tuples(st.sampled_from(MATRIX_LAYOUTS), st.sampled_from(MATRIX_LAYOUTS)),
    rows=st.integers(0, 9),
)
def test_retreat_undoes_advance(
    noise: Noise, bits: int | None, dtype: torch.dtype, change: torch.dtype, layouts: tuple[str, str], rows: int
) -> None:
    limit = 2.0 ** ((24 if dtype == torch.float32 else 53) - (bits or 0) - 1)
    state = noise.numbers(rows, NARROW).clamp(-limit / 4, limit / 4)
    state = state if bits is None else (state * 2.0**bits).round() / 2.0**bits
    step = noise.numbers(rows, NARROW, salt=1).clamp(-limit / 4, limit / 4)
    state, step = laid_out(state.to(dtype).numpy(), layouts[0]), step.to(change)
    if change is not torch.bfloat16:  # which NumPy lacks
        step = laid_out(step.numpy(), layouts[1])
    out, peak = advance(state, step, bits)
    rounded = step.to(dtype) if bits is None else (step.to(dtype) * 2.0**bits).round() / 2.0**bits
    expect(torch.equal(out, state + rounded), "advance is not state + round(change)")
    expect(float(peak) == float(out.abs().amax() if out.numel() else 0.0), f"the peak is {float(peak)}")
    if bits is not None:
        expect(torch.equal(retreat(out, step, bits), state), "retreat does not undo advance")


@law(
    cases=12,
    rows=st.integers(1, 300),
    place=st.integers(0, 299),
    value=st.sampled_from([float("nan"), float("inf"), -float("inf")]),
)
def test_a_peak_shows_what_is_not_finite(rows: int, place: int, value: float) -> None:
    assume(place < rows)
    state = torch.zeros(rows, NARROW)
    state[place, place % NARROW] = value
    peak = float(advance(state, torch.zeros(rows, NARROW), 14)[1])
    expect(peak != peak if value != value else peak == float("inf"), f"the peak of a state with {value} is {peak}")


# --- the block in one piece -----------------------------------------------------------------------------------------------------


class SeesOperators(TorchDispatchMode):
    """A dispatch mode, under which a block runs operator by operator."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return function(*args, **(kwargs or {}))


@law(
    cases=8,
    edges=edge_lists(min_nodes=1) | drawn_edges(1, 500, max_nodes=60),
    noise=noises(),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    featured=st.booleans(),
    masked=st.booleans(),
    seed=seeds,
)
def test_a_block_in_one_piece_has_the_bits_of_its_operators(
    edges: Edges | DrawnEdges, noise: Noise, dtype: torch.dtype, featured: bool, masked: bool, seed: int
) -> None:
    graph = edges.graph()
    torch.manual_seed(seed)
    block = GENBlock(GENConv(8, 8, "max", norm="layer", bias=True, edge_dim=K if featured else None)).to(dtype)
    features = noise.numbers(graph.num_edges, K, salt=1).to(dtype) if featured else None
    mask = (torch.rand(graph.num_nodes, 8) > 0.3).to(dtype) / 0.7 if masked else None
    found = []
    for mode in (False, True):
        x = noise.numbers(graph.num_nodes, 8).to(dtype).requires_grad_()
        leaves = {"x": x, **dict(block.named_parameters())}
        if mode:
            with SeesOperators():
                out = block(x, graph, features, mask=mask)
        else:
            out = block(x, graph, features, mask=mask)
        upstream = torch.cos(torch.arange(out.numel(), dtype=dtype)).view_as(out)
        grads = torch.autograd.grad(out, list(leaves.values()), upstream)
        found.append({"value": out.detach(), **dict(zip(leaves, grads, strict=True))})
    difference = differing(*found)
    expect(difference is None, difference)


# --- arguments that do not fit --------------------------------------------------------------------------------------------------


def wrong(tensor: Tensor, how: str) -> Any:
    """Something else in the place of a tensor."""
    longer = [size + 1 for size in tensor.shape]
    return {
        "None": lambda: None,
        "number": lambda: 1.0,
        "list": tensor.tolist,
        "longer": lambda: tensor.new_zeros(longer),
        "shorter": lambda: tensor[:-1] if tensor.dim() else tensor.new_zeros(0),
        "fewer dimensions": lambda: tensor.new_zeros(tensor.shape[1:]),
        "more dimensions": lambda: tensor.unsqueeze(0),
        "transposed": lambda: tensor.new_zeros(tensor.shape[::-1]),
        "empty": lambda: tensor.new_zeros(0),
        "float64": lambda: tensor.double(),
        "bfloat16": lambda: tensor.bfloat16(),
        "int64": lambda: tensor.long(),
        "bool": lambda: tensor.bool(),
        "complex": lambda: tensor.to(torch.complex64),
        "meta": lambda: tensor.to("meta"),
        "sparse": lambda: tensor.to_sparse(),
    }[how]()


WRONG = {
    "wrong": [
        *("longer", "shorter", "fewer dimensions", "more dimensions", "transposed", "empty"),
        *("float64", "bfloat16", "int64", "bool", "complex", "meta"),
    ],
    "no tensor": ["None", "number", "list"],
    "sparse": ["sparse"],
}


@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.parametrize(
    "operator", ["sum", "max, edges", "softmax, edges", "power", "propagate heads", "edge_softmax", "norm_relu", "perceptron"]
)
@law(cases=4, edges=edge_lists(min_nodes=2), pick=st.integers(0, 6), how=st.integers(0, 11))
def test_an_argument_that_does_not_fit_is_refused_with_a_reason(
    operator: str, kind: str, edges: Edges, pick: int, how: int
) -> None:
    """By a `ValueError` or `TypeError`, or it is computed: then as the reference does."""
    graph, chosen = edges.graph(), OPERATORS[operator]
    leaves = {name: t.float() for name, t in chosen.leaves(graph, NARROW, Noise("normal", 0)).items()}
    name = list(leaves)[pick % len(leaves)]
    chosen_kind = WRONG[kind][how % len(WRONG[kind])]
    leaves[name] = wrong(leaves[name], chosen_kind)
    refuse_or_compute(lambda backend: chosen.call(graph, leaves, backend), f"{name} of kind {chosen_kind}")


@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.parametrize("sign", [1.0, -1.0])
@law(cases=9, rows=st.integers(2, 5000), which=st.integers(0, 1), how=st.integers(0, 11))
def test_a_state_and_a_change_that_do_not_fit_are_refused(sign: float, kind: str, rows: int, which: int, how: int) -> None:
    given: list[Any] = [torch.ones(rows, NARROW), torch.ones(rows, NARROW)]
    chosen_kind = WRONG[kind][how % len(WRONG[kind])]
    given[which] = wrong(given[which], chosen_kind)
    state, change = given

    def call(backend: str | None) -> Tensor:
        if backend != "reference":
            return advance(state, change, 14)[0] if sign > 0 else retreat(state, change, 14)
        expect(state.shape == change.shape and change.is_floating_point(), f"argument {which} of kind {chosen_kind} is accepted")
        return state + sign * change.to(state.dtype)

    refuse_or_compute(call, f"argument {which} of kind {chosen_kind}")


class Records(TorchDispatchMode):
    """A dispatch mode that records the calls of this package's operators."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, list[Any]]] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function.namespace == "revgnn":
            self.calls.append((function, list(args)))
        return function(*args, **(kwargs or {}))


FORGED = [*WRONG["wrong"], "None", "far", "negative", "descending", "strided"]
FAR_AWAY = 1 << 30


def forged(tensor: Tensor, how: str, place: int) -> Any:
    """Another tensor of the same shape, or `wrong`."""
    if how not in ("far", "negative", "descending", "strided"):
        return wrong(tensor, how)
    found = tensor.clone()
    if how == "strided":
        return torch.stack([found, found], dim=-1)[..., 0]
    if found.numel():
        flat = found.view(-1)
        if how == "descending":
            return flat.flip(0).view_as(found)
        flat[place % flat.numel()] = FAR_AWAY if how == "far" else -2
    return found


@pytest.mark.parametrize("back", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize(
    "operator",
    ["sum", "max, edges", "softmax", "power, edges", "propagate", "propagate heads", "edge_softmax", "norm_relu", "perceptron"],
)
@law(
    cases=8,
    edges=edge_lists(min_nodes=2),
    pick=st.integers(0, 12),
    how=st.sampled_from(FORGED),
    place=st.integers(0, 60),
)
def test_what_anyone_passes_to_an_operator_of_torch_is_checked(
    operator: str, back: bool, edges: Edges, pick: int, how: str, place: int
) -> None:
    """`torch.ops.revgnn` is open to everyone. An index that is out of range is refused; everything else at least ends well."""
    graph, chosen = edges.graph(), OPERATORS[operator]
    assume(graph.num_edges)
    leaves = {name: t.float() for name, t in chosen.leaves(graph, NARROW, Noise("normal", 0)).items()}
    with Records() as record:
        run(chosen.on(graph), leaves)
    function, arguments = record.calls[back]
    tensors = [k for k, t in enumerate(arguments) if isinstance(t, Tensor)]
    at = tensors[pick % len(tensors)]
    name = function._schema.arguments[at].name
    is_index = not arguments[at].is_floating_point()
    arguments[at] = forged(arguments[at], how, place)
    try:
        result = function(*arguments)
    except (ValueError, TypeError):
        return
    except RuntimeError as error:  # torch's own, of an argument that its schema does not allow or that has another device
        expect("Expected a value of type" in str(error) or how == "meta", f"{name} of kind {how}: {error}")
        return
    if is_index and how in ("far", "negative"):
        expect(False, f"{name} with an index of {how} is accepted, and gives {result}")


def refuse_or_compute(call: Any, what: str) -> None:
    try:
        ours = call(None)
    except (ValueError, TypeError):
        return
    expect(isinstance(ours, Tensor) and ours.device.type == "cpu", f"{what} is accepted, and gives {type(ours).__name__}")
    wanted = call("reference")
    same = ours.shape == wanted.shape and torch.allclose(ours, wanted, rtol=1e-3, atol=1e-3, equal_nan=True)
    expect(same, f"{what} is accepted, and gives other numbers")
