"""Real data sets compared with the published counts, and with the results of PyTorch Geometric and OGB on the same files."""

from __future__ import annotations

import json
import pickle
from collections import defaultdict

import numpy as np
import pytest
import scipy.sparse
import torch

from revgnn.data import NodeDataset, catalogue, load
from revgnn.data.readers.ogb import read_ogb
from revgnn.data.readers.ogb_meta import OFFICIAL
from revgnn.graph import Graph

# name, nodes, undirected edges, node features, edge features, task, outputs, splits, sizes of the first split
COUNTS = [
    ("tolokers", 11_758, 519_000, 10, 0, "binary", 1, 10, (5_879, 2_939, 2_940)),
    ("cora", 2_708, 5_278, 1_433, 0, "multiclass", 7, 1, (140, 500, 1_000)),
    ("computers", 13_752, 245_861, 767, 0, "multiclass", 10, 10, (8_251, 2_750, 2_751)),
    ("ogbn-tolokers", 11_758, 519_000, 10, 0, "binary", 1, 1, (5_879, 2_939, 2_940)),
    ("ogbn-humanppi", 12_381, 437_301, 4, 4, "multilabel", 112, 1, (7_428, 2_476, 2_477)),
    ("wiki_filtered/squirrel_filtered.npz", 2_223, 46_998, 2_089, 0, "multiclass", 5, 10, None),
    ("ppi/ppi_node2vec.npz", 3_890, 38_739, 1, 0, "multilabel", 50, 10, None),
    ("ppi/human_ppi_go.npz", 12_381, 437_301, 4, 4, "multilabel", 112, 1, (7_428, 2_476, 2_477)),
]


def undirected_edges(graph: Graph) -> int:
    loops = int((graph.src == graph.dst).sum())
    return (graph.num_edges - loops) // 2 + loops


@pytest.mark.parametrize(("name", "nodes", "edges", "features", "edge_features", "task", "outputs", "splits", "sizes"), COUNTS)
def test_counts(real_data, name, nodes, edges, features, edge_features, task, outputs, splits, sizes):
    data = load(name, real_data, cache=False)
    assert (data.num_nodes, undirected_edges(data.graph)) == (nodes, edges)
    assert torch.equal(data.graph.by_source.dst, data.graph.src)  # every edge has its reverse
    assert (data.in_channels, data.num_edge_features) == (features, edge_features)
    assert (data.task, data.num_outputs, len(data.splits)) == (task, outputs, splits)
    if sizes:
        assert tuple(len(part) for part in (data.split.train, data.split.valid, data.split.test)) == sizes


@pytest.mark.parametrize("entry", catalogue(), ids=lambda entry: entry.name)
def test_the_catalogue_agrees_with_the_files(real_data, entry):
    try:
        data = load(entry.name, real_data, cache=False)
    except ValueError as error:
        if "is not there" not in str(error):
            raise
        pytest.skip(f"{entry.name} is not in the folder of real graphs")
    if entry.num_nodes:
        assert (data.num_nodes, data.graph.num_edges) == (entry.num_nodes, entry.num_edges)
    assert (data.in_channels, data.num_edge_features) == (entry.num_features, entry.num_edge_features)
    assert (data.task, data.num_outputs, data.metric) == (entry.task, entry.num_outputs, entry.metric)
    assert (data.source, data.licence) == (entry.source, entry.licence)


def assert_same_edges(graph: Graph, edge_index: torch.Tensor, edge_attr: torch.Tensor | None = None) -> None:
    theirs = Graph.from_edge_index(edge_index, graph.num_nodes, edge_attr)
    # Apart from doubled edges, the order within a destination does not matter.
    ours_order, theirs_order = (np.lexsort((g.src.numpy(), g.dst.numpy())) for g in (graph, theirs))
    assert torch.equal(graph.indptr, theirs.indptr)
    assert torch.equal(graph.src[ours_order], theirs.src[theirs_order])
    if edge_attr is not None:
        assert torch.equal(graph.edge_attr[ours_order], theirs.edge_attr[theirs_order])


