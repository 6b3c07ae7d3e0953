"""The sizes that a plan depends on: those of a data set, known from the catalogue or from the data, and those of one batch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch

from revgnn.data import NodeDataset
from revgnn.data.catalogue import Entry
from revgnn.data.tasks import TASKS, AbstractTask, Regression, TargetScale
from revgnn.experiments.measure.batch import NUM_SPECIES, TRAIN_SHARE


@dataclass(frozen=True)
class BatchSize:
    """The sizes of one batch.

    Attributes:
        num_nodes, num_edges: N and E.
        num_rows: rows of labels and logits.
        num_train: rows with a loss.
    """

    num_nodes: int
    num_edges: int
    num_rows: int
    num_train: int


@dataclass(frozen=True)
class DataSize:
    """The sizes of a data set, and what its labels are.

    Attributes:
        name: of the data set.
        num_nodes, num_edges, num_loops: N, E, and how many of the edges are self-loops.
        in_channels, num_edge_features, num_species: as in `NodeDataset`.
        task: the task, with its number of outputs.
        num_train: training rows.
        row, num_rows: what has the labels, and how many there are.
        draws_pairs: whether each epoch draws as many pairs without an edge as it has links.
        edge_bytes, index_bytes: bytes of a feature of an edge, and of the number of a node.
        graph_deviation: standard deviation of the nodes of a graph, for labels of graphs.
    """

    name: str
    num_nodes: int
    num_edges: int
    num_loops: int
    in_channels: int
    num_edge_features: int
    num_species: int
    task: AbstractTask
    num_train: int
    row: Literal["node", "graph", "pair"] = "node"
    num_rows: int = 0
    draws_pairs: bool = False
    edge_bytes: int = 4
    index_bytes: int = 4
    graph_deviation: float = 0.0

    @classmethod
    def of(cls, dataset: NodeDataset) -> DataSize:
        """Return the sizes of a data set that is loaded."""
        graph, graphs, pairs = dataset.graph, dataset.graphs, dataset.pairs
        return cls(
            name=dataset.name,
            num_nodes=graph.num_nodes,
            num_edges=graph.num_edges,
            num_loops=int((graph.src == graph.dst).sum()),
            in_channels=dataset.in_channels,
            num_edge_features=graph.num_edge_features,
            num_species=dataset.num_species,
            task=dataset.objective,
            num_train=len(dataset.split.train),
            row=dataset.row,
            num_rows=dataset.num_rows,
            draws_pairs=pairs is not None and pairs.draws_negatives,
            edge_bytes=4 if graph.edge_attr is None else graph.edge_attr.element_size(),
            index_bytes=graph.src.element_size(),
            graph_deviation=0.0 if graphs is None else float(graphs.indptr.diff().double().std(correction=0)),
        )

    @classmethod
    def of_entry(cls, entry: Entry, edge_bytes: int = 4) -> DataSize:
        """Return the sizes of a data set of the catalogue, whose files need not be there.

        Raises:
            ValueError: if the catalogue does not have its size.
        """
        if not entry.num_nodes:
            raise ValueError(f"{entry.name} has no fixed size; the data must be loaded.")
        outputs = entry.num_outputs
        if entry.task == "regression":
            task: AbstractTask = Regression(outputs, TargetScale.fit(torch.zeros(2, outputs)))
        else:
            task = TASKS[entry.task](outputs)
        return cls(
            name=entry.name,
            num_nodes=entry.num_nodes,
            num_edges=entry.num_edges,
            num_loops=entry.num_nodes if entry.kind == "ogb" and not entry.num_edge_features else 0,
            in_channels=entry.num_features,
            num_edge_features=entry.num_edge_features,
            num_species=NUM_SPECIES.get(entry.name, 0),
            task=task,
            num_train=round(TRAIN_SHARE.get(entry.name, 0.5) * entry.num_nodes),
            num_rows=entry.num_nodes,
            edge_bytes=edge_bytes,
        )

    def part(self, parts: int) -> BatchSize:
        """Return the expected size of one of `parts` random parts, which has the edges within it."""
        nodes = math.ceil(self.num_nodes / parts)
        edges = (self.num_edges - self.num_loops) / parts**2 + self.num_loops / parts
        train = math.ceil(self.num_train / parts)
        return BatchSize(nodes, round(edges), self.num_rows if self.row != "node" else nodes, train)

    def graphs(self, count: int) -> BatchSize:
        """Return the size of a batch of `count` graphs: the expected one and two standard deviations."""
        count = min(count, self.num_train)
        mean = self.num_nodes / self.num_rows
        nodes = math.ceil(min(count * mean + 2.0 * math.sqrt(count) * self.graph_deviation, self.num_nodes))
        return BatchSize(nodes, round(self.num_edges * nodes / self.num_nodes), count, count)

    def training_batch(self, parts: int, graphs_per_batch: int) -> BatchSize:
        """Return the size of the batch of one training step."""
        if self.row == "graph":
            return self.graphs(graphs_per_batch)
        if self.row == "pair":
            rows = self.num_train // 2 * 2 if self.draws_pairs else self.num_train
            return BatchSize(self.num_nodes, self.num_edges, rows, rows)
        return self.part(parts)

    def evaluation_batch(self, parts: int, graphs_per_batch: int) -> BatchSize:
        """Return the size of the batch of one forward pass of an evaluation."""
        return self.graphs(graphs_per_batch) if self.row == "graph" else self.part(parts)

    @property
    def nbytes(self) -> int:
        """Bytes of the whole data set, as it is kept to be cut into parts."""
        per_edge = self.index_bytes + self.edge_bytes * self.num_edge_features
        outputs = self.task.num_outputs if self.task.name in ("multilabel", "regression") else 2
        per_node = 8 + 4 * self.in_channels + (8 if self.num_species else 0)
        return self.num_edges * per_edge + self.num_nodes * per_node + 4 * outputs * self.num_rows
