"""Solvers of fixed points z = f(z): `FixedPoint`, `Anderson`, `Broyden`. They know no graphs."""

from revgnn.solvers.anderson import Anderson
from revgnn.solvers.base import AbstractSolver, Solution, Status, Step
from revgnn.solvers.broyden import Broyden
from revgnn.solvers.fixed_point import FixedPoint

__all__ = ["AbstractSolver", "Anderson", "Broyden", "FixedPoint", "Solution", "Status", "Step"]
