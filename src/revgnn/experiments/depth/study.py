"""A study of depths: for each family and depth choose the rates, then train every split and seed, within a budget of time.

All that is known lies in the folders of runs and searches, each owned by one process at a time. So a study can be stopped anywhere,
and several processes can work on one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from revgnn._words import CONFIG, speaks_python
from revgnn.data import NodeDataset
from revgnn.experiments.depth import record
from revgnn.experiments.depth.choosing import choose, without_test
from revgnn.experiments.depth.plan import Cell, Plan, cell_run, on
from revgnn.experiments.depth.reasons import describe_graph, write_reasons
from revgnn.experiments.tune.halving import release_gpu_memory
from revgnn.files import write_json
from revgnn.train.config import RunConfig
from revgnn.train.datasets import read_dataset
from revgnn.train.metrics import MetricError
from revgnn.train.run.events import Hook
from revgnn.train.run.folder import RunFolder, RunFolderError
from revgnn.train.run.lock import owning
from revgnn.train.run.loop import Interrupted, train
from revgnn.train.run.optimization import Diverged
from revgnn.train.sweeps import finished_result

_WAIT_SECONDS = 2.0
"""From one look to the next at what other processes are at."""

_CANNOT_BE_TRAINED = (Diverged, MetricError, torch.OutOfMemoryError)
"""What ends a run but not the study."""

Outcome = Literal["done", "worked", "busy", "too early", "stopped"]


@dataclass(frozen=True)
class _Task:
    """One step of a study: choosing for a cell, training one run, or looking into the weights of the best one."""

    kind: Literal["choose", "train", "reasons"]
    cell: Cell
    split: int | str = 0
    seed: int = 0

    @property
    def name(self) -> str:
        return f"{self.cell.name}-{self.split}-{self.seed}" if self.kind == "train" else f"{self.cell.name}-{self.kind}"


@speaks_python(CONFIG)
def study(
    base: RunConfig,
    plan: Plan,
    out: Path | str,
    *,
    budget: float,
    resume: bool = False,
    hooks: Iterable[Hook] = (),
    should_stop: Callable[[], bool] = lambda: False,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Compare depths, each with rates of its own, and write what is found to `out/depth.json`.

    Rates are chosen by validation scores, on the first split and seed, and on data from which test labels are removed. Each family
    and depth has one run before any has its second; then come the other seeds, each over all splits, then a look into the weights
    of the best run of each. A study that is stopped, or whose budget is spent, goes on with `resume`, also in several processes at
    once.

    Args:
        base: the run that families, depths and rates change.
        budget: seconds, over all calls one after the other.
        resume: go on with the study in `out`, also with more depths, families, splits or seeds.
        hooks: called with the events of each run.
        should_stop: called after each step; True ends the study.
        say: called with a line when a choice is made, or a run cannot be trained.

    Returns:
        The content of depth.json.

    Raises:
        RunFolderError: if `out` holds another study, or one and `resume` is not given.
        ValueError, OSError: what `train` raises.
    """
    out = Path(out)
    _check(base, plan)
    spent = _begin(base, plan, out, resume=resume)
    laboratory = _Laboratory(out, base, plan, tuple(hooks), spent, budget, should_stop, say)
    return laboratory.work()


def _check(base: RunConfig, plan: Plan) -> None:
    """Raise `ConfigError` if a run of the plan cannot be."""
    if base.data is None:
        raise ValueError("a depth study needs a data set; set data.name in the configuration.")
    for cell in plan.cells():
        run = cell_run(base, cell)
        for candidate in plan.candidates():
            run.replace(candidate.changes)


def _begin(base: RunConfig, plan: Plan, out: Path, *, resume: bool) -> float:
    """Check or make the folder of a study, and return the seconds that it has taken so far."""
    known = record.read(out)
    if known is None:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise RunFolderError(f"{out} is not empty, and holds no depth study to go on with; choose another --out.")
        out.mkdir(parents=True, exist_ok=True)
        record.write(out, base, plan, 0.0)
        return 0.0
    if not resume:
        raise RunFolderError(f"{out} already holds a depth study; go on with --resume, or choose another --out.")
    saved, before = RunConfig.parse(known["run"]), record.plan_of(known)
    changes = {key: old for key, (old, _) in saved.differences(base).items()}
    changes |= {"epochs": saved.epochs} if saved.epochs != base.epochs else {}
    for name in ("rates", "dropouts"):
        changes |= {name: getattr(before, name)} if getattr(before, name) != getattr(plan, name) else {}
    if next(before.pairs()) != next(plan.pairs()):
        changes["the first split and seed"] = next(before.pairs())
    if changes:
        listed = "; ".join(f"{key} was {old!r}" for key, old in changes.items())
        raise RunFolderError(f"{out} holds a depth study of another run: {listed}. Go on with the same, or choose another --out.")
    return float(known["seconds"])


