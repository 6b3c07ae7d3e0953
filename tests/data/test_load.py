"""Errors of `load` for wrong names, roots and damaged files; downloads."""

from __future__ import annotations

import errno
import gzip
import hashlib
import http.server
import json
import os
import pickle
import shutil
import threading
import urllib.error
import urllib.request
import warnings
import zipfile
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from revgnn.data import cache, download, load
from revgnn.data.download import download_file
from revgnn.data.readers import unpickle
from revgnn.data.readers.csv import read_csv
from revgnn.data.readers.ogb import read_ogb
from revgnn.data.readers.ogb_files import read_split
from revgnn.data.readers.ogb_meta import OFFICIAL, read_meta
from revgnn.data.readers.pyg import read_pyg
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


@pytest.mark.parametrize("stored", ["True", True, "true", 1, False])
def test_booleans_of_the_meta_data_in_any_spelling(humanppi, stored):
    path = humanppi / "meta_dict.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"add_inverse_edge": stored}))
    assert read_ogb(humanppi, "ogbn-humanppi").graph.num_edges == (874_602 if stored else 437_301)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "cannot be read"),
        ("[]", "it must hold an object, got list"),
        ('{"num tasks": 1, "num classes": Infinity}', "cannot be read"),
    ],
)
def test_damaged_meta_data(tmp_path, text, message):
    (tmp_path / "meta_dict.json").write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        read_meta(tmp_path, "ogbn-mine")
    assert "meta_dict.json" in str(error.value)


def test_a_boolean_that_is_none(humanppi):
    path = humanppi / "meta_dict.json"
    path.write_text(path.read_text().replace('"add_inverse_edge": "True"', '"add_inverse_edge": "perhaps"'))
    with pytest.raises(ValueError, match="'add_inverse_edge' must be true or false, got 'perhaps'"):
        read_ogb(humanppi, "ogbn-humanppi")


def _own_set_in_ogb_layout(folder, **changes):
    """Write a set as OGB's DatasetSaver does, with its meta data beside the folder."""
    rng = np.random.default_rng(0)
    (folder / "raw").mkdir(parents=True)
    (folder / "split" / "random").mkdir(parents=True)
    sizes = {"num_nodes_list": np.array([60]), "num_edges_list": np.array([300])}
    arrays = {"edge_index": rng.integers(0, 60, (2, 300)), "node_feat": rng.normal(size=(60, 4)), **sizes}
    labels = rng.integers(0, 3, (60, 1))
    np.savez(folder / "raw" / "data.npz", **{key: value for key, value in (arrays | changes).items() if key != "node_label"})
    np.savez(folder / "raw" / "node-label.npz", node_label=changes.get("node_label", labels))
    parts = {"train": np.arange(30), "valid": np.arange(30, 45), "test": np.arange(45, 60)}
    torch.save(parts, folder / "split" / "random" / "split_dict.pt")
    meta = {"num tasks": 1, "num classes": 3, "task type": "multiclass classification", "eval metric": "acc", "split": "random"}
    meta |= {"add_inverse_edge": "False", "binary": "True", "is hetero": "False", "dir_path": f"submission/{folder.name}"}
    torch.save(meta, folder.parent / "meta_dict.pt")


def test_a_set_as_the_dataset_saver_of_ogb_leaves_it(tmp_path):
    folder = tmp_path / "ogbn_own"
    _own_set_in_ogb_layout(folder)
    data = load(str(folder), cache=False)
    assert (data.num_nodes, data.graph.num_edges, data.num_outputs, data.task) == (60, 300, 3, "multiclass")
    folder.rename(tmp_path / "ogbn_other")
    with pytest.raises(ValueError, match=r"meta_dict.pt cannot be read: it describes the folder 'ogbn_own', not 'ogbn_other'"):
        load(str(tmp_path / "ogbn_other"), cache=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"node_label": np.full((60, 1), 0.5)}, "label 0.5 of node 0 is not a class"),
        ({"node_label": np.full((60, 1), np.inf)}, "label inf of node 0 is not a class"),
        ({"node_label": np.array(["a"] * 60)}, "labels must be numbers"),
        ({"node_feat": np.full((60, 2), 1e300)}, "too large for float32"),
        ({"node_species": np.full(60, 0.5)}, "must be integers"),
        ({"num_nodes_list": np.array([60.5])}, "must hold integers"),
    ],
)
def test_arrays_of_ogb_that_would_lose_something(tmp_path, changes, message):
    _own_set_in_ogb_layout(tmp_path / "ogbn_own", **changes)
    with pytest.raises(ValueError, match=message) as error:
        load(str(tmp_path / "ogbn_own"), cache=False)
    assert str(tmp_path) in str(error.value)


