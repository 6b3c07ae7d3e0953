"""Training a run to its end, from the beginning or from its last saved state."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from revgnn._words import CONFIG, speaks_python
from revgnn.data import NodeDataset
from revgnn.data.tasks import is_better
from revgnn.memory import PeakMemory
from revgnn.stack import StateRangeError
from revgnn.train.config import RunConfig
from revgnn.train.datasets import scale_with_fingerprint
from revgnn.train.metrics import Scores
from revgnn.train.random_numbers import own_random_numbers
from revgnn.train.run.best_weights import lost_at_start, replace_best
from revgnn.train.run.changed_data import check_found
from revgnn.train.run.checkpoint import State, StateFile
from revgnn.train.run.events import BestSoFar, Ended, EpochEnded, Evaluating, Event, Hook, Started, Stepped
from revgnn.train.run.folder import RunFolder
from revgnn.train.run.initial_weights import check_initial_weights, load_initial_weights
from revgnn.train.run.optimization import Diverged
from revgnn.train.run.result import Result, summarise
from revgnn.train.run.session import Session, check_trainable, choose_device, prepare
from revgnn.train.run.spread import Spread
from revgnn.train.run.team import ALONE, Team
from revgnn.train.run.tensor_file import CheckpointError
from revgnn.train.tricks.teacher import attach_teacher, check_teacher


class Interrupted(Exception):
    """Training stopped on request. Its progress is in the run folder, and `--resume` continues with the next step."""

    def __init__(self, folder: Path, epoch: int, step: int) -> None:
        super().__init__(f"stopped in epoch {epoch} after {step} steps; everything is saved in {folder}.")
        self.folder, self.epoch, self.step = folder, epoch, step


@speaks_python(CONFIG)
def train(
    config: RunConfig,
    out: Path | str,
    *,
    resume: bool = False,
    overwrite: bool = False,
    allow_changed_data: bool = False,
    hooks: Iterable[Hook] = (),
    should_stop: Callable[[], bool] = lambda: False,
    dataset: NodeDataset | None = None,
    team: Team = ALONE,
    spread: Spread | None = None,
) -> Result:
    """Train a run and write it to a folder.

    A run that is killed and resumed on the same machine ends with the same weights and metrics, bit for bit, as a run that
    never stopped. The weights of the epoch with the best validation score are saved in best.safetensors. Torch's generators
    are left unchanged.

    Args:
        out: the run's folder; see `RunFolder`.
        resume: continue the run in `out`, from its beginning if no state was saved yet.
        overwrite: replace the run in `out`.
        allow_changed_data: resume although the data have changed. The best weights are then chosen anew.
        hooks: called with each `Event`.
        should_stop: called after each step. If it returns True, the state is saved and `Interrupted` is raised.
        dataset: the data, if they are in memory; their features are scaled as `config.data` says. Default: they are loaded.
        team: the processes that train the run together, each of which calls this; see `revgnn.distributed`. Only the leading one
            writes files and calls hooks.
        spread: how they share the work, used for this run only; default: by parts.

    Raises:
        ValueError: if configuration, data or folder cannot be used, if another process trains into the folder, or if the data of a
            resumed run have changed (`ChangedDataError`); raised before training starts.
        OSError: if a file cannot be read or written.
        Diverged: if the loss or a gradient is not finite, or the network's state left its grid. The last saved state stays.
        Interrupted: see `should_stop`.
    """
    folder = RunFolder(out)
    spread = spread or Spread()
    hooks = tuple(hooks) if team.leads else ()
    team.ask_leader(lambda: folder.check(config, resume=resume, overwrite=overwrite))
    with team.held_by_leader(folder.owned), own_random_numbers(choose_device(config.device)):
        team.ask_leader(lambda: _check_start(config, folder, resume=resume, overwrite=overwrite))
        session = team.leader_first(
            lambda: prepare(config) if dataset is None else prepare(config, *scale_with_fingerprint(dataset, config.data))
        )
        spread.check(session, team)
        check_trainable(session.dataset)

        def begin(file: StateFile) -> State:
            attach_teacher(session, folder, resume=resume)
            state = folder.begin(session, resume=resume, allow_changed_data=allow_changed_data, file=file)
            if state.epoch == state.step == 0:
                load_initial_weights(session)
            return state

        state = spread.restore(session, team, begin)
        spread.begin(session, team)
        return _train(session, state, folder, _Together(team, hooks, should_stop, spread))


def _check_start(config: RunConfig, folder: RunFolder, *, resume: bool, overwrite: bool) -> None:
    """Check what can be checked before the data are loaded, in a folder that this process owns."""
    # Again, since another process may have begun a run in the meantime.
    folder.check(config, resume=resume, overwrite=overwrite)
    if resume and folder.config_file.exists():
        check_found(config, folder.config(), folder.path)
    check_teacher(config, folder, resume=resume)
    if not resume:
        check_initial_weights(config)


@dataclass(frozen=True)
class _Together:
    """Who trains the run, and who is told of it."""

    team: Team
    hooks: tuple[Hook, ...]
    """None except in the leading process."""
    should_stop: Callable[[], bool]
    spread: Spread

    def notify(self, event: Event) -> None:
        for hook in self.hooks:
            hook(event)


def _train(session: Session, state: State, folder: RunFolder, who: _Together) -> Result:
    """Train the remaining epochs of a run into a folder that the leading process owns."""
    config, team, spread = session.config, who.team, who.spread
    if problem := team.ask_leader(lambda: lost_at_start(session, state, folder)):
        replace_best(session, state, folder, problem, spread)
    if state.epoch < config.epochs and _out_of_patience(config, state) and team.leads:
        warnings.warn(
            f"the run has ended: {config.patience} epochs brought no better validation score than that of epoch "
            f"{state.best_epoch}. More epochs need a larger patience.",
            stacklevel=3,
        )
    if team.leads:
        who.notify(_started(session, folder, state))
    with session.partition:  # its background thread ends with the block
        while state.epoch < config.epochs and not _out_of_patience(config, state):
            try:
                _train_epoch(session, state, folder, who)
            except Interrupted:
                spread.save_last(session, folder, state)
                team.ask_leader(lambda: None)  # all wait until it is saved: torchrun ends the others when one has ended
                raise
            except (Diverged, StateRangeError) as error:
                raise _with_advice(error, state, folder) from None
            _end_epoch(session, state, folder, who)
    if problem := team.ask_leader(lambda: folder.best_is_lost(session, state)):
        replace_best(session, state, folder, problem, spread)
    found = team.ask_leader(lambda: summarise(session, state, folder.metrics(), folder.best_scores()).as_dict())
    result = Result(**found)
    team.ask_leader(lambda: folder.save_result(result.as_dict()))
    who.notify(Ended(folder.path, result))
    return result


def _train_epoch(session: Session, state: State, folder: RunFolder, who: _Together) -> None:
    """Train the remaining steps of the current epoch."""
    epoch = state.epoch + 1
    session.model.train()
    steps = who.spread.steps(session, epoch, state.step, who.should_stop)
    with _measure_first_epoch(session, state):
        for step in steps:
            state.loss_sum += step.loss * step.labelled
            state.loss_count += step.labelled
            state.step += 1
            state.seconds += step.seconds
            who.notify(Stepped(epoch, state.step, session.steps, state.loss_sum / max(state.loss_count, 1)))
            if steps.stopping:
                raise Interrupted(folder.path, epoch, state.step)


@contextmanager
def _measure_first_epoch(session: Session, state: State) -> Iterator[None]:
    """Record the peak memory of the first training epoch, as published figures do. Measuring slows training down."""
    if state.epoch > 0:
        yield
        return
    memory = PeakMemory(session.device)
    try:
        with memory:
            yield
    finally:
        state.peak_bytes = max(state.peak_bytes, memory.peak_bytes)


def _end_epoch(session: Session, state: State, folder: RunFolder, who: _Together) -> None:
    """Evaluate if the configuration asks for it, save the best weights, append the epoch's metrics, and save the state."""
    config, epoch, team, spread = session.config, state.epoch + 1, who.team, who.spread
    started = time.perf_counter()
    spread.check_same(session)
    state.peak_bytes = max(team.gather(state.peak_bytes))
    solves, evaluation_solves = spread.take_solves(session), None
    scores, is_best = Scores(None, None, None), False
    if epoch % config.evaluation.every == 0 or epoch == config.epochs:
        who.notify(Evaluating(epoch))
        scores = spread.scores(session)
        evaluation_solves = spread.take_solves(session)
        assert scores.valid is not None  # `prepare` refuses an empty validation split
        is_best = is_better(session.dataset.metric, scores.valid, state.best_score)
        if is_best:
            spread.save_best(session, folder, epoch, scores)
            state.best_epoch, state.best_score = epoch, scores.valid
    record = EpochEnded(
        epoch=epoch,
        loss=state.loss_sum / state.loss_count if state.loss_count else None,
        **scores.as_dict(),
        seconds=state.seconds,
        peak_bytes=state.peak_bytes,
        is_best=is_best,
        evaluation_seconds=time.perf_counter() - started,
        skipped_steps=session.scaler.take_skipped(),
        solves=solves,
        evaluation_solves=evaluation_solves,
    )
    if team.leads:
        state.metrics_bytes, line = folder.append_metrics(record)
        state.metrics_lines.append(line)
    state.epoch, state.step, state.loss_sum, state.loss_count, state.seconds = epoch, 0, 0.0, 0, 0.0
    is_due = epoch % config.save_every == 0 or epoch == config.epochs or _out_of_patience(config, state)
    if is_due:
        spread.save_last(session, folder, state)
    who.notify(record)


