"""PyTorch Geometric: `Data` in files, folders of InMemoryDataset, and data sets by the name of their class."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch_geometric.data import Data, HeteroData, InMemoryDataset
from torch_geometric.datasets import FakeDataset, KarateClub, Planetoid

from revgnn.data import NodeDataset, TableOptions, load
from revgnn.data.readers.pyg_data import read_graphs
from tests.data.readers.graphs import refuse


def graph(**changes: Any) -> Data:
    """Zachary's karate club with its four communities, masks and what else a `Data` may hold."""
    data: Any = KarateClub()[0]
    data.test_mask = ~data.train_mask
    data.edge_weight = torch.rand(data.num_edges)
    data.pos = torch.rand(34, 2)
    data.title = "karate"
    for name, value in changes.items():
        setattr(data, name, value)
    return data


def assert_same(dataset: NodeDataset, data: Any) -> None:
    found = torch.stack([dataset.graph.src, dataset.graph.dst]).long()
    order = np.lexsort((data.edge_index[0].numpy(), data.edge_index[1].numpy()))
    again = np.lexsort((found[0].numpy(), found[1].numpy()))
    assert torch.equal(found[:, again], data.edge_index[:, order])
    assert dataset.x is not None
    assert torch.equal(dataset.x, data.x.float())
    assert torch.equal(dataset.y, data.y)
    if data.get("edge_weight") is not None:
        features = dataset.graph.edge_features(torch.float32)
        assert features is not None
        assert torch.equal(features[again, -1], data.edge_weight[order])


def test_data_saved_by_torch(tmp_path: Path) -> None:
    data = graph()
    torch.save(data, tmp_path / "karate.pt")
    dataset = load(str(tmp_path / "karate.pt"))
    assert_same(dataset, data)
    assert dataset.name == "karate"
    assert torch.equal(dataset.split.train, data.train_mask.nonzero().flatten())
    assert torch.equal(dataset.split.test, data.test_mask.nonzero().flatten())


@pytest.mark.parametrize(
    "wrap",
    [lambda d: d.to_dict(), lambda d: [d], lambda d: (d.to_dict(), None, Data), lambda d: (d, None)],
    ids=["a dict", "a list", "as InMemoryDataset", "as older versions"],
)
def test_other_ways_to_save_one_graph(tmp_path: Path, wrap: Callable[[Data], Any]) -> None:
    torch.save(wrap(graph()), tmp_path / "karate.pt")
    assert_same(load(str(tmp_path / "karate.pt")), graph(edge_weight=None))


def test_edge_features_and_weights_are_joined(tmp_path: Path) -> None:
    data = graph(edge_attr=torch.rand(156, 3))
    torch.save(data, tmp_path / "a.pt")
    dataset = load(str(tmp_path / "a.pt"))
    assert dataset.num_edge_features == 4
    assert_same(dataset, data)


@pytest.mark.parametrize("shape", [(34, 3), (3, 34)])
def test_several_splits(tmp_path: Path, shape: tuple[int, int]) -> None:
    parts = torch.randint(0, 3, shape, generator=torch.manual_seed(0))
    torch.save(graph(train_mask=parts == 0, val_mask=parts == 1, test_mask=parts == 2), tmp_path / "a.pt")
    dataset = load(str(tmp_path / "a.pt"), split=2)
    assert len(dataset.splits) == 3
    column = parts[:, 2] if shape[0] == 34 else parts[2]
    assert torch.equal(dataset.split.valid, (column == 1).nonzero().flatten())


def test_labels_of_several_tasks(tmp_path: Path) -> None:
    torch.save(graph(y=torch.randint(0, 2, (34, 5)), train_mask=None, test_mask=None), tmp_path / "a.pt")
    dataset = load(str(tmp_path / "a.pt"))
    assert dataset.task == "multilabel"
    assert len(dataset.splits) == 10


# --- folders ------------------------------------------------------------------------------------------------------------


class Club(InMemoryDataset):
    """A data set of a user's own class."""

    @property
    def processed_file_names(self) -> str:
        return "data.pt"

    def process(self) -> None:
        self.save([graph()], self.processed_paths[0])


