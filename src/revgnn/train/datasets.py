"""The data set that the `data` part of a configuration describes."""

from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from revgnn.data import NodeDataset, TableOptions, load, read_splits
from revgnn.data.feature_scale import FeatureScale
from revgnn.data.fingerprint import Fingerprint, fingerprint
from revgnn.train.config import DataConfig, Features
from revgnn.train.config.errors import ConfigError

_BLOCK_ROWS = 1 << 16


def load_dataset(config: DataConfig | None) -> NodeDataset:
    """Load the data set, with the splits and node features of the user's own files, and scale the features.

    Raises:
        ConfigError: if no data set is named, or a file of splits or node features cannot be used.
        ValueError, OSError: what `revgnn.data.load` raises.
    """
    return _scale(read_dataset(config), config)


def load_with_fingerprint(config: DataConfig | None) -> tuple[NodeDataset, Fingerprint]:
    """Return the result of `load_dataset`, and the fingerprint of the data before their features are scaled."""
    return scale_with_fingerprint(read_dataset(config), config)


def scale_with_fingerprint(dataset: NodeDataset, config: DataConfig | None) -> tuple[NodeDataset, Fingerprint]:
    """Return a data set with its features scaled, and its fingerprint before that."""
    return _scale(dataset, config), fingerprint(dataset)


def read_dataset(config: DataConfig | None) -> NodeDataset:
    """Load the data set as `load_dataset` does, but leave its features as they are.

    Raises:
        As `load_dataset`.
    """
    if config is None:
        raise ConfigError("no data set is named: revgnn train DATASET, or data.name in the configuration (see revgnn datasets).")
    dataset = load(
        config.name,
        config.root,
        split=config.split if config.split_file is None else 0,
        undirected=config.undirected,
        self_loops=config.self_loops,
        download=config.download,
        archive=config.archive,
        edge_storage=config.edge_storage,
        tables=TableOptions(**settings) if (settings := config.table_settings()) else None,
    )
    if dataset.tables is not None and config.features != "raw":
        raise ConfigError(
            f"data.features={config.features} would scale features a second time: those of tables are scaled by their training "
            "nodes; leave data.features out."
        )
    if config.split_file is not None:
        dataset = _with_splits_of_file(dataset, Path(config.split_file), config.split)
    if config.metric is not None:
        dataset = replace(dataset, metric=config.metric)
    if config.node_features is None:
        return dataset
    given = read_features(Path(config.node_features), dataset.num_nodes)
    own = dataset.x if config.keep_features else None
    return replace(dataset, x=given if own is None else torch.cat([own, given], dim=1))


def _with_splits_of_file(dataset: NodeDataset, path: Path, split: int | str) -> NodeDataset:
    if dataset.tables is not None:
        raise ConfigError(
            "data.split_file is not for tables, whose features are fitted on the training nodes; name the part of each node in a "
            "column (docs/own-data.md)."
        )
    if dataset.pairs is not None and dataset.pairs.draws_negatives:
        raise ConfigError("data.split_file is not for links, which are drawn by data.split_ratios and data.split.")
    if isinstance(split, str):
        raise ConfigError(f"data.split: the splits of {path} have numbers, got {split!r}.")
    try:
        return replace(dataset, splits=read_splits(path, dataset.num_rows), split_index=split)
    except ValueError as error:
        raise ConfigError(f"data.split_file: {error}") from None


def _scale(dataset: NodeDataset, config: DataConfig | None) -> NodeDataset:
    if dataset.x is None or config is None or config.features == "raw":
        return dataset
    scale = FeatureScale.fit(dataset.x, config.features)
    return replace(dataset, x=scale.apply(dataset.x), feature_scale=scale)


def read_features(path: Path, num_nodes: int) -> Tensor:
    """Read node features from an .npy file, such as embeddings of a language model: float32 (N, F).

    A float32 file is mapped, not copied: its content stays on disk until it is used. Its length is checked first.

    Raises:
        ConfigError: if the file is missing or damaged, holds objects, is not a matrix of floats with one row per node, or holds a
            number that is not finite in float32.
    """
    try:
        # Copy on write, since torch needs writable memory. The file itself never changes.
        array = np.load(path, mmap_mode="c", allow_pickle=False)
    except FileNotFoundError:
        raise ConfigError(f"data.node_features names {path}, which does not exist.") from None
    except OSError as error:
        raise ConfigError(f"data.node_features: {path} cannot be read: {error.strerror or error}.") from None
    except Exception as error:  # NumPy reads the header as a literal of Python: a damaged one can cause any
        raise ConfigError(
            f"data.node_features: {path} cannot be read as an .npy file ({' '.join(str(error).split())}); "
            "write it with numpy.save(path, array), where array holds numbers and no objects."
        ) from None
    if not isinstance(array, np.ndarray):
        raise ConfigError(f"data.node_features: {path} is an archive of arrays; expected an .npy file with one array (numpy.save).")
    if array.ndim != 2 or array.shape[0] != num_nodes or array.dtype.kind != "f" or array.dtype.itemsize > 8:
        raise ConfigError(
            f"data.node_features: {path} holds {array.dtype} of shape {array.shape}; expected float16, float32 or float64 "
            f"of shape ({num_nodes}, F), row i for node i."
        )
    with np.errstate(over="ignore"):
        features = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
    for start in range(0, num_nodes, _BLOCK_ROWS):
        rows = features[start : start + _BLOCK_ROWS]
        if not bool(rows.isfinite().all()):
            node, column = (~rows.isfinite()).nonzero()[0].tolist()
            raise ConfigError(
                f"data.node_features: {path}: feature {column} of node {start + node} is {array[start + node, column]}; it must be "
                "finite in float32."
            )
    return features


def features_checksum(config: DataConfig) -> int | None:
    """Return the CRC-32 of the file of node features, None without one. States of earlier versions have it, and no fingerprint."""
    if config.node_features is None:
        return None
    crc = 0
    with open(config.node_features, "rb") as file:
        while block := file.read(1 << 24):
            crc = zlib.crc32(block, crc)
    return crc


def scaled(x: Tensor, how: Features) -> Tensor:
    """Scale node features (N, F) as `DataConfig.features` describes. Constant columns become 0; rows of zeros stay 0."""
    return FeatureScale.fit(x, how).apply(x)


def all_splits(config: DataConfig) -> list[int]:
    """Return the numbers of all splits of the data set."""
    return list(range(len(load_dataset(config.model_copy(update={"split": 0})).splits)))