def test_named_splits_are_kept_apart_in_the_cache(tmp_path, monkeypatch):
    folder = tmp_path / "ogbn_own"
    _own_set_in_ogb_layout(folder)
    monkeypatch.setattr(cache, "MIN_BYTES", 0)
    (folder / "split" / "other").mkdir()
    parts = {"train": np.arange(20), "valid": np.arange(20, 45), "test": np.arange(45, 60)}
    torch.save(parts, folder / "split" / "other" / "split_dict.pt")
    for split, nodes in ((0, 30), ("other", 20), ("random", 30), ("other", 20)):
        assert len(load(str(folder), split=split).split.train) == nodes


def test_a_transposed_list_of_edges(humanppi):
    with gzip.open(humanppi / "raw" / "edge.csv.gz", "wt") as file:
        file.write("0,1,2\n1,2,0\n")
    with pytest.raises(ValueError, match=r"edge.csv.gz has 3 columns; it must have two"):
        read_ogb(humanppi, "ogbn-humanppi")


def test_every_flipped_bit_of_a_csv_is_noticed(tmp_path):
    path = tmp_path / "edge.csv.gz"
    path.write_bytes(gzip.compress("\n".join(f"{i},{i + 1}" for i in range(200)).encode(), mtime=0))
    whole, expected = path.read_bytes(), read_csv(path, np.int64)
    for position in range(0, len(whole), 3):
        blob = bytearray(whole)
        blob[position] ^= 1 << position % 8
        path.write_bytes(blob)
        try:
            found = read_csv(path, np.int64)
        except ValueError as error:
            found = expected if "edge.csv.gz" in str(error) else None
        assert np.array_equal(found, expected)  # a few bits of gzip's header mean nothing


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer"),
        (b"<!DOCTYPE html><html></html>", "an HTML page"),
        (pickle.dumps({"x": 1}), "a pickle"),
        (b"MATLAB 5.0 MAT-file, Platform: GLNXA64", "a MATLAB file"),
        (b"", "an empty file"),
    ],
)
@pytest.mark.parametrize("name", ["graph.npz", "graph.mat"])
def test_a_file_in_another_format(tmp_path, content, kind, name):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name}.* cannot be read.* it looks like {kind}.* Readable are an .npz file") as error:
        load(str(tmp_path / name))
    assert "\n" not in str(error.value)


def test_a_folder_in_the_layout_of_pytorch_geometric_by_its_path(real_data, tmp_path):
    folder = next(path.parent.parent for path in real_data.rglob("ind.cora.x"))
    assert load(str(folder.resolve()), cache=False).num_nodes == 2_708
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "ind.citeseer.x").touch()
    with pytest.raises(ValueError, match=r"citeseer in .* is incomplete"):
        load(str(tmp_path))


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


def test_a_pickle_cannot_change_the_reader(tmp_path):
    path = tmp_path / "ind.cora.graph"
    for name in (b"numpy\nndarray", b"numpy.core.multiarray\n_reconstruct", b"scipy.sparse.csr\ncsr_matrix"):
        # The class or function itself, and a state for it: None, and attributes to set.
        path.write_bytes(b"c" + name + b"\n(N}S'planted'\nI1\nstb.")
        try:
            read_pickle(path)
        except ValueError as error:
            assert "cannot be read as a Planetoid file" in str(error)  # noqa: PT017
        for thing in unpickle._ALLOWED.values():
            assert not hasattr(thing, "planted")


def test_planetoid_files_that_do_not_fit_together(copy_of_real_data):
    root = copy_of_real_data("planetoid/Cora")
    raw = root / "planetoid" / "Cora" / "raw"
    lines = (raw / "ind.cora.test.index").read_text().splitlines()[:10]
    (raw / "ind.cora.test.index").write_text("\n".join(lines))
    with pytest.raises(ValueError, match="do not fit together as a Planetoid set"):
        read_pyg(raw.parent, "cora")
    with pytest.raises(ValueError, match=r"ind.cora.test.index is not the published file of cora: its sha256 is"):
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
    assert sorted(p.name for p in root.iterdir()) == ["archives", "ogbn_arxiv"]
    assert sorted(p.name for p in (root / "archives").iterdir()) == ["arxiv.zip", "arxiv.zip.sha256"]


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


@pytest.fixture(autouse=True)
def without_waiting(monkeypatch):
    monkeypatch.setattr(download, "WAITS", (0.0, 0.0))


@contextmanager
def server_that_fails(failures, status=200, sends=b"0123456789", announces=100):
    """Yield a URL that answers wrongly for some requests and rightly afterwards, and a list that grows by one per request."""
    requests = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            fails = len(requests) < failures
            requests.append(self.path)
            self.send_response(status if fails else 200)
            if announces is not None:
                self.send_header("Content-Length", str(announces))
            self.end_headers()
            self.wfile.write(sends if fails else bytes(100))

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/x", requests
        finally:
            server.shutdown()
            thread.join()


