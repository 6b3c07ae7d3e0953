"""Solvers of fixed points z = f(z): `FixedPoint`, `Anderson`, `Broyden`, `ReversibleRelaxation`."""

from revgnn.equilibrium.solvers.anderson import Anderson
from revgnn.equilibrium.solvers.base import AbstractSolver, Solution, Status, Step
from revgnn.equilibrium.solvers.broyden import Broyden
from revgnn.equilibrium.solvers.exact import ExactRelaxation
from revgnn.equilibrium.solvers.fixed_point import FixedPoint
from revgnn.equilibrium.solvers.reversible import EndState, ReversibleRelaxation
from revgnn.equilibrium.solvers.totals import WHOLE, Totals

__all__ = [
    "WHOLE",
    "AbstractSolver",
    "Anderson",
    "Broyden",
    "EndState",
    "ExactRelaxation",
    "FixedPoint",
    "ReversibleRelaxation",
    "Solution",
    "Status",
    "Step",
    "Totals",
]
