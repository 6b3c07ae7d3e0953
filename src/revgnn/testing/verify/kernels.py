"""Kernels beside their references."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from revgnn.graph import Graph
from revgnn.nn import GENBlock, GENConv
from revgnn.ops import Max, Sum, aggregate, edge_softmax, propagate
from revgnn.ops import grid as grid_operator
from revgnn.testing import operators
from revgnn.testing.closeness import Distance
from revgnn.testing.comparison import DRAWS, distances
from revgnn.testing.gradients import gradients_of
from revgnn.testing.verify.check import Check, Differing, Measured
from revgnn.testing.verify.inputs import dtype_name, seeded, threads

DTYPES = (torch.float32, torch.float64)


KERNEL_ADVICE = (
    "delete the folder of compiled kernels (NUMBA_CACHE_DIR, ~/.triton/cache) and run `revgnn verify` again. If it still fails, "
    "the kernel is wrong on this machine: report it with the output of `revgnn verify --json`. Until then pass backend='reference'."
)


def kernel_checks(device: torch.device, backend: str) -> list[Check]:
    """Return a check for each operator, and each reducer of `aggregate`."""
    groups: dict[str, list[operators.Case]] = {}
    for case in operators.CASES:
        name = case.operator
        if name == "aggregate":
            name += f" {case.variant.partition(', edge')[0].partition(', nodes')[0]}"
        groups.setdefault(name, []).append(case)
    found = []
    for name, cases in groups.items():
        # A kernel is compiled for each width and dtype, which takes seconds the first time: float64 for one case of each.
        cases, dtypes = _spread(cases, 3 if backend == "cpu" and name != "perceptron" else 2), DTYPES
        if backend == "gpu" and name not in ("aggregate max", "propagate", "perceptron"):
            dtypes = DTYPES[:1]
        small = backend == "gpu" and device.type == "cpu"
        count = sum(len(_problems(case, device, small)) for case in cases)
        kinds = "float32" if len(dtypes) == 1 else "float32, some in float64 too"
        compared = f"{backend} kernels and plain torch: value and gradients, {kinds}, {count} inputs"
        run = functools.partial(_compare_with_reference, cases, device, backend, dtypes, small)
        found.append(Check(name, compared, run, KERNEL_ADVICE, compiles=True))
    grid = f"{backend} kernels and plain torch: state plus change and back, bit for bit"
    found.append(Check("advance, retreat", grid, functools.partial(_check_grid, device, backend), KERNEL_ADVICE, compiles=True))
    half = "16-bit states and edge features, and the float32 that they stand for, bit for bit"
    found.append(
        Check("half precision", half, functools.partial(_check_half_precision, device, backend), KERNEL_ADVICE, compiles=True)
    )
    if backend == "cpu":
        block = "the paper's block in one piece and operator by operator, bit for bit"
        found.append(Check("block in one piece", block, _check_gen_block, KERNEL_ADVICE, compiles=True))
    return found


def _spread(cases: list[operators.Case], most: int) -> list[operators.Case]:
    """Return `most` of the cases, from the first to the last."""
    if len(cases) <= most:
        return cases
    return [cases[round(k * (len(cases) - 1) / (most - 1))] for k in range(most)]


def _problems(case: operators.Case, device: torch.device, small: bool) -> list[operators.Problem]:
    return [problem for problem in case.problems(device) if problem.small or not small]


def _compare_with_reference(
    cases: Iterable[operators.Case], device: torch.device, backend: str, dtypes: Sequence[torch.dtype], small: bool
) -> Measured:
    worst: Distance | None = None
    with threads(1):  # the inputs are small
        for number, case in enumerate(cases):
            for problem in _problems(case, device, small):
                for dtype in dtypes if number == 0 else dtypes[:1]:
                    draws = 1 if dtype == torch.float64 else 4 if small else DRAWS
                    leaves = [{n: t.to(device) for n, t in problem.draw(seed).items()} for seed in range(draws)]
                    try:
                        found = distances(problem.call, *leaves, dtype=dtype, backend=backend)
                    except AssertionError as error:
                        return Measured("-", "-", f"{case}, {problem.name}, {dtype_name(dtype)}: {error}")
                    for distance in found:
                        if not distance.is_allowed:
                            wrong = f"{case}, {problem.name}, {dtype_name(dtype)}: {distance.text}"
                            return Measured(f"{distance.error:.1e}", f"{distance.limit:.1e}", wrong)
                        if worst is None or _share(distance) > _share(worst):
                            worst = distance
    assert worst is not None, "no input was compared"
    return Measured(f"{worst.error:.1e}", f"{worst.limit:.1e}")


def _share(distance: Distance) -> float:
    return distance.error / distance.limit if distance.limit else 0.0


def _check_grid(device: torch.device, backend: str) -> Measured:
    differing, generator = Differing(), torch.Generator().manual_seed(0)
    for dtype in DTYPES:
        for bits in (14, None):
            state = grid_operator.round_to_grid(torch.randn(1003, 40, generator=generator, dtype=dtype), 14).to(device)
            change = torch.randn(1003, 40, generator=generator).to(device)
            results = [grid_operator.advance(state, change, bits, backend=name) for name in (backend, "reference")]
            kind = f"in {dtype_name(dtype)} with {'no grid' if bits is None else f'{bits} bits'}"
            for name, ours, wanted in zip(("advance", "its largest magnitude"), *results, strict=True):
                differing.compare(f"{name} {kind}", ours, wanted)
            if bits is not None:
                differing.compare(f"retreat {kind}", grid_operator.retreat(results[0][0], change, bits, backend=backend), state)
    return differing.measured()


def _check_half_precision(device: torch.device, backend: str) -> Measured:
    """A half is computed in float32 and rounded once; stored features are the numbers that they are."""
    differing, graph = Differing(), operators.tangle().to(device)
    leaves = operators.aggregate_leaves(graph, 40, edges=True, param=False)
    x, edge_attr, weight, bias = (t.to(device, torch.float32) for t in leaves.values())
    scores = 3 * edge_attr
    calls: dict[str, Callable[[Tensor], Tensor]] = {
        "aggregate": lambda t: aggregate(t, graph, how=Max(), backend=backend),
        "propagate": lambda t: propagate(t, graph, how=Sum(), backend=backend),
        "edge_softmax": lambda t: edge_softmax(t, graph, backend=backend),
    }
    for half in (torch.bfloat16, torch.float16):
        for name, call in calls.items():
            given = (scores if name == "edge_softmax" else x).to(half)
            differing.compare(f"{name} in {dtype_name(half)}", call(given), call(given.float()).to(half))
    for stored in (torch.int16, torch.bfloat16, torch.float16):
        features = (100 * edge_attr).to(stored)
        ours, wanted = (aggregate(x, graph, t, weight, bias, backend=backend) for t in (features, features.float()))
        differing.compare(f"{dtype_name(stored)} edge features", ours, wanted)
    return differing.measured()


class _SeesOperators(torch.utils._python_dispatch.TorchDispatchMode):  # pyright: ignore[reportAttributeAccessIssue]
    """A dispatch mode. Under one, a block runs operator by operator."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return function(*args, **(kwargs or {}))


def _check_gen_block() -> Measured:
    differing = Differing()
    for dtype in DTYPES:
        for named in (operators.GRAPHS_WITH_FEATURES[-1], operators.GRAPHS_WITH_FEATURES[0]):
            graph = Graph(named.graph.indptr, named.graph.src)
            with seeded(0):
                block = GENBlock(GENConv(8, 8, "max", norm="layer", bias=True, edge_dim=operators.K)).to(dtype)
                x = torch.randn(graph.num_nodes, 8, dtype=dtype).requires_grad_()
            edge_attr = named.graph.edge_features(dtype)
            whole = gradients_of(block, x, graph, edge_attr)
            with _SeesOperators():
                pieces = gradients_of(block, x, graph, edge_attr)
            differing.compare_all(whole, pieces, f" in {dtype_name(dtype)} on the graph {named.name!r}")
    return differing.measured()
