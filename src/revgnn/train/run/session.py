"""A run in memory (data, model and optimiser on the device) and one training step of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from revgnn.capture import CapturedStep
from revgnn.data import NodeDataset, RandomPartition
from revgnn.data.fingerprint import Fingerprint, fingerprint
from revgnn.data.tasks import Regression, TargetScale
from revgnn.models import AbstractModel, build_model, num_parameters
from revgnn.train.batches import AbstractBatches, Batch, Batches
from revgnn.train.config import Device, RunConfig
from revgnn.train.datasets import load_with_fingerprint
from revgnn.train.graph_batches import GraphBatches
from revgnn.train.metrics import check_scorable
from revgnn.train.pair_batches import PairBatches
from revgnn.train.random_numbers import seed_generators
from revgnn.train.run.optimization import LossScaler, autocast, build_optimizer, learning_rate
from revgnn.train.run.tensor_file import CheckpointError
from revgnn.train.tricks.distillation import divergence, mix_losses
from revgnn.train.tricks.label_inputs import label_vectors, label_width, reuse_labels, show_some_labels


@dataclass
class Session:
    """A run in memory. `prepare` builds it; the same configuration gives the same session."""

    config: RunConfig
    dataset: NodeDataset
    device: torch.device
    batches: AbstractBatches
    partition: RandomPartition
    model: AbstractModel
    optimizer: torch.optim.Optimizer
    scaler: LossScaler
    fingerprint: Fingerprint
    """Of the data set, before its features were scaled; see `revgnn.data.fingerprint`."""
    teacher: Tensor | None = None
    """The teacher's logits, float32 (N, outputs), on the CPU; see `revgnn.train.tricks.teacher`."""
    class_weights: Tensor | None = None
    """Weights of classes in the loss, on the device (`RunConfig.class_weights`)."""
    captured: CapturedStep | None = None
    """`differentiate` of the whole graph as a CUDA graph, if the run replays its steps (`RunConfig.capture`)."""
    parameters: int = 0
    """Numbers that are learned, in all processes together."""
    steps: int = 1
    """Optimiser steps of an epoch: one for each `RunConfig.parts_per_step` batches."""


def prepare(config: RunConfig, dataset: NodeDataset | None = None, known: Fingerprint | None = None) -> Session:
    """Load the data, seed torch's generators of the CPU and the run's device, and build model and optimiser.

    Args:
        dataset: the data set that `config.data` describes, if it is already loaded.
        known: its fingerprint, if it is already known.

    Raises:
        ValueError: if no data set is named or found, if the loss does not fit the task, or if the device does not exist.
    """
    device = choose_device(config.device)
    if dataset is None:
        dataset, known = load_with_fingerprint(config.data)
    task = dataset.objective
    task.check_loss(config.loss, dataset.name)
    if config.distillation is not None:
        task.divergence(torch.zeros(0, task.num_outputs), torch.zeros(0, task.num_outputs))  # raises if the task has none
    if dataset.row != "node":
        _check_fits_rows(config, dataset)
    seed_generators(device, config.seed)
    model = build_for(config, dataset).to(device)
    session = Session(
        config=config,
        dataset=dataset,
        device=device,
        batches=make_batches(config, dataset, device),
        partition=RandomPartition(dataset.graph, config.parts, config.seed),
        model=model,
        optimizer=build_optimizer(config.optim, model),
        scaler=LossScaler(device, config.amp),
        fingerprint=fingerprint(dataset) if known is None else known,
        parameters=num_parameters(model),
    )
    session.steps = _steps(session)
    if config.class_weights is not None and len(dataset.split.train):
        session.class_weights = task.class_weights(config.class_weights, dataset.y[dataset.split.train]).to(device)
    if config.capture:
        session.captured = CapturedStep(lambda: differentiate(session, session.batches.whole), model)
    return session


