"""Pictures of a depth study: scores with bands, costs, influence by hops, and the state through the layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from revgnn._text import score_text
from revgnn.experiments.run_report.charts.chart import COLOURS, Axis, Mark, Series, XYChart
from revgnn.experiments.run_report.pictures.words import in_bytes, metric_text, plural, score_axis, wants_log

Study = dict[str, Any]
Cells = Sequence[dict[str, Any]]

LEAST_SHARE = 1e-12
"""Shares of influence below it are not drawn."""


def cost_charts(study: Study) -> list[XYChart]:
    """Return score, memory and time by depth."""
    found = [_scores(study), _memory(study), _time(study)]
    return [chart for chart in found if chart is not None]


def influence_charts(study: Study, family: str) -> list[XYChart]:
    """Return the influence by hops of a family, a line for each depth, and the hops that hold half and most of it."""
    cells = [cell for cell in _of(study, family) if (cell.get("reasons") or {}).get("influence")]
    if not cells:
        return []
    horizon = (study.get("graph") or {}).get("horizon")
    marks = (Mark("vertical", "what the label depends on", horizon["hops"]),) if horizon else ()
    series, largest = [], 0
    for colour, cell in _coloured(cells):
        by_hop = cell["reasons"]["influence"]["by_hop"]
        total = sum(by_hop)
        points = [(h, value / total) for h, value in enumerate(by_hop) if total > 0 and value / total > LEAST_SHARE]
        largest = max([largest, *(h for h, _ in points)])
        if points:
            name = plural(cell["depth"], "layer")
            series.append(Series(name, [h for h, _ in points], [share for _, share in points], colour=colour))
    nodes = cells[0]["reasons"]["influence"]["nodes"]
    by_hops = XYChart(
        f"influence-{family}",
        "Influence by distance",
        f"Share of the squared Jacobian of the outputs of {plural(nodes, 'test node')} that belongs to the features of nodes at "
        f"each hop; best run of each depth ({family}). Shares below {LEAST_SHARE:g} are left out.",
        Axis("hops", whole=True, low=0, high=max(largest, 1)),
        Axis("share of the influence", log=True),
        series,
        marks,
    )
    return [by_hops, _receptive_field(cells, family, horizon)] if len(cells) > 1 else [by_hops]


def state_charts(study: Study, family: str) -> list[XYChart]:
    """Return smoothness and rank of the state, size of the state, and gradients of a family, by the share of the layers passed."""
    cells = _of(study, family)
    charts = [
        _through(
            cells,
            f"dirichlet-{family}",
            "Differences along edges",
            "Dirichlet energy of the state beside its variance: about 1 where neighbours are no more alike than any two nodes, 0 "
            "where they are equal (over-smoothing).",
            "energy / variance",
            lambda reasons: (reasons.get("states") or {}).get("dirichlet"),
        ),
        _through(
            cells,
            f"rank-{family}",
            "Directions in use",
            "Effective rank of the state without its mean; 1 if all nodes differ in one direction only.",
            "effective rank",
            lambda reasons: (reasons.get("states") or {}).get("rank"),
        ),
        _through(
            cells,
            f"size-{family}",
            "Size of the state",
            "Root mean square over nodes and channels, after each layer.",
            "root mean square",
            lambda reasons: (reasons.get("profile") or {}).get("state"),
        ),
        _through(
            cells,
            f"gradient-{family}",
            "Gradients",
            "Root mean square of the gradient of each layer's parameters, in one training step from the best weights.",
            "root mean square",
            lambda reasons: (reasons.get("profile") or {}).get("gradient"),
        ),
    ]
    return [chart for chart in charts if chart is not None]


def _scores(study: Study) -> XYChart | None:
    part, larger = study["compared"], study["larger_is_better"]
    series = []
    for number, family in enumerate(study["families"]):
        cells = [cell for cell in _of(study, family) if cell[part] is not None]
        if cells:
            means = [cell[part]["mean"] for cell in cells]
            halves = [0.0 if cell[part]["high"] is None else cell[part]["high"] - cell[part]["mean"] for cell in cells]
            notes = [f"{plural(c['depth'], 'layer')}: {score_text(c[part]['mean'])}, {plural(c[part]['n'], 'run')}" for c in cells]
            depths = [cell["depth"] for cell in cells]
            colour = 1 + number % COLOURS
            series.append(Series(family, depths, means, colour, "both", notes=notes, spread=halves, band=any(halves)))
    if not series:
        return None
    metric = metric_text(study["metric"])
    caption = (
        f"Mean {metric} on {'test' if part == 'test' else 'validation'} data; the band is the {study['level']:.0%} t interval over "
        f"seeds and splits. {'Higher' if larger else 'Lower'} is better. Rates were chosen for each depth on validation data."
    )
    return XYChart(
        "score-by-depth",
        "Score by depth",
        caption,
        _depth_axis(study),
        _band_axis(score_axis(f"{metric}, {part}", series), series),
        series,
        _horizon_marks(study),
    )


def _band_axis(axis: Axis, series: Sequence[Series]) -> Axis:
    """Return the axis of scores, cut where bands go far beyond all means, as those of two runs do, and where no score can be."""
    means = [y for s in series for y in s.y]
    ends = [y + sign * half for s in series for y, half in zip(s.y, s.spread, strict=True) for sign in (-1, 1)]
    room = max(max(means) - min(means), 0.02)
    low, high = max(min(ends), min(means) - room), min(max(ends), max(means) + room)
    if all(0 <= mean <= 1 for mean in means):
        low, high = max(low, 0.0), min(high, 1.0)
    return Axis(
        axis.label, low=low if axis.low is None else min(low, axis.low), high=high if axis.high is None else max(high, axis.high)
    )


def _memory(study: Study) -> XYChart | None:
    known = [cell for cell in study["cells"] if cell["peak_bytes"]]
    sizes, unit = in_bytes([cell["peak_bytes"] for cell in known])
    size_of = {(cell["family"], cell["depth"]): size for cell, size in zip(known, sizes, strict=True)}
    series = _by_family(study, lambda cell: size_of.get((cell["family"], cell["depth"])))
    log = wants_log(sizes, 20)
    axis = Axis(f"peak memory ({unit})", log=log, low=None if log else 0)
    caption = "Peak of tensors allocated in the first training epoch, above weights and data."
    return XYChart("memory-by-depth", "Memory by depth", caption, _depth_axis(study), axis, series) if series else None


def _time(study: Study) -> XYChart | None:
    series = _by_family(study, lambda cell: cell["seconds_per_epoch"])
    values = [value for line in series for value in line.y]
    log = wants_log(values, 8)
    axis = Axis("seconds an epoch", log=log, low=None if log else 0)
    caption = "Median wall time of a training epoch, without evaluation."
    return XYChart("time-by-depth", "Time by depth", caption, _depth_axis(study), axis, series) if series else None


def _by_family(study: Study, value: Callable[[dict[str, Any]], float | None]) -> list[Series]:
    series = []
    for number, family in enumerate(study["families"]):
        points = [(cell["depth"], v) for cell in _of(study, family) if (v := value(cell))]
        if points:
            series.append(Series(family, [d for d, _ in points], [v for _, v in points], 1 + number % COLOURS, "both"))
    return series


def _receptive_field(cells: Cells, family: str, horizon: dict[str, Any] | None) -> XYChart:
    depths = [cell["depth"] for cell in cells]
    found = [cell["reasons"]["influence"] for cell in cells]
    series = [
        Series("90 %", depths, [each["hops_of_most"] for each in found], 2, "both"),
        Series("50 %", depths, [each["hops_of_half"] for each in found], 1, "both"),
    ]
    marks = (Mark("horizontal", "what the label depends on", horizon["hops"]),) if horizon else ()
    return XYChart(
        f"field-{family}",
        "Effective receptive field",
        f"Least hops that hold 50 % and 90 % of the influence, best run of each depth ({family}).",
        Axis("layers", log=depths[-1] > 8 * depths[0], ticks=depths),
        Axis("hops", low=0),
        series,
        marks,
    )


def _through(
    cells: Cells, name: str, title: str, caption: str, label: str, values: Callable[[dict[str, Any]], list[float] | None]
) -> XYChart | None:
    """Return a picture of one number a layer, a line for each depth; None if fewer than two layers have it."""
    series = []
    for colour, cell in _coloured([cell for cell in cells if len(values(cell.get("reasons") or {}) or ()) > 1]):
        line = values(cell["reasons"]) or []
        places = [n / (len(line) - 1) for n in range(len(line))]
        series.append(Series(plural(cell["depth"], "layer"), places, line, colour=colour))
    if not series:
        return None
    log = wants_log([value for line in series for value in line.y], 10)
    axis = Axis(label, log=log, low=None if log else 0)
    return XYChart(name, title, caption, Axis("share of the layers passed", low=0, high=1), axis, series)


def _coloured(cells: Cells) -> list[tuple[int, dict[str, Any]]]:
    """Return at most as many cells as there are colours, the shallowest and the deepest among them, each with a colour."""
    if len(cells) > COLOURS:
        cells = [cells[round(n * (len(cells) - 1) / (COLOURS - 1))] for n in range(COLOURS)]
    return list(enumerate(cells, start=1))


def _of(study: Study, family: str) -> list[dict[str, Any]]:
    return sorted((cell for cell in study["cells"] if cell["family"] == family), key=lambda cell: cell["depth"])


def _depth_axis(study: Study) -> Axis:
    depths = sorted({cell["depth"] for cell in study["cells"]})
    return Axis("layers", log=depths[-1] > 4 * depths[0], ticks=depths)


def _horizon_marks(study: Study) -> tuple[Mark, ...]:
    """Return what is known of a generated task: the score of chance."""
    horizon = (study.get("graph") or {}).get("horizon")
    return (Mark("horizontal", "chance", horizon["chance"]),) if horizon else ()
