"""Successive halving (Jamieson and Talwalkar 2016, arXiv:1502.07943) over runs that are stopped and resumed."""

from __future__ import annotations

import gc
import math
import re
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from revgnn._words import CONFIG, speaks_python
from revgnn.data import NodeDataset
from revgnn.experiments.tune.record import Record, Trial
from revgnn.experiments.tune.space import Candidate
from revgnn.files import replacing_folder
from revgnn.train.config import RunConfig
from revgnn.train.config.errors import ConfigError
from revgnn.train.metrics import MetricError
from revgnn.train.run.events import EpochEnded, Event, Hook, Started
from revgnn.train.run.folder import RunFolder, RunFolderError
from revgnn.train.run.loop import Interrupted, train
from revgnn.train.run.optimization import Diverged

KEEP = 3
"""After each rung one of so many candidates goes on."""

RUNGS = 3
"""The first trains for 1/9 of the epochs, the second for 1/3, the last for all."""

BEST = "best"
"""Folder with a copy of the best run."""


@dataclass(frozen=True)
class Terms:
    """How a search goes about its candidates.

    Attributes:
        finalists: at least so many are trained to their end.
        first_goes_on: whether the first candidate is trained to its end in any case, since a slow start says little about its end.
        copy_best: whether the best run is copied to `out/best`.
        dataset: the data of all candidates, if they are in memory, before their features are scaled; None: each run loads them.
    """

    finalists: int = 1
    first_goes_on: bool = True
    copy_best: bool = True
    dataset: NodeDataset | None = None


OF_TUNE = Terms()
"""The terms of `revgnn tune`."""


