"""Solves added up."""

from __future__ import annotations

import json
import math

import pytest
import torch

from revgnn.equilibrium import Implicit, Phantom, Solves, SolveTally, equilibrium
from revgnn.equilibrium.implicit import SolveRecord
from revgnn.equilibrium.solvers import FixedPoint

NOTHING = Solves(0, 0, None, None, None, None)


def test_what_is_taken_is_what_came_since() -> None:
    tally = SolveTally()
    assert tally.take() == NOTHING
    tally.add(True, 10, 1e-5, adjoint=False)
    tally.add(True, 5, 3e-5, adjoint=True)
    tally.add(False, 30, 0.5, adjoint=False)
    assert tally.take() == Solves(3, 1, 20.0, 5.0, 3e-5, 0.5)
    assert tally.take() == NOTHING
    tally.add(False, 1, math.inf, adjoint=False)
    assert tally.take() == Solves(1, 1, 1.0, None, None, None)


def test_the_state_goes_round_through_json() -> None:
    tally, other = SolveTally(), SolveTally()
    for n in range(9):
        tally.add(n % 4 > 0, 3 + n, [math.inf, 1 / 3, 1e-17 * n][n % 3], adjoint=n % 2 > 0)
    state = json.loads(json.dumps(tally.state()))
    tally.add(True, 2, 0.1, adjoint=False)
    other.restore(state)
    other.add(True, 2, 0.1, adjoint=False)
    assert other.take() == tally.take()
    other.restore({})
    assert other.take() == NOTHING


@pytest.mark.parametrize("gradient", [Implicit(FixedPoint(200, 1e-6)), Phantom(2)], ids=["implicit", "phantom"])
def test_a_record_hands_all_its_solves_on(gradient) -> None:
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
    solved = record.tally.take()
    adjoint = isinstance(gradient, Implicit)
    assert record.forward is not None
    assert (solved.solves, solved.failures) == (record.solves, 0) == (4 if adjoint else 2, 0)
    assert (solved.backward_steps is not None) == adjoint
    assert solved.max_residual is not None
    assert 0 < solved.max_residual <= 1e-6
    assert record.tally.take().solves == 0
    assert record.solves > 0  # the record's own counts go on
