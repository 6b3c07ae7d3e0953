"""How a stack is differentiated: `Backprop`, `Checkpoint`, `Reversible`; how an equilibrium is: `Implicit`, `Phantom`,
`reversible_equilibrium`. `CapturedStep` runs a step of any of them as one CUDA graph.

Knows no graphs.
"""

from revgnn.gradients.backprop import Backprop
from revgnn.gradients.captured_step import CapturedStep
from revgnn.gradients.checkpoint import Checkpoint
from revgnn.gradients.implicit import AbstractEquilibriumGradient, Implicit, Phantom, SolveRecord, equilibrium, one_step, unrolled
from revgnn.gradients.jacobian import jacobian_penalty
from revgnn.gradients.layer import AbstractLayer, AbstractReversibleLayer
from revgnn.gradients.program import Program
from revgnn.gradients.recordable import CaptureError, StateRangeError, refuse_recording
from revgnn.gradients.reversible import Reversible
from revgnn.gradients.reversible_solve import reversible_equilibrium
from revgnn.gradients.run import run_stack
from revgnn.gradients.shared import PerGroup, PerLayer, Shared
from revgnn.gradients.strategy import GradientStrategy
from revgnn.gradients.tally import Solves, SolveTally

__all__ = [
    "AbstractEquilibriumGradient",
    "AbstractLayer",
    "AbstractReversibleLayer",
    "Backprop",
    "CaptureError",
    "CapturedStep",
    "Checkpoint",
    "GradientStrategy",
    "Implicit",
    "PerGroup",
    "PerLayer",
    "Phantom",
    "Program",
    "Reversible",
    "Shared",
    "SolveRecord",
    "SolveTally",
    "Solves",
    "StateRangeError",
    "equilibrium",
    "jacobian_penalty",
    "one_step",
    "refuse_recording",
    "reversible_equilibrium",
    "run_stack",
    "unrolled",
]
