"""One run on disk: its configuration, epochs, result, environment, and whether it is running."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from revgnn.experiments.run_files.metrics import MetricsFile, number
from revgnn.experiments.run_files.weights_note import read_weights_note
from revgnn.train.config import RunConfig
from revgnn.train.config.errors import ConfigError

State = Literal["waiting", "running", "stopped", "finished", "failed"]
"""waiting: not begun; stopped: neither finished nor running; failed: a search found that it cannot be trained."""

SMALLER_IS_BETTER = ("mae", "rmse")
"""Scores that are errors. `revgnn.data.tasks` has the whole list, but imports torch."""

_QUIET_SECONDS = 600.0
"""A run of another host, whose process cannot be looked up, counts as stopped after so long without a change."""


@dataclass(frozen=True)
class RunOnDisk:
    """What the folder of a run says at one moment.

    Attributes:
        path: the folder.
        name: a short name, unique among the runs shown together.
        state: see `State`.
        config: the configuration; None if it cannot be read, see `problem`.
        epochs: the lines of metrics.jsonl.
        result: result.json; None if the run is not finished.
        environment: environment.json; None if there is none.
        metric: of the scores; None if it is not known yet.
        best_epoch: the epoch of best.safetensors; None if there is none yet.
        problem: what cannot be read, or why a search gave the run up; None if all is well.
    """

    path: Path
    name: str
    state: State
    config: RunConfig | None = None
    epochs: list[dict[str, Any]] = field(default_factory=list)
    result: dict[str, Any] | None = None
    environment: dict[str, Any] | None = None
    metric: str | None = None
    best_epoch: int | None = None
    problem: str | None = None

    @property
    def data(self) -> str | None:
        """The data set as the configuration names it; None if that cannot be read."""
        return None if self.config is None or self.config.data is None else self.config.data.name

    @property
    def larger_is_better(self) -> bool:
        return self.metric not in SMALLER_IS_BETTER

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The settings by dotted key, with the gradient strategy in use; empty if the configuration cannot be read."""
        return {} if self.config is None else {**self.config.flat(), "model.gradient": self.config.model.effective_gradient}

    @property
    def planned_epochs(self) -> int | None:
        return None if self.config is None else self.config.epochs

    @cached_property
    def best(self) -> dict[str, Any] | None:
        """The epoch whose weights are kept, or else the one with the best validation score; None before the first evaluation."""
        scored = [line for line in self.epochs if number(line, "valid") is not None]
        kept = next((line for line in scored if line["epoch"] == self.best_epoch), None)
        if kept is not None or not scored:
            return kept
        sign = -1 if self.larger_is_better else 1
        return min(scored, key=lambda line: (sign * line["valid"], line["epoch"]))

    def score(self, part: str) -> float | None:
        """Return a score of the best weights: that of the result, or else of the best epoch so far."""
        source = self.result or self.best
        return None if source is None else number(source, part)

    @cached_property
    def peak_bytes(self) -> int | None:
        """Peak of tensors allocated in the first training epoch, above weights and data."""
        values = [value for line in self.epochs if (value := number(line, "peak_bytes")) is not None]
        known = number(self.result, "peak_bytes") if self.result is not None else None
        value = known if known is not None else max(values, default=None)
        return None if value is None else int(value)

    @cached_property
    def epoch_seconds(self) -> float | None:
        """Mean wall time of an epoch with its evaluation. The first, which compiles kernels, counts only if it is the only one."""
        lines = self.epochs[1:] or self.epochs
        times = [(number(line, "seconds") or 0.0) + (number(line, "evaluation_seconds") or 0.0) for line in lines]
        return fmean(times) if times else None

    @property
    def seconds_left(self) -> float | None:
        """Estimated time to the last planned epoch of a running run; None if it is not running or nothing is known yet."""
        if self.state != "running" or self.epoch_seconds is None or self.planned_epochs is None:
            return None
        return max(0, self.planned_epochs - self.epochs[-1]["epoch"]) * self.epoch_seconds