def test_the_folder_of_a_users_own_class(tmp_path: Path) -> None:
    Club(str(tmp_path / "club"))
    assert_same(load(str(tmp_path / "club")), graph(edge_weight=None))


def test_a_folder_that_pytorch_geometric_has_processed(copy_of_real_data: Callable[[str], Path]) -> None:
    root = copy_of_real_data("planetoid/Cora") / "planetoid"
    data: Any = Planetoid(str(root), "Cora")[0]
    by_name, by_class = load("cora", root), load("pyg:Planetoid:Cora", root)
    assert_same(by_name, data)
    assert_same(by_class, data)
    for path in (root / "Cora/raw").iterdir():
        path.unlink()
    by_folder = load(str(root / "Cora"))
    assert_same(by_folder, data)
    for part in ("train", "valid", "test"):
        assert torch.equal(getattr(by_folder.split, part), getattr(by_name.split, part).sort().values)


def test_graphs_of_a_set_of_graphs(tmp_path: Path) -> None:
    """The list is what tasks of whole graphs need; as one graph the set is refused."""
    torch.manual_seed(0)
    graphs = [FakeDataset(1, 12 + i, 3, 4, 2)[0] for i in range(5)]
    InMemoryDataset.save(graphs, str(tmp_path / "data.pt"))
    torch.save(graphs, tmp_path / "list.pt")
    for name in ("data.pt", "list.pt"):
        found = read_graphs(tmp_path / name)
        assert len(found) == 5
        for ours, theirs in zip(found, graphs, strict=True):
            assert torch.equal(ours["edge_index"], theirs.edge_index)
            assert torch.equal(ours["x"], theirs.x)
            assert torch.equal(ours["y"], theirs.y)
        assert "holds 5 graphs; one graph" in refuse(tmp_path / name)


# --- refused ------------------------------------------------------------------------------------------------------------


def test_nodes_of_several_types_are_refused_with_the_way_to_convert(tmp_path: Path) -> None:
    data = HeteroData()
    data["user"].x = torch.rand(3, 2)
    data["item"].x = torch.rand(4, 2)
    data["user", "buys", "item"].edge_index = torch.tensor([[0, 1], [1, 2]])
    torch.save(data, tmp_path / "a.pt")
    InMemoryDataset.save([data], str(tmp_path / "b.pt"))
    for name in ("a.pt", "b.pt"):
        assert "torch.save(data.to_homogeneous(), 'graph.pt')" in refuse(tmp_path / name)
    torch.save(data.to_homogeneous(), tmp_path / "c.pt")
    assert "no labels of nodes" in refuse(tmp_path / "c.pt")


def test_graphs_of_dgl_are_refused_with_the_way_to_convert(tmp_path: Path) -> None:
    for name in ("graph.bin", "graph.npz"):
        (tmp_path / name).write_bytes((0xDD2E4FF046B4A13F).to_bytes(8, "little") + bytes(4096))
        assert "dgl.load_graphs(path)" in refuse(tmp_path / name)