class _Laboratory:
    """A study in progress."""

    def __init__(
        self,
        out: Path,
        base: RunConfig,
        plan: Plan,
        hooks: tuple[Hook, ...],
        spent: float,
        budget: float,
        should_stop: Callable[[], bool],
        say: Callable[[str], None],
    ) -> None:
        self.out, self.base, self.plan, self.hooks, self.say = out, base, plan, hooks, say
        self._began = time.monotonic() - spent
        self._budget, self._asked = budget, should_stop
        self._done: set[_Task] = set()
        self._dataset: NodeDataset | None = None

    def work(self) -> dict[str, Any]:
        """Work until everything is done, by this process or another, or until the study is to stop."""
        values = self._write()
        while True:
            outcomes = []
            for task in self._tasks():
                outcomes.append(self._attempt(task))
                if outcomes[-1] == "worked":
                    values = self._write()
                if outcomes[-1] == "stopped":
                    return self._write()
            if set(outcomes) <= {"done"}:
                return values if values["finished"] else self._write()
            if "worked" not in outcomes:  # the rest is with other processes
                time.sleep(_WAIT_SECONDS)
            if self._should_stop():
                return self._write()

    def _tasks(self) -> Iterator[_Task]:
        """Yield all tasks in the order of their use."""
        first, *others = self.plan.pairs()
        for cell in self.plan.cells():
            yield _Task("choose", cell)
            yield _Task("train", cell, *first)
        for pair in others:
            for cell in self.plan.cells():
                yield _Task("train", cell, *pair)
        for cell in self.plan.cells():
            yield _Task("reasons", cell)

    def _attempt(self, task: _Task) -> Outcome:
        """Do a task, unless it is done or another process is at it."""
        if task in self._done or self._is_done(task):
            self._done.add(task)
            return "done"
        if self._should_stop():
            return "stopped"
        if not self._is_ready(task):
            return "too early"
        with ExitStack() as stack:
            try:
                stack.enter_context(owning(self.out / record.LOCKS / task.name))
            except RunFolderError:
                return "busy"
            if self._is_done(task):  # another process has just done it
                return "done"
            try:
                return "worked" if self._do(task) else "stopped"
            except _CANNOT_BE_TRAINED as error:
                folder = self._folder(task)
                folder.mkdir(parents=True, exist_ok=True)
                write_json(folder / record.FAILED, {"error": str(error)})
                self.say(f"{task.name} cannot be trained: {error}")
                return "worked"
            finally:
                release_gpu_memory()

    def _folder(self, task: _Task) -> Path:
        if task.kind == "choose":
            return self.out / record.CHOOSE / task.cell.name
        return record.run_folder(self.out, task.cell, task.split, task.seed)

    def _is_ready(self, task: _Task) -> bool:
        """Return whether what a task builds on is there."""
        if task.kind == "choose":
            return True
        if task.kind == "train":
            return record.chosen(self.out, task.cell, self.plan) is not None
        return all(self._is_done(_Task("train", task.cell, *pair)) for pair in self.plan.pairs())

    def _is_done(self, task: _Task) -> bool:
        """Return whether there is nothing left to do, also since it cannot be done."""
        if record.no_choice(self.out, task.cell):
            return True
        if task.kind == "choose":
            search = record.Record.read(self._folder(task))
            return len(self.plan.candidates()) == 1 or (search is not None and search.finished)
        if task.kind == "train":
            return record.failure(self._folder(task)) is not None or finished_result(self.base, self._folder(task)) is not None
        return record.has_reasons(self.out, task.cell, self.plan)

    def _do(self, task: _Task) -> bool:
        """Choose, train, or compute; return False if that was stopped."""
        if task.kind == "reasons":
            self._look_into(task.cell)
            return True
        run = cell_run(self.base, task.cell)
        if task.kind == "choose":
            return self._choose(on(run, *next(self.plan.pairs())), task.cell, self._folder(task))
        rates = record.chosen(self.out, task.cell, self.plan)
        assert rates is not None  # `_is_ready` checked
        run, folder = on(run.replace(rates), task.split, task.seed), self._folder(task)
        resume = RunFolder(folder).config_file.exists()
        try:
            train(run, folder, resume=resume, hooks=self.hooks, should_stop=self._should_stop)
        except Interrupted:
            return False
        return True

    def _look_into(self, cell: Cell) -> None:
        """Write the reasons of the best run of a cell, and those of the graph if they are missing."""
        graph = record.reasons_file(self.out, "graph")
        assert self.base.data is not None
        if not graph.exists():
            graph.parent.mkdir(parents=True, exist_ok=True)
            write_json(graph, describe_graph(self.base.data.model_copy(update={"split": next(self.plan.pairs())[0]})))
        best = record.best_run(self.out, cell, self.plan)
        if best is not None:
            self.say(f"{cell.name}: looking into the weights of {best}")
            write_reasons(record.reasons_file(self.out, cell.name), best, self.out / best, device=self.base.device)

    def _choose(self, run: RunConfig, cell: Cell, folder: Path) -> bool:
        if self._dataset is None:
            self._dataset = without_test(read_dataset(run.data))
        search = choose(run, self.plan.candidates(), folder, self._dataset, hooks=self.hooks, should_stop=self._should_stop)
        best = search.best()
        if search.finished and best is not None:
            self.say(f"{cell.name}: {best.name} chosen of {len(search.trials)}, valid {best.valid:.4f} {search.metric}")
        return search.finished

    def _write(self) -> dict[str, Any]:
        return record.write(self.out, self.base, self.plan, time.monotonic() - self._began)

    def _should_stop(self) -> bool:
        return self._asked() or time.monotonic() - self._began >= self._budget
