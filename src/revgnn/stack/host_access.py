"""What a run of a stack needs the host for: to start random number generators, and to read how large its state has become.

An ordinary run does both at once (`ImmediateHostAccess`). Code that cannot wait for the host while a step runs, such as the capture
of a CUDA graph, gives its modules another `HostAccess` for the time of the step.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor

from revgnn.ops import grid
from revgnn.ops.dropout import current

_SEED_STRIDE = 0x9E3779B97F4A7C15
"""2^64 divided by the golden ratio: it spreads the seeds of consecutive blocks over the whole range."""

_OWN = 0x5851F42D4C957F2D
"""Makes the seed of a block's own generators another one than that of torch's default generators."""


class StateRangeError(ArithmeticError):
    """The state has left the range in which sums on its grid are exact, or is not finite.

    Attributes:
        peak: the largest magnitude of the state.
        bits: q of its grid of multiples of 2^-q.
        needed: the largest q with room for `peak` and a factor of two to spare; None if `peak` is not finite.
    """

    def __init__(self, peak: float, bits: int, dtype: torch.dtype) -> None:
        self.peak = peak
        self.bits = bits
        self.needed = grid.MANTISSA[dtype] - 2 - math.floor(math.log2(peak)) if math.isfinite(peak) else None
        if self.needed is None:
            advice = "lower the learning rate, clip gradients, or look for values in the input that are not finite"
        else:
            advice = f"use a coarser grid (bits={self.needed}), state='float64', or a norm in each block"
        super().__init__(
            f"the state of the stack has reached a magnitude of {peak:.6g}, but sums on its grid of multiples of 2^-{bits} "
            f"are exact below {grid.limit(dtype, bits):.6g} only; {advice}."
        )


def check_range(peak: float, bits: int, dtype: torch.dtype) -> None:
    """Raise `StateRangeError` if sums on the grid of multiples of 2^-bits are not exact at magnitude `peak` in `dtype`."""
    if not peak <= grid.limit(dtype, bits):
        raise StateRangeError(peak, bits, dtype)


class BlockRandomness(ABC):
    """Random numbers for the blocks of one run. A block draws the same numbers in its second evaluation as in its first.

    Attributes:
        own_only: no block draws from torch's default generators, so they may be left alone: other threads use them too.
    """

    own_only: bool = False

    @abstractmethod
    def around_pass(self) -> AbstractContextManager[None]:
        """Return a context for one pass over the blocks, forward or backward.

        When it is left, torch's default generators stand where the rest of the program continues.
        """

    @abstractmethod
    def begin_block(self, place: int) -> None:
        """Prepare the generators for the block at this place in the run. Called within `around_pass`."""


class HostAccess(ABC):
    """How the runs of a stack access the host."""

    @abstractmethod
    def block_randomness(self, device: torch.device) -> BlockRandomness:
        """Return the random numbers of a new run whose state is on `device`."""

    @abstractmethod
    def check_range(self, peak: Tensor, bits: int, dtype: torch.dtype) -> None:
        """Check the state of a run against the range of its grid, now or later.

        Args:
            peak: the largest magnitude of the state, shape ().
            bits: q of its grid of multiples of 2^-q.
            dtype: its dtype.

        Raises:
            StateRangeError: if sums on the grid are not exact at this magnitude.
        """

    @abstractmethod
    def check_repeated(self, repeated: Tensor, message: str) -> None:
        """Check, now or later, that a second evaluation has led to the state of the first.

        Args:
            repeated: whether it has, bool, shape ().
            message: of the error.

        Raises:
            RuntimeError: with this message if it has not.
        """


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


class SeededRandomness(BlockRandomness):
    """Each evaluation of a block starts generators from a seed derived from `seed` and the place of the block.

    Our modules draw from generators of this run. Other modules draw from torch's default generators, so those are started too,
    unless `own_only`. A block costs 8 bytes this way, not the 5 kB of a generator's state. After a pass the default generators are
    as they were before it.
    """

    def __init__(self, device: torch.device, seed: int) -> None:
        self._seed = seed
        self._draws = BlockDraws()
        cpu, own = torch.default_generator, default_generator(device)
        self._generators = [cpu] if own is cpu else [cpu, own]

    @contextmanager
    def around_pass(self) -> Iterator[None]:
        generators = [] if self.own_only else self._generators
        states, before = [generator.get_state() for generator in generators], current.draws
        try:
            yield
        finally:
            current.draws = before
            for generator, state in zip(generators, states, strict=True):
                generator.set_state(state)

    def begin_block(self, place: int) -> None:
        seed = (self._seed + _SEED_STRIDE * (place + 1)) % 2**63
        self._draws.restart(seed ^ _OWN)
        current.draws = self._draws
        if not self.own_only:
            for generator in self._generators:
                generator.manual_seed(seed)


class ImmediateHostAccess(HostAccess):
    """Draws a seed for each run, and reads the magnitude of the state at the end of its forward pass."""

    def block_randomness(self, device: torch.device) -> BlockRandomness:
        """Return random numbers of a seed from torch's default generator, so that `torch.manual_seed` governs all of them."""
        return SeededRandomness(device, int(torch.randint(2**62, ())))

    def check_range(self, peak: Tensor, bits: int, dtype: torch.dtype) -> None:
        check_range(float(peak), bits, dtype)

    def check_repeated(self, repeated: Tensor, message: str) -> None:
        if not bool(repeated):
            raise RuntimeError(message)


IMMEDIATE = ImmediateHostAccess()


class HostDependent:
    """Base class of modules whose forward pass uses a `HostAccess`.

    Attributes:
        host_access: the one that is used. Code that runs the module may replace it for a while.
    """

    host_access: HostAccess = IMMEDIATE


def default_generator(device: torch.device) -> torch.Generator:
    """Return the generator from which operators on this device draw by default."""
    if device.type != "cuda":
        return torch.default_generator
    return torch.cuda.default_generators[torch.cuda.current_device() if device.index is None else device.index]
