"""Statistics of solves since the last time they were taken."""

from __future__ import annotations

import json
import math

import pytest
import torch

from revgnn.equilibrium import Implicit, Phantom, SolveRecord, SolveStatistics, equilibrium
from revgnn.equilibrium.solvers import FixedPoint, Solution, Status

NOTHING = SolveStatistics(0, 0, None, None, None, None)


def add(record: SolveRecord, converged: bool, steps: int, residual: float, *, adjoint: bool) -> None:
    """Add a solve that ended with this residual."""
    status = Status.CONVERGED if converged else Status.MAX_STEPS
    record.add(Solution(torch.zeros(()), [residual] * steps, steps, status, residual), FixedPoint(), adjoint=adjoint)


def test_statistics_are_those_since_they_were_last_taken() -> None:
    record = SolveRecord(warned=True)
    assert record.take_statistics() == NOTHING
    add(record, True, 10, 1e-5, adjoint=False)
    add(record, True, 5, 3e-5, adjoint=True)
    add(record, False, 30, 0.5, adjoint=False)
    assert record.take_statistics() == SolveStatistics(3, 1, 20.0, 5.0, 3e-5, 0.5)
    assert record.take_statistics() == NOTHING
    add(record, False, 1, math.inf, adjoint=False)
    assert record.take_statistics() == SolveStatistics(1, 1, 1.0, None, None, None)
    assert (record.solves, record.failures) == (4, 2)


def test_the_state_can_be_stored_as_json() -> None:
    record, other = SolveRecord(warned=True), SolveRecord(warned=True)
    for n in range(9):
        add(record, n % 4 > 0, 3 + n, [math.inf, 1 / 3, 1e-17 * n][n % 3], adjoint=n % 2 > 0)
    state = json.loads(json.dumps(record.state()))
    add(record, True, 2, 0.1, adjoint=False)
    other.restore(state)
    add(other, True, 2, 0.1, adjoint=False)
    assert other.take_statistics() == record.take_statistics()
    other.restore({})
    assert other.take_statistics() == NOTHING


@pytest.mark.parametrize("gradient", [Implicit(FixedPoint(200, 1e-6)), Phantom(2)], ids=["implicit", "phantom"])
def test_statistics_hold_the_solves_of_an_equilibrium(gradient) -> None:
    record = SolveRecord()
    weight = torch.full((4, 4), 0.1, dtype=torch.float64, requires_grad=True)
    solver = FixedPoint(200, 1e-6)
    for scale in (1.0, 2.0):
        z = equilibrium(
            lambda z, scale=scale: torch.tanh(z @ weight + scale),
            torch.zeros(3, 4, dtype=torch.float64),
            solver=solver,
            gradient=gradient,
            record=record,
        )
        z.sum().backward()
    solved = record.take_statistics()
    adjoint = isinstance(gradient, Implicit)
    assert record.forward is not None
    assert (solved.solves, solved.failures) == (record.solves, 0) == (4 if adjoint else 2, 0)
    assert (solved.backward_steps is not None) == adjoint
    assert solved.max_residual is not None
    assert 0 < solved.max_residual <= 1e-6
    assert record.take_statistics().solves == 0
    assert record.solves > 0  # the total is kept
