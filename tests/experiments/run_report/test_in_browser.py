"""Reports in a headless Chromium: on a phone and on a desk, light and dark, printed, with and without JavaScript."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from revgnn.experiments.run_report.report import Wishes, write_report
from tests.experiments.run_report.browser import NAMES, Browser, browser, find_browser

PHONE, DESK = 390, 1280

CONTRASTS = """
(() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (text) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = text;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data].map((v, i) => (i < 3 ? v : v / 255));
  };
  const over = (top, below, alpha) => below.map((v, i) => (i < 3 ? alpha * top[i] + (1 - alpha) * v : 1));
  const light = (c) => c.slice(0, 3).map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const paper = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const colour = rgba(getComputedStyle(at).backgroundColor);
      if (colour[3] > 0.99) return colour;
    }
    return [255, 255, 255, 1];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim(), node = walker.currentNode.parentElement;
    if (!text || ["SCRIPT", "STYLE", "title"].includes(node.tagName) || !node.getClientRects().length) continue;
    const style = getComputedStyle(node), isSvg = node instanceof SVGElement;
    let below = paper(node);
    const before = node.previousElementSibling;
    if (node.classList.contains("count") && before?.classList.contains("cell")) {
      const cell = getComputedStyle(before);
      below = over(rgba(cell.fill), below, Number(cell.fillOpacity));
    }
    const [a, b] = [light(rgba(isSvg ? style.fill : style.color)), light(below)];
    found.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), text.slice(0, 60)]);
  }
  return found;
})()
"""
"""Contrast of WCAG 2 of every text that is shown, against what is below it."""

OUTSIDE = """
[...document.querySelectorAll("svg.chart")].filter((svg) => svg.getClientRects().length).flatMap((svg) => {
  const frame = svg.getBoundingClientRect();
  return [...svg.querySelectorAll("text")].filter((text) => {
    const box = text.getBoundingClientRect();
    return box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1 || box.bottom > frame.bottom + 1;
  }).map((text) => text.textContent);
})
"""
"""Texts of pictures that are cut off."""

SMALLEST = """
Math.min(...[...document.querySelectorAll("svg.chart text")].filter((text) => text.getClientRects().length)
  .map((text) => text.getScreenCTM()).map((map) => 12 * Math.hypot(map.a, map.b)))
"""
"""Size of the smallest text of a picture in pixels."""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    program = find_browser()
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed (apt-get install chromium)")
    with browser(program) as page:
        yield page


@pytest.fixture(scope="module")
def page_of(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function that returns the page of the runs of a fixture, which is written on its first use."""
    folder = tmp_path_factory.mktemp("pages")

    @cache
    def write(name: str) -> Path:
        return write_report([request.getfixturevalue(name)], folder / name, Wishes(png=False)).page

    return write


def check(chromium: Browser, page: Path, *, width: int, dark: bool) -> None:
    """Load a page, and check all that holds for every page."""
    chromium.open(page, width=width, dark=dark)
    assert chromium.requests == [page.resolve().as_uri()]
    assert chromium.complaints == []
    assert chromium.run("document.documentElement.scrollWidth") == width, "the page scrolls sideways"
    contrasts: list[list[Any]] = chromium.run(CONTRASTS)
    assert len(contrasts) > 50
    low = [entry for entry in contrasts if entry[0] < 4.5]
    assert not low
    assert chromium.run(OUTSIDE) == []
    assert chromium.run(SMALLEST) >= (11 if width >= PHONE else 10)
    background = chromium.run("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") is not dark


def test_hostile_names_on_a_phone_in_the_dark(chromium: Browser, page_of: Callable[[str], Path]) -> None:
    check(chromium, page_of("hostile"), width=PHONE, dark=True)
    assert chromium.run("document.scripts.length") == 1
    assert chromium.run("document.images.length") == 0


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [320, PHONE, 768, DESK, 1920])
@pytest.mark.parametrize("name", ["cora", "study", "hostile", "equilibrium"])
def test_every_page(chromium: Browser, page_of: Callable[[str], Path], name: str, width: int, dark: bool, tmp_path: Path) -> None:
    check(chromium, page_of(name), width=width, dark=dark)
    chromium.screenshot(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 20_000


@pytest.mark.slow
def test_tables_sort(chromium: Browser, page_of: Callable[[str], Path]) -> None:
    chromium.open(page_of("study"), width=DESK, dark=False)
    read = "[...document.querySelector('table').tBodies[0].rows].map((row) => row.cells[{}].textContent)"
    assert chromium.run("document.querySelectorAll('table')[0].tHead.textContent").startswith("run")
    before = chromium.run(read.format(0))
    for column, is_number in ((1, True), (0, False), (3, True)):
        press = f"document.querySelector('table').tHead.rows[0].cells[{column}].querySelector('button').click()"
        values = []
        for _ in range(2):
            chromium.run(press)
            values.append(chromium.run(read.format(column)))
        key = float if is_number else str
        assert values[0] == sorted(values[0], key=key, reverse=is_number)
        assert values[1] == sorted(values[1], key=key, reverse=not is_number)
    assert sorted(chromium.run(read.format(0))) == sorted(before)
    assert chromium.complaints == []


@pytest.mark.slow
def test_without_javascript(chromium: Browser, page_of: Callable[[str], Path]) -> None:
    chromium.open(page_of("study"), width=DESK, dark=False, javascript=False)
    assert chromium.run("document.querySelectorAll('button').length") == 0
    assert chromium.run("document.querySelectorAll('table')[0].tBodies[0].rows.length") == 6


@pytest.mark.slow
def test_printed(chromium: Browser, page_of: Callable[[str], Path]) -> None:
    """In the colours of the light theme, on a few sheets."""
    chromium.open(page_of("study"), width=DESK, dark=True)
    pdf = chromium.pdf()
    assert pdf.startswith(b"%PDF")
    assert 1 <= pdf.count(b"/Type /Page\n") <= 8
    chromium.call("Emulation.setEmulatedMedia", media="print", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    assert chromium.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert min(entry[0] for entry in chromium.run(CONTRASTS)) >= 4.5
    assert chromium.run("[...document.querySelectorAll('svg.narrow')].every((svg) => !svg.getClientRects().length)")


@pytest.mark.slow
def test_pictures_beside_the_page(chromium: Browser, page_of: Callable[[str], Path]) -> None:
    for name in ("cora", "hostile"):
        for picture in sorted(page_of(name).parent.glob("*.svg")):
            chromium.open(picture, width=600, dark=True)
            assert chromium.complaints == []
            assert chromium.requests == [picture.resolve().as_uri()]
            assert chromium.run("getComputedStyle(document.querySelector('.paper')).fill") == "rgb(21, 24, 28)"
