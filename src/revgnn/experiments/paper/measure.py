"""Our side of the published memory column: the peak of one training step on a batch of the published size.

Counted is all that is alive at the peak on the device that trains, as `torch.cuda.max_memory_allocated` has it for the published
figures: the batch (graph in both directions, edge features, inputs, labels), weights, gradients, the optimiser's moments, and
everything that the step allocates. For what the CPU's meter leaves out see `revgnn.memory.PeakMemory`.
"""

from __future__ import annotations

import gc
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from revgnn.data import NodeDataset, RandomPartition, Split, proteins_shaped
from revgnn.data.catalogue import Entry, find_entry
from revgnn.data.readers.edges import features_of
from revgnn.data.readers.locate import default_root, find_folder
from revgnn.graph import Graph
from revgnn.memory import PeakMemory
from revgnn.models import num_parameters
from revgnn.train.batches import Batch, Batches
from revgnn.train.config import DataConfig, RunConfig
from revgnn.train.datasets import load_dataset
from revgnn.train.run.optimizer import build_optimizer
from revgnn.train.run.precision import LossScaler
from revgnn.train.run.session import Session, build_for, choose_device, make_batches, training_step

_SPECIES = {"ogbn-proteins": 8}
"""Categories of nodes, where there are any."""

_TRAIN_SHARE = {"ogbn-proteins": 86_619 / 132_534, "ogbn-arxiv": 90_941 / 169_343, "ogbn-products": 196_615 / 2_449_029}
"""Share of the training nodes."""

_MOMENTS = {"adam": 2, "rmsprop": 1}
"""Numbers that an optimiser keeps for each parameter."""

_SHALLOW = (4, 8)
"""Depths from which the memory of storing every layer is extrapolated; it is a straight line in depth."""


_PROTEINS = RunConfig(data=DataConfig(name="ogbn-proteins"), parts=10)


@dataclass(frozen=True)
class TrainingBatch:
    """One batch on a device, and the data set it is of.

    Attributes:
        generated: whether it only has the size of the real one.
    """

    dataset: NodeDataset
    batches: Batches
    batch: Batch
    generated: bool

    @property
    def nbytes(self) -> int:
        """Bytes of its tensors, each memory counted once."""
        graph, batch = self.batch.graph, self.batch
        tensors = [graph.indptr, graph.src, *graph.by_source, graph.edge_attr, graph.edge_ids, batch.x, batch.species]
        tensors += [batch.y, batch.train, batch.labels, batch.teacher]
        storages = [t.untyped_storage() for t in tensors if t is not None]
        return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


@dataclass(frozen=True)
class StepMemory:
    """What one training step needs, in bytes."""

    peak_bytes: int
    """All that is counted, at the peak."""
    batch_bytes: int
    """The batch, which is part of the peak."""
    state_bytes: int
    """Weights and the optimiser's moments, which are part of the peak."""
    stored_bytes: int | None
    """The peak if every layer were stored, extrapolated from shallower networks; None where the paper does not store them."""
    gradient: str
    """How the stack was differentiated."""
    parameters: int
    data: str
    """The data set, or "generated" for a graph of its exact size."""
    num_nodes: int
    num_edges: int
    device: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def batch_size(entry: Entry, parts: int) -> tuple[int, int]:
    """Nodes and directed edges of one of `parts` random parts: an edge is in it if both of its ends are.

    Self-loops, which the sets other than ogbn-proteins are used with, have one end.
    """
    loops = 0 if entry.num_edge_features else entry.num_nodes
    num_nodes = entry.num_nodes // parts
    return num_nodes, (entry.num_edges - loops) // parts**2 + (num_nodes if loops else 0)


def generated_batch(
    num_nodes: int | None = None,
    num_edges: int | None = None,
    *,
    run: RunConfig = _PROTEINS,
    device: torch.device | str = "cpu",
    seed: int = 0,
) -> TrainingBatch:
    """A generated batch of the size, inputs, labels and share of training nodes that the run's data set has.

    Args:
        num_nodes, num_edges: how large it is, self-loops included; default: `batch_size` of the run.
        run: names a set of the catalogue, and the parts that it is cut into; default: the paper's on ogbn-proteins.
    """
    assert run.data is not None
    entry = find_entry(run.data.name)
    assert entry is not None  # `training_batch` saw to that
    usual = batch_size(entry, run.parts)
    num_nodes, num_edges = usual[0] if num_nodes is None else num_nodes, usual[1] if num_edges is None else num_edges
    if entry.num_edge_features:
        graph = proteins_shaped(num_nodes, num_edges, entry.num_edge_features, seed=seed)
    else:
        graph = proteins_shaped(num_nodes, num_edges - num_nodes, 0, seed=seed).with_self_loops()
        graph = Graph(graph.indptr, graph.src, validate=False)  # the order that its edges were made in is nobody's affair
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(num_nodes, generator=generator)
    num_train = round(_TRAIN_SHARE[entry.name] * num_nodes)
    num_species = _SPECIES.get(entry.name, 0)
    dataset = NodeDataset(
        name="generated",
        graph=graph,
        x=features_of(graph) if entry.num_edge_features else torch.rand(num_nodes, entry.num_features, generator=generator),
        species=torch.randint(num_species, (num_nodes,), generator=generator) if num_species else None,
        num_species=num_species,
        y=_random_labels(entry, num_nodes, generator),
        task=entry.task,
        num_outputs=entry.num_outputs,
        metric=entry.metric,
        splits=(Split(order[:num_train], order[num_train:], order[:0]),),
    )
    batches = _batches(run, dataset, torch.device(device))
    return TrainingBatch(dataset, batches, batches.whole, generated=True)


