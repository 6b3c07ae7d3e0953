"""The ways in which a run can be spread over processes, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from revgnn.distributed.weights.mode import Weights
from revgnn.train.run.spread import Spread


@dataclass(frozen=True)
class ModeOptions:
    """What the command line says about a way of spreading a run."""


_MODES: dict[str, Callable[[ModeOptions], Spread]] = {
    "parts": lambda _: Spread(),
    "weights": lambda _: Weights(),
}

MODES = tuple(_MODES)
"""The values of --parallel."""


def make_spread(mode: str, options: ModeOptions | None = None) -> Spread:
    """Return the way of this name.

    Raises:
        ValueError: for an unknown name.
    """
    if mode not in _MODES:
        raise ValueError(f"--parallel must be one of {', '.join(MODES)}; got {mode!r}.")
    return _MODES[mode](options or ModeOptions())
