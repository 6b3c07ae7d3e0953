"""Every operator, on every backend that runs here, against its reference: values, gradients, and what torch knows of it.

On a machine with a GPU its kernels are compiled, and their tests are among those marked `gpu`. Elsewhere Triton's interpreter runs
them on the CPU, one program at a time: on small inputs only, with blocks of edges short enough that hubs are split.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from revgnn.kernels import backends
from revgnn.testing.comparison import DRAWS, Leaves, Op, assert_matches_reference
from revgnn.testing.operators import CASES, EXAMPLES, Case, Problem

CUDA = torch.cuda.is_available()
needs_triton = pytest.mark.skipif(not backends.has_triton(), reason="triton is not installed")
BACKENDS = ["cpu", pytest.param("gpu", marks=[needs_triton, *([pytest.mark.gpu] if CUDA else [])])]


def marks_on_gpu(case: Case) -> list[pytest.MarkDecorator]:
    """The interpreter of Triton takes many seconds an example: by default one reducer of `aggregate`."""
    if CUDA:
        return [needs_triton, pytest.mark.gpu]
    is_short = case.operator != "aggregate" or case.variant.startswith("max")
    return [needs_triton] if is_short else [needs_triton, pytest.mark.slow]


EVERY_EXAMPLE = [
    *((case, "cpu") for case in EXAMPLES),
    *(pytest.param(case, "gpu", marks=marks_on_gpu(case)) for case in EXAMPLES),
]

pytestmark = pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")  # NumPy, in the interpreter


@pytest.fixture(autouse=True)
def _short_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    if backends.has_triton():
        monkeypatch.setattr("revgnn.kernels.gpu.split_rows.SPLIT", 16)


def marks_of(case: Case, dtype: torch.dtype) -> list[pytest.MarkDecorator]:
    """Wide perceptrons in float64 compile for 10 seconds each: by default the narrow one."""
    is_long = case.operator == "perceptron" and dtype == torch.float64 and case.variant != "widths (4, 8, 4)"
    return [pytest.mark.slow] if is_long else []


EVERY_CASE = [
    pytest.param(case, dtype, marks=marks_of(case, dtype), id=f"{case}-{dtype}")
    for case in CASES
    for dtype in (torch.float32, torch.float64)
]


@pytest.mark.parametrize(("case", "dtype"), EVERY_CASE)
@pytest.mark.parametrize("backend", BACKENDS)
def test_value_and_gradients(case: Case, backend: str, dtype: torch.dtype) -> None:
    for problem in problems_of(case, backend):
        draws = [on_device(problem.draw(seed), backend) for seed in range(num_draws(backend, dtype))]
        try:
            assert_matches_reference(problem.call, *draws, dtype=dtype, backend=backend)
        except AssertionError as error:
            raise AssertionError(f"{problem.name}: {error}") from error


def device_of(backend: str) -> torch.device:
    return torch.device("cuda" if CUDA and backend == "gpu" else "cpu")


def on_device(leaves: Leaves, backend: str) -> Leaves:
    return {name: t.to(device_of(backend)) for name, t in leaves.items()}


def problems_of(case: Case, backend: str) -> list[Problem]:
    """The problems of a case; in the interpreter only the small ones."""
    problems = case.problems(device_of(backend))
    return problems if backend == "cpu" or CUDA else [problem for problem in problems if problem.small]


def num_draws(backend: str, dtype: torch.dtype) -> int:
    """How many draws are judged together: enough to make the error of the reference a steady figure.

    In float64 no error is measured, so one is enough. The interpreter is slow.
    """
    if dtype == torch.float64:
        return 1
    return 4 if backend == "gpu" and not CUDA else DRAWS


def small_problem(case: Case, backend: str) -> Problem:
    """The last small problem of a case."""
    *_, problem = (problem for problem in case.problems(device_of(backend)) if problem.small)
    return problem


def evaluate(problem: Problem, call: Op, backend: str) -> list[Tensor]:
    """The result, and the gradients of its sum of squares."""
    leaves = {name: t.requires_grad_() for name, t in on_device(problem.draw(0), backend).items()}
    out = call(leaves, backend)
    return [out, *torch.autograd.grad(out.square().sum(), list(leaves.values()))]


@pytest.mark.parametrize(("case", "backend"), EVERY_EXAMPLE, ids=str)
def test_compiles_into_one_graph(case: Case, backend: str) -> None:
    problem = small_problem(case, backend)

    def doubled(leaves: Leaves, backend: str) -> Tensor:
        return 2.0 * problem.call(leaves, backend)

    torch.compiler.reset()  # all cases compile this one function
    # eager first: a graph computes its form by source when it is first needed, which cannot be traced
    eager = evaluate(problem, doubled, backend)
    compiled = evaluate(problem, torch.compile(doubled, fullgraph=True, backend="aot_eager"), backend)
    for ours, expected in zip(compiled, eager, strict=True):
        torch.testing.assert_close(ours, expected)


class RecordOperators(TorchDispatchMode):
    """Records the calls of this package's operators that torch's dispatcher sees."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple[Any, ...]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "revgnn":
            self.calls.append((func, args))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("case", "backend"), EVERY_EXAMPLE, ids=str)
def test_torch_is_told_what_the_operator_returns(case: Case, backend: str) -> None:
    problem = small_problem(case, backend)
    with RecordOperators() as record:
        evaluate(problem, problem.call, backend)
    assert [func.name() for func, _ in record.calls] == [f"revgnn::{case.operator}", f"revgnn::{case.operator}_backward"]
    for func, arguments in record.calls:
        torch.library.opcheck(func, arguments, test_utils=("test_schema", "test_faketensor"))
    forward, arguments = record.calls[0]
    if backend == "cpu":
        torch.library.opcheck(forward, with_gradients(forward, arguments))


def with_gradients(operator: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments of a forward operator, such that those that its spec names as wanted require gradients again."""
    named = dict(zip([argument.name for argument in operator._schema.arguments], arguments, strict=True))
    wanted = named["spec"].rpartition(";")[2].split(",")
    return tuple(t.detach().requires_grad_() if name in wanted else t for name, t in named.items())
