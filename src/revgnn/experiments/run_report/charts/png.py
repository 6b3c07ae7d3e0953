"""Pictures as PNG, drawn by matplotlib, which is imported on the first call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from revgnn.experiments.run_report.charts.chart import Chart, DotChart, MatrixChart, Series, XYChart
from revgnn.experiments.run_report.charts.scale import Scale, make_scale, y_values
from revgnn.experiments.run_report.charts.svg_matrix import DARKEST
from revgnn.experiments.run_report.charts.svg_parts import shortened
from revgnn.files import replacing

_COLOURS = ("#858d96", "#1f5fa8", "#b1470f", "#12725a", "#84459a", "#6a6000", "#b02a68")
"""Those of the light theme in chart.css."""

_MARKERS = ("D", "o", "s", "^")
_INK, _SOFT, _RULE = "#1a1d21", "#565d66", "#e1e4e8"
_DPI = 160


def has_matplotlib() -> bool:
    """Return whether matplotlib is installed."""
    from importlib.util import find_spec

    return find_spec("matplotlib") is not None


def write_png(chart: Chart, path: Path) -> None:
    """Draw a picture into a file. No window is opened, and no setting of matplotlib's is changed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height = 4.0 if isinstance(chart, XYChart) else _height(chart)
    figure = Figure(figsize=(6.4, height), dpi=_DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(_text(chart.title, 70), loc="left", fontsize=11, fontweight="bold", color=_INK)
    match chart:
        case XYChart():
            _draw_xy(axes, chart)
        case DotChart():
            _draw_dots(axes, chart)
        case MatrixChart():
            _draw_matrix(axes, chart)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": "revgnn"})


def _height(chart: DotChart | MatrixChart) -> float:
    rows = len(chart.rows) if isinstance(chart, DotChart) else 1.6 * len(chart.names)
    return min(12.0, 1.4 + 0.28 * rows) if isinstance(chart, DotChart) else min(8.0, max(4.0, 0.28 * rows + 2))


def _text(text: str, most: int = 44) -> str:
    """Return a text as matplotlib prints it as it is: a dollar sign would begin a formula."""
    return shortened(text, 6.7 * most).replace("$", r"\$")


def _frame(axes: Any, grid: str) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_SOFT)
    axes.tick_params(colors=_SOFT, labelsize=8)
    axes.grid(axis=grid, color=_RULE, linewidth=0.7)
    axes.set_axisbelow(True)


