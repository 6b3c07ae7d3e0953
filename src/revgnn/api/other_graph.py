"""Another graph, as the inputs of a trained network: features scaled as in training, labels only if there are some."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from revgnn.data import NodeDataset, Split
from revgnn.data.build_graph import build_graph
from revgnn.data.node_features import default_node_features
from revgnn.data.numbers import to_float32
from revgnn.data.splits import splits_from_masks
from revgnn.train.config import RunConfig
from revgnn.train.run.inputs import Inputs

PARTS = ("train", "valid", "test")


def other_graph(arrays: Mapping[str, np.ndarray], inputs: Inputs, config: RunConfig) -> NodeDataset:
    """Return the data set of another graph.

    Without a split, all nodes with a label are test nodes.

    Args:
        arrays: see `revgnn.api.place.arrays_of`.
        inputs: what the network takes.
        config: of the run; says whether edges are used in both directions and whether nodes have self-loops.

    Raises:
        ValueError: if features are missing or have another width than in training; names both.
    """
    num_nodes = int(arrays["num_nodes"])
    options = config.data
    graph = build_graph(
        arrays["edge_index"],
        num_nodes,
        arrays.get("edge_attr") if inputs.num_edge_features else None,
        undirected=bool(options and options.undirected),
        self_loops=None if options is None else options.self_loops,
    )
    _check_width("edge features", graph.num_edge_features, inputs.num_edge_features)
    given = arrays.get("x")
    x = default_node_features(graph) if given is None and "species" not in arrays else None
    x = x if given is None else torch.from_numpy(to_float32(given, "x"))
    _check_width("node features", 0 if x is None else x.shape[1], inputs.in_channels)
    if x is not None and inputs.scale is not None:
        x = inputs.scale.apply(x)
    y = _labels(arrays.get("y"), inputs, num_nodes)
    species = arrays.get("species")
    return NodeDataset(
        name="another graph",
        graph=graph,
        x=x,
        species=None if species is None or not inputs.num_species else torch.from_numpy(species.astype(np.int64)),
        num_species=inputs.num_species,
        y=y,
        task=inputs.task,  # type: ignore[arg-type] - NodeDataset checks it
        num_outputs=inputs.num_outputs,
        metric=inputs.metric,  # type: ignore[arg-type] - likewise
        splits=(_split(arrays, y),),
        task_names=inputs.task_names,
        source="data in memory",
        trainable=False,
        feature_scale=inputs.scale,
    )


def _check_width(what: str, found: int, wanted: int) -> None:
    if found != wanted:
        raise ValueError(f"the network was trained with {wanted} {what}, and these data have {found}; give the same in that order.")


def _labels(y: np.ndarray | None, inputs: Inputs, num_nodes: int) -> Tensor:
    if inputs.task in ("multiclass", "binary"):
        if y is None:
            return torch.full((num_nodes,), -1, dtype=torch.int64)
        return torch.from_numpy(np.where(np.isnan(y), -1, y).astype(np.int64))
    if y is None:
        return torch.full((num_nodes, inputs.num_outputs), torch.nan)
    return torch.from_numpy(y.astype(np.float32).reshape(num_nodes, -1))


def _split(arrays: Mapping[str, np.ndarray], y: Tensor) -> Split:
    known = (~y.isnan() if y.is_floating_point() else y >= 0).reshape(len(y), -1).any(dim=1).numpy()
    if not any(part in arrays for part in PARTS):
        none = torch.zeros(0, dtype=torch.int64)
        return Split(none, none, torch.from_numpy(np.flatnonzero(known)))
    return splits_from_masks(*(_mask(arrays.get(part), len(y))[None] & known for part in PARTS))[0]


def _mask(nodes: np.ndarray | None, num_nodes: int) -> np.ndarray:
    """Return the nodes of a part, a mask (of several splits the first) or numbers, as bool (N,)."""
    mask = np.zeros(num_nodes, bool)
    if nodes is None:
        return mask
    if nodes.dtype == bool:
        return nodes if nodes.ndim == 1 else nodes[:, 0] if len(nodes) == num_nodes else nodes[0]
    mask[nodes] = True
    return mask
