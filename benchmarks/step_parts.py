"""Seconds, bytes and calls of each part of a training step: the package's own kernels, and torch's operators."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks import harness
from revgnn.kernels.cpu import kernel as kernels
from revgnn.memory import python_kernel

PARTS = {
    "max_forward": "aggregate, forward",
    "max_backward_x": "aggregate, backward",
    "max_backward_edges": "aggregate, backward",
    "perceptron_forward": "perceptron, forward",
    "perceptron_backward": "perceptron, backward",
    "norm_relu_forward": "norm_relu, forward",
    "norm_relu_backward": "norm_relu, backward",
    "advance": "grid, forward and back",
}
"""Part of the step that each kernel belongs to. A kernel that is not listed is a part of its own, without a bound."""
REST = "rest: Python, autograd"
TORCH = "torch: "
"""Prefix of the parts that are torch's operators."""
WRITE_ONLY = ("zero_", "fill_", "copy_", "bernoulli_")
"""Operators that do not read their first argument."""


class Usage(NamedTuple):
    """Seconds, bytes read and written, and calls of a part in one step."""

    seconds: float = 0.0
    moved: int = 0
    calls: int = 0

    def plus_call(self, seconds: float, moved: int = 0) -> Usage:
        return Usage(self.seconds + seconds, self.moved + moved, self.calls + 1)


Usages = defaultdict[str, Usage]
"""Usage of each part in one step."""


@contextmanager
def kernels_timed(into: Usages) -> Iterator[None]:
    """Inside, add every kernel of the package to `into`, by part."""

    def note(name: str, seconds: float) -> None:
        part = PARTS.get(name, name)
        into[part] = into[part].plus_call(seconds)

    kernels.observer = note
    try:
        yield
    finally:
        kernels.observer = None


class OperatorsTimed(TorchDispatchMode):
    """Context manager: inside, add every operator of torch to `into`, those called by the package's operators included.

    The time of Python and autograd between the operators is not added.
    """

    def __init__(self, into: Usages) -> None:
        super().__init__()
        self._into = into

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        kernel = python_kernel(func)
        if kernel is not None:
            with OperatorsTimed(self._into):
                return func._op_dk(kernel, *args, **kwargs)
        start = time.perf_counter()
        out = func(*args, **kwargs)
        seconds = time.perf_counter() - start
        name = f"{TORCH}{func.overloadpacket.__name__}"
        self._into[name] = self._into[name].plus_call(seconds, moved_bytes(func, args, out))
        return out


def moved_bytes(func: Any, args: Sequence[Any], out: Any) -> int:
    """Return the least bytes that an operator reads and writes: each tensor once. Views and allocations move nothing."""
    name = func.overloadpacket.__name__
    inputs = {t.untyped_storage()._cdata for t in _tensors(args)}
    is_view = not func._schema.is_mutable and inputs.issuperset(t.untyped_storage()._cdata for t in _tensors(out))
    if is_view or "empty" in name:
        return 0
    read = args[1:] if name in WRITE_ONLY else args
    # an expanded dimension is stored once, and read once
    return sum(min(t.numel() * t.element_size(), t.untyped_storage().nbytes()) for t in (*_tensors(read), *_tensors(out)))


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    return [t for each in value for t in _tensors(each)] if isinstance(value, list | tuple) else []


def measure(run: Callable[[], None], repeats: int, tick: Callable[[str], None]) -> tuple[dict[str, list[float]], list[Usages]]:
    """Run `repeats` rounds of three steps: one as it is, one with kernels timed, one with operators timed.

    Returns:
        Seconds of the steps of each kind, and the usage of each part in each round. `REST` is what a step as it is takes beyond
        kernels and operators.
    """
    kernels: list[Usages] = []
    operators: list[Usages] = []

    def with_kernels_timed() -> None:
        kernels.append(defaultdict(Usage))
        with kernels_timed(kernels[-1]):
            run()

    def with_operators_timed() -> None:
        operators.append(defaultdict(Usage))
        with OperatorsTimed(operators[-1]):
            run()

    run()
    seconds = harness.interleaved(
        {"as it is": run, "kernels noted": with_kernels_timed, "operators noted": with_operators_timed}, repeats, tick=tick
    )
    rounds = []
    for whole, of_kernels, of_operators in zip(seconds["as it is"], kernels, operators, strict=True):
        parts = defaultdict(Usage, {**of_kernels, **of_operators})
        parts[REST] = Usage(whole - sum(part.seconds for part in parts.values()))
        rounds.append(parts)
    return seconds, rounds
