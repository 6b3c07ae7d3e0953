"""Stacks of layers, and how they are differentiated: `Backprop`, `Checkpoint`, `Reversible`. Knows no graphs."""

from revgnn.stack.backprop import Backprop
from revgnn.stack.checkpoint import Checkpoint
from revgnn.stack.coupling import AdditiveCoupling
from revgnn.stack.layer import AbstractLayer, AbstractReversibleLayer
from revgnn.stack.program import Program
from revgnn.stack.recordable import CaptureError, StateRangeError, refuse_recording
from revgnn.stack.residual import Residual
from revgnn.stack.reversible import Reversible
from revgnn.stack.run import run_stack
from revgnn.stack.shared import PerGroup, PerLayer, Shared
from revgnn.stack.stack import ResidualStack, ReversibleStack, Stack
from revgnn.stack.strategy import GradientStrategy

__all__ = [
    "AbstractLayer",
    "AbstractReversibleLayer",
    "AdditiveCoupling",
    "Backprop",
    "CaptureError",
    "Checkpoint",
    "GradientStrategy",
    "PerGroup",
    "PerLayer",
    "Program",
    "Residual",
    "ResidualStack",
    "Reversible",
    "ReversibleStack",
    "Shared",
    "Stack",
    "StateRangeError",
    "refuse_recording",
    "run_stack",
]
