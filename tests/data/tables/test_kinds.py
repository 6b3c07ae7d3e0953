"""How a column is understood by its name and values."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from revgnn.data.tables.kinds import guess, guess_edges, guess_nodes, is_split


def column(values: list[Any]) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values)])


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "2", "", "3.5"], "numeric"),
        ([1, 2, None], "numeric"),
        (["0", "1", "1"], "numeric"),
        (["yes", "no", "", "yes"], "boolean"),
        ([True, False], "boolean"),
        (["2024-01-01", "", "2023-02-03"], "date"),
        (["2024-01-01T10:00:00Z", "2023-02-03T11:00:00Z"], "date"),
        (["31.12.2024", "1.1.2024"], "date %d.%m.%Y"),
        (["2024/12/31", "2024/01/01"], "date %Y/%m/%d"),
        (["12/31/2024", "01/02/2024"], "date %m/%d/%Y"),
        (["31/12/2024", "01/02/2024"], "date %d/%m/%Y"),
        (["01/02/2024", "03/04/2024"], "ignored"),  # day or month first?
        (["red", "blue", "red", None], "categorical"),
        (["007", "012", "007"], "categorical"),  # codes
        (["1,5", "2,5", "3,5"], "ignored"),  # a decimal or a thousand?
        (["", "", None], "ignored"),
        (["a", "a", "a"], "ignored"),
        ([3, 3, 3], "ignored"),
        ([f"name {i}" for i in range(300)], "ignored"),
        (["word " * 40, "text " * 40], "ignored"),
        ([["a"], ["b", "c"]], "ignored"),
        ([{"a": 1}], "ignored"),
    ],
)
def test_the_kind_of_a_column(values: list[Any], kind: str) -> None:
    assert str(guess(column(values))) == kind


def test_what_is_ignored_says_why() -> None:
    assert guess(column(["01/02/2024", "03/04/2024"])).note.startswith("dates: is the day or the month first?")
    assert "names or free text" in guess(column([f"name {i}" for i in range(300)])).note


def test_roles_by_name() -> None:
    nodes = pa.table({"x": [1.5, 2.5], "Label": ["a", "b"], "ID": ["1", "2"], "split": ["train", "test"]})
    edges = pa.table({"weight": [1.0], "dst": ["2"], "src": ["1"]})
    kinds = guess_nodes(nodes, edges, {})
    assert [kind.name for kind in kinds.values()] == ["numeric", "label", "id", "split"]
    assert [kind.name for kind in guess_edges(edges, nodes.column("ID"), {}).values()] == ["ignored", "target", "source"]


def test_roles_by_values() -> None:
    """No column has a telling name: the id is what the edges name, the ends are what holds ids."""
    nodes = pa.table({"age": [30, 40, 50], "customer": ["a", "b", "c"], "y": ["p", "q", "p"]})
    edges = pa.table({"when": ["2024-01-01", "2024-01-02"], "buyer": ["a", "b"], "seller": ["c", "a"]})
    assert guess_nodes(nodes, edges, {})["customer"].name == "id"
    kinds = guess_edges(edges, nodes.column("customer"), {})
    assert {name: kind.name for name, kind in kinds.items()} == {"when": "date", "buyer": "source", "seller": "target"}


def test_no_column_holds_the_ids() -> None:
    nodes = pa.table({"a": ["x", "y"], "label": ["p", "q"]})
    with pytest.raises(ValueError, match=r"no column of the nodes .* holds the ids that the edges name"):
        guess_nodes(nodes, pa.table({"from": ["1"], "to": ["2"]}), {})


def test_unclear_ends() -> None:
    with pytest.raises(ValueError, match="it is not clear which columns of the edges"):
        guess_edges(pa.table({"a": ["1"], "b": ["2"]}), column(["x", "y"]), {})


def test_is_split() -> None:
    assert is_split(column(["train", "VAL", "test", "", None]))
    assert not is_split(column(["north", "south"]))
    assert not is_split(column([1, 2]))
