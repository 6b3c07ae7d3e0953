"""The drawings of docs/how-it-works.md, as SVG. Colours are those of the pictures of reports, in the light and the dark theme."""

from __future__ import annotations

from collections.abc import Iterable

from markupsafe import Markup

from revgnn.experiments.run_report.charts.svg import chart_css
from revgnn.experiments.run_report.markup import element, join

MINUS = "\N{MINUS SIGN}"

_CSS = """
.chart .box { fill: var(--paper); stroke: var(--axis); stroke-width: 1.2; }
.chart .block { fill: var(--paper); stroke: var(--c1); stroke-width: 1.8; }
.chart .big { fill: var(--c2); fill-opacity: 0.18; stroke: var(--c2); stroke-width: 1.2; }
.chart .kept { fill: var(--c3); fill-opacity: 0.18; stroke: var(--c3); stroke-width: 1.2; }
.chart .arrow { stroke: var(--soft); stroke-width: 1.3; fill: none; }
.chart .head { fill: var(--soft); }
.chart text.math { font-family: "Latin Modern Math", "Cambria Math", "DejaVu Serif", serif; font-style: italic; font-size: 14px; }
.chart text.head2 { font-weight: 600; font-size: 13px; }
"""


def coupling() -> str:
    """Return how a layer of two groups computes its output, and how the output gives back the input."""
    return _page(760, 330, "A reversible layer of two groups", [*_forward(), *_backward()])


def _forward() -> list[Markup]:
    return [
        _text(24, 62, "Forward: each block adds to one group", "head2"),
        _state(24, 84, "x₁"), _state(24, 204, "x₂"),
        _arrow(78, 102, 232, 102), _plus(246, 102), _arrow(260, 102, 306, 102), _state(308, 84, "y₁", "kept"),
        _arrow(78, 222, 232, 222), _plus(246, 222), _arrow(260, 222, 306, 222), _state(308, 204, "y₂", "kept"),
        _line([(104, 222), (104, 162), (130, 162)]), _block(132, 144, "f₁"), _line([(188, 162), (246, 162), (246, 116)]),
        _line([(282, 102), (282, 282), (190, 282)]), _block(132, 264, "f₂"),
        _line([(132, 282), (104, 282), (104, 250), (246, 250), (246, 236)]),
    ]  # fmt: skip


def _backward() -> list[Markup]:
    at = 396
    return [
        _text(at, 62, "Backward: the same values, subtracted", "head2"),
        _state(at, 84, "y₁", "kept"), _state(at, 204, "y₂", "kept"),
        _arrow(at + 54, 102, at + 208, 102), _plus(at + 222, 102, MINUS), _arrow(at + 236, 102, at + 284, 102),
        _state(at + 286, 84, "x₁"),
        _arrow(at + 54, 222, at + 208, 222), _plus(at + 222, 222, MINUS), _arrow(at + 236, 222, at + 284, 222),
        _state(at + 286, 204, "x₂"),
        _line([(at + 80, 102), (at + 80, 282), (at + 106, 282)]), _block(at + 108, 264, "f₂"),
        _line([(at + 164, 282), (at + 222, 282), (at + 222, 236)]),
        _line([(at + 258, 222), (at + 258, 162), (at + 166, 162)]), _block(at + 108, 144, "f₁"),
        _line([(at + 108, 162), (at + 96, 162), (at + 96, 132), (at + 222, 132), (at + 222, 116)]),
    ]  # fmt: skip


def aggregation() -> str:
    """Return where the messages are: in a tensor of edges x channels, or in registers."""
    left = [
        _text(24, 62, "Usual: gather, then reduce", "head2"),
        _rows(24, 84, 5, 60, "box"), _text(54, 242, "states, N × C", "tick", "middle"),
        _arrow(92, 140, 134, 140),
        _rows(138, 76, 11, 60, "big"), _text(168, 306, "messages, E × C", "tick", "middle"),
        _arrow(206, 140, 248, 140),
        _rows(252, 84, 5, 60, "box"), _text(282, 242, "sums, N × C", "tick", "middle"),
    ]  # fmt: skip
    at = 396
    right = [
        _text(at, 62, "Here: one pass over the edges into each node", "head2"),
        _rows(at, 84, 5, 60, "box"), _text(at + 30, 242, "states, N × C", "tick", "middle"),
        _line([(at + 66, 99), (at + 118, 150)]), _line([(at + 66, 157), (at + 118, 157)]), _line([(at + 66, 215), (at + 118, 164)]),
        element("rect", (), class_="kept", x=at + 122, y=142, width=74, height=30, rx=4),
        _text(at + 159, 162, "registers", "tick", "middle"),
        _text(at + 159, 128, "running result", "tick", "middle"),
        _arrow(at + 198, 157, at + 240, 157),
        _rows(at + 244, 84, 5, 60, "box"), _text(at + 274, 242, "sums, N × C", "tick", "middle"),
    ]  # fmt: skip
    return _page(760, 330, "Messages of a graph with more edges than nodes", [*left, *right])


def _page(width: int, height: int, title: str, parts: Iterable[Markup]) -> str:
    marker = element(
        "marker",
        element("path", (), d="M 0 0 L 8 4 L 0 8 z", class_="head"),
        id="tip", markerWidth=8, markerHeight=8, refX=7, refY=4, orient="auto", markerUnits="userSpaceOnUse",
    )  # fmt: skip
    content = [
        element("title", title),
        element("style", Markup(chart_css() + _CSS)),  # our own text
        element("defs", marker),
        element("rect", (), class_="paper", width="100%", height="100%"),
        _text(24, 30, title, "title"),
        *parts,
    ]
    whole = element(
        "svg",
        content,
        xmlns="http://www.w3.org/2000/svg",
        class_="chart",
        viewBox=f"0 0 {width} {height}",
        width=width,
        height=height,
    )
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{whole}\n'


def _text(x: float, y: float, text: str, class_: str, anchor: str = "start") -> Markup:
    return element("text", text, class_=class_, x=x, y=y, text_anchor=anchor)


def _state(x: float, y: float, name: str, class_: str = "box") -> Markup:
    return join(
        [element("rect", (), class_=class_, x=x, y=y, width=54, height=36, rx=4), _text(x + 27, y + 23, name, "math", "middle")]
    )


def _block(x: float, y: float, name: str) -> Markup:
    return join(
        [element("rect", (), class_="block", x=x, y=y, width=56, height=36, rx=10), _text(x + 28, y + 23, name, "math", "middle")]
    )


def _plus(x: float, y: float, sign: str = "+") -> Markup:
    return join([element("circle", (), class_="box", cx=x, cy=y, r=13), _text(x, y + 5, sign, "label", "middle")])


def _rows(x: float, y: float, count: int, width: int, class_: str) -> Markup:
    gap = 29 if count < 8 else 20
    height = 24 if count < 8 else 16
    return join(element("rect", (), class_=class_, x=x, y=y + gap * i, width=width, height=height, rx=2) for i in range(count))


def _arrow(x1: float, y1: float, x2: float, y2: float) -> Markup:
    return _line([(x1, y1), (x2, y2)])


def _line(points: list[tuple[float, float]]) -> Markup:
    return element("polyline", (), class_="arrow", points=" ".join(f"{x:g},{y:g}" for x, y in points), marker_end="url(#tip)")
