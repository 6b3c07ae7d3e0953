"""The named data sets: source, licence and sizes of each. Tests compare the counts with the files."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Literal

from revgnn.data.dataset import Metric, Task

Kind = Literal["ogb", "planetoid", "amazon", "heterophilous", "generated"]


@dataclass(frozen=True)
class Entry:
    """A named data set.

    Attributes:
        name: the name that `load` accepts, in any letter case.
        kind: the family, which determines the files and the reader.
        num_nodes: N, 0 if the caller chooses it.
        num_edges: directed edges after loading with the default options, reverse edges and self-loops included.
        num_features: node features after loading.
        num_edge_features: K.
        task, num_outputs, metric: as in `NodeDataset`.
        splits: the kind of splits.
        source, licence: where the data come from, and the terms of use.
        sha256: name and checksum of raw files, if known; downloads are checked against them.
    """

    name: str
    kind: Kind
    num_nodes: int
    num_edges: int
    num_features: int
    num_edge_features: int
    task: Task
    num_outputs: int
    metric: Metric
    splits: str
    source: str
    licence: str
    sha256: tuple[tuple[str, str], ...] = ()


_PLANETOID = "Yang et al. 2016, arXiv:1603.08861; github.com/kimiyoung/planetoid"
_AMAZON = "Shchur et al. 2018, arXiv:1811.05868; github.com/shchur/gnn-benchmark"
_HETERO = "Platonov et al. 2023, arXiv:2302.11640; github.com/yandex-research/heterophilous-graphs"
_OGB = "Hu et al. 2020, arXiv:2005.00687; ogb.stanford.edu"
_PPI = "scNET's STRING network (BSD-3-Clause) with GO labels from DeepMNE-CNN (no licence stated); a local set in OGB's layout"
_PUBLIC, _RANDOM, _TEN = "1 public", "random 60/20/20 by seed", "10 published 50/25/25"
_CORA_SHA256 = (
    ("ind.cora.x", "23cfa55d91c6f624233f5eb7b6e3f141f1bd2b2ae39608a63cf5d084bb27baab"),
    ("ind.cora.tx", "b9afbaa4a400df991f6f02ef677e1e44da55ffc04801fd02f9e673987829226a"),
    ("ind.cora.allx", "9419ba2f26f5c35243db64aba110e0f35a04851609e0dc5433450676ca6b8543"),
    ("ind.cora.y", "94465c14eb53e04ca262198dcbb2521ee8af60fb3f3d546cd6ca24a511b0e7d1"),
    ("ind.cora.ty", "41f5ac76596a1699cc33f53084a2419e92961c42bb75f36fc38e616d348532ad"),
    ("ind.cora.ally", "2b998f5cc7fedc86e7f97ca2498f47a1ffc1462c29e2d578b23bf3f62b6e7d71"),
    ("ind.cora.graph", "58f13302f39dde8852dad6fe6d15b89b077b6d7f837626bce671ef80344b383d"),
    ("ind.cora.test.index", "297ce89af2b51a6a194181c7dbe1796c6a1cf9cd9349a88383b1b1e227867875"),
)
_MINESWEEPER_SHA256 = (("minesweeper.npz", "e664c8dacf1e8ac466c2c09ed4b237bd2c5541f47a6eae9c6092cb87f16412b3"),)
_TOLOKERS_SHA256 = (("tolokers.npz", "dacf3ac94cec53d03cd2adb5255c08b33dee1656c33ca8164a464bd9450a1667"),)

_ENTRIES = (
    # name, kind, N, E, F, K, task, outputs, metric, splits, source, licence
    Entry("cora", "planetoid", 2_708, 10_556, 1_433, 0, "multiclass", 7, "accuracy", _PUBLIC, _PLANETOID, "MIT", _CORA_SHA256),
    Entry("citeseer", "planetoid", 3_327, 9_104, 3_703, 0, "multiclass", 6, "accuracy", _PUBLIC, _PLANETOID, "MIT"),
    Entry("pubmed", "planetoid", 19_717, 88_648, 500, 0, "multiclass", 3, "accuracy", _PUBLIC, _PLANETOID, "MIT"),
    Entry("computers", "amazon", 13_752, 491_722, 767, 0, "multiclass", 10, "accuracy", _RANDOM, _AMAZON, "MIT"),
    Entry("photo", "amazon", 7_650, 238_162, 745, 0, "multiclass", 8, "accuracy", _RANDOM, _AMAZON, "MIT"),
    Entry("tolokers", "heterophilous", 11_758, 1_038_000, 10, 0, "binary", 1, "rocauc", _TEN, _HETERO, "MIT", _TOLOKERS_SHA256),
    Entry("minesweeper", "heterophilous", 10_000, 78_804, 7, 0, "binary", 1, "rocauc", _TEN, _HETERO, "MIT", _MINESWEEPER_SHA256),
    Entry("questions", "heterophilous", 48_921, 307_080, 301, 0, "binary", 1, "rocauc", _TEN, _HETERO, "MIT"),
    Entry("roman-empire", "heterophilous", 22_662, 65_854, 300, 0, "multiclass", 18, "accuracy", _TEN, _HETERO, "MIT"),
    Entry("amazon-ratings", "heterophilous", 24_492, 186_100, 300, 0, "multiclass", 5, "accuracy", _TEN, _HETERO, "MIT"),
    Entry("ogbn-proteins", "ogb", 132_534, 79_122_504, 8, 8, "multilabel", 112, "rocauc", "species", _OGB, "CC0-1.0"),
    Entry("ogbn-arxiv", "ogb", 169_343, 2_484_941, 128, 0, "multiclass", 40, "accuracy", "time", _OGB, "ODC-BY"),
    Entry("ogbn-products", "ogb", 2_449_029, 126_167_053, 100, 0, "multiclass", 47, "accuracy", "sales rank", _OGB, "Amazon"),
    Entry("ogbn-humanppi", "ogb", 12_381, 874_602, 4, 4, "multilabel", 112, "rocauc", "random 60/20/20", _PPI, "see source"),
    Entry("ogbn-tolokers", "ogb", 11_758, 1_038_000, 10, 0, "binary", 1, "rocauc", "tolokers' first", _HETERO, "MIT"),
    Entry("synthetic", "generated", 0, 0, 8, 8, "multilabel", 12, "rocauc", "60/20/20 by communities", "generated", "none needed"),
    Entry("road-beacons", "generated", 0, 0, 4, 0, "multilabel", 2, "rocauc", "50/20/30 by beacons", "generated", "none needed"),
    Entry("ring-transfer", "generated", 0, 0, 8, 0, "multiclass", 5, "accuracy", "50/20/30 by rings", "generated", "none needed"),
    Entry("tree-match", "generated", 0, 0, 14, 0, "multiclass", 4, "accuracy", "50/20/30 by trees", "generated", "none needed"),
)


def catalogue() -> tuple[Entry, ...]:
    """Return all named data sets. Users' own files and other folders in OGB's layout need no entry."""
    return _ENTRIES


def find_entry(name: str) -> Entry | None:
    """Return the entry of that name, or None; letter case does not matter, and `_` counts as `-`."""
    plain = name.casefold().replace("_", "-")
    return next((entry for entry in _ENTRIES if entry.name == plain), None)


def nearest_names(name: str) -> list[str]:
    """Return at most three names similar to the given one, the nearest first."""
    return difflib.get_close_matches(name.casefold().replace("_", "-"), [entry.name for entry in _ENTRIES], n=3, cutoff=0.5)
