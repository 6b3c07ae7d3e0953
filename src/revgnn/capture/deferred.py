"""Host access for a step that is recorded: nothing is read on the host before its end, and no generator is seeded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from revgnn.capture.obstacles import CaptureError
from revgnn.stack.host_access import BlockRandomness, HostAccess, HostDependent, check_range, default_generator


class DeferredChecks:
    """Numbers that tell whether a step was right. They stay on the device until `verify` reads all of them at once."""

    def __init__(self) -> None:
        self._values: list[Tensor] = []
        self._judges: list[Callable[[float], None]] = []
        self._gathered: Tensor | None = None

    def add(self, value: Tensor, judge: Callable[[float], None]) -> None:
        """Note a number, shape (), and the function that raises an error if it is wrong."""
        self._values.append(value)
        self._judges.append(judge)

    def gather(self) -> None:
        """Put all numbers into one tensor. Call this at the end of the step."""
        if self._values:
            self._gathered = torch.stack([value.to(torch.float64) for value in self._values])
        self._values.clear()

    def verify(self) -> None:
        """Wait for the step and judge all numbers. Works again after each replay of the step.

        Raises:
            StateRangeError: for the first state that has left the range of its grid.
            RuntimeError: if a second evaluation has not led to the state of the first.
        """
        values = [] if self._gathered is None else self._gathered.tolist()
        for value, judge in zip(values, self._judges, strict=True):
            judge(value)


class RewoundRandomness(BlockRandomness):
    """Blocks draw from where torch's default generator of the device stands; a second evaluation goes back to that state.

    A generator may not be seeded while a graph is recorded. It may be set back to a state that it has had since recording began
    (torch 2.10, pull request 162505; `torch.utils.checkpoint` does the same). If a block has drawn nothing, it is not set.
    """

    def __init__(self, device: torch.device) -> None:
        self._generator = default_generator(device)
        self._states: list[Tensor] = []
        """State before each block, in the order of the first evaluations, and the state after the last block."""
        self._index: dict[int, int] = {}
        """From the place of a block to its index in `_states`."""
        self._furthest: Tensor | None = None
        """The state that the generator had before it was first set back in this pass."""

    @contextmanager
    def around_pass(self) -> Iterator[None]:
        """Afterwards the generator continues from the furthest state it has had, so that no number is used for two purposes."""
        try:
            yield
        finally:
            if self._furthest is None:
                self._states.append(self._generator.get_state())
            else:
                self._generator.set_state(self._furthest)
                self._furthest = None

    def begin_block(self, place: int) -> None:
        current = self._generator.get_state()
        index = self._index.setdefault(place, len(self._states))
        if index == len(self._states):
            self._states.append(current)
            return
        if index + 1 == len(self._states):
            self._states.append(current)
        before, after = self._states[index : index + 2]
        if np.array_equal(before.numpy(), after.numpy()):
            return
        if self._furthest is None:
            self._furthest = current
        self._generator.set_state(before)


class DeferredHostAccess(HostAccess):
    """Leaves checks of states to whoever runs the step, and sets generators back instead of seeding them."""

    def __init__(self, checks: DeferredChecks) -> None:
        self._checks = checks

    def block_randomness(self, device: torch.device) -> BlockRandomness:
        return RewoundRandomness(device)

    def check_range(self, peak: Tensor, bits: int, dtype: torch.dtype) -> None:
        self._checks.add(peak, partial(check_range, bits=bits, dtype=dtype))

    def check_repeated(self, repeated: Tensor, message: str) -> None:
        self._checks.add(repeated, partial(_refuse_unless, message=message))


@contextmanager
def deferred_host_access(model: nn.Module) -> Iterator[DeferredChecks]:
    """Give the modules of the model a deferred host access inside. Yields their checks.

    Call `gather` of the checks inside, after the step, and `verify` afterwards.

    Raises:
        CaptureError: if the model is already within such a context.
    """
    modules = [module for module in model.modules() if isinstance(module, HostDependent)]
    previous = [module.host_access for module in modules]
    if any(isinstance(access, DeferredHostAccess) for access in previous):
        raise CaptureError("a step that is recorded cannot run inside another one of the same model.")
    checks = DeferredChecks()
    access = DeferredHostAccess(checks)
    for module in modules:
        module.host_access = access
    try:
        yield checks
    finally:
        for module, own in zip(modules, previous, strict=True):
            module.host_access = own


def _refuse_unless(right: float, message: str) -> None:
    if not right:
        raise RuntimeError(message)
