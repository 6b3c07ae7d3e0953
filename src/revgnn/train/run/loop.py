"""Training a run to its end, from the beginning or from its last saved state."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from revgnn._words import CONFIG, speaks_python
from revgnn.data import NodeDataset
from revgnn.data.tasks import is_better
from revgnn.memory import PeakMemory
from revgnn.models import num_parameters
from revgnn.stack import StateRangeError
from revgnn.train.config import RunConfig
from revgnn.train.datasets import scale_with_fingerprint
from revgnn.train.inference.views import infer
from revgnn.train.metrics import Scores, score_splits
from revgnn.train.random_numbers import own_random_numbers
from revgnn.train.run.changed_data import check_found
from revgnn.train.run.checkpoint import State
from revgnn.train.run.events import BestSoFar, Ended, EpochEnded, Evaluating, Event, Hook, Started, Stepped
from revgnn.train.run.folder import RunFolder
from revgnn.train.run.initial_weights import check_initial_weights, load_initial_weights
from revgnn.train.run.optimization import Diverged
from revgnn.train.run.result import Result, summarise
from revgnn.train.run.session import Session, check_trainable, choose_device, prepare
from revgnn.train.run.steps import EpochSteps
from revgnn.train.run.team import ALONE
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

    Raises:
        ValueError: if configuration, data or folder cannot be used, if another process trains into the folder, or if the data of a
            resumed run have changed (`ChangedDataError`); raised before training starts.
        OSError: if a file cannot be read or written.
        Diverged: if the loss or a gradient is not finite, or the network's state left its grid. The last saved state stays.
        Interrupted: see `should_stop`.
    """
    folder = RunFolder(out)
    folder.check(config, resume=resume, overwrite=overwrite)
    with folder.owned(), own_random_numbers(choose_device(config.device)):
        # Again, since another process may have begun a run in the meantime.
        folder.check(config, resume=resume, overwrite=overwrite)
        if resume and folder.config_file.exists():
            check_found(config, folder.config(), folder.path)
        check_teacher(config, folder, resume=resume)
        if not resume:
            check_initial_weights(config)
        session = prepare(config) if dataset is None else prepare(config, *scale_with_fingerprint(dataset, config.data))
        check_trainable(session.dataset)
        attach_teacher(session, folder, resume=resume)
        state = folder.begin(session, resume=resume, allow_changed_data=allow_changed_data)
        if state.epoch == state.step == 0:
            load_initial_weights(session)
        return _train(session, state, folder, tuple(hooks), should_stop)


def _train(session: Session, state: State, folder: RunFolder, hooks: tuple[Hook, ...], should_stop: Callable[[], bool]) -> Result:
    """Train the remaining epochs of a run into a folder that this process owns."""
    config = session.config
    if state.best_epoch and (problem := folder.best_is_lost(session, state)) and not _will_be_repeated(folder, state, config):
        _replace_best(session, state, folder, problem)
    if state.epoch < config.epochs and _out_of_patience(config, state):
        warnings.warn(
            f"the run has ended: {config.patience} epochs brought no better validation score than that of epoch "
            f"{state.best_epoch}. More epochs need a larger patience.",
            stacklevel=3,
        )
    _notify(hooks, _started(session, folder, state))
    with session.partition:  # its background thread ends with the block
        while state.epoch < config.epochs and not _out_of_patience(config, state):
            try:
                _train_epoch(session, state, folder, hooks, should_stop)
            except Interrupted:
                folder.save_last(session, state)
                raise
            except (Diverged, StateRangeError) as error:
                raise _with_advice(error, state, folder) from None
            _notify(hooks, _end_epoch(session, state, folder, hooks))
    if problem := folder.best_is_lost(session, state):
        _replace_best(session, state, folder, problem)
    result = summarise(session, state, folder.metrics(), folder.best_scores())
    folder.save_result(result.as_dict())
    _notify(hooks, Ended(folder.path, result))
    return result


def _train_epoch(
    session: Session, state: State, folder: RunFolder, hooks: tuple[Hook, ...], should_stop: Callable[[], bool]
) -> None:
    """Train the remaining steps of the current epoch."""
    epoch = state.epoch + 1
    session.model.train()
    steps = EpochSteps(session, epoch, state.step, ALONE, ALONE.exchange(session.model), should_stop)
    with _measure_first_epoch(session, state):
        for step in steps:
            state.loss_sum += step.loss * step.labelled
            state.loss_count += step.labelled
            state.step += 1
            state.seconds += step.seconds
            _notify(hooks, Stepped(epoch, state.step, session.steps, state.loss_sum / max(state.loss_count, 1)))
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


def _end_epoch(session: Session, state: State, folder: RunFolder, hooks: tuple[Hook, ...]) -> EpochEnded:
    """Evaluate if the configuration asks for it, save the best weights, append the epoch's metrics, and save the state."""
    config, epoch = session.config, state.epoch + 1
    started = time.perf_counter()
    solves, evaluation_solves = session.model.take_solves(), None
    scores, is_best = Scores(None, None, None), False
    if epoch % config.evaluation.every == 0 or epoch == config.epochs:
        _notify(hooks, Evaluating(epoch))
        scores = _evaluate(session)
        evaluation_solves = session.model.take_solves()
        assert scores.valid is not None  # `prepare` refuses an empty validation split
        is_best = is_better(session.dataset.metric, scores.valid, state.best_score)
        if is_best:
            folder.save_best(session, epoch, scores)
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
    state.metrics_bytes, line = folder.append_metrics(record)
    state.metrics_lines.append(line)
    state.epoch, state.step, state.loss_sum, state.loss_count, state.seconds = epoch, 0, 0.0, 0, 0.0
    if epoch % config.save_every == 0 or epoch == config.epochs or _out_of_patience(config, state):
        folder.save_last(session, state)
    return record


def _evaluate(session: Session) -> Scores:
    logits = infer(session.model, session.batches, session.config.evaluation, session.config.seed)
    return score_splits(session.dataset, logits)


def _will_be_repeated(folder: RunFolder, state: State, config: RunConfig) -> bool:
    """Return whether best.safetensors is of an epoch after the saved state, which the resumed run trains again."""
    try:
        epoch = folder.best_scores().get("epoch")
    except (OSError, CheckpointError):
        return False
    return type(epoch) is int and state.epoch < epoch <= config.epochs


def _replace_best(session: Session, state: State, folder: RunFolder, problem: str) -> None:
    """Go on without the best weights so far, which are lost. In between two epochs, the present weights take their place."""
    warnings.warn(
        f"{problem}. The best weights are chosen anew, from epoch {state.epoch if state.step == 0 else state.epoch + 1} on.",
        stacklevel=2,
    )
    state.best_epoch, state.best_score = 0, None
    if state.step == 0:
        scores = _evaluate(session)
        session.model.take_solves()  # not part of an epoch's record
        folder.save_best(session, state.epoch, scores)
        state.best_epoch, state.best_score = state.epoch, scores.valid
        folder.save_last(session, state)


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
        parameters=num_parameters(session.model),
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
    except (OSError, CheckpointError):  # lost, and chosen anew: see `_will_be_repeated`
        note = {}
    return BestSoFar(state.best_epoch, state.best_score, note.get("test") if note.get("epoch") == state.best_epoch else None)


def _notify(hooks: tuple[Hook, ...], event: Event) -> None:
    for hook in hooks:
        hook(event)
