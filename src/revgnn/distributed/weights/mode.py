"""`--parallel weights`: weights and optimiser state cut over processes, which share the parts of each step as well."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from torch import Tensor

from revgnn.distributed.ranks import Ranks
from revgnn.distributed.weights.files import held_weights, read_into, read_whole, save_last, write
from revgnn.distributed.weights.shard import ShardedWeights, shard_weights
from revgnn.stack import Reversible, Stack
from revgnn.train.config import ConfigError
from revgnn.train.inference.views import ViewSpread, infer, infer_with_spread
from revgnn.train.metrics import Scores
from revgnn.train.run.checkpoint import (
    State,
    StateFile,
    by_prefix,
    check_moments,
    check_saved,
    check_weights,
    describe_progress,
    other_tensors,
    restore_progress,
)
from revgnn.train.run.folder import RunFolder
from revgnn.train.run.optimization import build_optimizer
from revgnn.train.run.session import Session, Share, make_batches
from revgnn.train.run.spread import Spread
from revgnn.train.run.steps import NOTHING, EpochSteps, PartSize
from revgnn.train.run.team import Team
from revgnn.train.run.tensor_stream import OpenTensors, open_tensors
from revgnn.train.run.together import follow_leader

_TEACHER = "teacher"

_COPIES = 4
"""How often a piece is in memory while it is differentiated: weights as they were gathered, whole weights, gradients twice."""


class Weights(Spread):
    """Each process holds a share of the stack's weights, and takes its own parts of each step and of each evaluation.

    No process ever holds all weights and moments of the optimiser at once. At the beginning each builds the whole network.
    """

    name = "weights"

    def check(self, session: Session, team: Team) -> None:
        super().check(session, team)
        self.check_inference(session, team)

    def check_inference(self, session: Session, team: Team) -> None:
        if not any(isinstance(m, Stack) for m in session.model.modules()):
            raise ConfigError(
                f"--parallel weights cuts the weights of a stack of layers, and a network of family={session.config.model.family}, "
                f"depth={session.config.model.depth} has none; use --parallel parts."
            )

    def restore(self, session: Session, team: Team, begin: Callable[[StateFile], State]) -> State:
        assert isinstance(team, Ranks)
        file, begun = _OpenFile(), []
        team.ask_leader(lambda: begun.append(begin(file)))
        state: State | None = begun[0] if team.leads else None
        if team.ask_leader(lambda: file.opened is not None):
            weights = self._cut(session, team)
            state = _follow(session, weights, state, file.opened)
            file.opened = None
        else:
            state = follow_leader(session, state, team)
            weights = self._cut(session, team)
        if team.ask_leader(lambda: file.again is not None):
            save_last(file.again or Path(), session, weights, state)
        return state

    def _cut(self, session: Session, team: Ranks) -> ShardedWeights:
        weights = shard_weights(session.model, team, segments=choose_segments(session))
        session.optimizer = build_optimizer(session.config.optim, weights.parameters)
        session.scaler.clip = weights.clip
        weights.agrees_on_overflow = session.scaler.scales
        self._weights = weights
        return weights

    def begin(self, session: Session, team: Team) -> None:
        self.team = team  # `restore` has cut the session

    def begin_inference(self, session: Session, team: Team) -> None:
        assert isinstance(team, Ranks)
        self.team = team
        self._cut(session, team)

    def steps(self, session: Session, epoch: int, start: int, should_stop: Callable[[], bool] = lambda: False) -> EpochSteps:
        return _EvenSteps(session, epoch, start, self.team, self._weights, should_stop)

    def infer(self, session: Session) -> Tensor:
        team = _Accompanied(self.team, self._weights)
        return infer(session.model, session.batches, session.config.evaluation, session.config.seed, team)

    def infer_with_spread(self, session: Session) -> ViewSpread:
        team = _Accompanied(self.team, self._weights)
        return infer_with_spread(session.model, session.batches, session.config.evaluation, session.config.seed, team)

    def whole(self, session: Session) -> Session:
        raise RuntimeError("no process holds the whole session of a run whose weights are cut; use save_last or save_best.")

    def save_last(self, session: Session, folder: RunFolder, state: State) -> None:
        save_last(folder.last_file, session, self._weights, state)

    def save_best(self, session: Session, folder: RunFolder, epoch: int, scores: Scores) -> None:
        held = held_weights(session, self._weights)
        held.whole = {name.removeprefix("model."): t for name, t in held.whole.items()}
        held.cut = {name.removeprefix("model."): t for name, t in held.cut.items()}
        held.same = {name.removeprefix("model."): first.removeprefix("model.") for name, first in held.same.items()}
        write(folder.best_file, held, self._weights, folder.best_note(session, epoch, scores))

    def check_same(self, session: Session) -> None:
        self.team.check_same(self._weights.everywhere)


class _OpenFile(StateFile):
    """Reads everything of a saved state in the leading process but weights and moments, and checks those.

    Attributes:
        opened: the file, if there is one.
        again: where the state must be written again.
    """

    opened: OpenTensors | None = None
    again: Path | None = None

    def load(self, path: Path, session: Session, *, allow_changed_data: bool = False) -> State:
        opened = open_tensors(path)
        if not check_saved(opened.note, session, path, allow_changed_data=allow_changed_data):
            self.again = path
        described = by_prefix(opened.described)
        check_weights(session.model, described["model"], path)
        check_moments(session.optimizer, list(session.model.parameters()), described.get("optimizer", {}), path)
        others = {name: opened.read(name) for name in opened.described if name.partition(".")[0] not in ("model", "optimizer")}
        state = restore_progress(others, opened.note, session, path)
        self.opened = opened
        return state

    def save(self, path: Path, session: Session, state: State) -> None:
        self.again = path


def _follow(session: Session, weights: ShardedWeights, state: State | None, opened: OpenTensors | None) -> State:
    """Give all processes their share of the saved state that the leading one has opened, and return the progress of the run."""
    tensors, note = {}, {}
    if state is not None and opened is not None:
        tensors, note = read_whole(opened, session, weights) | other_tensors(session), describe_progress(session, state)
        if session.teacher is not None:
            tensors[_TEACHER] = session.teacher
    tensors, note = weights.ranks.share_state(tensors, note)
    teacher = tensors.pop(_TEACHER, None)
    if state is None:
        session.teacher = teacher
        if teacher is not None:
            session.batches = make_batches(session.config, session.dataset, session.device, teacher)
        others = {name: t for name, t in tensors.items() if name.partition(".")[0] not in ("model", "optimizer")}
        state = restore_progress(others, note, session, Path("the state of process 0"))
    read_into(session, weights, opened, tensors)
    return state


class _EvenSteps(EpochSteps):
    """Steps in which all processes run the network equally often, since they gather its weights together.

    One that has fewer parts of a step than another repeats one, with a loss of 0.
    """

    def _work(self, parts: Sequence[int], sizes: list[PartSize]) -> list[tuple[int, Share]]:
        own = super()._work(parts, sizes)
        used = [part for part in parts if sizes[part].weight]
        size = self._team.size
        most = max(sum(bool(sizes[part].weight) for part in parts[rank::size]) for rank in range(size))
        repeated = own[-1][0] if own else used[0] if used else 0
        return own + [(repeated, NOTHING)] * (most - len(own))


class _Accompanied(Team):
    """A team of which a process that has evaluated its parts goes on to gather weights with the others."""

    def __init__(self, team: Team, weights: ShardedWeights) -> None:
        self.rank, self.size = team.rank, team.size
        self._team, self._weights = team, weights

    def sum(self, tensor: Tensor) -> Tensor:
        self._weights.accompany()
        return self._team.sum(tensor)


def choose_segments(session: Session) -> int | None:
    """Return the pieces that the stack of a run is cut into; None for those of its gradient strategy.

    A reversible stack in one segment is cut so that the states stored between pieces and the weights of a piece take equal memory.
    It depends on the run only, and not on the number of processes. Layers that share their weights are one piece in any case.
    """
    stack = next(m for m in session.model.modules() if isinstance(m, Stack))
    if stack.gradient != Reversible(1) or len(stack.layers) < len(stack.sequence) or len(set(stack.layers)) < len(stack.layers):
        return None
    dataset, config = session.dataset, session.config
    rows = -(-dataset.num_nodes // max(1, session.batches.steps(session.partition)))
    return balanced_segments(len(stack.sequence), sum(p.numel() for p in stack.parameters()), rows * config.model.channels)


def balanced_segments(depth: int, weights: int, state: int) -> int:
    """Return the pieces of a stack between which stored states take as much memory as the weights of one.

    Args:
        depth: layers.
        weights, state: numbers in the stack, and in the state of a part.
    """
    return min(depth, max(1, round((_COPIES * weights / max(1, state)) ** 0.5)))
