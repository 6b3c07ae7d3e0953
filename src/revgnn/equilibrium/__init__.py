"""Equilibria: solvers of z = f(z), and how a solution is differentiated. They know no graphs."""

from revgnn.equilibrium.gradient import AbstractEquilibriumGradient, Implicit, Phantom, one_step
from revgnn.equilibrium.jacobian import jacobian_penalty
from revgnn.equilibrium.record import SolveRecord, SolveStatistics
from revgnn.equilibrium.reversible_solve import reversible_equilibrium
from revgnn.equilibrium.solve import equilibrium
from revgnn.equilibrium.unroll import unrolled

__all__ = [
    "AbstractEquilibriumGradient",
    "Implicit",
    "Phantom",
    "SolveRecord",
    "SolveStatistics",
    "equilibrium",
    "jacobian_penalty",
    "one_step",
    "reversible_equilibrium",
    "unrolled",
]
