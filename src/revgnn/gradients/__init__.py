"""How a stack is differentiated: `Backprop`, `Checkpoint`, `Reversible`. Knows no graphs."""

from revgnn.gradients.backprop import Backprop
from revgnn.gradients.checkpoint import Checkpoint
from revgnn.gradients.layer import AbstractLayer, AbstractReversibleLayer
from revgnn.gradients.program import Program
from revgnn.gradients.reversible import Reversible
from revgnn.gradients.run import StateRangeError, run_stack
from revgnn.gradients.shared import PerGroup, Shared
from revgnn.gradients.strategy import GradientStrategy

__all__ = [
    "AbstractLayer",
    "AbstractReversibleLayer",
    "Backprop",
    "Checkpoint",
    "GradientStrategy",
    "PerGroup",
    "Program",
    "Reversible",
    "Shared",
    "StateRangeError",
    "run_stack",
]
