"""Runs against one another: score and memory, depth, gradient strategies, views and parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from revgnn._text import bytes_text, score_text
from revgnn.experiments.run_files.reading import RunOnDisk
from revgnn.experiments.run_report.charts.chart import Axis, Series, XYChart
from revgnn.experiments.run_report.compared import Group, comparable, depth_study, groups
from revgnn.experiments.run_report.pictures.words import in_bytes, metric_text, plural, score_axis, wants_log

MOST_NAMED = 12
"""Groups that are all named; of more, only those that no other group beats in both score and memory."""

MOST_DRAWN = 400

_STRATEGIES = {"reversible": 1, "checkpoint": 3, "backprop": 2}


def score_against_memory(runs: Sequence[RunOnDisk]) -> XYChart | None:
    """Return scores against peak memory, a point for each group (Figure 1 of the paper); None for fewer than two groups."""
    scored = comparable(runs)
    finished = [run for run in scored if run.state == "finished"]
    alike = finished if len(groups(finished)) > 1 else scored
    part = "test" if alike and all(run.score("test") is not None for run in alike) else "valid"
    points = [
        (group, mean, peak) for group in groups(alike) if (mean := group.mean(part)) is not None and (peak := group.peak_bytes)
    ]
    if len(points) < 2:
        return None
    larger = alike[0].larger_is_better
    points.sort(key=lambda point: (point[2], -point[1] if larger else point[1]))
    points = points[:MOST_DRAWN]
    front = _front([mean if larger else -mean for _, mean, _ in points])
    sizes, unit = in_bytes([peak for _, _, peak in points])
    series = [Series("best for its memory", [sizes[i] for i in front], [points[i][1] for i in front], dashed=True, labelled=False)]
    for i, (group, mean, _) in enumerate(points):
        on_front = i in front
        series.append(
            Series(
                group.name,
                [sizes[i]],
                [mean],
                colour=1 if on_front else 0,
                style="points",
                labelled=on_front or len(points) <= MOST_NAMED,
                notes=[_note(group, part)],
                spread=[group.deviation(part) or 0.0],
            )
        )
    repeats = any(len(group.runs) > 1 for group, _, _ in points)
    caption = (
        f"Peak memory of the first training epoch, above weights and data, and {metric_text(alike[0].metric)} on "
        f"{'test' if part == 'test' else 'validation'} data{', means with deviations over runs' if repeats else ''}. "
        f"{'Up' if larger else 'Down'} and to the left is better; the dashed line joins what no other beats in both."
    )
    if len(alike) < len(scored):
        caption += f" Left out: {plural(len(scored) - len(alike), 'run')} that did not finish."
    axis = Axis(f"peak memory ({unit})", log=wants_log(sizes, 8))
    return XYChart(
        "score-memory", "Score against memory", caption, axis, score_axis(f"{metric_text(alike[0].metric)}, {part}", series), series
    )


def by_depth(runs: Sequence[RunOnDisk]) -> list[XYChart]:
    """Return memory by depth, a line for each gradient strategy, and scores; none without a study of depths."""
    study = [group for group in depth_study(runs) if group.gradient in _STRATEGIES]
    depths = sorted({group.depth or 0 for group in study})
    if len(depths) < 2:
        return []
    peaks = [(g.depth or 0, g.gradient or "", g.peak_bytes or 0) for g in study]
    charts = [_memory_chart(peaks, "memory-depth", "in training")]
    scored = [group for group in study if group.mean("valid") is not None]
    if len({group.depth for group in scored}) > 1:
        series = []
        for part, colour in (("valid", 1), ("test", 2)):
            best = [(depth, _best_at(scored, depth, part)) for depth in depths]
            known = [(depth, *value) for depth, value in best if value is not None]
            if known:
                xs, ys, spreads = ([row[i] for row in known] for i in (0, 1, 2))
                series.append(Series(part, xs, ys, colour=colour, style="both", spread=spreads))
        caption = "Of several gradient strategies the one with the best validation score. Bars are deviations over runs."
        axis = Axis("layers", log=depths[-1] > 8 * depths[0], ticks=depths)
        scores = score_axis(metric_text(scored[0].runs[0].metric), series)
        charts.append(XYChart("score-depth", "Score by depth", caption, axis, scores, series))
    return charts


def measured_memory(peaks: Sequence[tuple[int, str, int]]) -> XYChart | None:
    """Return the memory of one training step by depth and gradient strategy, as measured; None for fewer than two depths."""
    if len({depth for depth, _, _ in peaks}) < 2:
        return None
    return _memory_chart(peaks, "step-memory-depth", "of one training step")


def views_chart(scores: Mapping[tuple[int, int], Mapping[str, Any]], metric: str | None) -> XYChart | None:
    """Return scores by views, a line for each number of parts; None if there are fewer than two evaluations.

    Args:
        scores: `train`, `valid` and `test` by (views, parts).
    """
    if len(scores) < 2:
        return None
    part = "test" if all(row.get("test") is not None for row in scores.values()) else "valid"
    by_parts: dict[int, list[tuple[int, float]]] = {}
    for (views, parts), row in sorted(scores.items()):
        by_parts.setdefault(parts, []).append((views, row[part]))
    series = [
        Series(
            "whole graph" if parts == 1 else f"{parts} parts",
            [views for views, _ in row],
            [score for _, score in row],
            colour=1 + i % 6,
            style="both",
        )
        for i, (parts, row) in enumerate(sorted(by_parts.items()))
    ]
    views = sorted({views for views, _ in scores})
    caption = "Logits averaged over random partitions (views) of the graph into parts."
    axis = Axis("views", ticks=views, log=wants_log(views, 8))
    return XYChart("views", "Views and parts", caption, axis, score_axis(f"{metric_text(metric)}, {part}", series), series)


def _memory_chart(peaks: Sequence[tuple[int, str, int]], name: str, what: str) -> XYChart:
    sizes, unit = in_bytes([peak for _, _, peak in peaks])
    best: dict[tuple[str, int], float] = {}
    for (depth, gradient, _), size in zip(peaks, sizes, strict=True):
        best[gradient, depth] = max(size, best.get((gradient, depth), 0.0))
    series = []
    for gradient, colour in _STRATEGIES.items():
        line = sorted((depth, size) for (g, depth), size in best.items() if g == gradient)
        if line:
            series.append(Series(gradient, [d for d, _ in line], [s for _, s in line], colour=colour, style="both"))
    depths = sorted({depth for depth, _, _ in peaks})
    growth = "; ".join(f"{s.name} {s.y[-1] / s.y[0]:.1f} times from {s.x[0]} to {s.x[-1]} layers" for s in series if len(s.x) > 1)
    caption = (
        f"Peak memory {what}, above weights and data, by gradient strategy. Growth: {growth}." if growth else f"Peak memory {what}."
    )
    x = Axis("layers", log=depths[-1] > 8 * depths[0], ticks=depths)
    y = Axis(f"peak memory ({unit})", log=wants_log(sizes, 20), low=None if wants_log(sizes, 20) else 0)
    return XYChart(name, "Memory by depth", caption, x, y, series)


def _best_at(scored: Sequence[Group], depth: int, part: str) -> tuple[float, float] | None:
    """Return mean and deviation of the group with the best validation score at a depth."""
    here = [group for group in scored if group.depth == depth]
    if not here:
        return None
    sign = 1 if here[0].runs[0].larger_is_better else -1
    best = max(here, key=lambda group: sign * (group.mean("valid") or 0.0))
    mean = best.mean(part)
    return None if mean is None else (mean, best.deviation(part) or 0.0)


def _front(scores: Sequence[float]) -> list[int]:
    """Return which points, by ascending memory, have a better score than all that need less."""
    found, best = [], float("-inf")
    for i, score in enumerate(scores):
        if score > best:
            found.append(i)
            best = score
    return found


def _note(group: Group, part: str) -> str:
    deviation = group.deviation(part)
    spread = "" if deviation is None else f" ± {deviation:.4f}"
    size, count = bytes_text(group.peak_bytes or 0), plural(len(group.runs), "run")
    return f"{group.name}: {score_text(group.mean(part))}{spread}, {size}, {count}"
