"""Checksums of states: whether a second evaluation has led to the state of the first, without storing that state."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

WORDS = 512
"""64-bit words that are summed to one integer: the checksums take 1/512 of the memory of the state."""


def checksum(state: Iterable[Tensor]) -> Tensor:
    """Return integers that are equal for equal states, and for states that differ with a probability near 2^-64.

    They are sums of bit patterns, modulo 2^64. Sums of the values would be blind to changes that cancel out, as those of a
    normalised row do.

    Args:
        state: contiguous tensors, float32 or float64. A zero in them must have no sign.

    Returns:
        int64, one dimension.
    """
    return torch.cat([sums for part in state for sums in _sums(part.detach().view(-1))])


def _sums(flat: Tensor) -> list[Tensor]:
    if flat.element_size() == 4 and flat.numel() % 2:
        last = flat[-1:].view(torch.int32).long()
        return [last, *_sums(flat[:-1])]
    words = flat.view(torch.int64)
    whole = words.numel() // WORDS * WORDS
    return [words[:whole].view(-1, WORDS).sum(1), words[whole:].sum().view(1)]
