"""A training batch of the published size: of the data set itself if it is present, else generated."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from revgnn.data import NodeDataset, Split, proteins_shaped
from revgnn.data.catalogue import Entry, find_entry
from revgnn.data.locate import default_root, find_folder
from revgnn.data.node_features import default_node_features
from revgnn.graph import Graph
from revgnn.train.batches import AbstractBatches, Batch
from revgnn.train.config import DataConfig, RunConfig
from revgnn.train.datasets import load_dataset
from revgnn.train.run.session import choose_device, make_batches

NUM_SPECIES = {"ogbn-proteins": 8}
"""Number of node categories of the data sets that have any."""

TRAIN_SHARE = {"ogbn-proteins": 86_619 / 132_534, "ogbn-arxiv": 90_941 / 169_343, "ogbn-products": 196_615 / 2_449_029}
"""Share of the nodes that are training nodes."""

_PROTEINS = RunConfig(data=DataConfig(name="ogbn-proteins"), parts=10)


@dataclass(frozen=True)
class TrainingBatch:
    """One batch on a device, and its data set.

    Attributes:
        generated: whether it is generated, at the size of the real one.
    """

    dataset: NodeDataset
    batches: AbstractBatches
    batch: Batch
    generated: bool

    @property
    def nbytes(self) -> int:
        """Bytes of its tensors; a storage that several tensors share counts once."""
        graph, batch = self.batch.graph, self.batch
        tensors = [graph.indptr, graph.src, *graph.by_source, graph.edge_attr, graph.edge_ids, batch.x, batch.species]
        tensors += [batch.y, batch.train, batch.labels, batch.teacher]
        storages = [t.untyped_storage() for t in tensors if t is not None]
        return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def training_batch(run: RunConfig) -> TrainingBatch:
    """Return the first batch of the run if its data set is present, else one generated at the published size.

    The data set must be in `data.root` if that is set. If it is not set, the default folder is searched.

    Raises:
        ValueError: if the data set is not in `data.root`, or cannot be read.
    """
    device = choose_device(run.device)
    if run.data is not None and run.data.name in TRAIN_SHARE and run.data.root is None and not _is_present(run.data.name):
        return generated_batch(run=run, device=device)
    dataset = load_dataset(run.data)
    batches = _make_batches(run, dataset, device)
    batch = next(b for b in batches.view(run.parts, run.seed) if b.num_labelled)
    return TrainingBatch(dataset, batches, batch, generated=False)


def generated_batch(
    num_nodes: int | None = None,
    num_edges: int | None = None,
    *,
    run: RunConfig = _PROTEINS,
    device: torch.device | str = "cpu",
    seed: int = 0,
) -> TrainingBatch:
    """Return a generated batch with the size, inputs, labels and share of training nodes of the run's data set.

    Args:
        num_nodes, num_edges: its size, self-loops included; default: `batch_size` of the run.
        run: names a data set of the catalogue, and the number of parts that it is cut into; default: the paper's on ogbn-proteins.
    """
    assert run.data is not None
    entry = find_entry(run.data.name)
    assert entry is not None  # `training_batch` asks only for data sets of the catalogue
    published = batch_size(entry, run.parts)
    num_nodes, num_edges = published[0] if num_nodes is None else num_nodes, published[1] if num_edges is None else num_edges
    graph = _generated_graph(entry, num_nodes, num_edges, seed)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(num_nodes, generator=generator)
    num_train = round(TRAIN_SHARE[entry.name] * num_nodes)
    num_species = NUM_SPECIES.get(entry.name, 0)
    dataset = NodeDataset(
        name="generated",
        graph=graph,
        x=default_node_features(graph)
        if entry.num_edge_features
        else torch.rand(num_nodes, entry.num_features, generator=generator),
        species=torch.randint(num_species, (num_nodes,), generator=generator) if num_species else None,
        num_species=num_species,
        y=_random_labels(entry, num_nodes, generator),
        task=entry.task,
        num_outputs=entry.num_outputs,
        metric=entry.metric,
        splits=(Split(order[:num_train], order[num_train:], order[:0]),),
    )
    batches = _make_batches(run, dataset, torch.device(device))
    return TrainingBatch(dataset, batches, batches.whole, generated=True)


def batch_size(entry: Entry, parts: int) -> tuple[int, int]:
    """Return the expected numbers of nodes and directed edges in one of `parts` random parts, which has the edges within it.

    Data sets without edge features are used with self-loops, of which a part has one per node.
    """
    loops = 0 if entry.num_edge_features else entry.num_nodes
    num_nodes = entry.num_nodes // parts
    return num_nodes, (entry.num_edges - loops) // parts**2 + (num_nodes if loops else 0)


def _generated_graph(entry: Entry, num_nodes: int, num_edges: int, seed: int) -> Graph:
    if entry.num_edge_features:
        return proteins_shaped(num_nodes, num_edges, entry.num_edge_features, seed=seed)
    graph = proteins_shaped(num_nodes, num_edges - num_nodes, 0, seed=seed).with_self_loops()
    return Graph(graph.indptr, graph.src, validate=False)  # without `edge_ids`: the order of the generated edges has no use


def _random_labels(entry: Entry, num_nodes: int, generator: torch.Generator) -> Tensor:
    if entry.task == "multilabel":
        return torch.randint(2, (num_nodes, entry.num_outputs), generator=generator).float()
    return torch.randint(max(entry.num_outputs, 2), (num_nodes,), generator=generator)


def _make_batches(run: RunConfig, dataset: NodeDataset, device: torch.device) -> AbstractBatches:
    """Return the batches of a run. A teacher has random logits, since their values do not change the memory."""
    teacher = None if run.distillation is None else torch.randn(dataset.num_nodes, dataset.num_outputs)
    return make_batches(run, dataset, device, teacher)


def _is_present(name: str) -> bool:
    """Whether the default folder has this data set in OGB's layout."""
    folder = name.casefold().replace("-", "_")
    markers = ("raw/edge.csv.gz", "raw/data.npz")
    names = (folder, f"{folder}_pyg")
    return any(find_folder(default_root(), names, marker, any_name_at_root=False) is not None for marker in markers)
