"""A file of any format with damaged bytes is refused in one line by its name, or read; it causes no other error."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
import scipy.io
import scipy.sparse
import torch
from torch_geometric.datasets import KarateClub

from revgnn.data import TableOptions, load
from tests.data.readers.graphs import CLUB, karate


def _write_metis(path: Path) -> None:
    graph = karate()
    lines = ["34 78", *(" ".join(str(other + 1) for other in graph[node]) for node in graph)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _write_mat(path: Path) -> None:
    info = np.random.default_rng(0).integers(0, 3, (34, 7))
    scipy.io.savemat(path, {"A": scipy.sparse.csc_matrix(nx.to_scipy_sparse_array(karate())).astype(float), "local_info": info})


def _write_shchur(path: Path) -> None:
    matrix: Any = nx.to_scipy_sparse_array(karate(), format="csr")
    parts = {f"{kind}_{part}": getattr(matrix, part) for kind in ("adj", "attr") for part in ("data", "indices", "indptr", "shape")}
    np.savez_compressed(path, **parts, labels=np.arange(34) % 3)


WRITERS: dict[str, Callable[[Path], Any]] = {
    "a.graphml": lambda path: nx.write_graphml(karate(), path),
    "a.gexf": lambda path: nx.write_gexf(karate(), path),
    "a.gml": lambda path: nx.write_gml(karate(), path),
    "a.net": lambda path: nx.write_pajek(nx.relabel_nodes(karate(), str), path),
    "a.json": lambda path: path.write_text(json.dumps(nx.node_link_data(karate(), edges="links")), encoding="utf-8"),
    "a.edgelist": lambda path: nx.write_edgelist(karate(), path),
    "a.edges": lambda path: nx.write_weighted_edgelist(karate(), path),
    "a.mtx": lambda path: scipy.io.mmwrite(path, nx.to_scipy_sparse_array(karate())),
    "a.npz": lambda path: scipy.sparse.save_npz(path, nx.to_scipy_sparse_array(karate())),
    "b.npz": _write_shchur,
    "a.graph": _write_metis,
    "a.mat": _write_mat,
    "a.pt": lambda path: torch.save(KarateClub()[0], path),
}
WITH_LABELS = ("a.graphml", "a.gexf", "a.gml", "a.json", "a.net")
ARRAYS = ("b.npz", "a.mat", "a.pt")


@pytest.mark.parametrize("name", WRITERS)
def test_damaged_bytes(tmp_path: Path, name: str) -> None:
    check(tmp_path, name, rounds=12)


@pytest.mark.slow
@pytest.mark.parametrize("name", WRITERS)
def test_damaged_bytes_many_times(tmp_path: Path, name: str) -> None:
    check(tmp_path, name, rounds=2000)


def check(folder: Path, name: str, rounds: int) -> None:
    path = folder / name
    WRITERS[name](path)
    whole = path.read_bytes()
    np.save(folder / "y.npy", np.arange(34) % 2)
    labels = None if name in ARRAYS else CLUB if name in WITH_LABELS else TableOptions(label_file=str(folder / "y.npy"))
    if name == "a.net":
        labels = TableOptions(label_file=str(folder / "y.npy"))
    assert load(str(path), tables=labels, cache=False).num_nodes == 34
    rng = np.random.default_rng(0)
    for _ in range(rounds):
        blob = bytearray(whole)
        match int(rng.integers(4)):
            case 0:  # a few bits
                for at in rng.integers(0, len(blob), 3):
                    blob[at] ^= 1 << int(rng.integers(8))
            case 1:  # cut off
                blob = blob[: int(rng.integers(len(blob)))]
            case 2:  # a piece is missing
                at = int(rng.integers(len(blob)))
                del blob[at : at + int(rng.integers(1, 40))]
            case _:  # digits and letters of another place
                a, b = rng.integers(0, len(blob), 2)
                blob[a : a + 6] = blob[b : b + 6]
        path.write_bytes(blob)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            message = _refusal(path, labels)
        assert message is None or name in message or "label" in message
        assert message is None or ("\n" not in message and len(message) < 1500)


def _refusal(path: Path, labels: TableOptions | None) -> str | None:
    try:
        load(str(path), tables=labels, cache=False)
    except ValueError as error:
        return str(error)
    return None
