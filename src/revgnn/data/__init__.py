"""Data sets for node classification: readers, generated graphs, a cache, and random partitions."""

from __future__ import annotations

from revgnn.data.cache import cache_folder, cached
from revgnn.data.catalogue import Entry, catalogue
from revgnn.data.dataset import Metric, NodeDataset, Split, Task
from revgnn.data.generated.synthetic import generate, proteins_shaped
from revgnn.data.load import load
from revgnn.data.many_graphs import ManyGraphs
from revgnn.data.partition import Part, RandomPartition
from revgnn.data.readers.npz import read_npz, save_npz
from revgnn.data.tables.options import TableOptions

__all__ = [
    "Entry",
    "ManyGraphs",
    "Metric",
    "NodeDataset",
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
    "proteins_shaped",
    "read_npz",
    "save_npz",
]
