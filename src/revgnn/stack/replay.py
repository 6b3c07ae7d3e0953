"""What must be the same when a block is evaluated a second time: random numbers, autocast, and the statistics of batch norm.

A block is evaluated again to recompute what was not stored. The second evaluation has to give the same bits as the first,
and must leave no trace.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from revgnn.stack.modules import modules_in
from revgnn.stack.recordable import Draws, put_off

_GOLDEN = 0x9E3779B97F4A7C15


@dataclass(frozen=True)
class Conditions:
    """Taken when a stack starts, and restored when its blocks are evaluated again.

    Attributes:
        device: where the state lives.
        seed: every evaluation of a block starts torch's default generators from a seed derived of this one and of the
            block's place in the stack: 8 bytes instead of a generator state of 5 kB for each block.
        autocast: the dtype of autocast, or None where it is off.
        draws: in a step that is to be recorded, what takes the place of the seed.
    """

    device: torch.device
    seed: int
    autocast: torch.dtype | None
    draws: Draws | None = None

    @classmethod
    def now(cls, device: torch.device) -> Conditions:
        """Draws the seed from torch's default generator, so `torch.manual_seed` governs all of it."""
        kind = device.type
        autocast = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        if put_off() is not None:
            return cls(device, 0, autocast, Draws(device))
        return cls(device, int(torch.randint(2**62, ())), autocast)

    @contextmanager
    def own_random_state(self) -> Iterator[None]:
        """The caller's random state is as it was afterwards; in a step that is to be recorded it goes on behind the blocks'."""
        if self.draws is not None:
            with self.draws.resumed():
                yield
            return
        generators = self._generators()
        states = [g.get_state() for g in generators]
        try:
            yield
        finally:
            for generator, state in zip(generators, states, strict=True):
                generator.set_state(state)

    def own_autocast(self) -> AbstractContextManager[object]:
        """Autocast as it was.

        Its cache is off inside: it would hand copies of the weights made without gradients to an evaluation that needs them.
        """
        kind = self.device.type
        if self.autocast is None and not torch.is_autocast_enabled(kind):
            return nullcontext()
        return torch.autocast(kind, self.autocast, enabled=self.autocast is not None, cache_enabled=False)

    def seed_block(self, place: int) -> None:
        """Start the generators for the block at this place in the stack."""
        if self.draws is not None:
            self.draws.begin(place)
            return
        seed = (self.seed + _GOLDEN * (place + 1)) % 2**63
        for generator in self._generators():
            generator.manual_seed(seed)

    def _generators(self) -> list[torch.Generator]:
        if self.device.type != "cuda":
            return [torch.default_generator]
        index = torch.cuda.current_device() if self.device.index is None else self.device.index
        return [torch.default_generator, torch.cuda.default_generators[index]]


@contextmanager
def frozen_statistics(roots: Iterable[nn.Module]) -> Iterator[None]:
    """Batch norm inside computes exactly as it would, and leaves its running statistics alone."""
    moving = [m for m in modules_in(roots) if isinstance(m, _NormBase) and m.training and m.track_running_stats]
    for norm in moving:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in moving:
            norm.track_running_stats = True


def buffer_versions(roots: Iterable[nn.Module]) -> list[tuple[Tensor, int]]:
    """How often each buffer has been written to, those of normalisation layers left out."""
    others = (m for m in modules_in(roots) if m._buffers and not isinstance(m, _NormBase))
    return [(b, b._version) for m in others for b in m._buffers.values() if b is not None]
