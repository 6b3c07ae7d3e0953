"""The class `NodeDataset`: a graph, or many, with features, labels and splits, checked once when it is made."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from revgnn.data.many_graphs import ManyGraphs
from revgnn.data.pairs import Pairs
from revgnn.data.tasks import TASKS, AbstractTask, Regression, TargetScale
from revgnn.data.tasks.base import describe_tensor
from revgnn.graph import Graph

if TYPE_CHECKING:
    from revgnn.data.feature_scale import FeatureScale
    from revgnn.data.tables.stored import TableSource

Task = Literal["multiclass", "binary", "multilabel", "regression"]
"""The name of a task; `NodeDataset.objective` is the task itself."""
TaskSetting = Literal["multiclass", "binary", "multilabel", "regression", "links", "edges"]
"""What a user may name as the task of a data set; see `revgnn.data.tasks.TASK_SETTINGS`."""
Metric = Literal["rocauc", "accuracy", "f1", "f1_micro", "f1_macro", "ap", "hits@10", "hits@50", "hits@100", "mae", "rmse", "r2"]

DEFAULT_METRIC: dict[Task, Metric] = {"multiclass": "accuracy", "binary": "rocauc", "multilabel": "rocauc", "regression": "mae"}

_PARTS = ("train", "valid", "test")


@dataclass(frozen=True, eq=False)
class Split:
    """The nodes (or graphs) for training, validation and test: int64 index tensors, disjoint."""

    train: Tensor
    valid: Tensor
    test: Tensor


@dataclass(frozen=True, eq=False)
class NodeDataset:
    """One graph with features, labels and splits of its nodes; or many graphs as one, with labels and splits of the graphs.

    In a data set of G graphs (`graphs` is given) labels are those of graphs, and with `pairs` those of P pairs of nodes: N is to be
    read as G or P in `y` and `splits`.

    Attributes:
        name: as the user gave it.
        graph: N nodes, with or without edge features (E, K).
        x: float32, (N, F), the nodes' own features, or None if there is only `species`.
        species: int64, (N,), a category of each node in `[0, num_species)`, or None.
        num_species: number of categories, 0 without `species`.
        y: int64, (N,), the class (multiclass) or 0 / 1 (binary), -1 = unlabelled;
            float32, (N, T), 0 / 1, NaN = unlabelled (multilabel), or numbers, NaN = missing (regression).
        task: the kind of labels in `y`.
        num_outputs: logits of a model for each node: the number of classes, 1 for binary, T for multilabel and regression.
        metric: the usual score of this set.
        splits: the splits of the set, at least one.
        split_index: the split in use, see `split`.
        task_names: names of the T columns of `y`, or None.
        source: where the data come from.
        licence: the terms of use.
        trainable: False for a graph that only a trained network sees: its split may have no training nodes.
        feature_scale: how `x` was scaled after it was read; None: it was not.
        tables: where ids, columns and encodings are, if the set was read from tables (`revgnn.data.tables`); else None.
        scale: of the targets of a regression; None: that of the training nodes of the split in use.
        graphs: the graphs that the nodes belong to, if labels are those of graphs; else None.
        pairs: the pairs of nodes that labels are those of; else None.

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
    scale: TargetScale | None = None
    graphs: ManyGraphs | None = None
    pairs: Pairs | None = None

    def __post_init__(self) -> None:
        if self.graphs is not None:
            self.graphs.check(self.graph, self.name)
        if self.pairs is not None:
            self.pairs.check(self.graph.num_nodes, self.name)
            if self.graphs is not None:
                raise ValueError(f"{self.name}: labels are those of graphs or those of pairs, got both.")
        _check_features(self)
        _check_labels(self)
        _check_splits(self)

    @property
    def num_nodes(self) -> int:
        return self.graph.num_nodes

    @property
    def num_rows(self) -> int:
        """Rows of `y` and of a network's logits: the number of nodes, of graphs, or of pairs."""
        if self.pairs is not None:
            return len(self.pairs)
        return self.graph.num_nodes if self.graphs is None else len(self.graphs)

    @property
    def row(self) -> Literal["node", "graph", "pair"]:
        """What a row of `y` and of a network's logits belongs to."""
        return "pair" if self.pairs is not None else "node" if self.graphs is None else "graph"

    @cached_property
    def objective(self) -> AbstractTask:
        """The task: what labels and logits mean (`revgnn.data.tasks`)."""
        if self.task != "regression":
            return TASKS[self.task](self.num_outputs)
        return Regression(self.num_outputs, self.scale or TargetScale.fit(self.y[self.split.train]))

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
        graphs = "" if self.row == "node" else f"{self.num_rows:,} {self.row}s, "
        sizes = " / ".join(f"{len(part):,}" for part in (self.split.train, self.split.valid, self.split.test))
        return (
            f"{self.name}: {graphs}{self.num_nodes:,} nodes, {self.graph.num_edges:,} directed edges, {', '.join(inputs)}, "
            f"{self.objective.describe()} ({self.metric}), split {self.split_index} of {len(self.splits)}: {sizes}"
        )


