"""What must be the same when a block is evaluated a second time: random numbers and autocast.

A block is evaluated again to recompute what was not stored. The second evaluation must give the same bits as the first. What the
modules themselves are like is the matter of `snapshot`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from revgnn.stack.host_access import IMMEDIATE, BlockRandomness, HostAccess


@dataclass(frozen=True)
class Conditions:
    """The conditions of one run, taken when it starts and restored for each evaluation of a block.

    Attributes:
        device: the device of the state.
        autocast: the dtype of autocast, or None if it is off.
        host_access: how the run accesses the host.
        randomness: the random numbers of its blocks.
    """

    device: torch.device
    autocast: torch.dtype | None
    host_access: HostAccess
    randomness: BlockRandomness

    @classmethod
    def now(cls, device: torch.device, host_access: HostAccess = IMMEDIATE) -> Conditions:
        """Return the conditions of a run that starts now."""
        kind = device.type
        autocast = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        return cls(device, autocast, host_access, host_access.block_randomness(device))

    def around_pass(self) -> AbstractContextManager[None]:
        """Return a context for one pass over the blocks; see `BlockRandomness.around_pass`."""
        return self.randomness.around_pass()

    def for_block(self, place: int) -> AbstractContextManager[object]:
        """Start the random numbers of the block at this place, and return a context with the autocast of the run.

        The cache of autocast is off inside. It would give copies of the weights that were made without gradients to an evaluation
        that needs gradients.
        """
        self.randomness.begin_block(place)
        kind = self.device.type
        if self.autocast is None and not torch.is_autocast_enabled(kind):
            return nullcontext()
        return torch.autocast(kind, self.autocast, enabled=self.autocast is not None, cache_enabled=False)
