"""Lines and points over two axes, as SVG. Series are named where they are drawn, not in a legend."""

from __future__ import annotations

from collections.abc import Iterator

from markupsafe import Markup

from revgnn.experiments.run_report.charts.chart import Mark, Series, XYChart
from revgnn.experiments.run_report.charts.scale import Scale, make_scale, y_values
from revgnn.experiments.run_report.charts.svg_parts import LINE, label, marker, rule, shortened, text_width, x_axis, y_axis
from revgnn.experiments.run_report.markup import element, join

_TOP, _BOTTOM = 30.0, 46.0


def draw_xy(chart: XYChart, width: int, height: int) -> tuple[Markup, float]:
    """Return the inside of a picture, and its height."""
    at_end = [s for s in chart.series if s.labelled and s.style != "points" and len(s.x)]
    right = min(0.36 * width, max((text_width(s.name, bold=True) for s in at_end), default=0.0) + 14)
    ys = y_values(chart)
    left = 14 + max(text_width(t) for _, t in make_scale(chart.y, ys, 0, 1, most=5).ticks or ((0, "0"),))
    stop = width - max(right, 16)
    if chart.square:
        height = int(min(stop - left, 420) + _TOP + _BOTTOM)
        stop = left + height - _TOP - _BOTTOM
    x = make_scale(chart.x, [v for s in chart.series for v in s.x], left, stop, most=max(3, int((stop - left) / 62)))
    y = make_scale(chart.y, ys, height - _BOTTOM, _TOP, most=5)
    parts = [
        y_axis(y, x.start, x.stop, chart.y.label, 14),
        x_axis(x, height - _BOTTOM, chart.x.label, height - 8),
        *(_mark(mark, x, y) for mark in chart.marks),
        *(_series(series, x, y) for series in sorted(chart.series, key=lambda s: s.colour > 0)),
        join(_end_labels(at_end, x, y, width)),
        join(_point_labels([s for s in chart.series if s.labelled and s.style == "points"], x, y, width)),
    ]
    return join(parts), height


def _mark(mark: Mark, x: Scale, y: Scale) -> Markup:
    match mark.kind:
        case "vertical":
            at = x(mark.value)
            before = at > (x.start + x.stop) / 2
            text = label(mark.text, at - 5 if before else at + 5, y.start - 6, "note", "end" if before else "start")
            return join([rule(at, y.start, at, y.stop, "guide"), text])
        case "horizontal":
            at = y(mark.value)
            return join([rule(x.start, at, x.stop, at, "guide"), label(mark.text, x.start + 4, at - 5, "note")])
        case "diagonal":
            low, high = max(x.low, y.low), min(x.high, y.high)
            text = label(mark.text, x(low + 0.72 * (high - low)) + 8, y(low + 0.72 * (high - low)) + 14, "note")
            return join([rule(x(low), y(low), x(high), y(high), "guide"), text])


def _series(series: Series, x: Scale, y: Scale) -> Markup:
    places = [(x(a), y(b)) for a, b in zip(series.x, series.y, strict=True)]
    parts = []
    if series.band and len(places) > 1:
        parts.append(_band(series, x, y))
    for (px, _), b, spread in zip(places, series.y, series.spread, strict=False):
        if spread and not series.band:
            parts.append(rule(px, y(b - spread), px, y(b + spread), f"line c{series.colour}"))
    if series.style != "points" and len(places) > 1:
        path = "M" + "L".join(f"{px:.1f} {py:.1f}" for px, py in places)
        dashed = " dashed" if series.dashed else ""
        parts.append(element("path", element("title", series.name), d=path, class_=f"line c{series.colour}{dashed}"))
    if series.style != "line" or len(places) == 1:
        notes = series.notes or [series.name] * len(places)
        parts += [marker(series.colour, px, py, note) for (px, py), note in zip(places, notes, strict=True)]
    return join(parts)


def _band(series: Series, x: Scale, y: Scale) -> Markup:
    """Return the area between the ends of the spread."""
    triples = list(zip(series.x, series.y, series.spread, strict=True))
    upper = [f"{x(a):.1f} {y(b + spread):.1f}" for a, b, spread in triples]
    lower = [f"{x(a):.1f} {y(b - spread):.1f}" for a, b, spread in reversed(triples)]
    return element("path", (), d=f"M{'L'.join([*upper, *lower])}Z", class_=f"band f{series.colour}")


def _end_labels(series: list[Series], x: Scale, y: Scale, width: int) -> Iterator[Markup]:
    """Yield the names of lines at their ends, moved apart where they would touch."""
    wanted = sorted((y(s.y[-1]), i) for i, s in enumerate(series))
    low, high = y.stop + 4, y.start + 4
    places, at = [], low - LINE
    for place, _ in wanted:
        at = max(place + 4, at + LINE)
        places.append(at)
    limit = high
    for n in reversed(range(len(places))):  # push back up what has left the picture below
        places[n] = min(places[n], limit)
        limit = places[n] - LINE
    for place, (_, i) in zip(places, wanted, strict=True):
        s = series[i]
        end, level = x(s.x[-1]), y(s.y[-1])
        if abs(place - 4 - level) > 5 or x.stop - end > 12:
            yield rule(end + 2, level, x.stop + 6, place - 4, "leader")
        yield label(shortened(s.name, width - x.stop - 10, bold=True), x.stop + 9, place, f"label f{s.colour}")


def _point_labels(series: list[Series], x: Scale, y: Scale, width: int) -> Iterator[Markup]:
    """Yield the names of single points beside them. A name that finds no room is left out: the table and the notes have it."""
    points = [(x(a), y(b)) for s in series for a, b in zip(s.x, s.y, strict=True)]
    taken = [(px - 5, py - 5, px + 5, py + 5) for px, py in points]
    for s in series:
        if not len(s.x):
            continue
        i = max(range(len(s.x)), key=lambda k: s.x[k])
        px, py = x(s.x[i]), y(s.y[i])
        text = shortened(s.name, 0.45 * width, bold=True)
        long = text_width(text, bold=True)
        for left, top in ((px + 9, py - 7), (px - 9 - long, py - 7), (px - long / 2, py - 22), (px - long / 2, py + 8)):
            box = (left, top, left + long, top + LINE)
            inside = box[0] >= x.start and box[2] <= width - 2 and box[1] >= y.stop - 10 and box[3] <= y.start
            if inside and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                yield label(text, left, top + 11, f"label f{s.colour}")
                break


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
