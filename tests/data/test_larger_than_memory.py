"""A graph in the cache may be larger than memory: verifying, opening, cutting and training make no copy of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from revgnn.data import NodeDataset, Split
from revgnn.data.cache import cached
from revgnn.data.generated.full_size import full_size
from revgnn.data.mapped import map_array

NODES, EDGES, PARTS = 8_000, 4_000_000, 10


def large_dataset(edge_storage: str) -> NodeDataset:
    graph = full_size(NODES, EDGES, edge_storage=edge_storage)
    nodes = torch.arange(NODES)
    y = (torch.rand(NODES, 3) < 0.5).float()
    split = Split(nodes[: NODES // 2], nodes[NODES // 2 : -1000], nodes[-1000:])
    return NodeDataset("large", graph, graph.in_degree.float().unsqueeze(1), y, "multilabel", 3, "rocauc", (split,))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the memory of a process from /proc")
@pytest.mark.parametrize("edge_storage", ["float32", pytest.param("int16", marks=pytest.mark.slow)])
def test_memory_stays_far_below_the_size_of_the_graph(tmp_path, edge_storage):
    source = tmp_path / "set"
    source.write_text("stands for the files the set was read from")
    data = cached(lambda: large_dataset(edge_storage), source, [source], {})
    assert data.graph.edge_attr is not None
    size = data.graph.edge_attr.nbytes + data.graph.src.nbytes

    script = Path(__file__).with_name("larger_than_memory.py")
    command = [sys.executable, str(script), str(source), str(PARTS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["edges"] == pytest.approx(EDGES / PARTS, rel=0.1)
    for stage in ("verifying", "opening", "training"):
        assert found[stage]["anonymous"] < size / 8, (stage, size, found)
    assert found["verifying"]["mapped"] > 0.9 * size, "the first opening reads all files"
    assert found["opening"]["mapped"] < size / 8, "later ones read only a small part"


def test_a_file_larger_than_memory_can_be_mapped(tmp_path):
    """The file is sparse and needs no disk space. Linux refuses a writable mapping that is larger than all memory."""
    if not hasattr(os, "sysconf"):
        pytest.skip("cannot tell the size of memory")
    rows = 2 * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 32
    path = tmp_path / "edge_attr.npy"
    with open(path, "wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (rows, 8)}
        np.lib.format.write_array_header_1_0(file, header)
        try:
            file.truncate(file.tell() + 32 * rows)
        except OSError as error:
            pytest.skip(f"cannot make a file of that size: {error}")
    if path.stat().st_blocks * 512 > 1 << 20:
        pytest.skip("this file system has no sparse files")
    features = map_array(path)
    assert features.shape == (rows, 8)
    features[rows - 1] = 1.0
    assert map_array(path)[rows - 1].tolist() == [0.0] * 8


@pytest.mark.parametrize("dtype", ["<f4", "<f2", "<i2", "<i8", "|b1"])
@pytest.mark.parametrize("shape", [(0, 3), (5,), (7, 3), ()])
def test_a_mapped_array_equals_the_stored_one(tmp_path, dtype, shape):
    array = np.random.default_rng(0).integers(0, 2, shape).astype(dtype)
    np.save(tmp_path / "a.npy", array)
    mapped = map_array(tmp_path / "a.npy")
    assert mapped.dtype == array.dtype
    assert mapped.shape == array.shape
    assert np.array_equal(mapped, array)
    assert mapped.flags.writeable


def test_files_that_are_not_plain_arrays_are_refused(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.ones((3, 4), order="F"))
    with pytest.raises(ValueError, match=r"a.npy must hold plain numbers in C order"):
        map_array(path)
    np.save(path, np.ones(3, ">f4"))
    with pytest.raises(ValueError, match="in this machine's byte order, got >f4"):
        map_array(path)
    np.save(path, np.array([{}]), allow_pickle=True)
    with pytest.raises(ValueError, match="got object"):
        map_array(path)
    path.write_bytes(b"not an array")
    with pytest.raises(ValueError, match="magic string"):
        map_array(path)
    np.save(path, np.ones(1000))
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ValueError, match=r"a.npy is truncated: 7992 of 8000 bytes"):
        map_array(path)
