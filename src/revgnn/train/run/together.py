"""What the processes of a team have in common when a run begins, and at the end of an epoch."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from revgnn.equilibrium import SolveStatistics
from revgnn.models import AbstractModel, TrainingState
from revgnn.train.config import ConfigError
from revgnn.train.run.checkpoint import State, describe_state, restore_state
from revgnn.train.run.session import Session, make_batches
from revgnn.train.run.team import Team

_TEACHER = "teacher"


def check_team(session: Session, team: Team) -> None:
    """Raise `ConfigError` if several processes cannot share the steps of a run; warn if some would have nothing to do.

    Raises:
        ConfigError: for a step that is a CUDA graph, and for solutions of an equilibrium that a process keeps for itself.
    """
    config = session.config
    if team.size == 1:
        return
    if config.capture:
        raise ConfigError("several processes cannot share a step that is one CUDA graph; set capture=false.")
    solver = getattr(config.model, "solver", None)
    if solver is not None and solver.warm_start:
        raise ConfigError(
            "model.solver.warm_start keeps the last solution of each node in the process that found it; set it to false, or train "
            "in one process."
        )
    if config.parts_per_step < team.size and team.leads:
        warnings.warn(
            f"{team.size} processes share steps of parts_per_step={config.parts_per_step}: {team.size - config.parts_per_step} of "
            "them only help to evaluate. A new run may have more parts a step.",
            stacklevel=3,
        )


def follow_leader(session: Session, state: State | None, team: Team) -> State:
    """Give all processes the session of the leading one: weights, optimiser, random numbers and teacher. Return its progress.

    Args:
        state: the progress of the run, in the leading process; None in the others.
    """
    if team.size == 1:
        assert state is not None
        return state
    tensors, note = ({}, {}) if state is None else describe_state(session, state)
    if team.leads and session.teacher is not None:
        tensors[_TEACHER] = session.teacher
    tensors, note = team.share_state(tensors, note)
    if state is not None:
        return state
    session.teacher = tensors.pop(_TEACHER, None)
    if session.teacher is not None:
        session.batches = make_batches(session.config, session.dataset, session.device, session.teacher)
    return restore_state(tensors, note, session, Path("the state of process 0"))


def take_solves(model: AbstractModel, team: Team) -> SolveStatistics | None:
    """Return statistics of the solves of all processes since the last call, in all processes; see `AbstractModel.take_solves`."""
    solves = model.training_state().values.get("solves")
    if team.size > 1 and solves is not None:
        found: list[dict[str, Any]] = team.gather(solves)
        merged = {key: sum((other[key] for other in found[1:]), start=found[0][key]) for key in found[0]}
        model.restore_training_state(TrainingState(model.training_state().tensors, {"solves": merged}))
    return model.take_solves()
