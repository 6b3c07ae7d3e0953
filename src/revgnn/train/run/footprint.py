"""Peak memory of one training step of a run, and of the same step with every layer's activations stored."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

import torch

from revgnn.memory import PeakMemory
from revgnn.models.config import StackConfig
from revgnn.train.config import RunConfig
from revgnn.train.random_numbers import own_random_numbers, seed_generators
from revgnn.train.run.optimization import LossScaler, build_optimizer
from revgnn.train.run.session import Session, build_for, choose_device, prepare, training_step


@dataclass(frozen=True)
class Footprint:
    """Peak bytes of tensors allocated in one training step, above weights and data."""

    gradient: str
    """The run's own gradient strategy."""
    peak_bytes: int
    stored_bytes: int
    """Peak of the same step with gradient="backprop"."""
    stored_is_measured: bool
    """False if `stored_bytes` is extrapolated from the depths in `shallower`, since storing all layers might not fit."""
    shallower: tuple[int, int]
    """The two smaller depths at which storing was measured first."""


def compare_footprint(config: RunConfig) -> Footprint:
    """Measure one training step as configured, and the same step with every layer stored.

    Storing is measured at two smaller depths first. Its memory is linear in depth, so they predict the full depth. If the
    prediction is less than half of the free memory, the full depth is measured too; otherwise the prediction is returned.
    """
    with own_random_numbers(choose_device(config.device)):
        return _compare(prepare(config), config)


@dataclass(frozen=True)
class StepPeak:
    """Peak bytes of tensors allocated in one training step at some depth, above weights and data."""

    depth: int
    gradient: str
    peak_bytes: int


def step_peaks(config: RunConfig) -> list[StepPeak]:
    """Measure one training step at four depths up to the run's own, under each gradient strategy that its layers allow.

    A strategy is not measured at depths for which its smaller ones predict more than half of the free memory.

    Raises:
        ValueError: for an equilibrium, which has no layers to store.
    """
    model = config.model
    if model.family == "equilibrium":
        raise ValueError("an equilibrium has no layers to store, so its memory does not depend on a depth.")
    strategies = ("backprop", "checkpoint") if getattr(model, "is_residual", False) else ("backprop", "checkpoint", "reversible")
    least = 4 if model.family == "revgat" else 2  # a RevGAT of two layers has no stack
    depths = sorted({max(least, 2 * round(model.depth * share / 16)) for share in (1, 2, 4)} | {model.depth})
    peaks: list[StepPeak] = []
    with own_random_numbers(choose_device(config.device)):
        session = prepare(config)
        free = free_bytes(session.device)
        for gradient in strategies:
            known: list[StepPeak] = []
            for depth in (d for d in depths if d <= model.depth):
                if _predicted(known, depth) > free / 2:
                    break
                changed = model.model_copy(update={"gradient": gradient, "depth": depth})
                peak = _step_peak(session, config.model_copy(update={"model": changed}))
                known.append(StepPeak(depth, gradient, peak))
            peaks += known
    return peaks


def _predicted(known: list[StepPeak], depth: int) -> float:
    """Return the peak at another depth: on the line through the last two, or at most in proportion to one; 0 without any."""
    if len(known) < 2:
        return known[-1].peak_bytes * depth / known[-1].depth if known else 0.0
    (a, b), gap = known[-2:], depth - known[-1].depth
    return b.peak_bytes + (b.peak_bytes - a.peak_bytes) / (b.depth - a.depth) * gap


def _compare(session: Session, config: RunConfig) -> Footprint:
    peak = _step_peak(session, config)
    depths = _shallower(config.model.depth, even=config.model.tied)
    low, high = (_step_peak(session, _storing_config(config, depth)) for depth in depths)
    slope = (high - low) / max(depths[1] - depths[0], 1)
    estimate = round(high + slope * (config.model.depth - depths[1]))
    fits = estimate < free_bytes(session.device) / 2
    stored = _step_peak(session, _storing_config(config, config.model.depth)) if fits else estimate
    return Footprint(config.model.effective_gradient, peak, stored, stored_is_measured=fits, shallower=depths)


def _storing_config(config: RunConfig, depth: int) -> RunConfig:
    """Return the configuration of another depth with every layer stored."""
    model = config.model.model_copy(update={"gradient": "backprop", "depth": depth})
    return config.model_copy(update={"model": model})


def _step_peak(session: Session, config: RunConfig) -> int:
    """Return the peak bytes of the first step of a new model, in which no layer is skipped."""
    if isinstance(config.model, StackConfig):
        config = config.model_copy(update={"model": config.model.model_copy(update={"stochastic_depth": 0.0})})
    seed_generators(session.device, config.seed)
    model = build_for(config, session.dataset).to(session.device)
    optimizer, scaler = build_optimizer(config.optim, model), LossScaler(session.device, config.amp)
    session = replace(session, config=config, model=model, optimizer=optimizer, scaler=scaler)
    batch = next(b for b in session.batches.view(config.parts, config.seed) if b.num_labelled)
    _ = batch.graph.by_source  # built at the first use and kept: it belongs to the graph, not to the network
    model.train()
    with PeakMemory(session.device) as memory:
        training_step(session, batch)
    return memory.peak_bytes


def _shallower(depth: int, *, even: bool) -> tuple[int, int]:
    """Return two smaller depths to extrapolate from, large enough that memory which grows with depth shows."""
    low, high = max(depth // 16, 2), max(depth // 8, 4)
    return (low + low % 2, high + high % 2) if even else (low, high)


def free_bytes(device: torch.device) -> int:
    """Return the free memory of the device, or the available memory of the machine."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            available = next(line for line in file if line.startswith("MemAvailable:"))
        return int(available.split()[1]) * 1024
    except (OSError, StopIteration):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
