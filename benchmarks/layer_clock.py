"""The time of each layer of a stack within one step."""

from __future__ import annotations

import time
from typing import Any

from benchmarks import harness
from revgnn.stack import Stack

BACKWARD_WEIGHT = 3
"""Time of a layer's backward pass over that of its forward pass, roughly: it is evaluated again, and differentiated."""


class LayerClock:
    """Clock that notes when each layer has been evaluated, in the forward pass and again in the backward pass.

    Args:
        stack: its blocks are observed by hooks.
        passes: receives the seconds of each layer, in one list for each pass. In the backward pass the time of a layer's gradient
            is counted for the layer that is evaluated next.
        tick: advances by 1 for a layer of the forward pass, by `BACKWARD_WEIGHT` for one of the backward pass.

    Attributes:
        reruns: how often the forward pass began anew because the state left the range of its grid. `passes` has the last one.
    """

    def __init__(self, stack: Stack, passes: dict[str, list[float]], tick: harness.Tick) -> None:
        self._passes = passes
        self._tick = tick
        self._depth, self._groups = len(stack.sequence), stack.groups
        self.reruns = 0
        self.start("forward")
        self._hooks = [block.register_forward_hook(self._evaluated) for layer in stack.layers for block in layer.blocks]  # pyright: ignore[reportAttributeAccessIssue, reportGeneralTypeIssues]

    def start(self, direction: str) -> None:
        """Begin a pass, "forward" or "backward"."""
        self._direction = direction
        self._blocks = 0
        self._last = time.perf_counter()

    def stop(self) -> None:
        """Remove the hooks."""
        for hook in self._hooks:
            hook.remove()

    def _evaluated(self, *_: Any) -> None:
        self._blocks += 1
        layers, inside = divmod(self._blocks, self._groups)
        if inside:
            return
        now = time.perf_counter()
        by = 1 if self._direction == "forward" else BACKWARD_WEIGHT
        seconds = self._passes[self._direction]
        if layers > self._depth:
            self.reruns += 1
            seconds.clear()
            self._blocks, layers = self._groups, 1
            by -= self._depth * by  # takes the progress back to the start
        seconds.append(now - self._last)
        self._last = now
        again = ", again on a coarser grid" if self.reruns and self._direction == "forward" else ""
        self._tick(f"{self._direction}, layer {layers} of {self._depth}{again}", by=by)
