"""tune.json: the candidates, how far each was trained and what it scored on validation nodes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from revgnn.data.tasks import LARGER_IS_BETTER
from revgnn.files import write_json
from revgnn.train.config import RunConfig
from revgnn.train.run.folder import RunFolder, RunFolderError

NAME = "tune.json"
VERSION = 1


@dataclass
class Trial:
    """One candidate in training.

    Attributes:
        name: of the candidate.
        folder: of its run, below the folder of the search.
        epochs: trained so far.
        valid: its best validation score so far; None before its first evaluation.
        error: why it cannot be trained, such as a loss that is not finite; None if it can.
    """

    name: str
    folder: str
    epochs: int = 0
    valid: float | None = None
    error: str | None = None


@dataclass
class Record:
    """The state of a search, which is saved after each step.

    Attributes:
        config: digest of the run that is tuned, so that another search does not go on in its folder.
        metric: of the scores; "" before the first run has started.
        seconds: spent so far.
        rung: how many halvings are done.
        finished: whether the search has ended by itself, not by its budget.
        trials: in the order of the candidates.
    """

    config: str
    trials: list[Trial]
    metric: str = ""
    seconds: float = 0.0
    rung: int = 0
    finished: bool = False

    @classmethod
    def new(cls, config: RunConfig, names: Iterable[str]) -> Record:
        """Return the record of a search that has not begun."""
        return cls(config.digest, [Trial(name, f"runs/{number:02}") for number, name in enumerate(names)])

    @classmethod
    def read(cls, out: Path) -> Record | None:
        """Return the saved record; None if there is none.

        Raises:
            RunFolderError: if it is damaged, or of another version.
        """
        path = out / NAME
        if not path.is_file():
            return None
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            version = values.pop("version")
            trials = [Trial(**trial) for trial in values.pop("trials")]
            record = cls(**values, trials=trials)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise RunFolderError(f"{path} is damaged ({error}); search in another folder.") from None
        if version != VERSION:
            raise RunFolderError(f"{path} has version {version!r}; this revgnn reads version {VERSION}.")
        return record

    def write(self, out: Path) -> None:
        """Save it."""
        write_json(out / NAME, {"version": VERSION, **asdict(self)})

    def measure(self, out: Path, trial: Trial) -> None:
        """Read how far a trial has come from the files of its run."""
        lines = RunFolder(out / trial.folder).metrics()
        scores = [line["valid"] for line in lines if line["valid"] is not None]
        trial.epochs = len(lines)
        trial.valid = max(scores, key=self._goodness, default=None)

    def ranked(self) -> list[Trial]:
        """Return the trials that have a score, the best first; equal ones in their order."""
        scored = [trial for trial in self.trials if trial.valid is not None and trial.error is None]
        return sorted(scored, key=lambda trial: -self._goodness(trial.valid or 0.0))

    def _goodness(self, score: float) -> float:
        """Return a number that is the larger, the better the score is: errors such as rmse count as negative."""
        return score if LARGER_IS_BETTER.get(self.metric, True) else -score

    def best(self) -> Trial | None:
        """Return the trial with the best validation score; None before the first."""
        return next(iter(self.ranked()), None)
