"""The page: one file that needs no other, and asks for none."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

from markupsafe import Markup

from revgnn._version import __version__
from revgnn.experiments.run_report.charts.chart import Chart
from revgnn.experiments.run_report.charts.svg import NARROW, WIDE, chart_css, svg
from revgnn.experiments.run_report.markup import element


@dataclass(frozen=True)
class Section:
    """A part of a page, under a heading of its own.

    Attributes:
        title: the heading.
        body: elements before the pictures.
        charts: pictures.
        after: elements after them.
    """

    title: str
    body: Sequence[Markup] = ()
    charts: Sequence[Chart] = ()
    after: Sequence[Markup] = ()


def page(title: str, lead: Sequence[Markup], sections: Sequence[Section]) -> str:
    """Return the text of the page.

    A policy in it forbids the browser every request, and every script but the one that sorts tables.
    """
    script = _file("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    ids = [f"part-{n}" for n, _ in enumerate(sections, start=1)]
    links = [element("a", section.title, href=f"#{id_}") for id_, section in zip(ids, sections, strict=True)]
    head = [
        element("meta", (), charset="utf-8"),
        element("meta", (), http_equiv="Content-Security-Policy", content=policy),
        element("meta", (), name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", (), name="color-scheme", content="light dark"),
        element("meta", (), name="generator", content=f"revgnn {__version__}"),
        element("title", title),
        element("style", Markup(chart_css() + _file("page.css"))),  # our own files, not texts of the user's
    ]
    body = [
        element("h1", title),
        *lead,
        element("nav", links, aria_label="Parts of this page") if len(links) > 1 else "",
        *(_section(section, id_) for section, id_ in zip(sections, ids, strict=True)),
    ]
    content = [
        element("head", head),
        element("body", [element("main", body), element("script", Markup(script))]),
    ]
    return f"<!doctype html>\n{element('html', content, lang='en')}\n"


def figure(chart: Chart) -> Markup:
    """Return a picture twice, for a wide and for a narrow screen, of which the style shows one."""
    caption = element("figcaption", [element("strong", chart.title), element("p", chart.caption)])
    return element("figure", [caption, svg(chart, WIDE, "wide"), svg(chart, NARROW, "narrow")])


def figures(charts: Iterable[Chart]) -> Markup:
    """Return pictures side by side, as many as fit."""
    return element("div", [figure(chart) for chart in charts], class_="figures")


def tiles(values: Iterable[tuple[str, str, str]]) -> Markup:
    """Return a box for each label, value and note."""
    boxes = [
        element("div", [element("dt", label), element("dd", [value, element("small", note) if note else ""])], class_="tile")
        for label, value, note in values
    ]
    return element("dl", boxes, class_="tiles")


@dataclass(frozen=True)
class Cell:
    """One cell of a table: what is shown, and the number it is sorted by, if it is one."""

    text: str
    number: float | None = None


def table(header: Sequence[tuple[str, bool]], rows: Sequence[Sequence[Cell]], label: str, best: int | None = None) -> Markup:
    """Return a table that sorts. It scrolls within itself where it is wider than the screen.

    Args:
        header: the name of each column, and whether it has numbers.
        rows: the first cell of each names it.
        label: what the table is, for readers that do not see it.
        best: the row to emphasise.
    """
    head = [element("th", name, scope="col", class_="n" if is_number else None) for name, is_number in header]
    lines = []
    for n, row in enumerate(rows):
        cells = [element("th", element("div", row[0].text, class_="name", title=row[0].text), scope="row")]
        for cell, (_, is_number) in zip(row[1:], header[1:], strict=True):
            value = ("" if cell.number is None else repr(cell.number)) if is_number else None
            cells.append(element("td", cell.text, class_="n" if is_number else None, data_value=value))
        lines.append(element("tr", cells, class_="best" if n == best else None))
    content = element("table", [element("thead", element("tr", head)), element("tbody", lines)], class_="sorts")
    return element("div", content, class_="scroll", tabindex=0, role="region", aria_label=label)


def facts(values: Iterable[tuple[str, str]]) -> Markup:
    """Return pairs of a name and a text."""
    return element("dl", [element("div", [element("dt", name), element("dd", text)]) for name, text in values], class_="facts")


def code(text: str) -> Markup:
    """Return lines of code."""
    return element("pre", element("code", text), tabindex=0)


def folded(title: str, body: Markup) -> Markup:
    """Return a part that opens when its title is pressed."""
    return element("details", [element("summary", title), body])


def _section(section: Section, id_: str) -> Markup:
    heading = element("h2", section.title, id=id_)
    pictures = figures(section.charts) if section.charts else Markup("")
    return element("section", [heading, *section.body, pictures, *section.after])


@cache
def _file(name: str) -> str:
    return resources.files("revgnn.experiments.run_report").joinpath(name).read_text(encoding="utf-8")
