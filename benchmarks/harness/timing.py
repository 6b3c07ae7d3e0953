"""Measurements: seconds in fair turns, ratios within a round, peak memory; and the rule that wrong results are not timed."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from revgnn.testing import peak_bytes


def checks_pass(*checks: Callable[[], object]) -> bool:
    """Run the checks, which raise `AssertionError` for a wrong result. Report the first failure on stderr and return False."""
    for check in checks:
        try:
            check()
        except AssertionError as error:
            print(f"no figures, because the results are wrong: {error}", file=sys.stderr)
            return False
    return True


class Spread(NamedTuple):
    """Median and range of repeated measurements: 10th and 90th percentile for ten measurements or more, else the extremes."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        if len(values) < 10:
            return cls(statistics.median(values), min(values), max(values))
        tenths = statistics.quantiles(values, n=10)
        return cls(statistics.median(values), tenths[0], tenths[-1])

    def text(self, digits: int = 3) -> str:
        """Return "median (low to high)"."""
        return f"{self.median:.{digits}g} ({self.low:.{digits}g} to {self.high:.{digits}g})"


def interleaved(
    contestants: Mapping[str, Callable[[], object]],
    repeats: int,
    device: torch.device | None = None,
    *,
    into: dict[str, list[float]] | None = None,
    tick: Callable[[str], None] | None = None,
) -> dict[str, list[float]]:
    """Return the seconds of each call, `repeats` for each contestant.

    Every round calls each contestant once, and the order rotates from round to round. So a slow period of the machine affects
    all of them alike, and no contestant always finds the caches as the same neighbour left them. Warm up before.

    Args:
        contestants: what to call, by name.
        repeats: number of rounds.
        device: waited for before and after each call if it is a CUDA device.
        into: receives the seconds as they are measured, for a result that survives an interruption.
        tick: called with the name of each contestant after its turn.
    """
    names = list(contestants)
    seconds = {} if into is None else into
    seconds.update({name: [] for name in names})
    for n in range(repeats):
        for name in names[n % len(names) :] + names[: n % len(names)]:
            synchronize(device)
            start = time.perf_counter()
            contestants[name]()
            synchronize(device)
            seconds[name].append(time.perf_counter() - start)
            if tick is not None:
                tick(name)
    return seconds


def ratios(slow: Sequence[float], fast: Sequence[float]) -> Spread:
    """Return how many times faster `fast` is: the ratio within each round, then its spread."""
    return Spread.of([s / f for s, f in zip(slow, fast, strict=True)])


def peak_memory(contestants: Mapping[str, Callable[[], object]], device: torch.device | str = "cpu") -> dict[str, int]:
    """Return the peak of live tensor bytes in one call of each, above those alive before. Not timed; also serves as the warm-up."""
    return {name: peak_bytes(work, device) for name, work in contestants.items()}


def available_bytes() -> int | None:
    """Return the memory that is free on this machine, or None if the system does not tell (it does on Linux)."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")), None)


def synchronize(device: torch.device | None) -> None:
    """Wait until a CUDA device has finished its work; do nothing for other devices."""
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)
