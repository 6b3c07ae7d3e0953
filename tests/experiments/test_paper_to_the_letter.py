"""Every figure that the paper's supplement prints is in `revgnn paper --json`, as first-hand; second-hand ones are marked.

The figures are written down here once more, by hand, from the supplement's text (arXiv:2106.07476), not from the catalogue.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from revgnn.cli.app import app

TABLE_1 = """
3 490k 85.09 339k 84.86
7 1.1M 85.68 750k 85.25
14 2.2M 86.62 1.5M 85.79
28 4.3M 86.68 2.9M 86.30
56 8.6M 86.90 5.8M 86.76
112 17.2M 87.02 11.5M 87.09
"""
"""Layers; parameters and ROC-AUC with 2 groups; the same with 4 groups."""

TABLE_2 = """
ResGNN 64 85.94 27.1 2.37M 1.3
ResGNN 224 - OOM 28.4M -
WT-ResGNN 64 83.30 27.4 51.2k 1.2
WT-ResGNN 224 - OOM 537k -
DEQ-GNN 64 83.17 2.22 51.3k 1.3
DEQ-GNN 224 85.84 7.60 537k 2.9
RevGNN 64 85.48 2.09 1.46M 1.8
RevGNN 80 85.97 2.56 2.25M 2.2
RevGNN 224 87.02 7.30 17.1M 4.9
WT-RevGNN 64 82.89 1.60 35.0k 1.7
WT-RevGNN 80 83.46 2.08 51.4k 2.0
WT-RevGNN 224 85.28 5.55 337k 4.8
"""
"""Model, channels, ROC-AUC, GB, parameters, days."""

TABLE_3 = """
RevGNN-Deep 1001 80 1 3 87.29 0.16
RevGNN-Deep 1001 80 5 3 87.68 0.13
RevGNN-Deep 1001 80 10 3 87.74 0.13
RevGNN-Wide 448 224 1 3 87.84 0.21
RevGNN-Wide 448 224 5 3 88.20 0.16
RevGNN-Wide 448 224 10 3 88.24 0.15
RevGNN-Wide 448 224 1 3 87.84 0.21
RevGNN-Wide 448 224 1 5 87.62 0.18
RevGNN-Wide 448 224 1 10 87.23 0.22
"""
"""Model, layers, channels, views, parts, ROC-AUC, deviation. The fourth row and the seventh are alike."""

B_4 = {
    ("RevGNN-Deep", "WT-RevGNN-224-L7"): "0.8571",
    ("RevGNN-Deep", "DEQ-GNN-224-I56"): "0.8565",
    ("WT-RevGNN-224-L7", "DEQ-GNN-224-I56"): "0.8948",
}
"""Pearson coefficients of RevGNN with 1000 layers, WT-RevGNN-224 with 7 layers, DEQ-GNN-224 with 56 iterations."""

SECOND_HAND = {
    "proteins": """
GCN 72.51 0.35 96.9k 4.68
GraphSAGE 77.68 0.20 193k 3.12
DeeperGCN 86.16 0.16 2.37M 27.1
UniMP 86.42 0.08 1.91M
GAT 86.82 0.21 2.48M 6.74
UniMP_+_CEF 86.91 0.18 1.96M 27.2
RevGNN-Deep 20.03M 2.86
RevGNN-Wide 68.47M 7.91
""",
    "depth": """
ResGNN-64-L3 83.47
ResGNN-64-L7 84.65
ResGNN-64-L14 85.16
ResGNN-64-L28 85.26
ResGNN-64-L56 86.05
ResGNN-64-L448 OOM
RevGNN-80-L3 84.71
RevGNN-80-L7 84.96
RevGNN-80-L14 85.31
RevGNN-80-L28 85.96
RevGNN-80-L56 85.97
RevGNN-80-L448 86.83
RevGNN-224-L448 87.33
WT-ResGNN-64-L3 82.76
WT-ResGNN-64-L7 83.41
WT-ResGNN-64-L14 83.67
WT-ResGNN-64-L28 83.35
WT-ResGNN-64-L56 82.91
DEQ-GNN-64-I3 79.04
DEQ-GNN-64-I7 82.82
DEQ-GNN-64-I14 82.88
""",
    "arxiv": "RevGAT 75.01 0.10\nRevGAT-SelfKD 74.97 0.08",
    "products": "RevGNN-112 92.90 0.07",
}
"""Figures of the main paper and of others' notes: table, name of the row, and what is printed."""

