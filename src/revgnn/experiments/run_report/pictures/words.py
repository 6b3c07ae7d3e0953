"""Words and units that pictures share."""

from __future__ import annotations

from collections.abc import Sequence

from revgnn.experiments.run_report.charts.chart import Axis, Series

_METRICS = {
    "rocauc": "ROC-AUC",
    "f1": "F1",
    "f1_micro": "F1 (micro)",
    "f1_macro": "F1 (macro)",
    "ap": "average precision",
    "mae": "mean absolute error",
    "rmse": "root mean squared error",
    "r2": "R²",
}

_LEAST_SPAN = 0.05

_UNITS = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def metric_text(metric: str | None) -> str:
    """Return the name of a score as it is written."""
    return "score" if metric is None else _METRICS.get(metric, metric)


def in_bytes(values: Sequence[float]) -> tuple[list[float], str]:
    """Return sizes in the unit of the largest, and the unit."""
    size, unit = next(((size, unit) for size, unit in _UNITS if max(values, default=0) >= size), (1.0, "B"))
    return [value / size for value in values], unit


def wants_log(values: Sequence[float], ratio: float) -> bool:
    """Return whether positive values span more than this ratio, so that a linear axis would hide the small ones."""
    return len(values) > 1 and min(values) > 0 and max(values) / min(values) > ratio


def plural(count: int, word: str) -> str:
    """Return a count with its word: 1 run, 2 runs."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def score_axis(label: str, series: Sequence[Series]) -> Axis:
    """Return the axis of scores. It spans a twentieth at least, so that noise in the last digits does not fill the picture."""
    scores = [value for line in series for value in line.y]
    values = scores + [
        y + sign * spread for line in series for y, spread in zip(line.y, line.spread, strict=False) for sign in (-1, 1)
    ]
    if not values or max(values) - min(values) >= _LEAST_SPAN or max(map(abs, scores)) > 1:
        return Axis(label)
    middle = round((max(values) + min(values)) / 2 / 0.005) * 0.005
    high = max(min(middle + 0.6 * _LEAST_SPAN, 1.0), max(values))  # no room above 1, where no score is
    return Axis(label, low=high - 1.2 * _LEAST_SPAN, high=high)


def called(kind: str, name: str) -> str:
    """Return a name as it is; one that is only a number with what it is: class 3."""
    return f"{kind} {name}" if name.isdecimal() else name
