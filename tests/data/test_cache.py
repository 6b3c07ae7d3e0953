"""The cache returns what was read and notices every change, and a cache that fails does not stop `load`."""

from __future__ import annotations

import json
import logging
import os

import numpy as np
import pytest
import torch

from revgnn.data import NodeDataset, generate, load, save_npz
from revgnn.data import cache as cache_module
from revgnn.data.cache import cached


@pytest.fixture(autouse=True)
def _cache_small_sets_too(monkeypatch):
    monkeypatch.setattr(cache_module, "MIN_BYTES", 0)


class Source:
    """A file with a reader that counts its calls."""

    def __init__(self, folder) -> None:
        self.path = folder / "set.bin"
        self.path.write_bytes(b"version 1")
        self.reads = 0

    def read(self) -> NodeDataset:
        self.reads += 1
        return generate(300, seed=self.path.stat().st_size)

    def load(self, **options) -> NodeDataset:
        return cached(self.read, self.path, [self.path], options)


@pytest.fixture
def source(tmp_path) -> Source:
    return Source(tmp_path)


def _same(a: NodeDataset, b: NodeDataset) -> bool:
    tensors = [(d.graph.indptr, d.graph.src, d.graph.edge_attr, d.x, d.species, d.y, d.split.train, d.split.test) for d in (a, b)]
    return all(torch.equal(s, t) for s, t in zip(*tensors, strict=True)) and (a.name, a.task_names) == (b.name, b.task_names)


def _only_folder(cache_root):
    (folder,) = cache_root.iterdir()
    return folder


def test_the_second_load_does_not_read_the_source(source, cache_root):
    first, second = source.load(), source.load()
    assert source.reads == 1
    assert _same(first, second)
    assert _only_folder(cache_root).is_dir()


def test_writing_to_a_mapped_tensor_does_not_reach_the_file(source):
    first = source.load()
    source.load().x.fill_(7.0)
    assert _same(first, source.load())
    assert source.reads == 1


def test_mapping_does_not_warn(source, recwarn):
    source.load()
    source.load()
    assert [str(w.message) for w in recwarn if "writable" in str(w.message)] == []


def test_options_are_kept_apart(source, cache_root):
    source.load(self_loops=True)
    source.load(self_loops=False)
    source.load(self_loops=True)
    assert source.reads == 2
    assert len(list(cache_root.iterdir())) == 2


def test_a_changed_source_is_read_again(source, caplog):
    source.load()
    source.path.write_bytes(b"version two")
    data = source.load()
    assert source.reads == 2
    assert "the data have changed since" in caplog.text
    assert _same(data, source.load())
    assert source.reads == 2


def _flip_a_byte(folder, name):
    blob = bytearray((folder / name).read_bytes())
    blob[-3] ^= 0xFF
    (folder / name).write_bytes(blob)


def _write_header(path, text):
    blob = bytearray(path.read_bytes())
    blob[10 : 10 + len(text)] = text
    path.write_bytes(blob)


def _promise_rows(path):
    path.write_bytes(path.read_bytes().replace(b"(300, ", b"(999, ", 1))


def _shorten(folder, name):
    """Remove the last row of an array, and make the manifest agree."""
    array = np.load(folder / f"{name}.npy")[:-1]
    np.save(folder / f"{name}.npy", array)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["arrays"][name] |= {"shape": list(array.shape), "crc32": cache_module._checksums(array)}
    (folder / "manifest.json").write_text(json.dumps(cache_module.sealed(manifest)))


