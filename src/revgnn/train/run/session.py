"""All that one process needs to train a run: data, model, optimiser on their device; and what one step of it is."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from revgnn.capture import CapturedStep
from revgnn.data import NodeDataset, RandomPartition
from revgnn.models import AbstractModel, build_model
from revgnn.train.batches import Batch, Batches
from revgnn.train.config import Device, OptimConfig, RunConfig
from revgnn.train.datasets import features_checksum, load_dataset
from revgnn.train.metrics import check_scorable
from revgnn.train.objective import num_labelled, objective
from revgnn.train.run.precision import Diverged as Diverged
from revgnn.train.run.precision import LossScaler, autocast, grad_scaler
from revgnn.train.tricks.distill import distilled, divergence
from revgnn.train.tricks.label_inputs import label_vectors, label_width, reuse_labels, show_some


@dataclass
class Session:
    """A run in memory. Built by `prepare`, the same from the same configuration."""

    config: RunConfig
    dataset: NodeDataset
    device: torch.device
    batches: Batches
    partition: RandomPartition
    model: AbstractModel
    optimizer: torch.optim.Optimizer
    scaler: LossScaler
    teacher: Tensor | None = None
    """float32 (N, outputs), on the CPU: logits to learn from; see `revgnn.train.tricks.teacher`."""
    features_checksum: int | None = None
    """Of the file `data.node_features`, if there is one."""
    captured: CapturedStep | None = None
    """`differentiate` of the whole graph, where the run replays it."""


def prepare(config: RunConfig, dataset: NodeDataset | None = None) -> Session:
    """Load the data, seed torch's generators, build model and optimiser.

    Args:
        dataset: what `config.data` describes, if it is loaded already.

    Raises:
        ValueError: no data set named or found, splits that cannot be trained on or scored, a loss that does not fit the task, a
            device that is not there.
    """
    device = choose_device(config.device)
    dataset = load_dataset(config.data) if dataset is None else dataset
    _check_trainable(dataset)
    if config.loss == "log" and dataset.task != "multiclass":
        raise ValueError(f"loss=log is for one class a node, and {dataset.name} is {dataset.task}; use loss=cross_entropy.")
    torch.manual_seed(config.seed)  # seeds the generators of all devices
    model = build_for(config, dataset).to(device)
    session = Session(
        config=config,
        dataset=dataset,
        device=device,
        batches=make_batches(config, dataset, device),
        partition=RandomPartition(dataset.graph, config.parts, config.seed),
        model=model,
        optimizer=build_optimizer(config.optim, model),
        scaler=grad_scaler(device, config.amp),
        features_checksum=None if config.data is None else features_checksum(config.data),
    )
    if config.capture:
        session.captured = CapturedStep(lambda: differentiate(session, session.batches.whole), model)
    return session


def training_step(session: Session, batch: Batch, done: float = 0.0) -> float:
    """One optimiser step on one part: forward, loss over its labelled training nodes, backward, clip, update.

    Where the run learns from a teacher, the loss also has the divergence from it, over all nodes of the part.

    Args:
        done: epochs that lie behind this step, for the schedule of the learning rate.

    Returns:
        The loss before the step, without what the model itself adds to it.

    Raises:
        Diverged: before the weights are changed; see `LossScaler.update`.
    """
    config = session.config
    for group in session.optimizer.param_groups:
        group["lr"] = learning_rate(config, done)
    if session.captured is None:
        session.optimizer.zero_grad(set_to_none=True)
        loss, total = differentiate(session, batch)
    else:
        assert batch is session.batches.whole
        loss, total = session.captured()
    return session.scaler.update(session.model, session.optimizer, loss, total, config.optim.clip_norm)


def differentiate(session: Session, batch: Batch) -> tuple[Tensor, Tensor]:
    """Forward pass, loss and backward pass of a training step: the part of it that a GPU can replay.

    Returns:
        The loss, without and with what the model itself adds to it.
    """
    config, task, model = session.config, session.dataset.task, session.model
    with autocast(session.device, config.amp):
        if config.label_inputs:
            batch = show_some(batch, config.label_inputs, task)
            batch = reuse_labels(lambda b: _forward(model, b), batch, config.label_reuse, task)
        logits = _forward(model, batch)
    loss = objective(task, logits[batch.train], batch.y[batch.train], config.loss)
    if config.distillation is not None:
        assert batch.teacher is not None  # `revgnn.train.tricks.teacher` saw to that
        loss = distilled(loss, divergence(task, logits, batch.teacher, config.distillation), config.distillation)
    return loss, session.scaler.differentiate(loss, model.auxiliary_loss)


def _forward(model: AbstractModel, batch: Batch) -> Tensor:
    """Return the logits of a training step."""
    return model(batch.graph, batch.x, batch.species, nodes=batch.nodes)


def build_for(config: RunConfig, dataset: NodeDataset) -> AbstractModel:
    """The run's model with as many inputs and outputs as the data set has."""
    return build_model(
        config.model,
        in_channels=dataset.in_channels + (label_width(dataset) if config.label_inputs else 0),
        out_channels=dataset.num_outputs,
        num_edge_features=dataset.num_edge_features,
        num_species=dataset.num_species,
    )


def make_batches(config: RunConfig, dataset: NodeDataset, device: torch.device, teacher: Tensor | None = None) -> Batches:
    """Batches with all that the run's steps need.

    Args:
        teacher: float32 (N, outputs), the teacher's logits, if the run has one.
    """
    labels = label_vectors(dataset) if config.label_inputs else None
    return Batches(dataset, device, labels, label_reuse=config.label_reuse, teacher=teacher)


def build_optimizer(config: OptimConfig, model: nn.Module) -> torch.optim.Optimizer:
    """Adam in its fused form, which updates all parameters of a device in one pass; or RMSprop, which has none."""
    if config.name == "rmsprop":
        return torch.optim.RMSprop(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    return torch.optim.Adam(model.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True)


def learning_rate(config: RunConfig, done: float) -> float:
    """The rate of a step taken when `done` epochs (a fraction within one) lie behind: a function of the configuration alone."""
    optim = config.optim
    rate = optim.lr
    if optim.schedule == "cosine":
        rate *= 0.5 * (1.0 + math.cos(math.pi * min(1.0, done / config.epochs)))
    if done < optim.warmup:
        rate *= (done * config.parts + 1) / (optim.warmup * config.parts)
    return rate


def choose_device(name: Device) -> torch.device:
    """The device of that name; "auto" is cuda where there is one.

    Raises:
        ValueError: if cuda is wanted and missing.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device cuda was asked for, but torch sees no CUDA device; use --device cpu, or auto.")
    return torch.device(name)


def _check_trainable(dataset: NodeDataset) -> None:
    """Refuse before any training what would only fail after the first epoch."""
    split = dataset.split
    if num_labelled(dataset.task, dataset.y[split.train]) == 0:
        raise ValueError(f"{dataset.name} has no labelled training nodes in this split; there is nothing to learn from.")
    if len(split.valid) == 0:
        raise ValueError(f"{dataset.name} has no validation nodes in this split; the best weights are chosen by their score.")
    for name, nodes in (("training", split.train), ("validation", split.valid), ("test", split.test)):
        if len(nodes):
            check_scorable(dataset.metric, dataset.task, dataset.y[nodes], name)
