"""Features from columns. What is fitted (means, deviations, categories) comes from training rows alone and is kept as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from revgnn.data.tables.arrow import Column, pc
from revgnn.data.tables.columns import ISO, Values, booleans_of, categories_of, dates_of, numbers_of
from revgnn.data.tables.spec import Kind


@dataclass(frozen=True)
class Categories:
    """A column of categories.

    Attributes:
        codes: int32 (N,), positions in `values`; -1 where the value is missing.
        values: distinct strings.
    """

    codes: np.ndarray
    values: pa.Array


Parsed = Values | Categories


@dataclass(frozen=True)
class NumberEncoding:
    """A numeric, boolean or date column: (value - mean) / deviation, 0 where it is missing.

    Attributes:
        name: of the column.
        kind, form: see `Kind`.
        mean, deviation: of the training rows; the deviation is 1 for a constant.
        missing: whether a second feature says that the value is missing; so if a training row had none.
    """

    name: str
    kind: str
    form: str
    mean: float
    deviation: float
    missing: bool

    @property
    def width(self) -> int:
        return 1 + self.missing

    @property
    def feature_names(self) -> list[str]:
        return [self.name, *([f"{self.name} is missing"] if self.missing else [])]

    def encode(self, parsed: Parsed, out: np.ndarray) -> int:
        """Write the features to `out`, float32 (N, width). Returns 0, the number of unknown categories."""
        assert isinstance(parsed, Values)
        out[:, 0] = np.where(parsed.missing, 0.0, (parsed.numbers - self.mean) / self.deviation)
        if self.missing:
            out[:, 1] = parsed.missing
        return 0


@dataclass(frozen=True)
class CategoryEncoding:
    """A categorical column: one feature for each category, all 0 for an unknown one.

    Attributes:
        name: of the column.
        categories: of the training rows, sorted; at most a given number, the most frequent ones.
        other: whether a feature stands for all further categories; so if the training rows had more.
        missing: whether a feature says that the value is missing; so if a training row had none.
    """

    name: str
    categories: tuple[str, ...]
    other: bool
    missing: bool

    @property
    def width(self) -> int:
        return len(self.categories) + self.other + self.missing

    @property
    def feature_names(self) -> list[str]:
        names = [f"{self.name} = {category}" for category in self.categories]
        names += [f"{self.name} is another"] if self.other else []
        return names + ([f"{self.name} is missing"] if self.missing else [])

    def encode(self, parsed: Parsed, out: np.ndarray) -> int:
        """Write the features to `out`, float32 (N, width). Returns the number of rows with an unknown category."""
        assert isinstance(parsed, Categories)
        out[:] = 0
        known = pc.index_in(parsed.values, pa.array(self.categories, pa.string()))
        position = np.concatenate([pc.fill_null(known, -1).to_numpy(zero_copy_only=False), [-2]])[parsed.codes]
        rows = np.flatnonzero(position >= 0)
        out[rows, position[rows]] = 1
        if self.other:
            out[position == -1, len(self.categories)] = 1
        if self.missing:
            out[position == -2, -1] = 1
        return int((position == -1).sum())


ColumnEncoding = NumberEncoding | CategoryEncoding


def parse(column: Column, kind: Kind) -> tuple[Parsed, np.ndarray]:
    """Return a column as its kind says, and which cells are not of that kind, bool (N,)."""
    if kind.name == "categorical":
        encoded = categories_of(column)
        codes = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)
        return Categories(codes, encoded.dictionary), np.zeros(len(codes), bool)
    if kind.name == "boolean":
        values = booleans_of(column)
    elif kind.name == "date":
        values = dates_of(column, kind.form or ISO)
    else:
        values = numbers_of(column)
    return values, values.bad


def take(parsed: Parsed, keep: np.ndarray) -> Parsed:
    """Return the rows where `keep`, bool (N,), is True."""
    if isinstance(parsed, Categories):
        return Categories(parsed.codes[keep], parsed.values)
    return Values(parsed.numbers[keep], parsed.bad[keep])


def fit(name: str, kind: Kind, parsed: Parsed, training: np.ndarray, max_categories: int) -> ColumnEncoding:
    """Return the encoding of a column, fitted on its training rows, bool (N,).

    Args:
        max_categories: categories that are told apart; the most frequent ones, the first in alphabetical order among equals.
    """
    if isinstance(parsed, Categories):
        codes = parsed.codes[training]
        counts = np.bincount(codes[codes >= 0], minlength=len(parsed.values))
        seen = np.flatnonzero(counts)
        if len(seen) > max_categories:
            floor = np.partition(counts[seen], -max_categories)[-max_categories]
            seen = seen[counts[seen] >= floor]
        texts = parsed.values.take(pa.array(seen)).to_pylist()
        frequent = sorted(zip((-counts[seen]).tolist(), texts, strict=True))[:max_categories]
        other = int((counts > 0).sum()) > max_categories
        return CategoryEncoding(name, tuple(sorted(text for _, text in frequent)), other, bool((codes < 0).any()))
    numbers = parsed.numbers[training]
    known = numbers[~np.isnan(numbers)]
    mean = float(known.mean()) if len(known) else 0.0
    deviation = float(known.std()) if len(known) else 0.0
    # A constant's deviation is not always exactly 0.
    deviation = deviation if deviation > 1e-9 * max(abs(mean), 1e-300) else 1.0
    return NumberEncoding(name, kind.name, kind.form, mean, deviation, len(known) < len(numbers))


def encode_all(encodings: Sequence[ColumnEncoding], parsed: Mapping[str, Parsed], rows: int) -> tuple[np.ndarray, dict[str, int]]:
    """Return all features, float32 (N, F), and the number of rows with an unknown category by column."""
    out = np.empty((rows, sum(encoding.width for encoding in encodings)), np.float32)
    unknown, start = {}, 0
    for encoding in encodings:
        count = encoding.encode(parsed[encoding.name], out[:, start : start + encoding.width])
        if count:
            unknown[encoding.name] = count
        start += encoding.width
    return out, unknown


def as_dict(encoding: ColumnEncoding) -> dict[str, Any]:
    """Return an encoding as JSON values."""
    return asdict(encoding) if isinstance(encoding, NumberEncoding) else {"kind": "categorical", **asdict(encoding)}


def from_dict(values: Mapping[str, Any]) -> ColumnEncoding:
    """Return the encoding that `as_dict` described."""
    if values["kind"] == "categorical":
        categories = tuple(map(str, values["categories"]))
        return CategoryEncoding(str(values["name"]), categories, bool(values["other"]), bool(values["missing"]))
    numbers = float(values["mean"]), float(values["deviation"])
    return NumberEncoding(str(values["name"]), str(values["kind"]), str(values["form"]), *numbers, bool(values["missing"]))
