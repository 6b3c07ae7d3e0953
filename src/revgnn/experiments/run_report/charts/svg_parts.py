"""Parts that several kinds of pictures share: texts, axes, markers."""

from __future__ import annotations

from markupsafe import Markup

from revgnn._text import clean, shorten
from revgnn.experiments.run_report.charts.scale import Scale
from revgnn.experiments.run_report.markup import element, join

CHARACTER = 7.2
"""Mean width of a character of 12 pixels, on the safe side."""

BOLD = 8.0
"""Likewise in bold."""

LINE = 15
"""Pixels from one line of text to the next."""


def text_width(text: str, *, bold: bool = False) -> float:
    """Return about how many pixels a text takes."""
    return (BOLD if bold else CHARACTER) * len(text)


def shortened(text: str, width: float, *, bold: bool = False) -> str:
    """Return a text that fits into a width, cut in its middle if it must be: names often differ at their ends."""
    text = clean(text).replace("\n", " ")
    return shorten(text, max(4, int(width / (BOLD if bold else CHARACTER))))


def label(text: str, x: float, y: float, class_: str, anchor: str = "start") -> Markup:
    """Return a text at a place, which `anchor` says is its start, middle or end."""
    return element("text", text, x=float(x), y=float(y), class_=class_, text_anchor=None if anchor == "start" else anchor)


def rule(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """Return a straight line."""
    return element("line", (), x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2), class_=class_)


def x_axis(scale: Scale, y: float, title: str, bottom: float) -> Markup:
    """Return the horizontal axis at height `y`: line, numbers, title."""
    parts = [rule(scale.start, y, scale.stop, y, "axis")]
    end = float("-inf")
    for value, text in scale.ticks:
        x = scale(value)
        half = text_width(text) / 2
        parts.append(rule(x, y, x, y + 4, "axis"))
        if x - half > end:
            parts.append(label(text, x, y + 17, "tick", "middle"))
            end = x + half + 4
    parts.append(label(title, (scale.start + scale.stop) / 2, bottom, "name", "middle"))
    return join(parts)


def y_axis(scale: Scale, left: float, right: float, title: str, top: float) -> Markup:
    """Return the vertical axis: a rule across for each number, and the title above."""
    parts = []
    for value, text in scale.ticks:
        y = scale(value)
        parts += [rule(left, y, right, y, "grid"), label(text, left - 6, y + 4, "tick", "end")]
    parts.append(label(title, 4, top, "name"))
    return join(parts)


def marker(colour: int, x: float, y: float, note: str) -> Markup:
    """Return a point, whose shape also tells the colours apart."""
    inside = element("title", note) if note else ()
    shape = f"m{colour}"
    r = 4.0
    match colour % 4:
        case 1:
            return element("circle", inside, cx=float(x), cy=float(y), r=r, class_=f"mark {shape}")
        case 2:
            return element("rect", inside, x=x - 3.6, y=y - 3.6, width=7.2, height=7.2, class_=f"mark {shape}")
        case 3:
            points = f"{x:.1f},{y - 5:.1f} {x + 4.6:.1f},{y + 3.6:.1f} {x - 4.6:.1f},{y + 3.6:.1f}"
            return element("polygon", inside, points=points, class_=f"mark {shape}")
        case _:
            points = f"{x:.1f},{y - 5:.1f} {x + 5:.1f},{y:.1f} {x:.1f},{y + 5:.1f} {x - 5:.1f},{y:.1f}"
            return element("polygon", inside, points=points, class_=f"mark {shape}")
