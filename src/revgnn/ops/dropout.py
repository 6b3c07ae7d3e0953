"""Dropout whose random numbers belong to one evaluation of one block, so that no other thread can disturb them.

Torch's default generators belong to the whole process. A block of a stack that is evaluated a second time must draw the numbers of
the first, and a thread that draws between two of them would change them. So a stack gives its blocks generators of their own, and
our modules draw from those. Outside a stack, under `torch.compile`, and in a step that is recorded as a CUDA graph, there are none:
then numbers come from the default generator of the device.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class BlockDraws:
    """The generators of one run of a stack, one for each device, started anew for each evaluation of a block."""

    def __init__(self) -> None:
        self._seed = 0
        self._generators: dict[torch.device, torch.Generator] = {}
        self._started: set[torch.device] = set()

    def restart(self, seed: int) -> None:
        """Start from this seed. It costs nothing unless something is drawn."""
        self._seed = seed
        if self._started:
            self._started.clear()

    def generator(self, device: torch.device) -> torch.Generator:
        """Return the generator of the device."""
        generator = self._generators.get(device)
        if generator is None:
            generator = self._generators[device] = torch.Generator(device)
        if device not in self._started:
            self._started.add(device)
            generator.manual_seed(self._seed)
        return generator


class _Current(threading.local):
    draws: BlockDraws | None = None


_current = _Current()


@contextmanager
def own_draws() -> Iterator[None]:
    """Afterwards this thread draws from what it drew from before, whatever `draw_from` is called with inside."""
    before = _current.draws
    try:
        yield
    finally:
        _current.draws = before


def draw_from(draws: BlockDraws | None) -> None:
    """Let our modules draw from these generators in this thread; None: from the default ones. Call it within `own_draws`."""
    _current.draws = draws


def generator_for(device: torch.device) -> torch.Generator | None:
    """Return the generator that our modules draw from on this device; None for the default one."""
    if torch.compiler.is_compiling() or _current.draws is None:
        return None
    return _current.draws.generator(device)


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


_draw_from_own: set[type[nn.Module]] = {
    *(nn.Linear, nn.Identity, nn.Sequential, nn.ModuleList, nn.ModuleDict),
    *(nn.LayerNorm, nn.BatchNorm1d, nn.GroupNorm, nn.InstanceNorm1d, nn.RMSNorm),
    *(nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.Softplus, nn.PReLU),
}
"""Classes of modules that draw no random numbers, or only from `generator_for`."""


def draws_from_own(cls: Any) -> Any:
    """Class decorator for a module that draws no random numbers but from `generator_for`."""
    _draw_from_own.add(cls)
    return cls


def all_draw_from_own(modules: list[nn.Module]) -> bool:
    """Whether none of these modules can draw from torch's default generators: known classes, without hooks, not compiled."""
    if not _draw_from_own.issuperset(map(type, modules)):
        return False
    for m in modules:  # noqa: SIM110 (a generator costs as much again)
        if m._forward_hooks or m._forward_pre_hooks or m._compiled_call_impl is not None:
            return False
    return True
