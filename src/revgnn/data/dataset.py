"""The class `NodeDataset`: a graph with features, labels and splits, checked once when it is made."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor

from revgnn.graph import Graph

if TYPE_CHECKING:
    from revgnn.data.feature_scale import FeatureScale
    from revgnn.data.tables.stored import TableSource

Task = Literal["multiclass", "binary", "multilabel"]
Metric = Literal["rocauc", "accuracy", "f1"]

DEFAULT_METRIC: dict[Task, Metric] = {"multiclass": "accuracy", "binary": "rocauc", "multilabel": "rocauc"}

_PARTS = ("train", "valid", "test")


@dataclass(frozen=True, eq=False)
class Split:
    """The nodes for training, validation and test: int64 index tensors, disjoint."""

    train: Tensor
    valid: Tensor
    test: Tensor


@dataclass(frozen=True, eq=False)
class NodeDataset:
    """One graph with features, labels and splits for node classification.

    Attributes:
        name: as the user gave it.
        graph: N nodes, with or without edge features (E, K).
        x: float32, (N, F), the nodes' own features, or None if there is only `species`.
        species: int64, (N,), a category of each node in `[0, num_species)`, or None.
        num_species: number of categories, 0 without `species`.
        y: int64, (N,), the class (multiclass) or 0 / 1 (binary), -1 = unlabelled;
            float32, (N, T), 0 / 1, NaN = unlabelled (multilabel).
        task: the kind of labels in `y`.
        num_outputs: logits of a model for each node: the number of classes, 1 for binary, T for multilabel.
        metric: the usual score of this set.
        splits: the splits of the set, at least one.
        split_index: the split in use, see `split`.
        task_names: names of the T columns of `y`, or None.
        source: where the data come from.
        licence: the terms of use.
        trainable: False for a graph that only a trained network sees: its split may have no training nodes.
        feature_scale: how `x` was scaled after it was read; None: it was not.
        tables: where ids, columns and encodings are, if the set was read from tables (`revgnn.data.tables`); else None.

    Raises:
        ValueError: if a shape, a dtype or a value is not as documented here: features that are not finite, labels out of range,
            splits that overlap; for the split in use, no training nodes, nodes without a label, training nodes that all have the
            same class.
    """

    name: str
    graph: Graph
    x: Tensor | None
    y: Tensor
    task: Task
    num_outputs: int
    metric: Metric
    splits: tuple[Split, ...]
    species: Tensor | None = None
    num_species: int = 0
    split_index: int = 0
    task_names: tuple[str, ...] | None = None
    source: str = ""
    licence: str = ""
    trainable: bool = True
    tables: TableSource | None = None
    feature_scale: FeatureScale | None = None

    def __post_init__(self) -> None:
        _check_features(self)
        _check_labels(self)
        _check_splits(self)

    @property
    def num_nodes(self) -> int:
        return self.graph.num_nodes

    @property
    def in_channels(self) -> int:
        """F, or 0 if nodes have no features of their own."""
        return 0 if self.x is None else self.x.shape[1]

    @property
    def num_edge_features(self) -> int:
        return self.graph.num_edge_features

    @property
    def split(self) -> Split:
        """The split in use: `splits[split_index]`."""
        return self.splits[self.split_index]

    def with_split(self, index: int) -> NodeDataset:
        """Return the same data with another of its splits in use.

        Raises:
            ValueError: if the features were fitted on the training nodes of the split in use.
        """
        if self.tables is not None and index != self.split_index:
            raise ValueError(
                f"{self.name}: the features of tables are fitted on the training nodes of split {self.split_index}; "
                f"load the tables again with split={index}."
            )
        return replace(self, split_index=index)

    def summary(self) -> str:
        """Return sizes, task and split in one line."""
        inputs = [f"{self.in_channels:,} node features"] if self.x is not None else []
        inputs += [f"{self.num_species:,} species"] if self.species is not None else []
        inputs += [f"{self.num_edge_features:,} edge features"] if self.num_edge_features else []
        kind = {"multiclass": "classes", "multilabel": "labels"}
        target = f"{self.num_outputs} {kind[self.task]}" if self.task in kind else self.task
        sizes = " / ".join(f"{len(part):,}" for part in (self.split.train, self.split.valid, self.split.test))
        return (
            f"{self.name}: {self.num_nodes:,} nodes, {self.graph.num_edges:,} directed edges, {', '.join(inputs)}, "
            f"{target} ({self.metric}), split {self.split_index} of {len(self.splits)}: {sizes}"
        )


# --- checks -------------------------------------------------------------------------------------------------------------


def _check_features(data: NodeDataset) -> None:
    num_nodes = data.graph.num_nodes
    if data.x is None and data.species is None:
        raise ValueError(f"{data.name}: nodes need features x (N, F) or species (N,), got neither.")
    if data.x is not None:
        if data.x.dim() != 2 or data.x.shape[0] != num_nodes or data.x.dtype != torch.float32:
            raise ValueError(f"{data.name}: x must be float32 of shape ({num_nodes}, F), got {_describe(data.x)}.")
        # The sum is not finite if an entry is not, and needs no (N, F) mask. Finite entries may overflow it: then check each.
        if not bool(data.x.sum(dtype=torch.float64).isfinite()):
            bad = (~data.x.isfinite()).nonzero()
            if len(bad):
                node, feature = bad[0].tolist()
                raise ValueError(
                    f"{data.name}: feature {feature} of node {node} is {float(data.x[node, feature])}; it must be finite."
                )
    if data.species is not None:
        if data.species.shape != (num_nodes,) or data.species.dtype != torch.int64:
            raise ValueError(f"{data.name}: species must be int64 of shape ({num_nodes},), got {_describe(data.species)}.")
        bad = ((data.species < 0) | (data.species >= data.num_species)).nonzero()
        if len(bad):
            node = int(bad[0])
            raise ValueError(f"{data.name}: node {node} has species {int(data.species[node])}, outside [0, {data.num_species}).")
    elif data.num_species:
        raise ValueError(f"{data.name}: num_species={data.num_species} without species; give both or neither.")


def _check_labels(data: NodeDataset) -> None:
    if data.task not in get_args(Task):
        raise ValueError(f"{data.name}: task must be one of {', '.join(get_args(Task))}, got {data.task!r}.")
    if data.metric not in get_args(Metric):
        raise ValueError(f"{data.name}: metric must be one of {', '.join(get_args(Metric))}, got {data.metric[:50]!r}.")
    if (data.metric, data.task) in {("rocauc", "multiclass"), ("accuracy", "multilabel")}:
        raise ValueError(f"{data.name}: metric {data.metric} does not fit {data.task} labels; use {DEFAULT_METRIC[data.task]}.")
    num_nodes, y = data.graph.num_nodes, data.y
    if data.task == "multilabel":
        if y.shape != (num_nodes, data.num_outputs) or y.dtype != torch.float32:
            raise ValueError(f"{data.name}: y must be float32 of shape ({num_nodes}, {data.num_outputs}), got {_describe(y)}.")
        bad = ((y != 0) & (y != 1) & ~y.isnan()).nonzero()
        if len(bad):
            node, task = bad[0].tolist()
            raise ValueError(
                f"{data.name}: label {task} of node {node} is {float(y[node, task])}; it must be 0, 1 or NaN (unlabelled)."
            )
        if data.task_names is not None and len(data.task_names) != data.num_outputs:
            raise ValueError(f"{data.name}: {len(data.task_names)} task names for {data.num_outputs} labels.")
        return
    if y.shape != (num_nodes,) or y.dtype != torch.int64:
        raise ValueError(f"{data.name}: y must be int64 of shape ({num_nodes},), got {_describe(y)}.")
    if data.task == "binary" and data.num_outputs != 1:
        raise ValueError(f"{data.name}: a binary task has num_outputs=1, got {data.num_outputs}.")
    if data.task == "multiclass" and data.num_outputs < 2:
        raise ValueError(f"{data.name}: a multiclass task needs num_outputs of 2 or more, got {data.num_outputs}.")
    classes = 2 if data.task == "binary" else data.num_outputs
    bad = ((y < -1) | (y >= classes)).nonzero()
    if len(bad):
        raise ValueError(
            f"{data.name}: node {int(bad[0])} has label {int(y[bad[0]])}; with {classes} classes labels are 0 to {classes - 1}, "
            "or -1 for unlabelled."
        )


def _check_splits(data: NodeDataset) -> None:
    if not data.splits:
        raise ValueError(f"{data.name}: there must be at least one split.")
    if not 0 <= data.split_index < len(data.splits):
        raise ValueError(f"{data.name} has {len(data.splits)} split(s), 0 to {len(data.splits) - 1}; got split {data.split_index}.")
    for number, split in enumerate(data.splits):
        where = f"{data.name}, split {number}"
        role = torch.zeros(data.graph.num_nodes, dtype=torch.uint8)
        for bit, part in enumerate(_PARTS):
            _set_bit_of_nodes(role, bit, getattr(split, part), f"{where}, {part}")
        shared = ((role & (role - 1)) != 0).nonzero()  # more than one bit set
        if len(shared):
            parts = [p for bit, p in enumerate(_PARTS) if int(role[shared[0]]) >> bit & 1]
            raise ValueError(f"{where}: node {int(shared[0])} is in {' and '.join(parts)}; the three must be disjoint.")
        if number == data.split_index and data.trainable:
            _check_trainable(data, role, where)


def _check_trainable(data: NodeDataset, role: Tensor, where: str) -> None:
    """Raise `ValueError` if the labels of the split in use do not suffice; `role` (uint8, (N,)) is 0 for nodes outside it."""
    if data.split.train.numel() == 0:
        raise ValueError(f"{where}: no training nodes; name at least one, with its label.")
    if data.task != "multilabel":
        unlabelled = ((role != 0) & (data.y < 0)).nonzero()
        if len(unlabelled):
            raise ValueError(f"{where}: node {int(unlabelled[0])} has no label (-1); remove unlabelled nodes from the splits.")
    _check_not_constant(data, data.y[data.split.train], where)


def _set_bit_of_nodes(role: Tensor, bit: int, nodes: Tensor, where: str) -> None:
    """Set `bit` of `role` (uint8, (N,)) for each of `nodes`; raise `ValueError` unless they are distinct nodes of the graph."""
    if nodes.dim() != 1 or nodes.dtype != torch.int64:
        raise ValueError(f"{where}: nodes must be a vector of int64, got {_describe(nodes)}.")
    bad = ((nodes < 0) | (nodes >= role.numel())).nonzero()
    if len(bad):
        raise ValueError(f"{where}: node {int(nodes[bad[0]])} is outside [0, {role.numel()}).")
    role[nodes] |= 1 << bit
    if int((role >> bit & 1).sum()) != nodes.numel():
        values, counts = nodes.unique(return_counts=True)
        raise ValueError(f"{where}: node {int(values[counts > 1][0])} is named more than once.")


def _check_not_constant(data: NodeDataset, y: Tensor, where: str) -> None:
    """Raise `ValueError` if all training labels are equal; warn if that is so for some labels of a multilabel set."""
    if data.task == "multilabel":
        constant = (((y == 0).sum(0) == 0) | ((y == 1).sum(0) == 0)).nonzero().flatten().tolist()
        if constant:
            named = [data.task_names[t] for t in constant] if data.task_names else [str(t) for t in constant]
            shown = ", ".join(named[:5]) + (", ..." if len(named) > 5 else "")
            message = f"{where}: {len(constant)} of {data.num_outputs} labels have one value in training ({shown})."
            warnings.warn(message, stacklevel=6)
    elif bool((y == y[0]).all()):
        raise ValueError(f"{where}: every training node has label {int(y[0])}; a classifier needs nodes of at least two classes.")


def _describe(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}"
