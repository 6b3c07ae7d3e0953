"""From the configuration of a run to its planner."""

from __future__ import annotations

import torch

from revgnn.data import NodeDataset
from revgnn.data.catalogue import find_entry
from revgnn.data.readers.ogb import SELF_LOOPS, UNDIRECTED
from revgnn.experiments.measure.batch import TRAIN_SHARE
from revgnn.experiments.planner.plan import Limits, Planner
from revgnn.experiments.planner.probe import probe
from revgnn.experiments.planner.size import DataSize
from revgnn.graph import Graph
from revgnn.train.config import DataConfig, RunConfig
from revgnn.train.config.errors import ConfigError
from revgnn.train.datasets import load_dataset
from revgnn.train.run.footprint import free_bytes
from revgnn.train.run.session import choose_device

SHARE_OF_FREE = 0.9
"""Of the free memory of the device, as much may be planned: allocators round and fragment."""


def planner_for(run: RunConfig, *, timed: bool = True, widths: bool = False, dataset: NodeDataset | None = None) -> Planner:
    """Return the planner of a run on its data set and device.

    The sizes of the large data sets of the catalogue are known without their files. Other data are loaded.

    Args:
        timed: time a few steps, so that plans have seconds.
        widths: of two widths, so that plans of other widths have seconds too.
        dataset: the data set, if it is loaded.

    Raises:
        ValueError, OSError: if the data cannot be read, or the device does not exist.
    """
    device = choose_device(run.device)
    size, graph = None, None
    if dataset is None:
        size, graph = _known_size(run.data)
    if size is None:
        dataset = load_dataset(run.data) if dataset is None else dataset
        size = DataSize.of(dataset)
    cost = probe(run, size, device, dataset, widths=widths) if timed else None
    return Planner(size, device, cost, graph if dataset is None else dataset.graph)


def free_memory(device: torch.device) -> Limits:
    """Return the share of the free memory of a device that may be planned."""
    return Limits(memory_bytes=SHARE_OF_FREE * free_bytes(device))


def _known_size(config: DataConfig | None) -> tuple[DataSize | None, Graph | None]:
    """Return the size from the catalogue, of data sets too large to load for a plan and of those whose files are missing.

    If the files of a small one are there, its size is that of the files, and its graph is returned too.
    """
    if config is None:
        raise ConfigError("no data set is named: revgnn plan DATASET (see revgnn datasets).")
    entry = find_entry(config.name)
    if entry is None or not entry.num_nodes or config.node_features is not None or config.task is not None:
        return None, None
    usual = (entry.name in UNDIRECTED, entry.name in SELF_LOOPS)
    if any(chosen not in (None, of_set) for chosen, of_set in zip((config.undirected, config.self_loops), usual, strict=True)):
        return None, None
    size = DataSize.of_entry(entry, edge_bytes=4 if config.edge_storage == "float32" else 2)
    if entry.name in TRAIN_SHARE:
        return size, None
    try:
        dataset = load_dataset(config)
        return DataSize.of(dataset), dataset.graph
    except (ValueError, OSError):
        return size, None
