"""Our own table: one protocol, and networks that differ as the names of their rows say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from revgnn.experiments import Row, get_preset, get_table
from revgnn.models import num_parameters
from revgnn.train.datasets import load_dataset
from revgnn.train.run.session import build_for

TABLE = get_table("humanppi")
NETWORKS = {row.preset.name: row for row in reversed(TABLE.rows)}


def test_it_is_marked_as_our_own() -> None:
    assert "own" in TABLE.source
    assert not any(row.published.figures for row in TABLE.rows)


@pytest.mark.parametrize("row", TABLE.rows, ids=lambda row: row.name)
def test_a_row_is_what_its_name_says(row: Row) -> None:
    model = row.run.model
    families = {"Res": "residual", "Rev": "reversible", "DEQ": "equilibrium"}
    assert model.family == families[row.name.removeprefix("WT-")[:3]]
    assert model.tied == row.name.startswith("WT-")
    assert model.channels == 64
    depth = re.search(r"GNN-(\d+)", row.name)
    assert depth is None or model.depth == int(depth[1])
    view = re.search(r"-V(\d+)-P(\d+)$", row.name)
    assert (row.views, row.parts) == ((int(view[1]), int(view[2])) if view else (None, None))


def test_all_rows_share_one_protocol() -> None:
    not_of_the_preset = {"model.aggregation": "mean", "model.learn_aggregation": False, "model.dropout": 0.2}
    own = get_preset("humanppi").replace({"epochs": 60, "parts": 5, **not_of_the_preset}).flat()
    for preset in NETWORKS:
        flat = get_preset(preset).flat()
        differing = {key for key in own if flat.get(key) != own[key]}
        assert differing <= {"preset", "model.family", "model.depth", "model.groups", "model.tied", "model.solver"}


def test_all_comparisons_are_present() -> None:
    models = [row.run.model for row in NETWORKS.values()]
    at_28 = {(m.family, m.tied) for m in models if m.depth == 28}
    assert len(at_28) == 5
    assert sorted(m.depth for m in models if m.family == "reversible" and not m.tied) == [3, 7, 14, 28, 56, 112]
    views = {(row.views, row.parts) for row in TABLE.rows if row.views}
    assert views == {(views, parts) for views in (1, 5, 10) for parts in (1, 3, 5, 10)}


def test_sizes_on_the_real_graph(real_data: Path) -> None:
    dataset = load_dataset(get_preset("humanppi").replace({"data.root": str(real_data)}).data)
    assert (dataset.num_nodes, dataset.graph.num_edges) == (12_381, 874_602)
    for row in NETWORKS.values():
        with torch.device("meta"):
            assert num_parameters(build_for(row.run, dataset)) == row.parameters