def assert_same_splits(data: NodeDataset, train: torch.Tensor, valid: torch.Tensor, test: torch.Tensor) -> None:
    for number, split in enumerate(data.splits):
        for ours, masks in zip((split.train, split.valid, split.test), (train, valid, test), strict=True):
            mask = masks[:, number] if masks.dim() == 2 else masks
            assert torch.equal(ours.sort().values, mask.nonzero().flatten())


@pytest.mark.parametrize(
    ("name", "folder", "theirs"),
    [
        ("cora", "planetoid/Cora", "Planetoid"),
        ("computers", "amazon/Computers", "Amazon"),
        ("tolokers", "heterophilous/tolokers", "Heterophilous"),
    ],
)
def test_equals_pytorch_geometric(copy_of_real_data, name, folder, theirs):
    datasets = pytest.importorskip("torch_geometric.datasets")
    root = copy_of_real_data(folder)
    data = load(name, root, cache=False)
    kind = {"Planetoid": datasets.Planetoid, "Amazon": datasets.Amazon, "Heterophilous": datasets.HeterophilousGraphDataset}[theirs]
    other = kind(str((root / folder).parent), (root / folder).name)[0]
    assert_same_edges(data.graph, other.edge_index)
    assert torch.equal(data.x, other.x)
    assert torch.equal(data.y, other.y)
    if "train_mask" in other:
        assert_same_splits(data, other.train_mask, other.val_mask, other.test_mask)


@pytest.mark.parametrize("name", ["ogbn-humanppi", "ogbn-tolokers"])
def test_equals_ogb(copy_of_real_data, name):
    ogb = pytest.importorskip("ogb.nodeproppred")
    from torch_geometric.data.data import DataEdgeAttr, DataTensorAttr
    from torch_geometric.data.storage import GlobalStorage

    folder = copy_of_real_data(f"ogb/{name.replace('-', '_')}") / "ogb" / name.replace("-", "_")
    data = load(name, folder, cache=False)
    meta = json.loads((folder / "meta_dict.json").read_text()) | {"dir_path": str(folder)}
    multiarray = np._core.multiarray
    # ogb 1.3.6 does not tell torch.load which classes its files hold.
    allowed = [DataEdgeAttr, DataTensorAttr, GlobalStorage, multiarray.scalar, multiarray._reconstruct]
    with torch.serialization.safe_globals([*allowed, np.ndarray, np.dtype, type(np.dtype(np.int64))]):
        theirs = ogb.PygNodePropPredDataset(name, meta_dict=meta)
        other, split = theirs[0], theirs.get_idx_split()
    assert_same_edges(data.graph, other.edge_index, other.edge_attr)
    assert torch.equal(data.y, other.y.float() if data.task == "multilabel" else other.y.squeeze(1))
    for part in ("train", "valid", "test"):
        assert torch.equal(getattr(data.split, part), torch.as_tensor(split[part]))
    if other.x is not None:
        assert torch.equal(data.x, other.x)
    else:
        sums = torch.zeros(data.num_nodes, 4).index_add_(0, other.edge_index[1], other.edge_attr)
        assert torch.allclose(data.x, sums, rtol=1e-5)
        assert (data.num_species, int(data.species.max())) == (1, 0)


def test_the_official_sets_agree_with_ogb():
    ogb = pytest.importorskip("ogb.nodeproppred")
    pandas = pytest.importorskip("pandas")
    from pathlib import Path

    master = pandas.read_csv(Path(ogb.__file__).parent / "master.csv", index_col=0, keep_default_na=False)
    for name, meta in OFFICIAL.items():
        theirs = master[name]
        assert (meta.num_tasks, meta.num_classes) == (int(theirs["num tasks"]), int(theirs["num classes"]))
        assert (meta.task_type, meta.eval_metric, meta.split) == (theirs["task type"], theirs["eval metric"], theirs["split"])
        assert (meta.add_inverse_edge, meta.binary, meta.is_hetero) == tuple(
            theirs[key] == "True" for key in ("add_inverse_edge", "binary", "is hetero")
        )
        assert (meta.download_name, meta.url) == (theirs["download_name"], theirs["url"])


