"""GraphML, GEXF, GML, Pajek and node-link JSON: the same graph as networkx reads."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networkx as nx
import pytest

from revgnn.data import TableOptions, load
from revgnn.data.readers.gml import read_gml
from revgnn.data.readers.networkx_graph import tables_of
from tests.data.readers.graphs import GRAPHS, assert_same_graph, karate, load_club, refuse, trade


def write_json(graph: Any, path: Path) -> None:
    path.write_text(json.dumps(nx.node_link_data(graph, edges="links")), encoding="utf-8")


def read_json(path: Path) -> Any:
    return nx.node_link_graph(json.loads(path.read_text(encoding="utf-8")), edges="links")


def write_pajek(graph: Any, path: Path) -> None:
    # Pajek's attributes are text.
    plain = nx.relabel_nodes(graph, str)
    for _, data in plain.nodes(data=True):
        for name, value in data.items():
            data[name] = str(value)
    nx.write_pajek(plain, path)


def drop_numbers(graph: Any) -> Any:
    for _, data in graph.nodes(data=True):
        data.pop("id")
    return graph


FORMATS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "graphml": (nx.write_graphml, nx.read_graphml),
    "gexf": (nx.write_gexf, nx.read_gexf),
    "gml": (nx.write_gml, nx.read_gml),
    "net": (write_pajek, lambda path: drop_numbers(nx.read_pajek(path))),
    "json": (write_json, read_json),
}


@pytest.mark.parametrize("make", GRAPHS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("ending", FORMATS)
def test_the_same_graph_as_networkx(tmp_path: Path, ending: str, make: Callable[[], Any]) -> None:
    write, read = FORMATS[ending]
    path = tmp_path / f"graph.{ending}"
    write(make(), path)
    assert_same_graph(load_club(path), read(path))


@pytest.mark.parametrize("ending", FORMATS)
def test_attributes_are_columns(tmp_path: Path, ending: str) -> None:
    write, read = FORMATS[ending]
    path = tmp_path / f"graph.{ending}"
    write(trade(), path)
    graph = read(path)
    tables = tables_of(graph, path, without=("id",))
    for name in ("club", "size"):
        found = [None if value is None else str(value) for value in tables.nodes.column(name).to_pylist()]
        assert found == [None if data.get(name) is None else str(data[name]) for _, data in graph.nodes(data=True)]
    source = load_club(path).tables
    assert source is not None
    uses = {column.name: column for column in source.report.columns}
    assert uses["size"].kind == "numeric"
    assert uses["size"].missing == sum("size" not in data for _, data in graph.nodes(data=True))
    assert "written" not in source.report.spec
    assert source.report.spec.endswith(f"graph.{ending}.yaml")


@pytest.mark.parametrize("ending", ["graphml", "gexf", "gml", "net", "json"])
def test_files_packed_by_gzip(tmp_path: Path, ending: str) -> None:
    write, read = FORMATS[ending]
    plain, packed = tmp_path / f"graph.{ending}", tmp_path / f"packed.{ending}.gz"
    write(karate(), plain)
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert_same_graph(load_club(packed), read(plain))


def test_direction_is_the_files_own_and_an_option_wins(tmp_path: Path) -> None:
    directed, undirected = tmp_path / "a.graphml", tmp_path / "b.graphml"
    nx.write_graphml(trade(), directed)
    nx.write_graphml(trade().to_undirected(), undirected)
    assert load_club(directed).graph.num_edges == trade().number_of_edges()
    both = load_club(directed, undirected=True).graph
    assert sorted(zip(both.src.tolist(), both.dst.tolist(), strict=True)) == sorted(
        zip(*[end.tolist() for end in (load_club(undirected).graph.src, load_club(undirected).graph.dst)], strict=True)
    )
    assert load_club(undirected, undirected=False).graph.num_edges == trade().to_undirected().number_of_edges()


def test_a_label_that_names_nodes_is_not_taken_for_classes(tmp_path: Path) -> None:
    path = tmp_path / "graph.gexf"
    nx.write_gexf(karate(), path)  # writes a label for each node: its id
    text = refuse(path)
    assert "these could be labels: club (2 values)" in text
    source = load_club(path).tables
    assert source is not None
    assert "name" in {column.name for column in source.report.columns}


def test_gml_whose_labels_repeat(tmp_path: Path) -> None:
    path = tmp_path / "graph.gml"
    nodes = "".join(f'node [ id {i} label "{"ab"[i % 2]}" ] ' for i in range(10))
    edges = "".join(f"edge [ source {i} target {(i + 1) % 10} ] " for i in range(10))
    path.write_text(f"graph [ {nodes} {edges} ]", encoding="utf-8")
    assert read_gml(path).nodes.column("id").to_pylist() == list(range(10))
    dataset = load(str(path))  # the column is named `label`, so that nothing needs to be said
    assert dataset.y.tolist() == [0, 1] * 5
    assert dataset.graph.num_edges == 20


def test_what_cannot_be_a_feature_is_left_out(tmp_path: Path) -> None:
    graph: Any = karate()
    for node in graph:
        more = {"position": [0.5, node], "colour": {"r": 1}, "huge": 10**30 + node, "mixed": node if node % 2 else "x"}
        graph.nodes[node].update(more)
    path = tmp_path / "graph.json"
    write_json(graph, path)
    source = load_club(path).tables
    assert source is not None
    columns = {column.name for column in source.report.columns if column.table == "nodes"}
    assert columns == {"id", "club", "huge", "mixed"}


def test_an_attribute_may_have_the_name_of_a_role(tmp_path: Path) -> None:
    graph: Any = karate()
    for a, b in graph.edges:
        graph.edges[a, b]["source"] = "told"
    path = tmp_path / "graph.gml"
    nx.write_gml(graph, path.with_suffix(".gml"))
    path = tmp_path / "graph.graphml"
    nx.write_graphml(graph, path)
    assert_same_graph(load_club(path), nx.read_graphml(path))


def test_graph_yaml_of_a_graph_file_is_obeyed(tmp_path: Path) -> None:
    path = tmp_path / "graph.graphml"
    nx.write_graphml(karate(), path)
    first = load_club(path).tables
    assert first is not None
    spec = Path(first.report.spec)
    spec.write_text(first.stored.spec.to_yaml().replace("directed: false", "directed: true"), encoding="utf-8")
    second = load(str(path))
    assert second.tables is not None
    assert not second.tables.report.spec_is_new
    assert second.graph.num_edges == 78


def test_options_of_tables_are_refused_for_other_formats(real_data: Path) -> None:
    path = real_data / "wiki_filtered/squirrel_filtered.npz"
    with pytest.raises(ValueError, match="options of tables do not fit"):
        load(str(path), tables=TableOptions(labels=("a",)))