def _steps(session: Session) -> int:
    """Return the optimiser steps of an epoch.

    Raises:
        ValueError: if a step is to have more batches than an epoch.
    """
    batches, wanted = session.batches.steps(session.partition), session.config.parts_per_step
    if wanted > max(1, batches):
        raise ValueError(
            f"parts_per_step={wanted}, but an epoch on {session.dataset.name} has {batches} part{'s' * (batches != 1)}; set "
            f"parts_per_step to {max(1, batches)} or less{', or parts to more' if session.dataset.row == 'node' else ''}."
        )
    return -(-batches // wanted)


def _check_fits_rows(config: RunConfig, dataset: NodeDataset) -> None:
    """Raise `ValueError` for settings that only make sense for labels of nodes."""
    for key, value, default in (
        ("parts", config.parts, 1),
        ("evaluation.parts", config.evaluation.parts, 1),
        ("label_inputs", config.label_inputs, 0),
        ("capture", config.capture, False),
    ):
        if value != default:
            raise ValueError(
                f"{dataset.name} has labels of {dataset.row}s, so {key}={value} does not fit; leave it out"
                f"{'. A step takes graphs_per_batch graphs.' if dataset.row == 'graph' else '.'}"
            )


def training_step(session: Session, batch: Batch, epochs_done: float = 0.0) -> float:
    """Take one optimiser step on one part: forward, loss over its labelled training nodes, backward, clip, update.

    If the run learns from a teacher, the loss includes the divergence from the teacher over all nodes of the part.

    Args:
        epochs_done: epochs trained before this step, for the learning rate.

    Returns:
        The loss before the step, without the model's auxiliary loss.

    Raises:
        Diverged: before the weights change; see `LossScaler.update`.
    """
    config = session.config
    set_learning_rate(session, epochs_done)
    if session.captured is None:
        session.optimizer.zero_grad(set_to_none=True)
        loss, total = differentiate(session, batch)
    else:
        assert batch is session.batches.whole
        loss, total = session.captured()
    return session.scaler.update(session.model, session.optimizer, loss, total, config.optim.clip_norm)


def set_learning_rate(session: Session, epochs_done: float) -> None:
    """Set the learning rate of the next step, after so many epochs."""
    for group in session.optimizer.param_groups:
        group["lr"] = learning_rate(session.config, epochs_done, session.steps)


@dataclass(frozen=True)
class Share:
    """The share of one batch in a step of several: factors of its terms of the loss, each of which is a mean.

    The sum over the batches is the loss of all of them together.
    """

    labels: float
    """Of the loss, a mean over labels."""
    rows: float
    """Of the divergence from a teacher, and of the model's auxiliary loss: means over the rows of the batch."""


def differentiate(session: Session, batch: Batch, share: Share | None = None) -> tuple[Tensor, Tensor]:
    """Run forward pass, loss and backward pass of a training step: the part that a CUDA graph can replay.

    Args:
        share: that of the batch in the step; None: it is the whole step.

    Returns:
        The loss, without and with the model's auxiliary loss.
    """
    config, task, model = session.config, session.dataset.objective, session.model
    with autocast(session.device, config.amp):
        if config.label_inputs:
            batch = show_some_labels(batch, config.label_inputs, task)
            batch = reuse_labels(lambda b: forward(model, b), batch, config.label_reuse, task)
        logits = forward(model, batch)
    return differentiate_logits(session, batch, logits, share)


def differentiate_logits(session: Session, batch: Batch, logits: Tensor, share: Share | None = None) -> tuple[Tensor, Tensor]:
    """Run the backward pass of a training step from the logits of the batch; see `differentiate`."""
    loss, auxiliary = losses(session, batch, logits, share)
    return loss, session.scaler.differentiate(loss, auxiliary)


def losses(session: Session, batch: Batch, logits: Tensor, share: Share | None) -> tuple[Tensor, Tensor | None]:
    """Return the loss of a batch and the model's auxiliary loss, each by its share of the step; see `differentiate`.

    A batch without labelled training nodes, whose share of the labels is 0, has a loss of 0.
    """
    config, task, model = session.config, session.dataset.objective, session.model
    if share is not None and share.labels == 0.0:
        loss = (logits.float() * 0.0).sum()  # float32 first: the gradient of fp16 is scaled beyond its range, and inf * 0 is nan
    else:
        loss = task.loss(logits[batch.train], batch.y[batch.train], config.loss, session.class_weights)
        loss = loss if share is None else loss * share.labels
    if config.distillation is not None:
        assert batch.teacher is not None  # `attach_teacher` gave the batches the teacher's logits
        from_teacher = divergence(task, logits, batch.teacher, config.distillation)
        loss = mix_losses(loss, from_teacher if share is None else from_teacher * share.rows, config.distillation)
    auxiliary = model.auxiliary_loss
    if share is not None and auxiliary is not None:
        auxiliary = auxiliary * share.rows
    return loss, auxiliary


def forward(model: AbstractModel, batch: Batch) -> Tensor:
    """Return the logits of a training step."""
    return model(batch.graph, batch.x, batch.species, nodes=batch.nodes, **batch.targets)


def build_for(config: RunConfig, dataset: NodeDataset) -> AbstractModel:
    """Build the run's model for the inputs and outputs of the data set."""
    return build_model(
        config.model,
        in_channels=dataset.in_channels + (label_width(dataset) if config.label_inputs else 0),
        out_channels=dataset.num_outputs,
        num_edge_features=dataset.num_edge_features,
        num_species=dataset.num_species,
        rows=dataset.row,
    )


def make_batches(config: RunConfig, dataset: NodeDataset, device: torch.device, teacher: Tensor | None = None) -> AbstractBatches:
    """Return the batches of a run, with the label vectors and the teacher's logits that its steps need.

    Args:
        teacher: float32 (N, outputs): the teacher's logits, if the run has a teacher.
    """
    if dataset.graphs is not None:
        return GraphBatches(dataset, device, config.graphs_per_batch, config.seed, teacher)
    if dataset.pairs is not None:
        return PairBatches(dataset, device, config.seed, teacher)
    labels = label_vectors(dataset) if config.label_inputs else None
    return Batches(dataset, device, labels, label_reuse=config.label_reuse, teacher=teacher)


def choose_device(name: Device) -> torch.device:
    """Return the device of that name. "auto" is cuda if torch sees a CUDA device, else cpu.

    Raises:
        ValueError: if cuda is named and missing.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device is cuda, but torch sees no CUDA device; use --device cpu or --device auto.")
    return torch.device(name)


def check_trainable(dataset: NodeDataset) -> None:
    """Raise `ValueError` for splits that would only fail after the first epoch: they cannot be trained on or scored."""
    split = dataset.split
    if dataset.objective.num_labelled(dataset.y[split.train]) == 0:
        raise ValueError(f"{dataset.name} has no labelled training {dataset.row}s in this split; choose another data.split.")
    if len(split.valid) == 0:
        raise ValueError(
            f"{dataset.name} has no validation {dataset.row}s in this split, and the best weights are chosen by their "
            "score; choose another data.split."
        )
    for name, nodes in (("training", split.train), ("validation", split.valid), ("test", split.test)):
        if len(nodes):
            check_scorable(dataset.metric, dataset.objective, dataset.y[nodes], name)


def scale_note(session: Session) -> dict[str, Any]:
    """Return what the weights must be saved with to give numbers in the units of the labels; nothing for other tasks."""
    task = session.dataset.objective
    return {"scale": task.scale.as_dict()} if isinstance(task, Regression) and task.scale is not None else {}


def restore_scale(session: Session, note: Mapping[str, Any], path: Path) -> None:
    """Scale targets as the saved weights expect it. Data of another graph, or data that have changed, have another scale.

    Raises:
        CheckpointError: if the note of the file at `path` has none.
    """
    dataset = session.dataset
    if dataset.task != "regression":
        return
    try:
        scale = TargetScale.from_dict(note.get("scale", {}), dataset.num_outputs, str(path))
    except ValueError as error:
        raise CheckpointError(str(error)) from None
    session.dataset = replace(dataset, scale=scale)
    session.batches = make_batches(session.config, session.dataset, session.device, session.teacher)