def test_labels_with_fractions_are_targets(tmp_path: Path) -> None:
    targets = torch.rand(34)
    torch.save({**graph().to_dict(), "y": targets}, tmp_path / "a.pt")
    data = load(str(tmp_path / "a.pt"))
    assert data.task == "regression"
    assert torch.equal(data.y, targets[:, None])
    with pytest.raises(ValueError, match="is not a class"):
        load(str(tmp_path / "a.pt"), tables=TableOptions(task="multiclass"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y": None}, "no labels of nodes"),
        ({"y": torch.tensor([1])}, r"y has shape \(1,\), but there are 34 nodes"),
        ({"edge_index": None}, "no edge_index, only"),
        ({"edge_index": torch.tensor([[0], [99]])}, "edge_index|destination 99"),
        ({"edge_index": torch.tensor([[0], [-1]]), "edge_weight": None}, "destination -1"),
        ({"x": torch.full((34, 2), torch.nan)}, "must be finite"),
        ({"x": "text"}, "x must be a tensor, got str"),
        ({"train_mask": torch.zeros(34, dtype=torch.bool)}, "no training nodes"),
        ({"edge_weight": torch.rand(3)}, "edge features must be"),
    ],
)
def test_graphs_that_do_not_fit_together(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    torch.save({**graph().to_dict(), **changes}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=message):
        load(str(tmp_path / "a.pt"))
    refuse(tmp_path / "a.pt")


class _Trap:
    """An object whose unpickling writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_nothing_in_a_file_is_executed(tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    hostile: list[Any] = [
        _Trap(sprung),
        {"edge_index": _Trap(sprung)},
        (graph().to_dict(), _Trap(sprung), Data),
        [graph(), _Trap(sprung)],
    ]
    for i, stored in enumerate(hostile):
        torch.save(stored, tmp_path / f"{i}.pt")
        assert "nothing is unpickled" in refuse(tmp_path / f"{i}.pt")
    for name in ("a.pt", "a.npz", "a.gpickle", "a.mat"):
        (tmp_path / name).write_bytes(pickle.dumps(_Trap(sprung)))
        refuse(tmp_path / name)
    assert not sprung.exists()


def test_what_others_have_allowed_stays_allowed(tmp_path: Path) -> None:
    before = torch.serialization.get_safe_globals()
    torch.save(graph(), tmp_path / "a.pt")
    load(str(tmp_path / "a.pt"))
    load("pyg:KarateClub")
    after = torch.serialization.get_safe_globals()
    assert Data in before
    assert set(map(str, before)) == set(map(str, after))


def test_a_class_of_the_users_own_is_refused(tmp_path: Path) -> None:
    class_of_user = type("Mine", (Data,), {"__module__": "tests.data.readers.test_pyg"})
    globals()["Mine"] = class_of_user
    torch.save(class_of_user(x=torch.eye(3)), tmp_path / "a.pt")
    assert "Mine" in refuse(tmp_path / "a.pt")


def test_a_damaged_file(tmp_path: Path) -> None:
    torch.save(graph(), tmp_path / "a.pt")
    whole = (tmp_path / "a.pt").read_bytes()
    for length in (0, 10, 100, len(whole) // 2, len(whole) - 1):
        (tmp_path / "b.pt").write_bytes(whole[:length])
        assert "b.pt" in refuse(tmp_path / "b.pt")
    with zipfile.ZipFile(tmp_path / "c.pt", "w") as archive:
        archive.writestr("other.txt", "a")
    assert "c.pt" in refuse(tmp_path / "c.pt")
    torch.save(torch.eye(3), tmp_path / "d.pt")
    assert "holds Tensor" in refuse(tmp_path / "d.pt")


def test_a_tensor_that_would_fill_memory(tmp_path: Path) -> None:
    wide = torch.ones(1, 1).expand(34, 10**9)
    sparse = torch.sparse_coo_tensor(torch.tensor([[0], [0]]), torch.ones(1), (34, 10**9))
    for x in (wide, sparse):
        torch.save({**graph().to_dict(), "x": x}, tmp_path / "a.pt")
        assert "stores only 1 numbers" in refuse(tmp_path / "a.pt")


@pytest.mark.parametrize("kind", ["coo", "csr"])
def test_a_sparse_tensor_with_indices_out_of_range(tmp_path: Path, kind: str) -> None:
    big, one = torch.tensor([10**9]), torch.ones(1)
    if kind == "coo":
        x = torch.sparse_coo_tensor(torch.stack([big, big]), one, (34, 34), check_invariants=False)
    else:
        x = torch.sparse_csr_tensor(torch.tensor([0] + [1] * 34), big, one, (34, 34), check_invariants=False)
    torch.save({**graph().to_dict(), "x": x}, tmp_path / "a.pt")
    assert "a.pt cannot be read" in refuse(tmp_path / "a.pt")


def test_sparse_features(tmp_path: Path) -> None:
    for x in (torch.eye(34).to_sparse(), torch.eye(34).to_sparse_csr()):
        torch.save({**graph().to_dict(), "x": x}, tmp_path / "a.pt")
        found = load(str(tmp_path / "a.pt")).x
        assert found is not None
        assert torch.equal(found, torch.eye(34))


@pytest.mark.parametrize(
    "slices", [{"x": torch.tensor([0, 99])}, {"x": torch.tensor([5, 2])}, {"x": 3}, {}, {"z": torch.tensor([0, 1])}]
)
def test_damaged_slices(tmp_path: Path, slices: Any) -> None:
    torch.save((graph().to_dict(), slices, Data), tmp_path / "a.pt")
    assert "a.pt" in refuse(tmp_path / "a.pt")


# --- by the name of the class -------------------------------------------------------------------------------------------


def test_a_set_that_comes_with_the_library() -> None:
    data: Any = KarateClub()[0]
    assert_same(load("pyg:KarateClub"), data)


def test_a_class_reads_its_own_files(tmp_path: Path) -> None:
    """Minesweeper's reader is ours; this one is the library's, on files that are there."""
    web = tmp_path / "WebKB/cornell/raw"
    web.mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = [f"{i}\t{','.join(map(str, rng.integers(0, 2, 4)))}\t{i % 3}" for i in range(30)]
    (web / "out1_node_feature_label.txt").write_text("\n".join(["id\tfeature\tlabel", *rows]) + "\n", encoding="utf-8")
    edges = [f"{i}\t{(7 * i + 1) % 30}" for i in range(30)]
    (web / "out1_graph_edges.txt").write_text("\n".join(["a\tb", *edges]) + "\n", encoding="utf-8")
    parts = rng.integers(0, 3, (10, 30))
    for i, part in enumerate(parts):
        masks = {f"{name}_mask": part == n for n, name in enumerate(("train", "val", "test"))}
        np.savez(web / f"cornell_split_0.6_0.2_{i}.npz", **masks)
    from torch_geometric.datasets import WebKB

    dataset = load("pyg:WebKB:cornell", tmp_path, split=3)
    data: Any = WebKB(str(tmp_path / "WebKB"), "cornell")[0]
    assert_same(dataset, data)
    assert np.array_equal(dataset.split.test.numpy(), np.flatnonzero(parts[3] == 2))
    again = load("pyg:WebKB:cornell", tmp_path / "WebKB")
    assert torch.equal(again.y, dataset.y)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pyg:Planetiod:Cora", "no data set 'Planetiod'; did you mean Planetoid"),
        ("pyg:Planetoid", "Planetoid needs a name"),
        ("pyg:KarateClub:small", "KarateClub takes no name"),
        ("pyg:StochasticBlockModelDataset", "needs block_sizes, edge_probs too"),
        ("pyg:", "write pyg:CLASS"),
        ("pyg:os.system:ls", "write pyg:CLASS"),
        ("pyg:torch", "no data set 'torch'"),
        ("pyg:Planetoid:PubMed", "pubmed is not there"),
        ("pyg:Flickr", "pyg:Flickr is not there: looked for its raw or processed files in .*; pass download=True to download"),
        ("pyg:WebKB:cornell", "pyg:WebKB:cornell is not there"),
        ("pyg:WebKB:oslo", "refused by its class|not there"),
    ],
)
def test_names_that_are_refused(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        load(name, tmp_path)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_pickles_beside_a_class_are_not_run(tmp_path: Path) -> None:
    """PyTorch Geometric would unpickle both files."""
    sprung = tmp_path / "sprung"
    for name in ("data.pt", "pre_transform.pt"):
        folder = tmp_path / name / "Flickr"
        (folder / "processed").mkdir(parents=True)
        torch.save(_Trap(sprung), folder / "processed" / name)
        if name != "data.pt":
            torch.save((graph().to_dict(), None, Data), folder / "processed/data.pt")
        with pytest.raises(ValueError, match="cannot be read by PyTorch Geometric"):
            load("pyg:Flickr", tmp_path / name)
    assert not sprung.exists()


def test_several_graphs_of_a_class_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "TUDataset/MUTAG/processed"
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    data, slices = InMemoryDataset.collate([FakeDataset(1, 12, 3, 4, 0)[0] for _ in range(3)])
    sizes = {f"num_{kind}": 0 for kind in ("node_labels", "node_attributes", "edge_labels", "edge_attributes")}
    torch.save((data.to_dict(), slices, sizes, Data), folder / "data.pt")
    with pytest.raises(ValueError, match="pyg:TUDataset:MUTAG holds 3 graphs"):
        load("pyg:TUDataset:MUTAG", tmp_path)
