"""Data sets for node classification: readers, generated graphs, a cache, and random partitions."""

from __future__ import annotations

from revgnn.data.cache import cache_folder, cached
from revgnn.data.catalogue import Entry, catalogue
from revgnn.data.dataset import Metric, NodeDataset, Split, Task
from revgnn.data.generated.synthetic import generate, proteins_shaped
from revgnn.data.links import make_links
from revgnn.data.load import load
from revgnn.data.many_graphs import ManyGraphs
from revgnn.data.pairs import NonLinks, Pairs
from revgnn.data.partition import Part, RandomPartition
from revgnn.data.readers.npz import read_npz, save_npz
from revgnn.data.split_file import read_splits
from revgnn.data.tables.options import TableOptions

__all__ = [
    "Entry",
    "ManyGraphs",
    "Metric",
    "NodeDataset",
    "NonLinks",
    "Pairs",
    "Part",
    "RandomPartition",
    "Split",
    "TableOptions",
    "Task",
    "cache_folder",
    "cached",
    "catalogue",
    "generate",
    "load",
    "make_links",
    "proteins_shaped",
    "read_npz",
    "read_splits",
    "save_npz",
]
