"""What moves in a model while it runs, without gradients: statistics of batch norm, counters, the grid of a stack.

The parts of one optimiser step all start from the same values, in whatever process. After the step a number with a fraction is the
mean over the parts, a counter has grown by the sum of their increments, and the grid of a stack is the coarsest.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from revgnn.stack import Stack
from revgnn.train.run.team import Team


class MovingValues:
    """The values of a model that move, through one optimiser step after the other."""

    def __init__(self, model: nn.Module) -> None:
        by_dtype: dict[torch.dtype, list[Tensor]] = {}
        for buffer in model.buffers():
            by_dtype.setdefault(buffer.dtype, []).append(buffer)
        self._buffers = list(by_dtype.values())
        self._stacks = [m for m in model.modules() if isinstance(m, Stack)]
        self.begin_step()

    def begin_step(self) -> None:
        """Note the values before a step."""
        self._before = [_flat(group) for group in self._buffers]
        self._sums: list[Tensor] | None = None
        self._bits = [stack.coarsened for stack in self._stacks]
        self._coarsest = list(self._bits)

    @property
    def is_coarser(self) -> bool:
        """Whether a stack has moved to a coarser grid in this process."""
        return self._coarsest != self._bits

    @torch.no_grad()
    def begin_part(self) -> None:
        """Put the values back to where they were before the step."""
        if self._sums is not None:
            for group, before in zip(self._buffers, self._before, strict=True):
                _set(group, before)
            for stack, bits in zip(self._stacks, self._bits, strict=True):
                stack.coarsened = bits

    @torch.no_grad()
    def end_part(self) -> None:
        """Add the values that a part has left behind."""
        found = [_flat(group) for group in self._buffers]
        self._sums = found if self._sums is None else [a + b for a, b in zip(self._sums, found, strict=True)]
        self._coarsest = [max(most, stack.coarsened) for most, stack in zip(self._coarsest, self._stacks, strict=True)]

    @torch.no_grad()
    def end_step(self, parts: int, team: Team, *, any_is_coarser: bool) -> None:
        """Set the values to those after the step, the same in all processes of the team.

        Args:
            parts: of the step, in all processes together; at least 1.
            any_is_coarser: whether `is_coarser` in one of the processes.
        """
        for n, (group, before) in enumerate(zip(self._buffers, self._before, strict=True)):
            total = team.sum(torch.full_like(before, -0.0) if self._sums is None else self._sums[n])
            _set(group, total / parts if before.is_floating_point() else total - (parts - 1) * before)
        if any_is_coarser:
            bits = team.gather(self._coarsest)
            for stack, found in zip(self._stacks, zip(*bits, strict=True), strict=True):
                stack.coarsened = max(found)


def _flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([t.detach().reshape(-1) for t in tensors])


def _set(tensors: list[Tensor], flat: Tensor) -> None:
    for tensor, values in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(values.view_as(tensor))
