"""Solvers of fixed points z = f(z): `FixedPoint`, `Anderson`, `Broyden`, `ReversibleRelaxation`. They know no graphs."""

from revgnn.solvers.anderson import Anderson
from revgnn.solvers.base import AbstractSolver, Solution, Status, Step
from revgnn.solvers.broyden import Broyden
from revgnn.solvers.exact import ExactRelaxation
from revgnn.solvers.fixed_point import FixedPoint
from revgnn.solvers.reversible import ReversibleRelaxation, Trail

__all__ = [
    "AbstractSolver",
    "Anderson",
    "Broyden",
    "ExactRelaxation",
    "FixedPoint",
    "ReversibleRelaxation",
    "Solution",
    "Status",
    "Step",
    "Trail",
]