FIRST_HAND_BY_DEPTH = """
ResGNN-64-L112 85.94
RevGNN-80-L112 85.97
RevGNN-80-L1001 87.06 0.20
RevGNN-224-L3 85.09
RevGNN-224-L7 85.68
RevGNN-224-L14 86.62
RevGNN-224-L28 86.68
RevGNN-224-L56 86.90
RevGNN-224-L112 87.02
WT-ResGNN-64-L112 83.30
DEQ-GNN-64-I56 83.17
"""
"""Figures of the curves that the supplement, or the README of the authors' code, has too."""


def lines(text: str) -> list[list[str]]:
    return [line.split() for line in text.split("\n") if line]


@pytest.fixture(scope="module")
def tables() -> dict[str, dict[str, Any]]:
    answer = CliRunner().invoke(app, ["paper", "--json"])
    assert answer.exit_code == 0, answer.output
    return {table["table"]: table for table in json.loads(answer.stdout)}


def row(table: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = (row for row in (*table["rows"], *table["others"]) if row["name"] == name)
    return found


def printed(row: dict[str, Any], place: str) -> dict[str, str]:
    """First-hand figures of one source, by name."""
    figures = [figure for figure in row["figures"] if figure["source"] == place]
    assert not any(figure["second_hand"] for figure in figures)
    return {figure["figure"]: figure["printed"] for figure in figures}


def test_table_1(tables: dict[str, Any]) -> None:
    table = tables["table1"]
    for layers, *figures in lines(TABLE_1):
        for groups, (parameters, score) in {"2": figures[:2], "4": figures[2:]}.items():
            found = row(table, f"RevGNN-224-L{layers}-C{groups}")
            assert printed(found, "supplement, Table 1") == {
                "layers": layers,
                "groups": groups,
                "channels": "224",
                "parameters": parameters,
                "score": score,
            }
            assert found["published"]["score"] == pytest.approx(float(score) / 100, abs=1e-12)
            sources = {f["source_row"] for f in found["figures"] if f["source"] == "supplement, Table 1"}
            assert sources == {f"{layers} layers, group {groups}"}
    assert len(table["rows"]) == 12


def test_what_section_a_says_about_groups(tables: dict[str, Any]) -> None:
    table = tables["table1"]
    memory = [printed(row(table, f"RevGNN-224-L112-C{groups}"), "supplement, A") for groups in (2, 4)]
    assert memory == [{"memory_gb": "7.30 GB"}, {"memory_gb": "11.05 GB"}]
    said = {c["figure"]: (c["printed"], c["source"], c["second_hand"]) for c in table["comparisons"]}
    assert said == {
        "parameters_less": ("more than 30%", "supplement, A", False),
        "parameters_ratio": ("around 67%", "supplement, A", False),
    }


def test_table_2(tables: dict[str, Any]) -> None:
    table = tables["table2"]
    assert [row["name"] for row in table["rows"]] == ["-".join(line[:2]) for line in lines(TABLE_2)]
    for model, channels, *figures in lines(TABLE_2):
        found = row(table, f"{model}-{channels}")
        names = ("score", "memory_gb", "parameters", "train_days")
        expected = {name: text for name, text in zip(names, figures, strict=True) if text != "-"}
        if expected["memory_gb"] == "OOM":
            expected["out_of_memory_gb"] = "32GB"
            assert (found["published"]["memory_gb"], found["published"]["out_of_memory_gb"]) == (None, 32)
        assert printed(found, "supplement, Table 2") == {"channels": channels, **expected}
        assert {f["source_row"] for f in found["figures"]} - {None} == {f"{model}, {channels} channels"}
    assert row(table, "RevGNN-80")["published"]["score"] == 0.8597
    (days,) = table["comparisons"]
    assert days["printed"] == "1.3 days vs. 2 days"


def test_table_3(tables: dict[str, Any]) -> None:
    table = tables["table3"]
    assert len(table["rows"]) == 9
    for found, (model, layers, channels, views, parts, score, deviation) in zip(table["rows"], lines(TABLE_3), strict=True):
        assert found["name"].startswith(f"{model}-V{views}-P{parts}")
        assert printed(found, "supplement, Table 3") == {
            "layers": layers,
            "channels": channels,
            "views": views,
            "parts": parts,
            "score": score,
            "score_std": deviation,
        }
        assert (found["views"], found["parts"], found["layers"]) == (int(views), int(parts), int(layers))
    assert len({found["name"] for found in table["rows"]}) == 9
    assert {c["printed"] for c in table["comparisons"]} == {"about 0.4%"}


def test_correlations(tables: dict[str, Any]) -> None:
    table = tables["correlation"]
    found = {(c["first"], c["second"]): (c["figure"], c["printed"], c["second_hand"]) for c in table["comparisons"]}
    assert found == {pair: ("pearson", text, False) for pair, text in B_4.items()}
    shapes = {found["name"]: printed(found, "supplement, B.4") for found in table["rows"]}
    assert shapes == {
        "RevGNN-Deep": {"layers": "1000"},
        "WT-RevGNN-224-L7": {"channels": "224", "layers": "7"},
        "DEQ-GNN-224-I56": {"channels": "224", "iterations": "56"},
    }


def test_checkpointing(tables: dict[str, Any]) -> None:
    table = tables["checkpoint"]
    found = {found["name"]: printed(found, "supplement, C.1") for found in table["rows"]}
    assert found == {
        "ResGNN-64-checkpoint": {"layers": "112", "channels": "64", "memory_gb": "5.22 G"},
        "RevGNN-64": {"layers": "112", "channels": "64", "memory_gb": "2.09 G"},
    }
    assert [row["published"]["memory_gb"] for row in table["rows"]] == [5.22, 2.09]
    (ratio,) = table["comparisons"]
    assert (ratio["printed"], ratio["value"], ratio["source"]) == ("2.5X", 2.5, "supplement, C.1")


@pytest.mark.parametrize("name", ["proteins", "table1", "table2", "checkpoint"])
def test_tables_with_memory_say_how_it_was_measured(tables: dict[str, Any], name: str) -> None:
    (note,) = (note for note in tables[name]["notes"] if "B.3" in note)
    for part in ("first training epoch", "torch.cuda.max_memory_allocated", "nvidia-smi shows is larger"):
        assert part in note


@pytest.mark.parametrize("name", SECOND_HAND)
def test_second_hand_figures_are_marked(tables: dict[str, Any], name: str) -> None:
    for row_name, *figures in lines(SECOND_HAND[name]):
        found = row(tables[name], row_name.replace("_", " "))
        marked = {figure["printed"] for figure in found["figures"] if figure["second_hand"]}
        assert set(figures) <= marked, (row_name, figures, marked)


def test_curves_name_the_first_hand_source_where_there_is_one(tables: dict[str, Any]) -> None:
    for row_name, *figures in lines(FIRST_HAND_BY_DEPTH):
        found = row(tables["depth"], row_name)
        assert figures == [figure["printed"] for figure in found["figures"]]
        for figure in found["figures"]:
            assert not figure["second_hand"]
            assert figure["source"].startswith(("supplement, Table", "README of the authors' code"))


def test_no_figure_of_the_supplement_is_second_hand(tables: dict[str, Any]) -> None:
    for table in tables.values():
        figures = [f for row in (*table["rows"], *table["others"]) for f in row["figures"]] + table["comparisons"]
        assert not [f for f in figures if f["source"].startswith("supplement") and f["second_hand"]]
        assert not [f for f in figures if f["source"].startswith("main paper") and not f["second_hand"]]


# --- the text of the supplement -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def supplement(real_data: Path) -> str:
    """The text of the supplement, if it is beside the folder of real graphs."""
    path = real_data.parent / "paper" / "supplement.txt"
    if not path.is_file():
        pytest.skip(f"there is no {path}")
    return path.read_text(encoding="utf-8")


def test_rows_written_down_here_are_in_the_supplement(supplement: str) -> None:
    """Each as one row: cells are separated by tabs, and some numbers are set in bold."""
    plain = re.sub(r"</?b>|\\textbf", "", supplement)
    # The first row of Table 2 follows other text on its line.
    printed = [" ".join(re.sub(r"[^\w.-]+|\bpm\b", " ", line).split()) for line in plain.splitlines()]
    for table in (TABLE_1, TABLE_2, TABLE_3):
        for row in lines(table):
            assert any(f" {line}".endswith(f" {' '.join(row)}") for line in printed), row


@pytest.mark.parametrize(
    "text",
    [
        *("7.30 GB to 11.05 GB", "more than 30%", "around 67%", "1.3 days *vs.* 2 days", "32GB of memory", "about 0.4%"),
        *("0.8571 (RevGNN *vs.* WT-RevGNN)", "0.8565 (RevGNN *vs.* DEQ-GNN)", "0.8948 (WT-RevGNN *vs.* DEQ-GNN)"),
        *("RevGNN with 1000 layers, WT-RevGNN-224 with 7 layers and DEQ-GNN-224 with 56 iterations", "2.5X the memory"),
        *("5.22 G vs. 2.09 G", "112-layer models with 64 hidden channels", "the first training epoch"),
        *("torch.cuda.max\\_memory\\_allocated", "automatic mixed precision"),
    ],
)
def test_texts_that_figures_are_taken_from_are_in_the_supplement(supplement: str, text: str) -> None:
    assert text in " ".join(supplement.split())
