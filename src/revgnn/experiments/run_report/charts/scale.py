"""Scales: from values to places in a picture, with round numbers along an axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from revgnn.experiments.run_report.charts.chart import Axis, XYChart

_LARGEST = 1e100
"""Values beyond it are drawn at the end of an axis: sums of them may overflow."""

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True)
class Scale:
    """A linear or logarithmic map of [low, high] to [start, stop].

    Attributes:
        ticks: value and text of each printed number.
    """

    low: float
    high: float
    start: float
    stop: float
    log: bool
    ticks: tuple[tuple[float, str], ...]

    def __call__(self, value: float) -> float:
        """Return the place of a value. Values outside are drawn at the nearer end."""
        value = min(max(value, self.low), self.high)
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.stop - self.start)


def make_scale(axis: Axis, values: Sequence[float], start: float, stop: float, *, most: int) -> Scale:
    """Return the scale of an axis for these values, with at most about `most` numbers along it."""
    values = [v for v in values if abs(v) < _LARGEST and (v > 1 / _LARGEST or not axis.log)]
    low = min(values, default=1.0) if axis.low is None else axis.low
    high = max(values, default=1.0) if axis.high is None else axis.high
    low, high = _apart(low, high, log=axis.log)
    if axis.ticks is not None:
        ticks = _spread(axis, [t for t in sorted(set(axis.ticks)) if low <= t <= high], low, high, most)
    elif axis.log:
        ticks = log_ticks(low, high, most)
    else:
        step = _step(high - low, most, whole=axis.whole)
        low = low if axis.low is not None else math.floor(low / step + 1e-9) * step
        high = high if axis.high is not None else math.ceil(high / step - 1e-9) * step
        high = max(high, low + step) if axis.high is None else high
        first = math.ceil(low / step - 1e-9)
        ticks = [n * step for n in range(first, math.floor(high / step + 1e-9) + 1)]
    if axis.log or axis.ticks is not None:
        low, high = _with_room(low, high, log=axis.log)
    return Scale(low, high, start, stop, axis.log, tuple((tick, tick_text(tick)) for tick in ticks))


def y_values(chart: XYChart) -> list[float]:
    """Return all heights in a picture: points, ends of error bars, horizontal lines to compare with."""
    values = [v for s in chart.series for v in s.y]
    for series in chart.series:
        for v, spread in zip(series.y, series.spread, strict=False):
            values += [v - spread, v + spread]
    return values + [mark.value for mark in chart.marks if mark.kind == "horizontal"]


def log_ticks(low: float, high: float, most: int) -> list[float]:
    """Return powers of ten between two numbers, with 2 and 5 between them if there is room."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for factors in ((1, 2, 5), (1, 3), (1,)):
        ticks = [f * 10.0**n for n in range(first, last + 1) for f in factors if low * 0.999 <= f * 10.0**n <= high * 1.001]
        if len(ticks) <= most:
            return ticks if len(ticks) > 1 else [low, high]
    every = math.ceil((last - first + 1) / most)
    return [10.0**n for n in range(first, last + 1, every) if low * 0.999 <= 10.0**n <= high * 1.001]


def tick_text(value: float) -> str:
    """Return a number as it is printed along an axis: 0.25, 1,200, 1e-6."""
    if value == 0:
        return "0"
    if not 1e-4 <= abs(value) < 1e6:
        return f"{value:.3g}".replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")
    return f"{round(value):,}" if abs(value - round(value)) < 1e-9 * abs(value) else f"{value:.4g}"


def _apart(low: float, high: float, *, log: bool) -> tuple[float, float]:
    """Return two ends that differ."""
    if high - low > max(1e-9 * max(abs(low), abs(high)), 1e-100):
        return low, high
    if log:
        return low / 2, high * 2
    gap = abs(low) / 2 if abs(low) > 1e-100 else 0.5
    return low - gap, high + gap


def _with_room(low: float, high: float, *, log: bool) -> tuple[float, float]:
    """Return the ends moved apart a little, so that no point lies on the frame."""
    if log:
        room = (high / low) ** 0.03
        return low / room, high * room
    room = 0.03 * (high - low)
    return low - room, high + room


def _step(span: float, most: int, *, whole: bool) -> float:
    rough = span / max(most, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(s * power for s in _STEPS if s * power >= rough * 0.999)
    return max(1.0, math.ceil(step)) if whole else step


def _spread(axis: Axis, ticks: list[float], low: float, high: float, most: int) -> list[float]:
    """Return some of the ticks, far enough apart to be read; the last one is kept."""
    flat = Scale(low, high, 0.0, 1.0, axis.log, ())
    kept: list[float] = []
    for tick in reversed(ticks):
        if not kept or flat(kept[-1]) - flat(tick) >= 0.9 / max(most, 1):
            kept.append(tick)
    return kept[::-1]
