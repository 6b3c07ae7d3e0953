"""Running statistics of batch norm in a stage, through one optimiser step: see `revgnn.train.run.moving`.

Other parts are on their way while statistics are put back for the next part. So no other buffer is written to, and their versions
do not count: batch norm in training mode does not use them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase


class Statistics:
    """The statistics of the norms of a stage.

    Args:
        roots: the modules of the stage.
        layers: those of them that are layers of the stack. If a part is evaluated a second time on a coarser grid, theirs are
            those of the first time.
    """

    def __init__(self, roots: Iterable[nn.Module], layers: Iterable[nn.Module]) -> None:
        inside = {m for layer in layers for m in layer.modules()}
        by_dtype: dict[torch.dtype, list[tuple[Tensor, bool]]] = {}
        for norm in dict.fromkeys(m for root in roots for m in root.modules() if isinstance(m, _NormBase)):
            for buffer in norm.buffers():
                by_dtype.setdefault(buffer.dtype, []).append((buffer, norm in inside))
        self._groups = [[buffer for buffer, _ in group] for group in by_dtype.values()]
        self._inside = [
            torch.cat([torch.full((b.numel(),), is_inside, device=b.device) for b, is_inside in group])
            for group in by_dtype.values()
        ]
        self.begin_step()

    def begin_step(self) -> None:
        """Note the values before a step."""
        self._before = [_flat(group) for group in self._groups]
        self._first: dict[int, list[Tensor]] = {}
        self.begin_run()

    def begin_run(self) -> None:
        """Begin the parts of the step, or begin them again."""
        self._sums: list[Tensor] | None = None

    @contextmanager
    def of_part(self, number: int) -> Iterator[None]:
        """Start from the values before the step inside, and add those that part `number` leaves behind."""
        self._set(self._before)
        yield
        found = [_flat(group) for group in self._groups]
        first = self._first.setdefault(number, found)
        found = [torch.where(inside, a, b) for inside, a, b in zip(self._inside, first, found, strict=True)]
        self._sums = found if self._sums is None else [a + b for a, b in zip(self._sums, found, strict=True)]

    def end_step(self, parts: int) -> None:
        """Set the values to those after the step."""
        if self._sums is not None:
            pairs = zip(self._sums, self._before, strict=True)
            self._set([s / parts if before.is_floating_point() else s - (parts - 1) * before for s, before in pairs])

    def _set(self, values: list[Tensor]) -> None:
        for group, flat in zip(self._groups, values, strict=True):
            for tensor, value in zip(group, flat.split([t.numel() for t in group]), strict=True):
                tensor.data.copy_(value.view_as(tensor))


def _flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([t.detach().reshape(-1) for t in tensors])