def seconds_of(text: str) -> float:
    """Return a budget such as "30m", "2h", "1h30m" or "90s" in seconds.

    Raises:
        ConfigError: if it is none.
    """
    match = re.fullmatch(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?", text.strip())
    seconds = 0.0 if match is None else sum(float(n or 0) * unit for n, unit in zip(match.groups(), (3600, 60, 1), strict=True))
    if seconds <= 0:
        raise ConfigError(f"a budget is a time such as 30m, 2h or 1h30m, got {text!r}.")
    return seconds


def release_gpu_memory() -> None:
    """Free what runs that have ended still hold on a GPU: a run and its captured step refer to one another."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        gc.collect()
        torch.cuda.empty_cache()


@speaks_python(CONFIG)
def tune(
    config: RunConfig,
    candidates: Iterable[Candidate],
    out: Path | str,
    *,
    budget: float,
    resume: bool = False,
    hooks: Iterable[Hook] = (),
    should_stop: Callable[[], bool] = lambda: False,
    terms: Terms = OF_TUNE,
) -> Record:
    """Compare candidates within a budget, and keep the best run in `out/best`.

    All are trained for 1/9 of their epochs, the best third by validation score on to 1/3, the best third of these to their end. The
    first candidate is trained to its end in any case, unless `terms` say otherwise.
    Test scores are never compared. A search that is stopped, or whose budget is spent, goes on with `resume`.

    Args:
        config: the run that candidates change.
        candidates: see `space.candidates`.
        out: the folder of the search.
        budget: seconds of training, over all calls; kept to within a training step.
        resume: go on with the search in `out`.
        hooks: called with the events of each run.
        should_stop: called after each step; True ends the search.
        terms: see `Terms`.

    Raises:
        RunFolderError: if `out` holds another search, or one and `resume` is not given.
        ValueError, OSError: what `train` raises for the first candidate.
    """
    out, chosen = Path(out), {candidate.name: config.replace(candidate.changes) for candidate in candidates}
    record = _begin(config, chosen, out, resume=resume)
    search = _Search(out, chosen, record, budget, tuple(hooks), should_stop, terms)
    for rung in range(RUNGS):
        for trial in search.remaining(rung):
            if not search.train(trial, rung):
                return search.keep_best()
        record.rung = rung + 1
        record.write(out)
    record.finished = True
    return search.keep_best()


def _begin(config: RunConfig, chosen: dict[str, RunConfig], out: Path, *, resume: bool) -> Record:
    record = Record.read(out)
    if record is None:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise RunFolderError(f"{out} is not empty, and holds no search to go on with; choose another --out.")
        out.mkdir(parents=True, exist_ok=True)
        record = Record.new(config, chosen)
        record.write(out)
        return record
    if not resume:
        raise RunFolderError(f"{out} already holds a search; go on with --resume, or choose another --out.")
    if record.config != config.digest or [trial.name for trial in record.trials] != list(chosen):
        raise RunFolderError(f"{out} holds a search for another run; go on with the same command, or choose another --out.")
    return record


class _RungEnded(Exception):
    """A run has come to the end of its rung. Its state is saved."""


class _Search:
    """A search in progress."""

    def __init__(
        self,
        out: Path,
        configs: dict[str, RunConfig],
        record: Record,
        budget: float,
        hooks: tuple[Hook, ...],
        should_stop: Callable[[], bool],
        terms: Terms,
    ) -> None:
        self.out, self.configs, self.record, self.hooks, self.terms = out, configs, record, hooks, terms
        self._asked = should_stop
        self._ends = time.monotonic() + budget - record.seconds

    def remaining(self, rung: int) -> list[Trial]:
        """Return the trials that a rung has still to train: of later rungs the best of the one before, and by `terms` the first."""
        usable = [trial for trial in self.record.trials if trial.error is None]
        if rung > 0:
            ended = [t for t in self.record.ranked() if t.epochs >= self._target(t, rung - 1)]
            best = ended[: max(self.terms.finalists, math.ceil(len(self.record.trials) / KEEP**rung))]
            first = self.record.trials[0]
            goes_on = self.terms.first_goes_on and first.error is None and first not in best
            usable = [*best, first] if goes_on else best
        return [trial for trial in usable if trial.epochs < self._target(trial, rung)]

    def train(self, trial: Trial, rung: int) -> bool:
        """Train a candidate to the end of a rung, and return whether the search goes on."""
        if self._should_stop():
            return False
        target, config = self._target(trial, rung), self.configs[trial.name]
        is_last = target >= config.epochs

        def watch(event: Event) -> None:
            if isinstance(event, Started):
                self.record.metric = event.metric
            if isinstance(event, EpochEnded) and event.epoch >= target and not is_last:
                raise _RungEnded

        folder, began = self.out / trial.folder, time.monotonic()
        try:
            result = train(
                config.replace({"save_every": config.save_every if is_last else target}),
                folder,
                resume=RunFolder(folder).config_file.exists(),
                hooks=[*self.hooks, watch],
                should_stop=self._should_stop,
                dataset=self.terms.dataset,
            )
            trial.epochs = result.epochs
        except _RungEnded:
            pass
        except Interrupted:
            return False
        except (Diverged, MetricError) as error:  # the loss, or the logits, are not finite
            trial.error = str(error)
        finally:
            release_gpu_memory()
            self.record.seconds += time.monotonic() - began
            self.record.measure(self.out, trial)
            self.record.write(self.out)
        if trial.epochs < target and trial.error is None:  # out of patience: it has ended
            trial.epochs = config.epochs
        self.record.write(self.out)
        return True

    def keep_best(self) -> Record:
        """Copy the best run to `out/best`, unless the terms say otherwise, and return the record."""
        best = self.record.best()
        self.record.write(self.out)
        if self.terms.copy_best and best is not None and (self.out / best.folder).is_dir():
            with replacing_folder(self.out / BEST) as temporary:
                shutil.copytree(self.out / best.folder, temporary, dirs_exist_ok=True)
        return self.record

    def _target(self, trial: Trial, rung: int) -> int:
        """Return the epoch at which a rung ends: one that is evaluated."""
        config = self.configs[trial.name]
        every = config.evaluation.every
        epochs = math.ceil(config.epochs / KEEP ** (RUNGS - 1 - rung) / every) * every
        return min(config.epochs, epochs)

    def _should_stop(self) -> bool:
        return self._asked() or time.monotonic() >= self._ends
