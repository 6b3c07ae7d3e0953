"""Edge lists as SNAP, KONECT, Network Repository and networkx write them; labels beside them."""

from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from revgnn.data import TableOptions, load
from revgnn.data.readers.edge_list import read_edge_list
from tests.data.readers.graphs import assert_same_graph, karate, les_miserables, refuse, trade


def clubs(path: Path, graph: nx.Graph) -> TableOptions:
    """Write the clubs of nodes 0 to N - 1 as a file of labels."""
    np.save(path.with_suffix(".npy"), np.array([graph.nodes[node]["club"] for node in sorted(graph)]))
    return TableOptions(label_file=str(path.with_suffix(".npy")))


def pairs(path: Path) -> Counter:
    edges = read_edge_list(path).edges
    return Counter(zip(map(str, edges.column("source").to_pylist()), map(str, edges.column("target").to_pylist()), strict=True))


def of_networkx(path: Path, **options: object) -> Counter:
    graph = nx.read_edgelist(path, create_using=nx.MultiDiGraph, data=False, **options)  # type: ignore[arg-type]
    return Counter(graph.edges())


SNAP = """# Directed graph (each unordered pair of nodes is saved once): p2p.txt
# Nodes: 5 Edges: 6
# FromNodeId\tToNodeId
0\t1
0\t2
3\t2
4\t0
4\t4
2\t1
"""


def test_snap(tmp_path: Path) -> None:
    for name, content in (("p2p.txt", SNAP.encode()), ("p2p.txt.gz", gzip.compress(SNAP.encode()))):
        path = tmp_path / name
        path.write_bytes(content)
        assert pairs(path) == of_networkx(path)
        assert read_edge_list(path).directed is True
        np.save(tmp_path / "y.npy", [0, 1, 0, 1, 0])
        dataset = load(str(path), tables=TableOptions(label_file=str(tmp_path / "y.npy"), split_ratios=(1.0, 0.0, 0.0)))
        assert sorted(zip(dataset.graph.src.tolist(), dataset.graph.dst.tolist(), strict=True)) == sorted(
            [(0, 1), (0, 2), (3, 2), (4, 0), (4, 4), (2, 1)]
        )


@pytest.mark.parametrize(
    ("comment", "directed"),
    [
        ("# Undirected graph: com-amazon", False),
        ("# Directed graph", True),
        ("% sym weighted", False),
        ("% asym", True),
        ("# x", None),
    ],
)
def test_direction_is_as_the_comments_say(tmp_path: Path, comment: str, directed: bool | None) -> None:
    path = tmp_path / "graph.txt"
    path.write_text(f"{comment}\n1 2\n2 3\n", encoding="utf-8")
    assert read_edge_list(path).directed is directed


@pytest.mark.parametrize("write", [nx.write_edgelist, nx.write_weighted_edgelist], ids=["braces", "weights"])
def test_files_of_networkx(tmp_path: Path, write) -> None:
    path = tmp_path / "karate.edgelist"
    write(karate(), path)
    labels = clubs(path, karate())
    assert_same_graph(load(str(path), tables=labels), karate())
    one_way = load(str(path), tables=labels, undirected=False)
    assert one_way.graph.num_edges == karate().number_of_edges()


def test_ids_of_text_come_with_a_table_of_nodes(tmp_path: Path) -> None:
    graph = nx.relabel_nodes(les_miserables(), lambda name: name.replace(" ", "_"))
    nx.write_weighted_edgelist(graph, tmp_path / "graph.edges")
    rows = [f"{node},{data['club']},{data['age']}" for node, data in graph.nodes(data=True)]
    (tmp_path / "people.csv").write_text("\n".join(["id,club,age", *rows]), encoding="utf-8")
    options = TableOptions(labels=("club",), edges=str(tmp_path / "graph.edges"))
    assert_same_graph(load(str(tmp_path / "people.csv"), tables=options), graph)
    np.save(tmp_path / "y.npy", [0] * 77)
    text = refuse(tmp_path / "graph.edges", tables=TableOptions(label_file=str(tmp_path / "y.npy")))
    assert "names nodes by text" in text
    assert 'the table F.csv with data.edges="graph.edges"' in text