class RunReader:
    """Reads the folder of a run again and again.

    Args:
        path: the folder.
        name: what the run is called.
        problem: why a search gave it up; None if it did not.
    """

    def __init__(self, path: Path, name: str, *, metric: str | None = None, problem: str | None = None) -> None:
        self.path, self.name = path, name
        self.metric, self.problem = metric, problem
        self._metrics = MetricsFile(path / "metrics.jsonl")
        self._config: tuple[float, RunConfig | None, str | None] | None = None
        self._values: dict[str, tuple[tuple[int, int], dict[str, Any] | None]] = {}
        self._best: tuple[float, dict[str, Any]] = (0.0, {})

    def read(self) -> RunOnDisk:
        """Return what the folder says now. A file that cannot be read is reported in `problem`, never raised."""
        config, problem = self._read_config()
        result = self._read_json("result.json")
        epochs = self._metrics.read()
        metric = result.get("metric") if result else None
        if not isinstance(metric, str):
            metric = (None if config is None or config.data is None else config.data.metric) or self.metric
        best_epoch = self._read_best().get("epoch")
        return RunOnDisk(
            path=self.path,
            name=self.name,
            state=self._state(result, epochs),
            config=config,
            epochs=epochs,
            result=result,
            environment=self._read_json("environment.json"),
            metric=metric,
            best_epoch=best_epoch if isinstance(best_epoch, int) else None,
            problem=self.problem or problem,
        )

    def _read_config(self) -> tuple[RunConfig | None, str | None]:
        file = self.path / "config.yaml"
        try:
            changed = file.stat().st_mtime
        except OSError:
            return None, None
        if self._config is None or self._config[0] != changed:
            try:
                self._config = (changed, RunConfig.from_yaml(file), None)
            except (ConfigError, OSError) as error:
                self._config = (changed, None, str(error))
        return self._config[1:]

    def _read_json(self, name: str) -> dict[str, Any] | None:
        """Return the content of a file, read again when it has changed."""
        try:
            status = (self.path / name).stat()
        except OSError:
            return None
        stamp = (status.st_mtime_ns, status.st_size)
        if name not in self._values or self._values[name][0] != stamp:
            self._values[name] = (stamp, _read_json(self.path / name))
        return self._values[name][1]

    def _read_best(self) -> dict[str, Any]:
        """Return the note of the best weights, read again when they have changed."""
        file = self.path / "best.safetensors"
        try:
            changed = file.stat().st_mtime
        except OSError:
            return {}
        if self._best[0] != changed:
            self._best = (changed, read_weights_note(file))
        return self._best[1]

    def _state(self, result: dict[str, Any] | None, epochs: list[dict[str, Any]]) -> State:
        if result is not None:
            return "finished"
        if self.problem is not None:
            return "failed"
        if _is_owned(self.path):
            return "running"
        return "stopped" if epochs or (self.path / "config.yaml").exists() else "waiting"


def _is_owned(path: Path) -> bool:
    """Return whether a process seems to train into the folder. The lock itself is not touched: that could refuse it to a run."""
    lock = path / "run.lock"
    owner = _read_json(lock)
    if owner is None:
        return lock.exists() and _age(path) < _QUIET_SECONDS
    pid = owner.get("pid")
    try:
        here = owner.get("host") == os.uname().nodename
        if here and isinstance(pid, int) and pid > 0:
            os.kill(pid, 0)
            return True
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True  # it exists, and belongs to another user
    return _age(path) < _QUIET_SECONDS


def _age(path: Path) -> float:
    """Return seconds since the newest change of a file of the run."""
    times = []
    for name in ("run.lock", "metrics.jsonl", "last.safetensors", "config.yaml"):
        try:
            times.append((path / name).stat().st_mtime)
        except OSError:
            continue
    return time.time() - max(times) if times else float("inf")


def _read_json(file: Path) -> dict[str, Any] | None:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) else None
