"""The hook that all loggers are, and what a tool behind it must be able to do."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

from revgnn.train.loggers.values import epoch_values, hyperparameters, result_values
from revgnn.train.run.events import Ended, EpochEnded, Event, Started


class Backend(ABC):
    """A tool that runs are logged to."""

    name: str
    """Of the tool, for messages."""

    @abstractmethod
    def begin(self, event: Started, settings: Mapping[str, bool | int | float | str]) -> None:
        """Open the log of a run, which goes on after `event.epoch` if that is not 0."""

    @abstractmethod
    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        """Log the metrics of an epoch."""

    @abstractmethod
    def finish(self, values: Mapping[str, float]) -> None:
        """Log the result."""

    @abstractmethod
    def close(self) -> None:
        """Close the log of the run, finished or not. Nothing is open if it never began."""


class Logger:
    """A hook that logs runs, one after the other. It is a context manager, which closes the log of a run that is stopped.

    A backend that fails never ends a training: a warning says so, once, and nothing more is logged.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self._metric = ""
        self._best: float | None = None
        self._is_open = self._has_failed = False

    def __enter__(self) -> Logger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __call__(self, event: Event) -> None:
        if isinstance(event, Started):
            self.close()
            self._metric, self._best = event.metric, None if event.best is None else event.best.valid
            self._is_open = True
            self._try(lambda: self.backend.begin(event, hyperparameters(event)))
        elif isinstance(event, EpochEnded):
            self._best = event.valid if event.is_best else self._best
            best = {} if self._best is None else {f"best/{self._metric}": self._best}
            self._try(lambda: self.backend.log(event.epoch, {**epoch_values(event, self._metric), **best}))
        elif isinstance(event, Ended):
            self._try(lambda: self.backend.finish(result_values(event.result)))
            self.close()

    def close(self) -> None:
        """Close the log of the present run. It may be called again."""
        if self._is_open:
            self._is_open = False
            self._try(self.backend.close)

    def _try(self, action: Callable[[], None]) -> None:
        if self._has_failed:
            return
        try:
            action()
        except Exception as error:  # what a tool raises is not known, and a training must not end by it
            self._has_failed = True
            reason = " ".join(str(error).split())[:300]
            message = f"nothing more is logged to {self.backend.name} ({type(error).__name__}: {reason}). The training goes on."
            warnings.warn(message, stacklevel=4)
