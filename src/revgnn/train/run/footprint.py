"""What one training step of a run needs, with its layers recomputed and, for comparison, with all of them stored."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

import torch

from revgnn.memory import PeakMemory
from revgnn.train.config import RunConfig
from revgnn.train.run.precision import grad_scaler
from revgnn.train.run.session import Session, build_for, build_optimizer, prepare, training_step


@dataclass(frozen=True)
class Footprint:
    """Peak bytes of tensors allocated in one training step, above weights and data."""

    gradient: str
    """How the run itself differentiates its stack."""
    peak_bytes: int
    stored_bytes: int
    """The same network and step with gradient="backprop"."""
    stored_is_measured: bool
    """False: extrapolated along a straight line through `shallower`, since storing all layers would not fit."""
    shallower: tuple[int, int]
    """Depths at which storing was measured to see whether all of it would fit."""


def compare_footprint(config: RunConfig) -> Footprint:
    """Measure one training step as configured, and what the same network needs if every layer is stored.

    Storing is first measured at two smaller depths; its memory is a straight line in depth, so these say whether the
    full depth fits into half of the memory that is free. If so it is measured too, else the line is followed.
    """
    session = prepare(config)
    peak = _step_peak(session, config)
    depths = _shallower(config.model.depth, even=config.model.tied)
    low, high = (_step_peak(session, _stored(config, depth)) for depth in depths)
    slope = (high - low) / max(depths[1] - depths[0], 1)
    estimate = round(high + slope * (config.model.depth - depths[1]))
    fits = estimate < _free_bytes(session.device) / 2
    stored = _step_peak(session, _stored(config, config.model.depth)) if fits else estimate
    return Footprint(config.model.effective_gradient, peak, stored, stored_is_measured=fits, shallower=depths)


def _stored(config: RunConfig, depth: int) -> RunConfig:
    model = config.model.model_copy(update={"gradient": "backprop", "depth": depth})
    return config.model_copy(update={"model": model})


def _step_peak(session: Session, config: RunConfig) -> int:
    """Peak of the first step of a fresh model."""
    torch.manual_seed(config.seed)
    model = build_for(config, session.dataset).to(session.device)
    optimizer, scaler = build_optimizer(config.optim, model), grad_scaler(session.device, config.amp)
    session = replace(session, config=config, model=model, optimizer=optimizer, scaler=scaler)
    batch = next(b for b in session.batches.view(config.parts, config.seed) if b.num_labelled)
    _ = batch.graph.by_source  # made at the first step and kept: part of the graph, not of the network
    model.train()
    with PeakMemory(session.device) as memory:
        training_step(session, batch)
    return memory.peak_bytes


def _shallower(depth: int, *, even: bool) -> tuple[int, int]:
    """Two smaller depths to draw a line through, from 4 up so that what does not grow with depth does not rule."""
    low, high = max(depth // 16, 2), max(depth // 8, 4)
    return (low + low % 2, high + high % 2) if even else (low, high)


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            available = next(line for line in file if line.startswith("MemAvailable:"))
        return int(available.split()[1]) * 1024
    except (OSError, StopIteration):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
