"""Generated data sets, and files in every layout that is read."""

from __future__ import annotations

import gzip
import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
import torch
from hypothesis import strategies as st

from revgnn.data import NodeDataset
from tests.properties.damage import same


@dataclass(frozen=True)
class Recipe:
    """A small labelled graph: a few choices, and a seed for its numbers."""

    seed: int
    nodes: int = 14
    edges: int = 30
    task: str = "multiclass"
    features: bool = True
    edge_features: int = 0
    species: bool = False
    splits: int = 1
    unlabelled: bool = False

    def arrays(self) -> dict[str, Any]:
        """As an .npz file of one's own has them."""
        rng = np.random.default_rng(self.seed)
        n, e = self.nodes, self.edges
        found: dict[str, Any] = {"edge_index": rng.integers(0, n, (2, e))}
        if self.features:
            found["x"] = rng.normal(size=(n, 3)).astype(np.float32)
        if self.edge_features:
            found["edge_attr"] = rng.normal(size=(e, self.edge_features)).astype(np.float32)
        if self.species:
            found["species"] = rng.integers(0, 3, n)
        order = rng.permutation(n)
        if self.task == "multilabel":
            found["y"] = rng.integers(0, 2, (n, 3)).astype(np.float32)
            found["y"][order[:2]] = [[0, 1, 0], [1, 0, 1]]
        else:
            classes = {"binary": 2, "multiclass": 3}[self.task]
            found["y"] = rng.integers(0, classes, n)
            found["y"][order[: 2 * classes]] = np.tile(np.arange(classes), 2)
        thirds = max(6, n // 2), max(9, 3 * n // 4)
        for part, nodes in zip(("train", "valid", "test"), np.split(order, thirds), strict=True):
            mask = np.zeros((self.splits, n), bool)
            mask[:, nodes] = True
            found[f"{part}_mask"] = mask
        if self.unlabelled:
            left_out = order[-1]
            found["test_mask"][:, left_out] = False
            if self.task == "multilabel":
                found["y"][left_out, 1] = np.nan
            else:
                found["y"][left_out] = -1
        found["task"] = self.task
        return found


recipes = st.builds(
    Recipe,
    seed=st.integers(0, 2**32 - 1),
    nodes=st.integers(13, 40),
    edges=st.integers(0, 90),
    task=st.sampled_from(["multiclass", "binary", "multilabel"]),
    features=st.booleans(),
    edge_features=st.integers(0, 3),
    species=st.booleans(),
    splits=st.integers(1, 3),
    unlabelled=st.booleans(),
)


def contents(dataset: NodeDataset) -> dict[str, Any]:
    """All of a data set but where it comes from, for comparison."""
    own = {f.name: getattr(dataset, f.name) for f in fields(dataset) if f.name not in ("graph", "splits", "name", "source")}
    graph = dataset.graph
    own |= {"indptr": graph.indptr, "src": graph.src, "edge_attr": graph.edge_attr, "edge_scale": graph.edge_scale}
    own["splits"] = [(split.train, split.valid, split.test) for split in dataset.splits]
    return own


def difference(one: NodeDataset, other: NodeDataset) -> str | None:
    """Return the first field that differs, or None."""
    ours, theirs = contents(one), contents(other)
    for name, value in ours.items():
        if not same(value, theirs[name]):
            return f"{name}: {value!r} and {theirs[name]!r}"
    return None


# --- files ----------------------------------------------------------------------------------------------------------------------


def write_npz(path: Path, recipe: Recipe, *, compressed: bool = False) -> None:
    (np.savez_compressed if compressed else np.savez)(path, **recipe.arrays())


def write_csv(path: Path, rows: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "\n".join(",".join("nan" if v != v else f"{v:g}" for v in np.atleast_1d(row).tolist()) for row in rows)
    path.write_bytes(gzip.compress(f"{text}\n".encode(), mtime=0))


def write_ogb(folder: Path, recipe: Recipe, *, binary: bool) -> None:
    """A folder in OGB's layout, with `meta_dict.json`."""
    arrays = recipe.arrays()
    n, e = recipe.nodes, recipe.edges
    labels = np.where(arrays["y"] < 0, np.nan, arrays["y"]).astype(np.float32).reshape(n, -1)
    nodes = [np.flatnonzero(arrays[f"{part}_mask"][0]) for part in ("train", "valid", "test")]
    raw, split = folder / "raw", folder / "split" / "random"
    raw.mkdir(parents=True)
    split.mkdir(parents=True)
    if binary:
        optional = {"node_feat": arrays.get("x"), "edge_feat": arrays.get("edge_attr"), "node_species": arrays.get("species")}
        sizes = {"num_nodes_list": np.array([n]), "num_edges_list": np.array([e])}
        stored: dict[str, Any] = {k: v for k, v in optional.items() if v is not None}
        np.savez(raw / "data.npz", edge_index=arrays["edge_index"], **sizes, **stored)
        np.savez(raw / "node-label.npz", node_label=labels)
        torch.save(
            {k: torch.from_numpy(v) for k, v in zip(("train", "valid", "test"), nodes, strict=True)}, split / "split_dict.pt"
        )
    else:
        write_csv(raw / "edge.csv.gz", arrays["edge_index"].T)
        write_csv(raw / "num-node-list.csv.gz", np.array([n]))
        write_csv(raw / "num-edge-list.csv.gz", np.array([e]))
        write_csv(raw / "node-label.csv.gz", labels)
        for name, key in (("node-feat", "x"), ("edge-feat", "edge_attr"), ("node_species", "species")):
            if key in arrays:
                write_csv(raw / f"{name}.csv.gz", arrays[key])
        for part, rows in zip(("train", "valid", "test"), nodes, strict=True):
            write_csv(split / f"{part}.csv.gz", rows)
    kind = "multiclass" if recipe.task == "multiclass" else "binary"
    meta = {
        "num tasks": labels.shape[1],
        "num classes": 3 if recipe.task == "multiclass" else 2,
        "task type": f"{kind} classification",
        "eval metric": "acc" if recipe.task == "multiclass" else "rocauc",
        "split": "random",
        "add_inverse_edge": "False",
        "binary": str(binary),
        "is hetero": "False",
    }
    (folder / "meta_dict.json").write_text(json.dumps(meta), encoding="utf-8")


def write_planetoid(folder: Path, recipe: Recipe) -> None:
    """Cora's files, of another graph: 7 classes, 4 features, and 500 nodes for validation, as its split wants."""
    rng = np.random.default_rng(recipe.seed)
    n, tests, train = 500 + recipe.nodes, 5, 7
    x = scipy.sparse.csr_matrix((rng.random((n, 4)) < 0.5).astype(np.float32))
    y = np.eye(7, dtype=np.int32)[np.concatenate([np.arange(7), rng.integers(0, 7, n - 7)])]
    adjacency = {i: rng.integers(0, n, 3).tolist() for i in range(n)}
    parts = {
        "x": x[:train],
        "y": y[:train],
        "allx": x[: n - tests],
        "ally": y[: n - tests],
        "tx": x[n - tests :],
        "ty": y[n - tests :],
    }
    (folder / "raw").mkdir(parents=True)
    for part, value in {**parts, "graph": adjacency}.items():
        (folder / "raw" / f"ind.cora.{part}").write_bytes(pickle.dumps(value, protocol=2))
    (folder / "raw" / "ind.cora.test.index").write_text("\n".join(map(str, range(n - tests, n))) + "\n")


WRITERS: dict[str, Callable[[Path, Recipe], None]] = {
    "npz": lambda folder, recipe: write_npz(folder / "own.npz", recipe),
    "npz compressed": lambda folder, recipe: write_npz(folder / "own.npz", recipe, compressed=True),
    "ogb csv": lambda folder, recipe: write_ogb(folder / "ogbn_own", recipe, binary=False),
    "ogb binary": lambda folder, recipe: write_ogb(folder / "ogbn_own", recipe, binary=True),
    "planetoid": lambda folder, recipe: write_planetoid(folder / "Cora", recipe),
}
"""By layout: writes a data set below a folder."""
NAMES = {"npz": "own.npz", "npz compressed": "own.npz", "ogb csv": "ogbn-own", "ogb binary": "ogbn-own", "planetoid": "cora"}
"""What `load` calls it."""
