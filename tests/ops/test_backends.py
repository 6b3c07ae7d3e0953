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
from tests.ops.cases import CASES, Case, Problem
from tests.ops.compare import Leaves, assert_matches_reference

CUDA = torch.cuda.is_available()
needs_triton = pytest.mark.skipif(not backends.has_triton(), reason="triton is not installed")
BACKENDS = ["cpu", pytest.param("gpu", marks=[needs_triton, *([pytest.mark.gpu] if CUDA else [])])]
OPERATORS = sorted({case.operator for case in CASES})

pytestmark = pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")  # NumPy, in the interpreter


@pytest.fixture(autouse=True)
def _short_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    if backends.has_triton():
        monkeypatch.setattr("revgnn.kernels.gpu.split_rows.SPLIT", 16)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_value_and_gradients(case: Case, backend: str, dtype: torch.dtype) -> None:
    for problem in case.problems:
        if backend == "gpu" and not problem.small:
            continue
        # in float64 there are no errors to measure, so one draw is as good as several in the slow interpreter
        count = 1 if backend == "gpu" and dtype == torch.float64 else problem.num_draws
        draws = [problem.draw(seed) for seed in range(count)]
        try:
            assert_matches_reference(problem.call, *draws, dtype=dtype, backend=backend)
        except AssertionError as error:
            raise AssertionError(f"{problem.name}: {error}") from error


def example_of(operator: str) -> Problem:
    """A small problem of an operator's last case, in which every input of its leaves takes part."""
    *_, case = (case for case in CASES if case.operator == operator)
    *_, problem = (problem for problem in case.problems if problem.small)
    return problem


def evaluate(problem: Problem, call: Any, backend: str) -> list[Tensor]:
    leaves: Leaves = {name: t.requires_grad_() for name, t in problem.draw(0).items()}
    out = call(leaves, backend)
    return [out, *torch.autograd.grad(out.square().sum(), list(leaves.values()))]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("operator", OPERATORS)
def test_compiles_into_one_graph(operator: str, backend: str) -> None:
    problem = example_of(operator)
    compiled = torch.compile(lambda leaves, backend: problem.call(leaves, backend) * 2.0, fullgraph=True, backend="aot_eager")
    eager = evaluate(problem, lambda leaves, backend: problem.call(leaves, backend) * 2.0, backend)
    for ours, expected in zip(evaluate(problem, compiled, backend), eager, strict=True):
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


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("operator", OPERATORS)
def test_torch_is_told_what_the_operator_returns(operator: str, backend: str) -> None:
    problem = example_of(operator)
    with RecordOperators() as record:
        evaluate(problem, problem.call, backend)
    assert [func.name() for func, _ in record.calls] == [f"revgnn::{operator}", f"revgnn::{operator}_backward"]
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