def _random_labels(entry: Entry, num_nodes: int, generator: torch.Generator) -> Tensor:
    if entry.task == "multilabel":
        return torch.randint(2, (num_nodes, entry.num_outputs), generator=generator).float()
    return torch.randint(max(entry.num_outputs, 2), (num_nodes,), generator=generator)


def _batches(run: RunConfig, dataset: NodeDataset, device: torch.device) -> Batches:
    """With a teacher of random logits, if the run has one: what they say costs no memory."""
    teacher = None if run.distillation is None else torch.randn(dataset.num_nodes, dataset.num_outputs)
    return make_batches(run, dataset, device, teacher)


def training_batch(run: RunConfig) -> TrainingBatch:
    """The run's own first batch if its data set is there, else one generated at the size of the published one.

    The data set is looked for in `data.root` if that is given, and then must be there; else in the default place.

    Raises:
        ValueError: if it is missing from a root that was given, or cannot be read.
    """
    device = choose_device(run.device)
    if run.data is not None and run.data.name in _TRAIN_SHARE and run.data.root is None and not _is_present(run.data.name):
        return generated_batch(run=run, device=device)
    dataset = load_dataset(run.data)
    batches = _batches(run, dataset, device)
    batch = next(b for b in batches.view(run.parts, run.seed) if b.num_labelled)
    return TrainingBatch(dataset, batches, batch, generated=False)


def step_memory(run: RunConfig, data: TrainingBatch) -> StepMemory:
    """Measure one training step of the run on a batch.

    Residual networks, of which the paper stores every layer, also get `stored_bytes`.
    """
    peak, model = _step_peak(run, data)
    parameters = num_parameters(model)
    state_bytes = (1 + _MOMENTS[run.optim.name]) * sum(p.nbytes for p in model.parameters())
    return StepMemory(
        peak_bytes=peak,
        batch_bytes=data.nbytes,
        state_bytes=state_bytes,
        stored_bytes=_stored_peak(run, data) if run.model.family == "residual" else None,
        gradient=run.model.effective_gradient,
        parameters=parameters,
        data="generated" if data.generated else data.dataset.name,
        num_nodes=data.batch.graph.num_nodes,
        num_edges=data.batch.graph.num_edges,
        device=str(data.batches.device),
    )


def _step_peak(run: RunConfig, data: TrainingBatch) -> tuple[int, nn.Module]:
    """Peak bytes of a step, batch included, of a fresh model whose optimiser has its state; and the model."""
    device, nbytes = data.batches.device, data.nbytes  # asking for them also makes the graph's by-source form
    gc.collect()  # what earlier work left in reference cycles must not die in the middle
    torch.manual_seed(run.seed)
    with PeakMemory(device) as memory:
        model = build_for(run, data.dataset).to(device).train()
        optimizer = build_optimizer(run.optim, model)
        _make_state(optimizer)
        session = Session(
            config=run,
            dataset=data.dataset,
            device=device,
            batches=data.batches,
            partition=RandomPartition(data.dataset.graph, run.parts, run.seed),
            model=model,
            optimizer=optimizer,
            scaler=LossScaler(device, run.amp),
        )
        training_step(session, data.batch)
    return memory.peak_bytes + nbytes, model


def _make_state(optimizer: torch.optim.Optimizer) -> None:
    """An optimiser makes its moments at its first step, and most steps are not the first. With zero gradients it moves nothing."""
    parameters: list[Tensor] = [p for group in optimizer.param_groups for p in group["params"]]
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def _stored_peak(run: RunConfig, data: TrainingBatch) -> int:
    """`_step_peak` with every layer stored, along the line through two depths that surely fit."""

    def at(depth: int) -> int:
        changes = {"gradient": "backprop", "depth": depth}
        return _step_peak(run.model_copy(update={"model": run.model.model_copy(update=changes)}), data)[0]

    if run.model.depth <= _SHALLOW[1]:
        return at(run.model.depth)
    low, high = (at(depth) for depth in _SHALLOW)
    return round(high + (high - low) / (_SHALLOW[1] - _SHALLOW[0]) * (run.model.depth - _SHALLOW[1]))


def _is_present(name: str) -> bool:
    """Whether a data set in OGB's layout lies in the default place."""
    plain = name.casefold().replace("-", "_")
    markers = ("raw/edge.csv.gz", "raw/data.npz")
    root: Path = default_root()
    return any(find_folder(root, (plain, f"{plain}_pyg"), marker, any_name_at_root=False) is not None for marker in markers)
