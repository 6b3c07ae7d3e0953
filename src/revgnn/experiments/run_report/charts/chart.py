"""What a picture shows, without how it is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

COLOURS = 6
"""Number of colours of series. 0 is a muted one, for everything that is only there for comparison."""


@dataclass(frozen=True)
class Axis:
    """One axis of a picture.

    Attributes:
        label: what it shows, with its unit.
        log: logarithmic; all values must be positive.
        low, high: its ends; None: those of the values.
        ticks: the numbers to print; None: round ones.
        whole: whether only whole numbers are meaningful.
    """

    label: str
    log: bool = False
    low: float | None = None
    high: float | None = None
    ticks: Sequence[float] | None = None
    whole: bool = False


@dataclass(frozen=True)
class Series:
    """Points of one kind, by ascending `x` for lines.

    Attributes:
        name: what it is; printed at its end unless `labelled` is False.
        colour: 1 to `COLOURS`, or 0 for muted.
        style: a line, points, or both.
        notes: a text for each point, shown by a browser when the pointer rests on it; empty: the name.
        spread: half the length of an error bar for each point; empty: no bars.
        band: whether the spread is drawn as a band along the line.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    colour: int = 1
    style: Literal["line", "points", "both"] = "line"
    dashed: bool = False
    labelled: bool = True
    notes: Sequence[str] = ()
    spread: Sequence[float] = ()
    band: bool = False


@dataclass(frozen=True)
class Mark:
    """A line to compare with: "vertical" at `value`, "horizontal" at it, or the "diagonal" y = x."""

    kind: Literal["vertical", "horizontal", "diagonal"]
    text: str
    value: float = 0.0


@dataclass(frozen=True)
class XYChart:
    """Lines or points over two axes.

    Attributes:
        name: of its files, unique on a page.
        title: what is shown.
        caption: what to see in it, in a sentence or two.
        square: whether both axes have the same length.
    """

    name: str
    title: str
    caption: str
    x: Axis
    y: Axis
    series: Sequence[Series]
    marks: Sequence[Mark] = ()
    square: bool = False


@dataclass(frozen=True)
class DotChart:
    """One value a row, the rows from top to bottom.

    Attributes:
        rows: name and value of each.
        notes: a text for each row.
        mark: a vertical line to compare with.
    """

    name: str
    title: str
    caption: str
    x: Axis
    rows: Sequence[tuple[str, float]]
    notes: Sequence[str] = ()
    mark: Mark | None = None


@dataclass(frozen=True)
class MatrixChart:
    """Counts by row and column, such as a confusion matrix. The shade of a cell is its share of the row.

    Attributes:
        names: of rows and columns alike.
        counts: one list a row.
        row_label, column_label: what rows and columns are.
    """

    name: str
    title: str
    caption: str
    names: Sequence[str]
    counts: Sequence[Sequence[int]]
    row_label: str
    column_label: str


Chart = XYChart | DotChart | MatrixChart