def _out_of_patience(config: RunConfig, state: State) -> bool:
    return config.patience is not None and state.best_epoch > 0 and state.epoch - state.best_epoch >= config.patience


def _with_advice(error: Diverged | StateRangeError, state: State, folder: RunFolder) -> Diverged:
    saved = f"The last saved state stays in {folder.path}" if folder.last_file.exists() else "No state was saved yet"
    return Diverged(
        f"training diverged in epoch {state.epoch + 1}, step {state.step + 1}: {str(error).rstrip('.')}. {saved}; "
        "try a smaller optim.lr, a smaller optim.clip_norm, or amp=none (fp16 overflows at 65504)."
    )


def _started(session: Session, folder: RunFolder, state: State) -> Started:
    return Started(
        config=session.config,
        folder=folder.path,
        dataset=session.dataset.summary(),
        metric=session.dataset.metric,
        parameters=session.parameters,
        device=str(session.device),
        epoch=state.epoch,
        tables=None if session.dataset.tables is None else session.dataset.tables.report,
        spec_file=folder.spec_file,
        best=_best_so_far(state, folder),
    )


def _best_so_far(state: State, folder: RunFolder) -> BestSoFar | None:
    if state.best_score is None:
        return None
    try:
        note = folder.best_scores()
    except (OSError, CheckpointError):  # lost, and chosen anew: see `best_weights`
        note = {}
    return BestSoFar(state.best_epoch, state.best_score, note.get("test") if note.get("epoch") == state.best_epoch else None)
