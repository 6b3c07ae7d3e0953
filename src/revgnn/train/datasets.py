"""From the `data` part of a configuration to a data set."""

from __future__ import annotations

import inspect

from revgnn.data import NodeDataset, load
from revgnn.train.config import DataConfig
from revgnn.train.config_errors import ConfigError, did_you_mean


def load_dataset(config: DataConfig | None) -> NodeDataset:
    """
    Raises:
        ConfigError: if no data set is named, or an option is none of `revgnn.data.load`'s.
        ValueError, OSError: what `revgnn.data.load` raises.
    """
    if config is None:
        raise ConfigError("no data set is named: revgnn train DATASET, or data.name in the configuration (see revgnn datasets).")
    known = [name for name in inspect.signature(load).parameters if name not in {"name", "root", "split"}]
    for option in config.options:
        if option not in known:
            raise ConfigError(
                f"unknown option data.options.{option}{did_you_mean(option, known) or f'; options: {chr(44).join(known)}'}"
            )
    return load(config.name, config.root, split=config.split, **config.options)


def all_splits(config: DataConfig) -> list[int]:
    """The numbers of all splits that the data set comes with."""
    return list(range(len(load_dataset(config.model_copy(update={"split": 0})).splits)))
