"""From the `data` part of a configuration to a data set."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from revgnn.data import NodeDataset, load
from revgnn.train.config import DataConfig, Features
from revgnn.train.config_errors import ConfigError


def load_dataset(config: DataConfig | None) -> NodeDataset:
    """
    Raises:
        ConfigError: if no data set is named.
        ValueError, OSError: what `revgnn.data.load` raises.
    """
    if config is None:
        raise ConfigError("no data set is named: revgnn train DATASET, or data.name in the configuration (see revgnn datasets).")
    dataset = load(
        config.name,
        config.root,
        split=config.split,
        undirected=config.undirected,
        self_loops=config.self_loops,
        download=config.download,
    )
    return dataset if dataset.x is None else replace(dataset, x=scaled(dataset.x, config.features))


def scaled(x: Tensor, how: Features) -> Tensor:
    """Node features (N, F), as `DataConfig.features` describes. Constant columns become 0; rows of zeros stay."""
    match how:
        case "raw":
            return x
        case "standard":
            deviation, mean = torch.std_mean(x, dim=0, correction=0)
            return (x - mean) / deviation.where(deviation > 1e-6 * x.abs().amax(dim=0), 1.0)
        case "log":
            return scaled(x.sign() * x.abs().log1p(), "standard")
        case "rows":
            total = x.sum(dim=1, keepdim=True)
            return x / total.where(total != 0, 1.0)


def all_splits(config: DataConfig) -> list[int]:
    """The numbers of all splits that the data set comes with."""
    return list(range(len(load_dataset(config.model_copy(update={"split": 0})).splits)))
