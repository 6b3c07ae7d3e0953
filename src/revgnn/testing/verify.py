"""Check an installation on its own device: kernels, exactness at depth, memory, threads. `revgnn verify` prints the result.

Each check compares what users rely on with what defines it, on generated inputs, and says by how much it is off. Together they take
about 20 seconds on two CPU cores, and about a minute the first time, when the kernels are compiled.
"""

from __future__ import annotations

import copy
import functools
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from revgnn.graph import Graph
from revgnn.kernels import backends
from revgnn.models import ModelConfig, build_model, num_parameters
from revgnn.nn import GENBlock, GENConv
from revgnn.ops import Max, Sum, aggregate, edge_softmax, propagate
from revgnn.ops import grid as grid_operator
from revgnn.stack import Backprop, Reversible, ReversibleStack
from revgnn.stack.stack import GRID_BITS
from revgnn.testing import operators
from revgnn.testing.closeness import Distance
from revgnn.testing.comparison import DRAWS, Leaves, distances, evaluate
from revgnn.testing.gradients import gradients_of
from revgnn.testing.memory import peak_bytes

DEPTH = 112
"""Layers of the networks whose gradients are compared."""
FLAT = 1.05
"""How much more memory four times the layers may need, beside the gradients of their weights."""
DTYPES = (torch.float32, torch.float64)
K = 8
"""Edge features of the networks."""

KERNEL_ADVICE = (
    "delete the folder of compiled kernels (NUMBA_CACHE_DIR, ~/.triton/cache) and run `revgnn verify` again. If it still fails, "
    "the kernel is wrong on this machine: report it with the output of `revgnn verify --json`. Until then pass backend='reference'."
)
EXACTNESS_ADVICE = "report it with the output of `revgnn verify --json`. Until then train with --set model.gradient=backprop."
MEMORY_ADVICE = "results are not affected. Report it with the output of `revgnn verify --json`."
THREADS_ADVICE = "report it with the output of `revgnn verify --json`. Until then train with OMP_NUM_THREADS=1 to repeat a run."


class Measured(NamedTuple):
    """What a check found.

    Attributes:
        worst, allowed: for the table, such as "3.1e-07" and "6.0e-07".
        wrong: what is wrong, for people; empty if nothing is.
    """

    worst: str
    allowed: str
    wrong: str = ""


class Check(NamedTuple):
    """Something to verify.

    Attributes:
        name: short.
        compared: what with what, on which inputs.
        run: does it. What it raises counts as a failure.
        advice: what to do if it fails.
        claimed: whether revgnn promises it. Otherwise it is measured, and cannot fail.
    """

    name: str
    compared: str
    run: Callable[[], Measured]
    advice: str
    claimed: bool = True


Status = Literal["ok", "FAILED", "not claimed"]


@dataclass(frozen=True)
class Finding:
    """A check that has run: a row of the table. `message` says what is wrong and what to do; it is empty if nothing is."""

    name: str
    compared: str
    worst: str
    allowed: str
    seconds: float
    status: Status
    message: str


def verify(device: torch.device | str = "cpu", *, on_start: Callable[[Check], object] | None = None) -> Iterator[Finding]:
    """Run every check on a device, one after the other.

    Args:
        device: "cpu", "cuda" or one of several, such as "cuda:1".
        on_start: called before each check.

    Yields:
        What each check found. A check that raises has failed; the next one runs all the same.

    Raises:
        ValueError: if there is no such device.
    """
    device = checked_device(device)
    for check in checks(device):
        if on_start is not None:
            on_start(check)
        start = time.perf_counter()
        try:
            found = check.run()
        except Exception as error:  # a kernel that does not compile or launch raises anything
            found = Measured("-", "-", f"{type(error).__name__}: {' '.join(str(error).split())[:600]}")
        seconds = time.perf_counter() - start
        status: Status = ("FAILED" if found.wrong else "ok") if check.claimed else "not claimed"
        message = f"{found.wrong} What to do: {check.advice}" if status == "FAILED" else found.wrong
        yield Finding(check.name, check.compared, found.worst, found.allowed, seconds, status, message)


