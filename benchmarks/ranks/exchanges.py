"""The seconds that a process spends in exchanges with others, waiting for the others included."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch.distributed as dist

IN_EXCHANGES = "of these in exchanges"
"""Head of the column that `waiting` fills."""


class ExchangeClock:
    """Context manager: measures how long this process is blocked in exchanges inside.

    Every exchange ends with `Work.wait`: a collective operation or a message that blocks calls it at once, and what goes on in the
    background is waited for when its result is needed. While a clock runs the method is replaced, so that what is measured is as it
    is. gloo blocks in it; NCCL does not, since a GPU waits for itself.

    Attributes:
        seconds: since `restart`.
    """

    def __init__(self) -> None:
        self.seconds = 0.0

    def restart(self) -> None:
        """Begin at 0."""
        self.seconds = 0.0

    def __enter__(self) -> ExchangeClock:
        self._wait = wait = dist.Work.wait

        def timed(work: dist.Work, *args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return wait(work, *args, **kwargs)
            finally:
                self.seconds += time.perf_counter() - start

        dist.Work.wait = timed  # pyright: ignore[reportAttributeAccessIssue]
        return self

    def __exit__(self, *_: object) -> None:
        dist.Work.wait = self._wait


def waiting(processes: Sequence[Mapping[str, Any]]) -> str:
    """Return the share of its shortest step that each process has spent in exchanges: "least to most of the processes"."""
    shares = []
    for process in processes:
        step, inside = min(zip(process["seconds"], process["exchange_seconds"], strict=True))
        shares.append(inside / step)
    low, high = min(shares), max(shares)
    return f"{low:.0%} to {high:.0%}" if len(shares) > 1 else f"{high:.0%}"
