"""From the `data` part of a configuration to a data set."""

from __future__ import annotations

from revgnn.data import NodeDataset, load
from revgnn.train.config import DataConfig
from revgnn.train.config_errors import ConfigError


def load_dataset(config: DataConfig | None) -> NodeDataset:
    """
    Raises:
        ConfigError: if no data set is named.
        ValueError, OSError: what `revgnn.data.load` raises.
    """
    if config is None:
        raise ConfigError("no data set is named: revgnn train DATASET, or data.name in the configuration (see revgnn datasets).")
    return load(
        config.name,
        config.root,
        split=config.split,
        undirected=config.undirected,
        self_loops=config.self_loops,
        download=config.download,
    )


def all_splits(config: DataConfig) -> list[int]:
    """The numbers of all splits that the data set comes with."""
    return list(range(len(load_dataset(config.model_copy(update={"split": 0})).splits)))
