"""The ways in which a run can be spread over processes, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from revgnn.distributed.by_graph import ByGraph
from revgnn.distributed.weights.mode import Weights
from revgnn.train.run.spread import Spread


@dataclass(frozen=True)
class ModeOptions:
    """What the command line says about a way of spreading a run."""

    cut: str = "contiguous"
    """Which process has which nodes, for "graph"; see `assign`."""
    pieces: int = 1
    """Of the stack, in each process (layers)."""


def _layers(options: ModeOptions) -> Spread:
    from revgnn.distributed.pipeline.layers import Layers  # takes a while to import

    return Layers(options.pieces)


_MODES: dict[str, Callable[[ModeOptions], Spread]] = {
    "parts": lambda _: Spread(),
    "graph": lambda options: ByGraph(options.cut),
    "layers": _layers,
    "weights": lambda _: Weights(),
}

_OWNERS = {"cut": "graph", "pieces": "layers"}
"""Which way has an option."""

MODES = tuple(_MODES)
"""The values of --parallel."""


def make_spread(mode: str, options: ModeOptions | None = None) -> Spread:
    """Return the way of this name.

    Raises:
        ValueError: for an unknown name, and for options of another way.
    """
    if mode not in _MODES:
        raise ValueError(f"--parallel must be one of {', '.join(MODES)}; got {mode!r}.")
    options = options or ModeOptions()
    for name, owner in _OWNERS.items():
        if mode != owner and getattr(options, name) != getattr(ModeOptions, name):
            raise ValueError(f"--{name} belongs to --parallel {owner}, and this job has --parallel {mode}; leave it out.")
    return _MODES[mode](options)