def checks(device: torch.device, backend: str | None = None) -> list[Check]:
    """Return the checks for a device.

    Args:
        device: the CPU or a CUDA device.
        backend: whose kernels to check, by default those that run on this device. "gpu" on the CPU, in Triton's interpreter, checks
            the kernels alone, on small inputs.
    """
    chosen = backends.choose(backend, device)
    found = kernel_checks(device, chosen) if chosen != "reference" else [_no_kernels(device)]
    if backend is not None:
        return found
    return [*found, *exactness_checks(device), *memory_checks(device), *determinism_checks(device)]


def checked_device(device: torch.device | str) -> torch.device:
    """Return a device on which `verify` runs; "auto" is cuda if there is such a device, else cpu.

    Raises:
        ValueError: if there is no such device.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(device)
    except RuntimeError:
        raise ValueError(f"there is no device {str(device)!r}; choose auto, cpu, cuda or one of several, such as cuda:1.") from None
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"verify runs on cpu and cuda devices, got {device}.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"there is no device {device}: torch sees {torch.cuda.device_count()} CUDA devices; choose another, or cpu."
        )
    return device


def _no_kernels(device: torch.device) -> Check:
    def run() -> Measured:
        return Measured("-", "-", "triton is not installed, so that operators run in plain torch; pip install triton.")

    return Check(f"kernels on {device.type}", "nothing: there are no kernels for this device", run, "", claimed=False)


# --- kernels beside their references ----------------------------------------------------------------------------------------------


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
        # A kernel is compiled for each width and dtype, which takes seconds the first time.
        cases, dtypes = _spread(cases, 3 if backend == "cpu" and name != "perceptron" else 2), DTYPES
        if backend == "gpu" and name not in ("aggregate max", "propagate", "perceptron"):
            dtypes = DTYPES[:1]
        small = backend == "gpu" and device.type == "cpu"
        count = sum(len(_problems(case, device, small)) for case in cases)
        kinds = " and ".join(_name(dtype) for dtype in dtypes)
        compared = f"{backend} kernels and plain torch: value and gradients, {kinds}, {count} inputs"
        run = functools.partial(_compare_with_reference, cases, device, backend, dtypes, small)
        found.append(Check(name, compared, run, KERNEL_ADVICE))
    grid = f"{backend} kernels and plain torch: state plus change and back, bit for bit"
    found.append(Check("advance, retreat", grid, functools.partial(_check_grid, device, backend), KERNEL_ADVICE))
    half = "16-bit states and edge features, and the float32 that they stand for, bit for bit"
    found.append(Check("half precision", half, functools.partial(_check_half_precision, device, backend), KERNEL_ADVICE))
    if backend == "cpu":
        block = "the paper's block in one piece and operator by operator, bit for bit"
        found.append(Check("block in one piece", block, _check_gen_block, KERNEL_ADVICE))
    return found


def _spread(cases: list[operators.Case], most: int) -> list[operators.Case]:
    """Return `most` of the cases, from the first to the last."""
    if len(cases) <= most:
        return cases
    return [cases[round(k * (len(cases) - 1) / (most - 1))] for k in range(most)]


def _problems(case: operators.Case, device: torch.device, small: bool) -> list[operators.Problem]:
    return [problem for problem in case.problems(device) if problem.small or not small]


def _compare_with_reference(
    cases: Iterable[operators.Case], device: torch.device, backend: str, dtypes: Iterable[torch.dtype], small: bool
) -> Measured:
    worst: Distance | None = None
    with _threads(1):  # the inputs are small
        for case in cases:
            for problem in _problems(case, device, small):
                for dtype in dtypes:
                    draws = 1 if dtype == torch.float64 else 4 if small else DRAWS
                    leaves = [{n: t.to(device) for n, t in problem.draw(seed).items()} for seed in range(draws)]
                    try:
                        found = distances(problem.call, *leaves, dtype=dtype, backend=backend)
                    except AssertionError as error:
                        return Measured("-", "-", f"{case}, {problem.name}, {_name(dtype)}: {error}")
                    for distance in found:
                        if not distance.is_allowed:
                            wrong = f"{case}, {problem.name}, {_name(dtype)}: {distance.text}"
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
            kind = f"in {_name(dtype)} with {'no grid' if bits is None else f'{bits} bits'}"
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
            differing.compare(f"{name} in {_name(half)}", call(given), call(given.float()).to(half))
    for stored in (torch.int16, torch.bfloat16, torch.float16):
        features = (100 * edge_attr).to(stored)
        ours, wanted = (aggregate(x, graph, t, weight, bias, backend=backend) for t in (features, features.float()))
        differing.compare(f"{_name(stored)} edge features", ours, wanted)
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
            with _seeded(0):
                block = GENBlock(GENConv(8, 8, "max", norm="layer", bias=True, edge_dim=operators.K)).to(dtype)
                x = torch.randn(graph.num_nodes, 8, dtype=dtype).requires_grad_()
            edge_attr = named.graph.edge_features(dtype)
            whole = gradients_of(block, x, graph, edge_attr)
            with _SeesOperators():
                pieces = gradients_of(block, x, graph, edge_attr)
            differing.compare_all(whole, pieces, f" in {_name(dtype)} on the graph {named.name!r}")
    return differing.measured()


# --- exactness at depth -----------------------------------------------------------------------------------------------------------


def exactness_checks(device: torch.device) -> list[Check]:
    """Return checks of the gradients and the inverse of deep stacks."""
    stored = "gradients by recomputing and by storing, bit for bit"
    found = [
        Check(
            f"{DEPTH} layers{', bf16' if autocast else ''}",
            f"{stored}: the paper's network, dropout{', bf16 autocast' if autocast else ''}",
            functools.partial(_check_network, device, autocast),
            EXACTNESS_ADVICE,
        )
        for autocast in (None, torch.bfloat16)
    ]
    any_module = functools.partial(_check_any_module, device)
    found.append(Check(f"{DEPTH} layers, any module", f"{stored}: batch norm, ordinary dropout", any_module, EXACTNESS_ADVICE))
    back = f"state before {DEPTH} layers and the state computed back from the end, bit for bit"
    return [*found, Check("reconstruction", back, functools.partial(_check_reconstruction, device), EXACTNESS_ADVICE)]


def _graph(device: torch.device, num_nodes: int = 60, num_edges: int = 300) -> Graph:
    generator = torch.Generator().manual_seed(0)
    ends = torch.randint(0, num_nodes - num_nodes // 6, (2, num_edges), generator=generator)
    return Graph.from_edge_index(ends, num_nodes, torch.rand(num_edges, K, generator=generator)).to(device)


def _network(depth: int, channels: int, device: torch.device, **settings: object) -> nn.Module:
    config = ModelConfig.model_validate({"depth": depth, "channels": channels, **settings})
    with _seeded(0):
        return build_model(config, in_channels=K, out_channels=3, num_edge_features=K).to(device)


def _check_network(device: torch.device, autocast: torch.dtype | None) -> Measured:
    graph = _graph(device)
    reversible, stored = (_network(DEPTH, 16, device, dropout=0.1, gradient=g) for g in ("reversible", "backprop"))
    stored.load_state_dict(reversible.state_dict())
    x = torch.rand(graph.num_nodes, K, generator=torch.Generator().manual_seed(1)).to(device).requires_grad_()
    differing = Differing()
    ours, wanted = (gradients_of(model, graph, x, autocast=autocast) for model in (reversible, stored))
    differing.compare_all(ours, wanted)
    return differing.measured()


def _check_any_module(device: torch.device) -> Measured:
    def block() -> nn.Module:
        return nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 8))

    with _seeded(0):
        reversible = ReversibleStack([[block(), block()] for _ in range(DEPTH)], gradient=Reversible()).to(device)
    stored = copy.deepcopy(reversible)
    stored.gradient = Backprop()
    x = torch.randn(40, 16, generator=torch.Generator().manual_seed(1)).to(device).requires_grad_()
    differing = Differing()
    differing.compare_all(gradients_of(reversible, x), gradients_of(stored, x))
    return differing.measured()


def _check_reconstruction(device: torch.device) -> Measured:
    graph = _graph(device).with_edge_attr(None)
    with _seeded(0):
        convs = [[GENConv(8, 8, "max", norm="layer", bias=True) for _ in range(2)] for _ in range(DEPTH)]
        stack = ReversibleStack([[GENBlock(conv) for conv in layer] for layer in convs]).to(device).eval()
        x = torch.randn(graph.num_nodes, 16).to(device)
    with torch.no_grad():
        before = stack.inverse(stack(x, graph), graph)
    differing = Differing()
    differing.compare("the state before the first layer", before, grid_operator.round_to_grid(x, GRID_BITS[x.dtype]))
    return differing.measured()


# --- memory -----------------------------------------------------------------------------------------------------------------------


def memory_checks(device: torch.device) -> list[Check]:
    """Return checks of the peak of live tensor bytes."""
    flat = "peak memory of 64 layers and of 16, without the gradients of the weights"
    edges = "peak memory of a sum over edges and its gradients, and a tensor of edges x channels"
    return [
        Check("flat memory", flat, functools.partial(_check_flat_memory, device), MEMORY_ADVICE),
        Check("no edge tensor", edges, functools.partial(_check_no_edge_tensor, device), MEMORY_ADVICE),
    ]


def _check_flat_memory(device: torch.device) -> Measured:
    graph = _graph(device, 2000, 10_000)
    x = torch.rand(graph.num_nodes, K, device=device)

    def activations(depth: int) -> int:
        model = _network(depth, 64, device)

        def step() -> None:
            model(graph, x).square().mean().backward()

        step()  # what is computed once: the graph by source, on CUDA the workspaces of cuBLAS
        model.zero_grad(set_to_none=True)
        return peak_bytes(step, device) - 4 * num_parameters(model)

    deep, shallow = activations(64), activations(16)
    wrong = f"64 layers need {deep:,} bytes and 16 layers {shallow:,}; memory grows with depth." if deep > FLAT * shallow else ""
    return Measured(f"{deep / shallow:.3f} times", f"{FLAT} times", wrong)


def _check_no_edge_tensor(device: torch.device) -> Measured:
    graph, channels = _graph(device, 500, 50_000), 64
    x = torch.rand(graph.num_nodes, channels, device=device).requires_grad_()
    weight = torch.rand(K, channels, device=device).requires_grad_()

    def step() -> None:
        aggregate(x, graph, graph.edge_attr, weight, how=Sum()).sum().backward()
        x.grad = weight.grad = None

    step()
    peak, edges = peak_bytes(step, device), 4 * graph.num_edges * channels
    wrong = f"the peak is {peak:,} bytes; a tensor of edges x channels has {edges:,}." if peak > edges / 2 else ""
    if backends.choose(None, device) == "reference":
        wrong = ""  # plain torch builds messages
    return Measured(f"{peak / edges:.3f} times", "0.5 times", wrong)


# --- determinism ------------------------------------------------------------------------------------------------------------------


def determinism_checks(device: torch.device) -> list[Check]:
    """Return checks that a second run, on the CPU with another number of threads, gives the same bits."""
    if device.type == "cuda":
        twice = "run twice: value and gradients, bit for bit"
        return [
            Check("operators, again", twice, functools.partial(_check_again, device), THREADS_ADVICE),
            Check("training step, again", twice, functools.partial(_check_step_again, device), THREADS_ADVICE),
        ]
    most = max(2, os.cpu_count() or 1)
    threads = f"1 thread and {most}: value and gradients, bit for bit"
    return [
        Check("operators, threads", threads, functools.partial(_check_threads, most), THREADS_ADVICE),
        Check("training step, threads", threads, functools.partial(_check_step_threads, most), THREADS_ADVICE, claimed=False),
    ]


def _results(device: torch.device, num_nodes: int, num_edges: int) -> dict[str, Tensor]:
    """Value and gradients of every operator on inputs that are cut into blocks."""
    graph = _graph(device, num_nodes, num_edges).with_edge_attr(None)
    found: dict[str, Tensor] = {}

    def add(name: str, call: Callable[[Leaves, str], Tensor], leaves: Leaves) -> None:
        given = {key: t.to(device) for key, t in leaves.items()}
        results = evaluate(call, given, backends.choose(None, device), torch.float32)
        found.update({f"{name}: {key}": t for key, t in results.items()})

    for reducer in operators.REDUCERS:
        leaves = operators.aggregate_leaves(graph, 40, edges=True, param=operators.learns(reducer))
        add(f"aggregate, {reducer}", operators.aggregate_on(graph, reducer), leaves)
    for how in (operators.Sum(), operators.Mean()):
        leaves = operators.propagate_leaves(graph, (2, 7), weighted=True)
        add(f"propagate, {how}", operators.propagate_on(graph, how), leaves)
    add("edge_softmax", operators.softmax_on(graph), {"scores": operators.softmax_scores(graph, 3)})
    add("norm_relu", operators.norm_relu_with(None), operators.norm_relu_leaves(num_nodes, 40))
    add("perceptron", operators.call_perceptron, operators.perceptron_leaves(num_nodes, 32, 64, 32))
    return found


def _step(device: torch.device) -> dict[str, Tensor | None]:
    graph = _graph(device, 3000, 30_000)
    x = torch.rand(graph.num_nodes, K, generator=torch.Generator().manual_seed(1)).to(device).requires_grad_()
    return gradients_of(_network(14, 64, device, dropout=0.1), graph, x)


def _check_again(device: torch.device) -> Measured:
    differing = Differing()
    differing.compare_all(_results(device, 5000, 40_000), _results(device, 5000, 40_000))
    return differing.measured()


def _check_step_again(device: torch.device) -> Measured:
    differing = Differing()
    differing.compare_all(_step(device), _step(device))
    return differing.measured()


def _check_threads(most: int) -> Measured:
    differing = Differing()
    with _threads(1):
        one = _results(torch.device("cpu"), 5000, 70_000)
    with _threads(most):
        differing.compare_all(_results(torch.device("cpu"), 5000, 70_000), one)
    return differing.measured()


def _check_step_threads(most: int) -> Measured:
    differing = Differing()
    with _threads(1):
        one = _step(torch.device("cpu"))
    with _threads(most):
        differing.compare_all(_step(torch.device("cpu")), one)
    found = differing.measured()
    said = "sums inside torch (linear layers, losses, norms of gradients) may depend on the number of threads"
    return Measured(found.worst, "any", f"{said}; here {differing.count or 'none'} of {differing.tensors} tensors do.")


# --- helpers ----------------------------------------------------------------------------------------------------------------------


class Differing:
    """Tensors that should have the same bits.

    Attributes:
        tensors: how many were compared.
        count: how many differ.
    """

    def __init__(self) -> None:
        self.tensors = self.count = 0
        self._first, self._worst = "", 0.0

    def compare(self, name: str, ours: Tensor | None, wanted: Tensor | None) -> None:
        self.tensors += 1
        if ours is None or wanted is None:
            if ours is not wanted:
                self._add(f"{name} is missing on one side", math.inf)
        elif (ours.dtype, ours.shape) != (wanted.dtype, wanted.shape):
            self._add(f"{name} is {ours.dtype} {tuple(ours.shape)}, not {wanted.dtype} {tuple(wanted.shape)}", math.inf)
        elif not torch.equal(ours, wanted):
            gap = float((ours.double() - wanted.double()).abs().nan_to_num(torch.inf, torch.inf).amax())
            self._add(f"{name} differs in {int((ours != wanted).sum())} of {ours.numel()} elements, by up to {gap:.3g}", gap)

    def compare_all(self, ours: dict[str, Tensor] | dict[str, Tensor | None], wanted: dict, where: str = "") -> None:
        assert ours.keys() == wanted.keys()
        for name in wanted:
            self.compare(f"{name}{where}", ours[name], wanted[name])

    def _add(self, text: str, gap: float) -> None:
        self._first = self._first or text
        self._worst = max(self._worst, gap)
        self.count += 1

    def measured(self) -> Measured:
        assert self.tensors, "nothing was compared"
        wrong = f"{self.count} of {self.tensors} tensors differ; the first: {self._first}." if self.count else ""
        return Measured(f"{self._worst:.1e}" if self.count else "0", "0", wrong)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
