"""How the work of a run is spread over the processes of a team: here by parts. `revgnn.distributed` has other ways."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Protocol

from torch import Tensor

from revgnn.equilibrium import SolveStatistics
from revgnn.train.inference.views import ViewSpread, infer, infer_with_spread
from revgnn.train.metrics import Scores, score_splits
from revgnn.train.run.checkpoint import State, StateFile
from revgnn.train.run.folder import RunFolder
from revgnn.train.run.session import Session
from revgnn.train.run.steps import EpochSteps, Step
from revgnn.train.run.team import ALONE, Team
from revgnn.train.run.together import check_team, follow_leader, take_solves


class Steps(Protocol):
    """The remaining optimiser steps of an epoch. Iterating takes them."""

    @property
    def stopping(self) -> bool:
        """Whether a process is asked to stop: all of them then stop after the same step."""
        ...

    def __iter__(self) -> Iterator[Step]: ...


class Spread:
    """Each process holds the whole run, and takes its own parts of each step and of each evaluation.

    Other ways of spreading a run are subclasses. The way belongs to the job and not to the run: what is saved is the state that one
    process would hold, from which any way can go on. All processes call the same methods in the same order: `check`, `begin`, then
    the others.

    Attributes:
        name: the value of --parallel.
        team: the processes, from `begin` on.
    """

    name: str = "parts"
    team: Team = ALONE

    def check(self, session: Session, team: Team) -> None:
        """Raise `ConfigError` for a run that cannot be spread in this way. Called before anything is restored or changed."""
        check_team(session, team)

    def restore(self, session: Session, team: Team, begin: Callable[[StateFile], State]) -> State:
        """Give all processes the session that the leading one begins or restores, and return the progress of the run.

        Args:
            begin: called in the leading process with what reads a saved state (see `RunFolder.begin`); returns the progress.
        """
        begun: list[State] = []
        team.ask_leader(lambda: begun.append(begin(StateFile())))
        return follow_leader(session, begun[0] if team.leads else None, team)

    def begin(self, session: Session, team: Team) -> None:
        """Change the session for training in this way. All processes hold the same whole session, as one process restored it."""
        self.begin_inference(session, team)
        self._exchange = team.exchange(session.model)

    def check_inference(self, session: Session, team: Team) -> None:
        """Raise `ConfigError` for a network or data whose logits cannot be computed in this way."""

    def begin_inference(self, session: Session, team: Team) -> None:
        """Change the session for `infer` alone, as `begin` does."""
        self.team = team

    def steps(self, session: Session, epoch: int, start: int, should_stop: Callable[[], bool] = lambda: False) -> Steps:
        """Return the remaining optimiser steps of an epoch.

        Args:
            epoch: its number, from 1.
            start: steps that are done already.
            should_stop: whether this process is asked to stop.
        """
        return EpochSteps(session, epoch, start, self.team, self._exchange, should_stop)

    def infer(self, session: Session) -> Tensor:
        """Return the logits of all rows in evaluation mode, on the CPU, in the leading process; see `revgnn.train.infer`.

        What the other processes are given is not used.
        """
        return infer(session.model, session.batches, session.config.evaluation, session.config.seed, self.team)

    def infer_with_spread(self, session: Session) -> ViewSpread:
        """Return the result of `infer` and the deviation over its views, in the leading process; see `infer_with_spread`."""
        return infer_with_spread(session.model, session.batches, session.config.evaluation, session.config.seed, self.team)

    def whole(self, session: Session) -> Session:
        """Return the session that one process would hold, in the leading process: what `RunFolder` saves.

        Its weights, buffers, moments of the optimiser and random numbers are whole. What the other processes are given is not used.
        """
        return session

    def save_last(self, session: Session, folder: RunFolder, state: State) -> None:
        """Write the state to resume from, in the leading process."""
        whole = self.whole(session)
        if self.team.leads:
            folder.save_last(whole, state)

    def save_best(self, session: Session, folder: RunFolder, epoch: int, scores: Scores) -> None:
        """Write the present weights as the best, in the leading process."""
        whole = self.whole(session)
        if self.team.leads:
            folder.save_best(whole, epoch, scores)

    def check_same(self, session: Session) -> None:
        """Raise `RuntimeError` if processes do not hold the same values where they should, to the last bit."""
        self.team.check_same(session.model)

    def take_solves(self, session: Session) -> SolveStatistics | None:
        """Return statistics of the solves of all processes since the last call, in all processes."""
        return take_solves(session.model, self.team)

    def scores(self, session: Session) -> Scores:
        """Return the scores, which the leading process computes from the logits of all."""
        logits = self.infer(session)
        found = self.team.ask_leader(lambda: asdict(score_splits(session.dataset, logits)))
        return Scores(**{**found, "thresholds": None if found["thresholds"] is None else tuple(found["thresholds"])})
