"""From the `data` part of a configuration to a data set."""

from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from revgnn.data import NodeDataset, load
from revgnn.train.config import DataConfig, Features
from revgnn.train.config.errors import ConfigError


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
        edge_storage=config.edge_storage,
    )
    x = dataset.x
    if config.node_features is not None:
        given = read_features(Path(config.node_features), dataset.num_nodes)
        x = torch.cat([x, given], dim=1) if config.keep_features and x is not None else given
    return dataset if x is None else replace(dataset, x=scaled(x, config.features))


def read_features(path: Path, num_nodes: int) -> Tensor:
    """float32 (N, F) of an .npy file, such as embeddings of a language model. A float32 file stays on disk until it is used.

    Raises:
        ValueError: if it is missing, damaged, holds objects, or is not a matrix of floats with a row a node.
    """
    try:
        # copy on write: torch wants memory it could write to, and the file stays as it is
        array = np.load(path, mmap_mode="c", allow_pickle=False)
    except FileNotFoundError:
        raise ConfigError(f"data.node_features names {path}, which does not exist.") from None
    except (OSError, ValueError, EOFError) as error:
        raise ConfigError(
            f"data.node_features: {path} cannot be read as an .npy file ({' '.join(str(error).split())}); "
            "write one by numpy.save(path, array), of numbers, not objects."
        ) from None
    if not isinstance(array, np.ndarray):
        raise ConfigError(f"data.node_features: {path} is an archive of arrays; an .npy file of one is wanted (numpy.save).")
    if array.ndim != 2 or array.shape[0] != num_nodes or array.dtype.kind != "f" or array.dtype.itemsize > 8:
        raise ConfigError(
            f"data.node_features: {path} holds {array.dtype} of shape {array.shape}; float16, float32 or float64 of shape "
            f"({num_nodes}, F) is wanted, row i for node i."
        )
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))


def features_checksum(config: DataConfig) -> int | None:
    """CRC-32 of the file of node features, so that a run does not go on with others; None without one."""
    if config.node_features is None:
        return None
    crc = 0
    with open(config.node_features, "rb") as file:
        while block := file.read(1 << 24):
            crc = zlib.crc32(block, crc)
    return crc


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
