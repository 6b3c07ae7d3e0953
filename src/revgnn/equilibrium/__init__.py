"""Equilibria: solvers, and how a solution is differentiated. Knows no graphs."""

from revgnn.equilibrium.implicit import (
    AbstractEquilibriumGradient,
    Implicit,
    Phantom,
    SolveRecord,
    equilibrium,
    one_step,
    unrolled,
)
from revgnn.equilibrium.jacobian import jacobian_penalty
from revgnn.equilibrium.reversible_solve import reversible_equilibrium
from revgnn.equilibrium.tally import Solves, SolveTally

__all__ = [
    "AbstractEquilibriumGradient",
    "Implicit",
    "Phantom",
    "SolveRecord",
    "SolveTally",
    "Solves",
    "equilibrium",
    "jacobian_penalty",
    "one_step",
    "reversible_equilibrium",
    "unrolled",
]
