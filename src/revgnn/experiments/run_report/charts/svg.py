"""Pictures as SVG. Colours are classes that `chart.css` defines, so a picture follows the theme of the page it stands in."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

from markupsafe import Markup

from revgnn._text import clean
from revgnn.experiments.run_report.charts.chart import Chart, DotChart, MatrixChart, XYChart
from revgnn.experiments.run_report.charts.svg_dots import draw_dots
from revgnn.experiments.run_report.charts.svg_matrix import draw_matrix
from revgnn.experiments.run_report.charts.svg_xy import draw_xy
from revgnn.experiments.run_report.markup import element


class Size(NamedTuple):
    """Width and height in pixels; a picture may be higher if it has many rows."""

    width: int
    height: int


WIDE = Size(540, 340)
"""A column of a desk's screen."""

NARROW = Size(350, 300)
"""A phone."""


def svg(chart: Chart, size: Size, class_: str = "") -> Markup:
    """Return a picture as an element of a page."""
    body, height = _draw(chart, size)
    return element(
        "svg",
        body,
        class_=f"chart {class_}".strip(),
        viewBox=f"0 0 {size.width} {height:.0f}",
        role="img",
        aria_label=f"{chart.title}. {chart.caption}",
    )


def svg_file(chart: Chart) -> str:
    """Return a picture as the text of a file of its own, with title and theme."""
    body, height = _draw(chart, WIDE)
    top = 30
    content = element("svg", body, viewBox=f"0 0 {WIDE.width} {height:.0f}", y=top, width=WIDE.width, height=float(height))
    whole = element(
        "svg",
        [
            element("title", chart.title),
            element("style", Markup(chart_css())),  # our own file, not a text of the user's
            element("rect", (), class_="paper", width="100%", height="100%"),
            element("text", clean(chart.title, 70), class_="title", x=12, y=22),
            content,
        ],
        xmlns="http://www.w3.org/2000/svg",
        class_="chart",
        viewBox=f"0 0 {WIDE.width} {height + top:.0f}",
        width=WIDE.width,
        height=float(height + top),
    )
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{whole}\n'


@cache
def chart_css() -> str:
    """Return the style of pictures, in the light and in the dark theme."""
    return resources.files("revgnn.experiments.run_report").joinpath("chart.css").read_text(encoding="utf-8")


def _draw(chart: Chart, size: Size) -> tuple[Markup, float]:
    """Return what is inside of a picture, and its height."""
    drawers: dict[type, Callable[[Any, int, int], tuple[Markup, float]]] = {
        XYChart: draw_xy,
        DotChart: draw_dots,
        MatrixChart: draw_matrix,
    }
    return drawers[type(chart)](chart, *size)