# --- checks -------------------------------------------------------------------------------------------------------------


def _check_features(data: NodeDataset) -> None:
    num_nodes = data.graph.num_nodes
    if data.x is None and data.species is None:
        raise ValueError(f"{data.name}: nodes need features x (N, F) or species (N,), got neither.")
    if data.x is not None:
        if data.x.dim() != 2 or data.x.shape[0] != num_nodes or data.x.dtype != torch.float32:
            raise ValueError(f"{data.name}: x must be float32 of shape ({num_nodes}, F), got {describe_tensor(data.x)}.")
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
            raise ValueError(f"{data.name}: species must be int64 of shape ({num_nodes},), got {describe_tensor(data.species)}.")
        bad = ((data.species < 0) | (data.species >= data.num_species)).nonzero()
        if len(bad):
            node = int(bad[0])
            raise ValueError(f"{data.name}: node {node} has species {int(data.species[node])}, outside [0, {data.num_species}).")
    elif data.num_species:
        raise ValueError(f"{data.name}: num_species={data.num_species} without species; give both or neither.")


def _check_labels(data: NodeDataset) -> None:
    if data.task not in TASKS:
        raise ValueError(f"{data.name}: task must be one of {', '.join(TASKS)}, got {data.task!r}.")
    task = TASKS[data.task](data.num_outputs)
    task.check_metric(data.metric, data.name)
    try:
        task.check(data.y, data.num_rows, data.task_names, data.row)
    except ValueError as error:
        raise ValueError(f"{data.name}: {error}") from None


def _check_splits(data: NodeDataset) -> None:
    if not data.splits:
        raise ValueError(f"{data.name}: there must be at least one split.")
    if not 0 <= data.split_index < len(data.splits):
        raise ValueError(f"{data.name} has {len(data.splits)} split(s), 0 to {len(data.splits) - 1}; got split {data.split_index}.")
    for number, split in enumerate(data.splits):
        where = f"{data.name}, split {number}"
        role = torch.zeros(data.num_rows, dtype=torch.uint8)
        for bit, part in enumerate(_PARTS):
            _set_bit_of_rows(role, bit, getattr(split, part), f"{where}, {part}", data.row)
        shared = ((role & (role - 1)) != 0).nonzero()  # more than one bit set
        if len(shared):
            parts = [p for bit, p in enumerate(_PARTS) if int(role[shared[0]]) >> bit & 1]
            raise ValueError(f"{where}: {data.row} {int(shared[0])} is in {' and '.join(parts)}; the three must be disjoint.")
        if number == data.split_index and data.trainable:
            _check_trainable(data, role, where)


def _check_trainable(data: NodeDataset, role: Tensor, where: str) -> None:
    """Raise `ValueError` if the labels of the split in use do not suffice; `role` (uint8, (N,)) is 0 for nodes outside it."""
    if data.split.train.numel() == 0:
        raise ValueError(f"{where}: no training {data.row}s; name at least one, with its label.")
    task, y = TASKS[data.task](data.num_outputs), data.y
    if task.needs_every_label:
        unlabelled = ((role != 0) & ~task.labelled(y)).nonzero()
        if len(unlabelled):
            raise ValueError(
                f"{where}: {data.row} {int(unlabelled[0])} has no label (-1); remove unlabelled {data.row}s from the splits."
            )
    try:
        message = task.check_training(y[data.split.train], data.task_names, data.row)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    if message is not None:
        warnings.warn(f"{where}: {message}", stacklevel=6)


def _set_bit_of_rows(role: Tensor, bit: int, nodes: Tensor, where: str, row: str) -> None:
    """Set `bit` of `role` (uint8, (N,)) for each of `nodes`; raise `ValueError` unless they are distinct rows."""
    if nodes.dim() != 1 or nodes.dtype != torch.int64:
        raise ValueError(f"{where}: {row}s must be a vector of int64, got {describe_tensor(nodes)}.")
    bad = ((nodes < 0) | (nodes >= role.numel())).nonzero()
    if len(bad):
        raise ValueError(f"{where}: {row} {int(nodes[bad[0]])} is outside [0, {role.numel()}).")
    role[nodes] |= 1 << bit
    if int((role >> bit & 1).sum()) != nodes.numel():
        values, counts = nodes.unique(return_counts=True)
        raise ValueError(f"{where}: {row} {int(values[counts > 1][0])} is named more than once.")
