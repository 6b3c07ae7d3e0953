"""What must be the same when a block is evaluated a second time: random numbers, autocast, and the statistics of batch norm.

A block is evaluated again to recompute what was not stored. The second evaluation must give the same bits as the first, and must
not change the module.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

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


@contextmanager
def frozen_statistics(roots: Iterable[nn.Module]) -> Iterator[None]:
    """Keep the running statistics of batch norm unchanged inside. What batch norm computes does not change."""
    norms = [m for m in modules_in(roots) if isinstance(m, _NormBase) and m.training and m.track_running_stats]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


def buffer_versions(roots: Iterable[nn.Module]) -> list[tuple[Tensor, int]]:
    """Return each buffer and how often it has been written to; without the buffers of normalisation layers."""
    others = (m for m in modules_in(roots) if m._buffers and not isinstance(m, _NormBase))
    return [(b, b._version) for m in others for b in m._buffers.values() if b is not None]


def modules_in(roots: Iterable[nn.Module]) -> list[nn.Module]:
    """Return the modules and all modules below them, each once.

    The method of `nn.Module` also builds all names, which takes longer.
    """
    found = list(dict.fromkeys(roots))
    seen = set(found)
    for module in found:  # the list grows meanwhile
        for child in module._modules.values():
            if child is not None and child not in seen:
                seen.add(child)
                found.append(child)
    return found


def trainable_parameters(roots: Iterable[nn.Module]) -> list[nn.Parameter]:
    """Return the parameters of the modules, and of all modules below them, that require a gradient, each once."""
    parameters = (p for module in modules_in(roots) for p in module._parameters.values())
    return list({id(p): p for p in parameters if p is not None and p.requires_grad}.values())