def test_a_connection_cut_short_is_tried_again_and_leaves_nothing(tmp_path):
    with server_that_fails(9) as (url, requests):
        with pytest.raises(ValueError, match=r"10 of 100 bytes; the connection was cut short. .* put it at"):
            download_file(url, tmp_path / "x")
        assert len(requests) == 3
    assert list(tmp_path.iterdir()) == []
    with server_that_fails(2) as (url, requests):
        download_file(url, tmp_path / "x")
        assert len(requests) == 3
    assert (tmp_path / "x").read_bytes() == bytes(100)


def test_a_cut_that_no_length_shows_is_found_by_the_checksum(tmp_path):
    sha256 = hashlib.sha256(bytes(100)).hexdigest()
    with server_that_fails(1, announces=None) as (url, requests):
        download_file(url, tmp_path / "x", sha256)
        assert len(requests) == 2
    assert (tmp_path / "x").read_bytes() == bytes(100)


@pytest.mark.parametrize(("status", "tries"), [(404, 1), (403, 1), (429, 2), (503, 2)])
def test_only_failures_that_may_pass_are_tried_again(tmp_path, status, tries):
    with server_that_fails(1, status=status) as (url, requests):
        if tries == 1:
            with pytest.raises(ValueError, match=f"could not be downloaded: HTTP Error {status}"):
                download_file(url, tmp_path / "x")
        else:
            download_file(url, tmp_path / "x")
        assert len(requests) == tries


def test_a_full_disk_is_no_failure_of_the_server(tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with server_that_fails(0) as (url, requests):
        with pytest.raises(OSError, match="No space left") as error:
            download_file(url, tmp_path / "x")
        assert len(requests) == 1
    assert error.value.filename == str(tmp_path / "x")


def test_https_is_tried_before_http(tmp_path, monkeypatch):
    tried = []

    def answer(url, **_):
        tried.append(url)
        if url.startswith("https:") and not works:
            raise urllib.error.URLError("refused")
        return urllib.request.OpenerDirector.open(urllib.request.build_opener(), source.as_uri())

    source = tmp_path / "source"
    source.write_bytes(b"graph")
    monkeypatch.setattr(urllib.request, "urlopen", answer)
    works = True
    download_file("http://example.org/x", tmp_path / "x")
    assert tried == ["https://example.org/x"]
    works = False
    with pytest.warns(UserWarning, match="nobody can tell whether its content was changed"):
        download_file("http://example.org/x", tmp_path / "x")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        download_file("http://example.org/x", tmp_path / "x", hashlib.sha256(b"graph").hexdigest())
    assert tried[1:] == ["https://example.org/x", "http://example.org/x"] * 2


def test_an_incomplete_folder_is_not_replaced(tmp_path):
    (tmp_path / "arxiv" / "raw").mkdir(parents=True)
    with pytest.raises(ValueError, match="exists, but does not hold the whole data set; move it away"):
        download.download_folder("http://127.0.0.1:9/x", "arxiv", tmp_path / "arxiv")


def test_members_of_an_archive_stay_in_their_folder(tmp_path):
    archive = tmp_path / "archive.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("arxiv/raw/edge.csv", "0,1")
        file.writestr("../escaped", "x")
        file.writestr(f"{tmp_path}/absolute", "x")
        link = zipfile.ZipInfo("arxiv/link")
        link.external_attr = 0o120777 << 16
        file.writestr(link, "/etc/passwd")
    folder = tmp_path / "root" / "arxiv"
    download.download_folder(archive.as_uri(), "arxiv", folder)
    assert sorted(p.name for p in folder.rglob("*")) == ["edge.csv", "link", "raw"]
    assert not (folder / "link").is_symlink()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["archive.zip", "root"]
    assert [p.name for p in folder.parent.iterdir()] == ["arxiv"]


def test_downloads_have_a_largest_size(tmp_path, monkeypatch):
    archive = tmp_path / "archive.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("arxiv/raw/zeros", bytes(100_000))
    monkeypatch.setattr(download, "MAX_BYTES", 50_000)
    with pytest.raises(ValueError, match="would unpack to 100,000 bytes, more than 50,000"):
        download.download_folder(archive.as_uri(), "arxiv", tmp_path / "root" / "arxiv")
    monkeypatch.setattr(download, "MAX_BYTES", 50)
    with pytest.raises(ValueError, match="sends more than 50 bytes"):
        download_file(archive.as_uri(), tmp_path / "root" / "x")
    assert list((tmp_path / "root").iterdir()) == []


def test_an_archive_cut_in_the_middle(tmp_path):
    archive = tmp_path / "archive.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("arxiv/raw/numbers", np.random.default_rng(0).bytes(20_000))
    whole = archive.read_bytes()
    for blob in (whole[:9_000], whole[:9_000] + bytes(100) + whole[9_100:]):
        archive.write_bytes(blob)
        with pytest.raises(ValueError, match="not a zip archive that can be unpacked"):
            download.download_folder(archive.as_uri(), "arxiv", tmp_path / "root" / "arxiv")
    assert list((tmp_path / "root").iterdir()) == []