@pytest.mark.parametrize(
    "text",
    [
        "1 2\n2 3\n",
        "1\t2\r\n2\t3\r\n",
        "  1   2  \n\n2 \t 3\n",
        "1 2\n# in between\n2 3",
        "%a\n%b\n1,2\n2 , 3\n",
        "\ufeff1 2\n2 3\n",
        "source target\n1 2\n2 3\n",
        "FromNodeId,ToNodeId\n1,2\n2,3\n",
    ],
)
def test_ways_to_separate_cells(tmp_path: Path, text: str) -> None:
    path = tmp_path / "graph.edges"
    path.write_text(text, encoding="utf-8")
    edges = read_edge_list(path).edges
    assert edges.column("source").to_pylist() == [1, 2]
    assert edges.column("target").to_pylist() == [2, 3]


@given(st.lists(st.tuples(*[st.text(st.characters(categories=("L", "N")), min_size=1, max_size=5)] * 2), min_size=1, max_size=30))
@settings(max_examples=40, deadline=None)
def test_any_ids_are_kept_as_written(tmp_path_factory: pytest.TempPathFactory, edges: list[tuple[str, str]]) -> None:
    path = tmp_path_factory.mktemp("ids") / "graph.edgelist"
    path.write_text("\n".join(f"{a}\t{b}" for a, b in edges) + "\n", encoding="utf-8")
    named = {"source": ("target",), "src": ("dst",), "from": ("to",)}
    if edges[0][1].casefold() not in named.get(edges[0][0].casefold(), ()):
        assert pairs(path) == Counter(edges)


def test_codes_are_not_numbers(tmp_path: Path) -> None:
    path = tmp_path / "graph.edges"
    path.write_text("007 8\n8 9\n", encoding="utf-8")
    assert read_edge_list(path).edges.column("source").to_pylist() == ["007", "8"]
    assert read_edge_list(path).edges.column("target").to_pylist() == [8, 9]


