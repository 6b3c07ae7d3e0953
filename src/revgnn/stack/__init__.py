"""Stacks of layers, and how they are differentiated: `Backprop`, `Checkpoint`, `Reversible`. They know no graphs.

Read the files in this order: `stack` (what users build), `layers` (how a layer changes the state, and how that is undone), `run`
(one run of a state through layers), `execution` (how a block is evaluated), `reversible` and `checkpoint` (the strategies that save
memory), `recompute` (their node of the autograd graph).
"""

from revgnn.stack.arguments import PerGroup, PerLayer
from revgnn.stack.backprop import Backprop
from revgnn.stack.checkpoint import Checkpoint
from revgnn.stack.host_access import HostAccess, HostDependent, StateRangeError
from revgnn.stack.layers import AbstractLayer, AbstractReversibleLayer, AdditiveCoupling, Residual
from revgnn.stack.reversible import Reversible
from revgnn.stack.stack import ResidualStack, ReversibleStack, Stack, run_stack
from revgnn.stack.strategy import GradientStrategy

__all__ = [
    "AbstractLayer",
    "AbstractReversibleLayer",
    "AdditiveCoupling",
    "Backprop",
    "Checkpoint",
    "GradientStrategy",
    "HostAccess",
    "HostDependent",
    "PerGroup",
    "PerLayer",
    "Residual",
    "ResidualStack",
    "Reversible",
    "ReversibleStack",
    "Stack",
    "StateRangeError",
    "run_stack",
]
