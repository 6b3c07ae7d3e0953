"""Errors of `load` for wrong names, roots and damaged files; downloads."""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
import zipfile

import numpy as np
import pytest
import torch

from revgnn.data import load
from revgnn.data.download import download_file
from revgnn.data.readers.ogb import read_ogb
from revgnn.data.readers.ogb_files import read_split
from revgnn.data.readers.ogb_meta import OFFICIAL
from revgnn.data.readers.unpickle import read_pickle


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tolokrs", "unknown data set 'tolokrs'; did you mean tolokers"),
        ("Amazon_Ratngs", "did you mean amazon-ratings"),
        ("zzzz", "`revgnn datasets` lists the known ones"),
        ("nowhere.npz", "there is no file nowhere.npz"),
        ("cora", "cora is not there: looked for cora/raw/ind.cora.x in .* pass download=True"),
        ("ogbn-proteins", "ogbn-proteins is not there: .*ogbn_proteins/raw/edge.csv.gz .*pass download=True"),
        ("ogbn-mine", "ogbn-mine is not there: .*not an official set"),
    ],
)
def test_unknown_names_and_missing_files(tmp_path, name, message):
    with pytest.raises(ValueError, match=message) as error:
        load(name, tmp_path)
    assert "\n" not in str(error.value)


def test_a_root_that_is_not_a_folder(tmp_path):
    with pytest.raises(ValueError, match=r"the root .*absent is not a folder"):
        load("cora", tmp_path / "absent")


def test_a_folder_in_another_layout(tmp_path):
    (tmp_path / "things").mkdir()
    with pytest.raises(ValueError, match="is a folder without raw/"):
        load(str(tmp_path / "things"))


def test_the_root_may_come_from_the_environment(real_data, monkeypatch):
    monkeypatch.setenv("REVGNN_DATA", str(real_data))
    assert load("cora").num_nodes == 2_708


# --- damaged files --------------------------------------------------------------------------------------------------------


@pytest.fixture
def humanppi(copy_of_real_data):
    return copy_of_real_data("ogb/ogbn_humanppi") / "ogb" / "ogbn_humanppi"


@pytest.fixture
def tolokers(copy_of_real_data):
    return copy_of_real_data("ogb/ogbn_tolokers") / "ogb" / "ogbn_tolokers"


def _truncate(path):
    path.write_bytes(path.read_bytes()[:-1000])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: _truncate(f / "raw" / "edge.csv.gz"), "edge.csv.gz cannot be read as a csv of int64"),
        (lambda f: (f / "raw" / "edge.csv.gz").write_bytes(b"0,1\n"), "edge.csv.gz cannot be read"),
        (lambda f: (f / "raw" / "node-label.csv.gz").unlink(), "there is no file .*node-label.csv.gz"),
        (lambda f: shutil.copy(f / "raw/num-node-list.csv.gz", f / "raw/num-edge-list.csv.gz"), "437301 edges, but .* says 12381"),
        (lambda f: shutil.copy(f / "raw/num-edge-list.csv.gz", f / "raw/num-node-list.csv.gz"), "species of 12381 nodes, but"),
        (lambda f: shutil.copy(f / "raw/edge.csv.gz", f / "raw/num-node-list.csv.gz"), "a node set is one graph"),
        (lambda f: shutil.rmtree(f / "split"), "has no split 'random'; it has none"),
        (lambda f: (f / "meta_dict.json").unlink(), "has no meta_dict.json"),
        (lambda f: (f / "meta_dict.json").write_text("{}"), "has no entry 'num tasks'"),
        (lambda f: (f / "meta_dict.json").write_text("{"), "meta_dict.json cannot be read"),
    ],
)
def test_damaged_ogb_folders(humanppi, damage, message):
    damage(humanppi)
    with pytest.raises(ValueError, match=message):
        read_ogb(humanppi, "ogbn-humanppi")


def test_tasks_that_cannot_be_trained(humanppi):
    meta = humanppi / "meta_dict.json"
    meta.write_text(meta.read_text().replace("binary classification", "regression"))
    with pytest.raises(ValueError, match=r"112 task\(s\) of 'regression' scored by 'rocauc' cannot be trained on"):
        read_ogb(humanppi, "ogbn-humanppi")


class Malicious:
    def __reduce__(self):
        return os.system, ("touch harmed",)


