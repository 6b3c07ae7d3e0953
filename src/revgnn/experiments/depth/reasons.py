"""Reasons beside a depth curve: what the best run of each depth makes of distance, and what the graph is like.

They are computed from the saved weights, once, and kept in the folder `reasons` of the study.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from revgnn.data.generated.registry import horizon_of
from revgnn.experiments.auto.describe import describe
from revgnn.experiments.depth.influence import influence
from revgnn.experiments.depth.states import states_of
from revgnn.experiments.run_report.depth_profile import activation_profile, gradient_profile, stack_of
from revgnn.files import write_json
from revgnn.models import AbstractModel
from revgnn.models.config import EquilibriumConfig, SolverConfig
from revgnn.train.config import DataConfig
from revgnn.train.datasets import read_dataset
from revgnn.train.inference.saved_run import LoadOptions, load_run

_NO_REASONS = (ValueError, OSError, ArithmeticError, torch.OutOfMemoryError)


def describe_graph(data: DataConfig) -> dict[str, Any]:
    """Return the profile of the graph: sizes, degrees, homophily of the training labels, how far it reaches; and its horizon."""
    dataset = read_dataset(data)
    horizon = horizon_of(data.name)
    return {**asdict(describe(dataset)), "horizon": None if horizon is None else asdict(horizon)}


def reasons_of(run: Path, *, device: str) -> dict[str, Any]:
    """Return influence by hops, states, updates and gradients by layer of a run's best weights; what cannot be computed is None.

    Args:
        run: its folder.
        device: where it is computed.

    Raises:
        ValueError, OSError: if the run or its data cannot be used.
    """
    saved = load_run(run, LoadOptions(device=device))
    model = saved.session.model
    found = influence(saved.session, rounds_of(model))
    states = states_of(saved)
    profile, _ = activation_profile(saved)
    if profile is not None:  # last, since the session is of no use for more after it
        profile = gradient_profile(saved, profile)
    return {
        "rounds": rounds_of(model),
        "influence": None if found is None else asdict(found),
        "states": None if states is None else asdict(states),
        "profile": None if profile is None else asdict(profile),
        "problem": None,
    }


def rounds_of(model: AbstractModel) -> int:
    """Return how many times a network passes messages on: within a layer once for each group, one after the other.

    No input more hops away can have an influence; but on an equilibrium, whose derivative is that of the solution itself.
    """
    if isinstance(model.config, EquilibriumConfig):
        return (model.config.solver or SolverConfig()).evaluation_steps
    stack = stack_of(model)
    if stack is None:
        return model.config.depth
    inside = sum(len(layer.blocks) for layer in stack.sequence)
    outside = model.config.depth - len(stack.sequence)  # a first convolution, RevGAT's first and last
    return inside + outside


def write_reasons(file: Path, run: str, folder: Path, *, device: str) -> None:
    """Write the reasons of a run, or why there are none.

    Args:
        file: the file to write.
        run: the run, as depth.json names it.
        folder: the folder of the run.
        device: where it is computed.
    """
    try:
        values = reasons_of(folder, device=device)
    except _NO_REASONS as error:
        values = {"rounds": None, "influence": None, "states": None, "profile": None, "problem": str(error)}
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, {"run": run, **values})
