"""A step that a CUDA graph can record: nothing is read on the host before it is over, and no generator is seeded.

Within `recordable()` a stack leaves the look at its state's range to whoever runs the step, and its blocks draw their random
numbers from where torch's default generator stands instead of starting it from a seed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from revgnn.ops import grid


class CaptureError(ValueError):
    """A step that cannot be recorded, and why."""


class StateRangeError(ArithmeticError):
    """The state has left the range in which sums on its grid are exact, or is no longer finite.

    Attributes:
        peak: its largest magnitude.
        bits: q of its grid of multiples of 2^-q.
        needed: the largest q that `peak` leaves room for, with a factor of two to spare; None if `peak` is not finite.
    """

    def __init__(self, peak: float, bits: int, dtype: torch.dtype) -> None:
        self.peak = peak
        self.bits = bits
        self.needed = grid.MANTISSA[dtype] - 2 - math.floor(math.log2(peak)) if math.isfinite(peak) else None
        if self.needed is None:
            what = "lower the learning rate, clip gradients, or look for values that are not finite in the input"
        else:
            what = f"use a coarser grid (bits={self.needed}), state='float64', or a norm in each block"
        super().__init__(
            f"the state of the stack has reached a magnitude of {peak:.6g}, but sums on its grid of multiples of 2^-{bits} "
            f"are exact below {grid.limit(dtype, bits):.6g} only; {what}."
        )


class RangeChecks:
    """Largest magnitudes of states, on the device until `verify` reads them, all at once."""

    def __init__(self) -> None:
        self._peaks: list[Tensor] = []
        self._grids: list[tuple[int, torch.dtype]] = []
        self._gathered: Tensor | None = None

    def add(self, peak: Tensor, bits: int, dtype: torch.dtype) -> None:
        """Put off the look at a state that reached `peak`, shape ()."""
        self._peaks.append(peak)
        self._grids.append((bits, dtype))

    def gather(self) -> None:
        """Make one tensor of all; the last thing to be done within the step."""
        if self._peaks:
            self._gathered = torch.stack([peak.to(torch.float64) for peak in self._peaks])
        self._peaks.clear()

    def verify(self) -> None:
        """Wait for the step and look. May be asked again after each replay of it.

        Raises:
            StateRangeError: for the first state that left the range of its grid.
        """
        peaks = [] if self._gathered is None else self._gathered.tolist()
        for peak, (bits, dtype) in zip(peaks, self._grids, strict=True):
            look_at_range(peak, bits, dtype)


def look_at_range(peak: float, bits: int, dtype: torch.dtype) -> None:
    """
    Raises:
        StateRangeError: if sums on the grid are not exact at this magnitude.
    """
    if not peak <= grid.limit(dtype, bits):
        raise StateRangeError(peak, bits, dtype)


def default_generator(device: torch.device) -> torch.Generator:
    """The one that operators on this device draw from."""
    if device.type != "cuda":
        return torch.default_generator
    return torch.cuda.default_generators[torch.cuda.current_device() if device.index is None else device.index]


class Draws:
    """Where the default generator of a device stood before each block, for blocks that are evaluated again.

    A generator may not be seeded while a graph is recorded. It may be taken back to where it stood since recording began (torch
    2.10, pull request 162505; `torch.utils.checkpoint` does the same). Blocks that drew nothing leave it alone.
    """

    def __init__(self, device: torch.device) -> None:
        self._generator = default_generator(device)
        self._marks: list[Tensor] = []
        self._first: dict[int, int] = {}
        self._ahead: Tensor | None = None

    def begin(self, place: int) -> None:
        """The block at this place is about to be evaluated: for the first time, or as it was then."""
        here = self._generator.get_state()
        first = self._first.setdefault(place, len(self._marks))
        if first == len(self._marks):
            self._marks.append(here)
            return
        if first + 1 == len(self._marks):
            self._marks.append(here)
        before, after = self._marks[first : first + 2]
        if np.array_equal(before.numpy(), after.numpy()):
            return
        if self._ahead is None:
            self._ahead = here
        self._generator.set_state(before)

    @contextmanager
    def resumed(self) -> Iterator[None]:
        """The generator goes on afterwards from the furthest it has been, so that no number is drawn for two purposes."""
        try:
            yield
        finally:
            if self._ahead is None:
                self._marks.append(self._generator.get_state())
            else:
                self._generator.set_state(self._ahead)
                self._ahead = None


_active: RangeChecks | None = None
"""Of the process, not of the thread: torch records one graph at a time, and backward passes have threads of their own."""


@contextmanager
def recordable() -> Iterator[RangeChecks]:
    """Stacks inside can be recorded. Their ranges are still to be looked at: `gather` inside, `verify` afterwards."""
    global _active
    if _active is not None:
        raise CaptureError("a step that is to be recorded cannot run inside another one.")
    _active = RangeChecks()
    try:
        yield _active
    finally:
        _active = None


def put_off() -> RangeChecks | None:
    """Where a stack leaves its range within `recordable()`, else None."""
    return _active


def refuse_recording(what: str, why: str) -> None:
    """
    Raises:
        CaptureError: within `recordable()`.
    """
    if _active is not None:
        raise CaptureError(f"{what} cannot be recorded in a CUDA graph: {why}.")
