"""What every benchmark needs: turns taken fairly, memory, a record of the machine, results as JSON lines, and a table."""

from __future__ import annotations

import datetime
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from revgnn.testing import peak_bytes
from revgnn.train import environment

RESULTS = Path(__file__).resolve().parent / "results"


class Spread(NamedTuple):
    """Median and range of repeated measurements: the 10th and 90th percentile from ten measurements on, else the extremes."""

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
        return f"{self.median:.{digits}g} ({self.low:.{digits}g} to {self.high:.{digits}g})"


def interleaved(
    contestants: Mapping[str, Callable[[], object]], repeats: int, device: torch.device | None = None
) -> dict[str, list[float]]:
    """Seconds of each call, `repeats` for each contestant.

    In every round each is called once, and the order turns from round to round: whatever else slows the machine for a while
    meets all alike, and no one always runs in the caches that the same neighbour left. Warm up before.
    """
    names = list(contestants)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for n in range(repeats):
        for name in names[n % len(names) :] + names[: n % len(names)]:
            _wait(device)
            start = time.perf_counter()
            contestants[name]()
            _wait(device)
            seconds[name].append(time.perf_counter() - start)
    return seconds


def ratios(slow: Sequence[float], fast: Sequence[float]) -> Spread:
    """How many times faster: the ratio within each round, then its spread."""
    return Spread.of([s / f for s, f in zip(slow, fast, strict=True)])


def memory(contestants: Mapping[str, Callable[[], object]], device: torch.device | str = "cpu") -> dict[str, int]:
    """Peak of live tensor bytes of one call each, above those alive before it. Not timed; also serves as the warm-up."""
    return {name: peak_bytes(work, device) for name, work in contestants.items()}


def record(device: torch.device | str = "cpu") -> dict[str, Any]:
    """Commit, machine, versions and time: what a figure means nothing without."""
    found = environment.describe(torch.device(device))
    found["cpu"] = _cpu_model()
    found["load_average"] = os.getloadavg()[0]
    found["time"] = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    return found


def append_line(result: Mapping[str, Any], name: str, folder: Path = RESULTS) -> Path:
    """Add one JSON line to `folder/name.jsonl`; a reader never sees half a line."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.jsonl"
    before = path.read_bytes() if path.exists() else b""
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as new:
        new.write(before + json.dumps(result).encode() + b"\n")
    os.replace(new.name, path)
    return path


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table, aligned, so that it can be read here and pasted into the documentation."""
    cells = [list(header), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[n]) for row in cells) for n in range(len(header))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"


def _wait(device: torch.device | None) -> None:
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor())
