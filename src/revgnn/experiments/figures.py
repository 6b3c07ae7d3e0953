"""Published figures: what is printed, where, and whether we have read it there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

RESULTS = (
    *("parameters", "memory_gb", "out_of_memory_gb", "train_days"),
    *("score", "score_std", "valid_score", "valid_score_std"),
)
"""Names of the figures that a row of a table is about."""

SHAPES = ("layers", "channels", "groups", "iterations", "views", "parts")
"""Names of the figures that say which network, and which evaluation, a row is about."""

COMPARED = {
    "pearson": "Pearson coefficient of their predictions {}",
    "memory_ratio": "the first needs {} the memory of the second",
    "parameters_less": "the second has {} fewer parameters",
    "parameters_ratio": "the second has {} of the parameters of the first",
    "score_gain": "the first scores {} higher",
    "train_days": "training takes {}",
}
"""Figures about two rows, by name, with the sentence that they stand in."""

_PERCENT = ("score", "score_std", "valid_score", "valid_score_std", "parameters_less", "parameters_ratio", "score_gain")
"""Figures that are printed in percent."""

_SCALES = {"k": 10**3, "M": 10**6}
_PLUS_MINUS = " ± "


@dataclass(frozen=True)
class Source:
    """Where a figure is published.

    Attributes:
        place: document and table or section, such as "supplement, Table 2".
        row: the row of the table, in its own words; None: a text, or a caption.
        second_hand: whether we know the figure only from notes and code of others that list it.
    """

    place: str
    row: str | None = None
    second_hand: bool = False


@dataclass(frozen=True)
class Figure:
    """One published figure.

    Attributes:
        name: one of `RESULTS`, `SHAPES` or `COMPARED`.
        printed: as printed, such as "85.97", "1.46M", "5.22 G" or "OOM" (out of memory).
        source: where.
    """

    name: str
    printed: str
    source: Source

    def __post_init__(self) -> None:
        if self.name not in (*RESULTS, *SHAPES, *COMPARED):
            raise ValueError(f"a figure is one of {', '.join((*RESULTS, *SHAPES, *COMPARED))}; got {self.name}.")
        assert self.printed == "OOM" or re.search(r"\d", self.printed), self.printed

    @property
    def value(self) -> float | int | None:
        """The number: scores and shares in [0, 1], parameters counted one by one. None: out of memory, or a pair of numbers."""
        numbers = re.findall(r"\d[\d,]*(?:\.\d+)?", self.printed)
        if len(numbers) != 1:
            return None
        number = Decimal(numbers[0].replace(",", ""))
        if self.name in _PERCENT:
            return float(number / 100)
        if self.name == "parameters":
            return int(number * _SCALES.get(self.printed[-1], 1))
        return int(number) if self.name in SHAPES else float(number)


@dataclass(frozen=True)
class Published:
    """The published figures of one row. A figure that is not listed is not published, or we have no source for it.

    Attributes:
        figures: each name once.
    """

    figures: tuple[Figure, ...] = ()

    def __post_init__(self) -> None:
        names = [figure.name for figure in self.figures]
        if len(set(names)) < len(names):
            raise ValueError(f"a row has each figure once, got {', '.join(names)}.")

    def __or__(self, other: Published) -> Published:
        """Return the figures of both."""
        return Published((*self.figures, *other.figures))

    def figure(self, name: str) -> Figure | None:
        """Return the figure with this name, if there is one."""
        return next((figure for figure in self.figures if figure.name == name), None)

    def printed(self, name: str) -> str | None:
        """Return a figure as printed, if there is one."""
        figure = self.figure(name)
        return None if figure is None else figure.printed

    def value(self, name: str) -> float | int | None:
        """Return the number of a figure, if there is one."""
        figure = self.figure(name)
        return None if figure is None else figure.value

    @property
    def parameters(self) -> str | None:
        """Number of parameters as printed, such as "1.46M". The paper rounds some of these numbers and truncates others."""
        return self.printed("parameters")

    @property
    def memory_gb(self) -> float | None:
        """Peak GPU memory of training in GB; None also if training ran out of memory."""
        return self.value("memory_gb")

    @property
    def out_of_memory_gb(self) -> float | None:
        """Size in GB of the GPU memory that was too small."""
        return self.value("out_of_memory_gb")

    @property
    def score(self) -> float | None:
        """Score on the test nodes, in [0, 1], in the metric of the table."""
        return self.value("score")

    @property
    def score_std(self) -> float | None:
        """Standard deviation of the score."""
        return self.value("score_std")

    @property
    def train_days(self) -> float | None:
        """Days of training for all epochs of the protocol, on one V100."""
        return self.value("train_days")

    @property
    def second_hand(self) -> tuple[str, ...]:
        """Names of the second-hand figures."""
        return tuple(figure.name for figure in self.figures if figure.source.second_hand)


NOT_PUBLISHED = Published()
"""No figures at all."""


def published(place: str, row: str | None = None, *, second_hand: bool = False, **printed: str | None) -> Published:
    """Return figures of one source.

    Args:
        place, row, second_hand: as in `Source`.
        printed: figures as printed, by name; None and "-" are left out. "87.29 ± 0.16" is a score and its deviation.
    """
    source = Source(place, row, second_hand)
    figures = []
    for name, text in printed.items():
        if text is None or text == "-":
            continue
        first, _, deviation = text.partition(_PLUS_MINUS)
        figures.append(Figure(name, first, source))
        if deviation:
            figures.append(Figure(f"{name}_std", deviation, source))
    return Published(tuple(figures))
