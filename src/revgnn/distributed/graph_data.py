"""The data of a run whose graph is cut over processes: the rows of the nodes of one process, and what all processes know."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from revgnn.data import NodeDataset, RandomPartition, Split
from revgnn.distributed.sharded_graph import ShardedGraph
from revgnn.train.batches import AbstractBatches, Batch
from revgnn.train.tricks.label_inputs import label_vectors


@dataclass(frozen=True, eq=False)
class Description(NodeDataset):
    """What a process keeps of a data set whose rows are shared out: its description; labels and splits in the leading process only.

    Attributes:
        line: the summary of the data set.
        nodes, channels: its nodes, and features of each.
    """

    line: str = ""
    nodes: int = 0
    channels: int = 0

    def __post_init__(self) -> None:
        """Check nothing: the data set was checked when it was made."""

    @property
    def num_nodes(self) -> int:
        return self.nodes

    @property
    def num_rows(self) -> int:
        return self.nodes

    @property
    def in_channels(self) -> int:
        return self.channels

    def summary(self) -> str:
        return self.line


def describe(dataset: NodeDataset, shard: ShardedGraph) -> Description:
    """Return what this process keeps of a data set beside its rows."""
    kept = {field.name: getattr(dataset, field.name) for field in fields(NodeDataset)}
    kept |= {"graph": shard.local, "x": None, "species": None, "scale": getattr(dataset.objective, "scale", None)}
    if not shard.ranks.leads:
        none = torch.zeros(0, dtype=torch.int64)
        kept |= {"y": dataset.objective.no_labels(0), "splits": (Split(none, none, none),), "split_index": 0, "tables": None}
    return Description(**kept, line=dataset.summary(), nodes=dataset.num_nodes, channels=dataset.in_channels)


class ShardBatches(AbstractBatches):
    """The whole graph as one batch, of which this process has its own rows.

    Attributes:
        y: labels of the nodes of this process, as in the data set.
        train_labelled: bool (S,): which of all training nodes, in the order of their numbers, have a label.
        train_own: bool (S,): which of them are this process's.
        whole: the graph and the rows of this process. `num_labelled` is that of all processes.

    Args:
        dataset: the whole data set, of which nothing is kept but the rows of this process.
        label_inputs: whether labels are inputs.
        teacher: float32 (N, outputs): the teacher's logits of all nodes, or None.
    """

    def __init__(
        self,
        dataset: NodeDataset,
        shard: ShardedGraph,
        device: torch.device,
        *,
        label_inputs: bool,
        label_reuse: int,
        teacher: Tensor | None,
    ) -> None:
        own, task = shard.own, dataset.objective
        self.dataset = describe(dataset, shard)
        self.device = device
        self.label_reuse = label_reuse
        train = dataset.split.train.sort().values
        known = task.labelled(dataset.y[train])
        self.train_labelled = known.any(dim=1) if known.dim() == 2 else known
        place = torch.searchsorted(own, train).clamp(max=len(own) - 1)
        self.train_own = own[place] == train
        self.y = dataset.y[own]

        def move(t: Tensor | None) -> Tensor | None:
            return None if t is None else t[own].to(device)

        self._whole = Batch(
            nodes=None,
            graph=shard.local,
            x=move(dataset.x),
            species=move(dataset.species),
            y=task.encode(self.y).to(device),
            train=place[self.train_own].to(device),
            num_labelled=int(self.train_labelled.sum()),
            labels=move(label_vectors(dataset)) if label_inputs else None,
            teacher=move(teacher),
        )

    @property
    def whole(self) -> Batch:
        return self._whole

    def steps(self, partition: RandomPartition) -> int:
        return 1

    def rows(self, partition: RandomPartition, epoch: int) -> list[Tensor]:
        return [torch.arange(self.dataset.num_nodes)]

    def epoch(
        self, partition: RandomPartition, epoch: int, start: int = 0, *, only: Sequence[int] | None = None
    ) -> Iterator[Batch]:
        yield from [self._whole] * len(range(start, 1) if only is None else only)

    def view(self, parts: int, seed: int, own: Callable[[int], Sequence[int]] = range) -> Iterator[Batch]:
        yield from [self._whole] * len(own(1))