def _draw_xy(axes: Any, chart: XYChart) -> None:
    _frame(axes, "y")
    xs = [v for s in chart.series for v in s.x]
    x_scale = make_scale(chart.x, xs, 0, 1, most=7)
    _limits(axes.xaxis, x_scale)
    _limits(axes.yaxis, make_scale(chart.y, y_values(chart), 0, 1, most=6))
    axes.set_xlabel(_text(chart.x.label, 80), fontsize=9, color=_SOFT)
    axes.set_ylabel(_text(chart.y.label, 60), fontsize=9, color=_SOFT)
    if chart.square:
        axes.set_box_aspect(1)
    for mark in chart.marks:
        match mark.kind:
            case "vertical":
                axes.axvline(mark.value, color=_SOFT, linestyle=":", linewidth=1)
                axes.annotate(_text(mark.text), (mark.value, 1), xycoords=("data", "axes fraction"), **_NOTE)
            case "horizontal":
                axes.axhline(mark.value, color=_SOFT, linestyle=":", linewidth=1)
                axes.annotate(_text(mark.text), (0, mark.value), xycoords=("axes fraction", "data"), **_NOTE)
            case "diagonal":
                axes.axline((0, 0), slope=1, color=_SOFT, linestyle=":", linewidth=1)
    named = [_draw_series(axes, series) for series in sorted(chart.series, key=lambda s: s.colour > 0) if len(series.x)]
    for series in chart.series:
        if series.style == "points" and series.labelled and len(series.x):
            _name_point(axes, series, at_right=x_scale(series.x[-1]) > 0.6)
    # matplotlib does not move texts apart, so that names of lines stand in a legend here
    handles = [handle for handle in named if handle is not None]
    if handles:
        axes.legend(handles=handles, fontsize=8, frameon=False, labelcolor="linecolor", loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _draw_series(axes: Any, series: Series) -> Any:
    colour = _COLOURS[series.colour]
    if series.spread and series.band:
        ends = [[y + sign * spread for y, spread in zip(series.y, series.spread, strict=True)] for sign in (-1, 1)]
        axes.fill_between(series.x, *ends, color=colour, alpha=0.16, linewidth=0)
    elif series.spread:
        axes.errorbar(series.x, series.y, yerr=series.spread, fmt="none", ecolor=colour, elinewidth=1.2)
    (line,) = axes.plot(
        series.x,
        series.y,
        color=colour,
        linestyle="none" if series.style == "points" else "--" if series.dashed else "-",
        linewidth=0.8 if series.colour == 0 else 1.6,
        marker=None if series.style == "line" and len(series.x) > 1 else _MARKERS[series.colour % 4],
        markersize=5,
        label=_text(series.name, 28),
        clip_on=series.style == "line",  # a point on the frame is a whole point
    )
    return line if series.labelled and series.style != "points" else None


def _name_point(axes: Any, series: Series, *, at_right: bool) -> None:
    """Write the name of a single point beside it, towards the middle of the picture."""
    where = {"xytext": (-7 if at_right else 7, 4), "textcoords": "offset points", "ha": "right" if at_right else "left"}
    colour = _COLOURS[series.colour] if series.colour else _SOFT
    axes.annotate(_text(series.name, 40), (series.x[-1], series.y[-1]), **where, fontsize=8, color=colour)


def _limits(axis: Any, scale: Scale) -> None:
    axis.axes.set(**{f"{axis.axis_name}scale": "log" if scale.log else "linear"})
    axis.axes.set(**{f"{axis.axis_name}lim": (scale.low, scale.high)})
    axis.set_ticks([value for value, _ in scale.ticks], labels=[text for _, text in scale.ticks])
    axis.set_ticks([], minor=True)


def _draw_dots(axes: Any, chart: DotChart) -> None:
    _frame(axes, "y")
    places = range(len(chart.rows))
    values = [value for _, value in chart.rows] + ([] if chart.mark is None else [chart.mark.value])
    _limits(axes.xaxis, make_scale(chart.x, values, 0, 1, most=7))
    axes.plot([value for _, value in chart.rows], places, "o", color=_COLOURS[1])
    axes.set_yticks(places, labels=[_text(name, 28) for name, _ in chart.rows])
    axes.set_ylim(len(chart.rows) - 0.4, -0.6)
    axes.set_xlabel(_text(chart.x.label, 80), fontsize=9, color=_SOFT)
    if chart.mark is not None:
        axes.axvline(chart.mark.value, color=_SOFT, linestyle=":", linewidth=1)


def _draw_matrix(axes: Any, chart: MatrixChart) -> None:
    shares = [[n / (sum(row) or 1) * DARKEST for n in row] for row in chart.counts]
    axes.imshow(shares, cmap=_shades(), vmin=0, vmax=1)
    places = range(len(chart.names))
    names = [_text(name, 18) for name in chart.names]
    axes.set_xticks(places, labels=names, rotation=45, ha="right", fontsize=8)
    axes.set_yticks(places, labels=names, fontsize=8)
    axes.set_xlabel(_text(chart.column_label), fontsize=9, color=_SOFT)
    axes.set_ylabel(_text(chart.row_label), fontsize=9, color=_SOFT)
    if len(chart.names) <= 16:
        for r, row in enumerate(chart.counts):
            for c, number in enumerate(row):
                axes.text(c, r, f"{number:,}" if number else "·", ha="center", va="center", fontsize=7, color=_INK)


def _shades() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("shades", ["#ffffff", _COLOURS[1]])


_NOTE: dict[str, Any] = {"xytext": (3, 3), "textcoords": "offset points", "fontsize": 8, "color": _SOFT}
