"""A small graph in every form that `fit` takes, and a run on it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch_geometric.data import Data

import revgnn

N = 120
CLASSES = ("basic", "plus", "team")
SMALL: dict[str, Any] = {"epochs": 3, "model.depth": 2, "model.channels": 8, "device": "cpu", "data.features": "standard"}
TABLES: dict[str, Any] = {**SMALL, "data.features": "raw", "data.labels": ["plan"]}


@pytest.fixture(scope="session")
def data() -> Data:
    """120 nodes of 3 classes that features tell, with a split."""
    draw = torch.Generator().manual_seed(0)
    y = torch.randint(0, 3, (N,), generator=draw)
    x = 5 * torch.nn.functional.one_hot(y, 3).float() + torch.randn(N, 3, generator=draw) + 10
    part = torch.rand(N, generator=draw)
    masks = {"train_mask": part < 0.6, "val_mask": (part >= 0.6) & (part < 0.8), "test_mask": part >= 0.8}
    return Data(x=x, edge_index=torch.randint(0, N, (2, 500), generator=draw), y=y, **masks)


@pytest.fixture(scope="session")
def mapping(data: Data) -> dict[str, Any]:
    return {
        "graph": revgnn.Graph.from_data(data),
        "x": data.x.numpy(),
        "y": data.y.tolist(),
        "train": data.train_mask,
        "valid": data.val_mask.nonzero().squeeze(1),
        "test": np.flatnonzero(data.test_mask.numpy()),
    }


@pytest.fixture(scope="session")
def frames(data: Data) -> dict[str, pd.DataFrame]:
    ids = [f"user-{i}" for i in range(N)]
    part = np.where(data.train_mask, "train", np.where(data.val_mask, "valid", "test"))
    nodes = {"id": ids, "age": data.x[:, 0].numpy(), "size": data.x[:, 1].numpy(), "plan": [CLASSES[i] for i in data.y.tolist()]}
    edges = {"source": [ids[i] for i in data.edge_index[0]], "target": [ids[i] for i in data.edge_index[1]]}
    return {"nodes": pd.DataFrame({**nodes, "split": part}), "edges": pd.DataFrame(edges)}


@pytest.fixture(scope="session")
def run(data: Data) -> revgnn.Run:
    return revgnn.fit(data, preset="revgnn-7", settings=SMALL)


@pytest.fixture(scope="session")
def table_run(frames: dict[str, pd.DataFrame]) -> revgnn.Run:
    return revgnn.fit(frames, preset="revgnn-7", settings=TABLES)
