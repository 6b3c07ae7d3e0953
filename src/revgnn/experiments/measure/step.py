"""Peak memory of one training step.

It counts all tensors that are alive at the peak on the training device, as `torch.cuda.max_memory_allocated` does for the published
figures: the batch (graph in both directions, edge features, inputs, labels), weights, gradients, the moments of the optimiser, and
everything that the step allocates. `revgnn.memory.PeakMemory` says what the meter of the CPU does not count.
"""

from __future__ import annotations

import gc
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from revgnn.data import RandomPartition
from revgnn.experiments.measure.batch import TrainingBatch
from revgnn.memory import PeakMemory
from revgnn.models import num_parameters
from revgnn.train.config import RunConfig
from revgnn.train.random_numbers import own_random_numbers
from revgnn.train.run.optimization import LossScaler, build_optimizer
from revgnn.train.run.session import Session, build_for, training_step

_MOMENTS = {"adam": 2, "rmsprop": 1}
"""Numbers that an optimiser keeps per parameter."""

_SHALLOW = (4, 8)
"""Depths from which the memory with every layer stored is extrapolated. It is linear in depth."""


@dataclass(frozen=True)
class StepMemory:
    """The memory of one training step, in bytes.

    Attributes:
        peak_bytes: everything that is counted, at the peak.
        batch_bytes: the batch, a part of the peak.
        state_bytes: weights and the moments of the optimiser, a part of the peak.
        stored_bytes: the peak with every layer stored, extrapolated from shallower networks; None for networks for which the paper
            does not store every layer.
        gradient: the gradient strategy.
        data: the data set, or "generated" for a graph of its exact size.
    """

    peak_bytes: int
    batch_bytes: int
    state_bytes: int
    stored_bytes: int | None
    gradient: str
    parameters: int
    data: str
    num_nodes: int
    num_edges: int
    device: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def step_memory(run: RunConfig, data: TrainingBatch) -> StepMemory:
    """Measure one training step of a run on a batch.

    Residual networks, for which the paper stores every layer, also get `stored_bytes`.
    """
    peak, model = _step_peak(run, data)
    state_bytes = (1 + _MOMENTS[run.optim.name]) * sum(p.nbytes for p in model.parameters())
    return StepMemory(
        peak_bytes=peak,
        batch_bytes=data.nbytes,
        state_bytes=state_bytes,
        stored_bytes=_stored_peak(run, data) if run.model.family == "residual" else None,
        gradient=run.model.effective_gradient,
        parameters=num_parameters(model),
        data="generated" if data.generated else data.dataset.name,
        num_nodes=data.batch.graph.num_nodes,
        num_edges=data.batch.graph.num_edges,
        device=str(data.batches.device),
    )


def _step_peak(run: RunConfig, data: TrainingBatch) -> tuple[int, nn.Module]:
    """Return the peak bytes of a step, the batch included, and its model. The model is new; its optimiser already has moments."""
    device, nbytes = data.batches.device, data.nbytes  # `nbytes` also builds the by-source form of the graph
    gc.collect()  # garbage of earlier work must not be freed within the step
    with own_random_numbers(device, run.seed), PeakMemory(device) as memory:
        model = build_for(run, data.dataset).to(device).train()
        optimizer = build_optimizer(run.optim, model)
        create_moments(optimizer)
        session = Session(
            config=run,
            dataset=data.dataset,
            device=device,
            batches=data.batches,
            partition=RandomPartition(data.dataset.graph, run.parts, run.seed),
            model=model,
            optimizer=optimizer,
            scaler=LossScaler(device, run.amp),
            fingerprint={},
        )
        training_step(session, data.batch)
    return memory.peak_bytes + nbytes, model


def create_moments(optimizer: torch.optim.Optimizer) -> None:
    """Make a step with zero gradients, which changes no weight. An optimiser creates its moments in its first step."""
    parameters: list[Tensor] = [p for group in optimizer.param_groups for p in group["params"]]
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def _stored_peak(run: RunConfig, data: TrainingBatch) -> int:
    """Return `_step_peak` with every layer stored, extrapolated linearly from two depths that fit into memory."""

    def at(depth: int) -> int:
        changes = {"gradient": "backprop", "depth": depth}
        return _step_peak(run.model_copy(update={"model": run.model.model_copy(update=changes)}), data)[0]

    if run.model.depth <= _SHALLOW[1]:
        return at(run.model.depth)
    low, high = (at(depth) for depth in _SHALLOW)
    return round(high + (high - low) / (_SHALLOW[1] - _SHALLOW[0]) * (run.model.depth - _SHALLOW[1]))
