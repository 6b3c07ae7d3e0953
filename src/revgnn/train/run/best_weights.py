"""The best weights of a run that is resumed: whether they are still there, and how others take their place."""

from __future__ import annotations

import warnings

from revgnn.train.config import RunConfig
from revgnn.train.run.checkpoint import State
from revgnn.train.run.folder import RunFolder
from revgnn.train.run.session import Session
from revgnn.train.run.spread import Spread
from revgnn.train.run.tensor_file import CheckpointError


def lost_at_start(session: Session, state: State, folder: RunFolder) -> str | None:
    """Return what is wrong with the best weights of a run that is resumed; None if nothing is, or if it will be repeated."""
    problem = folder.best_is_lost(session, state) if state.best_epoch else None
    return None if problem is None or _will_be_repeated(folder, state, session.config) else problem


def _will_be_repeated(folder: RunFolder, state: State, config: RunConfig) -> bool:
    """Return whether best.safetensors is of an epoch after the saved state, which the resumed run trains again."""
    try:
        epoch = folder.best_scores().get("epoch")
    except (OSError, CheckpointError):
        return False
    return type(epoch) is int and state.epoch < epoch <= config.epochs


def replace_best(session: Session, state: State, folder: RunFolder, problem: str, spread: Spread) -> None:
    """Go on without the best weights so far, which are lost. In between two epochs, the present weights take their place."""
    if spread.team.leads:
        warnings.warn(
            f"{problem}. The best weights are chosen anew, from epoch {state.epoch if state.step == 0 else state.epoch + 1} on.",
            stacklevel=2,
        )
    state.best_epoch, state.best_score = 0, None
    if state.step == 0:
        scores = spread.scores(session)
        session.model.take_solves()  # not part of an epoch's record
        state.best_epoch, state.best_score = state.epoch, scores.valid
        spread.save_best(session, folder, state.epoch, scores)
        spread.save_last(session, folder, state)