def test_csv_and_pickled_splits_agree(real_data):
    by_number = load("ogbn-tolokers", real_data, cache=False)
    by_name = load("ogbn-tolokers", real_data, split="platonov0_csv", cache=False)
    first = load("tolokers", real_data, cache=False)
    for part in ("train", "valid", "test"):
        assert torch.equal(getattr(by_number.split, part), getattr(by_name.split, part))
        assert torch.equal(getattr(by_number.split, part), getattr(first.split, part))


@pytest.mark.parametrize("root", [".", "planetoid", "planetoid/Cora"])
def test_the_root_may_be_the_folder_or_one_above(real_data, root):
    assert load("CORA", real_data / root).num_nodes == 2_708


def test_a_folder_in_ogb_layout_may_be_named_by_its_path(real_data, tmp_path):
    data = load(str(real_data / "ogb" / "ogbn_humanppi"), tmp_path, cache=False)
    assert data.name == "ogbn-humanppi"
    assert data.graph.num_edges == 874_602


def test_options_change_the_graph(real_data):
    plain = load("cora", real_data).graph
    loops = load("cora", real_data, self_loops=True).graph
    assert loops.num_edges == plain.num_edges + 2_708
    assert bool((loops.src == loops.dst).nonzero().numel() == 2_708)
    stored = load("tolokers", real_data, undirected=False).graph
    assert stored.num_edges == 519_000
    ppi = load("ppi/ppi_node2vec.npz", real_data).graph
    assert int((ppi.src == ppi.dst).sum()) == 894
    assert load("ppi/ppi_node2vec.npz", real_data, self_loops=False).graph.num_edges == ppi.num_edges - 894
    with pytest.raises(ValueError, match="self-loops would have no edge features"):
        load("ogbn-humanppi", real_data, self_loops=True, cache=False)


def test_a_split_may_be_chosen(real_data):
    data = load("tolokers", real_data, split=3)
    assert data.split is data.splits[3]
    many = load("computers", real_data, split=11, cache=False)
    assert len(many.splits) == 12
    assert torch.equal(many.splits[2].train, load("computers", real_data, cache=False).splits[2].train)
    with pytest.raises(ValueError, match=r"cora has 1 split\(s\), 0 to 0; got split 1"):
        load("cora", real_data, split=1)
    with pytest.raises(ValueError, match="no split named 'random'"):
        load("cora", real_data, split="random")
    with pytest.raises(ValueError, match="has no split 'time'; it has random"):
        load("ogbn-humanppi", real_data, split="time")


def test_planetoid_with_gaps_among_its_test_nodes_equals_pytorch_geometric(tmp_path):
    """CiteSeer's test nodes are not consecutive: the missing ones are isolated, without features or labels."""
    planetoid = pytest.importorskip("torch_geometric.io.planetoid")
    raw = tmp_path / "CiteSeer" / "raw"
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    test = rng.permutation([530, 531, 533, 534, 537])  # 532, 535 and 536 are missing
    one_hot = np.eye(3, dtype=np.int32)[rng.integers(3, size=535)]
    x = scipy.sparse.csr_matrix(rng.integers(2, size=(535, 4)).astype(np.float32))
    graph = defaultdict(list, {i: [(i + 1) % 538, (i - 1) % 538] for i in range(538) if i not in (532, 535, 536)})
    stored = {
        "x": x[:20],
        "y": one_hot[:20],
        "allx": x[:530],
        "ally": one_hot[:530],
        "tx": x[530:],
        "ty": one_hot[530:],
        "graph": graph,
    }
    for part, value in stored.items():
        (raw / f"ind.citeseer.{part}").write_bytes(pickle.dumps(value, protocol=2))
    (raw / "ind.citeseer.test.index").write_text("".join(f"{node}\n" for node in test))
    data, other = load("citeseer", tmp_path), planetoid.read_planetoid_data(str(raw), "citeseer")
    labelled = torch.ones(538, dtype=torch.bool)
    labelled[[532, 535, 536]] = False
    assert torch.equal(data.x, other.x)
    assert torch.equal(data.y[labelled], other.y[labelled])
    assert bool((data.y[~labelled] == -1).all())
    # PyTorch Geometric keeps the directions of the file; ours adds the reverse edges, which the missing nodes do not have.
    both = torch.cat([other.edge_index, other.edge_index.flip(0)], dim=1).unique(dim=1)
    assert_same_edges(data.graph, both)
    for ours, mask in zip((data.split.train, data.split.test), (other.train_mask, other.test_mask), strict=True):
        assert torch.equal(ours.sort().values, mask.nonzero().flatten())


