"""Dropout whose random numbers belong to one evaluation of one block, so that no other thread can disturb them.

Torch's default generators belong to the whole process. A block of a stack that is evaluated a second time must draw the numbers of
the first, and a thread that draws between two of them would change them. So a stack gives its blocks generators of their own, and
our modules draw from those. Outside a stack, under `torch.compile`, and in a step that is recorded as a CUDA graph, there are none:
then numbers come from the default generator of the device. There a tensor may be declared to be some rows of a larger one
(`rows_of_larger`): its numbers are then those that a draw for the larger one has in these rows.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, Protocol, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_Class = TypeVar("_Class", bound=type[nn.Module])


class Generators(Protocol):
    """The random numbers of one evaluation of a block."""

    def generator(self, device: torch.device) -> torch.Generator:
        """Return the generator of the device."""
        ...


class Rows(NamedTuple):
    """Rows of a larger tensor."""

    numbers: Tensor
    """int64 (M,): which rows they are."""
    count: int
    """Rows of the larger tensor."""


class _Current(threading.local):
    """What this thread draws from.

    Attributes:
        draws: the generators of the block that is evaluated now; None: the default ones.
        rows: which rows tensors are that numbers are drawn for outside of blocks; None: all.
    """

    draws: Generators | None = None
    rows: Rows | None = None


current = _Current()


def generator_for(device: torch.device) -> torch.Generator | None:
    """Return the generator that our modules draw from on this device; None for the default one."""
    if torch.compiler.is_compiling() or current.draws is None:
        return None
    return current.draws.generator(device)


@contextmanager
def rows_of_larger(numbers: Tensor, count: int) -> Iterator[None]:
    """Within the block, tensors that dropout is drawn for outside of a stack are these rows of tensors with `count` rows.

    The default generators move as for the larger tensors. For a moment each draw takes as many numbers as the larger tensor has.

    Args:
        numbers: int64 (M,), on the device of the tensors.
        count: rows of the larger tensors.
    """
    before, current.rows = current.rows, Rows(numbers, count)
    try:
        yield
    finally:
        current.rows = before


def bernoulli_rows(shape: tuple[int, ...], keep: float, device: torch.device | None = None) -> Tensor:
    """Draw 1 with probability `keep`, else 0, float32, in a block of `rows_of_larger`."""
    rows = _rows_of(shape[0])
    assert rows is not None
    return torch.empty((rows.count, *shape[1:]), device=device).bernoulli_(keep).index_select(0, rows.numbers)


def normal_like(x: Tensor) -> Tensor:
    """Draw normal numbers of the shape and dtype of `x` from the default generator: see `rows_of_larger`."""
    rows = _rows_of(x.shape[0])
    if rows is None:
        return torch.randn_like(x)
    return torch.randn((rows.count, *x.shape[1:]), dtype=x.dtype, device=x.device).index_select(0, rows.numbers)


def _rows_of(length: int) -> Rows | None:
    rows = None if torch.compiler.is_compiling() else current.rows
    if rows is not None and len(rows.numbers) != length:
        raise ValueError(f"numbers are drawn for {len(rows.numbers)} rows of {rows.count}, but the tensor has {length}.")
    return rows


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
    if generator is None and 0.0 < rate < 1.0 and (rows := _rows_of(x.shape[0])) is not None:
        factors = F.dropout(torch.ones((rows.count, *x.shape[1:]), dtype=x.dtype, device=x.device), rate)
        return x * factors.index_select(0, rows.numbers)
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
