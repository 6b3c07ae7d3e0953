"""The published tables: complete, consistent, and about networks of the published sizes."""

from __future__ import annotations

import re

import pytest

from revgnn.data.catalogue import find_entry
from revgnn.experiments import Row, Table, all_presets, all_tables, get_table
from revgnn.train.config.errors import ConfigError

ROWS = [
    pytest.param(row, id=f"{table.name}-{row.name}") for table in all_tables() if table.name != "humanppi" for row in table.rows
]
"""Rows of the paper; our own table has its own tests."""


def matches(printed: str, count: int) -> bool:
    """Whether a count agrees with a printed one to its last digit, rounded or truncated."""
    if "," in printed:
        return printed == f"{count:,}"
    number, decimals, unit = re.fullmatch(r"(\d+(?:\.(\d+))?)([kM])", printed).groups()  # pyright: ignore[reportOptionalMemberAccess]
    scale = {"k": 10**3, "M": 10**6}[unit]
    return abs(count - float(number) * scale) < scale / 10 ** len(decimals or "")


@pytest.mark.parametrize(
    ("printed", "count", "expected"),
    [
        ("1.46M", 1_457_080, True),
        ("1.46M", 1_470_001, False),
        ("51.2k", 51_256, True),
        ("51.2k", 51_384, False),
        ("28.4M", 28_500_001, False),
        ("2,945,007", 2_945_007, True),
        ("2,945,007", 2_945_008, False),
    ],
)
def test_every_printed_digit_matters(printed: str, count: int, expected: bool) -> None:
    assert matches(printed, count) is expected


@pytest.mark.parametrize("row", [p for p in ROWS if p.values[0].published.parameters is not None])
def test_parameters_are_the_published_ones(row: Row) -> None:
    """That a network has as many as its preset states is tested with the models."""
    assert matches(row.published.parameters, row.parameters)


@pytest.mark.parametrize("row", [p for p in ROWS if p.values[0].run.data.name == "ogbn-proteins"])
def test_a_row_is_what_its_name_says(row: Row) -> None:
    run = row.run
    assert run.preset == row.preset.name
    assert run.data is not None
    assert (run.data.name, run.epochs, run.parts, run.evaluation.parts) == ("ogbn-proteins", 2000, 10, 5)
    assert run.model.tied == row.name.startswith("WT-")
    families = {"Res": "residual", "Rev": "reversible", "DEQ": "equilibrium"}
    assert run.model.family == families[row.name.removeprefix("WT-")[:3]]
    channels = re.search(r"GNN-(\d+)", row.name)
    assert run.model.channels == (int(channels[1]) if channels else {"Deep": 80, "Wide": 224}[row.name[7:11]])
    shape = re.search(r"-L(\d+)-C(\d)$", row.name)
    expected = (int(shape[1]), int(shape[2])) if shape else None
    assert expected in (None, (run.model.depth, run.model.groups))
    view = re.search(r"-V(\d+)-P(\d+)$", row.name)
    assert view is None or (row.views, row.parts) == (int(view[1]), int(view[2]))


def test_names() -> None:
    of_proteins = ["proteins", "table1", "table2", "table3", "checkpoint", "correlation"]
    others = ["arxiv", "arxiv-convs", "products", "products-convs", "humanppi"]
    assert [table.name for table in all_tables()] == [*of_proteins, *others]
    for table in all_tables():
        names = [row.name for row in table.rows]
        assert len(set(names)) == len(names)
        assert table.rows or table.notes
        for row in table.rows:
            assert table.row(row.name.lower().replace("-", "_")) is row
            assert table.row(row.preset.name).preset is row.preset


def test_figures() -> None:
    """Figures that the documentation makes claims about."""
    gigabytes = {row.name: row.published.memory_gb for row in get_table("table2").rows if row.published.memory_gb}
    assert gigabytes == {
        "RevGNN-64": 2.09,
        "RevGNN-80": 2.56,
        "RevGNN-224": 7.30,
        "WT-RevGNN-64": 1.60,
        "WT-RevGNN-80": 2.08,
        "WT-RevGNN-224": 5.55,
        "DEQ-GNN-64": 2.22,
        "DEQ-GNN-224": 7.60,
        "ResGNN-64": 27.1,
        "WT-ResGNN-64": 27.4,
    }
    assert [row.name for row in get_table("table2").rows if row.published.out_of_memory_gb == 32] == ["ResGNN-224", "WT-ResGNN-224"]
    scores = [row.published.score for row in get_table("proteins").rows]
    assert scores == [0.8774, 0.8824]
    assert get_table("table3").row("RevGNN-Wide-V10-P3").published.score == scores[1]


@pytest.mark.parametrize("table", all_tables(), ids=lambda table: table.name)
def test_second_hand_figures_are_noted(table: Table) -> None:
    for row in table.rows:
        assert all(getattr(row.published, figure) is not None for figure in row.second_hand)
    assert any(row.second_hand for row in table.rows) == any("second-hand" in note for note in table.notes)


def test_tables_agree_on_a_network() -> None:
    """A table may leave out a figure that another one has. Scores differ by views and parts."""
    known: dict[tuple[str, str, int | None, int | None], object] = {}
    for row in (row for table in all_tables() for row in table.rows):
        for figure, value in vars(row.published).items():
            if value is not None:
                key = (row.preset.name, figure, row.views, row.parts)
                assert known.setdefault(key, value) == value


@pytest.mark.parametrize("row", [p for p in ROWS if p.values[0].run.data.name != "ogbn-proteins"])
def test_a_row_of_arxiv_or_products_is_what_its_name_says(row: Row) -> None:
    model = row.run.model
    residual, name = row.name.startswith("Res"), row.name.removeprefix("Res").removeprefix("Rev")
    assert (model.groups == 1) == residual
    assert model.conv == ("sage" if name.startswith("GNN") else name.partition("-")[0].lower())
    assert row.preset.name.startswith((row.run.data.name.removeprefix("ogbn-"), "rev", "res"))
    assert (row.teacher is not None) == (row.run.distillation is not None)


def test_the_metric_is_that_of_the_data_set() -> None:
    for table in all_tables():
        for row in table.rows:
            data = find_entry(row.run.data.name)
            assert {"rocauc": "ROC-AUC", "accuracy": "accuracy"}[data.metric] == table.metric


def test_every_published_preset_is_in_a_table() -> None:
    of_rows = {row.preset.name for table in all_tables() for row in table.rows}
    assert of_rows == {preset.name for preset in all_presets() if preset.parameters is not None}


def test_unknown_names() -> None:
    with pytest.raises(ConfigError, match="unknown table 'tabel2'; did you mean table2"):
        get_table("tabel2")
    with pytest.raises(ConfigError, match="there are proteins, table1"):
        get_table("zzzzzz")
    with pytest.raises(ConfigError, match="table2 has no row 'RevGNN-65'; did you mean RevGNN-64"):
        get_table("table2").row("RevGNN-65")
    with pytest.raises(ConfigError, match="there are RevGNN-Deep, RevGNN-Wide"):
        get_table("proteins").row("zzzzzz")
    with pytest.raises(ConfigError, match="no networks as rows"):
        get_table("correlation").row("RevGNN-64")
