"""One value a row, as SVG."""

from __future__ import annotations

from markupsafe import Markup

from revgnn.experiments.run_report.charts.chart import DotChart
from revgnn.experiments.run_report.charts.scale import make_scale, tick_text
from revgnn.experiments.run_report.charts.svg_parts import label, marker, rule, shortened, text_width, x_axis
from revgnn.experiments.run_report.markup import join

_ROW = 22.0


def draw_dots(chart: DotChart, width: int, _height: int) -> tuple[Markup, float]:
    """Return the inside of a picture, and its height: so many rows need so much."""
    names = [shortened(name, 0.36 * width) for name, _ in chart.rows]
    left = 12 + max((text_width(name) for name in names), default=0.0)
    values = [value for _, value in chart.rows] + ([] if chart.mark is None else [chart.mark.value])
    top = 26.0 if chart.mark is not None else 10.0
    bottom = top + _ROW * len(chart.rows)
    x = make_scale(chart.x, values, left, width - 58, most=max(3, int((width - 58 - left) / 62)))
    parts = [x_axis(x, bottom, chart.x.label, bottom + 38)]
    if chart.mark is not None:
        at = x(chart.mark.value)
        parts += [rule(at, top - 6, at, bottom, "guide"), label(chart.mark.text, at, top - 12, "note", "middle")]
    notes = chart.notes or [name for name, _ in chart.rows]
    for n, ((_, value), name, note) in enumerate(zip(chart.rows, names, notes, strict=True)):
        y = top + (n + 0.5) * _ROW
        parts += [
            label(name, left - 8, y + 4, "tick", "end"),
            rule(x.start, y, x.stop, y, "grid"),
            marker(1, x(value), y, note),
            label(f"{value:.3f}" if abs(value) < 10 else tick_text(value), width - 6, y + 4, "tick", "end"),
        ]
    return join(parts), bottom + 46
