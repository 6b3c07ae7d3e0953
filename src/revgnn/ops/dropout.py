"""Dropout whose random numbers belong to one evaluation of one block, so that no other thread can disturb them.

Torch's default generators belong to the whole process. A block of a stack that is evaluated a second time must draw the numbers of
the first, and a thread that draws between two of them would change them. So a stack gives its blocks generators of their own, and
our modules draw from those. Outside a stack, under `torch.compile`, and in a step that is recorded as a CUDA graph, there are none:
then numbers come from the default generator of the device.
"""

from __future__ import annotations

import threading
from typing import Protocol, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_Class = TypeVar("_Class", bound=type[nn.Module])


class Generators(Protocol):
    """The random numbers of one evaluation of a block."""

    def generator(self, device: torch.device) -> torch.Generator:
        """Return the generator of the device."""
        ...


class _Current(threading.local):
    """What this thread draws from.

    Attributes:
        draws: the generators of the block that is evaluated now; None: the default ones.
    """

    draws: Generators | None = None


current = _Current()


def generator_for(device: torch.device) -> torch.Generator | None:
    """Return the generator that our modules draw from on this device; None for the default one."""
    if torch.compiler.is_compiling() or current.draws is None:
        return None
    return current.draws.generator(device)


def dropout(x: Tensor, rate: float, training: bool) -> Tensor:
    """Return what `torch.nn.functional.dropout` returns, drawn from `generator_for`.

    Args:
        x: any shape, floating point.
        rate: share of the elements that become 0.
        training: whether anything is dropped.
    """
    if not training or rate == 0.0:
        return x
    generator = generator_for(x.device)
    if generator is None or not 0.0 < rate < 1.0:
        return F.dropout(x, rate, training)
    keep = 1.0 - rate
    return x * torch.empty_like(x).bernoulli_(keep, generator=generator).div_(keep)


DRAW_FROM_OWN: set[type[nn.Module]] = {
    *(nn.Linear, nn.Identity, nn.Sequential, nn.ModuleList, nn.ModuleDict),
    *(nn.LayerNorm, nn.BatchNorm1d, nn.GroupNorm, nn.InstanceNorm1d, nn.RMSNorm),
    *(nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.Softplus, nn.PReLU),
}
"""Classes of modules that draw no random numbers, or only from `generator_for`."""


def draws_from_own(cls: _Class) -> _Class:
    """Class decorator for a module that draws no random numbers but from `generator_for`."""
    DRAW_FROM_OWN.add(cls)
    return cls