DAMAGE = {
    "a flipped byte among the sources": (lambda f: _flip_a_byte(f, "src.npy"), "checksum of src.npy is wrong"),
    "a flipped byte among the features": (lambda f: _flip_a_byte(f, "edge_attr.npy"), "checksum of edge_attr.npy is wrong"),
    "a cut-off array": (lambda f: (f / "x.npy").write_bytes((f / "x.npy").read_bytes()[:-100]), "damaged"),
    "an array of another shape": (lambda f: np.save(f / "y.npy", np.ones(3)), "y.npy is float64 of shape"),
    "a missing array": (lambda f: (f / "indptr.npy").unlink(), "damaged"),
    "a missing manifest": (lambda f: (f / "manifest.json").unlink(), "damaged"),
    "a manifest that is not JSON": (lambda f: (f / "manifest.json").write_text("{"), "damaged"),
    "a manifest that nests": (lambda f: (f / "manifest.json").write_text("[" * 100_000), "damaged"),
    "a damaged header": (lambda f: _write_header(f / "x.npy", b"(" * 60), "the header of x.npy is damaged"),
    "a header without sense": (lambda f: _write_header(f / "x.npy", b"\x00\xff{'descr': 1}"), "the header of x.npy is damaged"),
    "more rows than bytes": (lambda f: _promise_rows(f / "x.npy"), "x.npy is truncated"),
    "fewer rows of edge features than edges": (lambda f: _shorten(f, "edge_attr"), "edge_attr has shape"),
    "a manifest of something else": (lambda f: (f / "manifest.json").write_text("[1]"), "damaged"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_cache_is_rebuilt(source, cache_root, caplog, damage):
    act, message = DAMAGE[damage]
    first = source.load()
    act(_only_folder(cache_root))
    with caplog.at_level(logging.WARNING):
        again = source.load()
    assert message in caplog.text
    assert source.reads == 2
    assert _same(first, again)
    assert _same(first, source.load())
    assert source.reads == 2


def test_indices_out_of_range_are_refused_even_with_a_right_checksum(source, cache_root, caplog):
    source.load()
    folder = _only_folder(cache_root)
    src = np.load(folder / "src.npy")
    src[5] = 10_000
    np.save(folder / "src.npy", src)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["arrays"]["src"]["crc32"] = cache_module._checksums(src)
    (folder / "manifest.json").write_text(json.dumps(cache_module.sealed(manifest)))
    assert int(source.load().graph.src.max()) < 300
    assert "edge 5 has source 10000" in caplog.text


class Verification:
    """Counts the arrays whose checksums are computed."""

    def __init__(self, monkeypatch) -> None:
        self.count, inner = 0, cache_module._checksums

        def spy(array):
            self.count += 1
            return inner(array)

        monkeypatch.setattr(cache_module, "_checksums", spy)


def test_a_set_is_verified_once(source, monkeypatch):
    source.load()
    monkeypatch.setattr(cache_module, "_SETTLED_NS", 0)
    verification = Verification(monkeypatch)
    first = source.load()
    assert verification.count > 0
    before = verification.count
    again = source.load()
    assert verification.count == before
    assert source.reads == 1
    assert _same(first, again)


def test_a_set_that_has_just_changed_is_verified_again(source, cache_root, monkeypatch):
    """Within a tick of the file system's clock another change would not alter its times."""
    monkeypatch.setattr(cache_module, "_SETTLED_NS", 3600 * 10**9)
    source.load()
    source.load()
    assert not (_only_folder(cache_root) / "verified.json").exists()


@pytest.mark.parametrize("name", ["src.npy", "edge_attr.npy", "indptr.npy"])
def test_a_change_after_verification_is_noticed(source, cache_root, monkeypatch, caplog, name):
    monkeypatch.setattr(cache_module, "_SETTLED_NS", 0)
    first = source.load()
    source.load()
    folder = _only_folder(cache_root)
    assert (folder / "verified.json").exists()
    before = (folder / name).stat()
    _flip_a_byte(folder, name)
    os.utime(folder / name, ns=(before.st_atime_ns, before.st_mtime_ns))  # the time of change as before
    while (folder / name).stat().st_ctime_ns == before.st_ctime_ns:  # within a tick of the file system's clock
        os.utime(folder / name, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert _same(first, source.load())
    assert f"the checksum of {name} is wrong" in caplog.text


@pytest.mark.parametrize("record", ["", "[]", "{}", '{"src.npy": [1, 2, 3, 4]}'])
def test_with_a_wrong_record_the_set_is_verified_again(source, cache_root, monkeypatch, record):
    monkeypatch.setattr(cache_module, "_SETTLED_NS", 0)
    source.load()
    source.load()
    (_only_folder(cache_root) / "verified.json").write_text(record)
    verification = Verification(monkeypatch)
    source.load()
    assert verification.count > 0


@pytest.mark.parametrize("storage", ["auto", "float16", "bfloat16"])
def test_edge_features_in_16_bits_are_cached_in_16_bits(tmp_path, cache_root, storage):
    save_npz(generate(300), tmp_path / "set.npz")
    plain = load("set.npz", tmp_path)
    first, again = (load("set.npz", tmp_path, edge_storage=storage) for _ in range(2))
    assert len(list(cache_root.iterdir())) == 2
    assert again.graph.edge_attr.dtype == first.graph.edge_attr.dtype != torch.float32
    assert again.graph.edge_scale == first.graph.edge_scale
    assert _same(first, again)
    assert torch.equal(plain.x, again.x)  # made from the exact features
    if storage == "auto":
        assert torch.equal(again.graph.edge_features(), plain.graph.edge_attr)


def test_another_format_is_rebuilt(source, monkeypatch, caplog):
    source.load()
    monkeypatch.setattr(cache_module, "FORMAT", 999)
    source.load()
    assert source.reads == 2
    assert "it has format" in caplog.text


def test_a_cache_that_cannot_be_written_is_a_warning(source, tmp_path, monkeypatch, caplog):
    blocked = tmp_path / "a file"
    blocked.write_text("")
    monkeypatch.setenv("REVGNN_CACHE", str(blocked / "inside"))
    assert source.load().num_nodes == 300
    assert "could not be cached" in caplog.text


def test_without_a_home_nothing_is_cached(source, monkeypatch, caplog):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("REVGNN_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(cache_module.Path, "home", no_home)
    with caplog.at_level(logging.WARNING):
        source.load()
    assert "is not cached: Could not determine home directory" in caplog.text


def test_nothing_is_left_behind_when_writing_fails(source, cache_root, monkeypatch):
    def fails(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(np, "save", fails)
    source.load()
    assert list(cache_root.iterdir()) == []


def test_empty_arrays_are_kept(tmp_path):
    path = tmp_path / "mine.npz"
    fields = {"edge_index": np.zeros((2, 0), np.int64), "y": np.array([0, 1]), "x": np.ones((2, 1)), "train_idx": np.array([0, 1])}
    np.savez(path, **fields)
    first, second = load(str(path)), load(str(path))
    assert second.graph.num_edges == first.graph.num_edges == 0
    assert len(second.split.test) == 0


def test_real_data_through_the_cache(real_data, cache_root):
    plain = load("ogbn-humanppi", real_data, cache=False)
    assert list(cache_root.iterdir()) == []
    load("ogbn-humanppi", real_data)
    assert _only_folder(cache_root).is_dir()
    again = load("ogbn-humanppi", real_data)
    assert _same(plain, again)
    assert (again.source, again.licence, again.num_species) == (plain.source, plain.licence, 1)


def test_small_sets_are_not_cached(tmp_path, cache_root, monkeypatch):
    monkeypatch.setattr(cache_module, "MIN_BYTES", 16 << 20)
    save_npz(generate(300), tmp_path / "small.npz")
    load("small.npz", tmp_path)
    assert list(cache_root.iterdir()) == []
