"""Old names: what `revgnn.gradients` held is now in `revgnn.stack`, `revgnn.equilibrium` and `revgnn.capture`."""

from __future__ import annotations

import warnings

from revgnn.capture import CapturedStep, CaptureError
from revgnn.equilibrium import (
    AbstractEquilibriumGradient,
    Implicit,
    Phantom,
    SolveRecord,
    equilibrium,
    jacobian_penalty,
    one_step,
    reversible_equilibrium,
    unrolled,
)
from revgnn.stack import (
    AbstractLayer,
    AbstractReversibleLayer,
    Backprop,
    Checkpoint,
    GradientStrategy,
    PerGroup,
    PerLayer,
    Reversible,
    StateRangeError,
    run_stack,
)

warnings.warn(
    "revgnn.gradients is an old name; import stacks and strategies from revgnn.stack, equilibria from revgnn.equilibrium, and "
    "CapturedStep from revgnn.capture.",
    DeprecationWarning,
    stacklevel=2,
)

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
    "Reversible",
    "SolveRecord",
    "StateRangeError",
    "equilibrium",
    "jacobian_penalty",
    "one_step",
    "reversible_equilibrium",
    "run_stack",
    "unrolled",
]

_GONE = {
    "Program": "revgnn.stack.execution.Execution",
    "Shared": "revgnn.stack.arguments.BlockArguments",
    "SolveTally": "revgnn.equilibrium.SolveRecord",
    "Solves": "revgnn.equilibrium.SolveStatistics",
    "refuse_recording": "a method capture_obstacle() of the module",
}


def __getattr__(name: str) -> object:
    if name in _GONE:
        raise AttributeError(f"revgnn.gradients has no {name} any more; use {_GONE[name]}.")
    raise AttributeError(f"module 'revgnn.gradients' has no attribute {name!r}")