# --- the paper's recipes, on small files in OGB's layout ------------------------------------------------------------------


def write_ogb(folder, edges, labels, *, features=None, edge_features=None, species=None, split="time"):
    """A folder as OGB unpacks it; each argument is a list of rows."""
    import gzip

    def write(path, rows):
        path.parent.mkdir(parents=True, exist_ok=True)
        with gzip.open(path, "wt") as file:
            file.writelines(",".join(map(str, row)) + "\n" for row in rows)

    raw = folder / "raw"
    write(raw / "edge.csv.gz", edges)
    write(raw / "num-node-list.csv.gz", [[len(labels)]])
    write(raw / "num-edge-list.csv.gz", [[len(edges)]])
    write(raw / "node-label.csv.gz", labels)
    for name, rows in (("node-feat", features), ("edge-feat", edge_features), ("species", species)):
        if rows is not None:
            write(raw / f"{name}.csv.gz", rows)
    for part, nodes in (("train", [[0], [1]]), ("valid", [[2]]), ("test", [[3]])):
        write(folder / "split" / split / f"{part}.csv.gz", nodes)


EDGES = [[0, 1], [1, 0], [1, 2], [2, 2], [3, 1]]


def test_arxiv_is_made_undirected_with_self_loops(tmp_path):
    write_ogb(tmp_path / "ogbn_arxiv", EDGES, [[0], [1], [39], [0]], features=[[0.5, i] for i in range(4)])
    data = load("ogbn-arxiv", tmp_path)
    pairs = {(int(s), int(d)) for s, d in data.graph.edge_index.T}
    assert data.graph.num_edges == len(pairs)
    assert pairs == {(0, 1), (1, 0), (1, 2), (2, 1), (3, 1), (1, 3), (0, 0), (1, 1), (2, 2), (3, 3)}
    assert (data.num_outputs, data.metric, data.x.tolist()[2]) == (40, "accuracy", [0.5, 2.0])
    assert load("ogbn-arxiv", tmp_path, undirected=False, self_loops=False).graph.num_edges == 4


def test_products_gets_self_loops(tmp_path):
    write_ogb(tmp_path / "ogbn_products_pyg", [[0, 1], [1, 2]], [[0], [1], [46], [0]], features=[[1.0]] * 4, split="sales_ranking")
    graph = load("ogbn-products", tmp_path).graph
    assert {(int(s), int(d)) for s, d in graph.edge_index.T} == {(0, 1), (1, 0), (1, 2), (2, 1), (0, 0), (1, 1), (2, 2), (3, 3)}


def test_proteins_sums_edge_features_and_numbers_its_species(tmp_path):
    labels = [[node == t % 2 for t in range(112)] for node in range(4)]
    labels = [[int(v) for v in row] for row in labels]
    features = [[e + k / 8 for k in range(8)] for e in range(3)]
    write_ogb(
        tmp_path / "ogbn_proteins",
        [[0, 1], [1, 2], [0, 1]],
        labels,
        edge_features=features,
        species=[[9606], [3702], [9606], [4932]],
        split="species",
    )
    data = load("ogbn-proteins", tmp_path)
    assert data.graph.num_edges == 6  # doubled edges are kept, as OGB keeps them
    assert (data.num_species, data.species.tolist()) == (3, [2, 0, 2, 1])
    assert data.x[:, 0].tolist() == [2.0, 3.0, 1.0, 0.0]
    assert (data.task, data.num_outputs, data.metric) == ("multilabel", 112, "rocauc")


def test_without_pandas_the_numbers_are_the_same(real_data, monkeypatch):
    pytest.importorskip("pandas")
    folder = real_data / "ogb" / "ogbn_humanppi"
    with_pandas = read_ogb(folder, "ogbn-humanppi")
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    without = read_ogb(folder, "ogbn-humanppi")
    assert torch.equal(with_pandas.graph.src, without.graph.src)
    assert torch.equal(with_pandas.graph.edge_attr, without.graph.edge_attr)
    assert torch.equal(with_pandas.y, without.y)
