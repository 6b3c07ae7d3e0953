"""Counts by row and column, as SVG."""

from __future__ import annotations

from markupsafe import Markup

from revgnn.experiments.run_report.charts.chart import MatrixChart
from revgnn.experiments.run_report.charts.svg_parts import label, shortened, text_width
from revgnn.experiments.run_report.markup import element, join

DARKEST = 0.5
"""Opacity of a cell with all of its row. The text on it keeps a contrast of 4.5 in both themes."""


def draw_matrix(chart: MatrixChart, width: int, _height: int) -> tuple[Markup, float]:
    """Return the inside of a picture, and its height: cells are squares, as far as that fits."""
    count = len(chart.names)
    names = [shortened(name, 0.26 * width) for name in chart.names]
    left = 12 + max(text_width(name) for name in names)
    cell = min(46.0, (width - left - 8) / count)
    top = 30 + 0.72 * max(text_width(name) for name in names)
    height = top + cell * count + 14
    parts = [label(f"{chart.row_label} ↓   {chart.column_label} →", 4, 14, "name")]
    longest = max(len(f"{n:,}") for row in chart.counts for n in row)
    has_numbers = longest * 6.7 < cell - 3
    for r, (row, name) in enumerate(zip(chart.counts, names, strict=True)):
        total = sum(row)
        y = top + r * cell
        if cell >= 9:
            parts.append(label(name, left - 8, y + cell / 2 + 4, "tick", "end"))
            place = f"translate({left + (r + 0.5) * cell + 4:.1f} {top - 6:.1f}) rotate(-45)"
            parts.append(element("text", name, transform=place, class_="tick"))
        for c, number in enumerate(row):
            share = number / total if total else 0.0
            note = f"{chart.names[r]} as {chart.names[c]}: {number:,} of {total:,}"
            parts.append(
                element(
                    "rect",
                    element("title", note),
                    x=left + c * cell,
                    y=y,
                    width=cell - 1,
                    height=cell - 1,
                    class_="cell" if r != c else "cell right",
                    fill_opacity=f"{DARKEST * share:.3f}",
                )
            )
            if has_numbers:
                shown = f"{number:,}" if number else "·"
                parts.append(label(shown, left + (c + 0.5) * cell, y + cell / 2 + 4, "count", "middle"))
    return join(parts), height