def test_a_split_is_never_unpickled(tolokers, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    path = tolokers / "split" / "platonov0" / "split_dict.pt"
    torch.save({"train": Malicious()}, path)
    with pytest.raises(ValueError, match="cannot be read as a split of plain arrays"):
        read_split(tolokers, "platonov0")
    assert not (tmp_path / "harmed").exists()
    torch.save({"train": torch.arange(2)}, path)
    with pytest.raises(ValueError, match="must hold arrays train, valid and test, it has train"):
        read_split(tolokers, "platonov0")


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (Malicious(), "it names posix.system, which is not allowed in a data file"),
        (np.array([{}, 1], dtype=object), "not an array of numbers"),
    ],
)
def test_a_planetoid_file_runs_no_code(tmp_path, monkeypatch, stored, message):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "ind.cora.x"
    path.write_bytes(pickle.dumps(stored, protocol=2))
    with pytest.raises(ValueError, match=message):
        read_pickle(path)
    assert not (tmp_path / "harmed").exists()


def test_a_sparse_matrix_with_indices_out_of_range_is_refused(tmp_path):
    import scipy.sparse

    matrix = scipy.sparse.csr_matrix(np.eye(3))
    path = tmp_path / "ind.cora.x"
    path.write_bytes(pickle.dumps(matrix, protocol=2))
    assert np.array_equal(read_pickle(path).toarray(), np.eye(3))
    matrix.indices[1] = 1_000_000
    path.write_bytes(pickle.dumps(matrix, protocol=2))
    with pytest.raises(ValueError, match=r"cannot be read as a Planetoid file: .*(indices|index|column)"):
        read_pickle(path)


def test_planetoid_files_that_do_not_fit_together(copy_of_real_data):
    root = copy_of_real_data("planetoid/Cora")
    raw = root / "planetoid" / "Cora" / "raw"
    lines = (raw / "ind.cora.test.index").read_text().splitlines()[:10]
    (raw / "ind.cora.test.index").write_text("\n".join(lines))
    with pytest.raises(ValueError, match="do not fit together as a Planetoid set"):
        load("cora", root)
    (raw / "ind.cora.ty").unlink()
    with pytest.raises(ValueError, match=r"incomplete: raw/ind.cora.ty missing"):
        load("cora", root)


def test_an_amazon_file_with_damaged_indices(copy_of_real_data):
    root = copy_of_real_data("amazon/Computers")
    path = root / "amazon/Computers/raw/amazon_electronics_computers.npz"
    with np.load(path) as data:
        arrays = dict(data)
    arrays["adj_indices"][7] = 99_999
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match="holds a damaged matrix adj"):
        load("computers", root)


# --- downloads, from a local folder instead of the network ----------------------------------------------------------------


def test_download_of_an_ogb_set(real_data, tmp_path, monkeypatch):
    archive = tmp_path / "arxiv.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in (real_data / "ogb" / "ogbn_humanppi").rglob("*"):
            file.write(path, "arxiv" / path.relative_to(real_data / "ogb" / "ogbn_humanppi"))
    monkeypatch.setitem(OFFICIAL, "ogbn-arxiv", OFFICIAL["ogbn-arxiv"]._replace(url=archive.as_uri()))
    root = tmp_path / "root"
    with pytest.raises(ValueError, match="self-loops would have no edge features"):
        load("ogbn-arxiv", root, download=True)  # the download succeeds; reading then finds another set
    assert load("ogbn-arxiv", root, self_loops=False).graph.num_edges == 874_602
    assert [p.name for p in root.iterdir()] == ["ogbn_arxiv"]


def test_download_of_an_archive_without_the_folder(tmp_path, monkeypatch):
    archive = tmp_path / "arxiv.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("other/readme", "")
    monkeypatch.setitem(OFFICIAL, "ogbn-arxiv", OFFICIAL["ogbn-arxiv"]._replace(url=archive.as_uri()))
    with pytest.raises(ValueError, match="has no folder arxiv"):
        load("ogbn-arxiv", tmp_path / "root", download=True)
    archive.write_bytes(b"not a zip")
    with pytest.raises(ValueError, match="is not a zip archive"):
        load("ogbn-arxiv", tmp_path / "root", download=True)
    assert list((tmp_path / "root").iterdir()) == []


def test_downloads_are_checked(tmp_path):
    source, target = tmp_path / "source", tmp_path / "folder" / "target"
    source.write_bytes(b"graph")
    with pytest.raises(ValueError, match="sent other data than expected"):
        download_file(source.as_uri(), target, sha256="0" * 64)
    with pytest.raises(ValueError, match=r"could not be downloaded: .* put it at"):
        download_file((tmp_path / "absent").as_uri(), target)
    assert list(target.parent.iterdir()) == []
    download_file(source.as_uri(), target, sha256=hashlib.sha256(b"graph").hexdigest())
    assert target.read_bytes() == b"graph"
