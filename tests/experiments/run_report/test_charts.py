"""Pictures: numbers along axes, thinned curves, names that do not touch, colours that can be told apart, texts of the user's."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from revgnn.experiments.run_report.charts.chart import COLOURS, Axis, Chart, DotChart, Mark, MatrixChart, Series, XYChart
from revgnn.experiments.run_report.charts.png import write_png
from revgnn.experiments.run_report.charts.scale import make_scale
from revgnn.experiments.run_report.charts.svg import NARROW, WIDE, chart_css, svg, svg_file
from revgnn.experiments.run_report.charts.svg_parts import LINE
from revgnn.experiments.run_report.charts.thin import every_nth, thin_line
from revgnn.experiments.run_report.markup import element
from revgnn.experiments.run_report.pictures.words import score_axis

HOSTILE = "<script>alert(1)</script>\"'&]]> $x_1^{$ \x00\x1b[31m\u202e end"
SVG = "{http://www.w3.org/2000/svg}"
ELEMENTS = {"svg", "title", "style", "rect", "text", "line", "path", "circle", "polygon"}
FINITE = st.floats(-1e12, 1e12, allow_nan=False)


def hostile_charts() -> list[Chart]:
    x, y = Axis(HOSTILE, whole=True), Axis(HOSTILE, log=True)
    lines = [Series(HOSTILE, [1, 2, 3], [0.1, 3.0, 2.0], colour=c, style="both", notes=[HOSTILE] * 3) for c in range(COLOURS + 1)]
    marks = [Mark("vertical", HOSTILE, 2), Mark("horizontal", HOSTILE, 1.0)]
    points = [Series(HOSTILE, [1.0], [2.0], style="points", spread=[0.5])]
    return [
        XYChart("lines", HOSTILE, HOSTILE, x, y, lines, marks),
        XYChart("points", HOSTILE, HOSTILE, Axis(HOSTILE), Axis(HOSTILE), points, [Mark("diagonal", HOSTILE)], square=True),
        DotChart("dots", HOSTILE, HOSTILE, x, [(HOSTILE, 0.5), ("b", 0.7)], [HOSTILE, ""], Mark("vertical", HOSTILE, 0.5)),
        MatrixChart("matrix", HOSTILE, HOSTILE, [HOSTILE, "b"], [[3, 1], [0, 0]], HOSTILE, HOSTILE),
    ]


@pytest.mark.parametrize("chart", hostile_charts(), ids=lambda chart: chart.name)
def test_texts_of_the_user_are_only_text(chart: Chart, tmp_path: Path) -> None:
    text = svg_file(chart)
    tree = ElementTree.fromstring(text)  # well-formed, which control codes would not be
    assert {node.tag.removeprefix(SVG) for node in tree.iter()} <= ELEMENTS
    assert "<script>alert(1)" in "".join(tree.itertext())
    assert not re.search(r"(href|src|style|on\w+)\s*=", re.sub(r"<style>.*?</style>|>[^<]*<|aria-label=\"[^\"]*\"", "", text))
    for size in (WIDE, NARROW):
        assert ElementTree.fromstring(svg(chart, size)).get("viewBox", "").startswith(f"0 0 {size.width} ")
    write_png(chart, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_attributes_and_children_are_escaped() -> None:
    assert (
        element("a", "<b>", title='"<', class_="x", hidden=True, id=None) == '<a title="&#34;&lt;" class="x" hidden>&lt;b&gt;</a>'
    )
    assert element("p", [element("b", 1), "&"]) == "<p><b>1</b>&amp;</p>"


@given(values=st.lists(FINITE, min_size=1, max_size=6), most=st.integers(3, 9), log=st.booleans(), whole=st.booleans())
def test_an_axis_holds_its_values_and_its_numbers(values: list[float], most: int, log: bool, whole: bool) -> None:
    if log:
        values = [abs(v) + 1e-9 for v in values]
    scale = make_scale(Axis("", log=log, whole=whole and not log), values, 10.0, 110.0, most=most)
    places = [scale(v) for v in sorted(values)]
    assert places == sorted(places)
    assert all(10.0 <= place <= 110.0 for place in places)
    slack = 1e-6 * (scale.high - scale.low)
    assert scale.low - slack <= min(values)
    assert max(values) <= scale.high + slack
    ticks = [value for value, _ in scale.ticks]
    assert 1 <= len(ticks) <= 2 * most + 2
    assert len({text for _, text in scale.ticks}) == len(ticks) or max(map(abs, values)) > 1e3 * (max(values) - min(values))
    if whole and not log:
        assert all(abs(tick - round(tick)) <= 1e-9 * max(1.0, abs(tick)) for tick in ticks)


@given(y=st.lists(FINITE, min_size=1, max_size=300), most=st.integers(4, 60))
def test_a_thinned_curve_keeps_its_ends_and_its_peaks(y: list[float], most: int) -> None:
    x = [float(n) for n in range(len(y))]
    thin_x, thin_y = thin_line(x, y, most)
    assert len(thin_x) == len(thin_y) <= max(most, 4)
    assert (thin_x[0], thin_x[-1], min(thin_y), max(thin_y)) == (0.0, x[-1], min(y), max(y))
    assert all(y[int(a)] == b for a, b in zip(thin_x, thin_y, strict=True))
    assert thin_x == sorted(set(thin_x))


@given(count=st.integers(0, 500), most=st.integers(1, 50))
def test_some_of_many(count: int, most: int) -> None:
    kept = every_nth(count, most)
    assert len(kept) == min(count, most)
    assert kept == sorted(set(kept))
    assert all(0 <= i < count for i in kept)


@given(ends=st.lists(st.floats(0, 1), min_size=1, max_size=6), size=st.sampled_from([WIDE, NARROW]))
def test_names_at_the_ends_of_lines_do_not_touch_and_stay_inside(ends: list[float], size: tuple[int, int]) -> None:
    series = [Series(f"line number {n}", [0, 1], [0.5, end], colour=n + 1) for n, end in enumerate(ends)]
    tree = ElementTree.fromstring(svg(XYChart("a", "a", "a", Axis("x"), Axis("y", low=0, high=1), series), WIDE))
    names = [node for node in tree.iter() if node.tag.endswith("text") and "label" in node.get("class", "")]
    assert len(names) == len(ends)
    heights = sorted(float(node.get("y", "")) for node in names)
    assert all(b - a >= LINE - 0.2 for a, b in itertools.pairwise(heights))
    assert heights[0] >= 10
    assert heights[-1] <= WIDE.height - 10


@given(scores=st.lists(st.floats(-1, 1), min_size=1, max_size=5), spread=st.floats(0, 0.02))
def test_noise_does_not_fill_a_picture(scores: list[float], spread: float) -> None:
    series = [Series("a", list(range(len(scores))), scores, spread=[spread] * len(scores))]
    axis = score_axis("accuracy", series)
    scale = make_scale(axis, [s + sign * spread for s in scores for sign in (-1, 1)], 0, 1, most=5)
    assert scale.high - scale.low >= 0.05
    assert scale.low <= min(scores) - spread + 1e-9
    assert max(scores) + spread - 1e-9 <= scale.high


# --- colours ------------------------------------------------------------------------------------------------------------


def themes() -> dict[str, dict[str, np.ndarray]]:
    """The colours of both themes, linear red, green and blue in [0, 1]."""
    blocks = re.findall(r":root \{(.*?)\}", chart_css(), re.DOTALL)
    assert len(blocks) == 2
    return {
        name: dict(map(_linear, re.findall(r"--(\w+): #(\w{6})", block)))
        for name, block in zip(("light", "dark"), blocks, strict=True)
    }


def _linear(pair: tuple[str, str]) -> tuple[str, np.ndarray]:
    name, code = pair
    value = np.array([int(code[i : i + 2], 16) / 255 for i in (0, 2, 4)])
    return name, np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def contrast(a: np.ndarray, b: np.ndarray) -> float:
    """The contrast of WCAG 2."""
    bright, dark = sorted((float(c @ [0.2126, 0.7152, 0.0722]) + 0.05 for c in (a, b)), reverse=True)
    return bright / dark


def lab(colour: np.ndarray) -> np.ndarray:
    """CIELAB of a linear colour, for a white of D65."""
    matrix = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    t = matrix @ colour.clip(0, 1) / [0.9505, 1.0, 1.089]
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t * (29 / 6) ** 2 / 3 + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


SEEN_BY = {
    "everyone": np.eye(3),
    "deuteranopia": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]),
    "protanopia": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]),
}
"""Machado, Oliveira and Fernandes 2009 (doi 10.1109/TVCG.2009.113), for linear colours."""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_texts_and_lines_stand_out(theme: str) -> None:
    colours = themes()[theme]
    for name in ("ink", "soft", *(f"c{n}" for n in range(1, COLOURS + 1))):
        assert contrast(colours[name], colours["paper"]) >= 4.5, name
    for name in ("c0", "axis"):
        assert contrast(colours[name], colours["paper"]) >= 3, name


@pytest.mark.parametrize("eyes", SEEN_BY)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_first_three_colours_differ_for_everyone(theme: str, eyes: str) -> None:
    """Most pictures need no more. Beyond them, markers and names at the lines tell series apart."""
    seen = [lab(SEEN_BY[eyes] @ themes()[theme][f"c{n}"]) for n in (1, 2, 3)]
    for a, b in itertools.combinations(seen, 2):
        assert np.linalg.norm(a - b) > 20


def test_print_has_the_light_theme() -> None:
    page = (Path(__file__).parents[3] / "src/revgnn/experiments/run_report/page.css").read_text()
    printed = page.split("@media print")[1]
    light = chart_css().split("@media")[0]
    assert set(re.findall(r"--\w+: #\w+", light)) == set(re.findall(r"--\w+: #\w+", printed))
