"""Torch's random numbers: training and evaluation draw from their own, and leave those of the caller as they were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def own_random_numbers(device: torch.device, seed: int | None = None) -> Iterator[None]:
    """Within the block, torch's default generators of the CPU and of `device` may be used; afterwards they are as before.

    Args:
        seed: what to start them from; None: from their present state.
    """
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        if seed is not None:
            seed_generators(device, seed)
        yield


def seed_generators(device: torch.device, seed: int) -> None:
    """Start the default generators of the CPU and of `device` from a seed. Those of other devices stay as they are."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
