"""Numbers and tables as text."""

from __future__ import annotations

import pytest

from revgnn.cli.text import bytes_text, score_text, seconds_text, table


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (43_000_000, "43.0 MB"), (7.3e9, "7.3 GB"), (2e12, "2.0 TB")]
)
def test_bytes(count: float, text: str) -> None:
    assert bytes_text(count) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.0123, "12 ms"), (1.26, "1.3 s"), (75, "1:15"), (4000, "1:06:40")])
def test_seconds(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


def test_scores() -> None:
    assert (score_text(0.84752), score_text(None)) == ("0.8475", "-")


def test_table_aligns_numbers_right_and_words_left() -> None:
    assert table(("name", "n"), [("a", 1_000), ("long", None)]) == "name      n\n----  -----\na     1,000\nlong      -"