def test_lines_longer_than_a_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("revgnn.data.readers.edge_list._BLOCK", 64)
    path = tmp_path / "graph.edges"
    rng = np.random.default_rng(0)
    ends = rng.integers(0, 10**6, (500, 2))
    lines = [f"{a}  \t{b}" + ("\n# comment" if i % 7 == 0 else "") for i, (a, b) in enumerate(ends)]
    path.write_text("\n".join(lines), encoding="utf-8")
    edges = read_edge_list(path).edges
    assert np.array_equal(np.stack([edges.column(name).to_numpy() for name in ("source", "target")], axis=1), ends)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2\n3\n", r"line 2 has 1 cells, but the first edge has 2 \('3'\)"),
        ("1 2\n# c\n3 4 5\n", "line 3 has 3 cells"),
        ("a\n", "no column|cannot be read"),
        ("", "an empty file|no edges"),
        ("% bip weighted\n1 1 3\n", "bipartite"),
        ("# only comments\n", "no edges|cannot be read"),
        ("1 2 {'weight': __import__('os').getcwd()}\n", "cannot be read as edge list"),
        ("1 2 {'weight': " + "[" * 5000 + "\n", "cannot be read as edge list"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "graph.edges"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        load(str(path), cache=False)
    refuse(path)


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "graph.edges"
    path.write_bytes(b"1 2\n" * 10 + b"\x00\xff\xfe" * 100)
    assert "graph.edges" in refuse(path)


# --- labels beside edges ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["y.npy", "y.txt", "y.csv", "y.clu"])
def test_files_of_labels(tmp_path: Path, name: str) -> None:
    nx.write_edgelist(karate(), tmp_path / "karate.edges", data=False)
    labels = [karate().nodes[node]["club"] for node in range(34)]
    if name == "y.npy":
        np.save(tmp_path / name, labels)
    else:
        head = {"y.csv": "label\n", "y.clu": "*Vertices 34\n"}.get(name, "")
        (tmp_path / name).write_text(head + "\n".join(labels) + "\n", encoding="utf-8")
    dataset = load(str(tmp_path / "karate.edges"), tables=TableOptions(label_file=str(tmp_path / name)))
    plain = nx.empty_graph(34)
    plain.add_edges_from(karate().edges)
    assert_same_graph(dataset, plain, label=None)
    assert dataset.tables is not None
    assert [dataset.tables.classes[y] for y in dataset.y.tolist()] == labels


def test_missing_labels_and_several_labels(tmp_path: Path) -> None:
    nx.write_edgelist(karate(), tmp_path / "karate.edges", data=False)
    y = np.arange(34) % 3
    y[[4, 7]] = -1
    np.save(tmp_path / "y.npy", y)
    np.save(tmp_path / "many.npy", np.random.default_rng(0).integers(0, 2, (34, 4)))
    one = load(str(tmp_path / "karate.edges"), tables=TableOptions(label_file=str(tmp_path / "y.npy")))
    assert one.y.tolist() == y.tolist()
    assert one.num_outputs == 3
    many = load(str(tmp_path / "karate.edges"), tables=TableOptions(label_file=str(tmp_path / "many.npy")))
    assert many.task == "multilabel"
    assert np.array_equal(many.y.numpy(), np.load(tmp_path / "many.npy"))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros(33, int), "names nodes 0 to 33, but .* has 33 labels"),
        (np.zeros((34, 2, 2)), "labels are"),
        (np.array([object()] * 34), "cannot be read as .npy"),
    ],
)
def test_labels_that_do_not_fit(tmp_path: Path, labels: np.ndarray, message: str) -> None:
    nx.write_edgelist(karate(), tmp_path / "karate.edges", data=False)
    np.save(tmp_path / "y.npy", labels, allow_pickle=True)
    with pytest.raises(ValueError, match=message):
        load(str(tmp_path / "karate.edges"), tables=TableOptions(label_file=str(tmp_path / "y.npy")))


def test_labels_with_fractions_are_targets(tmp_path: Path) -> None:
    nx.write_edgelist(karate(), tmp_path / "karate.edges", data=False)
    np.save(tmp_path / "y.npy", np.arange(34) + 0.5)
    data = load(str(tmp_path / "karate.edges"), tables=TableOptions(label_file=str(tmp_path / "y.npy")))
    assert data.task == "regression"
    assert np.array_equal(data.y.numpy(), np.arange(34)[:, None] + 0.5)


def test_without_labels_the_message_says_how_to_give_them(tmp_path: Path) -> None:
    nx.write_edgelist(trade(), tmp_path / "trade.edges", data=False)
    text = refuse(tmp_path / "trade.edges")
    assert 'label_file="F.npy"' in text
    assert 'the table F.csv with data.edges="trade.edges"' in text


def test_ids_that_count_from_1_need_a_table(tmp_path: Path) -> None:
    (tmp_path / "graph.edges").write_text("1 2\n2 3\n", encoding="utf-8")
    np.save(tmp_path / "y.npy", [0, 1, 0])
    assert "names nodes 1 to 3" in refuse(tmp_path / "graph.edges", tables=TableOptions(label_file=str(tmp_path / "y.npy")))


def test_a_label_file_belongs_to_a_graph_file(tmp_path: Path) -> None:
    (tmp_path / "nodes.csv").write_text("id,label\n1,a\n2,b\n", encoding="utf-8")
    (tmp_path / "edges.csv").write_text("source,target\n1,2\n", encoding="utf-8")
    assert "no graph file" in refuse(tmp_path, tables=TableOptions(label_file=str(tmp_path / "y.npy")))
